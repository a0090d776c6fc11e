package gpurates

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// indexer publishes the index across providers at its interval.
type indexer struct {
	cfg   IndexConfig
	f     *feed.Feed
	board *board
}

func newIndexer(ctx context.Context, cfg IndexConfig, deps feed.Deps, b *board) (*indexer, error) {
	f, err := feed.New(deps.Config(cfg.Source))
	if err != nil {
		return nil, err
	}
	// The last index of an earlier run: what is received from now on is after it, whatever became of the clock.
	err = f.RestoreEach(ctx, f.Now().Add(-day), market.Rates, func(ev market.Event) { b.told(ev.GetMeta().RecvTime) })
	return &indexer{cfg: cfg, f: f, board: b}, err
}

func (x *indexer) run(ctx context.Context) error {
	tick := time.NewTicker(x.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := x.board.index(x.f.Now(), x.cfg.StaleAfter, func(cut time.Time, fresh []*list) error { return x.once(ctx, cut, fresh) }); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// once publishes the index of each model and class that has enough providers; where it has not, that is counted.
func (x *indexer) once(ctx context.Context, cut time.Time, fresh []*list) error {
	type series struct {
		gpu   string
		class market.Class
	}
	groups := map[series][]*market.Offer{}
	var all []series
	for _, o := range offersOf(fresh) {
		if _, known := models.ByID(o.GPU); !known {
			continue // two providers' unknown names need not be one card
		}
		s := series{o.GPU, o.Class}
		if groups[s] == nil {
			all = append(all, s)
		}
		groups[s] = append(groups[s], o)
	}
	slices.SortFunc(all, func(a, b series) int {
		return strings.Compare(a.gpu+" "+string(a.class), b.gpu+" "+string(b.class))
	})
	for _, s := range all {
		r, ok, err := ProviderIndex(groups[s], x.cfg.MinProviders)
		if err != nil {
			return fmt.Errorf("index %s %s: %w", s.gpu, s.class, err)
		}
		if !ok {
			x.f.Ignore("index_with_too_few_providers")
			continue
		}
		r.Meta = market.Meta{EventTime: cut, RecvTime: cut}
		if _, err := x.f.Emit(ctx, r, "index", nil); err != nil {
			return sinkError{err}
		}
	}
	if err := x.f.Flush(ctx); err != nil {
		return sinkError{err}
	}
	return nil
}
