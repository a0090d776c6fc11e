package alpaca

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// nowhere is a sink that takes everything.
type nowhere struct{ *feedtest.Memory }

// Publish implements feed.Sink.
func (nowhere) Publish(context.Context, market.Event) error { return nil }

// frames are prints and quotes of four symbols, a hundred to a frame, none told twice.
func frames(n int) (out [][]byte) {
	symbols := []string{"WGMI", "CORZ", "BTBT", "IREN"}
	at := time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)
	id := 0
	for range n {
		frame := []byte{'['}
		for i := range 100 {
			if i > 0 {
				frame = append(frame, ',')
			}
			id++
			t := at.Add(time.Duration(id) * time.Microsecond).Format(time.RFC3339Nano)
			if i%2 == 0 {
				frame = fmt.Appendf(frame, `{"T":"t","i":%d,"S":%q,"x":"V","p":36.%02d,"s":%d,"t":%q,"c":["@","I"],"z":"C"}`, id, symbols[id/2%4], id%100, 1+id%300, t)
			} else {
				frame = fmt.Appendf(frame, `{"T":"q","S":%q,"bx":"V","bp":36.%02d,"bs":100,"ax":"V","ap":36.%02d,"as":200,"t":%q,"c":["R"],"z":"C"}`,
					symbols[id/2%4], id%97, id%97+2, t)
			}
		}
		out = append(out, append(frame, ']'))
	}
	return out
}

// BenchmarkFrame is the way of a frame from its bytes to the publisher: decode, validate, identity, duplicates.
func BenchmarkFrame(b *testing.B) {
	for _, part := range []string{"decode", "whole"} {
		b.Run(part, func(b *testing.B) {
			cfg := defaultTestConfig()
			e, err := cfg.engine(feed.Deps{Sink: nowhere{feedtest.NewMemory()}})
			if err != nil {
				b.Fatal(err)
			}
			st := &stream{u: New(cfg.Alpaca), e: e, fs: &feed.Session{}, login: streaming, dec: newDecoder(nil)}
			fresh := NewFrames()
			list := frames(b.N/100 + 1)
			size := 0
			for _, f := range list {
				size += len(f)
			}
			b.SetBytes(int64(size / len(list) / 100))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N / 100 {
				if part == "decode" {
					err = fresh.Decode(list[i], false, func(market.Event) {})
				} else {
					st.decodeFrame(b.Context(), feed.Frame{Data: list[i], Recv: time.Now().UTC()}, func(d decoded) bool {
						err = st.handle(b.Context(), d)
						return err == nil
					})
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
