package signals

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// untilPivot waits for a value of a series at a time, or for a revision of it.
func (r *running) untilPivot(name, symbol string, at time.Time, rev ...uint32) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if !r.sink.Wait(ctx, func(events []market.Event) bool {
		for _, ev := range events {
			if s, ok := ev.(*market.Signal); ok && s.Name == name && s.Symbol == symbol && s.EventTime.Equal(at) && (len(rev) == 0 || s.Rev == rev[0]) {
				return true
			}
		}
		return false
	}) {
		r.t.Fatalf("waited in vain for %s of %s at %s", name, symbol, at)
	}
}

// land puts what the streams hold into the engine, as the lander does.
func (s *stage) land(st *store.Store) {
	s.t.Helper()
	b := st.NewBatch()
	for _, stream := range []market.Stream{market.Bars, market.Hashprices, market.Rates, market.Signals} {
		if err := s.bus.Replay(s.t.Context(), stream, "", time.Time{}, b.Add); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.bus.Replay(s.t.Context(), market.Feeds, "", time.Time{}, b.Add, "*"); err != nil {
		s.t.Fatal(err)
	}
	if err := st.Insert(s.t.Context(), b, "all"); err != nil {
		s.t.Fatal(err)
	}
}

// draw is a decimal with so many digits behind the point.
func draw(rnd *rand.Rand, low, high, digits int) string {
	frac := ""
	for range digits {
		frac += fmt.Sprint(rnd.IntN(10))
	}
	return fmt.Sprintf("%d.%s", low+rnd.IntN(high-low), frac)
}

// TestPivotEqualsTheViews: what is told live and by day, over restarts, a kill, late inputs and revisions, is what the views make of the same
// inputs, to the last digit, each revision once.
func TestPivotEqualsTheViews(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	if err := LoadReference(t.Context(), st.Exec); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	s := newStage(t, noon)
	cfg := DefaultConfig()
	cfg.Pivot.GPUs = []string{"b200", "gb200", "h100-sxm"} // 120 kW of 72 GPUs is no finite decimal each
	last := cfg.Pivot.GPUs[len(cfg.Pivot.GPUs)-1]

	day := func(n int) time.Time { return noon.Truncate(24*time.Hour).AddDate(0, 0, -n) }
	for n := 40; n > 0; n-- {
		if n != 7 { // a day without
			s.tell(dailyHashprice(day(n), draw(rnd, 20, 90, 15), 0))
		}
		for _, gpu := range cfg.Pivot.GPUs {
			for _, method := range []string{"vast-metrics-rented", "vast-metrics-median", "vast-wmedian", "gpu-wmedian"} {
				if rnd.IntN(3) > 0 {
					r := rateBy(method, day(n).Add(time.Duration(rnd.Int64N(int64(24*time.Hour)))), gpu, draw(rnd, 1, 9, 8))
					s.tell(r)
				}
			}
		}
	}
	s.tell(dailyHashprice(day(3), draw(rnd, 20, 90, 15), 1))

	now := noon
	live := func(r *running, seconds int) {
		for range seconds {
			now = now.Add(time.Second)
			late := time.Duration(0)
			if rnd.IntN(4) == 0 {
				late = time.Duration(rnd.Int64N(int64(20 * time.Second)))
			}
			if rnd.IntN(2) == 0 {
				s.tell(hashpriceAt(now.Add(-late), draw(rnd, 20, 90, 15)))
			} else {
				s.tell(rateAt(now.Add(-late), cfg.Pivot.GPUs[rnd.IntN(3)], draw(rnd, 1, 9, 8)))
			}
		}
		now = now.Add(time.Second)
		s.tell(hashpriceAt(now, draw(rnd, 20, 90, 15)), rateAt(now, last, draw(rnd, 1, 9, 8)))
		s.clock.set(now.Add(11 * time.Second))
		if r != nil {
			r.untilPivot(signalSpread, last, now)
		}
		now = now.Add(10 * time.Second)
	}
	r := s.start(cfg, -1)
	for range 4 {
		live(r, 12)
	}
	r.end()
	live(nil, 5) // while nobody looks
	s.tell(dailyHashprice(day(5), draw(rnd, 20, 90, 15), 1))
	r = s.start(cfg, 3) // killed behind the third
	select {
	case err := <-r.done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("not killed")
	}
	r = s.start(cfg, -1)
	for range 3 {
		live(r, 12)
	}
	// A late revision of what was told, and the day's end.
	again := hashpriceAt(now.Add(-10*time.Second), "50.123456789")
	again.Rev = 1
	s.tell(again)
	s.clock.set(now.Add(time.Minute))
	r.untilPivot(signalSpread, last, again.EventTime, 1)
	s.tell(dailyHashprice(day(0), draw(rnd, 20, 90, 15), 0))
	s.clock.set(day(-1).Add(time.Hour))
	r.untilPivot(signalSpread+pivotDaily, last, day(0))
	r.end()
	if n := len(feedtest.Of[*market.Signal](r.sink.Memory)); n == 0 {
		t.Fatal("nothing was told")
	}

	s.land(st)
	rows := func(what, sql string) [][]any {
		t.Helper()
		res, err := st.Query(t.Context(), sql)
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, sql)
		}
		return res.Rows
	}
	for _, x := range rows("doubles", "SELECT name, symbol, event_time, rev, count() FROM signals GROUP BY ALL HAVING count() > 1") {
		t.Errorf("told twice: %v", x)
	}
	const told = "(SELECT name, symbol, event_time, argMax(value, rev) AS value, max(rev) AS revs FROM signals GROUP BY name, symbol, event_time)"
	compare := func(what, sql string, least int) {
		t.Helper()
		list := rows(what, sql)
		if len(list) < least {
			t.Errorf("%s: only %d values to compare", what, len(list))
		}
		for _, x := range list {
			if fmt.Sprint(x[3]) != fmt.Sprint(x[4]) {
				t.Errorf("%s: %v %v at %v is %v, in SQL %v", what, x[0], x[1], x[2], x[3], x[4])
			}
		}
	}
	for _, gpu := range cfg.Pivot.GPUs {
		compare("live", `SELECT name, s.symbol, s.event_time, s.value, CAST(multiIf(name = 'pivot-premium', p.premium, name = 'pivot-spread', p.spread_usd_per_mwh,
				name = 'break-even-hashprice', p.break_even_hashprice_usd, name = 'gpu-revenue', p.gpu_usd_per_mwh, p.mining_usd_per_mwh), 'Nullable(Decimal(38, 19))')
			FROM (SELECT * FROM `+told+` WHERE name NOT LIKE '%-1d' AND symbol IN ('fleet', '`+gpu+`')) AS s
			LEFT JOIN (SELECT * FROM pivot_live(gpu = '`+gpu+`', from_time = '2026-11-20 11:00:00', to_time = '2026-11-20 14:00:00') WHERE fleet = 'fleet') AS p
				ON p.event_time = s.event_time`, 20)
	}
	compare("day", `SELECT name, s.symbol, s.event_time, s.value, CAST(multiIf(name = 'pivot-premium-1d', p.premium, name = 'pivot-spread-1d', p.spread_usd_per_mwh,
			p.break_even_hashprice_usd), 'Nullable(Decimal(38, 19))')
		FROM (SELECT * FROM `+told+` WHERE name IN ('pivot-premium-1d', 'pivot-spread-1d') OR name = 'break-even-hashprice-1d' AND toDate(event_time) != '2026-11-13') AS s
		LEFT JOIN (SELECT * FROM pivot WHERE fleet = 'fleet' AND preferred) AS p ON p.gpu = s.symbol AND p.day = toDate(s.event_time)`, 300)
	compare("revenue of a day", `SELECT name, s.symbol, s.event_time, s.value, CAST(p.usd_per_mwh, 'Nullable(Decimal(38, 19))')
		FROM (SELECT * FROM `+told+` WHERE name IN ('mining-revenue-1d', 'gpu-revenue-1d')) AS s
		LEFT JOIN (SELECT * FROM revenue_per_mwh WHERE preferred) AS p ON p.symbol = s.symbol AND p.day = toDate(s.event_time)`, 140)
	// And all that the views have was told.
	for _, x := range rows("days", `SELECT count(), countIf(isNull(premium)), (SELECT uniqExact(symbol, event_time) FROM signals WHERE name = 'pivot-premium-1d')
		FROM pivot WHERE fleet = 'fleet' AND preferred`) {
		if x[0] != x[2] || fmt.Sprint(x[1]) != "0" {
			t.Errorf("the view has %v days of models, %v without a value; told were %v", x...)
		}
	}
	revised := rows("revisions", "SELECT countIf(rev > 0 AND name LIKE '%-1d'), countIf(rev > 0 AND name NOT LIKE '%-1d') FROM signals")[0]
	if fmt.Sprint(revised[0]) == "0" || fmt.Sprint(revised[1]) == "0" {
		t.Errorf("revisions of days and live: %v", revised)
	}
}

