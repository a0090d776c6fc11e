package lander

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// worker lands one stream: while one range is in flight, the next is fetched and decoded.
type worker struct {
	stream  market.Stream
	cfg     Config
	deps    Deps
	log     *slog.Logger
	landed  *atomic.Uint64
	ledger  *ledger
	created int64
}

func (w *worker) run(ctx context.Context) error {
	next, err := w.takeOver(ctx)
	if err != nil {
		return err
	}
	// spans: one in flight, one being built.
	free := make(chan *span, 2)
	for range cap(free) {
		free <- &span{batch: w.deps.Store.NewBatch()}
	}
	ready := make(chan *span)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.build(ctx, next, free, ready) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case s := <-ready:
				if err := w.land(ctx, s); err != nil {
					return err
				}
				s.reset()
				free <- s
			}
		}
	})
	return g.Wait()
}

// takeOver fences off any other lander of the stream, lands the range that the record names once more, and returns where to go on.
func (w *worker) takeOver(ctx context.Context) (next uint64, _ error) {
	w.ledger = newLedger(w.deps.Bus, w.stream)
	for {
		next, err := w.tryTakeOver(ctx)
		if !errors.Is(err, ErrFenced) {
			return next, err
		}
		// The old one moved on between our look and our swap: look again. The newcomer wins.
	}
}

func (w *worker) tryTakeOver(ctx context.Context) (next uint64, _ error) {
	var (
		info bus.Info
		rec  Record
		ok   bool
	)
	err := w.patiently(ctx, "take over", func() (err error) {
		if info, err = w.deps.Bus.Info(ctx, w.stream); err != nil {
			return err
		}
		rec, w.ledger.rev, ok, err = LoadRecord(ctx, w.deps.Bus, w.stream)
		return err
	})
	if err != nil {
		return 0, err
	}
	w.created = info.Created.UnixNano()
	if !ok {
		var top uint64
		if err := w.patiently(ctx, "ask ClickHouse", func() (err error) {
			top, err = w.deps.Store.MaxSeq(ctx, w.stream)
			return err
		}); err != nil {
			return 0, err
		}
		if top > 0 {
			return 0, fmt.Errorf("%w: ClickHouse has rows of %s up to sequence %d, but JetStream has no record of landing them; point at the NATS that they came from, or use a new database",
				ErrNewLife, w.stream, top)
		}
		rec = Record{Landing: bus.Landing{Created: w.created, First: max(info.FirstSeq, 1), Last: max(info.FirstSeq, 1) - 1}}
	}
	if rec.Created != w.created {
		return 0, fmt.Errorf("%w: stream %s was created at %s, but the record of landing it is of one created at %s; use a new database for the new stream",
			ErrNewLife, w.stream, info.Created, time.Unix(0, rec.Created).UTC())
	}
	rec = w.ledger.next(rec.Created, rec.First, rec.Last)
	if err := w.patiently(ctx, "write the record", func() error { return w.ledger.move(ctx, rec) }); err != nil {
		return 0, err
	}
	if rec.Last >= rec.First {
		if err := w.replay(ctx, rec); err != nil {
			return 0, err
		}
	}
	w.landed.Store(rec.Last)
	return rec.Last + 1, nil
}

