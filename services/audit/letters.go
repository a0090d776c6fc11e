package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// grave is the place of what is dead in a stream: idx -1 is the whole message.
type grave struct {
	seq uint64
	idx int32
}

// graves are the dead of a stream, in the order of their places.
type graves []grave

// of are those of one message.
func (g graves) of(seq uint64) graves {
	if len(g) == 0 || g[len(g)-1].seq < seq {
		return nil
	}
	from := sort.Search(len(g), func(i int) bool { return g[i].seq >= seq })
	to := from
	for to < len(g) && g[to].seq == seq {
		to++
	}
	return g[from:to]
}

func (g graves) whole() bool { return len(g) > 0 && g[0].idx < 0 }

func (g graves) has(idx int) bool {
	return slices.ContainsFunc(g, func(d grave) bool { return d.idx == int32(idx) })
}

// letterMargin is how much earlier than a message its letter may seem to be stored, where the clocks of NATS's nodes differ.
const letterMargin = time.Hour

// readGraves reads DEAD itself: a letter counts from when it is stored, whether or not it has landed in its table. It must be read after the lander's
// record, for the letters of a range are stored before the record moves on. A letter that does not decode says nothing: it is itself dead, and the
// lander has written one for it.
func (a *streamAudit) readGraves(ctx context.Context, since time.Time) error {
	if !since.IsZero() {
		since = since.Add(-letterMargin)
	}
	created := a.info.Created.Unix()
	err := a.deps.Bus.Replay(ctx, market.Dead, "", since, func(ev market.Event, _ market.Place) error {
		d, ok := ev.(*market.DeadLetter)
		if ok && d.Of == string(a.stream) && d.Created == created && d.Seq >= a.from && d.Seq <= a.through {
			a.dead = append(a.dead, grave{d.Seq, d.Idx})
		}
		return nil
	}, string(a.stream), "*")
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	slices.SortFunc(a.dead, func(x, y grave) int { return cmp.Or(cmp.Compare(x.seq, y.seq), cmp.Compare(x.idx, y.idx)) })
	a.dead = slices.Compact(a.dead)
	return nil
}
