package signals

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// pivotHarness is an engine with what it told.
type pivotHarness struct {
	*pivotEngine
	t    testing.TB
	told []*market.Signal
	seq  uint64
}

func newPivotHarness(t testing.TB, cfg Pivot) *pivotHarness {
	h := &pivotHarness{t: t}
	e, err := newPivotEngine(cfg, NewMetrics(nil), func(_ context.Context, ev market.Event) error {
		h.told = append(h.told, ev.(*market.Signal))
		return ev.Validate()
	})
	if err != nil {
		t.Fatal(err)
	}
	h.pivotEngine = e
	return h
}

func (h *pivotHarness) feed(events ...market.Event) {
	for _, ev := range events {
		h.seq++
		h.take(ev, orderOf(h.seq, 0))
	}
}

// tick flushes and hands over what was told meanwhile.
func (h *pivotHarness) tick(now time.Time) []*market.Signal {
	h.t.Helper()
	h.told = nil
	if err := h.flush(context.Background(), now); err != nil {
		h.t.Fatal(err)
	}
	return h.told
}

// show is one line a signal: name, symbol, time since noon, revision, value.
func show(list []*market.Signal) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%s %s %s %d %s\n", s.Name, s.Symbol, s.EventTime.Sub(noon), s.Rev, s.Value)
	}
	return b.String()
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func hashpriceAt(at time.Time, usd string) *market.Hashprice {
	return &market.Hashprice{
		Meta: market.Meta{EventTime: at, RecvTime: at, Source: "sim-hashpivot"}, Method: "tip144", Height: 925_000,
		Difficulty: market.MustDecimal("150000000000000"), SubsidySat: 312_500_000, FeeWindowBlocks: 144, BTCUSD: market.MustDecimal("90000"),
		HashpriceBTC: market.MustDecimal("0.0004"), HashpriceSat: market.MustDecimal("40000"), HashpriceUSD: market.MustDecimal(usd),
	}
}

func dailyHashprice(day time.Time, usd string, rev uint32) *market.Hashprice {
	h := hashpriceAt(day, usd)
	h.Method, h.Rev, h.Backfill, h.RecvTime = "daily", rev, true, day.Add(25*time.Hour)
	return h
}

func rateAt(at time.Time, gpu, usd string) *market.Rate {
	return &market.Rate{
		Meta: market.Meta{EventTime: at, RecvTime: at, Source: "sim-hashpivot"}, GPU: gpu, Class: market.OnDemand, Method: "gpu-wmedian", Version: 1,
		USDPerGPUHour: market.MustDecimal(usd),
	}
}

func rateBy(method string, at time.Time, gpu, usd string) *market.Rate {
	r := rateAt(at, gpu, usd)
	r.Method, r.Source, r.Backfill, r.RecvTime = method, "sim-vast", true, at.Add(48*time.Hour)
	return r
}

func pivotConfig() Pivot {
	return Pivot{Enabled: true, GPUs: []string{"h100-sxm"}, Fleet: "fleet", Every: 10 * time.Second, Settle: time.Second}
}

