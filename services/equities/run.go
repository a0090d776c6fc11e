package equities

import (
	"context"
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/equities/alpaca"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// upstream is one that is switched on.
type upstream struct {
	source  string
	symbols []string
	up      engine.Upstream
	night   bool // it trades by the night's calendar
}

// upstreams lists what is switched on, each with the symbols that it serves.
func (c Config) upstreams() (out []upstream) {
	add := func(source string, symbols []string, up engine.Upstream, night bool) {
		if len(symbols) == 0 {
			symbols = c.Symbols
		}
		out = append(out, upstream{source, symbols, up, night})
	}
	if c.Alpaca.Key != "" {
		add(c.Alpaca.Source, c.Alpaca.Symbols, alpaca.New(c.Alpaca), false)
		if night, on := c.Alpaca.Night(); on {
			add(night.Source, night.Symbols, alpaca.New(night), true)
		}
	}
	return out
}

// engine of one upstream.
func (c Config) engine(u upstream, deps feed.Deps) (*engine.Engine, error) {
	cal, err := c.calendar()
	if err == nil && u.night && c.Calendar != "always" {
		cal, err = session.USOvernight()
	}
	if err != nil {
		return nil, err
	}
	return engine.New(engine.Config{
		Source: u.source, Symbols: u.symbols, Calendar: cal, StopAtEnd: c.StopAtEnd, Backfill: c.Backfill, Stale: c.Stale,
	}, u.up, deps)
}

// Run streams every upstream that is switched on, side by side, until ctx ends (nil), the recordings end (nil, with StopAtEnd), or nothing
// can cure what is wrong.
func Run(ctx context.Context, cfg Config, deps feed.Deps) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	var parts []feed.Part
	for _, u := range cfg.upstreams() {
		e, err := cfg.engine(u, deps)
		if err != nil {
			return fmt.Errorf("start equities: %w", err)
		}
		parts = append(parts, feed.Part{Name: u.source, Run: e.Run})
	}
	return feed.Together(ctx, deps.Logger, parts...)
}
