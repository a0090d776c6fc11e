package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

type tailCmd struct {
	Subject string `arg:"" default:"md.v1.>" help:"Subject, with NATS's wildcards: md.v1.trade.*.IREN, md.v1.gpu.>."`
	Count   int    `short:"n" help:"End after so many messages."`
}

// Run prints each message as one JSON line.
func (c *tailCmd) Run(a *app) error {
	streams := bus.StreamsOf(c.Subject)
	if len(streams) == 0 {
		return run.Usage(fmt.Errorf("no stream has subjects like %s; all begin with md.v1", c.Subject))
	}
	b, _, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	var (
		mu   sync.Mutex
		left = c.Count
	)
	g, ctx := errgroup.WithContext(ctx)
	for _, st := range streams {
		r, err := b.bus.Tail(ctx, st)
		if err != nil {
			return err
		}
		g.Go(func() error {
			defer r.Close()
			for {
				m, err := r.Next(ctx)
				if err != nil {
					return err
				}
				if !bus.Matches(c.Subject, m.Subject) {
					continue
				}
				batch, err := wire.JSON(st, m.Data)
				if err != nil {
					batch, _ = json.Marshal(map[string]string{"error": err.Error()})
				}
				line, err := json.Marshal(struct {
					Stream  string          `json:"stream"`
					Seq     uint64          `json:"seq"`
					Subject string          `json:"subject"`
					Time    time.Time       `json:"stream_time"`
					Batch   json.RawMessage `json:"batch"`
				}{string(st), m.Seq, m.Subject, m.Time, batch})
				if err != nil {
					return err
				}
				mu.Lock()
				_, err = fmt.Fprintf(a.stdout, "%s\n", line)
				left--
				if left == 0 {
					cancel()
				}
				mu.Unlock()
				if err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
