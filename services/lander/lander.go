package lander

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Lander lands streams.
type Lander struct {
	cfg    Config
	deps   Deps
	landed map[market.Stream]*atomic.Uint64
}

// New checks the configuration; Run does the work.
func New(cfg Config, deps Deps) (*Lander, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.Streams) == 0 {
		cfg.Streams = market.Streams()
	}
	if deps.Metrics == nil {
		deps.Metrics = NewMetrics(nil)
	}
	l := &Lander{cfg: cfg, deps: deps, landed: map[market.Stream]*atomic.Uint64{}}
	for _, s := range cfg.Streams {
		l.landed[s] = &atomic.Uint64{}
	}
	return l, nil
}

// Run lands until ctx ends. What is in flight then is either finished or found again by the next lander; nothing is lost either way.
func (l *Lander) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, st := range l.cfg.Streams {
		g.Go(func() error {
			w := &worker{
				stream: st, cfg: l.cfg, deps: l.deps, log: l.deps.Logger.With("stream", string(st)), landed: l.landed[st],
			}
			if err := w.run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("land stream %s: %w", st, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Drained waits until everything stored in the streams has landed. Events published meanwhile are waited for too.
func (l *Lander) Drained(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		behind, err := l.behind(ctx)
		if err != nil {
			return err
		}
		if behind == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for stream %s to land: %w", behind, ctx.Err())
		case <-tick.C:
		}
	}
}

// behind names a stream that has not landed. DEAD goes last: landing another stream can write to it.
func (l *Lander) behind(ctx context.Context) (market.Stream, error) {
	streams := slices.Clone(l.cfg.Streams)
	slices.SortStableFunc(streams, func(a, b market.Stream) int {
		switch {
		case a == b:
			return 0
		case a == market.Dead:
			return 1
		case b == market.Dead:
			return -1
		}
		return 0
	})
	for _, st := range streams {
		info, err := l.deps.Bus.Info(ctx, st)
		if err != nil {
			return st, err
		}
		if l.landed[st].Load() < info.LastSeq {
			return st, nil
		}
	}
	return "", nil
}
