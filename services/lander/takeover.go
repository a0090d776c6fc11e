package lander

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// takeOver fences off any other lander of the unit, lands the range that the record names once more, and returns where to go on.
func (w *worker) takeOver(ctx context.Context) (next uint64, _ error) {
	w.ledger = newLedger(w.deps.Bus.Cell(bus.LandingKey(w.stream, w.shard)))
	for {
		next, err := w.tryTakeOver(ctx)
		if !errors.Is(err, ErrFenced) {
			return next, err
		}
		// The old one moved on between our look and our swap: look again. The newcomer wins.
	}
}

// view is what a takeover sees of the two sides.
type view struct {
	info     bus.Info
	rec      Record
	rev      uint64
	damaged  error
	cuts     []bus.Cut
	database string
	// shards are the numbers of shards into which the stream is or was cut, as far as anything tells.
	shards []int
}

func (w *worker) look(ctx context.Context) (v view, _ error) {
	err := w.patiently(ctx, "take over", func() (err error) {
		if v.info, err = w.deps.Bus.Info(ctx, w.stream); err != nil {
			if errors.Is(err, bus.ErrNoStream) {
				w.log.Warn("the stream does not exist and is declared anew")
				return errors.Join(err, w.deps.Bus.Ensure(ctx))
			}
			return err
		}
		if v.rec, v.rev, err = loadRecord(ctx, w.ledger.cell); errors.Is(err, errDamaged) {
			v.damaged, err = err, nil
		}
		if err != nil {
			return err
		}
		v.cuts = v.rec.Cuts
		if w.shard.Of > 0 {
			v.cuts, err = w.deps.Bus.Cuts(ctx, w.stream)
		}
		if err != nil {
			return err
		}
		if v.shards, err = w.deps.Bus.ShardsKnown(ctx, w.stream); err != nil {
			return err
		}
		v.database, err = w.deps.Store.Deployment(ctx)
		return err
	})
	return v, err
}

func (w *worker) tryTakeOver(ctx context.Context) (next uint64, _ error) {
	v, err := w.look(ctx)
	if err != nil {
		return 0, err
	}
	w.ledger.rev, w.ledger.database = v.rev, v.database
	w.life = v.info.Created
	w.filtered = w.shard.Of > 0 || len(v.cuts) > 0 || v.info.Shards > 0
	rec, err := w.begin(ctx, v)
	if err != nil {
		return 0, err
	}
	was := rec.Decoder
	rec = w.ledger.next(rec.Landing, rec.LastTime)
	if err := w.patiently(ctx, "write the record", func() error { return w.ledger.move(ctx, rec) }); err != nil {
		return 0, err
	}
	if rec.Last >= rec.First {
		if err := w.replay(ctx, rec, max(was, 1) != decoder); err != nil {
			return 0, err
		}
	}
	w.reached(rec.Last)
	return rec.Last + 1, nil
}

// begin finds the range to begin with: the record's, where it belongs to this stream and this database; else what can be proven.
func (w *worker) begin(ctx context.Context, v view) (Record, error) {
	created := v.info.Created.UnixNano()
	switch rec := v.rec; {
	case v.damaged != nil:
		w.log.Error("the record of landing is damaged and is rebuilt from the tables", "err", v.damaged)
		return w.rebuild(ctx, v)
	case v.rev == 0:
		return w.rebuild(ctx, v)
	case rec.Database != "" && rec.Database != v.database:
		return Record{}, fmt.Errorf("%w: %s of this NATS lands into database %s, and this is %s; point clickhouse at that one, or nats at another",
			ErrNewLife, w.name(), rec.Database, v.database)
	case rec.Created != created:
		return w.newLife(ctx, v)
	default:
		return rec, w.sameStream(ctx, v)
	}
}

