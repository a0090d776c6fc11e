package lander

import (
	"context"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// rebuild finds out without a record what has landed: the tables say, message by message. Where all of it is there without a hole, landing goes on behind it. Where a
// range is there in part, its rest is landed without the rows that stand already, once no insert of a former lander can be under way.
func (w *worker) rebuild(ctx context.Context, v view) (Record, error) {
	all, err := w.top(ctx, time.Time{})
	if err != nil || all.Seq == 0 {
		return w.start(v), err
	}
	top, err := w.top(ctx, w.life)
	if err != nil {
		return Record{}, err
	}
	switch {
	case top.Seq == 0 && v.damaged == nil && w.shard.Of == 0:
		return Record{}, fmt.Errorf("%w: the database has rows of %s up to sequence %d, all stored before this stream was made, and this NATS has no record of landing into it; "+
			"point nats.url at the NATS that they came from, or use a new database; if that NATS is gone for good: hashpivot adopt", ErrNewLife, w.stream, all.Seq)
	case top.Seq == 0:
		return w.start(v), nil
	case top.Seq > v.info.LastSeq:
		return Record{}, fmt.Errorf("%w: the database has rows of %s up to sequence %d, but the stream ends at %d and there is no record of landing it; point nats.url at the NATS that they came from, or use a new database",
			ErrNewLife, w.stream, top.Seq, v.info.LastSeq)
	}
	through, torn, err := w.verify(ctx, v, top.Seq)
	if err != nil {
		return Record{}, err
	}
	rec := w.start(v)
	rec.First, rec.Last = through+1, through
	if torn {
		w.log.Warn("the record is lost and a range has landed in part; its rest is landed when no insert of a former lander can be under way",
			"first", through+1, "last", top.Seq, "wait", w.zombies)
		select {
		case <-ctx.Done():
			return Record{}, ctx.Err()
		case <-time.After(w.zombies):
		}
		rec.Last = top.Seq
	}
	if w.shard.Of == 0 || rec.Last >= rec.First { // a shard that was cut a moment ago has no record yet
		w.log.Warn("the record of landing was rebuilt from the tables", "first", rec.First, "last", rec.Last)
	}
	return rec, nil
}

// verify compares the stream with the tables up to top: through is the last sequence before which all has landed or is dead, torn tells that something behind it has.
func (w *worker) verify(ctx context.Context, v view, top uint64) (through uint64, torn bool, _ error) {
	const chunk = 100_000
	through = w.start(v).First - 1
	dead, err := w.buried(ctx, 0, top)
	if err != nil {
		return 0, false, err
	}
	complete := true
	for from := max(through+1, v.info.FirstSeq); from <= top; from += chunk {
		to := min(from+chunk-1, top)
		var places store.Places
		if err := w.patiently(ctx, "ask what has landed", func() (err error) {
			places, err = w.deps.Store.Places(ctx, w.stream, w.life, from, to)
			return err
		}); err != nil {
			return 0, false, err
		}
		counts := map[uint64]int{}
		for p := range places {
			counts[p.Seq]++
		}
		var messages []place // with the number of events for an index
		if err := w.patiently(ctx, "read the stream", func() error {
			messages = messages[:0]
			return w.readRange(ctx, from, to, func(m bus.Msg) error {
				n := 1
				if events, err := wire.Decode(w.stream, m.Data); err == nil {
					n = len(events)
				}
				messages = append(messages, place{m.Seq, int32(n)})
				return nil
			})
		}); err != nil {
			return 0, false, err
		}
		for _, m := range messages {
			have, gone := counts[m.seq], 0
			for i := range m.idx {
				if dead[place{m.seq, i}] || dead[place{m.seq, -1}] {
					gone++
				}
			}
			switch {
			case have > int(m.idx):
				return 0, false, fmt.Errorf("%w: sequence %d of %s has %d rows and its message %d events: the rows came from another NATS; use a new database",
					ErrNewLife, m.seq, w.stream, have, m.idx)
			case have+gone < int(m.idx):
				complete = false
				torn = torn || have > 0
			case complete:
				through = m.seq
			default:
				torn = true
			}
		}
	}
	if complete {
		through = max(through, top) // what lies between are holes, or messages of other shards
	}
	return through, torn, nil
}

// buried reads which events of a range have a letter.
func (w *worker) buried(ctx context.Context, first, last uint64) (map[place]bool, error) {
	out := map[place]bool{}
	err := w.patiently(ctx, "read the dead letters", func() error {
		clear(out)
		return w.deps.Bus.ScanAll(ctx, market.Dead, func(m bus.Msg) error {
			events, _ := wire.Decode(market.Dead, m.Data) // one that does not decode is of no range
			for _, ev := range events {
				if d, ok := ev.(*market.DeadLetter); ok && d.Of == string(w.stream) && d.Created == w.life.Unix() && d.Seq >= first && d.Seq <= last {
					out[place{d.Seq, d.Idx}] = true
				}
			}
			return nil
		})
	})
	return out, err
}
