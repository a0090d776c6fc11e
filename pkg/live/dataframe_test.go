package live_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	livev1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/live/v1"
	mdv1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/md/v1"
)

func dec(t testing.TB, s string) market.Decimal {
	t.Helper()
	d, err := market.ParseDecimal(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tradeMessage(seq uint64, idx uint32) *livev1.Message {
	return &livev1.Message{Seq: seq, Idx: idx, StreamTimeNs: 1_764_084_600_120_394_821, Batch: &livev1.Message_Trades{Trades: &mdv1.TradeBatch{
		Source: "sim-alpaca", Symbol: "CORZ", Trades: []*mdv1.Trade{{
			Meta:   &mdv1.Meta{EventTimeNs: 1_764_084_600_101_000_000, RecvTimeNs: 1_764_084_600_118_000_000, Rev: 2},
			Action: mdv1.TradeAction_TRADE_ACTION_NEW, Id: "52983525", PriceUsd: "16.42", SizeShares: "100",
		}},
	}}}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The generated code writes what the hand-written walk reads, so that neither can leave the schema alone.
func TestDecodeDataFrame(t *testing.T) {
	t.Parallel()
	data := marshal(t, &livev1.DataFrame{
		Sub: "trades/CORZ", Snapshot: true, Position: "TRADES:18240",
		Messages: []*livev1.Message{tradeMessage(18231, 4), {Seq: 18232, StreamTimeNs: 5, Batch: &livev1.Message_Feeds{Feeds: &mdv1.FeedBatch{
			Source: "sim-alpaca", Records: []*mdv1.FeedRecord{{Record: &mdv1.FeedRecord_Event{Event: &mdv1.FeedEvent{Meta: &mdv1.Meta{}, State: "lost"}}}},
		}}}},
		Skipped: []*livev1.Skipped{{Symbol: "CORZ", Count: 3, From: "TRADES:18225:1", To: "TRADES:18231:3"}},
	})
	got, err := live.DecodeDataFrame(data)
	if err != nil {
		t.Fatal(err)
	}
	at := func(ns int64) time.Time { return time.Unix(0, ns).UTC() }
	want := live.DataFrame{
		Sub: "trades/CORZ", Snapshot: true, Position: live.Cursor{Stream: market.Trades, Seq: 18240, Idx: live.Whole},
		Messages: []live.Message{{
			Event: &market.Trade{
				Meta:   market.Meta{Source: "sim-alpaca", EventTime: at(1_764_084_600_101_000_000), RecvTime: at(1_764_084_600_118_000_000), Rev: 2},
				Action: market.TradeNew, Symbol: "CORZ", ID: "52983525", PriceUSD: dec(t, "16.42"), SizeShares: dec(t, "100"),
			},
			Place: market.Place{Stream: market.Trades, Seq: 18231, Idx: 4, StreamTime: at(1_764_084_600_120_394_821)},
		}, {
			Event: &market.FeedEvent{Meta: market.Meta{Source: "sim-alpaca", EventTime: at(0), RecvTime: at(0)}, State: market.FeedLost},
			Place: market.Place{Stream: market.Feeds, Seq: 18232, StreamTime: at(5)},
		}},
		Skipped: []live.Skipped{{Symbol: "CORZ", Count: 3, From: "TRADES:18225:1", To: "TRADES:18231:3"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if c := got.Messages[0].Cursor().String(); c != "TRADES:18231:4" {
		t.Errorf("cursor %s", c)
	}
}

// A field of a later version is passed over.
func TestDecodeDataFrameLater(t *testing.T) {
	t.Parallel()
	data := protowire.AppendVarint(protowire.AppendTag(marshal(t, &livev1.DataFrame{Sub: "s"}), 99, protowire.VarintType), 7)
	if f, err := live.DecodeDataFrame(data); err != nil || f.Sub != "s" {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestDecodeDataFrameHostile(t *testing.T) {
	t.Parallel()
	frame := func(ms ...*livev1.Message) []byte { return marshal(t, &livev1.DataFrame{Sub: "s", Messages: ms}) }
	skip := func(s *livev1.Skipped) []byte { return marshal(t, &livev1.DataFrame{Skipped: []*livev1.Skipped{s}}) }
	two := tradeMessage(1, 0)
	batch := two.GetTrades()
	batch.Trades = append(batch.Trades, batch.Trades[0])
	price := tradeMessage(1, 0)
	price.GetTrades().Trades[0].PriceUsd = "12,5"
	whole := tradeMessage(1, live.Whole)
	// Two batches in one message: protobuf would merge them.
	var both []byte
	for range 2 {
		both = append(both, marshal(t, tradeMessage(1, 0))...)
	}
	both = protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), both)
	for name, data := range map[string][]byte{
		"cut short":         frame(tradeMessage(1, 0))[:40],
		"no event":          frame(&livev1.Message{Seq: 1}),
		"empty batch":       frame(&livev1.Message{Seq: 1, Batch: &livev1.Message_Trades{Trades: &mdv1.TradeBatch{}}}),
		"two events":        frame(two),
		"two batches":       both,
		"price":             frame(price),
		"index of whole":    frame(whole),
		"position":          marshal(t, &livev1.DataFrame{Position: "TRADES:x"}),
		"skipped none":      skip(&livev1.Skipped{From: "TRADES:1", To: "TRADES:2"}),
		"skipped backwards": skip(&livev1.Skipped{Count: 1, From: "TRADES:3", To: "TRADES:2"}),
		"skipped streams":   skip(&livev1.Skipped{Count: 1, From: "TRADES:3", To: "QUOTES:4"}),
		"skipped cursor":    skip(&livev1.Skipped{Count: 1, From: "", To: "QUOTES:4"}),
		"sub as a number":   {1 << 3, 5},
		"message as number": {2 << 3, 5},
		"text not UTF-8":    {1<<3 | 2, 1, 0xff},
		"endless varint":    {4 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"long length":       {1<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"group without end": {1<<3 | 3},
	} {
		if f, err := live.DecodeDataFrame(data); err == nil || !strings.HasPrefix(err.Error(), "decode data frame: ") {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

func FuzzDecodeDataFrame(f *testing.F) {
	f.Add(marshal(f, &livev1.DataFrame{Sub: "trades/*", Messages: []*livev1.Message{tradeMessage(7, 0), tradeMessage(7, 1)}, Position: "TRADES:7"}))
	f.Add(marshal(f, &livev1.DataFrame{Skipped: []*livev1.Skipped{{Count: 1, From: "BARS:1:0", To: "BARS:1:0"}}, Snapshot: true}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := live.DecodeDataFrame(data)
		if err != nil {
			return
		}
		for _, m := range frame.Messages {
			if m.Event == nil || m.Event.Stream() != m.Place.Stream || m.Place.Idx == live.Whole {
				t.Errorf("message %+v", m)
			}
			if c, err := live.ParseCursor(m.Cursor().String()); err != nil || c != m.Cursor() {
				t.Errorf("cursor %s: %v, %v", m.Cursor(), c, err)
			}
		}
	})
}
