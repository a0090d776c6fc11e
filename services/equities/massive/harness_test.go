package massive

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
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest/conform"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/massive"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testSymbols = []string{"WGMI", "CORZ", "BTBT", "IREN"}

func simulator(t testing.TB, cfg massive.Config) *massive.Server {
	t.Helper()
	w, err := world.New(world.Config{Seed: 42})
	if err != nil {
		t.Fatal(err)
	}
	cfg.World, cfg.Tape.Symbols = w, testSymbols
	sim, err := massive.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sim
}

// testConfig points at a simulator: http and ws are its addresses without a path.
func testConfig(http, ws string) Config {
	cfg := DefaultConfig()
	cfg.Source, cfg.StreamURL, cfg.RESTURL, cfg.Key = "sim-massive", ws+"/stocks", http, "key"
	cfg.HistoryTrails, cfg.SlowRetry, cfg.LimitWait = 100*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	cfg.SecondBars = true
	cfg.CorrectionsEvery = 300 * time.Millisecond
	return cfg
}

func newEngine(t testing.TB, cfg Config, deps feed.Deps) (*engine.Engine, *Upstream) {
	t.Helper()
	cal, err := session.NewAlways()
	if err != nil {
		t.Fatal(err)
	}
	up := New(cfg)
	e, err := engine.New(engine.Config{
		Source: cfg.Source, Symbols: testSymbols, Calendar: cal, Backfill: engine.Backfill{MaxHole: time.Hour, Restore: time.Hour}, Stale: engine.DefaultStale(),
	}, up, deps)
	if err != nil {
		t.Fatal(err)
	}
	return e, up
}

// running is a feed under test.
type running struct {
	t    testing.TB
	mem  *feedtest.Memory
	e    *engine.Engine
	up   *Upstream
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB, sim *massive.Server, mem *feedtest.Memory, edit func(*Config)) *running {
	t.Helper()
	srv := httptest.NewServer(sim.Handler())
	cfg := testConfig(srv.URL, "ws"+strings.TrimPrefix(srv.URL, "http"))
	if edit != nil {
		edit(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	e, up := newEngine(t, cfg, feed.Deps{Sink: mem, History: mem, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, mem: mem, e: e, up: up, stop: cancel, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- e.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		sim.Close()
		srv.Close()
	})
	return r
}

func (r *running) until(what string, ok func([]market.Event) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if !r.mem.Wait(ctx, ok) {
		r.t.Fatalf("waited in vain for %s; %d events so far", what, r.mem.Len())
	}
}

func (r *running) refused() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		if !feed.IsRefused(err) {
			r.t.Fatalf("the feed ended with %v, want a refusal", err)
		}
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatal("the feed goes on")
		return nil
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

func TestConforms(t *testing.T) {
	conform.Websocket(t, conform.WebsocketAdapter{Adapter: conform.Adapter{
		Source:   "sim-massive",
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			sim := simulator(t, massive.Config{Key: "key", Tape: tape.Config{Rate: 200, Steady: true, FaultEvery: 20, LateBy: 100 * time.Millisecond, FateBy: 50 * time.Millisecond}})
			return conform.Upstream{Handler: sim.Handler(), Target: sim.Target(), Close: sim.Close}
		},
		Run: func(ctx context.Context, at conform.Endpoint, deps feed.Deps) error {
			cfg := testConfig(at.HTTP, at.WS)
			cfg.PageLimit = 500
			// What has no history leaves a hole filled partly, as the ledger says then.
			cfg.SecondBars, cfg.Halts, cfg.Imbalances = false, false, false
			if at.BadKey {
				cfg.Key = "wrong"
			}
			e, _ := newEngine(t, cfg, deps)
			return e.Run(ctx)
		},
		BadKey: "key",
		Errors: map[string]conform.Error{
			"auth_failed":     {Order: control.Order{Fault: "event:auth_failed", Body: "authentication failed"}, Want: conform.Refused, Says: "key"},
			"no websocket":    {Order: control.Order{Fault: "event:auth_failed", Body: "Your plan doesn't include websocket access."}, Want: conform.Refused, Says: "plan"},
			"auth_timeout":    {Order: control.Order{Fault: "event:auth_timeout", Body: "No authentication request received."}, Want: conform.Retried},
			"max_connections": {Order: control.Order{Fault: "event:max_connections", Body: "Maximum number of websocket connections exceeded.", Reason: "max"}, Want: conform.Retried, Says: "max_connections"},
			"error":           {Order: control.Order{Fault: "event:error", Body: "something"}, Want: conform.Retried, Says: "something"},
		},
		Fills: true, Pages: true,
	}})
}
