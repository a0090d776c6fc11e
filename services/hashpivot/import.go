package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/equities/files"
)

type importCmd struct {
	Path     string `arg:"" help:"A file, or a directory of files."`
	Source   string `required:"" help:"Name of the source on every row; each provider of files has its own." placeholder:"SOURCE"`
	Layout   string `help:"trades, quotes, bars, yahoo-csv, yahoo-json, stooq, closes, or auto." default:"auto"`
	Symbol   string `help:"Of files without such a column (default: the file's name)." placeholder:"SYMBOL"`
	Interval string `help:"Of bars with a time of day: 1s, 1m, 1h." placeholder:"INTERVAL"`
	Timezone string `help:"Of times that tell none." default:"America/New_York"`
	Adjusted bool   `help:"Take prices that are adjusted for splits or dividends."`
}

// Run imports files. A file that was imported whole is skipped; one that was interrupted goes on.
func (c *importCmd) Run(a *app) error {
	opt := files.DefaultOptions()
	opt.Source, opt.Symbol, opt.Timezone, opt.Adjusted = c.Source, strings.ToUpper(c.Symbol), c.Timezone, c.Adjusted
	if c.Interval != "" {
		opt.Interval = market.Interval(c.Interval)
	}
	opt.Layout = files.Layout(c.Layout)
	b, cfg, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	if prefix := cfg.Mode.prefix(); !strings.HasPrefix(opt.Source, prefix) {
		// Real prints in a simulated or recorded database must carry its mark.
		opt.Source = prefix + opt.Source
	}
	if err := opt.Validate(); err != nil {
		return run.Usage(err)
	}
	if err := b.claim(a.ctx, cfg.Mode, streamsOf("import")...); err != nil {
		return err
	}
	start := time.Now()
	res, err := publishing(a, b, func(ctx context.Context, deps feed.Deps) (files.Progress, error) {
		return files.Import(ctx, deps, c.Path, opt, nil)
	})
	if a.cli.JSON {
		line, jerr := json.Marshal(struct {
			Source    string  `json:"source"`
			Files     int     `json:"files"`
			Skipped   int     `json:"skipped"`
			Rows      int     `json:"rows"`
			Published int     `json:"published"`
			Known     int     `json:"known"`
			Revised   int     `json:"revised"`
			Rejected  int     `json:"rejected"`
			Seconds   float64 `json:"seconds"`
		}{opt.Source, res.Files, res.Skipped, res.Rows, res.Published, res.Known, res.Revised, res.Rejected, float64(time.Since(start).Milliseconds()) / 1e3})
		if jerr != nil {
			return jerr
		}
		a.printf("%s\n", line)
		return err
	}
	a.printf("%s: %d files (%d imported before), %d rows: %d new, of them %d revisions; %d known, %d rejected\n",
		opt.Source, res.Files, res.Skipped, res.Rows, res.Published, res.Revised, res.Known, res.Rejected)
	return err
}

// publishing runs what publishes once, and stores what it published even when a signal ended it.
func publishing[T any](a *app, b *backends, do func(context.Context, feed.Deps) (T, error)) (T, error) {
	pub := b.bus.NewPublisher(bus.PublisherConfig{})
	res, err := do(a.ctx, feed.Deps{Sink: pub, History: b.bus, Logger: a.log, Metrics: feed.NewMetrics(nil)})
	end, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), stopWithin)
	defer cancel()
	if cerr := pub.Close(end); cerr != nil {
		err = errors.Join(err, fmt.Errorf("store what was published: %w", cerr))
	}
	return res, err
}
