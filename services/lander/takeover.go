package lander

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
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
	return w.insert(ctx, s, rec, done.places.Blocks())
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
