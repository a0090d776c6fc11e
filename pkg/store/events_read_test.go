package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

type found struct {
	ev market.Event
	at market.Place
}

func events(t testing.TB, st *store.Store, q store.EventQuery) []found {
	t.Helper()
	var out []found
	if err := st.Events(context.Background(), q, func(ev market.Event, at market.Place) error {
		out = append(out, found{ev, at})
		return nil
	}); err != nil {
		t.Fatalf("events of %+v: %v", q, err)
	}
	return out
}

// The tests share an engine; each begins with empty tables.
func TestEvents(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	for name, f := range map[string]func(*testing.T, *store.Store){
		"round trip": testEventsRoundTrip, "select": testEventsSelect, "doubled rows": testEventsOfDoubledRowsComeOnce, "far apart": testEventsFarApart,
	} {
		if err := truncate(context.Background(), st); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { f(t, st) })
	}
}

// Every type of event comes back as the event that was written, in the order of place, of event time, and page by page; and its message
// is byte for byte the one that was sent live.
func testEventsRoundTrip(t *testing.T, st *store.Store) {
	seed := int(time.Now().UnixNano() % 1e9)
	t.Logf("seed %d", seed)
	want := map[market.Stream][]found{}
	told := map[market.Place]string{}
	b := st.NewBatch()
	for kind := range kinds {
		for i := range 12 {
			// Few sequences and many indices: messages of several tables.
			r := rapid.Custom(func(rt *rapid.T) row { return gen{rt}.event(kind, uint64(1+i%4), uint32(kind*100+i)) }).Example(seed + i)
			r.at.StreamTime = r.at.StreamTime.UTC()
			add(t, b, r)
			told[r.at] = liveJSON(t, r)
			want[r.at.Stream] = append(want[r.at.Stream], found{canonical(r.ev), r.at})
		}
	}
	insert(t, st, b, "x")
	for _, stream := range market.Streams() {
		w := want[stream]
		slices.SortFunc(w, func(a, b found) int { return cmp.Or(cmp.Compare(a.at.Seq, b.at.Seq), cmp.Compare(a.at.Idx, b.at.Idx)) })
		got := events(t, st, store.EventQuery{Stream: stream, Limit: 1000})
		same(t, got, w)
		for _, g := range got {
			if history := string(live.AppendJSON(nil, g.ev, g.at)); history != told[g.at] {
				t.Errorf("history differs from live:\n%s\n%s", history, told[g.at])
			}
		}
		same(t, paged(t, st, store.EventQuery{Stream: stream, Limit: 5}), w)
		slices.SortStableFunc(w, func(a, b found) int { return a.ev.GetMeta().EventTime.Compare(b.ev.GetMeta().EventTime) })
		same(t, paged(t, st, store.EventQuery{Stream: stream, ByEventTime: true, Limit: 5}), w)
	}
}

// liveJSON is the message of the event as it is made of what the stream holds.
func liveJSON(t testing.TB, r row) string {
	t.Helper()
	data, err := wire.Encode(nil, []market.Event{r.ev})
	if err != nil {
		t.Fatal(err)
	}
	evs, err := wire.Decode(r.at.Stream, data)
	if err != nil {
		t.Fatal(err)
	}
	return string(live.AppendJSON(nil, evs[0], r.at))
}

func truncate(ctx context.Context, st *store.Store) error {
	for _, stream := range market.Streams() {
		for _, table := range store.Tables(stream) {
			if err := st.Exec(ctx, "TRUNCATE TABLE "+table); err != nil {
				return err
			}
		}
	}
	return nil
}

// paged reads a selection page by page.
func paged(t testing.TB, st *store.Store, q store.EventQuery) []found {
	t.Helper()
	var out []found
	for {
		page := events(t, st, q)
		if len(page) > q.Limit {
			t.Fatalf("%d events in a page of %d", len(page), q.Limit)
		}
		out = append(out, page...)
		if len(page) < q.Limit {
			return out
		}
		last := page[len(page)-1]
		q.AfterSeq, q.AfterIdx = last.at.Seq, last.at.Idx
		if q.ByEventTime {
			q.AfterTime = last.ev.GetMeta().EventTime
		}
	}
}

func same(t testing.TB, got, want []found) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		// NaN is not itself: it is compared by its text.
		g, w := fmt.Sprintf("%#v", got[i].ev), fmt.Sprintf("%#v", want[i].ev)
		if got[i].at != want[i].at || g != w || !strings.Contains(g, "NaN") && !reflect.DeepEqual(got[i].ev, want[i].ev) {
			t.Fatalf("event %d at %v:\n%s\nwant at %v:\n%s", i, got[i].at, g, want[i].at, w)
		}
	}
}

// canonical is the event as the store gives it back: times in UTC, decimals without zeros at their end, nothing instead of empty lists.
func canonical(ev market.Event) market.Event {
	trim(reflect.ValueOf(ev).Elem())
	return ev
}

