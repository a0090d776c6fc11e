package lander

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

var spanTime = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)

// message is one of n trades, each as edit leaves it.
func message(t *testing.T, seq, n int, edit func(i int, e *market.Trade)) bus.Msg {
	t.Helper()
	events := make([]market.Event, n)
	for i := range events {
		e := &market.Trade{
			Meta: market.Meta{Source: "test", EventTime: spanTime, RecvTime: spanTime}, Action: market.TradeNew, Symbol: "IREN", ID: "1", Exchange: "V", Tape: "C",
			PriceUSD: market.MustDecimal("49.25"), SizeShares: market.MustDecimal("100"),
		}
		edit(seq*n+i, e)
		events[i] = e
	}
	data, err := wire.Encode(nil, events)
	if err != nil {
		t.Fatal(err)
	}
	return bus.Msg{Seq: uint64(seq), Subject: "md.v1.trade.test.IREN", Time: spanTime, Data: data}
}

// MaxBytes bounds what a span really takes, whatever the messages hold, and it lets go of the messages.
func TestSpanIsBoundedByBytes(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxBytes, cfg.MaxRows = 8<<20, 1_000_000
	shapes := []struct {
		name string
		n    int // events of a message
		edit func(i int, e *market.Trade)
	}{
		{"small events", 400, func(int, *market.Trade) {}},
		{"long ids", 20, func(_ int, e *market.Trade) { e.ID = strings.Repeat("9", 20_000) }},
		{"a code a row", 400, func(i int, e *market.Trade) { e.CancelCode = fmt.Sprint("code ", i) }},
		{"a month a row", 400, func(i int, e *market.Trade) { e.EventTime = spanTime.AddDate(0, i%2500, 0) }},
		{"refused, with long ids", 20, func(_ int, e *market.Trade) { e.Action, e.ID = 0, strings.Repeat("9", 20_000) }},
	}
	for _, s := range shapes {
		before := spanHeap()
		sp := &span{batch: store.NewBatch(), stream: market.Trades}
		seq := 0
		for ; !sp.full(cfg); seq++ {
			if seq == 10_000 {
				t.Fatalf("%s: not full after %d messages: %d rows, %d bytes", s.name, seq, sp.batch.Rows(), sp.bytes())
			}
			sp.add(message(t, seq, s.n, s.edit))
		}
		held := int(spanHeap() - before)
		t.Logf("%s: full after %d messages with %d rows and %d letters, takes %d KiB", s.name, seq, sp.batch.Rows(), len(sp.dead), held>>10)
		// What slices have grown to beyond what they hold, the last message, and its events.
		if most := 2*cfg.MaxBytes + 2<<20; held > most {
			t.Errorf("%s: takes %d KiB, more than %d", s.name, held>>10, most>>10)
		}
		runtime.KeepAlive(sp)
	}
}

func spanHeap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What is fetched ahead is bounded by bytes too: large messages wait long before there are sixty-four.
func TestAheadIsBoundedByBytes(t *testing.T) {
	a := newAhead()
	large := bus.Msg{Data: make([]byte, 1<<20)}
	for range 4 {
		if err := a.put(t.Context(), large); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() { waiting <- a.put(ctx, large) }()
	cancel()
	if err := <-waiting; err == nil {
		t.Fatal("a fifth MiB was taken")
	}
	a.decoded(<-a.msgs)
	if err := a.put(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	// One that is larger than all the room goes alone.
	for range 4 {
		a.decoded(<-a.msgs)
	}
	if err := a.put(t.Context(), bus.Msg{Data: make([]byte, aheadBytes+1)}); err != nil {
		t.Fatal(err)
	}
}
