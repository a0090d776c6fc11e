package wire_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// same reports how what the reusing decoder makes of a message differs from what Decode makes of it, "" if it does not.
func same(d *wire.Decoder, stream market.Stream, data []byte) string {
	want, werr := wire.Decode(stream, data)
	got, gerr := d.Decode(stream, data)
	switch {
	case (werr == nil) != (gerr == nil) || werr != nil && werr.Error() != gerr.Error():
		return "error " + errText(gerr) + ", want " + errText(werr)
	case len(got) != len(want):
		return "another number of events"
	}
	for i := range want {
		// DeepEqual finds no NaN equal to itself.
		if text := "%#v"; !reflect.DeepEqual(got[i], want[i]) && fmt.Sprintf(text, reflect.ValueOf(got[i]).Elem()) != fmt.Sprintf(text, reflect.ValueOf(want[i]).Elem()) {
			return fmt.Sprintf("event %d is %+v, want %+v", i, got[i], want[i])
		}
	}
	return ""
}

func errText(err error) string {
	if err == nil {
		return "nil"
	}
	return err.Error()
}

// A decoder that is used again gives what a fresh one gives, whatever it decoded before.
func TestDecoderIsDecode(t *testing.T) {
	var d wire.Decoder
	for range 2 {
		for name, events := range samples() {
			for n := 1; n <= 3*len(events); n += 2 {
				var batch []market.Event
				for i := range n {
					batch = append(batch, events[i%len(events)])
				}
				data, err := wire.Encode(nil, batch)
				if err != nil {
					break // a mixture
				}
				if diff := same(&d, events[0].Stream(), data); diff != "" {
					t.Errorf("%s, %d events: %s", name, n, diff)
				}
			}
		}
	}
}

// Every message of one changed byte, too: bytes that are unusual take the common way, and none may take the fast one with another result.
func TestDecoderIsDecodeOfDamage(t *testing.T) {
	var d wire.Decoder
	for _, name := range []string{"trades", "quotes"} {
		events := samples()[name]
		data, err := wire.Encode(nil, events)
		if err != nil {
			t.Fatal(err)
		}
		for at := range data {
			for _, b := range []byte{0, 1, data[at] ^ 1, data[at] + 1, data[at] ^ 0x80, 0x7f, 0x80, 0xff} {
				damaged := append([]byte(nil), data...)
				damaged[at] = b
				if diff := same(&d, events[0].Stream(), damaged); diff != "" {
					t.Fatalf("%s, byte %d is %#x: %s", name, at, b, diff)
				}
			}
			if diff := same(&d, events[0].Stream(), data[:at]); diff != "" {
				t.Fatalf("%s, cut at %d: %s", name, at, diff)
			}
		}
	}
}

// A message of a million events is refused before it is decoded: its memory would be hundreds of times its size.
func TestTooManyEvents(t *testing.T) {
	one := []byte{3<<3 | 2, 0}
	var many []byte
	for range wire.MaxEvents + 10 {
		many = append(many, one...)
	}
	var d wire.Decoder
	for _, stream := range []market.Stream{market.Trades, market.Quotes, market.Halts} {
		if _, err := wire.Decode(stream, many); !errors.Is(err, wire.ErrTooMany) {
			t.Errorf("%s: %v", stream, err)
		}
		if _, err := d.Decode(stream, many); !errors.Is(err, wire.ErrTooMany) {
			t.Errorf("%s, fast: %v", stream, err)
		}
	}
	if _, err := wire.Decode(market.Trades, many[:2*wire.MaxEvents]); err != nil {
		t.Errorf("as many as are allowed: %v", err)
	}
	// Unknown fields do not hide them.
	hidden := append(binary.AppendUvarint(nil, 77<<3), 1)
	if _, err := wire.Decode(market.Trades, append(hidden, many...)); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("behind an unknown field: %v", err)
	}
	if _, err := wire.Encode(nil, make([]market.Event, wire.MaxEvents+1)); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("encode: %v", err)
	}
}

// FuzzDecoder: the decoder that is used again and the common one agree on all bytes.
func FuzzDecoder(f *testing.F) {
	for _, events := range samples() {
		data, err := wire.Encode(nil, events)
		if err != nil {
			continue
		}
		f.Add(true, data)
		f.Add(false, data)
	}
	var d wire.Decoder
	f.Fuzz(func(t *testing.T, trades bool, data []byte) {
		stream := market.Quotes
		if trades {
			stream = market.Trades
		}
		if diff := same(&d, stream, data); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	for _, name := range []string{"trades", "quotes"} {
		var events []market.Event
		for range 300 {
			events = append(events, samples()[name][0])
		}
		data, err := wire.Encode(nil, events)
		if err != nil {
			b.Fatal(err)
		}
		stream := events[0].Stream()
		var d wire.Decoder
		for way, decode := range map[string]func(market.Stream, []byte) ([]market.Event, error){"fresh": wire.Decode, "again": d.Decode} {
			b.Run(name+"/"+way, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := decode(stream, data); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(300*b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}
