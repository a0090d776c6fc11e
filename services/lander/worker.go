package lander

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// worker lands one stream, or one shard of it: while one range is in flight, the next is fetched and decoded.
type worker struct {
	stream market.Stream
	shard  bus.Shard
	cfg    Config
	deps   Deps
	log    *slog.Logger
	// valid says whether we may still send: we are in the list of landers, as far as we know.
	valid func() bool
	// quit ends the work behind the range that is in flight.
	quit chan struct{}
	// zombies is for how long an insert of a former lander can still be under way.
	zombies time.Duration

	landed  *progress // as others see it
	through uint64    // what has landed; only the worker's own loop knows it
	ledger  *ledger
	life    time.Time // when the stream was created
	// filtered says that other messages than the unit's stand in the stream.
	filtered bool
	pulse    *run.Pulse
	// pace is the least time between two inserts of a server that has too much to do, in ns; 0: it has not.
	pace atomic.Int64
}

// reached notes how far the unit has landed.
func (w *worker) reached(through uint64) {
	w.through = through
	w.landed.set(w.life, through)
}

// name of what the worker lands.
func (w *worker) name() string {
	if w.shard.Of == 0 {
		return string(w.stream)
	}
	return string(w.stream) + "/" + w.shard.String()
}

// errChanged says that the stream is not what it was when it was taken over: made again, or cut.
var errChanged = errors.New("the stream has changed")

// errUnsure says that we may be out of the list of landers: another may have our work.
var errUnsure = errors.New("our place among the landers is not renewed")

// run lands until ctx ends, quit is closed, or the unit is refused.
func (w *worker) run(ctx context.Context) error {
	for {
		err := w.session(ctx)
		switch {
		case errors.Is(err, errChanged):
			w.log.Warn("the stream has changed; it is taken over again", "err", err)
		case errors.Is(err, ErrFenced):
			// The list of landers says that it is ours. Give whoever has it the time to see that too.
			w.log.Warn("another lander has taken over; the list of landers decides", "err", err)
			w.deps.Metrics.fenced(w.stream)
			select {
			case <-ctx.Done():
				return nil
			case <-w.quit:
				return nil
			case <-time.After(w.deps.ttl()):
			}
		default:
			return err
		}
	}
}

func (w *worker) newSpan() *span {
	return &span{batch: w.deps.Store.NewBatch(), stream: w.stream, created: w.life.UnixNano()}
}

// session lands from a takeover on.
func (w *worker) session(ctx context.Context) error {
	w.pulse.Rest() // nobody knows how much there is to be looked at
	next, err := w.takeOver(ctx)
	if err != nil {
		return err
	}
	// spans: one in flight, one being built.
	free := make(chan *span, 2)
	for range cap(free) {
		free <- w.newSpan()
	}
	ready := make(chan *span)
	ctx, cancel := context.WithCancel(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.build(ctx, next, free, ready) })
	g.Go(func() error { return w.watch(ctx) })
	g.Go(func() error {
		defer cancel()
		return w.loop(ctx, free, ready)
	})
	return g.Wait()
}

// settleAfter is how long a unit must be quiet before its record says that all has landed; calm, how often a quiet one looks again.
const (
	settleAfter = 500 * time.Millisecond
	calm        = 5 * time.Second
	shardCalm   = time.Second
)

func (w *worker) loop(ctx context.Context, free, ready chan *span) error {
	idle := time.NewTimer(settleAfter)
	defer idle.Stop()
	for {
		w.pulse.Beat()
		select {
		case <-ctx.Done():
			return nil
		case <-w.quit:
			return w.settle(ctx)
		case s := <-ready:
			w.pulse.Rest() // it takes as long as ClickHouse and NATS take
			if err := w.land(ctx, s); err != nil {
				return err
			}
			s.reset()
			free <- s
			idle.Reset(settleAfter)
		case <-idle.C:
			w.pulse.Rest()
			if err := w.settle(ctx); err != nil {
				return err
			}
			if w.filtered {
				idle.Reset(shardCalm)
			} else {
				idle.Reset(calm)
			}
		}
	}
}

