package signals

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// dayBar is a daily bar of a close, final, known the evening after.
func dayBar(source, symbol, day, price string) *market.Bar {
	d, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	p := market.MustDecimal(price)
	return &market.Bar{
		Meta:   market.Meta{EventTime: d.Add(5 * time.Hour), RecvTime: d.Add(23 * time.Hour), Source: source},
		Symbol: symbol, Interval: market.Interval1d, OpenUSD: p, HighUSD: p, LowUSD: p, CloseUSD: p, Volume: market.MustDecimal("1000"), TradeCount: 10, Final: true, TradeDate: day,
	}
}

const all = "2200-01-01 00:00:00"

// TestAnalyticalViews holds the views against inputs that are missing, halved, late, revised, stale, zero or not there yet: what cannot be known is NULL
// with its reason, and what can is right.
func TestAnalyticalViews(t *testing.T) {
	t.Parallel()
	a := newAsking(t)

	t.Run("without data", func(t *testing.T) {
		a := asking{a.Store, t, a.landed}
		a.is("0", "SELECT count() FROM daily_closes")
		a.is("0", "SELECT count() FROM pivot_capital")
		a.is("0", "SELECT count() FROM pivot_wide_1d(from_date = '2024-01-01', to_date = '2026-12-31')")
		a.is("0", "SELECT count() FROM pivot_wide_1m(from_time = '2026-11-20 14:00:00', to_time = '2026-11-20 22:00:00')")
		a.is("0", "SELECT count() FROM bars_of(symbol = 'IREN', interval = '5m', from_time = '2026-11-20 14:00:00', to_time = '2026-11-20 22:00:00')")
		a.is("0", "SELECT count() FROM event_study")
		a.is("0", "SELECT count() FROM data_quality")
		if _, err := a.Query(t.Context(), "SELECT count() FROM bars_of(symbol = 'IREN', interval = '7m', from_time = '2026-11-20 14:00:00', to_time = '2026-11-20 22:00:00')"); err == nil ||
			!strings.Contains(err.Error(), "divides a day") {
			t.Errorf("an interval that does not divide a day: %v", err)
		}
		a.claims(map[string]string{
			"btbt-month": "2.83588 cannot be told", "coinshares-capital": "NULL cannot be told", "corz-capacity": "502 holds roughly", "corz-contract": "166.476 cannot be told",
			"iris-cloud": "2.37823 cannot be told", "wgmi-month": "NULL cannot be told",
		}, all)
		// Before the reference was loaded nothing is known.
		a.claims(map[string]string{
			"btbt-month": "NULL cannot be told", "coinshares-capital": "NULL cannot be told", "corz-capacity": "NULL cannot be told", "corz-contract": "NULL cannot be told",
			"iris-cloud": "NULL cannot be told", "wgmi-month": "NULL cannot be told",
		}, "2020-01-01 00:00:00")
	})

	t.Run("daily closes", func(t *testing.T) {
		a := asking{a.Store, t, a.landed}
		closes := func(symbol string, asOf string) string {
			return a.rows("SELECT day, close_usd, close_total_usd, prev_day, return_1d, source, reason FROM daily_closes_as_of(as_of = '%s') WHERE symbol = '%s' ORDER BY day", asOf, symbol)
		}
		half := dayBar("alpaca", "GAP", "2024-05-30", "13")
		half.Final = false
		revised := dayBar("alpaca", "GAP", "2024-05-24", "11")
		revised.Rev, revised.RecvTime = 1, revised.RecvTime.AddDate(0, 0, 10)
		a.land(
			// 2024-05-27 was a holiday, 2024-05-28 is missing, 2024-05-30 half a day.
			dayBar("alpaca", "GAP", "2024-05-23", "10"), dayBar("alpaca", "GAP", "2024-05-24", "10.5"), dayBar("alpaca", "GAP", "2024-05-29", "12"), half, revised,
			dayBar("alpaca", "HOL", "2024-05-24", "10"), dayBar("alpaca", "HOL", "2024-05-28", "11"),
		)
		want := "2024-05-23 10 10 NULL NULL alpaca no earlier close\n"
		if got := closes("GAP", all); got != want+"2024-05-24 11 11 2024-05-23 0.1 alpaca \n"+
			"2024-05-29 12 12 2024-05-24 NULL alpaca no close of 1 trade date since 2024-05-24\n"+
			"2024-05-30 NULL NULL 2024-05-29 NULL alpaca not final: the day was not over when it was last told\n" {
			t.Errorf("a gap, half a day and a revision:\n%s", got)
		}
		a.is("2024-05-24 10 NULL \n2024-05-28 11 0.1 ", "SELECT day, close_usd, return_1d, if(return_1d IS NULL, '', reason) FROM daily_closes WHERE symbol = 'HOL' ORDER BY day")
		// The reference was loaded when the test began: before, raw closes are known, adjusted ones are not.
		if got := closes("GAP", "2024-05-25 00:00:00"); got != "2024-05-23 10 NULL NULL NULL alpaca no list of corporate actions was loaded by then\n"+
			"2024-05-24 10.5 NULL 2024-05-23 NULL alpaca no list of corporate actions was loaded by then\n" {
			t.Errorf("before the revision:\n%s", got)
		}
		if got := closes("GAP", "2024-05-23 00:00:00") + closes("NEVER", all); got != "" {
			t.Errorf("before the first row, and of a symbol that is not there:\n%s", got)
		}

		// Of several sources one is chosen; one that is not final comes after all that are.
		early := dayBar("alpaca", "SRC", "2024-06-04", "1")
		early.Final = false
		closesOnly := dayBar("archive", "SRC", "2024-06-05", "7")
		closesOnly.Volume, closesOnly.TradeCount = market.Decimal{}, 0
		withdrawn := dayBar("alpaca-prints", "SRC", "2024-06-06", "9")
		withdrawn.Method, withdrawn.TradeCount, withdrawn.Volume = "alpaca-conditions/1", 0, market.Decimal{}
		a.land(
			dayBar("alpaca-prints", "SRC", "2024-06-03", "4"), dayBar("files", "SRC", "2024-06-03", "3"), dayBar("massive", "SRC", "2024-06-03", "2"), dayBar("alpaca", "SRC", "2024-06-03", "1"),
			early, dayBar("massive", "SRC", "2024-06-04", "2"), closesOnly, dayBar("files", "SRC", "2024-06-05", "3"), withdrawn,
			dayBar("sim-alpaca", "SRC", "2024-06-05", "99"),
		)
		a.is("2024-06-03 1 alpaca 1000\n2024-06-04 2 massive 1000\n2024-06-05 3 files 1000", "SELECT day, close_usd, source, volume FROM daily_closes WHERE symbol = 'SRC' AND mark = '' ORDER BY day")
		a.is("sim- 99", "SELECT mark, close_usd FROM daily_closes WHERE symbol = 'SRC' AND mark != ''")

		// A split of ten for one on 2024-06-10: raw prices are made comparable, those that are adjusted already are left alone, and nothing is compared across.
		line := func(source, reason string) *market.FeedGap {
			at := time.Date(2024, 7, 1, 0, 0, 0, 0, time.UTC)
			return &market.FeedGap{Meta: market.Meta{EventTime: at, RecvTime: at, Source: source}, GapID: "import", Symbol: "*", From: at, To: at, Reason: reason, State: market.GapFilled}
		}
		a.land(
			dayBar("alpaca", "NVDA", "2024-06-07", "1208.88"), dayBar("alpaca", "NVDA", "2024-06-10", "121.79"),
			dayBar("yahoo", "NVDA", "2024-06-05", "122.44"), dayBar("yahoo", "NVDA", "2024-06-06", "121"),
			line("yahoo", "import NVDA.csv 0123; adjusted (yahoo-csv)"),
		)
		a.is("2024-06-05 122.44 122.44 122.44 NULL no earlier close\n"+
			"2024-06-06 121 121 121 -0.0117609 \n"+
			"2024-06-07 1208.88 120.888 120.888 NULL prices are of another adjustment than those of yahoo on 2024-06-06\n"+
			"2024-06-10 121.79 121.79 121.79 0.00746145 ",
			"SELECT day, close_usd, close_split_usd, close_total_usd, return_1d, reason FROM daily_closes WHERE symbol = 'NVDA' ORDER BY day")
		a.is("adjusted by the source for splits, adjusted for distributions here", "SELECT DISTINCT price_note FROM daily_closes WHERE symbol = 'NVDA' AND source = 'yahoo'")

		// Our own bar of prints is no close where the prints have a hole.
		hole := line("alpaca", "mute")
		hole.GapID, hole.State = "hole", market.GapGivenUp
		hole.From, hole.To = time.Date(2024, 7, 2, 17, 0, 0, 0, time.UTC), time.Date(2024, 7, 2, 18, 0, 0, 0, time.UTC)
		a.land(dayBar("alpaca-prints", "PRT", "2024-07-01", "5"), dayBar("alpaca-prints", "PRT", "2024-07-02", "6"), hole)
		a.is("2024-07-01 5 no earlier close\n2024-07-02 NULL the prints of the day have a gap that was not filled", "SELECT day, close_usd, reason FROM daily_closes WHERE symbol = 'PRT' ORDER BY day")
	})

	// Two made-up series: CORZ returns 0.001 and twice what WGMI does, but a tenth more on the day after the contract of 2024-06-03, and lacks 2024-06-10.
	cal, err := session.US()
	if err != nil {
		t.Fatal(err)
	}
	var series []market.Event
	fund, miner := 20.0, 5.0
	var fundFrom float64
	for d, n := (session.Date{Year: 2023, Month: 10, Day: 2}), 0; d.String() <= "2024-07-05"; d = cal.NextTradeDate(d) {
		n++
		move := float64(n*n%17-8) / 400
		if d.String() == "2024-06-06" {
			move = fundFrom*1.3/fund - 1
		}
		fund *= 1 + move
		if d.String() == "2024-05-07" {
			fundFrom = fund
		}
		series = append(series, dayBar("alpaca", "WGMI", d.String(), fmt.Sprintf("%.8f", fund)))
		if d.String() < "2024-01-24" {
			continue
		}
		miner *= 1 + 0.001 + 2*move
		if d.String() == "2024-06-04" {
			miner *= (1.101 + 2*move) / (1.001 + 2*move)
		}
		if d.String() != "2024-06-10" {
			series = append(series, dayBar("alpaca", "CORZ", d.String(), fmt.Sprintf("%.8f", miner)))
		}
	}
	a.land(series...)

	t.Run("pivot", func(t *testing.T) {
		a := asking{a.Store, t, a.landed}
		day := func(text string) time.Time { d, _ := time.Parse(time.DateOnly, text); return d }
		hp := func(at, usd string) *market.Hashprice {
			h := dailyHashprice(day(at), usd, 0)
			h.Source = "hashpivot"
			return h
		}
		rate := func(at, gpu, usd string) *market.Rate {
			r := rateBy("gpu-wmedian", day(at).Add(20*time.Hour), gpu, usd)
			r.Source = "hashpivot"
			return r
		}
		a.land(
			hp("2024-06-03", "55.891654"), rate("2024-06-03", "h100-sxm", "2.5"), rate("2024-06-03", "v100", "0.1"),
			hp("2025-11-04", "40"), rate("2025-11-04", "h100-sxm", "2"), rate("2024-06-05", "h200", "3"),
			hp("2023-12-29", "70"), rate("2023-12-29", "h100-sxm", "4"),
		)
		// 2.5 * 0.7 * 1000 / (1.275 * 1.3) = 1055.8069 USD/MWh, mining 66.4997: 15.8769, and a twentieth of it per dollar.
		a.is("2023-12-29  NULL NULL NULL no efficiency or PUE of that day\n"+
			"2024-06-03 mining times ratio 15.8769 0.793844 2.23e+07 \n2025-11-04 level 11.4838 0.57419 2.23e+07 ",
			"SELECT day, gpu_capital_from, premium, premium_per_capital, gpu_capital_usd_per_mw, reason FROM pivot_capital WHERE gpu = 'h100-sxm' AND fleet = 'fleet' ORDER BY day")
		a.is("NULL NULL no power, utilisation or PUE of that day", "SELECT premium_per_capital, gpu_revenue_per_capital, reason FROM pivot_capital WHERE gpu = 'v100' AND fleet = 'fleet'")

		wide := "SELECT day, hashprice_usd, hashprice_age_s, btc_usd, gpu_h100_usd, gpu_h100_age_s, gpu_h200_usd, round(premium, 4), reason " +
			"FROM pivot_wide_1d_as_of(from_date = '2024-05-31', to_date = '2024-06-07', as_of = '%s') WHERE symbol = 'CORZ' ORDER BY day"
		a.is("2024-05-31 NULL NULL NULL NULL NULL NULL NULL no hashprice; no btc; no h100 rate; no h200 rate; no b200 rate\n"+
			"2024-06-03 55.891654 0 NULL 2.5 0 NULL 15.8769 no btc; no h200 rate; no b200 rate\n"+
			"2024-06-04 55.891654 86400 NULL 2.5 86400 NULL 15.8769 no btc; no h200 rate; no b200 rate\n"+
			"2024-06-05 55.891654 172800 NULL 2.5 172800 3 15.8769 no btc; no b200 rate\n"+
			"2024-06-06 NULL 259200 NULL NULL 259200 3 NULL stale hashprice; no btc; stale h100 rate; no b200 rate\n"+
			"2024-06-07 NULL 345600 NULL NULL 345600 3 NULL stale hashprice; no btc; stale h100 rate; no b200 rate", wide, all)
		a.is("1", "SELECT DISTINCT w.premium = p.premium FROM (SELECT * FROM pivot_wide_1d(from_date = '2024-06-03', to_date = '2024-06-03') WHERE symbol = 'CORZ') AS w "+
			"INNER JOIN (SELECT * FROM pivot WHERE gpu = 'h100-sxm' AND fleet = 'fleet' AND mark = '') AS p ON p.day = w.day")
		// The hashprice of a day is told when it is over, the rate was two days later.
		if got := a.rows(wide, "2024-06-04 12:00:00"); !strings.Contains(got, "2024-06-03 55.891654 0 NULL NULL NULL NULL NULL no list") {
			t.Errorf("as of the day after:\n%s", got)
		}
		a.is("", wide, "2024-05-01 00:00:00")
	})

	t.Run("minutes", func(t *testing.T) {
		a := asking{a.Store, t, a.landed}
		at := func(clock string) time.Time { x, _ := time.Parse(time.DateTime, "2026-11-20 "+clock); return x }
		bar := func(clock, price string) *market.Bar {
			b := dayBar("alpaca", "IREN", "2026-11-20", price)
			b.Interval, b.EventTime, b.RecvTime, b.Session = market.Interval1m, at(clock), at(clock).Add(time.Minute), "regular"
			return b
		}
		hash, rate := hashpriceAt(at("14:30:30"), "40"), rateAt(at("14:30:40"), "h100-sxm", "2.6")
		hash.Source, rate.Source = "hashpivot", "hashpivot"
		hole := &market.FeedGap{Meta: market.Meta{EventTime: at("14:50:00"), Source: "alpaca"}, GapID: "mute", Symbol: "*", From: at("14:31:30"), To: at("14:33:30"), Reason: "mute", State: market.GapGivenUp}
		a.land(bar("14:30:00", "50"), bar("14:31:00", "51"), bar("14:34:00", "52"), bar("14:35:00", "52.52"), bar("15:00:00", "53"), hash, rate, hole)
		a.is("14:30 50 NULL NULL 40 30 2.6 20 no bar before; no h200 rate; no b200 rate\n"+
			"14:31 51 NULL 60 40 90 2.6 80 a gap of the feed that was not filled touches the time since the bar before; no h200 rate; no b200 rate\n"+
			"14:34 52 NULL 180 40 270 2.6 260 a gap of the feed that was not filled touches the time since the bar before; no h200 rate; no b200 rate\n"+
			"14:35 52.52 0.01 60 40 330 2.6 320 no h200 rate; no b200 rate\n"+
			"15:00 53 NULL 1500 NULL 1830 NULL 1820 stale price: the bar before is too old; stale hashprice; stale btc; stale h100 rate; no h200 rate; no b200 rate",
			"SELECT formatDateTime(minute, '%%H:%%i'), close_usd, return, prev_age_s, hashprice_usd, hashprice_age_s, gpu_h100_usd, gpu_h100_age_s, reason "+
				"FROM pivot_wide_1m(from_time = '2026-11-20 14:00:00', to_time = '2026-11-20 21:00:00') WHERE symbol = 'IREN' ORDER BY minute")

		first, second := printAt("1", 0, "50", "100"), printAt("2", 90*time.Second, "49", "100")
		undone := cancelOf(second, 10*time.Minute)
		first.Source, second.Source, undone.Source = "alpaca", "alpaca", "alpaca"
		undone.RecvTime = undone.EventTime
		a.land(first, second, undone)
		bars := "SELECT formatDateTime(event_time, '%%H:%%i'), source, session, open_usd, low_usd, close_usd, close_total_usd, volume, trade_count, gaps, gaps_unfilled " +
			"FROM bars_of_as_of(symbol = 'IREN', interval = '5m', from_time = '2026-11-20 14:00:00', to_time = '2026-11-20 21:00:00', as_of = '%s')"
		a.is("14:30 alpaca-prints regular 50 50 50 50 100 1 1 1", bars, all)
		a.is("14:30 alpaca-prints regular 50 49 49 NULL 200 2 0 0", bars, "2026-11-20 14:35:00")
		a.is("", bars, "2026-11-20 14:00:00")
	})

	t.Run("event study", func(t *testing.T) {
		a := asking{a.Store, t, a.landed}
		study := "SELECT offset, day, round(beta, 4) AS b, round(alpha, 5) AS al, round(abnormal_return, 5) + 0, round(cumulative_abnormal, 4) + 0, round(volume_ratio, 3), n_estimation, reason " +
			"FROM event_study WHERE mark = '' AND symbol = 'CORZ' AND event_date = '%s' AND offset IN (%s) ORDER BY offset"
		a.is("-10 2024-05-17 2 0.001 0 0 1 69 \n1 2024-06-04 2 0.001 0.1 0.1 1 69 \n4 2024-06-07 2 0.001 0 0.1 1 69 \n"+
			"5 NULL 2 0.001 NULL NULL NULL 69 no close of that trade date\n"+
			"6 2024-06-11 2 0.001 NULL NULL 1 69 no close of 1 trade date since 2024-06-07\n"+
			"7 2024-06-12 2 0.001 0 NULL 1 69 a day before it has no abnormal return, so they cannot be summed",
			study, "2024-06-03", "-10, 1, 4, 5, 6, 7")
		a.is("0 2024-03-01 NULL NULL NULL NULL 1 5 only 5 of the 120 days of the estimation have returns of both, 40 are needed", study, "2024-03-01", "0")
		a.is("31 no closes of any symbol within a week from the event on", "SELECT count(), any(reason) FROM event_study WHERE mark = '' AND symbol = 'IREN' AND event_date = '2025-11-03'")
		a.is("WGMI SPY only 0 of the 120 days of the estimation have returns of both, 40 are needed",
			"SELECT symbol, index_symbol, reason FROM event_study WHERE mark = '' AND kind = 'halving' AND symbol = 'WGMI' AND offset = 0")
		a.is("the symbol has no closes yet", "SELECT reason FROM event_study WHERE mark = '' AND kind = 'halving' AND symbol = 'HOL' AND offset = 0")
	})

	t.Run("data quality", func(t *testing.T) {
		a := asking{a.Store, t, a.landed}
		at := time.Date(2024, 7, 3, 12, 0, 0, 0, time.UTC)
		a.land(&market.DeadLetter{Meta: market.Meta{EventTime: at, Source: "alpaca"}, Of: market.Upstream, Subject: "x", Reason: market.ReasonValue, Payload: []byte("?"), PayloadBytes: 1})
		a.is("2024-06-07 bars 1d 1 0 \n2024-06-10 bars 1d 0 0 no rows of this day\n2024-06-11 bars 1d 1 0 ",
			"SELECT day, table, rows, revised, reason FROM data_quality_range_as_of(from_date = '2024-06-07', to_date = '2024-06-11', as_of = '%s') WHERE symbol = 'CORZ' ORDER BY day", all)
		a.is("feed_gaps 1 3600 what was missed on this day is not there whole", "SELECT table, gaps_given_up, missed_seconds, reason FROM data_quality WHERE source = 'alpaca' AND table = 'feed_gaps' AND day = '2024-07-02'")
		a.is("dead_letters 1 1", "SELECT table, rows, dead FROM data_quality WHERE day = '2024-07-03' AND table = 'dead_letters'")
		a.is("1", "SELECT revised FROM data_quality WHERE symbol = 'GAP' AND day = '2024-05-24'")
		a.is("0", "SELECT count() FROM data_quality_as_of(as_of = '2024-01-01 00:00:00') WHERE day > '2024-01-01' AND rows > 0")
	})

	t.Run("claims", func(t *testing.T) {
		a := asking{a.Store, t, a.landed}
		a.claims(map[string]string{
			"btbt-month": "2.83588 cannot be told", "coinshares-capital": "0.57419 does not hold", "corz-capacity": "502 holds roughly", "corz-contract": "166.476 holds",
			"iris-cloud": "2.37823 holds roughly", "wgmi-month": "0.3 holds",
		}, all)
	})

	t.Run("everything says what it is", func(t *testing.T) {
		a := asking{a.Store, t, a.landed}
		a.is("", "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View' AND comment = ''")
		a.is("", "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND comment = '' AND table IN ('daily_closes', 'pivot_capital', 'event_study', 'data_quality', 'companies', 'gpu_fleets', 'claims', "+
			"'trade_dates', 'sale_conditions')")
		for _, view := range []string{"daily_closes", "pivot_capital", "pivot_wide_1d", "pivot_wide_1m", "bars_of", "event_study", "data_quality"} {
			a.is("2", "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name IN ('%[1]s', '%[1]s_as_of')", view)
		}
	})
}