func trim(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch x := f.Interface().(type) {
		case market.Decimal:
			f.Set(reflect.ValueOf(x.Trim(0)))
		case time.Time:
			if !x.IsZero() {
				f.Set(reflect.ValueOf(x.UTC()))
			}
		case market.Meta:
			trim(f)
		case []market.Constituent:
			for j := range x {
				trim(f.Index(j))
			}
		default:
			if (f.Kind() == reflect.Slice || f.Kind() == reflect.Map) && f.Len() == 0 {
				f.SetZero()
			}
		}
	}
}

// What a pattern selects is what live.Match selects, whatever is in it: nothing from outside becomes a part of a statement.
func testEventsSelect(t *testing.T, st *store.Store) {
	b := st.NewBatch()
	texts := []string{
		"IREN", "CORZ", "BRK.B", "h100-sxm", "h100-pcie", "a_b", "axb", "100%", `back\slash`, `'; DROP TABLE trades; --`, "it's", "{x:String}", "?", "a\x00b", "日本",
		"line\nbreak", `\x27`, "a/b", "", "$1", "@name",
	}
	var want []found
	seq := uint64(0)
	put := func(ev market.Event) {
		seq++
		at := market.Place{Stream: ev.Stream(), Seq: seq, StreamTime: noon.Add(time.Duration(seq) * time.Second)}
		add(t, b, row{ev: ev, at: at})
		want = append(want, found{ev, at})
	}
	for _, s := range texts {
		m := meta(0)
		m.Source = "src" + s
		put(&market.Trade{Meta: m, Action: market.TradeNew, Symbol: s})
		put(&market.Bar{Meta: m, Symbol: s, Interval: market.Interval1m})
		put(&market.Bar{Meta: m, Symbol: s, Interval: market.Interval1d})
		put(&market.Imbalance{Meta: m, Symbol: s})
		put(&market.Halt{Meta: m, Symbol: s, Kind: market.HaltStatus})
		put(&market.Hashprice{Meta: m, Method: s})
		put(&market.Offer{Meta: m, Action: market.OfferOpened, Provider: "vast", GPU: s})
		put(&market.Offer{Meta: m, Action: market.OfferOpened, Provider: s, GPU: "h100-sxm"})
		put(&market.Rate{Meta: m, GPU: s, Class: market.OnDemand})
		put(&market.Signal{Meta: m, Name: "pivot-premium", Symbol: s})
		put(&market.FeedEvent{Meta: m, State: market.FeedLost})
		put(&market.FeedGap{Meta: m, GapID: s, Symbol: s})
	}
	put(&market.Block{Meta: meta(0)})
	put(&market.Difficulty{Meta: meta(0), ChangePercent: math.NaN(), EstimatedChangePercent: math.NaN()})
	put(&market.Fees{Meta: meta(0)})
	put(&market.BTCPrice{Meta: meta(0)})
	insert(t, st, b, "x")

	patterns := [][]string{
		nil, {"*"}, {"block", "btc*"}, {"fees"}, {"nothing"}, {"h100*/on-demand"}, {"*a*b*"}, {"va*/*"}, {"a/b", "vast/a/b"}, {"a*/b"}, {"pivot-premium/*%", "*/on-demand"},
	}
	for i, s := range texts {
		if s == "" {
			continue
		}
		shapes := [][]string{{s, "vast/" + s}, {s + "/*", "pivot-premium/" + s}, {"*" + s}, {s + "*", "CORZ"}, {s[:1] + "*" + s[len(s)-1:]}}
		patterns = append(patterns, shapes[0], shapes[1+i%4])
	}
	check := func(q store.EventQuery) {
		t.Helper()
		q.Limit = 10_000
		spec := live.Spec{Channel: live.ChannelOf(q.Stream), Symbols: q.Keys, Source: q.Source, Interval: q.Interval}
		if q.Keys == nil {
			spec.Symbols = []string{"*"}
		}
		var w []string
		for _, p := range want {
			if spec.Match(p.ev) {
				w = append(w, live.At(p.at).String())
			}
		}
		var g []string
		for _, p := range events(t, st, q) {
			g = append(g, live.At(p.at).String())
		}
		if !slices.Equal(g, w) {
			t.Errorf("%s %q of source %q: %v, want %v", q.Stream, q.Keys, q.Source, g, w)
		}
	}
	streams := []market.Stream{market.Trades, market.Halts, market.Network, market.Hashprices, market.Offers, market.Rates, market.Signals, market.Feeds}
	for i, p := range patterns {
		// Not all with all, which takes minutes.
		check(store.EventQuery{Stream: streams[i%len(streams)], Keys: p, ByEventTime: i%3 == 0})
	}
	for i, s := range texts {
		check(store.EventQuery{Stream: market.Bars, Source: []string{"src", "*"}[i%2] + s, Interval: market.Interval1m})
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = strings.Repeat("*%", 3) + fmt.Sprint(strings.Repeat("'", 54), i)
	}
	check(store.EventQuery{Stream: market.Trades, Keys: append(many, "IREN")})
}

