package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/pkg/wire"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/lander"
	"github.com/hashpivot/hashpivot/services/signals"
)

func TestMain(m *testing.M) { chembedtest.Main(m) }

// The bad day, in seconds after its first print. A day of the market is a minute here, an hour's silence three seconds.
const (
	dayOpen, dayClose, dayEnd = 8 * time.Second, 48 * time.Second, 56 * time.Second

	dayDrops     = 40
	firstDrop    = 2 * time.Second
	dropEvery    = 900 * time.Millisecond
	haltAt       = 15 * time.Second
	haltFor      = 4 * time.Second
	muteAt       = 39 * time.Second
	muteFor      = 3 * time.Second
	leaderDiesAt = 45 * time.Second
)

const badSource = "sim-alpaca"

// TestBadDay plays a scripted day against the simulators, with the real services, nats-server and engine: an opening auction, a halt and its
// resumption, forty disconnects (fewer on a slow machine), a mute spell, corrections, cancels and late prints all along, the partition of the leading instance, a closing
// auction. Then every print that the venue published is in ClickHouse once, the bars are those of a batch over the same prints, and the ledger has
// each hole and its repair, and none that was not.
func TestBadDay(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a day takes a minute")
	}
	d := newBadDay(t)
	d.play(t)
	d.settled(t)

	prints := d.venuePrints(t)
	d.checkPrints(t, prints)
	d.checkBars(t)
	d.checkLedger(t)
	res, err := audit.Audit(t.Context(), d.bus, d.store, nil)
	if err != nil || !res.Clean() {
		t.Errorf("audit: %+v, %v", res, err)
	}
}

type badDay struct {
	start  time.Time
	cal    *session.Schedule
	sim    *sim.Sim
	cfg    config
	bus    *bus.Bus
	store  *store.Store
	lander *lander.Lander

	first, second *publishers
	partition     func() // takes the network from the first

	mu      sync.Mutex
	events  []*market.FeedEvent
	gaps    map[string]*market.FeedGap
	changed chan struct{}

	drops   int
	outages []outage
}

// outage is when the script took the feed away, and when it was back.
type outage struct {
	why      string
	from, to time.Time
}

