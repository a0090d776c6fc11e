package load

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/bench/child"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Every message is counted: none ends before the bytes that are not looked at.
func TestMarkersAreApart(t *testing.T) {
	at := time.Date(2026, 11, 25, 15, 30, 9, 0, time.UTC)
	trade := &market.Trade{
		Meta:   market.Meta{Source: "sim-bench", EventTime: at, RecvTime: at},
		Action: market.TradeNew, Symbol: "CORZ", ID: "50000000001", PriceUSD: market.MustDecimal("14.23"), SizeShares: market.MustDecimal("100"),
	}
	for name, c := range map[string]struct {
		p       Protocol
		message []byte
	}{
		"gateway":    {Gateway("/"), live.AppendJSON(nil, trade, market.Place{Stream: market.Trades, Seq: 1, StreamTime: at})},
		"centrifuge": {Centrifuge(child.Marker), child.AppendMessage(nil, at, 1)},
		"nats":       {NATS(child.Marker), child.AppendMessage(nil, at, 1)},
	} {
		l := &poller{p: c.p, marker: []byte(c.p.Marker)}
		if n := l.payload(&conn{}, bytes.Repeat(c.message, 3), at); n != 3 {
			t.Errorf("%s: %d of 3 messages are counted: %s", name, n, c.message)
		}
	}
}

func TestFrames(t *testing.T) {
	f := func(n int) {
		t.Helper()
		payload := bytes.Repeat([]byte("x"), n)
		masked := appendFrame(nil, opText, payload)
		// What the server would send is the same without the mask.
		head := len(masked) - n - 4
		frame := append(append([]byte{}, masked[:head]...), payload...)
		frame[1] &= 0x7F
		for cut := range frame {
			if _, _, _, ok, err := nextFrame(frame[:cut]); ok || err != nil {
				t.Fatalf("%d of %d bytes: ok %v, %v", cut, len(frame), ok, err)
			}
			if cut > 20 {
				break
			}
		}
		op, got, rest, ok, err := nextFrame(append(frame, 0x81))
		if err != nil || !ok || op != opText || !bytes.Equal(got, payload) || !bytes.Equal(rest, []byte{0x81}) {
			t.Fatalf("a frame of %d bytes came back as op %d with %d bytes, %d behind it, ok %v, %v", n, op, len(got), len(rest), ok, err)
		}
	}
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 20} {
		f(n)
	}
}

func FuzzNextFrame(f *testing.F) {
	f.Add([]byte{0x81, 2, 'h', 'i'})
	f.Add([]byte{0x82, 126, 0, 1, 'x'})
	f.Add([]byte{0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			_, payload, rest, ok, err := nextFrame(b)
			if err != nil || !ok {
				return
			}
			if len(payload)+len(rest) > len(b)-2 {
				t.Fatalf("%d bytes became %d and %d", len(b), len(payload), len(rest))
			}
			b = rest
		}
	})
}

func TestHistogram(t *testing.T) {
	var h, other Histogram
	for us := 1; us <= 100_000; us++ {
		into := &h
		if us%2 == 0 {
			into = &other
		}
		into.Record(time.Duration(us) * time.Microsecond)
	}
	h.Add(&other)
	for _, q := range []float64{0.01, 0.5, 0.99, 0.999} {
		if got, want := h.Quantile(q), q*100; math.Abs(got-want) > want/256 {
			t.Errorf("quantile %v is %v ms, want %v", q, got, want)
		}
	}
	h.Record(-time.Second)
	h.Record(time.Duration(math.MaxInt64))
	if h.Count() != 100_002 {
		t.Errorf("count %d", h.Count())
	}
}

func TestStamps(t *testing.T) {
	at := time.Date(2026, 11, 25, 15, 30, 9, 120_394_821, time.UTC)
	for _, at := range []time.Time{at, at.Truncate(time.Millisecond), at.Truncate(time.Second), at.Truncate(time.Second).Add(1)} {
		if got, ok := StampText([]byte(at.Format(time.RFC3339Nano) + `","source":"x"`)); !ok || !got.Equal(at) {
			t.Errorf("%v read as %v, %v", at, got, ok)
		}
	}
	for _, s := range []string{"", `"`, `2026-11-25T15:30:09`, `2026-11-25T15:30:09+01:00"`, "1"} {
		if got, ok := StampText([]byte(s)); ok {
			t.Errorf("%q read as %v", s, got)
		}
	}
	if got, ok := StampNanos([]byte("1763890123456789012,")); !ok || got.UnixNano() != 1763890123456789012 {
		t.Errorf("read as %v, %v", got, ok)
	}
}
