package signals

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// tellAll publishes many events at once; those of one subject stay in their order.
func (s *stage) tellAll(events ...market.Event) {
	s.t.Helper()
	for _, ev := range events {
		if err := s.pub.Publish(s.t.Context(), ev); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.pub.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// untilExposure lets the clock run until the series that is told last has been told of a day, with an input that says of which state.
func (r *running) untilExposure(symbol, factor string, day time.Time, input, value string) {
	r.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for time.Now().Before(deadline) {
		r.clock.set(r.clock.read().Add(2 * time.Second))
		ctx, cancel := context.WithTimeout(r.t.Context(), 100*time.Millisecond)
		found := r.sink.Wait(ctx, func(events []market.Event) bool {
			for _, ev := range events {
				if s, ok := ev.(*market.Signal); ok && s.Name == exposureName(exposureLead, factor) && s.Symbol == symbol && s.EventTime.Equal(day) && s.Inputs[input] == value {
					return true
				}
			}
			return false
		})
		cancel()
		if found {
			return
		}
	}
	r.t.Fatalf("waited in vain for %s of %s at %s with %s %s", factor, symbol, day, input, value)
}

// TestExposureEqualsTheViews: what is told, over restarts, a kill, revisions, late inputs, missing days, splits, stale factors and prices that stand
// still, is what the views make of the same inputs, to the last digit, each revision once; at the end, and as of a moment between.
func TestExposureEqualsTheViews(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	query := func(what, sql string) [][]any {
		t.Helper()
		res, err := st.Query(t.Context(), sql)
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, sql)
		}
		return res.Rows
	}
	rnd := rand.New(rand.NewPCG(3, 5))
	day := func(n int) time.Time { return today.AddDate(0, 0, -n) }
	actions := []reference.Action{
		{Symbol: "IREN", Kind: reference.Split, ExDate: day(17), SharesNew: "3", SharesOld: "1"},
		{Symbol: "IREN", Kind: reference.Distribution, ExDate: day(9), AmountUSD: "0.37", PriorCloseUSD: "7.123"},
		{Symbol: "CORZ", Kind: reference.Split, ExDate: day(12), SharesNew: "1", SharesOld: "7"},
		{Symbol: "CORZ", Kind: reference.Distribution, ExDate: day(25), AmountUSD: "1.1", PriorCloseUSD: "13"},
	}
	instruments, err := reference.LoadInstruments()
	if err != nil {
		t.Fatal(err)
	}
	facts, err := reference.Statements(instruments, actions)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range facts {
		if err := st.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	s := newStage(t, noon)
	s.actions = actions
	cfg := DefaultConfig()
	cfg.Exposure = Exposure{Enabled: true, Symbols: []string{"WGMI", "CORZ", "BTBT", "IREN"}, Window: 30, Every: 10 * time.Second}
	// IREN comes last; its factor gpu is told last.
	last, window := "IREN", fmt.Sprint(cfg.Exposure.Window)
	daily := func(n int, rev uint32) market.Event {
		h := dailyHashprice(day(n), draw(rnd, 38, 42, 15), rev)
		h.BTCUSD = market.MustDecimal(draw(rnd, 88000, 92000, 8))
		return h
	}
	prices := map[string]float64{"CORZ": 13, "BTBT": 3, "IREN": 40}
	closing := func(symbol string, n int, final bool, rev uint32) *market.Bar {
		usd := "20.5" // WGMI stands still
		if x, ok := prices[symbol]; ok {
			prices[symbol] = x * (0.94 + rnd.Float64()*0.125)
			usd = fmt.Sprintf("%.4f", prices[symbol])
		}
		return dailyBar("sim-alpaca", symbol, day(n), usd, final, rev)
	}
	rate := func(n int, method string) market.Event {
		usd := draw(rnd, 1, 3, 8)
		if n > 30 {
			usd = "2.2" // an index that stood still
		}
		return rateBy(method, day(n).Add(time.Duration(rnd.Int64N(int64(24*time.Hour)))), exposureGPU, usd)
	}
	var history []market.Event
	for n := 130; n > 0; n-- {
		if n%29 != 0 {
			history = append(history, daily(n, 0))
		}
		for i, method := range []string{"vast-metrics-median", "vast-wmedian", "gpu-wmedian"} {
			if rnd.IntN(8) > 0 && (i < 2 || n < 10) {
				history = append(history, rate(n, method), rate(n, method))
			}
		}
		if wd := day(n).Weekday(); wd == time.Saturday || wd == time.Sunday {
			continue
		}
		for _, symbol := range cfg.Exposure.Symbols {
			if rnd.IntN(25) == 0 {
				continue // a day without
			}
			b := closing(symbol, n, rnd.IntN(30) > 0, 0)
			history = append(history, b)
			switch rnd.IntN(12) {
			case 0:
				history = append(history, closing(symbol, n, true, 1))
			case 1:
				other := *b
				other.Source, other.Final = "sim-massive", true
				other.CloseUSD = market.MustDecimal("17.5")
				other.OpenUSD, other.HighUSD, other.LowUSD = other.CloseUSD, other.CloseUSD, other.CloseUSD
				history = append(history, &other)
			case 2:
				ours := *b
				ours.Source += suffix
				history = append(history, &ours)
			}
		}
	}
	history = append(history, daily(4, 1), closing("BTBT", 11, true, 7),
		dailyBar("sim-alpaca", "BTBT", day(8), "900", true, 3), // a price that nobody believes
		dailyBar("sim-alpaca", "IREN", day(1), "11.25", true, 9))
	// A source that adjusts its prices itself, as the ledger says.
	history = append(history, &market.FeedGap{
		Meta: market.Meta{EventTime: noon, RecvTime: noon, Source: "sim-yahoo"}, GapID: "1", Symbol: "*", Reason: "import corz.csv 1f; adjusted (yahoo-csv)", State: market.GapFilled,
		From: day(200), To: day(1),
	})
	history = append(history, dailyBar("sim-yahoo", "BTBT", day(5), "3", true, 4), dailyBar("sim-yahoo", "BTBT", day(7), "3.1", true, 4))
	for n := 139; n > 131; n-- { // days before those of the venue
		history = append(history, dailyBar("sim-yahoo", "CORZ", day(n), fmt.Sprint(10+n%3), true, 0))
	}
	s.tellAll(history...)

	r := s.start(cfg, 3) // killed behind the third
	for end := time.Now().Add(time.Minute); ; {
		s.clock.set(s.clock.read().Add(2 * time.Second))
		select {
		case err := <-r.done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(100 * time.Millisecond):
			if time.Now().After(end) {
				t.Fatal("not killed")
			}
			continue
		}
		break
	}
	r = s.start(cfg, -1)
	r.untilExposure(last, "gpu", day(1), "close.rev", "9")
	// The day goes on, provisional.
	for i := range 6 {
		at := noon.Add(time.Duration(i) * time.Minute)
		events := []market.Event{hashpriceAt(at, draw(rnd, 38, 42, 15)), hashpriceAt(day(1).Add(time.Duration(20+i%2)*time.Hour), draw(rnd, 38, 42, 15)), rate(0, "gpu-wmedian")}
		for _, symbol := range cfg.Exposure.Symbols {
			events = append(events, closing(symbol, 0, false, uint32(i)))
		}
		s.tell(events...)
		r.untilExposure(last, "gpu", day(0), "close.rev", fmt.Sprint(i))
	}
	r.end()
	// While nobody is here: the last of before, so that the next run tells it all.
	s.tellAll(daily(1, 1), closing("IREN", 0, false, 20))
	r = s.start(cfg, -1)
	r.untilExposure(last, "gpu", day(0), "close.rev", "20")
	r.end()
	between := time.Now().UTC()
	// Late and revised inputs of all kinds, and the end of the day.
	late := []market.Event{daily(0, 0), daily(29, 0), daily(2, 1), rate(5, "gpu-wmedian"), rate(3, "vast-wmedian"), closing("CORZ", 6, true, 8)}
	for _, symbol := range cfg.Exposure.Symbols {
		late = append(late, closing(symbol, 0, true, 30))
	}
	s.tellAll(late...)
	r = s.start(cfg, -1)
	r.untilExposure(last, "gpu", day(0), "close.rev", "30")
	r.end()
	if n := len(feedtest.Of[*market.Signal](r.sink.Memory)); n == 0 {
		t.Fatal("nothing was told")
	}

	s.land(st)
	for _, x := range query("doubles", "SELECT name, symbol, event_time, rev, count() FROM signals GROUP BY ALL HAVING count() > 1") {
		t.Errorf("told twice: %v", x)
	}
	for days, what := range []string{"at the end", "between"} {
		asOf := []string{"2200-01-01 00:00:00", between.Format("2006-01-02 15:04:05.000000000")}[days]
		told := "(SELECT name, symbol, event_time, argMax(value, rev) AS value, argMax(inputs, rev) AS inputs FROM signals WHERE source = 'sim-hashpivot-exposure' AND stream_time <= '" +
			asOf + "' GROUP BY name, symbol, event_time)"
		// The views take longer to plan than to run.
		table := "exposure_" + strings.ReplaceAll(what, " ", "_")
		if err := st.Exec(t.Context(), "CREATE TABLE "+table+" ENGINE = Memory AS SELECT * FROM exposure_as_of(window = "+window+", as_of = '"+asOf+"')"); err != nil {
			t.Fatal(err)
		}
		values := "(SELECT * FROM " + table + " ORDER BY day DESC LIMIT " + fmt.Sprint(exposureTail) + " BY symbol, factor)"
		rows := query(what, `
			SELECT v.name, v.symbol, v.event_time, v.told_as, ifNull(concat(toString(s.value), ' ', s.inputs['n'], ' ', s.inputs['from'], ' ', s.inputs['low'], ' ', s.inputs['high'], ' ',
				s.inputs['close.usd'], ' ', s.inputs['close.source'], ' ', s.inputs['level.method'], ' ', s.inputs['level.usd'], ' ', if(s.inputs['provisional'] = '', 'true', 'false')), '')
			FROM
			(
				SELECT concat('exposure-', x.1, '-', factor, '-1d') AS name, symbol, toDateTime64(day, 9, 'UTC') AS event_time,
					if(isNull(x.2), '', concat(toString(x.2), ' ', toString(n), ' ', toString(from_day), ' ', ifNull(toString(x.3), ''), ' ', ifNull(toString(x.4), ''), ' ',
						toString(close_usd), ' ', close_source, ' ', method, ' ', ifNull(toString(level_usd), ''), ' ', toString(final))) AS told_as
				FROM `+values+`
				ARRAY JOIN [('beta', CAST(beta, 'Nullable(Decimal(38, 19))'), CAST(NULL, 'Nullable(Decimal(18, 6))'), CAST(NULL, 'Nullable(Decimal(18, 6))')),
					('correlation', CAST(correlation, 'Nullable(Decimal(38, 19))'), correlation_low, correlation_high), ('r2', CAST(r2, 'Nullable(Decimal(38, 19))'), r2_low, r2_high)] AS x
			) AS v
			LEFT JOIN `+told+` AS s ON s.name = v.name AND s.symbol = v.symbol AND s.event_time = v.event_time
			SETTINGS join_use_nulls = 1`)
		none, some := 0, 0
		for _, x := range rows {
			if fmt.Sprint(x[3]) != fmt.Sprint(x[4]) {
				t.Errorf("%s: %v %v at %v is told as %q, in SQL %q", what, x[0], x[1], x[2], x[4], x[3])
			}
			if x[3] == "" {
				none++
			} else {
				some++
			}
		}
		if some < 400 || none < 40 {
			t.Errorf("%s: only %d values and %d without one to compare", what, some, none)
		}
		at := day(days).Format(time.DateOnly) // lead and lag
		rows = query(what, `
				SELECT symbol, factor, lag, r, s.inputs[concat('correlation.', toString(lag))], s.value, strongest, strongest_low, s.inputs['low']
				FROM
				(
					SELECT symbol, factor, lag, ifNull(toString(correlation), '') AS r, last_day,
						first_value(lag) OVER w AS strongest, first_value(ifNull(toString(low), '')) OVER w AS strongest_low
					FROM lead_lag_as_of(window = `+window+`, day = '`+at+`', as_of = '`+asOf+`')
					WINDOW w AS (PARTITION BY symbol, factor ORDER BY isNull(correlation), abs(correlation) DESC, abs(lag), -lag ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
				) AS v
				INNER JOIN `+told+` AS s ON s.symbol = v.symbol AND s.name = concat('exposure-lead-', v.factor, '-1d') AND toDate(s.event_time) = '`+at+`' AND v.last_day = '`+at+`'`)
		if len(rows) < 6*(2*exposureLags+1) {
			t.Errorf("%s, %s: only %d lags to compare", what, at, len(rows))
		}
		for _, x := range rows {
			if x[3] != x[4] || strings.TrimSuffix(fmt.Sprint(x[5]), " ") != fmt.Sprint(x[6]) || x[7] != x[8] {
				t.Errorf("%s: lag %v of %v to %v on %s is told as %v (strongest %v, from %v), in SQL %v (%v, %v)", what, x[2], x[0], x[1], at, x[4], x[5], x[8], x[3], x[6], x[7])
			}
		}
	}
	// What the case is meant to have is in it.
	for _, x := range query("cases", `
		SELECT countIf(reason = 'price moved hundredfold'), countIf(reason = 'no level of the day'), countIf(reason = 'no method of both days'), countIf(reason = 'prices are of another adjustment'),
			countIf(prev_factor != 1), countIf(method = 'tip144'), countIf(close_source = 'sim-massive'), countIf(day - prev_day > 3 AND toDayOfWeek(day) > 2) FROM exposure_inputs_as_of(as_of = '`+
		between.Format("2006-01-02 15:04:05")+`')`) {
		for i, n := range x {
			if fmt.Sprint(n) == "0" {
				t.Errorf("case %d is not there: %v", i, x)
			}
		}
	}
	for _, why := range []string{whyPairs, whyFactorStill, whyPriceStill} {
		if n := query(why, "SELECT count() FROM exposure_at_the_end WHERE reason = '"+why+"'"); fmt.Sprint(n[0][0]) == "0" {
			t.Errorf("no case of: %s", why)
		}
	}
	if got := query("revisions", "SELECT countIf(rev > 0), max(rev) FROM signals WHERE name LIKE 'exposure-%'")[0]; fmt.Sprint(got[0]) == "0" {
		t.Errorf("revisions: %v", got)
	}
	if got := query("before", "SELECT count() FROM exposure_inputs_as_of(as_of = '2026-01-01 00:00:00')"); fmt.Sprint(got) != "[[0]]" {
		t.Errorf("as of a moment before anything: %v", got)
	}
	if _, err := st.Query(t.Context(), "SELECT * FROM exposure(window = 19)"); err == nil || !strings.Contains(err.Error(), "window must be from 20") {
		t.Errorf("a window of 19: %v", err)
	}
	// Half the width of every interval is the same number on both sides.
	for _, x := range query("tanh", "SELECT number + 20, toInt64(round(tanh(1.959963984540054 / sqrt(toInt64(number + 20) - 3)) * 1e12)) FROM numbers(981)") {
		var n int
		if _, err := fmt.Sscan(fmt.Sprint(x[0]), &n); err != nil || fmt.Sprint(x[1]) != fisher(n).String() {
			t.Errorf("of %v pairs: %v in SQL, %s here", x[0], x[1], fisher(n))
		}
	}
}
