package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/equities"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

type backfillCmd struct {
	From     string   `required:"" help:"From: a date, a time, or a duration before now (72h)." placeholder:"TIME"`
	To       string   `help:"To (default: as near to now as history allows)." placeholder:"TIME"`
	Symbols  []string `help:"These symbols only, with commas." placeholder:"SYMBOL"`
	Upstream string   `help:"From this source only, such as alpaca." placeholder:"SOURCE"`
}

// Run fetches history on demand. A run that was interrupted goes on where it ended when it is run again.
func (c *backfillCmd) Run(a *app) error {
	now := time.Now()
	from, err := run.ParseTime(c.From, now)
	if err != nil {
		return run.Usage(fmt.Errorf("--from: %w", err))
	}
	to, err := run.ParseTime(c.To, now)
	if err != nil {
		return run.Usage(fmt.Errorf("--to: %w", err))
	}
	b, cfg, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	if !cfg.equitiesOn() {
		return run.Usage(errors.New("no equities upstream is switched on: set its key, as for hashpivot equities"))
	}
	if err := cfg.marks("equities"); err != nil {
		return err
	}
	if err := b.claim(a.ctx, cfg.Mode, streamsOf("equities")...); err != nil {
		return err
	}
	req := equities.BackfillRequest{Request: engine.Request{From: from, To: to}, Upstream: c.Upstream}
	for _, s := range c.Symbols {
		req.Symbols = append(req.Symbols, strings.ToUpper(strings.TrimSpace(s)))
	}
	slices.Sort(req.Symbols)
	req.Symbols = slices.Compact(req.Symbols)

	start := time.Now()
	told := map[string]engine.Progress{}
	bar := a.progress()
	_, err = publishing(a, b, func(ctx context.Context, deps feed.Deps) (struct{}, error) {
		return struct{}{}, equities.Backfill(ctx, cfg.Equities, deps, req, func(p engine.Progress) {
			told[p.Source] = p
			bar(p)
		})
	})
	c.print(a, told, time.Since(start))
	if err != nil && a.ctx.Err() != nil {
		return fmt.Errorf("%w; run it again to go on", err)
	}
	return err
}

// progress draws a bar on a terminal's stderr: a source's units done, and the rows so far.
func (a *app) progress() func(engine.Progress) {
	if a.cli.JSON {
		return func(engine.Progress) {}
	}
	var bar *progressbar.ProgressBar
	source := ""
	return func(p engine.Progress) {
		if p.Source != source {
			source = p.Source
			bar = progressbar.NewOptions(p.Total, progressbar.OptionSetWriter(a.stderr), progressbar.OptionShowCount(), progressbar.OptionSetWidth(30),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionOnCompletion(func() { _, _ = fmt.Fprintln(a.stderr) }))
		}
		bar.Describe(fmt.Sprintf("%s %s %s, %d rows", p.Source, p.Symbol, p.TradeDate, p.Rows))
		_ = bar.Set(p.Done) // a bar that cannot be drawn is no reason to stop
	}
}

// backfillResult is one source's part.
type backfillResult struct {
	Source  string  `json:"source"`
	Units   int     `json:"units"` // a symbol's trade date each
	Done    int     `json:"done"`
	Skipped int     `json:"skipped"`
	Left    int     `json:"left"`
	Rows    uint64  `json:"rows"`
	Seconds float64 `json:"seconds"`
}

func (c *backfillCmd) print(a *app, told map[string]engine.Progress, took time.Duration) {
	for _, p := range told {
		r := backfillResult{p.Source, p.Total, p.Done, p.Skipped, p.Left, p.Rows, float64(took.Milliseconds()) / 1e3}
		if a.cli.JSON {
			line, _ := json.Marshal(r)
			a.printf("%s\n", line)
			continue
		}
		a.printf("%s: %d of %d symbol days, %d rows recovered (%d days were filled by an earlier run, %d holes are the running service's)\n",
			r.Source, r.Done, r.Units, r.Rows, r.Skipped, r.Left)
	}
}
