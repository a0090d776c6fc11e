package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"
)

// Part is one of several upstreams that a service runs side by side.
type Part struct {
	Name string
	Run  func(ctx context.Context) error
}

// Together runs parts until all have ended. An upstream that refuses us (IsRefused) ends its own part only: the others go on, and its error is
// returned, still marked, when they have ended. Any other error ends all.
func Together(ctx context.Context, log *slog.Logger, parts ...Part) error {
	g, gctx := errgroup.WithContext(ctx)
	refused := make([]error, len(parts))
	for i, p := range parts {
		g.Go(func() error {
			err := p.Run(gctx)
			if err == nil {
				return nil
			}
			err = fmt.Errorf("%s: %w", p.Name, err)
			if IsRefused(err) {
				if log != nil {
					log.Error("an upstream refuses us; the others go on", "upstream", p.Name, "err", err)
				}
				refused[i] = err
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err // a refusal beside it must not make it look like one
	}
	return errors.Join(refused...)
}