// The published tables: hashprice over J/TH at PUE 1, GPU rates at PUE 1.3 fully rented, and Hashrate Index's own on 12 January 2026.
func TestPivotFormulas(t *testing.T) {
	r := ratOfText
	for _, c := range []struct{ hashprice, jPerTH, want string }{
		{"35", "13.5", "108.0"}, {"35", "17.5", "83.3"}, {"35", "21.5", "67.8"}, {"35", "30.5", "47.8"}, {"40", "13.5", "123.5"}, {"40", "30.5", "54.6"},
		{"50", "17.5", "119.0"}, {"50", "21.5", "96.9"}, {"39.53", "22", "74.9"},
	} {
		if got := miningUSDPerMWh(r(c.hashprice), r(c.jPerTH), r("1")).FloatString(1); got != c.want {
			t.Errorf("%s USD/PH/s/day at %s J/TH: %s USD/MWh, want %s", c.hashprice, c.jPerTH, got, c.want)
		}
	}
	for _, c := range []struct{ rate, kw, want string }{{"1.90", "10.2", "1146"}, {"2.60", "10.2", "1569"}, {"5.30", "14.3", "2281"}} {
		got := gpuUSDPerMWh(r(c.rate), r("1"), r("8"), r(c.kw), r("1.3"))
		if got.FloatString(0) != c.want {
			t.Errorf("%s USD/GPU-h at %s kW for 8: %s USD/MWh, want %s", c.rate, c.kw, got.FloatString(0), c.want)
		}
		// At the break-even hashprice mining earns exactly that.
		if back := miningUSDPerMWh(breakEvenUSD(got, r("17.5"), r("1.03")), r("17.5"), r("1.03")); back.Cmp(got) != 0 {
			t.Errorf("mining at the break-even hashprice earns %s, not %s", back, got)
		}
	}
	for text, want := range map[string]string{"0.000000005": "0.00000001", "-0.000000005": "-0.00000001", "0.0000000049999": "0", "12.5": "12.5", "-1.123456785": "-1.12345679"} {
		if d, err := roundPivot(r(text)); err != nil || d.String() != want {
			t.Errorf("%s rounded is %s, %v, want %s", text, d, err, want)
		}
	}
	if _, err := roundPivot(r("123456789012345678901234567890")); err == nil {
		t.Error("a number of 30 digits is held")
	}
}

func TestPivotIsConflatedAndWaitsForBoth(t *testing.T) {
	h := newPivotHarness(t, pivotConfig())
	h.feed(hashpriceAt(noon, "40"))
	if got := show(h.tick(noon.Add(500 * time.Millisecond))); got != "" {
		t.Errorf("told before others could come:\n%s", got)
	}
	if got, want := show(h.tick(noon.Add(time.Second))), "mining-revenue fleet 0s 0 73.55104442\n"; got != want {
		t.Errorf("without a rate:\n%swant\n%s", got, want)
	}
	h.feed(rateAt(noon.Add(2*time.Second), "h100-sxm", "2.6"))
	want := "gpu-revenue h100-sxm 2s 0 1098.03921569\npivot-premium h100-sxm 2s 0 14.92894118\npivot-spread h100-sxm 2s 0 1024.48817126\nbreak-even-hashprice h100-sxm 2s 0 597.15764706\n"
	if got := show(h.tick(noon.Add(3 * time.Second))); got != want {
		t.Errorf("with both:\n%swant\n%s", got, want)
	}
	for i := range 9 {
		h.feed(hashpriceAt(noon.Add(time.Duration(i+3)*time.Second), fmt.Sprint(41+i)))
		if got := show(h.tick(noon.Add(time.Duration(i+4) * time.Second))); i < 7 && got != "" {
			t.Errorf("told again after %d s:\n%s", i+4, got)
		}
	}
	// Of nine hashprices only the last is told, by each series after its ten seconds.
	want = "pivot-premium h100-sxm 11s 0 12.18689076\npivot-spread h100-sxm 11s 0 1007.93918627\n"
	if got := show(h.tick(noon.Add(13 * time.Second))); got != want {
		t.Errorf("after ten seconds:\n%swant\n%s", got, want)
	}
	if got := show(h.tick(noon.Add(time.Minute))); got != "mining-revenue fleet 11s 0 90.10002942\n" {
		t.Errorf("the rest of it:\n%s", got)
	}
	if got := show(h.tick(noon.Add(2 * time.Minute))); got != "" {
		t.Errorf("nothing new, and told:\n%s", got)
	}
}