func newBadDay(t *testing.T) *badDay {
	t.Helper()
	d := &badDay{start: time.Now().Add(5 * time.Second).Truncate(time.Second), gaps: map[string]*market.FeedGap{}, changed: make(chan struct{})}
	file, err := d.calendar(t)
	if err != nil {
		t.Fatal(err)
	}
	srv, b := bustest.Start(t)
	d.bus = b
	d.store = storetest.Start(t)
	d.sim, err = sim.Start(t.Context(), sim.Config{
		Seed: 7, Symbols: []string{"WGMI", "CORZ", "BTBT", "IREN"}, Rate: 300, Steady: true, FaultEvery: 40, LateBy: 1500 * time.Millisecond, FateBy: time.Second,
		Calendar: d.cal,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.sim.Close)

	d.cfg = defaultConfig()
	d.cfg.Mode, d.cfg.ClickHouse.Database = modeSim, "hashpivot"
	if err := pointAt(&d.cfg, d.sim.URLs(), modeSim, ""); err != nil {
		t.Fatal(err)
	}
	e := &d.cfg.Equities
	e.Symbols, e.Calendar = []string{"WGMI", "CORZ", "BTBT", "IREN"}, file
	e.Backfill.DailyFrom, e.Backfill.MinuteFrom = "", ""
	e.Stale.Regular, e.Stale.Extended = 1500*time.Millisecond, 1500*time.Millisecond
	e.Alpaca.HistoryTrails, e.Alpaca.SlowRetry = 300*time.Millisecond, 200*time.Millisecond
	g := &d.cfg.Signals
	g.Calendar = file
	g.Bars.Grace, g.Bars.ReviseEvery, g.Bars.FinalAfter, g.Bars.Settle = 300*time.Millisecond, 500*time.Millisecond, 4*time.Second, 3*time.Second

	log := chembedtest.Logger(t)
	d.lander, err = lander.New(lander.DefaultConfig(), lander.Deps{Bus: b, Store: d.store, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	owned(t, "lander", func(ctx context.Context) error { return d.lander.Run(ctx) })
	owned(t, "observer", d.observe)

	// Two instances with connections of their own, and the signals.
	lost, err := bus.Connect(bus.DefaultConfig(), srv, log)
	if err != nil {
		t.Fatal(err)
	}
	d.partition = lost.Close
	t.Cleanup(lost.Close)
	quick := func(p feed.Policy) feed.Policy {
		p.FirstWait, p.MaxWait, p.StableAfter = 100*time.Millisecond, 400*time.Millisecond, 200*time.Millisecond
		return p
	}
	derived := newPublishers(&d.cfg, b, log, nil)
	owned(t, "signals", func(ctx context.Context) error { return derived.run(ctx, "signals") })
	d.first, d.second = newPublishers(&d.cfg, lost, log, nil), newPublishers(&d.cfg, b, log, nil)
	d.first.policy, d.second.policy = quick, quick
	owned(t, "first instance", func(ctx context.Context) error { return d.first.run(ctx, "equities") })
	d.connected(t, time.Time{})
	owned(t, "second instance", func(ctx context.Context) error { return d.second.run(ctx, "equities") })
	return d
}

// calendar writes the day as dated configuration: seconds after the start, on the trade date in which it ends.
func (d *badDay) calendar(t *testing.T) (string, error) {
	ny, err := time.LoadLocation("America/New_York")
	if err != nil {
		return "", err
	}
	date := d.start.Add(dayEnd).In(ny).Format(time.DateOnly)
	clock := func(after time.Duration) string {
		at := d.start.Add(after).In(ny)
		if at.Format(time.DateOnly) != date {
			return "-1 " + at.Format(time.TimeOnly)
		}
		return at.Format(time.TimeOnly)
	}
	sessions := fmt.Sprintf(`[{kind: pre, open: "%s", close: "%s"}, {kind: regular, open: "%s", close: "%s"}, {kind: after, open: "%s", close: "%s"}]`,
		clock(0), clock(dayOpen), clock(dayOpen), clock(dayClose), clock(dayClose), clock(dayEnd))
	text := fmt.Sprintf("timezone: America/New_York\nyears: {from: 2026, to: 2100}\nweekends: true\nregimes:\n  - from: 2026-01-01\n    sessions: %s\n    early: %s\n", sessions, sessions)
	if d.cal, err = session.Parse([]byte(text)); err != nil {
		return "", err
	}
	file := filepath.Join(t.TempDir(), "day.yaml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// owned runs something until the test ends, and holds that it ends well.
func owned(t *testing.T, what string, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	})
}

// observe follows the feed's states and the ledger.
func (d *badDay) observe(ctx context.Context) error {
	r, err := d.bus.Read(ctx, market.Feeds, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		m, err := r.Next(ctx)
		if err != nil {
			return err
		}
		events, err := wire.Decode(market.Feeds, m.Data)
		if err != nil {
			return err
		}
		d.mu.Lock()
		for _, ev := range events {
			switch e := ev.(type) {
			case *market.FeedEvent:
				if e.Source == badSource {
					d.events = append(d.events, e)
				}
			case *market.FeedGap:
				d.gaps[e.GapID] = e
			}
		}
		close(d.changed)
		d.changed = make(chan struct{})
		d.mu.Unlock()
	}
}

// wait returns once ok holds; ok is asked with the lock held.
func (d *badDay) wait(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.After(within)
	for {
		d.mu.Lock()
		good, changed := ok(), d.changed
		d.mu.Unlock()
		if good {
			return
		}
		select {
		case <-changed:
		case <-end:
			d.mu.Lock()
			defer d.mu.Unlock()
			var last []string
			for _, e := range d.events[max(0, len(d.events)-5):] {
				last = append(last, fmt.Sprint(e.EventTime.Sub(d.start), " ", e.State, " ", e.Detail))
			}
			t.Fatalf("not within %s: %s; last states: %s", within, what, strings.Join(last, "; "))
		}
	}
}

// connected waits for the state later than a moment, and returns when it was. The moment counts, not how many events came: what the observer is told late would be taken for what
// comes, and the next outage would find nothing to take away.
func (d *badDay) connected(t *testing.T, after time.Time) (at time.Time) {
	t.Helper()
	d.wait(t, 40*time.Second, "connected", func() bool {
		for _, e := range d.events {
			if e.State == market.FeedConnected && e.EventTime.After(after) {
				at = e.EventTime
				return true
			}
		}
		return false
	})
	return at
}

// take takes the feed away and waits until it is back.
func (d *badDay) take(t *testing.T, why string, do func()) outage {
	t.Helper()
	o := outage{why: why, from: time.Now()}
	do()
	o.to = d.connected(t, o.from)
	d.outages = append(d.outages, o)
	return o
}

func (d *badDay) order(t *testing.T, o control.Order) {
	t.Helper()
	if err := d.sim.Alpaca.Target().Order(o); err != nil {
		t.Fatal(err)
	}
}

// at waits for a moment of the script.
func (d *badDay) at(after time.Duration) { <-time.After(time.Until(d.start.Add(after))) }

func (d *badDay) play(t *testing.T) {
	halted := false
	// Where a feed takes longer than dropEvery to come back, fewer fit: what follows has its place in the day, and a mute spell over the close would not be noticed.
	for i := range dayDrops {
		after := firstDrop + time.Duration(i)*dropEvery
		if time.Since(d.start) > muteAt-dropEvery {
			t.Logf("%d drops of %d, for want of time", i, dayDrops)
			if i < dayDrops/8 {
				t.Errorf("only %d drops: the feed takes more than %s to come back", i, 8*dropEvery)
			}
			break
		}
		if after >= haltAt && !halted {
			halted = true
			d.order(t, control.Order{Fault: "halt:IREN", For: control.Duration(haltFor)})
		}
		d.at(after)
		d.take(t, "drop", d.sim.Alpaca.DropAll)
		d.drops++
	}
	d.at(muteAt)
	d.take(t, "mute", func() { d.order(t, control.Order{Fault: control.Mute, For: control.Duration(muteFor)}) })
	d.at(leaderDiesAt)
	o := d.take(t, "leader change", d.partition)
	t.Logf("take-over within %s", o.to.Sub(o.from).Round(time.Millisecond))
	// Within 5 s is the aim, and the lease's own tests hold it. Here the race detector and the neighbours' tests slow the restoring down.
	if o.to.Sub(o.from) > 20*time.Second {
		t.Errorf("the standby was connected %s after the partition", o.to.Sub(o.from))
	}
	d.at(dayEnd + 2*time.Second)
}

// settled waits until the ledger has no open line, the bars are final, and everything has landed.
func (d *badDay) settled(t *testing.T) {
	t.Helper()
	d.wait(t, 60*time.Second, "every line of the ledger settled", func() bool {
		for _, g := range d.gaps {
			if g.State == market.GapOpen {
				return false
			}
		}
		return true
	})
	final := func() bool {
		res, err := d.store.Query(t.Context(), "SELECT count(), countIf(NOT final) FROM bars_now WHERE source = '"+badSource+"-prints'")
		return err == nil && fmt.Sprint(res.Rows[0][0]) != "0" && fmt.Sprint(res.Rows[0][1]) == "0"
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(60 * time.Second); !final(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("the bars are not final a minute after the day")
		}
	}
	d.at(dayEnd + 12*time.Second) // what is compared must have stood for a while
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := d.lander.Drained(ctx); err != nil {
		t.Fatalf("drain: %v", err)
	}
}

// venuePrint is a print as the venue's own history tells it.
type venuePrint struct {
	I uint64    `json:"i"`
	X string    `json:"x"`
	T time.Time `json:"t"`
	U string    `json:"u"`
}

// venuePrints asks the simulator for all prints of the day, by symbol.
func (d *badDay) venuePrints(t *testing.T) map[string][]venuePrint {
	t.Helper()
	out := map[string][]venuePrint{}
	token := ""
	for {
		q := url.Values{
			"symbols": {strings.Join(d.cfg.Equities.Symbols, ",")}, "start": {d.start.Add(-time.Minute).UTC().Format(time.RFC3339Nano)},
			"end": {time.Now().UTC().Format(time.RFC3339Nano)}, "limit": {"10000"}, "feed": {"iex"},
		}
		if token != "" {
			q.Set("page_token", token)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.sim.URLs().AlpacaREST+"/v2/stocks/trades?"+q.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Apca-Api-Key-Id", "any")
		req.Header.Set("Apca-Api-Secret-Key", "any")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var page struct {
			Trades map[string][]venuePrint `json:"trades"`
			Next   *string                 `json:"next_page_token"`
		}
		if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(body, &page) != nil {
			t.Fatalf("%d %.200s %v", resp.StatusCode, body, err)
		}
		for symbol, list := range page.Trades {
			out[symbol] = append(out[symbol], list...)
		}
		if page.Next == nil {
			http.DefaultClient.CloseIdleConnections()
			return out
		}
		token = *page.Next
	}
}

// checkPrints holds ClickHouse against the venue: every print once, every cancel and correction once, nothing else.
func (d *badDay) checkPrints(t *testing.T, venue map[string][]venuePrint) {
	t.Helper()
	res, err := d.store.Query(t.Context(), "SELECT symbol, toString(action), trade_id, original_trade_id, count() FROM trades WHERE source = '"+badSource+"' GROUP BY 1, 2, 3, 4")
	if err != nil {
		t.Fatal(err)
	}
	// By symbol, action and id; a correction by both of its ids.
	landed := map[string]int{}
	rows := 0
	for _, r := range res.Rows {
		n := int(r[4].(uint64))
		rows += n
		key := fmt.Sprint(r[0], " ", r[1], " ", r[2])
		landed[key] += n
		if r[1] == "correction" {
			landed[fmt.Sprint(r[0], " corrected ", r[3])] += n
		}
	}
	want, bad := 0, 0
	miss := func(format string, args ...any) {
		if bad++; bad <= 10 {
			t.Errorf(format, args...)
		}
	}
	fates := map[string]int{}
	total := 0
	for symbol, list := range venue {
		total += len(list)
		for _, p := range list {
			fates[p.U]++
			at := func(action string) int { return landed[fmt.Sprint(symbol, " ", action, " ", p.I)] }
			prints, cancels, corrected, correction := at("trade"), at("cancel"), at("corrected"), at("correction")
			if prints+cancels+corrected+correction == 0 {
				miss("print %d of %s at %s (%q) has no row", p.I, symbol, p.T.Sub(d.start), p.U)
				continue
			}
			ok := false
			switch p.U {
			case "":
				ok = prints == 1 && cancels == 0 && corrected == 0
				want++
			case "canceled":
				ok = prints == 1 && cancels == 1
				want += 2
			case "incorrect": // replaced, as the stream tells it, or as history does
				ok = prints == 1 && corrected+cancels == 1
				want += 2
			case "corrected":
				ok = prints+correction == 1
				if prints == 1 {
					want++
				}
			}
			if !ok {
				miss("print %d of %s at %s (%q): %d prints, %d cancels, corrected %d times, %d corrections", p.I, symbol, p.T.Sub(d.start), p.U, prints, cancels, corrected, correction)
			}
		}
	}
	if rows != want {
		t.Errorf("%d rows for prints that make %d", rows, want)
	}
	t.Logf("%d prints of the venue (%d canceled, %d corrected), %d rows", total, fates["canceled"], fates["corrected"], rows)
	if total < 2000 || fates["canceled"] == 0 || fates["corrected"] == 0 {
		t.Errorf("the day was too quiet: %d prints, %v", total, fates)
	}
}

// checkBars holds the bars against a batch over the stream's prints, and the venue's own bars against ours.
func (d *badDay) checkBars(t *testing.T) {
	t.Helper()
	rules, err := signals.NewRules("alpaca")
	if err != nil {
		t.Fatal(err)
	}
	prints := map[string][]market.Trade{}
	err = d.bus.Replay(t.Context(), market.Trades, badSource, time.Time{}, func(ev market.Event, _ market.Place) error {
		if x, ok := ev.(*market.Trade); ok {
			prints[x.Symbol] = append(prints[x.Symbol], *x)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	line := func(symbol, interval, sess string, at time.Time, o, h, l, c, v, w, n any) string {
		return fmt.Sprint(symbol, " ", interval, " ", sess, " ", at.UnixMilli(), " ", o, " ", h, " ", l, " ", c, " ", v, " ", w, " ", n)
	}
	want := map[string]bool{}
	for symbol, list := range prints {
		for _, b := range signals.Build(list, rules, d.cal, d.cfg.Signals.Bars.Intervals) {
			x := func(v market.Decimal) string { return v.Trim(0).String() }
			want[line(symbol, string(b.Interval), b.Session, b.EventTime, x(b.OpenUSD), x(b.HighUSD), x(b.LowUSD), x(b.CloseUSD), x(b.Volume), x(b.VWAPUSD), b.TradeCount)] = true
		}
	}
	res, err := d.store.Query(t.Context(), "SELECT symbol, interval, session, event_time, open_usd, high_usd, low_usd, close_usd, volume, vwap_usd, trade_count, rev FROM bars_now WHERE source = '"+badSource+"-prints'")
	if err != nil {
		t.Fatal(err)
	}
	revised := 0
	for _, r := range res.Rows {
		if fmt.Sprint(r[10]) == "0" {
			continue // every print of it was cancelled: it is taken back
		}
		l := line(fmt.Sprint(r[0]), fmt.Sprint(r[1]), fmt.Sprint(r[2]), r[3].(time.Time), r[4], r[5], r[6], r[7], r[8], r[9], r[10])
		if !want[l] {
			t.Errorf("a bar that the batch does not make: %s", l)
		}
		delete(want, l)
		if fmt.Sprint(r[11]) != "0" {
			revised++
		}
	}
	for l := range want {
		t.Errorf("a bar of the batch is missing: %s", l)
	}
	t.Logf("%d bars equal the batch, %d of them were revised", len(res.Rows), revised)

	res, err = d.store.Query(t.Context(), "SELECT symbol, event_time, argMax(value, rev), argMax(inputs, rev) FROM signals WHERE name LIKE 'bar-difference%' GROUP BY name, symbol, event_time HAVING argMax(value, rev) != 0")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Rows {
		t.Errorf("the venue's bar differs from ours: %v", r)
	}
}

// checkLedger holds the ledger against the script and against what the simulator saw: each outage of the script is in a line, settled, about its time;
// and each line ends with a connection that the simulator saw anew, so no hole is claimed that was not there.
func (d *badDay) checkLedger(t *testing.T) {
	t.Helper()
	// A line ends when the next connection was accepted.
	const slack, accepted = 2 * time.Second, 100 * time.Millisecond
	// On a machine that is too slow for the lease, or for 1.5 s without a frame, there are more outages than were ordered; they are real, and the simulator was connected to anew.
	connects := map[string][]time.Time{
		badSource: d.sim.Alpaca.Target().Seen().Connects, "sim-massive": d.sim.Massive.Target().Seen().Connects, "sim-finnhub": d.sim.Finnhub.Target().Seen().Connects,
	}
	seen := func(g *market.FeedGap) bool {
		return slices.ContainsFunc(connects[g.Source], func(at time.Time) bool { return at.After(g.From) && !at.After(g.To.Add(accepted)) })
	}
	var lines []*market.FeedGap
	for _, g := range d.gaps {
		switch {
		case strings.HasPrefix(g.Reason, "history"):
		case g.Source == badSource:
			lines = append(lines, g)
		case strings.HasPrefix(g.Reason, "lost") && !seen(g): // nobody cut the others off; a change of the leader is a restart
			t.Errorf("%s claims a hole that was not there: %s to %s, %s", g.Source, g.From.Sub(d.start), g.To.Sub(d.start), g.Reason)
		}
	}
	slices.SortFunc(lines, func(a, b *market.FeedGap) int { return cmp.Compare(a.From.UnixNano(), b.From.UnixNano()) })
	recovered := uint64(0)
	for _, g := range lines {
		recovered += g.Recovered
		if g.State != market.GapFilled && g.State != market.GapPartly {
			t.Errorf("the hole from %s to %s is %s: %s", g.From.Sub(d.start), g.To.Sub(d.start), g.State, g.Reason)
		}
	}
	// A line begins with the last sign of life, which may be as old as the silence that was allowed or be read after the order was given.
	var since time.Time // from when on the line may be
	for i, o := range d.outages {
		// Where one outage follows the other so soon that nothing was heard between them, one line has both.
		if i == 0 || o.from.Sub(d.outages[i-1].to) > accepted {
			since = o.from.Add(-slack)
		}
		if !slices.ContainsFunc(lines, func(g *market.FeedGap) bool {
			return g.From.Before(o.to) && g.From.After(since) && !g.To.Before(o.to.Add(-accepted))
		}) {
			t.Errorf("the %s from %s to %s is in no line of the ledger", o.why, o.from.Sub(d.start), o.to.Sub(d.start))
		}
	}
	for _, g := range lines {
		if !seen(g) {
			t.Errorf("the ledger claims a hole that was not there: %s to %s, %s, %s", g.From.Sub(d.start), g.To.Sub(d.start), g.State, g.Reason)
		}
	}
	t.Logf("%d outages were played, %d lines, %d rows recovered", len(d.outages), len(lines), recovered)
	if len(d.outages) != d.drops+2 || len(lines) < len(d.outages) || recovered == 0 {
		t.Errorf("%d outages were played, %d lines are there, %d rows were recovered", len(d.outages), len(lines), recovered)
	}
}
