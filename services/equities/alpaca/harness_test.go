package alpaca

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// venue is a simulator that listens.
type venue struct {
	*alpaca.Server
	url string // http://127.0.0.1:port
}

func newVenue(t testing.TB, cfg alpaca.Config) *venue {
	t.Helper()
	if cfg.Dir == "" {
		w, err := world.New(world.Config{Seed: 42})
		if err != nil {
			t.Fatal(err)
		}
		cfg.World = w
		if len(cfg.Symbols) == 0 {
			cfg.Symbols = []string{"WGMI", "CORZ", "BTBT", "IREN"}
		}
	}
	sim, err := alpaca.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim.Handler())
	t.Cleanup(func() {
		sim.Close()
		srv.Close()
	})
	return &venue{sim, srv.URL}
}

// testConfig is what services/equities would give the engine and the upstream.
type testConfig struct {
	Symbols   []string
	Calendar  string
	StopAtEnd bool
	Alpaca    Config
	Backfill  engine.Backfill
	Stale     engine.Stale
}

func defaultTestConfig() testConfig {
	return testConfig{
		Symbols: []string{"WGMI", "CORZ", "BTBT", "IREN"}, Calendar: "us", Alpaca: DefaultConfig(), Backfill: engine.DefaultBackfill(),
		Stale: engine.DefaultStale(),
	}
}

func (c testConfig) calendar() (session.Calendar, error) {
	if c.Calendar == "always" {
		return session.NewAlways()
	}
	return session.US()
}

func (c testConfig) engine(deps feed.Deps) (*engine.Engine, error) {
	cal, err := c.calendar()
	if err != nil {
		return nil, err
	}
	return engine.New(engine.Config{
		Source: c.Alpaca.Source, Symbols: c.Symbols, Calendar: cal, StopAtEnd: c.StopAtEnd, Backfill: c.Backfill, Stale: c.Stale,
	}, New(c.Alpaca), deps)
}

func (v *venue) config() testConfig {
	cfg := defaultTestConfig()
	cfg.Alpaca.Source, cfg.Calendar = "sim-alpaca", "always"
	cfg.Alpaca.StreamURL = "ws" + strings.TrimPrefix(v.url, "http") + "/v2/iex"
	cfg.Alpaca.RESTURL = v.url
	cfg.Alpaca.Key, cfg.Alpaca.Secret = "key", "secret"
	cfg.Alpaca.HistoryTrails, cfg.Alpaca.SlowRetry = 100*time.Millisecond, 50*time.Millisecond
	cfg.Backfill = engine.Backfill{MaxHole: time.Hour, Restore: time.Hour}
	return cfg
}

// running is a service under test.
type running struct {
	t    testing.TB
	mem  *feedtest.Memory
	e    *engine.Engine
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, cfg testConfig, mem *feedtest.Memory) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e, err := cfg.engine(deps(t, mem))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ended := make(chan struct{})
	r := &running{t: t, mem: mem, e: e, stop: cancel, done: done}
	go func() {
		defer close(ended)
		done <- e.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return r
}

func deps(t testing.TB, mem *feedtest.Memory) feed.Deps {
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return feed.Deps{Sink: mem, History: mem, Logger: log}
}

// end stops the service and returns its error.
func (r *running) end() error {
	r.t.Helper()
	r.stop()
	return r.wait()
}

// wait waits for the service to end by itself.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatal("the service does not end")
		return nil
	}
}

// until waits for a state of the events.
func (r *running) until(what string, ok func([]market.Event) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if !r.mem.Wait(ctx, ok) {
		r.t.Fatalf("waited in vain for %s; %d events so far", what, r.mem.Len())
	}
}

func count[T market.Event](events []market.Event, ok func(T) bool) (n int) {
	for _, ev := range events {
		if x, is := ev.(T); is && (ok == nil || ok(x)) {
			n++
		}
	}
	return n
}

func atLeast[T market.Event](n int, ok func(T) bool) func([]market.Event) bool {
	return func(events []market.Event) bool { return count(events, ok) >= n }
}

func state(s market.FeedState) func(*market.FeedEvent) bool {
	return func(f *market.FeedEvent) bool { return f.State == s }
}

func gap(s market.GapState) func(*market.FeedGap) bool {
	return func(g *market.FeedGap) bool {
		return g.State == s || s == market.GapFilled && g.State == market.GapPartly
	}
}

// rejected counts the dead letters of a reason.
func rejected(reason market.Reason) func(*market.DeadLetter) bool {
	return func(d *market.DeadLetter) bool { return d.Reason == reason }
}

func newYork(t testing.TB) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}
