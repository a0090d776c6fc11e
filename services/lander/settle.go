package lander

import (
	"context"
	"fmt"
	"time"
)

// settle writes down that nothing is in flight, and takes a unit that is quiet past what is not its own, so that what the record says holds for the stream.
func (w *worker) settle(ctx context.Context) error {
	through, at := w.through, w.ledger.now.LastTime
	info, err := w.deps.Bus.Info(ctx, w.stream)
	if err != nil || !info.Created.Equal(w.life) {
		return nil // the watch sees to it
	}
	if gone := info.FirstSeq; gone > through+1 {
		// Aged out or purged with no message behind it, which would show the hole.
		first, ok, err := w.deps.Bus.NextStored(ctx, w.stream, w.shard, through+1)
		if err != nil || ok && first.Seq > gone {
			return nil // a message is coming, and the hole with it
		}
		if !ok || w.filtered {
			why := fmt.Sprintf("sequences %d-%d of stream %s were gone (aged out, purged or deleted) before they landed", through+1, gone-1, w.stream)
			if w.filtered {
				why = fmt.Sprintf("sequences %d-%d of stream %s were gone before what they held of %s landed", through+1, gone-1, w.stream, w.name())
			}
			if err := w.lost(ctx, w.life.UnixNano(), through+1, gone-1, at, time.Time{}, why); err != nil {
				return err
			}
			through, at = gone-1, time.Time{}
		}
	}
	if w.filtered {
		// In this order: what is stored behind info.LastSeq does not matter, and what the leader knows of ours includes all before it.
		last, ok, err := w.deps.Bus.LastStored(ctx, w.stream, w.shard)
		if err != nil {
			return nil
		}
		if (!ok || last.Seq <= through) && info.LastSeq > through {
			through, at = info.LastSeq, info.LastTime
		}
	}
	if now := w.ledger.now; now.First == through+1 && now.Last == through {
		return nil
	}
	rec := w.ledger.next(w.at(through+1, through), at)
	if err := w.patiently(ctx, "write the record", func() error { return w.ledger.move(ctx, rec) }); err != nil {
		return err
	}
	w.reached(through)
	return nil
}
