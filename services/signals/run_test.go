package signals

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// clock is a wall clock that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// tee publishes to the real broker and remembers. After left events (below 0: never) it is dead, as a killed process is.
type tee struct {
	*feedtest.Memory
	to feed.Sink

	mu   sync.Mutex
	left int
	kill context.CancelFunc
}

func (s *tee) Publish(ctx context.Context, ev market.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		s.kill()
		return context.Canceled
	}
	s.left--
	if err := s.to.Publish(ctx, ev); err != nil {
		return err
	}
	return s.Memory.Publish(ctx, ev)
}

func (s *tee) Flush(ctx context.Context) error { return s.to.Flush(ctx) }

// stage is a broker, a publisher for the feeds, and a clock.
type stage struct {
	t     *testing.T
	srv   *bus.Server
	bus   *bus.Bus
	pub   *bus.Publisher
	clock *clock
	all   []*market.Bar // told by all runs

	actions []reference.Action // instead of the embedded ones
}

func newStage(t *testing.T, now time.Time) *stage {
	srv, b := bustest.Start(t)
	pub := b.NewPublisher(bus.PublisherConfig{})
	t.Cleanup(func() { _ = pub.Close(context.Background()) })
	return &stage{t: t, srv: srv, bus: b, pub: pub, clock: &clock{now: now}}
}

func (s *stage) tell(events ...market.Event) {
	s.t.Helper()
	for _, ev := range events {
		if err := s.pub.Publish(s.t.Context(), ev); err != nil {
			s.t.Fatal(err)
		}
		// One message each, so that order is that of the test.
		if err := s.pub.Flush(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
}

type running struct {
	*stage
	sink *tee
	stop context.CancelFunc
	done chan error
}

func (s *stage) start(cfg Config, events int) *running {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	pub := s.bus.NewPublisher(bus.PublisherConfig{})
	r := &running{stage: s, sink: &tee{Memory: feedtest.NewMemory(), to: pub, left: events, kill: cancel}, stop: cancel, done: make(chan error, 1)}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(s.t.Output(), nil))
	}
	go func() {
		err := Run(ctx, cfg, Deps{Bus: s.bus, Sink: r.sink, Logger: log, Now: s.clock.read, actions: s.actions})
		r.done <- errors.Join(err, pub.Close(context.Background()))
	}()
	return r
}

func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Fatalf("run: %v", err)
		}
	case <-time.After(time.Minute):
		r.t.Fatal("the service does not end")
	}
	r.all = append(r.all, feedtest.Of[*market.Bar](r.sink.Memory)...)
}

func (r *running) until(what string, ok func(*market.Bar) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if !r.sink.Wait(ctx, func(events []market.Event) bool {
		for _, ev := range events {
			if b, is := ev.(*market.Bar); is && ok(b) {
				return true
			}
		}
		return false
	}) {
		r.t.Fatalf("waited in vain for %s", what)
	}
}

func minuteBar(at time.Time, volume string) func(*market.Bar) bool {
	return func(b *market.Bar) bool {
		return b.Interval == market.Interval1m && b.EventTime.Equal(at) && b.Volume.String() == volume
	}
}

// withdrawn is the bar of a second whose prints are all cancelled.
func withdrawn(at time.Time) func(*market.Bar) bool {
	return func(b *market.Bar) bool {
		return b.Interval == market.Interval1s && b.EventTime.Equal(at) && b.TradeCount == 0
	}
}

var open = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC) // a Friday

func printAt(id string, after time.Duration, price, size string) *market.Trade {
	at := open.Add(after)
	return &market.Trade{
		Meta: market.Meta{EventTime: at, RecvTime: at, Source: "sim-alpaca"}, Action: market.TradeNew, Symbol: "IREN", ID: id, Exchange: "Q", Tape: "C",
		PriceUSD: market.MustDecimal(price), SizeShares: market.MustDecimal(size), Conditions: []string{"@"},
	}
}

func cancelOf(x *market.Trade, told time.Duration) *market.Trade {
	c := *x
	c.Action, c.EventTime, c.Conditions = market.TradeCancel, open.Add(told), nil
	return &c
}

func deref(list []*market.Trade) (out []market.Trade) {
	for _, x := range list {
		out = append(out, *x)
	}
	return out
}

