package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// The last print of every symbol, as the cookbook asks for it, is read from what trades keep of each day beside their parts, and that stays true: over parts that were
// merged, prints of one time and of one message, sources that differ, cancels, and rows that retention took out.
func TestLastPrintsByDay(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	sql := string(regexp.MustCompile("(?s)```sql\n(.*?)```").FindSubmatch(page)[1])
	st := storetest.Start(t)
	ctx := context.Background()
	r := rand.New(rand.NewPCG(7, 7))
	end := time.Date(2026, 11, 20, 20, 59, 0, 0, time.UTC)
	type print struct {
		ev *market.Trade
		at market.Place
	}
	var all []print
	seq := uint64(0)
	for n := range 12 {
		b := st.NewBatch()
		for i := range 400 {
			if i%3 == 0 { // three prints a message
				seq++
			}
			// A minute's worth of times in each of eight days, so that many prints have the same.
			ev := &market.Trade{
				Meta:   market.Meta{EventTime: end.AddDate(0, 0, -r.IntN(8)).Add(-time.Duration(r.IntN(60)) * time.Second), Source: []string{"sim-a", "sim-b"}[r.IntN(2)]},
				Action: market.TradeNew, Symbol: fmt.Sprintf("S%02d", r.IntN(30)), ID: fmt.Sprint(seq, ".", i), Exchange: "Q", Tape: "C",
				PriceUSD: market.MustDecimal(fmt.Sprint(1 + r.IntN(900))), SizeShares: market.MustDecimal("100"),
			}
			if ev.Symbol > "S27" { // the silent ones
				ev.EventTime = ev.EventTime.AddDate(0, 0, -10)
			}
			if r.IntN(20) == 0 {
				ev.Action = market.TradeCancel
			}
			ev.RecvTime = ev.EventTime
			at := market.Place{Stream: market.Trades, Seq: seq, Idx: uint32(i % 3), StreamTime: ev.EventTime.Add(time.Second)}
			if err := b.Add(ev, at); err != nil {
				t.Fatal(err)
			}
			all = append(all, print{ev, at})
		}
		insert(t, st, b, fmt.Sprint("by day ", n))
	}
	check := func(when string) {
		t.Helper()
		newest := time.Time{}
		for _, p := range all {
			if p.ev.EventTime.After(newest) {
				newest = p.ev.EventTime
			}
		}
		since := newest.Truncate(24*time.Hour).AddDate(0, 0, -3)
		last := map[string]print{}
		for _, p := range all {
			k := p.ev.Symbol + " " + p.ev.Source
			old, had := last[k]
			if p.ev.Action != market.TradeNew || p.ev.EventTime.Before(since) || had && (p.ev.EventTime.Before(old.ev.EventTime) || p.ev.EventTime.Equal(old.ev.EventTime) && (p.at.Seq < old.at.Seq || p.at.Seq == old.at.Seq && p.at.Idx < old.at.Idx)) {
				continue
			}
			last[k] = p
		}
		var want, got []string
		for k, p := range last {
			want = append(want, fmt.Sprint(k, " ", p.ev.EventTime.Format(time.DateTime), " ", p.ev.PriceUSD, " ", p.at.Seq, " ", p.at.Idx))
		}
		res, err := st.Query(ctx, "SELECT concat(symbol, ' ', source, ' ', formatDateTime(event_time, '%F %T'), ' ', toString(price_usd), ' ', toString(stream_seq), ' ', toString(idx)) FROM ("+strings.Replace(sql, "exchange\n", "exchange, stream_seq, idx\n", 1)+")")
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range res.Rows {
			got = append(got, fmt.Sprint(row[0]))
		}
		slices.Sort(want)
		slices.Sort(got)
		if len(want) == 0 || !slices.Equal(got, want) {
			t.Fatalf("%s: %d last prints, want %d:\n%s\nwant:\n%s", when, len(got), len(want), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		ever, err := st.Query(ctx, "SELECT (SELECT count() FROM trades_last(days = 65535)), (SELECT uniqExact(symbol, source) FROM trades WHERE action = 'trade')")
		if err != nil || ever.Rows[0][0] != ever.Rows[0][1] {
			t.Errorf("%s: the last prints of all days, and the symbols and sources that have one: %v, %v", when, ever.Rows, err)
		}
		counts := "SELECT toDate(event_time), symbol, source, action, count() FROM trades GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
		kept, err := st.Query(ctx, counts)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := st.Query(ctx, counts+" SETTINGS optimize_use_projections = 0"); err != nil || fmt.Sprint(read.Rows) != fmt.Sprint(kept.Rows) {
			t.Errorf("%s: the counts of the days are not those of the rows: %v", when, err)
		}
		plan, err := st.Query(ctx, "EXPLAIN "+sql)
		if err != nil || !strings.Contains(fmt.Sprint(plan.Rows), "ReadFromMergeTree (by_day)") {
			t.Errorf("%s: the days are not read: %v, %v", when, err, plan.Rows)
		}
	}
	check("as it was inserted")
	exec(ctx, t, st, "OPTIMIZE TABLE trades FINAL")
	check("merged")
	before := end.Add(time.Second).Add(-10 * time.Second) // the newest ten seconds of the last day are gone, and all that is older than it
	exec(ctx, t, st, fmt.Sprintf("ALTER TABLE trades DELETE WHERE stream_time >= toDateTime64('%s', 9, 'UTC') SETTINGS mutations_sync = 2", before.Format(time.DateTime)))
	all = slices.DeleteFunc(all, func(p print) bool { return !p.at.StreamTime.Before(before) })
	check("with rows taken out")
}
