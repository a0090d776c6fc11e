package signals

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// asking is a store with reference in it and questions to it.
type asking struct {
	*store.Store
	t      *testing.T
	landed *uint64 // messages
}

func newAsking(t *testing.T) asking {
	t.Helper()
	st := storetest.Start(t)
	if err := LoadReference(t.Context(), st.Exec); err != nil {
		t.Fatal(err)
	}
	return asking{st, t, new(uint64)}
}

// rows of a query, each on a line, its values with blanks between.
func (a asking) rows(sql string, args ...any) string {
	a.t.Helper()
	sql = fmt.Sprintf(sql, args...)
	res, err := a.Query(context.Background(), sql)
	if err != nil {
		a.t.Fatalf("%v\n%s", err, sql)
	}
	var out strings.Builder
	for _, r := range res.Rows {
		for i, v := range r {
			if i > 0 {
				out.WriteByte(' ')
			}
			switch v := v.(type) {
			case nil:
				out.WriteString("NULL")
			case time.Time:
				out.WriteString(strings.TrimSuffix(v.UTC().Format("2006-01-02T15:04:05"), "T00:00:00"))
			case float64:
				fmt.Fprintf(&out, "%.6g", v)
			default:
				fmt.Fprint(&out, v)
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// is fails unless a query has these rows.
func (a asking) is(want, sql string, args ...any) {
	a.t.Helper()
	if got := a.rows(sql, args...); strings.TrimSpace(got) != strings.TrimSpace(want) {
		a.t.Errorf("got\n%swant\n%s\n%s", got, want, fmt.Sprintf(sql, args...))
	}
}

// land stores events, told one after the other.
func (a asking) land(events ...market.Event) {
	a.t.Helper()
	*a.landed++
	b := store.NewBatch()
	for i, ev := range events {
		m := ev.GetMeta()
		if m.RecvTime.IsZero() {
			m.RecvTime = m.EventTime
		}
		if err := b.Add(ev, market.Place{Stream: ev.Stream(), Seq: *a.landed, Idx: uint32(i), StreamTime: m.RecvTime}); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := a.Insert(context.Background(), b, fmt.Sprint("landed ", *a.landed)); err != nil {
		a.t.Fatal(err)
	}
}

// TestBarsOfEqualBuild: bars that the view makes of the prints in the table are those that Build makes of them, to the last digit.
func TestBarsOfEqualBuild(t *testing.T) {
	t.Parallel()
	a := newAsking(t)
	cal, rules := us(t), alpacaRules(t)
	loc, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	intervals := []market.Interval{market.Interval1s, market.Interval1m, market.Interval1h, market.Interval1d}
	tape := rapid.Custom(func(rt *rapid.T) []market.Trade {
		// Two corrections that make the same print, or one of its own making, are left out: the view takes the first of them, and no venue tells any.
		made := map[string]string{}
		return slices.DeleteFunc(drawTape(rt, loc), func(x market.Trade) bool {
			if x.Action != market.TradeCorrection || x.ID == x.OriginalID {
				return false
			}
			to, from := x.Exchange+x.ID, x.Exchange+x.OriginalID
			for n, step := from, 0; n != ""; n, step = made[n], step+1 {
				if n == to || step > 2 {
					return true
				}
			}
			if made[to] != "" && made[to] != from {
				return true
			}
			made[to] = from
			return false
		})
	})
	want := map[string]string{}
	var events []market.Event
	for i := range 40 {
		// Each tape is a venue's of its own, so that few questions ask for all.
		prints := tape.Example(i)
		source := fmt.Sprint("alpaca-", i)
		for j := range prints {
			prints[j].Source = source
			events = append(events, &prints[j])
		}
		for _, b := range Build(prints, rules, cal, intervals) {
			want[fmt.Sprint(source, "-prints ", b.Interval, " ", b.EventTime.UTC().Format(time.RFC3339), " ", b.Session)] = line(b)
		}
	}
	a.land(events...)
	if len(want) < 400 {
		t.Errorf("only %d bars are compared", len(want))
	}
	for _, interval := range intervals {
		res, err := a.Query(t.Context(), fmt.Sprintf("SELECT source, interval, formatDateTime(event_time, '%%Y-%%m-%%dT%%H:%%i:%%SZ'), session, arrayStringConcat([toString(open_usd), toString(high_usd), toString(low_usd), "+
			"toString(close_usd), toString(volume), toString(vwap_usd), toString(trade_count), toString(trade_date), method], ' ') "+
			"FROM bars_of(symbol = 'IREN', interval = '%s', from_time = '2026-12-06 00:00:00', to_time = '2026-12-10 00:00:00')", interval))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range res.Rows {
			k := fmt.Sprint(r[0], " ", r[1], " ", r[2], " ", r[3])
			if got := fmt.Sprint(r[4]); got != want[k] {
				t.Errorf("%s: %q, want %q", k, got, want[k])
			}
			delete(want, k)
		}
	}
	for k, w := range want {
		t.Errorf("%s is not made: %q", k, w)
	}
}
