package gateway

import (
	"bytes"
	"strconv"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// What comes while a shard goes round its clients reaches those who are still to be served in the same round, and the others in the next: once.
func TestWhatComesDuringARoundIsInIt(t *testing.T) {
	spec := live.Spec{Channel: live.Trades, Symbols: []string{"CORZ"}}
	topic := newTopic(&selection{spec: spec, id: spec.ID()}, variant{enc: encJSON}, 1)
	shards := []*shard{{index: 0, wake: make(chan struct{}, 1)}}
	seq := uint64(0)
	appendOne := func() {
		seq++
		at := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
		it := newItem(&market.Trade{
			Meta: market.Meta{Source: "sim-test", EventTime: at, RecvTime: at}, Action: market.TradeNew, Symbol: "CORZ", ID: strconv.FormatUint(seq, 10), Exchange: "V",
			PriceUSD: market.MustDecimal("14.23"), SizeShares: market.MustDecimal("100"),
		}, market.Place{Stream: market.Trades, Seq: seq})
		if err := it.encode(encJSON); err != nil {
			t.Fatal(err)
		}
		topic.append(batch{items: []*item{it}}, shards)
	}
	var readers []*reader
	for range 3 {
		readers = append(readers, topic.attach(&client{shard: shards[0]}, &subscription{}, 1<<20))
	}
	take := func(r *reader) (ids []string) {
		bufs, _, slow := r.take(nil, 1<<20, 1<<20, false, cutEvery)
		if slow {
			t.Fatal("a reader that is behind by a message is called slow")
		}
		for _, part := range bytes.Split(bytes.Join(bufs, nil), []byte(`"trade_id":"`))[1:] {
			id, _, _ := bytes.Cut(part, []byte(`"`))
			ids = append(ids, string(id))
		}
		return ids
	}
	want := func(r int, ids ...string) {
		t.Helper()
		if got := take(readers[r]); len(got) != len(ids) || len(ids) > 0 && got[0] != ids[0] || len(ids) > 1 && got[1] != ids[1] {
			t.Errorf("reader %d was sent %v, want %v", r, got, ids)
		}
	}
	appendOne()
	topic.collect(0, 1<<20, nil)
	want(0, "1")
	appendOne()
	topic.cutAt = time.Now().Add(time.Hour)
	want(1, "1") // just after a cut there is no other
	topic.cutAt = time.Time{}
	want(2, "1", "2")
	topic.collect(0, 1<<20, nil)
	want(0, "2")
	want(1, "2")
	want(2)
}