// watch looks whether the stream is still the one that was taken over.
func (w *worker) watch(ctx context.Context) error {
	tick := time.NewTicker(w.deps.watch())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		info, err := w.deps.Bus.Info(ctx, w.stream)
		switch {
		case errors.Is(err, bus.ErrNoStream):
			return fmt.Errorf("%w: it was deleted", errChanged)
		case err != nil: // NATS is away; whoever reads says so
		case !info.Created.Equal(w.life):
			return fmt.Errorf("%w: it was deleted and made again at %s", errChanged, info.Created.Format(time.RFC3339))
		case info.Shards > 0 && !w.filtered:
			return fmt.Errorf("%w: it is cut into %d shards", errChanged, info.Shards)
		}
	}
}

// build fetches and decodes, and offers what it has to the lander whenever that is free: big ranges when behind, small ones when live.
func (w *worker) build(ctx context.Context, next uint64, free, ready chan *span) error {
	msgs := newAhead()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.fetch(ctx, next, msgs) })
	g.Go(func() error { return w.gather(ctx, next, free, ready, msgs) })
	return g.Wait()
}

// fetch reads the unit from next on, through every failure, without a hole and without a double.
func (w *worker) fetch(ctx context.Context, next uint64, msgs *ahead) error {
	err := w.patiently(ctx, "read the stream", func() error {
		r, err := w.open(ctx, next)
		if err != nil {
			return err
		}
		defer r.Close()
		for {
			m, err := r.Next(ctx)
			if err != nil {
				return err
			}
			if m.Seq < next {
				continue
			}
			if err := msgs.put(ctx, m); err != nil {
				return err
			}
			next = m.Seq + 1
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (w *worker) gather(ctx context.Context, next uint64, free, ready chan *span, msgs *ahead) error {
	var (
		cur    *span
		sentAt time.Time
		pace   = time.NewTimer(0)
	)
	defer pace.Stop()
	add := func(m bus.Msg) {
		if m.Seq > next && !w.filtered {
			cur.holes = append(cur.holes, hole{next, m.Seq - 1})
		}
		next = m.Seq + 1
		cur.add(m)
		msgs.decoded(m)
	}
	for {
		if cur == nil {
			select {
			case cur = <-free:
			case <-ctx.Done():
				return nil
			}
		}
		full := cur.full(w.cfg)
		if !full {
			// What is at hand goes into this range before it is offered.
			select {
			case m := <-msgs.msgs:
				add(m)
				continue
			default:
			}
		}
		in, out, wait := msgs.msgs, ready, (<-chan time.Time)(nil)
		if full {
			in = nil
		}
		interval := max(w.cfg.MinInterval, time.Duration(w.pace.Load()))
		if cur.empty() {
			out = nil
		} else if left := interval - time.Since(sentAt); left > 0 && !full {
			out = nil
			pace.Reset(left)
			wait = pace.C
		}
		select {
		case <-ctx.Done():
			return nil
		case m := <-in:
			add(m)
		case out <- cur:
			cur, sentAt = nil, time.Now()
		case <-wait:
		}
	}
}

// at is the record's place of a range.
func (w *worker) at(first, last uint64) bus.Landing {
	return bus.Landing{Created: w.life.UnixNano(), First: first, Last: last, Cuts: w.ledger.now.Cuts}
}

// land writes the range down and lands it.
func (w *worker) land(ctx context.Context, s *span) error {
	// The range begins where the last one ended, so that holes from deleted messages belong to one range too.
	rec := w.ledger.next(w.at(w.through+1, s.last), s.lastTime)
	ctx, sp := w.trace(ctx, s, rec, false)
	defer sp.End()
	err := w.step(ctx, "write the record", func(ctx context.Context) error {
		return w.patiently(ctx, "write the record", func() error { return w.ledger.move(ctx, rec) })
	})
	if err == nil {
		err = w.insert(ctx, s, rec, nil)
	}
	mark(sp, err)
	return err
}

// insert lands a range that is written down. It does not return before that is done, unless ctx ends or the unit is another's.
func (w *worker) insert(ctx context.Context, s *span, rec Record, rest map[string]bool) error {
	start := time.Now()
	if err := w.lostHoles(ctx, s); err != nil {
		return err
	}
	for _, d := range s.dead {
		w.log.Warn("event cannot land, dead-lettered", "seq", d.Seq, "idx", d.Idx, "reason", string(d.Reason), "detail", d.Detail)
		if err := w.patiently(ctx, "dead-letter", func() error { return w.deps.Bus.PublishOnce(ctx, d) }); err != nil {
			return err
		}
	}
	if s.batch.Rows() > 0 {
		if err := w.step(ctx, "insert", func(ctx context.Context) error { return w.insertRows(ctx, s, rec, rest) }); err != nil {
			return err
		}
	}
	w.deps.Metrics.landed(w.stream, s, time.Since(start).Seconds())
	w.reached(rec.Last)
	return nil
}

// insertRows inserts the rows of a range, until they stand.
func (w *worker) insertRows(ctx context.Context, s *span, rec Record, rest map[string]bool) error {
	how := store.Insertion{Token: rec.Token(w.stream, w.shard), Rest: rest, Guard: w.guard}
	// Whether blocks may stand already; whether their tokens may be used up by a try that failed, so that an answer proves nothing.
	doubt, used := false, s.settled != nil
	for {
		if err := w.patiently(ctx, "insert", func() (err error) {
			if doubt {
				if how.Skip, _, err = w.stand(ctx, s, rec, rest); err != nil {
					return err
				}
			}
			err = w.deps.Store.InsertAs(ctx, s.batch, how)
			w.slowDown(err)
			sent := err != nil && !errors.Is(err, errUnsure)
			doubt, used = doubt || sent && !store.IsOverload(err), used || sent
			return err
		}); err != nil {
			return fmt.Errorf("insert %s: %w", how.Token, err)
		}
		if !used {
			return nil
		}
		var missing []string
		if err := w.patiently(ctx, "look whether the rows stand", func() (err error) {
			how.Skip, missing, err = w.stand(ctx, s, rec, rest)
			return err
		}); err != nil {
			return fmt.Errorf("insert %s: %w", how.Token, err)
		}
		switch {
		case len(missing) == 0:
			return nil
		case how.Again == maxAgain:
			w.log.Error("rows that ClickHouse has taken do not stand, under whatever token: a TTL, a row policy or somebody's mutation hides or removes them; the range counts as landed, and the audit tells what is missing",
				"token", how.Token, "blocks", missing)
			return nil
		}
		// A server that died, or failed, between its log of tokens and the rows takes every repetition for one.
		how.Again++
		w.deps.Metrics.retry(w.stream, "insert", "token")
		w.log.Warn("ClickHouse knows the token of rows that do not stand: they go under another", "token", how.Token, "blocks", missing, "again", how.Again)
	}
}

// maxAgain bounds the tokens of a range that may be used up without rows: each is a failure of the server between two steps of its own.
const maxAgain = 8

// stand asks which blocks of a range stand after a try whose outcome is not known, and which do not. Their tokens do not tell: for a power cut of ClickHouse's machine
// alone, since rows are synced and the log of tokens is not; or for a failure between that log and the rows. A block is stored whole or not at all; of a rest
// other rows of its block stand anyway.
func (w *worker) stand(ctx context.Context, s *span, rec Record, rest map[string]bool) (skip map[string]bool, missing []string, _ error) {
	places, err := w.deps.Store.Places(ctx, w.stream, w.life, rec.First, rec.Last)
	if err != nil {
		return nil, nil, err
	}
	skip = map[string]bool{}
	for block, st := range s.batch.Standing(places) {
		if st.Stand == st.Rows || st.Stand > 0 && !rest[block] {
			skip[block] = true
		} else {
			missing = append(missing, block)
		}
	}
	slices.Sort(missing)
	return skip, missing, nil
}

// guard is asked before rows are sent. A process that was frozen here and is thawed much later would else send a range whose tokens may be forgotten.
func (w *worker) guard() error {
	if !w.valid() {
		return errUnsure
	}
	return nil
}

// The pace under overload: from minPace it doubles up to maxPace, and comes down by a quarter with each insert that passes.
const (
	minPace = 200 * time.Millisecond
	maxPace = 5 * time.Second
)

// slowDown makes fewer and larger ranges while the server has too much to do. A range that is written down stays as it is.
func (w *worker) slowDown(err error) {
	pace := time.Duration(w.pace.Load())
	switch {
	case store.IsOverload(err):
		pace = min(max(2*pace, minPace), maxPace)
	case err == nil && pace > 0:
		if pace = pace * 3 / 4; pace < minPace/2 {
			pace = 0
		}
	}
	w.pace.Store(int64(pace))
}