// claims asks each claim's query, as of a moment, for what it computes and its verdict.
func (a asking) claims(want map[string]string, asOf string) {
	a.t.Helper()
	list, err := reference.LoadClaims()
	if err != nil {
		a.t.Fatal(err)
	}
	if len(list) != 6 {
		a.t.Errorf("%d claims", len(list))
	}
	a.is(fmt.Sprint(len(list)), "SELECT count() FROM claims_now")
	for _, c := range list {
		res, err := a.Query(a.t.Context(), strings.ReplaceAll(c.Query, reference.Latest, asOf))
		if err != nil {
			a.t.Errorf("claim %s: %v", c.ID, err)
			continue
		}
		if len(res.Rows) != 1 || len(res.Columns) != 3 || res.Columns[0] != "computed" || res.Columns[1] != "verdict" || res.Columns[2] != "note" || res.Rows[0][2] == "" {
			a.t.Errorf("claim %s: columns %v, rows %v", c.ID, res.Columns, res.Rows)
			continue
		}
		got := "NULL"
		switch v := res.Rows[0][0].(type) {
		case nil:
		case float64:
			got = fmt.Sprintf("%.6g", v)
		default:
			got = fmt.Sprintf("%T", v)
		}
		if got = fmt.Sprint(got, " ", res.Rows[0][1]); got != want[c.ID] {
			a.t.Errorf("claim %s as of %s: %s (%s), want %s", c.ID, asOf, got, res.Rows[0][2], want[c.ID])
		}
	}
}
