package signals

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// TestAdjustedPrices asks the real engine for prices over splits and distributions, as of several dates.
func TestAdjustedPrices(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	st := storetest.Start(t)
	one := func(sql string) string {
		t.Helper()
		res, err := st.Query(ctx, sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		out := ""
		for _, r := range res.Rows {
			for _, v := range r {
				out += fmt.Sprint(v) + " "
			}
		}
		return out
	}
	load := func(stmts []string) {
		t.Helper()
		for _, s := range stmts {
			if err := st.Exec(ctx, s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	facts, err := reference.Facts()
	if err != nil {
		t.Fatal(err)
	}
	load(facts)
	before := one("SELECT (SELECT count() FROM instruments), (SELECT count() FROM corporate_actions), (SELECT count() FROM adjustment_factors)")
	load(facts)
	if again := one("SELECT (SELECT count() FROM instruments), (SELECT count() FROM corporate_actions), (SELECT count() FROM adjustment_factors)"); again != before {
		t.Errorf("filled again there are %s rows, before %s", again, before)
	}
	instruments, err := reference.LoadInstruments()
	if err != nil {
		t.Fatal(err)
	}
	actions, err := reference.ParseActions([]byte(`actions:
  - {symbol: SYN, kind: split, ex_date: 2026-01-12, shares_new: "1", shares_old: "3", source: "it's a test"}
  - {symbol: SYN, kind: split, ex_date: 2026-03-10, shares_new: "3", shares_old: "2", source: test}
  - {symbol: SYN, kind: distribution, ex_date: 2026-05-11, amount_usd: "0.07", prior_close_usd: "21.07", source: test}
`))
	if err != nil {
		t.Fatal(err)
	}
	synthetic, err := reference.Statements(instruments, actions)
	if err != nil {
		t.Fatal(err)
	}
	load(synthetic)
	load(facts)
	if got := one("SELECT count() FROM corporate_actions_now WHERE symbol = 'SYN'"); got != "0 " {
		t.Errorf("an older list that was loaded last does not hold: %s actions of the other", got)
	}
	load(synthetic)

	b := store.NewBatch()
	add := func(ev market.Event, idx uint32) {
		t.Helper()
		if err := b.Add(ev, market.Place{Stream: ev.Stream(), Seq: 1, Idx: idx, StreamTime: ev.GetMeta().RecvTime}); err != nil {
			t.Fatal(err)
		}
	}
	dec := market.MustDecimal
	for i, day := range []string{"2026-01-09", "2026-03-09", "2026-05-08", "2026-05-11"} {
		at, _ := time.Parse(time.RFC3339, day+"T15:00:00Z")
		m := market.Meta{EventTime: at, RecvTime: at, Source: "test"}
		add(&market.Bar{Meta: m, Symbol: "SYN", Interval: market.Interval1m, OpenUSD: dec("10"), HighUSD: dec("21.07"), LowUSD: dec("0.0001"), CloseUSD: dec("1"),
			Volume: dec("100"), VWAPUSD: dec("9.123456"), TradeCount: 3, Session: "regular", TradeDate: day}, uint32(i))
		add(&market.Bar{Meta: m, Symbol: "ELSE", Interval: market.Interval1m, OpenUSD: dec("10"), HighUSD: dec("10"), LowUSD: dec("10"), CloseUSD: dec("10")}, uint32(10+i))
	}
	// 21:30 New York of 11 January 2026 is already the next trade date, that of the split.
	for i, at := range []time.Time{time.Date(2026, 1, 10, 0, 30, 0, 0, time.UTC), time.Date(2026, 1, 12, 2, 30, 0, 0, time.UTC)} {
		add(&market.Trade{Meta: market.Meta{EventTime: at, RecvTime: at, Source: "test"}, Action: market.TradeNew, Symbol: "SYN", ID: fmt.Sprint(i),
			PriceUSD: dec("7"), SizeShares: dec("10")}, uint32(i))
	}
	if err := st.Insert(ctx, b, "adjust"); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct{ asOf, day, want string }{
		{"2026-01-11", "2026-01-09", "10 21.07 0.0001 10 100"},
		{"2026-01-12", "2026-01-09", "30 63.21 0.0003 30 33.33333333"},
		{"2026-03-10", "2026-01-09", "20 42.14 0.0002 20 50"},
		{"2026-03-10", "2026-03-09", "6.66666667 14.04666667 0.00006667 6.66666667 150"},
		// 0.0002 * 21/21.07 = 0.000199335...
		{"2026-05-11", "2026-01-09", "20 42.14 0.0002 19.93355482 50"},
		{"2026-05-11", "2026-05-08", "10 21.07 0.0001 9.96677741 100"},
		{"2026-05-11", "2026-05-11", "10 21.07 0.0001 10 100"},
	} {
		got := one(fmt.Sprintf("SELECT concat(toString(open_split_usd), ' ', toString(high_split_usd), ' ', toString(low_split_usd), ' ', toString(open_total_usd), ' ', toString(volume_split)) "+
			"FROM bars_adjusted_as_of(as_of = '%s') WHERE symbol = 'SYN' AND price_date = '%s'", c.asOf, c.day))
		if got != c.want+" " {
			t.Errorf("%s as of %s: %s, want %s", c.day, c.asOf, got, c.want)
		}
	}
	// As of today all have happened; a price times a rounded factor is still right to the eighth decimal: 21.07 * (21/21.07) is 21.
	if got := one("SELECT toString(high_total_usd), toTypeName(high_total_usd) FROM bars_adjusted WHERE symbol = 'SYN' AND price_date = '2026-05-08'"); got != "21 Decimal(38, 8) " {
		t.Errorf("as of today: %s", got)
	}
	if got := one("SELECT count(), countIf(open_usd = open_total_usd AND open_usd = open_split_usd AND volume = volume_split) FROM bars_adjusted WHERE symbol = 'ELSE'"); got != "4 4 " {
		t.Errorf("a symbol without actions is changed: %s", got)
	}
	if got := one("SELECT trade_id, toString(price_split_usd), toString(size_split_shares) FROM trades_adjusted_as_of(as_of = '2026-02-01') WHERE symbol = 'SYN' ORDER BY trade_id"); got != "0 21 3.33333333 1 7 10 " {
		t.Errorf("trades over the split: %s", got)
	}
	if got := one("SELECT count() FROM trades_adjusted WHERE symbol = 'SYN' AND price_total_usd > 0"); got != "2 " {
		t.Errorf("trades as of today: %s", got)
	}
}
