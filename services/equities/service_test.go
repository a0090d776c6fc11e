package equities

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	simalpaca "github.com/hashpivot/hashpivot/pkg/sim/alpaca"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func venue(t *testing.T) (*simalpaca.Server, Config) {
	t.Helper()
	w, err := world.New(world.Config{Seed: 42})
	if err != nil {
		t.Fatal(err)
	}
	sim, err := simalpaca.New(simalpaca.Config{World: w, Rate: 100, Steady: true, Symbols: []string{"WGMI", "CORZ", "BTBT", "IREN"}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim.Handler())
	t.Cleanup(func() {
		sim.Close()
		srv.Close()
	})
	cfg := DefaultConfig()
	cfg.Calendar, cfg.Symbols = "always", []string{"WGMI", "CORZ"}
	cfg.Alpaca.Source, cfg.Alpaca.Key, cfg.Alpaca.Secret = "sim-alpaca", "key", "secret"
	cfg.Alpaca.StreamURL, cfg.Alpaca.RESTURL = "ws"+strings.TrimPrefix(srv.URL, "http")+"/v2/iex", srv.URL
	cfg.Alpaca.HistoryTrails = 100 * time.Millisecond
	cfg.Backfill = engine.Backfill{MaxHole: time.Hour, Restore: time.Hour}
	return sim, cfg
}

func deps(mem *feedtest.Memory) feed.Deps {
	return feed.Deps{Sink: mem, History: mem, Logger: slog.New(slog.DiscardHandler)}
}

// Lists of symbols are applied while the service runs; what is not a list of symbols is refused by name.
func TestApply(t *testing.T) {
	t.Parallel()
	_, cfg := venue(t)
	mem := feedtest.NewMemory()
	s, err := New(cfg, deps(mem))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	of := func(symbol string) func([]market.Event) bool {
		return func(events []market.Event) bool {
			for _, ev := range events {
				if x, ok := ev.(*market.Trade); ok && x.Symbol == symbol && !x.Backfill {
					return true
				}
			}
			return false
		}
	}
	if !mem.Wait(t.Context(), of("CORZ")) {
		t.Fatal("no stream")
	}
	for key, edit := range map[string]func(*Config){
		"equities.calendar":             func(c *Config) { c.Calendar = "us" },
		"equities.alpaca.encoding":      func(c *Config) { c.Alpaca.Encoding = "msgpack" },
		"equities.backfill.minute_from": func(c *Config) { c.Backfill.MinuteFrom = "24h" },
		"equities.alpaca.secret":        func(c *Config) { c.Alpaca.Secret = "other" },
	} {
		c := cfg
		c.Symbols = []string{"IREN"}
		edit(&c)
		if err := s.Apply(ctx, c); !errors.Is(err, ErrRestart) || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "other") {
			t.Errorf("error %v, want one of %s", err, key)
		}
	}
	next := cfg
	next.Alpaca.Symbols = []string{"CORZ", "IREN"} // which upstream serves which
	if err := s.Apply(ctx, next); err != nil {
		t.Fatal(err)
	}
	if !mem.Wait(t.Context(), of("IREN")) {
		t.Fatal("the added symbol is not streamed")
	}
	bad := next
	bad.Alpaca.Symbols = []string{"iren"}
	if err := s.Apply(ctx, bad); err == nil {
		t.Error("a bad symbol was applied")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The operator's backfill against the simulated venue, twice, and beside what was published live.
func TestBackfillOnDemand(t *testing.T) {
	t.Parallel()
	_, cfg := venue(t)
	mem := feedtest.NewMemory()
	req := BackfillRequest{Request: engine.Request{From: time.Now().Add(-20 * time.Minute), To: time.Now().Add(-6 * time.Minute)}}
	var last engine.Progress
	if err := Backfill(t.Context(), cfg, deps(mem), req, func(p engine.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	trades, quotes, bars := len(feedtest.Of[*market.Trade](mem)), len(feedtest.Of[*market.Quote](mem)), len(feedtest.Of[*market.Bar](mem))
	if trades < 100 || quotes < 100 || bars < 20 || last.Done != last.Total || int(last.Rows) != trades+quotes+bars {
		t.Fatalf("%d trades, %d quotes, %d bars, progress %+v", trades, quotes, bars, last)
	}
	// The same, and more before it: only the more is new.
	wider := req
	wider.From = wider.From.Add(-5 * time.Minute)
	if err := Backfill(t.Context(), cfg, deps(mem), wider, nil); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, ev := range mem.Events() {
		id := string(ev.Stream()) + ev.Identity()
		if ids[id] && ev.Stream() != market.Feeds {
			t.Fatalf("%s was published twice", id)
		}
		ids[id] = true
	}
	if n := len(feedtest.Of[*market.Trade](mem)); n <= trades {
		t.Errorf("%d trades after the wider run, %d before", n, trades)
	}
	if err := Backfill(t.Context(), cfg, deps(mem), req, func(p engine.Progress) { last = p }); err != nil || last.Skipped != last.Total || last.Rows != 0 {
		t.Errorf("run again: %+v, %v", last, err)
	}
	other := req
	other.Upstream = "massive"
	if err := Backfill(t.Context(), cfg, deps(mem), other, nil); err == nil || !strings.Contains(err.Error(), "sim-alpaca") {
		t.Errorf("error %v, want one that names what there is", err)
	}
}
