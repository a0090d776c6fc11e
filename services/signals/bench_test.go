package signals

import (
	"runtime"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// BenchmarkEngine measures prints a second through the engine, one core, the flushes of a tape that runs in time included, and the bytes that
// a print of an open trade date holds.
func BenchmarkEngine(b *testing.B) {
	cal := us(b)
	w, err := world.New(world.Config{Seed: 3})
	if err != nil {
		b.Fatal(err)
	}
	g, err := tape.New(w, tape.Config{Seed: 3, Symbols: []string{"IREN", "CORZ", "BTBT", "WGMI"}, Rate: 3000, Steady: true, Calendar: cal})
	if err != nil {
		b.Fatal(err)
	}
	type step struct {
		trade market.Trade
		flush time.Time // zero: none
	}
	var steps []step
	var scratch, out []tape.Tick
	prints := 0
	for t := tape.BucketOf(time.Date(2026, 12, 8, 14, 25, 0, 0, time.UTC)); prints < 1_000_000; t++ {
		for _, s := range g.Securities {
			scratch, out = g.Delivered(s, t, scratch, out[:0])
			for _, x := range out {
				if x.Kind == 't' || x.Kind == 'x' || x.Kind == 'c' {
					steps = append(steps, step{trade: tradeOf(x)})
					prints++
				}
			}
		}
		if t%4 == 0 && len(steps) > 0 {
			steps[len(steps)-1].flush = tape.BucketTime(t)
		}
	}
	for b.Loop() {
		b.StopTimer()
		h := newHarness(b, DefaultConfig(), cal)
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		b.StartTimer()
		for i := range steps {
			h.feed(b, i, steps[i].trade)
			if !steps[i].flush.IsZero() {
				h.tick(b, steps[i].flush)
			}
		}
		b.StopTimer()
		bars := len(h.bars)
		h.bars = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(prints), "B/print")
		b.ReportMetric(float64(bars), "bars")
		runtime.KeepAlive(h)
		b.StartTimer()
	}
	b.ReportMetric(float64(prints)*float64(b.N)/b.Elapsed().Seconds(), "prints/s")
}
