package finnhub

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest/conform"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/finnhub"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testSymbols = []string{"WGMI", "CORZ", "BTBT", "IREN"}

func simulator(t testing.TB, cfg finnhub.Config) *finnhub.Server {
	t.Helper()
	w, err := world.New(world.Config{Seed: 42})
	if err != nil {
		t.Fatal(err)
	}
	cfg.World, cfg.Tape.Symbols = w, testSymbols
	sim, err := finnhub.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sim
}

func newEngine(t testing.TB, cfg Config, deps feed.Deps) *engine.Engine {
	t.Helper()
	cal, err := session.NewAlways()
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Config{
		Source: cfg.Source, Symbols: testSymbols, Calendar: cal, Backfill: engine.Backfill{MaxHole: time.Hour, Restore: time.Hour}, Stale: engine.DefaultStale(),
	}, New(cfg), deps)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func testConfig(http, ws string) Config {
	cfg := DefaultConfig()
	cfg.Source, cfg.StreamURL, cfg.RESTURL, cfg.Key, cfg.CallEvery = "sim-finnhub", ws+"/", http+"/api/v1", "key", time.Millisecond
	cfg.HistoryTrails = 50 * time.Millisecond
	return cfg
}

func TestConforms(t *testing.T) {
	conform.Websocket(t, conform.WebsocketAdapter{Adapter: conform.Adapter{
		Source:   "sim-finnhub",
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			sim := simulator(t, finnhub.Config{Key: "key", PingEvery: 50 * time.Millisecond, Tape: tape.Config{Rate: 200, Steady: true}})
			return conform.Upstream{Handler: sim.Handler(), Target: sim.Target(), Close: sim.Close}
		},
		Run: func(ctx context.Context, at conform.Endpoint, deps feed.Deps) error {
			cfg := testConfig(at.HTTP, at.WS)
			if at.BadKey {
				cfg.Key = "wrong"
			}
			return newEngine(t, cfg, deps).Run(ctx)
		},
		BadKey: "key",
		Errors: map[string]conform.Error{
			"bad key":          {Order: control.Order{Fault: "error", Body: "Invalid API key"}, Want: conform.Refused, Says: "key"},
			"too many symbols": {Order: control.Order{Fault: "error", Body: "Subscribing to too many symbols"}, Want: conform.Refused, Says: "symbol_limit"},
			"other":            {Order: control.Order{Fault: "error", Body: "something"}, Want: conform.Retried, Says: "something"},
		},
	}})
}

// lines is a log in memory.
type lines struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	written chan struct{} // has room for one
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.written <- struct{}{}:
	default:
	}
	return l.buf.Write(b)
}

func (l *lines) wait(t *testing.T, text string) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.written:
		case <-limit:
			t.Fatalf("the log does not say %q: %s", text, l)
		}
	}
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

type running struct {
	t    *testing.T
	mem  *feedtest.Memory
	log  *lines
	e    *engine.Engine
	done chan error
}

func start(t *testing.T, sim *finnhub.Server, edit func(*Config)) *running {
	t.Helper()
	srv := httptest.NewServer(sim.Handler())
	cfg := testConfig(srv.URL, "ws"+strings.TrimPrefix(srv.URL, "http"))
	if edit != nil {
		edit(&cfg)
	}
	r := &running{t: t, mem: feedtest.NewMemory(), log: &lines{written: make(chan struct{}, 1)}, done: make(chan error, 1)}
	r.e = newEngine(t, cfg, feed.Deps{Sink: r.mem, History: r.mem, Logger: slog.New(slog.NewTextHandler(r.log, nil))})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- r.e.Run(ctx)
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if !r.mem.Wait(ctx, ok) {
		r.t.Fatalf("waited in vain for %s; %d events so far\n%s", what, r.mem.Len(), r.log)
	}
}

func count[T market.Event](events []market.Event, ok func(T) bool) (n int) {
	for _, ev := range events {
		if x, is := ev.(T); is && ok(x) {
			n++
		}
	}
	return n
}

func atLeast[T market.Event](n int, ok func(T) bool) func([]market.Event) bool {
	return func(events []market.Event) bool { return count(events, ok) >= n }
}

// A hole of a free plan is given up, and the ledger says of what.
func TestHolesAreGivenUp(t *testing.T) {
	t.Parallel()
	sim := simulator(t, finnhub.Config{Tape: tape.Config{Rate: 200, Steady: true}})
	r := start(t, sim, nil)
	r.until("prints", atLeast(20, func(*market.Trade) bool { return true }))
	sim.DropAll()
	r.until("the hole given up", atLeast(1, func(g *market.FeedGap) bool {
		return g.State == market.GapGivenUp && strings.Contains(g.Reason, "no history of trades")
	}))
}

