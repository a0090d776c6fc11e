package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

var (
	outageRate  = flag.Float64("rate", 20_000, "events a second that outage and landing_peer publish")
	outageForms = flag.String("forms", "refused,killed", "of outage: how the engine goes away, one after the other")
)

const (
	outageDatabase = "hashpivot_sim"
	outageSteady   = 10 * time.Second // before the engine goes, and after all has been caught up
	outagePatience = 10 * time.Minute // to catch up
)

// outage takes the engine away for -minutes while -rate events a second are published: once with a proxy that refuses, once with the engine killed. It
// tells how long the lander, a process of its own, takes to catch up while the publisher goes on, what memory it used, and what the audit says.
func outage(ctx context.Context, print func(figure)) error {
	for form := range strings.SplitSeq(*outageForms, ",") {
		if form != "refused" && form != "killed" {
			return fmt.Errorf("forms: %q is neither refused nor killed", form)
		}
		if err := outageOf(ctx, form, print); err != nil {
			return fmt.Errorf("engine %s: %w", form, err)
		}
	}
	return nil
}

func outageOf(ctx context.Context, form string, print func(figure)) (err error) {
	away := time.Duration(*soakMinutes * float64(time.Minute))
	s, err := openScene(ctx, outageDatabase)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := room(s.dir, uint64(*outageRate*(away+3*outageSteady).Seconds())*2*rowOnDisk); err != nil {
		return err
	}
	px, err := startProxy(ctx, s.engine.Native)
	if err != nil {
		return err
	}
	defer px.close()
	p, err := s.lander(px.addr(), outageDatabase)
	if err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	defer p.kill()
	g := startGenerator(ctx, s.stream, newTape(), *outageRate)
	defer g.stop()
	mem := watchRSS(ctx, p)
	defer mem.stop()

	if err := s.untilLive(ctx, p, g, outagePatience); err != nil {
		return fmt.Errorf("before the outage: %w", err)
	}
	if err := pause(ctx, outageSteady); err != nil {
		return err
	}
	before := mem.take()
	begin, published := time.Now(), g.count()
	if form == "killed" {
		s.engine.kill()
	} else {
		px.refuse(true)
	}
	if err := pause(ctx, away/2); err != nil {
		return err
	}
	early := mem.take()
	if err := pause(ctx, away-away/2); err != nil {
		return err
	}
	late := mem.take()
	if err := errors.Join(p.alive(), g.failed()); err != nil {
		return err
	}
	took, missed := time.Since(begin), g.count()-published
	if form == "killed" {
		if err := s.engine.start(ctx); err != nil {
			return err
		}
	}
	px.refuse(false)
	back := time.Now()
	if err := s.untilLive(ctx, p, g, outagePatience); err != nil {
		return fmt.Errorf("after the outage: %w", err)
	}
	caught := time.Since(back)
	catching := mem.take()
	if err := pause(ctx, outageSteady); err != nil {
		return err
	}
	after := mem.take()
	total, err := g.end()
	if err != nil {
		return err
	}
	rows, distinct, err := s.untilStored(ctx, outageDatabase, total, time.Minute, p.alive)
	if err != nil {
		return err
	}
	audit, err := s.audit(ctx, outageDatabase)
	if err != nil {
		return err
	}
	name := "outage_" + form
	print(figure{Name: name, Value: took.Minutes(), Unit: "min"})
	print(figure{Name: name + "_published", Value: float64(missed) / took.Seconds(), Unit: "events/s", Ratio: float64(missed) / took.Seconds() / *outageRate, RatioTo: "rate"})
	print(figure{Name: name + "_caught_up", Value: caught.Seconds(), Unit: "s"})
	print(figure{Name: name + "_rss_before", Value: before, Unit: "MiB"})
	print(figure{Name: name + "_rss_early", Value: early, Unit: "MiB"})
	print(figure{Name: name + "_rss_late", Value: late, Unit: "MiB", Ratio: late / early, RatioTo: name + "_rss_early"})
	print(figure{Name: name + "_rss_catching_up", Value: catching, Unit: "MiB"})
	print(figure{Name: name + "_rss_after", Value: after, Unit: "MiB"})
	print(figure{Name: name + "_stranded", Value: float64(total - distinct), Unit: "rows"})
	print(figure{Name: name + "_doubled", Value: float64(rows - distinct), Unit: "rows"})
	print(figure{Name: name + "_audit_lost", Value: float64(audit.Lost), Unit: "rows"})
	print(figure{Name: name + "_audit_doubled", Value: float64(audit.Duplicates), Unit: "rows"})
	return nil
}

