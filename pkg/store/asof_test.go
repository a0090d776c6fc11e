package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// What a table was at a moment is, bit by bit, the same when it is asked for again after corrections, higher revisions and late events; and it is what the view of now
// was then.
func TestAsOfIsTheSameForEver(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	moment := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)

	seq := uint64(0)
	insert := func(stored time.Time, events ...market.Event) {
		t.Helper()
		b := st.NewBatch()
		for _, ev := range events {
			seq++
			if err := b.Add(ev, market.Place{Stream: ev.Stream(), Seq: seq, StreamTime: stored}); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Insert(ctx, b, fmt.Sprint("as of ", seq, stored)); err != nil {
			t.Fatal(err)
		}
	}
	draw := func(kind, n int) market.Event {
		ev := rapid.Custom(func(rt *rapid.T) row { return gen{rt}.event(kind, 1, 0) }).Example(kind*100 + n).ev
		m := ev.GetMeta()
		m.Rev, m.EventTime = uint32(n%2), moment.Add(-time.Duration(n)*time.Minute) // late events are of times long past
		return ev
	}
	var first, late []market.Event
	for kind := range kinds {
		for n := range 6 {
			first = append(first, draw(kind, n))
			late = append(late, draw(kind, 10+n))
		}
	}
	revise := func() {
		for i, ev := range first {
			ev.GetMeta().Rev += 2
			if o, ok := ev.(*market.Offer); ok && i%2 == 0 {
				o.Action = market.OfferClosed
			}
		}
	}
	views := map[string]string{"offers_open_as_of": "offers_open", "bars_as_of": "bars_now", "hashprice_as_of": "hashprice_now", "gpu_rates_as_of": "gpu_rates_now", "feed_gaps_as_of": "feed_gaps_now"}
	tables := 0
	for _, stream := range market.Streams() {
		for _, table := range store.Tables(stream) {
			tables++
			if _, ok := views[table+"_as_of"]; !ok {
				views[table+"_as_of"] = ""
			}
		}
	}
	if tables != kinds {
		t.Fatalf("%d tables of %d kinds of events", tables, kinds)
	}
	ask := func(from string) string {
		t.Helper()
		res, err := st.Query(ctx, "SELECT count(), hex(arrayStringConcat(groupArray(r))) FROM (SELECT formatRow('RowBinary', *) AS r FROM "+from+" ORDER BY r)")
		if err != nil {
			t.Fatalf("%s: %v", from, err)
		}
		return fmt.Sprint(res.Rows[0])
	}
	asOf := func(view string, at time.Time) string {
		return ask(fmt.Sprintf("%s(as_of = '%s')", view, at.Format("2006-01-02 15:04:05.000000000")))
	}

	insert(moment.Add(-2*time.Second), first...)
	revise()
	insert(moment.Add(-time.Second), first[:len(first)/2]...)
	insert(moment, first[len(first)/2:]...) // the moment itself belongs to it
	was, now := map[string]string{}, map[string]string{}
	for view, ofNow := range views {
		was[view] = asOf(view, moment)
		if ofNow != "" {
			if now[view] = ask(ofNow); now[view] != was[view] {
				t.Errorf("%s is not what %s was:\n%.200s\n%.200s", view, ofNow, was[view], now[view])
			}
		}
		if before := asOf(view, moment.Add(-3*time.Second)); before != "[0 ]" {
			t.Errorf("%s before anything was stored: %.200s", view, before)
		}
	}
	for view, rows := range map[string]string{"bars_as_of": "[6 ", "signals_as_of": "[6 ", "btc_blocks_as_of": "[6 ", "feed_gaps_as_of": "[6 ", "gpu_offers_as_of": "[6 ", "trades_as_of": "[12 ", "dead_letters_as_of": "[12 "} {
		if len(was[view]) < len(rows) || was[view][:len(rows)] != rows {
			t.Errorf("%s: %.40s, want %s rows", view, was[view], rows)
		}
	}
	insert(moment.Add(time.Nanosecond), late...)
	revise()
	insert(moment.Add(time.Hour), first...)
	for _, stream := range market.Streams() {
		for _, table := range store.Tables(stream) {
			if err := st.Exec(ctx, "OPTIMIZE TABLE "+table+" FINAL"); err != nil { // other parts, another order of rows
				t.Fatal(err)
			}
		}
	}
	for view, ofNow := range views {
		if again := asOf(view, moment); again != was[view] {
			t.Errorf("%s is another when asked again:\n%.200s\n%.200s", view, was[view], again)
		}
		if later := asOf(view, moment.Add(time.Hour)); later == was[view] {
			t.Errorf("%s an hour later is still what it was", view)
		} else if ofNow != "" && later != ask(ofNow) {
			t.Errorf("%s an hour later is not %s", view, ofNow)
		}
	}

	// The streams are deleted and made again, and the same revisions come under smaller sequences: they are the newer ones.
	seq = 0
	insert(moment.Add(2*time.Hour), first...)
	for view, ofNow := range views {
		again := asOf(view, moment.Add(2*time.Hour))
		if again == asOf(view, moment.Add(time.Hour)) {
			t.Errorf("%s does not see what came after its stream was made again", view)
		}
		if ofNow != "" && again != ask(ofNow) {
			t.Errorf("after the streams were made again %s is not %s:\n%.200s\n%.200s", view, ofNow, again, ask(ofNow))
		}
	}
}