// TestPivotRevisesForLateInputs: an input that comes late by its own time changes what was told since, and only that.
func TestPivotRevisesForLateInputs(t *testing.T) {
	h := newPivotHarness(t, pivotConfig())
	h.feed(rateAt(noon, "h100-sxm", "2.6"), hashpriceAt(noon.Add(time.Second), "40"))
	h.tick(noon.Add(2 * time.Second))
	h.feed(hashpriceAt(noon.Add(20*time.Second), "41"))
	h.tick(noon.Add(21 * time.Second))
	h.feed(rateAt(noon.Add(10*time.Second), "h100-sxm", "3"))
	want := "gpu-revenue h100-sxm 10s 0 1266.96832579\npivot-premium h100-sxm 20s 1 16.8055623\npivot-spread h100-sxm 20s 1 1191.57850526\nbreak-even-hashprice h100-sxm 10s 0 689.0280543\n"
	if got := show(h.tick(noon.Add(40 * time.Second))); got != want {
		t.Errorf("told\n%swant\n%s", got, want)
	}
	h.feed(rateAt(noon.Add(10*time.Second), "h100-sxm", "3")) // the same told twice
	if got := show(h.tick(noon.Add(60 * time.Second))); got != "" {
		t.Errorf("told for nothing:\n%s", got)
	}
}

func TestPivotWithoutValue(t *testing.T) {
	h := newPivotHarness(t, pivotConfig())
	h.feed(rateAt(noon, "h100-sxm", "2.6"), rateAt(noon, "rtx-4090", "0.3"), hashpriceAt(noon.Add(16*time.Minute), "40"))
	got := show(h.tick(noon.Add(17 * time.Minute)))
	if strings.Contains(got, "pivot-") || strings.Contains(got, "rtx-4090") || !strings.Contains(got, "mining-revenue") || !strings.Contains(got, "gpu-revenue") {
		t.Errorf("with a stale rate, and a model without power:\n%s", got)
	}
	// Live and simulated inputs never meet.
	live := hashpriceAt(noon.Add(18*time.Minute), "40")
	live.Source = "hashpivot"
	h.feed(live)
	for _, s := range h.tick(noon.Add(19 * time.Minute)) {
		if s.Source != "hashpivot-pivot" || s.Name != signalMining {
			t.Errorf("of live data alone came %s %s of %s", s.Name, s.Symbol, s.Source)
		}
	}
	// What is not ours, and before the first efficiency.
	published := hashpriceAt(noon.Add(20*time.Minute), "40")
	published.Published = true
	reserved := rateAt(noon.Add(20*time.Minute), "h100-sxm", "2")
	reserved.Class = market.Reserved
	h.feed(published, reserved, dailyHashprice(time.Date(2020, 5, 1, 0, 0, 0, 0, time.UTC), "100", 0))
	if got := show(h.tick(noon.Add(30 * time.Minute))); got != "" {
		t.Errorf("told\n%s", got)
	}
}

