package lander

import (
	"context"
	"maps"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// replay lands the recorded range again, from the stream, under the same tokens. other says that another version of us may have begun it, which could
// have taken for dead what we land, or the other way round.
func (w *worker) replay(ctx context.Context, rec Record, other bool) error {
	// The tokens make a second insert harmless as long as ClickHouse remembers them. Their log is not synced as the rows are, so after
	// a power cut rows may stand whose token is forgotten: what is there is not sent again. A block is stored whole or not at all, so a block that is
	// there in part was made by another version of us; what it lacks goes under a token of its own.
	done := &settled{}
	err := w.patiently(ctx, "ask what has landed of the range", func() (err error) {
		done.places, err = w.deps.Store.Places(ctx, w.stream, w.life, rec.First, rec.Last)
		return err
	})
	if err == nil && other {
		done.buried, err = w.buried(ctx, rec.First, rec.Last)
	}
	if err != nil {
		return err
	}
	s := w.newSpan()
	s.settled = done
	own := map[uint64]bool{}
	err = w.patiently(ctx, "read the range again", func() error {
		s.reset()
		next := rec.First
		err := w.readRange(ctx, rec.First, rec.Last, func(m bus.Msg) error {
			if m.Seq > next && !w.filtered {
				s.holes = append(s.holes, done.holes(next, m.Seq-1)...)
			}
			next, own[m.Seq] = m.Seq+1, true
			s.add(m)
			return nil
		})
		if err == nil && next <= rec.Last && !w.filtered {
			s.holes = append(s.holes, done.holes(next, rec.Last)...)
		}
		return err
	})
	if err != nil {
		return err
	}
	// Only rows of the unit's own messages count: other shards' stand in the same blocks.
	maps.DeleteFunc(done.places, func(p store.Place, _ string) bool { return !own[p.Seq] })
	w.log.Info("landing the recorded range again", "first", rec.First, "last", rec.Last, "rows", s.batch.Rows(), "stood", len(done.places))
	s.last = rec.Last
	ctx, sp := w.trace(ctx, s, rec, true)
	defer sp.End()
	err = w.insert(ctx, s, rec, done.places.Blocks())
	mark(sp, err)
	return err
}

// holes are the runs between first and last of which nothing had landed before its messages were gone.
func (s *settled) holes(first, last uint64) []hole {
	there := map[uint64]bool{}
	for p := range s.places {
		if p.Seq >= first && p.Seq <= last {
			there[p.Seq] = true
		}
	}
	if len(there) == 0 {
		return []hole{{first, last}}
	}
	var out []hole
	for seq := first; seq <= last; seq++ {
		switch n := len(out); {
		case there[seq]:
		case n > 0 && out[n-1].last == seq-1:
			out[n-1].last = seq
		default:
			out = append(out, hole{seq, seq})
		}
	}
	return out
}

// readRange calls fn for every message of the unit from first to last that the stream still holds.
func (w *worker) readRange(ctx context.Context, first, last uint64, fn func(bus.Msg) error) error {
	r, err := w.open(ctx, first)
	if err != nil {
		return err
	}
	defer r.Close()
	at, pending := first-1, r.Pending()
	for at < last {
		if pending == 0 {
			// The reader knows of no more, but it may be served by a replica that lags: a range that is read short would be lost in silence.
			next, ok, err := w.deps.Bus.NextStored(ctx, w.stream, w.shard, at+1)
			if err != nil {
				return err
			}
			if !ok || next.Seq > last {
				return nil
			}
		}
		m, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if m.Seq > last {
			return nil
		}
		if err := fn(m); err != nil {
			return err
		}
		at, pending = m.Seq, m.Pending
	}
	return nil
}

// open opens a reader of the unit.
func (w *worker) open(ctx context.Context, seq uint64) (*bus.Reader, error) {
	if w.filtered {
		return w.deps.Bus.ReadShard(ctx, w.stream, w.shard, seq)
	}
	return w.deps.Bus.Read(ctx, w.stream, seq)
}
