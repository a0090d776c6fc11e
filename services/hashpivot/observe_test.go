package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/sim"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/gateway"
	"github.com/hashpivot/hashpivot/services/lander"
	"github.com/hashpivot/hashpivot/services/signals"
)

// watchedProcess is what a process is asked over HTTP.
type watchedProcess struct {
	t     testing.TB
	admin *run.Admin
	http  *http.Client
}

func watch(t testing.TB, in *instruments) *watchedProcess {
	t.Helper()
	admin, err := run.StartAdmin(run.AdminConfig{Addr: "127.0.0.1:0"}, in.reg, in.health, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	return &watchedProcess{t, admin, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (w *watchedProcess) get(path string) (int, string) {
	w.t.Helper()
	resp, err := w.http.Get("http://" + w.admin.Addr() + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// readyz waits until /readyz answers so, with a check of that status and a reason with the words.
func (w *watchedProcess) readyz(within time.Duration, code int, name string, status run.Status, words string) {
	w.t.Helper()
	late, tick := time.After(within), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		got, body := w.get("/readyz?verbose")
		var rep run.Report
		if err := json.Unmarshal([]byte(body), &rep); err != nil {
			w.t.Fatalf("%v: %s", err, body)
		}
		if rep.OK != (got == 200) {
			w.t.Fatalf("%d %s", got, body)
		}
		for _, c := range rep.Checks {
			if got == code && c.Name == name && c.Status == status && strings.Contains(c.Why, words) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-late:
			w.t.Fatalf("not within %s: %d with %s %s %q; it is %d %s", within, code, name, status, words, got, body)
		}
	}
}

// daily writes a calendar with one session a day, from and to as New York's clock has them.
func daily(t testing.TB, open, shut string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "calendar.yaml")
	session := fmt.Sprintf(`[{kind: regular, open: "%s", close: "%s"}]`, open, shut)
	text := "timezone: America/New_York\nyears: {from: 2026, to: 2100}\nweekends: true\nregimes:\n  - from: 2026-01-01\n    sessions: " + session + "\n    early: " + session + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestReadyMeansThatDataMoves asks /readyz of the real equities service, on a real nats-server, while its venue (a simulator) speaks, is mute, and is closed, and of
// the instance that stands by.
func TestReadyMeansThatDataMoves(t *testing.T) {
	srv, b := bustest.Start(t)
	venue, err := sim.Start(t.Context(), sim.Config{Seed: 7, Symbols: []string{"IREN"}, Rate: 200, Steady: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(venue.Close)
	log := slog.New(slog.DiscardHandler)
	// equities runs the service and returns who watches it and what ends it.
	equities := func(b *bus.Bus, calendar string) (*watchedProcess, func()) {
		cfg := defaultConfig()
		cfg.Mode, cfg.ClickHouse.Database = modeSim, modeSim.database()
		if err := pointAt(&cfg, venue.URLs(), modeSim, ""); err != nil {
			t.Fatal(err)
		}
		e := &cfg.Equities
		e.Symbols, e.Calendar = []string{"IREN"}, calendar
		e.Backfill.DailyFrom, e.Backfill.MinuteFrom = "", ""
		e.Stale.Regular = 1500 * time.Millisecond
		in := unwatched()
		in.health = &run.Health{}
		in.starting = in.health.Scope()
		in.on(b)
		p := newPublishers(&cfg, b, log, in.reg)
		p.health = in.health
		p.policy = func(p feed.Policy) feed.Policy {
			p.FirstWait, p.MaxWait, p.StableAfter = 10*time.Second, 10*time.Second, 0 // it does not come back by itself before it was asked
			return p
		}
		w := watch(t, in)
		p.listed("equities")
		if code, body := w.get("/readyz"); code != 503 || !strings.Contains(body, "it asks for its lease") {
			t.Errorf("before it runs: %d %s", code, body)
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- p.run(ctx, "equities") }()
		return w, func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("equities: %v", err)
			}
		}
	}

	w, stop := equities(b, "always")
	w.readyz(20*time.Second, 200, "feed sim-alpaca", run.StatusOK, "a sign of life")
	w.readyz(time.Second, 200, "service equities", run.StatusOK, "it is active")
	w.readyz(time.Second, 200, "publisher of equities", run.StatusOK, "JetStream")
	if code, body := w.get("/livez?verbose"); code != 200 || !strings.Contains(body, `"feed sim-alpaca"`) {
		t.Errorf("%d %s", code, body)
	}

	// A second instance is ready to follow.
	other, err := bus.Connect(bus.DefaultConfig(), srv, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	second, stopSecond := equities(other, "always")
	second.readyz(10*time.Second, 200, "service equities", run.StatusOK, "it stands by; the lease is held by")
	if _, text := second.get("/metrics"); !strings.Contains(text, `hashpivot_lease_held{lease="equities"} 0`) {
		t.Error("the standby's lease is not told")
	}
	stopSecond()

	// Mute is not quiet.
	if err := venue.Alpaca.Target().Order(control.Order{Fault: control.Mute, For: control.Duration(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	w.readyz(20*time.Second, 503, "feed sim-alpaca", run.StatusFailed, "no sign of life for")
	if code, _ := w.get("/livez"); code != 200 {
		t.Errorf("an upstream that is mute hangs nobody: %d", code)
	}
	stop()

	// While the market is closed nothing is due, mute or not. The clock that closes it is New York's of now.
	ny, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now().In(ny).Add(2 * time.Hour)
	if from.Hour() == 23 || from.Hour() < 3 { // a session does not pass midnight
		from = time.Date(from.Year(), from.Month(), from.Day(), 12, 0, 0, 0, ny)
	}
	w, stop = equities(b, daily(t, from.Format(time.TimeOnly), from.Add(time.Minute).Format(time.TimeOnly)))
	w.readyz(20*time.Second, 200, "feed sim-alpaca", run.StatusOK, "the market is closed until")
	stop()
}

// TestSeriesDoNotGrowWithSymbols sends 10,000 symbols through the real publisher, lander, gateway and audit (and thirty through the signals): there are as many series as with thirty, none has a
// symbol in it, and none is told that docs/metrics.md does not list.
func TestSeriesDoNotGrowWithSymbols(t *testing.T) {
	if testing.Short() {
		t.Skip("each symbol is a message of its own to store, land and audit")
	}
	cfg := bus.DefaultServerConfig()
	cfg.Addr, cfg.DataDir, cfg.Sync = "127.0.0.1:0", t.TempDir(), "1m" // it is not the disk that is tested
	log := slog.New(slog.DiscardHandler)
	srv, err := bus.StartServer(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	b, err := bus.Connect(bus.DefaultConfig(), srv, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := storetest.Start(t)
	in := &instruments{reg: newRegistry(modeSim), health: &run.Health{}}
	in.starting = in.health.Scope()
	in.on(b)
	w := watch(t, in)

	owned := func(what string, run func(context.Context) error) (end func()) {
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- run(ctx) }()
		end = sync.OnceFunc(func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
		t.Cleanup(end)
		return end
	}
	l, err := lander.New(lander.DefaultConfig(), lander.Deps{Bus: b, Store: st, Logger: log, Metrics: lander.NewMetrics(in.reg), Health: in.health, Watch: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	owned("lander", l.Run)
	gcfg := gateway.DefaultConfig()
	gcfg.Addr = "127.0.0.1:0"
	g, err := gateway.New(gcfg, gateway.Deps{
		Log: gateway.JetStream(b), History: st, Mode: "sim", Once: b, Logger: log, Metrics: gateway.NewMetrics(in.reg), Health: in.health,
	})
	if err != nil {
		t.Fatal(err)
	}
	owned("gateway", g.Run)
	pub := b.NewPublisher(bus.PublisherConfig{})
	t.Cleanup(func() { _ = pub.Close(context.Background()) })
	scfg := signals.DefaultConfig()
	scfg.Calendar = "always"
	select {
	case <-g.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the gateway is not ready")
	}
	endSignals := owned("signals", func(ctx context.Context) error {
		return signals.Run(ctx, scfg, signals.Deps{Bus: b, Sink: feedtest.NewMemory(), Logger: log, Metrics: signals.NewMetrics(in.reg), Health: in.health})
	})
	in.ready()

	f, err := feed.New(feed.Config{Source: "sim-x", Sink: pub, Metrics: feed.NewMetrics(in.reg)})
	if err != nil {
		t.Fatal(err)
	}
	auditor, err := audit.NewService(audit.DefaultConfig(), audit.Deps{Bus: b, Store: st, Logger: log}, audit.NewMetrics(in.reg))
	if err != nil {
		t.Fatal(err)
	}
	price, size := market.MustDecimal("49.25"), market.MustDecimal("100")
	at := time.Now().UTC().Add(-time.Minute)
	send := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			symbol := fmt.Sprintf("SYM%05d", i)
			good := &market.Trade{Meta: market.Meta{EventTime: at}, Action: market.TradeNew, Symbol: symbol, ID: symbol, Exchange: "V", Tape: "C", PriceUSD: price, SizeShares: size, Conditions: []string{"@"}}
			bad := &market.Trade{Meta: market.Meta{EventTime: at}, Action: market.TradeNew, Symbol: symbol, ID: "bad " + symbol, Exchange: "V", SizeShares: size}
			again := *good
			for _, ev := range []*market.Trade{good, bad, &again} {
				if _, err := f.Emit(t.Context(), ev, "stream of "+symbol, []byte(symbol)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := f.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := l.Drained(ctx); err != nil {
			t.Fatal(err)
		}
		if res, err := auditor.Once(ctx, audit.KindFull); err != nil || !res.Clean() {
			t.Fatalf("audit %+v, %v", res, err)
		}
	}
	// series are the lines of ours, once the gateway, and the signals as long as they run, have read up to the symbols sent.
	series := func(symbols, prints int) map[string]bool {
		t.Helper()
		late, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
		defer tick.Stop()
		for {
			_, text := w.get("/metrics")
			if strings.Contains(text, fmt.Sprintf("hashpivot_signals_prints_total{source=\"sim-x\"} %d\n", prints)) &&
				strings.Contains(text, fmt.Sprintf("hashpivot_gateway_latency_seconds_count{stream=\"TRADES\"} %d\n", symbols)) {
				documented(t, text)
				out := map[string]bool{}
				for line := range strings.Lines(text) {
					if name, ok := strings.CutPrefix(line, "hashpivot_"); ok {
						name = name[:strings.LastIndexByte(name, ' ')]
						out[name] = true
						if strings.Contains(name, "SYM") {
							t.Errorf("a symbol stands in hashpivot_%s", name)
						}
					}
				}
				return out
			}
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("%d symbols were not read: %s", symbols, regexp.MustCompile(`(?m)^hashpivot_(signals_prints|gateway_latency_seconds_count|feed).*$`).FindAllString(text, -1))
			}
		}
	}
	send(0, 30)
	few := series(30, 30)
	endSignals() // a book of prints for each of 10,000 symbols takes a minute here
	send(30, 10_000)
	many := series(10_000, 30)
	for name := range many {
		// What went wrong meanwhile, and checks, which are looked at every five seconds: those few may have come later than the symbols.
		if !few[name] && !strings.Contains(name, "_retries_total") && !strings.HasPrefix(name, "health_check{") {
			t.Errorf("hashpivot_%s came with the symbols", name)
		}
	}
	w.readyz(20*time.Second, 200, "landing", run.StatusOK, "all that is stored has landed")
	w.readyz(time.Second, 200, "gateway", run.StatusOK, "streams are followed")
	if n := len(many); n > 1000 {
		t.Errorf("%d series of ours in one process", n)
	}
	t.Logf("%d series with thirty symbols, %d with 10,000", len(few), len(many))
}
