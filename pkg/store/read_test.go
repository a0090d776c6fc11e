package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

var noon = time.Date(2026, 11, 20, 17, 0, 0, 0, time.UTC)

func meta(rev uint32) market.Meta {
	return market.Meta{EventTime: noon, RecvTime: noon.Add(time.Second), Source: "sim", Rev: rev}
}

func put(t testing.TB, b *store.Batch, seq, idx int, ev market.Event) {
	t.Helper()
	add(t, b, row{ev: ev, at: market.Place{Stream: ev.Stream(), Seq: uint64(seq), Idx: uint32(idx), StreamTime: noon.Add(2 * time.Second)}})
}

// A stream of several tables is audited as one.
func TestLandedCountsAcrossTables(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	b := st.NewBatch()
	put(t, b, 1, 0, &market.Block{Meta: meta(0), Hash: "a", Difficulty: market.MustDecimal("1")})
	put(t, b, 1, 1, &market.BTCPrice{Meta: meta(0), PriceUSD: market.MustDecimal("1")})
	put(t, b, 3, 0, &market.Fees{Meta: meta(0)})
	put(t, b, 4, 0, &market.Difficulty{Meta: meta(0), Difficulty: market.MustDecimal("1")})
	put(t, b, 7, 0, &market.Trade{Meta: meta(0), Action: market.TradeNew})
	insert(t, st, b, "one")
	// The audit must see a doubled row, so it is doubled here: under another token.
	b.Reset()
	put(t, b, 3, 0, &market.Fees{Meta: meta(0)})
	insert(t, st, b, "two")

	got, err := st.Landed(ctx, market.Network, time.Time{}, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	if want := []store.SeqCount{{Seq: 1, Rows: 2, Distinct: 2}, {Seq: 3, Rows: 2, Distinct: 1}}; !slices.Equal(got, want) {
		t.Errorf("landed %v, want %v", got, want)
	}
	counts, err := st.Counts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := map[market.Stream]store.Count{}
	for _, s := range market.Streams() {
		want[s] = store.Count{}
	}
	want[market.Network], want[market.Trades] = store.Count{Rows: 5, Distinct: 4}, store.Count{Rows: 1, Distinct: 1}
	if !reflect.DeepEqual(counts, want) {
		t.Errorf("counts %v, want %v", counts, want)
	}
	for stream, want := range map[market.Stream]uint64{market.Network: 4, market.Trades: 7, market.Bars: 0} {
		if got, err := st.MaxSeq(ctx, stream); err != nil || got != want {
			t.Errorf("greatest sequence of %s: %d, %v, want %d", stream, got, err, want)
		}
	}
	if _, err := st.MaxSeq(ctx, "NONE"); err == nil {
		t.Error("a stream that does not exist has a sequence")
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	res, err := st.Query(ctx, "SELECT 1 AS a, toDecimal64('13.3700', 8) AS b, NULL AS c, [1, 2] AS d, toNullable('x') AS e, toDecimal128('-0.0000000000000000001', 19) AS f")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "c", "d", "e", "f"}; !slices.Equal(res.Columns, want) {
		t.Errorf("columns %v, want %v", res.Columns, want)
	}
	want := []any{uint8(1), json.Number("13.37"), nil, []uint8{1, 2}, "x", json.Number("-0.0000000000000000001")}
	if len(res.Rows) != 1 || !reflect.DeepEqual(res.Rows[0], want) {
		t.Errorf("rows %#v, want %#v", res.Rows, want)
	}
	if res, err = st.Query(ctx, "CREATE TABLE x (a UInt8) ENGINE = Memory"); err != nil || len(res.Columns) != 0 {
		t.Errorf("statement without a result: %v, %v", res, err)
	}
	if res, err = st.Query(ctx, "SELECT * FROM x"); err != nil || !slices.Equal(res.Columns, []string{"a"}) || len(res.Rows) != 0 {
		t.Errorf("empty result: %v, %v", res, err)
	}
	if _, err = st.Query(ctx, "SELECT nonsense"); err == nil {
		t.Error("a wrong query has a result")
	} else if code, ok := store.Code(err); !ok || code != 47 {
		t.Errorf("wrong query: code %d, %t, want 47", code, ok)
	}
	stop := errors.New("enough")
	n := 0
	err = st.QueryEach(ctx, "SELECT number FROM numbers(100000000)", func(_, _ []string) error { return nil }, func([]any) error {
		if n++; n == 10 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Errorf("stopped query: %v", err)
	}
}

func TestQueryIsBounded(t *testing.T) {
	t.Parallel()
	_, srv := storetest.StartServer(t)
	cfg := storetest.Config(srv)
	cfg.MaxResultRows = 10
	st, err := store.Open(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	if res, err := st.Query(context.Background(), "SELECT number FROM numbers(10)"); err != nil || len(res.Rows) != 10 {
		t.Errorf("ten rows: %v, %v", res, err)
	}
	if _, err := st.Query(context.Background(), "SELECT number FROM numbers(11)"); err == nil || !strings.Contains(err.Error(), "max_result_rows") {
		t.Errorf("eleven rows: %v", err)
	}
}

// The views show the greatest revision, and of equal ones the last in the stream, whatever the order in which rows landed.
func TestViewsShowWhatIsTrueNow(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	bar := func(rev uint32, closing string) *market.Bar {
		return &market.Bar{Meta: meta(rev), Symbol: "IREN", Interval: market.Interval1d, CloseUSD: market.MustDecimal(closing)}
	}
	offer := func(action market.OfferAction, id, price string, after time.Duration) *market.Offer {
		m := meta(0)
		m.EventTime = m.EventTime.Add(after)
		return &market.Offer{Meta: m, Action: action, Provider: "vast", OfferID: id, GPU: "h100-sxm", Class: market.OnDemand, USDPerGPUHour: market.MustDecimal(price)}
	}
	gap := func(rev uint32, state market.GapState) *market.FeedGap {
		return &market.FeedGap{Meta: meta(rev), GapID: "g1", Symbol: "*", State: state, From: noon}
	}
	b := st.NewBatch()
	put(t, b, 9, 0, bar(2, "3"))
	put(t, b, 8, 0, bar(1, "2"))
	put(t, b, 10, 0, bar(2, "4"))
	pre := bar(0, "9") // another bar of the same day, not a revision
	pre.Session = "pre"
	put(t, b, 11, 0, pre)
	put(t, b, 1, 0, &market.Hashprice{Meta: meta(0), Method: "daily", HashpriceUSD: market.MustDecimal("38.1")})
	put(t, b, 2, 0, &market.Hashprice{Meta: meta(1), Method: "daily", HashpriceUSD: market.MustDecimal("38.2")})
	put(t, b, 1, 0, &market.Rate{Meta: meta(0), GPU: "h100-sxm", Class: market.OnDemand, Method: "median", Version: 1, USDPerGPUHour: market.MustDecimal("2.1")})
	put(t, b, 1, 1, &market.Rate{Meta: meta(1), GPU: "h100-sxm", Class: market.OnDemand, Method: "median", Version: 1, USDPerGPUHour: market.MustDecimal("2.2")})
	put(t, b, 1, 0, gap(0, market.GapOpen))
	put(t, b, 2, 0, gap(1, market.GapFilled))
	put(t, b, 1, 0, offer(market.OfferOpened, "closed again", "2", 0))
	put(t, b, 1, 1, offer(market.OfferOpened, "changed", "2", 0))
	put(t, b, 2, 0, offer(market.OfferClosed, "closed again", "2", time.Minute))
	put(t, b, 2, 1, offer(market.OfferChanged, "changed", "2.5", time.Minute))
	insert(t, st, b, "x")
	for sql, want := range map[string]string{
		"SELECT symbol, interval, event_time = toDateTime('2026-11-20 17:00:00', 'UTC'), rev, close_usd, stream_seq FROM bars_now ORDER BY session": "[[IREN 1d 1 2 4 10] [IREN 1d 1 0 9 11]]",
		"SELECT method, rev, hashprice_usd FROM hashprice_now":                 "[[daily 1 38.2]]",
		"SELECT gpu, class, rev, usd_per_gpu_hour FROM gpu_rates_now":          "[[h100-sxm on-demand 1 2.2]]",
		"SELECT gap_id, state, to_time FROM feed_gaps_now":                     "[[g1 filled <nil>]]",
		"SELECT offer_id, usd_per_gpu_hour FROM offers_open":                   "[[changed 2.5]]",
		"SELECT count() FROM bars_now WHERE symbol = 'IREN' AND close_usd = 3": "[[0]]",
		"SELECT count() FROM bars WHERE stream_seq <= 9":                       "[[2]]",
	} {
		res, err := st.Query(context.Background(), sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if got := fmt.Sprint(res.Rows); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}