// replay lands the recorded range again, from the stream, under the same tokens.
func (w *worker) replay(ctx context.Context, rec Record) error {
	s := &span{batch: w.deps.Store.NewBatch()}
	err := w.patiently(ctx, "read the range again", func() error {
		s.reset()
		r, err := w.deps.Bus.Read(ctx, w.stream, rec.First)
		if err != nil {
			return err
		}
		defer r.Close()
		for left := r.Pending(); left > 0; left-- {
			m, err := r.Next(ctx)
			if err != nil {
				return err
			}
			if m.Seq > rec.Last {
				return nil
			}
			s.add(w.stream, w.created, m)
			if m.Seq == rec.Last || m.Pending == 0 {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s.empty() {
		return nil // all of its messages were deleted or have aged out
	}
	s.first, s.last = rec.First, rec.Last
	// The tokens make a second insert harmless as long as ClickHouse remembers them. Their log is not synced as the rows are, so after
	// a power cut rows may stand whose token is forgotten: what is there whole is not sent again.
	var have uint64
	if err := w.patiently(ctx, "ask what has landed of the range", func() error {
		counts, err := w.deps.Store.Landed(ctx, w.stream, rec.First, rec.Last)
		have = 0
		for _, c := range counts {
			have += c.Distinct
		}
		return err
	}); err != nil {
		return err
	}
	if have == uint64(s.batch.Rows()) {
		s.batch.Reset()
	}
	w.log.Info("landing the recorded range again", "first", rec.First, "last", rec.Last, "rows", s.batch.Rows())
	return w.insert(ctx, s, rec)
}

// build fetches and decodes, and offers what it has to the lander whenever that is free: big ranges when behind, small ones when live.
func (w *worker) build(ctx context.Context, next uint64, free, ready chan *span) error {
	msgs := newAhead()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.fetch(ctx, next, msgs) })
	g.Go(func() error { return w.gather(ctx, free, ready, msgs) })
	return g.Wait()
}

// fetch reads the stream from next on, through every failure, without a hole and without a double.
func (w *worker) fetch(ctx context.Context, next uint64, msgs *ahead) error {
	return w.patiently(ctx, "read the stream", func() error {
		r, err := w.deps.Bus.Read(ctx, w.stream, next)
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
}

func (w *worker) gather(ctx context.Context, free, ready chan *span, msgs *ahead) error {
	var (
		cur    *span
		sentAt time.Time
		pace   = time.NewTimer(0)
	)
	defer pace.Stop()
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
				cur.add(w.stream, w.created, m)
				msgs.decoded(m)
				continue
			default:
			}
		}
		in, out, wait := msgs.msgs, ready, (<-chan time.Time)(nil)
		if full {
			in = nil
		}
		if cur.empty() {
			out = nil
		} else if left := w.cfg.MinInterval - time.Since(sentAt); left > 0 && !full {
			out = nil
			pace.Reset(left)
			wait = pace.C
		}
		select {
		case <-ctx.Done():
			return nil
		case m := <-in:
			cur.add(w.stream, w.created, m)
			msgs.decoded(m)
		case out <- cur:
			cur, sentAt = nil, time.Now()
		case <-wait:
		}
	}
}

// land writes the range down and lands it.
func (w *worker) land(ctx context.Context, s *span) error {
	// The range begins where the last one ended, so that holes from deleted messages belong to one range too.
	rec := w.ledger.next(w.created, w.landed.Load()+1, s.last)
	if err := w.patiently(ctx, "write the record", func() error { return w.ledger.move(ctx, rec) }); err != nil {
		return err
	}
	return w.insert(ctx, s, rec)
}

// insert lands a range that is written down. It does not return before that is done, unless ctx ends or the stream is another's.
func (w *worker) insert(ctx context.Context, s *span, rec Record) error {
	start := time.Now()
	for _, d := range s.dead {
		w.log.Warn("event cannot land, dead-lettered", "seq", d.Seq, "idx", d.Idx, "reason", string(d.Reason), "detail", d.Detail)
		if err := w.patiently(ctx, "dead-letter", func() error { return w.deps.Bus.PublishOnce(ctx, d) }); err != nil {
			return err
		}
	}
	if s.batch.Rows() > 0 {
		token := rec.Token(w.stream)
		if err := w.patiently(ctx, "insert", func() error { return w.deps.Store.Insert(ctx, s.batch, token) }); err != nil {
			return fmt.Errorf("insert %s: %w", token, err)
		}
	}
	w.deps.Metrics.landed(w.stream, s, time.Since(start).Seconds())
	w.landed.Store(rec.Last)
	return nil
}

// patiently does a step again and again until it succeeds. It ends without success only when ctx ends or when the stream is no longer
// ours: a range that was written down is never cut anew and never given up, because its outcome may be unknown.
func (w *worker) patiently(ctx context.Context, step string, do func() error) error {
	bo := &backoff.ExponentialBackOff{InitialInterval: 50 * time.Millisecond, MaxInterval: 5 * time.Second, RandomizationFactor: 0.5, Multiplier: 2}
	bo.Reset()
	var warned time.Time
	for {
		began := time.Now()
		err := do()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrFenced), errors.Is(err, ErrNewLife):
			return err
		}
		if time.Since(began) > 30*time.Second {
			bo.Reset() // it worked for a while; fetch lives long
		}
		w.deps.Metrics.retry(w.stream, step)
		if time.Since(warned) > 5*time.Second {
			warned = time.Now()
			hint := ""
			switch {
			case store.IsSchema(err):
				hint = "the database's schema or rights are not this version's: run hashpivot migrate, check the user"
			case store.IsRefused(err):
				hint = "ClickHouse refuses the values of this range: was a constraint added to the table? remove it, or the stream stands still"
			}
			w.log.Warn("will be tried again", "step", step, "err", err, "hint", hint)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(bo.NextBackOff()):
		}
	}
}