func TestPivotByDay(t *testing.T) {
	h := newPivotHarness(t, pivotConfig())
	day := noon.Truncate(24 * time.Hour)
	h.feed(rateBy("vast-metrics-median", noon, "h100-sxm", "1.9"), dailyHashprice(day, "40", 0))
	if got := show(h.tick(noon.Add(11 * time.Hour))); got != "" {
		t.Errorf("told before the day has ended:\n%s", got)
	}
	end := day.Add(25 * time.Hour)
	want := "mining-revenue-1d fleet -12h0m0s 0 73.55104442\ngpu-revenue-1d h100-sxm -12h0m0s 0 802.413273\npivot-premium-1d h100-sxm -12h0m0s 0 10.90961086\n" +
		"pivot-spread-1d h100-sxm -12h0m0s 0 728.86222858\nbreak-even-hashprice-1d h100-sxm -12h0m0s 0 436.38443439\n"
	if got := show(h.tick(end)); got != want {
		t.Errorf("told\n%swant\n%s", got, want)
	}
	// An index of ours that comes late is preferred; the last of the day counts.
	h.feed(rateAt(noon.Add(2*time.Hour), "h100-sxm", "2.6"), rateAt(noon.Add(time.Hour), "h100-sxm", "9"), rateBy("vast-metrics-median", noon.Add(3*time.Hour), "h100-sxm", "2"))
	got := h.tick(end)
	if len(got) != 4 || got[1].Rev != 1 || got[1].Value.String() != "14.92894118" || got[1].Inputs[inputRateMethod] != liveRate {
		t.Errorf("with the index:\n%s", show(got))
	}
	// A revised hashprice revises what it is in.
	h.feed(dailyHashprice(day, "41", 1))
	if got := show(h.tick(end)); strings.Count(got, "\n") != 3 || !strings.Contains(got, "mining-revenue-1d fleet -12h0m0s 1 ") || !strings.Contains(got, "pivot-premium-1d h100-sxm -12h0m0s 2 ") {
		t.Errorf("with a revised hashprice:\n%s", got)
	}
	// What was told before is not told again.
	again := newPivotHarness(t, pivotConfig())
	for _, s := range h.tick(end) {
		t.Errorf("told for nothing: %s", s.Name)
	}
	again.feed(dailyHashprice(day, "41", 1), rateAt(noon.Add(2*time.Hour), "h100-sxm", "2.6"))
	again.restore(&market.Signal{Meta: got[1].Meta, Name: "somebody-elses", Symbol: "h100-sxm"})
	for _, s := range got {
		again.restore(s)
	}
	if got := show(again.tick(end)); strings.Contains(got, "gpu-revenue") || strings.Contains(got, "break-even") || !strings.Contains(got, "pivot-premium-1d h100-sxm -12h0m0s 2 ") {
		t.Errorf("after a restart:\n%s", got)
	}
}

func TestPivotInputsName(t *testing.T) {
	h := newPivotHarness(t, pivotConfig())
	h.feed(hashpriceAt(noon, "40"), rateAt(noon.Add(time.Second), "h100-sxm", "2.6"))
	for _, s := range h.tick(noon.Add(2 * time.Second)) {
		if s.Name != signalPremium {
			continue
		}
		want := map[string]string{
			inputMethod: "pivot/1", inputHashpriceUSD: "40", inputHashpriceAt: "2026-11-20T12:00:00Z", inputHashpriceMethod: "tip144", inputHashpriceRev: "0",
			inputFleet: "fleet", inputEfficiency: "22", inputMiningPUE: "1.03", inputRateUSD: "2.6", inputRateAt: "2026-11-20T12:00:01Z",
			inputRateMethod: "gpu-wmedian/1", inputRateRev: "0", inputUtilisation: "0.7", inputSystem: "DGX H100", inputSystemKW: "10.2", inputSystemGPUs: "8",
			inputGPUPUE: "1.3", inputUnconfirmed: "fleet.j_per_th mining.pue gpu.utilisation", inputReference: h.power.Version,
		}
		if fmt.Sprint(s.Inputs) != fmt.Sprint(want) || s.Unit != "ratio" || s.Source != "sim-hashpivot-pivot" || s.Backfill {
			t.Errorf("%s of %s in %s with\n%v\nwant\n%v", s.Name, s.Source, s.Unit, s.Inputs, want)
		}
		return
	}
	t.Error("no premium")
}

func TestPivotConfigRefuses(t *testing.T) {
	for want, change := range map[string]func(*Pivot){
		"signals.pivot.gpus":   func(p *Pivot) { p.GPUs = []string{"rtx-4090"} },
		"there twice":          func(p *Pivot) { p.GPUs = []string{"h200", "h200"} },
		"signals.pivot.fleet":  func(p *Pivot) { p.Fleet = "nobody" },
		"signals.pivot.every":  func(p *Pivot) { p.Every = time.Millisecond },
		"signals.pivot.settle": func(p *Pivot) { p.Settle = time.Hour },
	} {
		cfg := DefaultConfig()
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&cfg.Pivot)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