// untilLive waits until the lander is within a second of what is published.
func (s *scene) untilLive(ctx context.Context, p *process, g *generator, patience time.Duration) error {
	const every = 50 * time.Millisecond
	var past []uint64 // the stream's last sequences, of the last second
	deadline := time.Now().Add(patience)
	for {
		info, err := s.stream.bus.Info(ctx, market.Trades)
		if err != nil {
			return err
		}
		landed, err := s.landed(ctx)
		if err != nil {
			return err
		}
		if past = append(past, info.LastSeq); len(past) > int(time.Second/every) {
			past = past[1:]
			if past[0] > 0 && landed >= past[0] {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not caught up within %s: landed up to %d of %d", patience, landed, info.LastSeq)
		}
		if err := errors.Join(p.alive(), g.failed(), pause(ctx, every)); err != nil {
			return err
		}
	}
}

// generator publishes trades evenly until it is ended.
type generator struct {
	cancel context.CancelFunc
	done   chan struct{}
	pub    *bus.Publisher
	n      atomic.Uint64
	err    atomic.Pointer[error]
}

func startGenerator(ctx context.Context, s *stream, t *tape, perSecond float64) *generator {
	ctx, cancel := context.WithCancel(ctx)
	g := &generator{cancel: cancel, done: make(chan struct{}), pub: s.bus.NewPublisher(bus.PublisherConfig{})}
	go func() {
		defer close(g.done)
		if err := g.run(ctx, t, perSecond); err != nil && ctx.Err() == nil {
			g.err.Store(&err)
		}
	}()
	return g
}

func (g *generator) run(ctx context.Context, t *tape, perSecond float64) error {
	start := time.Now()
	for {
		for due := uint64(time.Since(start).Seconds() * perSecond); g.n.Load() < due; g.n.Add(1) {
			trade, err := t.next()
			if err != nil {
				return err
			}
			if err := g.pub.Publish(ctx, trade); err != nil {
				return err
			}
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return nil
		}
	}
}

func (g *generator) count() uint64 { return g.n.Load() }

func (g *generator) failed() error {
	if err := g.err.Load(); err != nil {
		return *err
	}
	return nil
}

// end stops publishing and returns how many trades are in the stream.
func (g *generator) end() (uint64, error) {
	g.cancel()
	<-g.done
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := errors.Join(g.failed(), g.pub.Close(ctx))
	return g.pub.Stats().Events, err
}

func (g *generator) stop() {
	g.cancel()
	<-g.done
}

// rssWatch looks at a process's memory four times a second.
type rssWatch struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu  sync.Mutex
	max float64
}

func watchRSS(ctx context.Context, p *process) *rssWatch {
	ctx, cancel := context.WithCancel(ctx)
	w := &rssWatch{cancel: cancel}
	w.done.Go(func() {
		for pause(ctx, 250*time.Millisecond) == nil {
			rss := p.rss()
			w.mu.Lock()
			w.max = max(w.max, rss)
			w.mu.Unlock()
		}
	})
	return w
}

// take returns the greatest since it was called last, MiB.
func (w *rssWatch) take() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	rss := w.max
	w.max = 0
	return rss
}

func (w *rssWatch) stop() {
	w.cancel()
	w.done.Wait()
}