// sameStream refuses a stream that has lost its end: what it then stores again under the same sequences would be taken for landed.
func (w *worker) sameStream(ctx context.Context, v view) error {
	rec := v.rec
	if err := w.nothingBeyond(ctx); err != nil {
		return err
	}
	if v.info.LastSeq < rec.Last {
		return fmt.Errorf("%w: %s ends at sequence %d, but %d has landed: NATS has lost messages that it had acknowledged (a power cut without nats.sync always, or an old backup restored); "+
			"the rows are safe; move the stream away (nats stream backup) and delete it, and the lander goes on with a new one", ErrNewLife, w.stream, v.info.LastSeq, rec.Last)
	}
	if rec.LastTime.IsZero() {
		return nil
	}
	var at bus.Spot
	var ok bool
	err := w.patiently(ctx, "look at the last message that landed", func() (err error) {
		at, ok, err = w.deps.Bus.StoredAt(ctx, w.stream, rec.Last)
		return err
	})
	if err != nil {
		return err
	}
	if ok && !at.Time.Equal(rec.LastTime) {
		return fmt.Errorf("%w: message %d of %s was stored at %s, and the one that landed at %s: NATS has lost messages that it had acknowledged and has given their sequences out again; "+
			"move the stream away (nats stream backup) and delete it, and the lander goes on with a new one", ErrNewLife, rec.Last, w.stream, at.Time.Format(time.RFC3339Nano), rec.LastTime.Format(time.RFC3339Nano))
	}
	return nil
}

// nothingBeyond refuses a record that has gone back in time, together with its stream: rows stand that no record has led to. What the stream then stores again under
// their sequences would be dropped under tokens that are used up, or stand twice.
func (w *worker) nothingBeyond(ctx context.Context) error {
	return w.patiently(ctx, "look for rows behind the record", func() error {
		at, _, err := w.deps.Bus.Landing(ctx, w.stream)
		if err != nil {
			return err
		}
		rows, top, err := w.deps.Store.Beyond(ctx, w.stream, w.life, at.Last)
		if err != nil || rows == 0 {
			return err
		}
		// Another lander may have moved on meanwhile: a record is written before its rows.
		if at, _, err = w.deps.Bus.Landing(ctx, w.stream); err != nil || top <= at.Last {
			return err
		}
		return fmt.Errorf("%w: the database has rows of %s up to sequence %d, but the record of landing ends at %d: NATS has lost what it had acknowledged, the record too (a power cut without nats.sync always, or an old backup restored); "+
			"the rows are safe; move the stream away (nats stream backup) and delete it, and the lander goes on with a new one", ErrNewLife, w.stream, top, at.Last)
	})
}

// start is the range before the first: nothing has landed.
func (w *worker) start(v view) Record {
	first := uint64(1)
	if w.shard.Of > 0 {
		for _, c := range v.cuts {
			if c.Of == w.shard.Of {
				first = max(c.From, 1)
			}
		}
	}
	return Record{Landing: bus.Landing{Created: v.info.Created.UnixNano(), First: first, Last: first - 1, Cuts: w.cutsOf(v)}}
}

// cutsOf is what the record says of cuts: only that of the whole stream does.
func (w *worker) cutsOf(v view) []bus.Cut {
	switch {
	case w.shard.Of > 0:
		return nil
	case v.rec.Created == v.info.Created.UnixNano():
		return v.rec.Cuts
	}
	// A new life, or a record that is lost: the stream says how it is cut now, the records of shards how it was.
	var out []bus.Cut
	for _, n := range v.shards {
		out = append(out, bus.Cut{Of: n, From: 1})
	}
	return out
}

// newLife begins with a stream that was deleted and made again. What its old life held and had not landed is lost, and nobody can tell any more what that was.
func (w *worker) newLife(ctx context.Context, v view) (Record, error) {
	// Its rows can be told from the old ones by when JetStream stored them. That none of them is there yet is what is expected of it.
	top, err := w.top(ctx, w.life)
	if err != nil {
		return Record{}, err
	}
	if top.Seq > 0 {
		return w.rebuild(ctx, v)
	}
	old := v.rec
	if w.shard.Of == 0 {
		why := fmt.Sprintf("stream %s was deleted and made again at %s: what it held behind sequence %d had not landed or may not have", w.stream, w.life.Format(time.RFC3339), old.First-1)
		if err := w.lost(ctx, old.Created, old.First, max(old.Last, old.First), old.LastTime, w.life, why); err != nil {
			return Record{}, err
		}
	}
	v.rec = Record{}
	return w.start(v), nil
}

func (w *worker) top(ctx context.Context, life time.Time) (top store.Top, _ error) {
	err := w.patiently(ctx, "ask ClickHouse", func() (err error) {
		top, err = w.deps.Store.Top(ctx, w.stream, life)
		return err
	})
	return top, err
}