// With candles in the plan a hole has at least its minutes.
func TestCandlesFillAHolePartly(t *testing.T) {
	t.Parallel()
	sim := simulator(t, finnhub.Config{Candles: true, RequestsPerMinute: -1, Tape: tape.Config{Rate: 200, Steady: true}})
	r := start(t, sim, func(c *Config) { c.History = "candles" })
	r.until("prints", atLeast(20, func(*market.Trade) bool { return true }))
	r.until("the first start's line", atLeast(1, func(g *market.FeedGap) bool { return g.State == market.GapFilled }))
	sim.DropAll()
	r.until("the hole filled partly", atLeast(1, func(g *market.FeedGap) bool {
		return g.State == market.GapPartly && strings.Contains(g.Reason, "no history of trades")
	}))
}

// The venue's silence without a close is found by its missing pings, whatever the session.
func TestASilentConnectionIsRenewed(t *testing.T) {
	t.Parallel()
	sim := simulator(t, finnhub.Config{PingEvery: 20 * time.Millisecond, Tape: tape.Config{Rate: 50, Steady: true}})
	r := start(t, sim, func(c *Config) { c.MuteAfter = 300 * time.Millisecond })
	r.until("prints", atLeast(5, func(*market.Trade) bool { return true }))
	sim.Mute(true)
	r.until("the loss", atLeast(1, func(f *market.FeedEvent) bool {
		return f.State == market.FeedLost && strings.Contains(f.Detail, "mute")
	}))
	sim.Mute(false)
	r.until("the second connection", atLeast(2, func(f *market.FeedEvent) bool { return f.State == market.FeedConnected }))
}

func TestAnOldConnectionIsRenewed(t *testing.T) {
	t.Parallel()
	sim := simulator(t, finnhub.Config{Tape: tape.Config{Rate: 50, Steady: true}})
	r := start(t, sim, func(c *Config) { c.MuteAfter, c.ReconnectEvery = 800*time.Millisecond, 600*time.Millisecond })
	r.until("the renewal", atLeast(1, func(f *market.FeedEvent) bool {
		return f.State == market.FeedLost && strings.Contains(f.Detail, "renewed")
	}))
}

// What the plan has no room for is in the ledger, with the reason.
func TestSymbolsBeyondTheLimitAreListed(t *testing.T) {
	t.Parallel()
	sim := simulator(t, finnhub.Config{Tape: tape.Config{Rate: 200, Steady: true}})
	r := start(t, sim, func(c *Config) { c.SymbolLimit = 3 })
	r.until("the line of the fourth symbol", atLeast(1, func(g *market.FeedGap) bool { return g.Symbol == "IREN" && strings.Contains(g.Reason, "symbol_limit") }))
	r.until("prints", atLeast(50, func(*market.Trade) bool { return true }))
	if n := count(r.mem.Events(), func(x *market.Trade) bool { return x.Symbol == "IREN" }); n > 0 {
		t.Errorf("%d prints of a symbol that was not asked for", n)
	}
	if err := r.e.SetSymbols(t.Context(), []string{"WGMI", "CORZ", "IREN"}); err != nil {
		t.Fatal(err)
	}
	r.until("prints of the symbol that has room now", atLeast(1, func(x *market.Trade) bool { return x.Symbol == "IREN" }))
}

// The venue wants the key in the URL: it must be in no error, no log and no event.
func TestTheKeyIsNotTold(t *testing.T) {
	t.Parallel()
	const secret = run.Secret("sEcReT-kEy")
	sim := simulator(t, finnhub.Config{Key: "another"})
	r := start(t, sim, func(c *Config) { c.Key = secret })
	var err error
	select {
	case err = <-r.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("a bad key does not end the feed: %s", r.log.String())
	}
	dead := start(t, simulator(t, finnhub.Config{}), func(c *Config) { c.Key, c.StreamURL = secret, "ws://127.0.0.1:1" })
	dead.log.wait(t, "feed lost")
	for what, text := range map[string]string{"error": err.Error(), "log": r.log.String(), "log of a dead host": dead.log.String()} {
		if strings.Contains(text, secret.Reveal()) {
			t.Errorf("the %s has the key: %s", what, text)
		}
	}
	for _, ev := range append(r.mem.Events(), dead.mem.Events()...) {
		if f, ok := ev.(*market.FeedEvent); ok && strings.Contains(f.Detail, secret.Reveal()) {
			t.Errorf("a state has the key: %s", f.Detail)
		}
	}
}
