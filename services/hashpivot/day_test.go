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
	"runtime/debug"
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

// stored is when by nats-server's clock, which is ours, this one shows at.
func (c fastClock) stored(at time.Time) time.Time { return c.began.Add(at.Sub(c.from) / fastTimes) }

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

// keepStreams is how long, by the fast clock, prints and quotes stay in their streams.
const keepStreams = 2 * time.Hour

// TestDay lives through some 31 hours of the market's clock in five to six minutes, with the real services, nats-server and engine: pre-market, the regular session, after hours,
// the night, and the next day's opening; prints and quotes age out of their streams, old rows are removed, the notebooks run. What is held after the next day's opening is
// not more than what was on the first day, and every audit is clean. make day runs it.
func TestDay(t *testing.T) {
	if testing.Short() {
		t.Skip("a day takes five minutes: make day")
	}
	d := newDay(t)
	open, next := d.sessionOf(d.date, session.Regular), d.sessionOf(d.cal.NextTradeDate(d.date), session.Regular)
	end := next.Open.Add(30 * time.Minute)
	d.live(t, open.Open, end)
	d.sessionsSeen(t, end)
	d.nightOf(t)
	d.removed(t)
	d.growth(t, open.Open, next.Open)
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
	audits  int
	gone    uint64    // messages that aged out
	freed   float64   // MiB of them
	left    []float64 // MiB of the streams that age, behind each time
	retired audit.Removal
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

// oldPrints is how many are there of a time before.
const oldPrints = 100

// old prints, of some months before, have their retention over.
func (d *day) old(t *testing.T) {
	t.Helper()
	pub := d.bus.NewPublisher(bus.PublisherConfig{})
	at := d.cal.Midnight(d.date).AddDate(0, -3, 0).UTC()
	for i := range oldPrints {
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
	// The hashprice of the day that ended is computed when history is read again: each hour and a third by the fast clock.
	cfg.Hashprice.HistoryFrom, cfg.Hashprice.HistoryEvery = d.date.AddDays(-30).String(), 10*time.Second
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
	cfg.CheckEvery, cfg.Incomplete = time.Second, nightly.IncompleteNever
	n, err := nightly.New(cfg, nightly.Deps{
		Bus: d.bus, Store: d.store, Mode: "sim", Mark: "sim-", Version: "test", Logger: chembedtest.Logger(t), Metrics: nightly.NewMetrics(d.reg), Now: d.clock.now, Stored: d.clock.stored,
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

// live lets the day pass: a look each half hour, each two hours an audit and what retention asks for behind it.
func (d *day) live(t *testing.T, open, end time.Time) {
	t.Helper()
	const every = 30 * time.Minute
	if err := d.clock.wait(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	d.forgotten(t)
	d.look(t)
	audited := open // so that the first audit is made at once
	// A look that takes longer than to the next one lets that one out.
	for at := d.clock.now().Truncate(every).Add(every); !at.After(end); at = d.clock.now().Truncate(every).Add(every) {
		if err := d.clock.wait(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if at.Sub(audited) >= 2*time.Hour {
			audited = at
			if d.retired.ID == "" && at.Sub(open) > 17*time.Hour {
				d.audit(t, audit.KindFull)
				d.age(t)
				d.retire(t)
			} else {
				d.audit(t, audit.KindNew)
				d.age(t)
			}
		}
		d.look(t)
	}
	d.audit(t, audit.KindNew)
	d.age(t)
	d.forgotten(t)
	d.look(t)
	// What was removed is accounted for by its checksums.
	d.audit(t, audit.KindFull)
}

func (d *day) audit(t *testing.T, kind string) {
	t.Helper()
	res, err := audit.Run(t.Context(), d.deps, audit.Order{Kind: kind, Record: true, By: "day"})
	if err != nil || !res.Clean() {
		t.Errorf("audit at %s: %+v, %v", d.clock.now(), res, err)
	}
	d.audits++
}

// age does what nats-server does by nats.max_age, of which the least is an hour of its clock: of the streams that are bounded in age it removes what is older than keepStreams.
func (d *day) age(t *testing.T) {
	t.Helper()
	for _, st := range aged {
		info, err := d.bus.Info(t.Context(), st)
		if err != nil {
			t.Fatal(err)
		}
		landed, ok, err := d.bus.Landing(t.Context(), st)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			continue
		}
		over := d.clock.stored(d.clock.now().Add(-keepStreams))
		young, _, err := d.bus.SeqBefore(t.Context(), st, over)
		if err != nil {
			t.Fatal(err)
		}
		if first := min(young+1, landed.First); first > info.FirstSeq {
			bustest.Purge(t, d.nats, st, first)
		}
		left, err := d.bus.Info(t.Context(), st)
		if err != nil {
			t.Fatal(err)
		}
		d.gone += left.FirstSeq - info.FirstSeq
		if left.Messages > 0 && left.FirstSeq < landed.First {
			m, err := d.bus.Get(t.Context(), st, left.FirstSeq)
			if err != nil {
				t.Fatal(err)
			}
			if m.Time.Before(over) {
				t.Errorf("%s holds a message of %s, though its time was over at %s", st, m.Time, over)
			}
		}
		d.freed += float64(info.Bytes-min(left.Bytes, info.Bytes)) / (1 << 20)
	}
	d.left = append(d.left, d.bytesOf(t, aged...))
}

// aged are the streams that are bounded in age.
var aged = []market.Stream{market.Trades, market.Quotes}

// bytesOf streams, in MiB.
func (d *day) bytesOf(t *testing.T, streams ...market.Stream) float64 {
	t.Helper()
	sum := uint64(0)
	for _, st := range streams {
		info, err := d.bus.Info(t.Context(), st)
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Bytes
	}
	return float64(sum) / (1 << 20)
}

// retire does what the scheduled audit does behind a full audit that is clean; its schedule waits by our clock.
func (d *day) retire(t *testing.T) {
	t.Helper()
	plan, err := audit.Plan(t.Context(), d.deps, audit.Retention{"trades": 30 * 24 * time.Hour}, d.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	if len(plan) != 1 || plan[0].Waits != "" {
		t.Fatalf("of the partition of the old prints is planned: %+v", plan)
	}
	if err := audit.Retire(t.Context(), d.deps, plan[0]); err != nil {
		t.Fatal(err)
	}
	d.retired = plan[0]
}

// look takes a sample.
func (d *day) look(t *testing.T) {
	t.Helper()
	debug.FreeOSMemory() // of what is resident we want what is held
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
	d.samples = append(d.samples, daySample{d.clock.now(), map[string]float64{
		"goroutines": float64(runtime.NumGoroutine()), "heap MiB": float64(m.HeapAlloc) / (1 << 20), "descriptors": float64(len(fds)), "series": float64(series),
		"resident MiB": resident(t, os.Getpid()), "engine resident MiB": resident(t, d.engine.Pid()),
		"parts": float64(res.Rows[0][0].(uint64)), "subscriptions": d.monitored(t, "/subsz", "num_subscriptions"), "consumers": d.monitored(t, "/jsz", "consumers"),
		"connections": d.monitored(t, "/connz", "num_connections"), "aged MiB": d.bytesOf(t, aged...),
		"kept MiB": d.bytesOf(t, slices.DeleteFunc(market.Streams(), func(st market.Stream) bool { return slices.Contains(aged, st) })...),
	}})
}

// resident memory of a process, in MiB.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// forgotten waits until nats-server holds nothing of readers that have ended, which it does for half a minute of ours, so that what is counted is what stays.
func (d *day) forgotten(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); ; <-tick.C {
		var all struct {
			Accounts []struct {
				Streams []struct {
					Consumers []struct {
						Waiting int  `json:"num_waiting"`
						Pushed  bool `json:"push_bound"`
					} `json:"consumer_detail"`
				} `json:"stream_detail"`
			} `json:"account_details"`
		}
		d.ask(t, "/jsz?consumers=true", &all)
		ended := 0
		for _, a := range all.Accounts {
			for _, s := range a.Streams {
				for _, c := range s.Consumers {
					if c.Waiting == 0 && !c.Pushed {
						ended++
					}
				}
			}
		}
		if ended == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("nats-server still holds %d consumers that nobody reads", ended)
		}
	}
}

// ask the server's monitoring.
func (d *day) ask(t *testing.T, path string, into any) {
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
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// monitored is a number of the server's monitoring.
func (d *day) monitored(t *testing.T, path, name string) float64 {
	t.Helper()
	var all map[string]any
	d.ask(t, path, &all)
	n, ok := all[name].(float64)
	if !ok {
		t.Fatalf("NATS tells no %s at %s", name, path)
	}
	return n
}

// number asks the tables for one.
func (d *day) number(t *testing.T, query string, args ...any) uint64 {
	t.Helper()
	res, err := d.store.Query(t.Context(), fmt.Sprintf(query, args...))
	if err != nil {
		t.Fatal(err)
	}
	return res.Rows[0][0].(uint64)
}

// span of time as a condition of ClickHouse's SQL.
func span(from, to time.Time) string {
	return fmt.Sprintf("event_time >= fromUnixTimestamp64Nano(toInt64(%d)) AND event_time < fromUnixTimestamp64Nano(toInt64(%d))", from.UnixNano(), to.UnixNano())
}

// sessionsSeen holds that the sessions followed each other as the calendar says: prints landed of each that is open and of none that is not, bars are of the session and
// of the trade date that they lie in, and those of the whole date are final.
func (d *day) sessionsSeen(t *testing.T, end time.Time) {
	t.Helper()
	seen := ""
	for at := d.clock.from; at.Before(end); {
		s := d.cal.At(at)
		at = s.Close
		seen += string(s.Kind) + " "
		prints := d.number(t, "SELECT count() FROM trades WHERE source LIKE 'sim-%%' AND source != 'sim-old' AND %s", span(s.Open, s.Close))
		t.Logf("%s of %s: %d prints", s.Kind, s.TradeDate, prints)
		if s.Kind == session.Closed {
			if prints > 0 {
				t.Errorf("%d prints landed while the market was closed", prints)
			}
			continue
		}
		// In one statement, for the tables go on growing.
		wrong := d.number(t, "SELECT if(count() = 0, 1, countIf(session != '%s' OR trade_date != '%s')) FROM bars_now WHERE source LIKE '%%-prints' AND interval = '1m' AND %s",
			s.Kind, s.TradeDate, span(s.Open, s.Close))
		if prints == 0 || wrong > 0 {
			t.Errorf("session %s of %s: %d prints landed; %d bars of a minute say that they are of another, or there is none", s.Kind, s.TradeDate, prints, wrong)
		}
	}
	if seen != "pre regular after closed pre regular " {
		t.Errorf("the sessions were %s", seen)
	}
	bars := "SELECT count() FROM bars_now WHERE source LIKE '%%-prints' AND trade_date = '%s' AND %s"
	if all, open := d.number(t, bars, d.date, "1"), d.number(t, bars, d.date, "NOT final"); all == 0 || open > 0 {
		t.Errorf("of %d bars of the date %d are not final", all, open)
	}
}

// nightOf holds that the notebooks ran for the date that ended, once, because it was complete, and told what they computed.
func (d *day) nightOf(t *testing.T) {
	t.Helper()
	res, err := d.store.Query(t.Context(), "SELECT trade_date, notebook, state, complete, missing, error, notes, started, as_of "+
		"FROM research_runs_now WHERE trade_date <= '"+d.date.String()+"' ORDER BY started, notebook")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Rows {
		t.Logf("run: %v", r)
	}
	date := d.date.String()
	whole := d.number(t, "SELECT count() FROM research_runs_now WHERE trade_date = '%s' AND complete AND error = '' AND "+
		"(notebook = '' AND state = 'ended' OR notebook = 'ok' AND state = 'ok')", date)
	if all := len(res.Rows); all != 2 || whole != 2 {
		t.Errorf("%d states of runs stand there, %d of a run of the complete date %s and its notebook; wanted those two", all, whole, date)
	}
	if d.number(t, "SELECT count() FROM research_results WHERE trade_date = '%s' AND notebook = 'ok' AND complete", date) == 0 {
		t.Errorf("no result of the notebook of %s stands there", date)
	}
}

// removed holds that the messages and rows whose time was over are gone.
func (d *day) removed(t *testing.T) {
	t.Helper()
	left, done := d.number(t, "SELECT count() FROM trades WHERE source = 'sim-old'"), d.number(t, "SELECT count() FROM retirements WHERE state = 'done'")
	t.Logf("%d audits, all clean; %d messages aged out of their streams; partition %s of %s was removed with %d rows", d.audits, d.gone, d.retired.Partition, d.retired.Table, d.retired.Rows)
	if d.retired.Rows != oldPrints || left > 0 || done != 1 {
		t.Errorf("%d old rows of %d are left, %d removals are done", left, oldPrints, done)
	}
	// What was published is what aged out and what is left; what is left each time is of two hours, not of a day.
	last, most := d.left[len(d.left)-1], slices.Max(d.left)
	t.Logf("of %.1f MiB of prints and quotes %.1f MiB aged out; at most %.1f MiB were left behind it", d.freed+last, d.freed, most)
	if d.gone == 0 || most > (d.freed+last)/2 {
		t.Errorf("%d messages aged out, %.1f MiB; at most %.1f MiB were left behind it", d.gone, d.freed, most)
	}
}

// growth holds what is held from the second opening on against what was on the first day. What is held by the way comes and goes; so it is the least of each
// span that counts, one look of which is when nothing is left of readers that have ended: what leaks, stays.
func (d *day) growth(t *testing.T, first, second time.Time) {
	t.Helper()
	least := func(which func(time.Time) bool) map[string]float64 {
		out := map[string]float64{}
		for _, x := range d.samples {
			if !which(x.at) {
				continue
			}
			for what, n := range x.held {
				if was, ok := out[what]; !ok || n < was {
					out[what] = n
				}
			}
		}
		return out
	}
	before, after := least(func(at time.Time) bool { return at.After(first) && at.Before(d.cal.TradeDateEnd(d.date)) }), least(second.Before)
	// By how much each may differ: ClickHouse merges when it likes and fills its caches, and the signals hold the prints of the date before too.
	for what, more := range map[string]struct{ times, plus float64 }{
		"goroutines": {1.05, 20}, "descriptors": {1.05, 10}, "consumers": {1, 0}, "subscriptions": {1.05, 4}, "connections": {1, 0}, "series": {1.1, 10}, "parts": {1.5, 30},
		"heap MiB": {1.3, 24}, "resident MiB": {1.3, 48}, "engine resident MiB": {1.3, 128},
	} {
		t.Logf("%s: at least %.1f on the first day, %.1f from the second opening on", what, before[what], after[what])
		if before[what] == 0 || after[what] > before[what]*more.times+more.plus {
			t.Errorf("%s: at least %.1f on the first day, %.1f from the second opening on", what, before[what], after[what])
		}
	}
	// The other streams are kept whole: they grow by what is published, as fast in the second half as in the first.
	begin, end := d.samples[0], d.samples[len(d.samples)-1]
	half := slices.IndexFunc(d.samples, func(x daySample) bool { return x.at.Sub(begin.at) >= end.at.Sub(begin.at)/2 })
	one, two := d.samples[half].held["kept MiB"]-begin.held["kept MiB"], end.held["kept MiB"]-d.samples[half].held["kept MiB"]
	rate := func(more float64, from, to daySample) float64 { return more / to.at.Sub(from.at).Hours() }
	if a, b := rate(one, begin, d.samples[half]), rate(two, d.samples[half], end); a <= 0 || b > a*1.5 {
		t.Errorf("the streams that are kept grew by %.2f MiB an hour in the first half, by %.2f in the second", a, b)
	} else {
		t.Logf("the streams that are kept grew by %.2f MiB an hour in the first half, by %.2f in the second", a, b)
	}
	for _, s := range d.samples {
		var line strings.Builder
		for _, what := range slices.Sorted(maps.Keys(s.held)) {
			fmt.Fprintf(&line, "  %s %.1f", what, s.held[what])
		}
		t.Logf("%s%s", s.at.In(d.cal.Midnight(d.date).Location()).Format("02 Jan 15:04"), line.String())
	}
}
