package store_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// Every type of event comes back from its table value by value, at the extremes of every column.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		g := gen{rt}
		b := st.NewBatch()
		rows := map[string][]row{}
		for kind := range kinds {
			for i := range rapid.IntRange(0, 6).Draw(rt, "rows") {
				r := g.event(kind, uint64(run), uint32(kind*100+i))
				if err := b.Add(r.ev, r.at); err != nil {
					rt.Fatalf("add %T: %v", r.ev, err)
				}
				rows[r.table] = append(rows[r.table], r)
			}
		}
		if err := st.Insert(ctx, b, fmt.Sprint("run", run)); err != nil {
			rt.Fatalf("insert: %v", err)
		}
		for table, want := range rows {
			compare(rt, st, table, uint64(run), want)
		}
	})
}

func compare(t *rapid.T, st *store.Store, table string, seq uint64, want []row) {
	// The columns that are computed, and not what they are computed from.
	res, err := st.Query(context.Background(), fmt.Sprintf(`SELECT * EXCEPT (recv_to_stream_ns, stream_after_event_ns, trade_number, trade_text, condition_codes) FROM %s WHERE stream_seq = %d ORDER BY idx
		SETTINGS asterisk_include_alias_columns = 1`, table, seq))
	if err != nil {
		t.Fatalf("read %s: %v", table, err)
	}
	if len(res.Rows) != len(want) {
		t.Fatalf("%s: %d rows, want %d", table, len(res.Rows), len(want))
	}
	for i, got := range res.Rows {
		w := want[i].want()
		if len(w) != len(res.Columns) {
			t.Fatalf("%s: columns %v, want %d of them", table, res.Columns, len(w))
		}
		for j, c := range res.Columns {
			wv, ok := w[c]
			if !ok {
				t.Fatalf("%s.%s: not expected", table, c)
			}
			if tm, isTime := wv.(time.Time); isTime {
				if gt, ok := got[j].(time.Time); !ok || !gt.Equal(tm) {
					t.Fatalf("%s.%s row %d: %v, want %v", table, c, i, got[j], tm)
				}
				continue
			}
			if !reflect.DeepEqual(got[j], wv) {
				t.Fatalf("%s.%s row %d: %T %#v, want %T %#v", table, c, i, got[j], got[j], wv, wv)
			}
		}
	}
}

// A dictionary beyond one and two bytes of keys.
func TestRoundTripManyWords(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	now := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	for _, n := range []int{254, 255, 256, 65534, 65535, 65536, 70000} {
		b := st.NewBatch()
		for i := range n {
			add(t, b, trade(n, i, fmt.Sprintf("S%06d", i), now))
		}
		if err := st.Insert(ctx, b, fmt.Sprint("words", n)); err != nil {
			t.Fatalf("insert %d symbols: %v", n, err)
		}
		res, err := st.Query(ctx, fmt.Sprintf("SELECT count(), uniqExact(symbol), countIf(symbol = concat('S', leftPad(toString(idx), 6, '0'))) FROM trades WHERE stream_seq = %d", n))
		if err != nil {
			t.Fatal(err)
		}
		if w := []any{uint64(n), uint64(n), uint64(n)}; !slices.Equal(res.Rows[0], w) {
			t.Errorf("%d symbols: rows, symbols, right ones = %v, want %v", n, res.Rows[0], w)
		}
	}
}

func trade(seq, idx int, symbol string, when time.Time) row {
	return row{
		ev: &market.Trade{
			Meta:   market.Meta{EventTime: when, RecvTime: when.Add(3 * time.Millisecond), Source: "sim-alpaca"},
			Action: market.TradeNew, Symbol: symbol, ID: fmt.Sprint(seq*1000 + idx), Exchange: "V", Tape: "C",
			PriceUSD: market.MustDecimal("13.37"), SizeShares: market.MustDecimal("100"), Conditions: []string{"@", "I"},
		},
		at:    market.Place{Stream: market.Trades, Seq: uint64(seq), Idx: uint32(idx), StreamTime: when.Add(4 * time.Millisecond)},
		table: "trades",
	}
}

func add(t testing.TB, b *store.Batch, r row) {
	t.Helper()
	if err := b.Add(r.ev, r.at); err != nil {
		t.Fatalf("add %T: %v", r.ev, err)
	}
}