// TestServiceFollowsRestartsAndRevises: bars from what was stored before the start and after, revisions, a restart that tells nothing twice,
// final bars, and a cancel of a trade date that is long out of memory.
func TestServiceFollowsRestartsAndRevises(t *testing.T) {
	t.Parallel()
	s := newStage(t, open.Add(30*time.Minute))
	cfg := DefaultConfig()
	cfg.Bars.ReviseEvery = 100 * time.Millisecond
	var told []*market.Trade
	trades := func(list ...*market.Trade) {
		for _, x := range list {
			told = append(told, x)
			s.tell(x)
		}
	}
	trades(printAt("1", time.Second, "50", "100"), printAt("2", 30*time.Second, "51", "100"), printAt("3", 61*time.Second, "52", "10"))

	r := s.start(cfg, -1)
	r.until("the first minute", minuteBar(open, "200"))
	r.until("the second minute", minuteBar(open.Add(time.Minute), "10"))
	s.clock.set(s.clock.read().Add(time.Second))
	trades(printAt("4", 45*time.Second, "49", "7")) // late
	r.until("the first minute with the late print", minuteBar(open, "207"))
	s.clock.set(s.clock.read().Add(time.Second))
	trades(cancelOf(told[1], 40*time.Minute))
	r.until("the first minute without the cancelled print", minuteBar(open, "107"))
	r.until("its second, withdrawn", withdrawn(open.Add(30*time.Second))) // the last of the bars that change with it
	r.end()

	trades(printAt("5", 2*time.Minute, "53", "5")) // while nobody looks
	r = s.start(cfg, -1)
	r.until("the minute that was missed", minuteBar(open.Add(2*time.Minute), "5"))
	r.end()
	for _, b := range feedtest.Of[*market.Bar](r.sink.Memory) {
		if b.EventTime.Before(open.Add(2*time.Minute)) && b.Interval.Duration() <= time.Minute {
			t.Errorf("told twice: %+v", b)
		}
	}

	r = s.start(cfg, -1)
	s.clock.set(time.Date(2026, 11, 21, 1, 20, 0, 0, time.UTC)) // after hours have ended at 01:00
	r.until("the final bar of the day", func(b *market.Bar) bool { return b.Interval == market.Interval1d && b.Session == "" && b.Final })
	// Three trade dates on, Friday is out of memory.
	s.clock.set(time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC))
	next := *printAt("1", 4*24*time.Hour, "60", "1")
	s.tell(&next)
	r.until("Tuesday's minute", func(b *market.Bar) bool { return b.TradeDate == "2026-11-24" && b.Interval == market.Interval1m })
	trades(cancelOf(told[2], 62*time.Second))
	r.until("Friday's final bar without the cancelled print", func(b *market.Bar) bool {
		return b.TradeDate == "2026-11-20" && b.Interval == market.Interval1d && b.Session == "" && b.Final && b.Volume.String() == "112"
	})
	r.until("its second, withdrawn", withdrawn(open.Add(61*time.Second)))
	r.end()

	got := map[string]market.Bar{}
	for name, b := range lastOf(t, s.all) {
		if b.TradeDate == "2026-11-20" {
			got[name] = b
		}
	}
	sameBars(t, "Friday", got, Build(deref(told), alpacaRules(t), us(t), cfg.Bars.Intervals), "IREN", true)
}

// TestKilledAnywhere: a service that is killed after any number of events and started again tells the same bars, each revision once.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.Bars.ReviseEvery = 100 * time.Millisecond
	for _, n := range []int{0, 1, 3, 7, 11} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := newStage(t, open.Add(90*time.Minute))
			var told []*market.Trade
			for i := range 8 {
				x := printAt(fmt.Sprint(i), time.Duration(i)*25*time.Second, fmt.Sprintf("5%d", i), "100")
				told = append(told, x)
				s.tell(x)
			}
			r := s.start(cfg, n)
			select {
			case err := <-r.done:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatal("not killed")
			}
			s.all = append(s.all, feedtest.Of[*market.Bar](r.sink.Memory)...)
			s.clock.set(time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC))
			r = s.start(cfg, -1)
			r.until("the final bar of the day", func(b *market.Bar) bool {
				return b.Interval == market.Interval1d && b.Session == "" && b.Final
			})
			x := *printAt("99", 4*24*time.Hour, "60", "1")
			s.tell(&x) // the tape goes on; nothing else is told of Friday
			s.clock.set(x.EventTime.Add(10 * time.Minute))
			r.until("the next date", func(b *market.Bar) bool { return b.TradeDate == "2026-11-24" })
			r.end()
			got := map[string]market.Bar{}
			for name, b := range lastOf(t, s.all) {
				if b.TradeDate == "2026-11-20" {
					got[name] = b
				}
			}
			sameBars(t, "Friday", got, Build(deref(told), alpacaRules(t), us(t), cfg.Bars.Intervals), "IREN", true)
		})
	}
}

// TestDateThatTheStreamForgot: prints of a date whose beginning has aged out of the stream change no bar, and are counted.
func TestDateThatTheStreamForgot(t *testing.T) {
	t.Parallel()
	s := newStage(t, time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC))
	cfg := DefaultConfig()
	cfg.Bars.Restore, cfg.Bars.Retain = 24*time.Hour, 1
	s.tell(printAt("1", time.Second, "50", "100"), printAt("2", 2*time.Second, "51", "100"))
	bustest.DeleteMessage(t, s.srv, market.Trades, 1)
	r := s.start(cfg, -1)
	s.tell(cancelOf(printAt("2", 2*time.Second, "51", "100"), 3*time.Second))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if !r.sink.Wait(ctx, func(events []market.Event) bool {
		for _, ev := range events {
			if x, ok := ev.(*market.Signal); ok && x.Name == signalSkipped && x.Value.String() == "2" && x.Inputs[inputTooOld] == "2" && x.Inputs[inputDate] == "2026-11-20" {
				return true
			}
		}
		return false
	}) {
		t.Errorf("the print that came too late is not listed; %d events", r.sink.Len())
	}
	r.end()
	if len(s.all) != 0 {
		t.Errorf("%d bars of half a date", len(s.all))
	}
}
