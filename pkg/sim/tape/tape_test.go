package tape

import (
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// firstBucket is the start of a minute, and of an hour.
var firstBucket = BucketOf(time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC))

func newTape(t testing.TB, cfg Config) *Generator {
	t.Helper()
	w, err := world.New(world.Config{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Symbols = []string{"WGMI", "CORZ", "BTBT", "IREN"}
	g, err := New(w, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestRateIsTheMean(t *testing.T) {
	// Buckets some minutes apart, over weeks: bursts last.
	events := func(steady bool) float64 {
		g := newTape(t, Config{Rate: 300, Steady: steady})
		const samples, apart = 2000, 19997
		n := 0
		var scratch []Tick
		for _, sec := range g.Securities {
			for b := firstBucket; b < firstBucket+samples*apart; b += apart {
				scratch = g.Made(sec, b, scratch[:0])
				n += len(scratch)
			}
		}
		return float64(n) / samples / Bucket.Seconds()
	}
	if got := events(true); got < 285 || got > 310 {
		t.Errorf("a steady tape makes %.1f events a second, want 300", got)
	}
	if got := events(false); got < 260 || got > 340 {
		t.Errorf("a lively tape makes %.1f events a second over weeks, want about 300", got)
	}
}

func TestHaltsStopTheTape(t *testing.T) {
	g := newTape(t, Config{Rate: 200})
	halts := 0
	for _, sec := range g.Securities {
		for slot := firstBucket / haltSlot; slot < firstBucket/haltSlot+200; slot++ {
			start, ok := g.Halt(sec, slot*haltSlot)
			if !ok {
				continue
			}
			halts++
			for b := start; b < start+haltLasts; b += 100 {
				if got := g.Made(sec, b, nil); len(got) > 0 {
					t.Fatalf("%s trades while it is halted", sec.Symbol)
				}
			}
			_, out := g.Delivered(sec, start, nil, nil)
			_, after := g.Delivered(sec, start+haltLasts, nil, nil)
			if len(out) == 0 || out[0].Kind != 's' || out[0].Resumed || len(after) == 0 || after[0].Kind != 's' || !after[0].Resumed {
				t.Fatalf("a halt without its statuses: %+v %+v", out, after)
			}
		}
	}
	if halts < 10 || halts > 100 {
		t.Errorf("%d halts in 800 half hours, want some 40", halts)
	}
}
