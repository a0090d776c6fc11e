package world

import (
	"math"
	"testing"
	"time"
)

func mustWorld(t testing.TB, seed uint64) *World {
	t.Helper()
	w, err := New(Config{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestStartsAtTheRealLevels(t *testing.T) {
	w := mustWorld(t, 7)
	at := w.At(w.Facts().Newest())
	for _, e := range w.Facts().Equities {
		if got := at.EquityUSD[e.Symbol]; math.Abs(got/e.Float()-1) > 1e-9 {
			t.Errorf("%s is %v at the origin, want %s", e.Symbol, got, e.Value)
		}
	}
	for _, g := range w.Facts().GPUs {
		if got := at.GPUUSDPerHour[g.Key]; math.Abs(got/g.Float()-1) > 1e-9 {
			t.Errorf("%s is %v at the origin, want %s", g.Key, got, g.Value)
		}
	}
	if at.Difficulty != 127450789715843.1 {
		t.Errorf("difficulty %v", at.Difficulty)
	}
}

func TestIsAPureFunctionOfSeedAndTime(t *testing.T) {
	a, b, other := mustWorld(t, 1), mustWorld(t, 1), mustWorld(t, 2)
	at := a.Facts().Newest().Add(1234567 * time.Second)
	_ = b.At(at.Add(time.Hour)) // order of asking must not matter
	if x, y := a.At(at), b.At(at); x.BTCUSD != y.BTCUSD || x.EquityUSD["IREN"] != y.EquityUSD["IREN"] || x.Activity != y.Activity {
		t.Errorf("same seed and time, other levels: %+v, %+v", x, y)
	}
	if a.At(at).BTCUSD == other.At(at).BTCUSD {
		t.Error("two seeds, one path")
	}
	if p, ok := a.EquityAt("IREN", at); !ok || p != a.At(at).EquityUSD["IREN"] {
		t.Errorf("EquityAt says %v, At says %v", p, a.At(at).EquityUSD["IREN"])
	}
	if _, ok := a.EquityAt("NOSUCH", at); ok {
		t.Error("a symbol without a level has a price")
	}
}

func TestStaysNearTheLevelsAndMoves(t *testing.T) {
	for seed := range uint64(5) {
		w := mustWorld(t, seed)
		level := w.Facts().Equities[3].Float() // IREN, the wildest
		lo, hi := math.Inf(1), 0.0
		var days []float64
		prev := 0.0
		for day := range 400 {
			at := w.Facts().Newest().AddDate(0, 0, day)
			p := w.At(at).EquityUSD["IREN"]
			lo, hi = min(lo, p), max(hi, p)
			if day > 0 {
				days = append(days, math.Log(p/prev))
			}
			prev = p
		}
		if lo < level/2.2 || hi > level*2.2 {
			t.Errorf("seed %d: IREN ran from %.2f to %.2f about %.2f", seed, lo, hi, level)
		}
		var sum float64
		for _, r := range days {
			sum += r * r
		}
		if vol := math.Sqrt(sum / float64(len(days))); vol < 0.03 || vol > 0.13 {
			t.Errorf("seed %d: IREN moves %.3f a day, really 0.067", seed, vol)
		}
	}
}

func TestIsContinuous(t *testing.T) {
	w := mustWorld(t, 3)
	start := w.Facts().Newest().Add(40 * time.Hour)
	prev := w.BTCUSDAt(start)
	moved := false
	for i := 1; i < 20000; i++ {
		p := w.BTCUSDAt(start.Add(time.Duration(i) * 10 * time.Millisecond))
		if math.Abs(p/prev-1) > 1e-4 {
			t.Fatalf("a jump from %v to %v within 10 ms", prev, p)
		}
		moved = moved || p != prev
		prev = p
	}
	if !moved {
		t.Error("the price stands still")
	}
}

func TestCorrelatesAsMeasured(t *testing.T) {
	w := mustWorld(t, 11)
	corr := func(x, y string) float64 {
		var sx, sy, sxx, syy, sxy float64
		const n = 2000
		start := w.Facts().Newest()
		for i := range n {
			a, b := w.At(start.Add(time.Duration(i)*6*time.Hour)), w.At(start.Add(time.Duration(i+1)*6*time.Hour))
			rx, ry := math.Log(b.EquityUSD[x]/a.EquityUSD[x]), math.Log(b.EquityUSD[y]/a.EquityUSD[y])
			sx, sy, sxx, syy, sxy = sx+rx, sy+ry, sxx+rx*rx, syy+ry*ry, sxy+rx*ry
		}
		return (n*sxy - sx*sy) / math.Sqrt((n*sxx-sx*sx)*(n*syy-sy*sy))
	}
	if c := corr("MARA", "IBIT"); c < 0.4 {
		t.Errorf("MARA and bitcoin correlate by %.2f", c)
	}
	if c := corr("CORZ", "CRWV"); c < 0.35 {
		t.Errorf("CORZ and AI correlate by %.2f", c)
	}
	if c := corr("IBIT", "CRWV"); math.Abs(c) > 0.2 {
		t.Errorf("the two factors correlate by %.2f", c)
	}
}

func TestActivityHasBurstsAndQuietSpells(t *testing.T) {
	w := mustWorld(t, 5)
	lo, hi := math.Inf(1), 0.0
	for i := range 20000 {
		a := w.ActivityAt(w.Facts().Newest().Add(time.Duration(i) * 5 * time.Second))
		lo, hi = min(lo, a), max(hi, a)
	}
	if lo > 0.2 || hi < 5 || lo < 0.1 || hi > 10 {
		t.Errorf("activity runs from %.2f to %.2f", lo, hi)
	}
}

func TestDifficultyStepsEachTwoWeeks(t *testing.T) {
	w := mustWorld(t, 5)
	start := w.Facts().Newest()
	steps := 0
	prev := w.DifficultyAt(start)
	for h := 1; h <= 24*14*10; h++ {
		d := w.DifficultyAt(start.Add(time.Duration(h) * time.Hour))
		if d != prev {
			steps++
		}
		if math.Abs(d/127450789715843.1-1) > 0.04 {
			t.Fatalf("difficulty %v", d)
		}
		prev = d
	}
	if steps != 10 {
		t.Errorf("%d retargets in twenty weeks, want 10", steps)
	}
}

func BenchmarkAt(b *testing.B) {
	w := mustWorld(b, 1)
	at := w.Facts().Newest()
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(time.Millisecond)
		w.At(at)
	}
}

func BenchmarkEquityAt(b *testing.B) {
	w := mustWorld(b, 1)
	at := w.Facts().Newest()
	for b.Loop() {
		at = at.Add(time.Millisecond)
		w.EquityAt("IREN", at)
	}
}