// A row that a table has twice is handed over once, and a page is full all the same.
func testEventsOfDoubledRowsComeOnce(t *testing.T, st *store.Store) {
	for _, token := range []string{"one", "two", "three"} {
		b := st.NewBatch()
		for seq := 1; seq <= 5; seq++ {
			put(t, b, seq, 0, &market.Trade{Meta: meta(0), Action: market.TradeNew, Symbol: "IREN"})
			put(t, b, seq, 0, &market.Fees{Meta: meta(0)})
			put(t, b, seq, 1, &market.Block{Meta: meta(0)})
		}
		insert(t, st, b, token)
	}
	for _, byTime := range []bool{false, true} {
		for _, limit := range []int{1, 4, 100} {
			for stream, want := range map[market.Stream]int{market.Trades: 5, market.Network: 10} {
				if got := paged(t, st, store.EventQuery{Stream: stream, Limit: limit, ByEventTime: byTime}); len(got) != want {
					t.Errorf("%s in pages of %d, by time %t: %d events, want %d", stream, limit, byTime, len(got), want)
				}
			}
		}
	}
}

// Sparse selections are found across windows of sequences and of time.
func testEventsFarApart(t *testing.T, st *store.Store) {
	b := st.NewBatch()
	var want []uint64
	for i, year := range []int{1990, 1991, 2015, 2026, 2262} {
		for _, seq := range []uint64{1, 5_000_000_000, 6_000_000_000, math.MaxUint64 - 10, math.MaxUint64 - 2}[i : i+1] {
			m := meta(0)
			m.EventTime = time.Date(year, 1, 1, 0, 0, 0, 999_999_999, time.UTC) // the very edges of what is stored
			add(t, b, row{ev: &market.Trade{Meta: m, Action: market.TradeNew, Symbol: "IREN"}, at: market.Place{Stream: market.Trades, Seq: seq, StreamTime: m.EventTime}})
			want = append(want, seq)
		}
	}
	insert(t, st, b, "x")
	seqs := func(q store.EventQuery) []uint64 {
		q.Stream = market.Trades
		var out []uint64
		for _, p := range paged(t, st, q) {
			out = append(out, p.at.Seq)
		}
		return out
	}
	f := func(q store.EventQuery, want []uint64) {
		t.Helper()
		if got := seqs(q); !slices.Equal(got, want) {
			t.Errorf("%+v: %v, want %v", q, got, want)
		}
	}
	f(store.EventQuery{Limit: 2}, want)
	f(store.EventQuery{Limit: 10, ByEventTime: true}, want)
	f(store.EventQuery{Limit: 10, ThroughSeq: math.MaxUint64}, want)
	f(store.EventQuery{Limit: 10, ThroughSeq: 6_000_000_000, AfterSeq: 1}, want[1:3])
	f(store.EventQuery{Limit: 10, ThroughSeq: 6_000_000_000, ByEventTime: true}, want[:3])
	f(store.EventQuery{Limit: 10, ThroughSeq: 1, AfterSeq: 5}, nil)
	f(store.EventQuery{Limit: 10, AfterSeq: 5_000_000_000, AfterIdx: live.Whole}, want[2:])
	f(store.EventQuery{Limit: 10, StoredSince: time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)}, want[2:])
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 999_999_999, time.UTC) }
	for _, byTime := range []bool{false, true} {
		f(store.EventQuery{Limit: 10, ByEventTime: byTime, From: year(1991), To: year(2026)}, want[1:3])
		f(store.EventQuery{Limit: 10, ByEventTime: byTime, From: year(2026), To: year(1991)}, nil)
		f(store.EventQuery{Limit: 10, ByEventTime: byTime, From: year(2027).AddDate(400, 0, 0)}, nil)
		f(store.EventQuery{Limit: 10, ByEventTime: byTime, To: year(1)}, nil)
	}
	for when, want := range map[time.Time]uint64{year(1): 0, year(1990): 0, year(1990).Add(1): 1, year(2262): math.MaxUint64 - 10} {
		if got, err := st.SeqBetween(context.Background(), market.Trades, time.Time{}, when); err != nil || got != want {
			t.Errorf("sequence at %s: %d, %v, want %d", when, got, err, want)
		}
	}
	if got, err := st.SeqBetween(context.Background(), market.Trades, year(1991), year(1992)); err != nil || got != 5_000_000_000 {
		t.Errorf("sequence between: %d, %v", got, err)
	}
	stop := errors.New("enough")
	if err := st.Events(context.Background(), store.EventQuery{Stream: market.Trades, Limit: 3}, func(market.Event, market.Place) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped reading: %v", err)
	}
	for _, q := range []store.EventQuery{{Stream: market.Trades}, {Stream: "NONE", Limit: 1}} {
		if err := st.Events(context.Background(), q, nil); err == nil {
			t.Errorf("%+v: no error", q)
		}
	}
}
