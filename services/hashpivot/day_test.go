package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/lander"
	"github.com/hashpivot/hashpivot/services/nightly"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

// fastTimes is how much faster than ours the clock of the day goes. At more, one tick of the simulators' tape (50 ms) would be longer than they make up for.
const fastTimes = 480

// fastClock is a clock that goes fastTimes as fast as ours.
type fastClock struct{ from, began time.Time }

func (c fastClock) now() time.Time { return c.from.Add(time.Since(c.began) * fastTimes) }

// wait returns when the clock shows at.
func (c fastClock) wait(ctx context.Context, at time.Time) error {
	t := time.NewTimer(at.Sub(c.now()) / fastTimes)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestDay lives through 25 hours of the market's clock in some three minutes, with the real services, nats-server and engine: pre-market, the regular
// session, after hours, the night, and the next day's opening; the stream of prints ages, old rows are removed, the notebooks run. Whatever the process holds an hour after
// the next day's opening it held an hour after the first one's: goroutines, heap, descriptors, consumers, subscriptions, series, parts.
func TestDay(t *testing.T) {
	if testing.Short() {
		t.Skip("a day takes three minutes")
	}
	d := newDay(t)
	open := d.sessionOf(d.date, session.Regular).Open
	next := d.sessionOf(d.cal.NextTradeDate(d.date), session.Regular).Open
	d.live(t, open, next.Add(time.Hour))
	d.sessionsSeen(t)
	d.nightOf(t)
	d.growth(t, open, next)
}

// day is what the test runs.
type day struct {
	clock   fastClock
	cal     *session.Schedule
	date    session.Date
	bus     *bus.Bus
	store   *store.Store
	engine  *chembed.Server
	nats    bustest.At
	monitor string // of NATS
	reg     *prometheus.Registry
	deps    audit.Deps
	samples []daySample
	retired bool
}

// daySample is what is held at a moment.
type daySample struct {
	at   time.Time
	held map[string]float64
}

// fastDate is a trade date some days ahead that is followed by another: the streams' own times are of our clock, and must lie before.
func fastDate(cal *session.Schedule) session.Date {
	for d := cal.DateOf(time.Now().AddDate(0, 0, 2)); ; d = d.AddDays(1) {
		if cal.IsTradeDate(d) && cal.NextTradeDate(d) == d.AddDays(1) {
			return d
		}
	}
}

func (d *day) sessionOf(date session.Date, kind session.Kind) session.Session {
	for _, s := range d.cal.Sessions(date) {
		if s.Kind == kind {
			return s
		}
	}
	return session.Session{}
}

func newDay(t *testing.T) *day {
	t.Helper()
	cal, err := session.US()
	if err != nil {
		t.Fatal(err)
	}
	d := &day{cal: cal, date: fastDate(cal), reg: prometheus.NewRegistry()}
	// The last half hour of the pre-market before, which it takes to come up.
	from := d.sessionOf(d.date, session.Regular).Open.Add(-35 * time.Minute)
	log := chembedtest.Logger(t)
	url, monitor := bustest.Configured(t, "http: \"127.0.0.1:-1\"\njetstream { max_file_store: 1TB }\n", t.TempDir())
	cfg := bus.DefaultConfig()
	cfg.URL = url
	if d.bus, err = bus.Connect(cfg, nil, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.bus.Close)
	if err := d.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.nats, d.monitor = bustest.At(url), monitor
	d.store, d.engine = storetest.StartServer(t)
	d.deps = audit.Deps{Bus: d.bus, Store: d.store, Logger: log}
	d.old(t)

	d.clock = fastClock{from, time.Now()}
	l, err := lander.New(lander.DefaultConfig(), lander.Deps{Bus: d.bus, Store: d.store, Logger: log, Metrics: lander.NewMetrics(d.reg)})
	if err != nil {
		t.Fatal(err)
	}
	owned(t, "lander", l.Run)
	d.services(t)
	d.nightly(t)
	return d
}

// old prints, of some months before, have their retention over.
func (d *day) old(t *testing.T) {
	t.Helper()
	pub := d.bus.NewPublisher(bus.PublisherConfig{})
	at := d.cal.Midnight(d.date).AddDate(0, -3, 0).UTC()
	for i := range 100 {
		when := at.Add(time.Duration(i) * time.Second)
		err := pub.Publish(t.Context(), &market.Trade{
			Meta: market.Meta{Source: "sim-old", EventTime: when, RecvTime: when}, Action: market.TradeNew, Symbol: "IREN", ID: fmt.Sprint(i), Exchange: "V", Tape: "C",
			PriceUSD: market.MustDecimal("7.5"), SizeShares: market.MustDecimal("100"),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// services publish by the fast clock, each on its lease.
func (d *day) services(t *testing.T) {
	t.Helper()
	s, err := sim.Start(t.Context(), sim.Config{
		Seed: 11, Symbols: []string{"WGMI", "CORZ", "BTBT", "IREN"}, Rate: 0.4, Steady: true, FaultEvery: 100, Calendar: d.cal, Now: d.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	cfg := defaultConfig()
	cfg.Mode, cfg.ClickHouse.Database = modeSim, "hashpivot"
	cfg.Lease.TTL = 30 * time.Second // a hold-up of the machine is no hand-over
	if err := pointAt(&cfg, s.URLs(), modeSim, ""); err != nil {
		t.Fatal(err)
	}
	cfg.Equities.Calendar, cfg.Signals.Calendar = "us", "us"
	cfg.Equities.Backfill.DailyFrom, cfg.Equities.Backfill.MinuteFrom = "", ""
	// One venue, and told as seldom as is told in a day of ours: what is written is not written faster.
	cfg.Equities.Massive.Key, cfg.Equities.Finnhub.Key = "", ""
	cfg.Hashprice.Calculator.MaxPriceAge = 2 * time.Hour // ticks come by our clock
	g := &cfg.Signals
	g.Bars.Intervals, g.Bars.ReviseEvery = []market.Interval{market.Interval1m, market.Interval1h, market.Interval1d}, 15*time.Minute
	g.Pivot.Every, g.Exposure.Every = 30*time.Minute, 2*time.Hour
	p := newPublishers(&cfg, d.bus, chembedtest.Logger(t), d.reg)
	p.now = d.clock.now
	// Times that are held against the clock are as much longer as it is faster: what they stand for, a network, is not faster.
	p.policy = func(p feed.Policy) feed.Policy {
		stale := p.Stale
		p.ReadyWithin *= fastTimes
		p.Stale = func(now time.Time) time.Duration {
			if stale == nil {
				return time.Minute * fastTimes
			}
			return stale(now) * fastTimes
		}
		return p
	}
	for _, name := range p.enabled(modeSim) {
		owned(t, name, func(ctx context.Context) error { return p.run(ctx, name) })
	}
}

// nightly runs a stand-in for a notebook: what it computes is not of interest here, its processes and tables are.
func (d *day) nightly(t *testing.T) {
	t.Helper()
	script, err := filepath.Abs("../nightly/testdata/notebooks.py")
	if err != nil {
		t.Fatal(err)
	}
	cfg := nightly.DefaultConfig()
	cfg.Python, cfg.Notebooks, cfg.Directory, cfg.Chromium = script, []string{"ok"}, t.TempDir(), nightly.Off
	cfg.CheckEvery, cfg.Patience = time.Second, 2*time.Hour
	n, err := nightly.New(cfg, nightly.Deps{
		Bus: d.bus, Store: d.store, Mode: "sim", Mark: "sim-", Version: "test", Logger: chembedtest.Logger(t), Metrics: nightly.NewMetrics(d.reg), Now: d.clock.now,
		ClickHouse: nightly.ClickHouse{URL: "http://" + d.engine.HTTPAddr(), Database: "hashpivot", User: "default"},
		Audit: func(ctx context.Context) (complete.Audit, error) {
			res, err := audit.Run(ctx, d.deps, audit.Order{})
			return complete.Audit{Clean: res.Clean(), Lost: res.Lost, Duplicates: res.Duplicates}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	owned(t, "nightly", n.Run)
}

// live lets the day pass: a look each hour, from half an hour behind the opening on, an audit every two, and at night what retention asks for.
func (d *day) live(t *testing.T, open, end time.Time) {
	t.Helper()
	const every = 30 * time.Minute
	// A look that takes longer than to the next one lets that one out.
	for i, at := 0, open.Add(every); !at.After(end); i, at = i+1, d.clock.now().Truncate(every).Add(every) {
		if err := d.clock.wait(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if i%4 == 3 {
			d.audit(t, audit.KindNew)
		}
		if !d.retired && at.Sub(open) > 17*time.Hour {
			d.retire(t)
		}
		d.look(t)
	}
}

func (d *day) audit(t *testing.T, kind string) {
	t.Helper()
	res, err := audit.Run(t.Context(), d.deps, audit.Order{Kind: kind, Record: true, By: "day"})
	if err != nil || !res.Clean() {
		t.Errorf("audit at %s: %+v, %v", d.clock.now(), res, err)
	}
}

// retire does what the scheduled audit does behind a full audit that is clean; its schedule waits by our clock.
func (d *day) retire(t *testing.T) {
	t.Helper()
	d.audit(t, audit.KindFull)
	landed, _, err := d.bus.Landing(t.Context(), market.Trades)
	if err != nil {
		t.Fatal(err)
	}
	// As age does; the least that a stream may be told to keep is an hour of our clock.
	bustest.Purge(t, d.nats, market.Trades, landed.First)
	plan, err := audit.Plan(t.Context(), d.deps, audit.Retention{"trades": 30 * 24 * time.Hour}, d.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range plan {
		if r.Waits != "" {
			t.Errorf("partition %s is not removed: %s", r.Partition, r.Waits)
			continue
		}
		if err := audit.Retire(t.Context(), d.deps, r); err != nil {
			t.Fatal(err)
		}
		d.retired = true
	}
}

// look takes a sample.
func (d *day) look(t *testing.T) {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	families, err := d.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, f := range families {
		series += len(f.GetMetric())
	}
	res, err := d.store.Query(t.Context(), "SELECT count() FROM system.parts WHERE active AND database = 'hashpivot'")
	if err != nil {
		t.Fatal(err)
	}
	x := daySample{d.clock.now(), map[string]float64{
		"goroutines": float64(runtime.NumGoroutine()), "heap MiB": float64(m.HeapAlloc) / (1 << 20), "descriptors": float64(len(fds)), "series": float64(series),
		"parts": float64(res.Rows[0][0].(uint64)), "subscriptions": d.monitored(t, "/subsz", "num_subscriptions"), "consumers": d.monitored(t, "/jsz", "consumers"),
		"connections": d.monitored(t, "/connz", "num_connections"),
	}}
	d.samples = append(d.samples, x)
}

// monitored asks the server's monitoring for a number.
func (d *day) monitored(t *testing.T, path, name string) float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.monitor+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var all map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	n, ok := all[name].(float64)
	if !ok {
		t.Fatalf("NATS tells no %s at %s", name, path)
	}
	return n
}

// sessionsSeen holds that prints of every session landed, and bars of the whole date are final.
func (d *day) sessionsSeen(t *testing.T) {
	t.Helper()
	for _, s := range append(d.cal.Sessions(d.date), d.sessionOf(d.cal.NextTradeDate(d.date), session.Regular)) {
		if s.Close.Before(d.clock.from) || s.Kind == session.Closed {
			continue
		}
		res, err := d.store.Query(t.Context(), fmt.Sprintf("SELECT count() FROM trades WHERE source LIKE 'sim-%%' AND event_time >= fromUnixTimestamp64Nano(toInt64(%d)) AND event_time < fromUnixTimestamp64Nano(toInt64(%d))",
			s.Open.UnixNano(), s.Close.UnixNano()))
		if err != nil {
			t.Fatal(err)
		}
		n := res.Rows[0][0].(uint64)
		t.Logf("%s of %s: %d prints", s.Kind, s.TradeDate, n)
		if n == 0 {
			t.Errorf("no print of the session %s of %s landed", s.Kind, s.TradeDate)
		}
	}
	res, err := d.store.Query(t.Context(), fmt.Sprintf("SELECT count(), countIf(NOT final) FROM bars_now WHERE source LIKE '%%-prints' AND interval = '1h' AND event_time < fromUnixTimestamp64Nano(toInt64(%d))", d.cal.TradeDateEnd(d.date).UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
	if all, open := res.Rows[0][0].(uint64), res.Rows[0][1].(uint64); all == 0 || open > 0 {
		t.Errorf("of %d bars of an hour of the date %d are not final", all, open)
	}
}

// nightOf holds that the notebooks ran for the date, and that the old rows are gone.
func (d *day) nightOf(t *testing.T) {
	t.Helper()
	res, err := d.store.Query(t.Context(), fmt.Sprintf("SELECT count() FROM research_runs WHERE notebook = 'ok' AND state = 'ok' AND trade_date = '%s'", d.date))
	if err != nil {
		t.Fatal(err)
	}
	if res.Rows[0][0].(uint64) == 0 {
		t.Error("the notebooks did not run for the date")
	}
	res, err = d.store.Query(t.Context(), "SELECT (SELECT count() FROM trades WHERE source = 'sim-old'), (SELECT count() FROM retirements WHERE state = 'done')")
	if err != nil {
		t.Fatal(err)
	}
	if left, done := res.Rows[0][0].(uint64), res.Rows[0][1].(uint64); !d.retired || left > 0 || done == 0 {
		t.Errorf("%d old rows are left, %d removals are done", left, done)
	}
}

// growth holds what is held behind the second opening against what was behind the first.
func (d *day) growth(t *testing.T, open, next time.Time) {
	t.Helper()
	most := func(from time.Time) map[string]float64 {
		out := map[string]float64{}
		for _, s := range d.samples {
			if s.at.Before(from) || s.at.After(from.Add(2*time.Hour)) {
				continue
			}
			for what, n := range s.held {
				out[what] = max(out[what], n)
			}
		}
		return out
	}
	before, after := most(open), most(next)
	// By how much each may differ: feeds come and go, ClickHouse merges when it likes, and the signals hold the prints of the date before too.
	for what, more := range map[string]struct{ times, plus float64 }{
		"goroutines": {1.05, 20}, "heap MiB": {1.3, 24}, "descriptors": {1.05, 10}, "consumers": {1, 0}, "subscriptions": {1.05, 4}, "connections": {1, 0}, "series": {1.1, 10}, "parts": {1.5, 30},
	} {
		if before[what] == 0 || after[what] > before[what]*more.times+more.plus {
			t.Errorf("%s: %.0f after the first opening, %.0f after the second", what, before[what], after[what])
		}
	}
	for _, s := range d.samples {
		var line strings.Builder
		for _, what := range slices.Sorted(maps.Keys(s.held)) {
			fmt.Fprintf(&line, "  %s %.0f", what, s.held[what])
		}
		t.Logf("%s%s", s.at.In(d.cal.Midnight(d.date).Location()).Format("02 Jan 15:04"), line.String())
	}
}