// The facts of the SQL tables as of a moment are those that were loaded by then, and the inputs those that were stored by then.
func TestPivotAsOf(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	exec := func(sql string) {
		t.Helper()
		if err := st.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	value := func(sql string) string {
		t.Helper()
		res, err := st.Query(t.Context(), sql)
		if err != nil {
			t.Fatalf("%v\n%s", err, sql)
		}
		return fmt.Sprint(res.Rows)
	}
	const asOf = "SELECT premium, reason FROM pivot_as_of(as_of = '%s') WHERE fleet = 'fleet' AND preferred"
	if got := value(fmt.Sprintf(asOf, "2026-11-20 00:00:00")); got != "[]" {
		t.Errorf("before anything was there: %s", got)
	}
	if err := LoadReference(t.Context(), st.Exec); err != nil {
		t.Fatal(err)
	}
	if err := LoadReference(t.Context(), st.Exec); err != nil { // changes nothing
		t.Fatal(err)
	}
	for _, table := range []string{"asic_machines", "gpu_systems", "reference_levels", "ai_contracts", "market_events"} {
		if got := value("SELECT count() - (SELECT count() FROM " + table + "_now) FROM " + table); got != "[[0]]" {
			t.Errorf("%s loaded twice has more rows than once: %s", table, got)
		}
	}
	// As if the facts had been loaded long ago.
	for _, table := range []string{"gpu_systems", "reference_levels"} {
		exec("INSERT INTO " + table + " SELECT * REPLACE ('2026-01-01 00:00:00' AS loaded_at) FROM " + table)
	}
	exec("INSERT INTO hashprice (event_time, stream_time, stream_seq, source, rev, method, hashprice_usd) VALUES " +
		"('2026-01-12', '2026-01-13 01:00:00', 1, 'sim-hashpivot', 0, 'daily', 39.53), ('2026-01-12', '2026-01-14 01:00:00', 2, 'sim-hashpivot', 1, 'daily', 40), " +
		"('2026-01-12', '2026-01-14 01:00:00', 3, 'sim-luxor', 0, 'daily', 41)")
	exec("ALTER TABLE hashprice UPDATE published = true WHERE source = 'sim-luxor' SETTINGS mutations_sync = 2")
	exec("INSERT INTO gpu_rates (event_time, stream_time, stream_seq, source, gpu, class, method, version, usd_per_gpu_hour) VALUES " +
		"('2026-01-12 15:00:00', '2026-01-12 15:00:00', 1, 'sim-hashpivot', 'h100-sxm', 'on-demand', 'gpu-wmedian', 1, 2.6), " +
		"('2026-01-12 16:00:00', '2026-01-12 16:00:00', 2, 'sim-hashpivot', 'rtx-4090', 'on-demand', 'gpu-wmedian', 1, 0.3)")
	for at, want := range map[string]string{
		"2026-01-12 23:00:00": "[]",
		"2026-01-13 23:00:00": "[[15.10644187 ] [<nil> no power, utilisation or PUE of that day]]",
		"2026-01-14 23:00:00": "[[14.92894118 ] [<nil> no power, utilisation or PUE of that day]]",
	} {
		if got := value(fmt.Sprintf("SELECT premium, reason FROM pivot_as_of(as_of = '%s') WHERE fleet = 'fleet' AND preferred ORDER BY gpu", at)); got != want {
			t.Errorf("as of %s: %s, want %s", at, got, want)
		}
	}
	if got := value("SELECT premium FROM pivot_with(j_per_th = 17.5, mining_pue = 1, utilisation = 1, gpu_pue = 1.3) WHERE gpu = 'h100-sxm'"); got != "[[16.47058824]]" {
		t.Errorf("with other assumptions: %s", got)
	}
	// $3.5 billion over 12 years on 200 MW, and a contract without a term.
	if got := value("SELECT usd_per_mwh, reason FROM revenue_per_mwh WHERE kind = 'contract' AND symbol = 'CORZ' AND day <= '2024-06-03' ORDER BY day"); got != "[[<nil> no term] [166.47640791 ]]" {
		t.Errorf("contracts: %s", got)
	}
}
