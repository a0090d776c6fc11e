package gpurates

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/gpu"
	"github.com/hashpivot/hashpivot/pkg/sim/vast"
)

// of is an offer of a provider, direct or via a reseller.
func of(provider, via, id, price string, gpus uint32) *market.Offer {
	o := anOffer(id, "", price, gpus)
	o.Provider, o.Via = provider, via
	return o
}

func providerIndex(t *testing.T, offers []*market.Offer) *market.Rate {
	t.Helper()
	r, ok, err := ProviderIndex(offers, 3)
	if err != nil || !ok {
		t.Fatalf("index of %d offers: %v, %v", len(offers), ok, err)
	}
	return r
}

func names(r *market.Rate) string {
	var out []string
	for _, c := range r.Constituents {
		out = append(out, fmt.Sprintf("%s %s x%d/%d", c.Provider, c.USDPerGPUHour.Trim(0), c.GPUs, c.Offers))
	}
	return strings.Join(out, ", ")
}

// The worked example of docs/gpu-index.md.
func TestTheWorkedExample(t *testing.T) {
	offers := []*market.Offer{
		of("vast", "", "v1", "1.80", 8), of("vast", "", "v2", "2.00", 8), of("vast", "", "v3", "2.20", 84),
		of("runpod", "", "secure", "2.99", 1), of("runpod", "", "community", "2.69", 1),
		of("lambda", "", "8x", "3.29", 8), of("lambda", "", "1x", "3.79", 1),
		of("hyperstack", "shadeform", "s", "2.40", 8), of("hyperstack", "prime-intellect", "p", "2.50", 1),
	}
	offers[0].HostID, offers[1].HostID, offers[2].HostID = "a", "b", "c"
	r := providerIndex(t, offers)
	if got, want := names(r), "hyperstack via prime-intellect 2.5 x1/1, lambda 3.29 x9/2, runpod 2.84 x2/2, vast 2.2 x100/3"; got != want {
		t.Errorf("constituents %s, want %s", got, want)
	}
	// Weights 8, 9, 8 and 100, of which the last is lowered to 25/2: no more than a third of 37.5.
	if r.USDPerGPUHour.Cmp(market.MustDecimal("2.5")) != 0 || r.P10USDPerGPUHour.Cmp(market.MustDecimal("2.2")) != 0 || r.P90USDPerGPUHour.Cmp(market.MustDecimal("3.29")) != 0 ||
		r.SampleOffers != 8 || r.SampleGPUs != 112 || r.SampleHosts != 8 || r.SampleProviders != 4 || math.Abs(r.Dispersion-(2.84-2.2)/2.5) > 1e-12 {
		t.Errorf("%+v", r)
	}
}

func TestADirectOfferWinsOverAResoldOne(t *testing.T) {
	base := []*market.Offer{of("a", "", "1", "1", 1), of("b", "", "1", "2", 1), of("c", "", "1", "3", 1)}
	resold := of("a", "shadeform", "r", "9", 100)
	if got := names(providerIndex(t, append(base, resold))); strings.Contains(got, "via") {
		t.Errorf("counted twice: %s", got)
	}
	// Also when it says that it is sold out: it knows better than who sells it.
	base[0].Rentable = false
	if got := names(providerIndex(t, append(base, resold, of("d", "", "1", "4", 1)))); strings.Contains(got, "via") || strings.Contains(got, "a ") {
		t.Errorf("sold out, and yet: %s", got)
	}
	// Of resellers one, the first by name that has something.
	empty := of("x", "first", "1", "1", 1)
	empty.Rentable = false
	if got := names(providerIndex(t, append(base[1:], empty, of("x", "third", "1", "7", 1), of("x", "second", "1", "8", 1)))); got != "b 2 x1/1, c 3 x1/1, x via second 8 x1/1" {
		t.Errorf("resellers: %s", got)
	}
}

func TestTooFewProvidersAreNoIndex(t *testing.T) {
	two := []*market.Offer{of("a", "", "1", "1", 80), of("b", "", "1", "2", 80)}
	gone, unverified := of("c", "", "1", "3", 8), of("d", "", "1", "3", 8)
	gone.Rentable, unverified.Verified = false, false
	if r, ok, err := ProviderIndex(append(two, gone, unverified), 3); ok || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if r, ok, err := ProviderIndex(two, 2); !ok || err != nil || r.USDPerGPUHour.Cmp(market.MustDecimal("1.5")) != 0 {
		t.Errorf("%+v, %v, %v", r, ok, err)
	}
	if _, ok, _ := ProviderIndex(nil, 0); ok {
		t.Error("an index of nothing")
	}
}

// Whatever its size, no provider has more than a third, and the order of the offers does not matter.
func TestNoProviderIsTheMarket(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var w weights
		for i := range 1 + rng.IntN(9) {
			w = append(w, weighed{market.MustDecimal("1"), (8 + rng.Int64N(1<<rng.IntN(20))) * weightUnit, fmt.Sprint(i)})
		}
		w.capShares()
		for _, x := range w {
			if x.weight <= 0 || len(w) > 3 && x.weight*3 > w.sum()+int64(len(w)) || len(w) <= 3 && x.weight != w[0].weight {
				t.Fatalf("%v", w)
			}
		}
		var offers []*market.Offer
		for i := range 5 + rng.IntN(60) {
			o := of(fmt.Sprint("p", rng.IntN(8)), []string{"", "", "r1", "r2"}[rng.IntN(4)], fmt.Sprint(i), fmt.Sprintf("%d.%02d", rng.IntN(4), 1+rng.IntN(99)), 1+rng.Uint32N(200))
			o.Rentable = rng.IntN(5) > 0
			offers = append(offers, o)
		}
		a, ok, err := ProviderIndex(offers, 3)
		rng.Shuffle(len(offers), func(i, j int) { offers[i], offers[j] = offers[j], offers[i] })
		b, ok2, err2 := ProviderIndex(offers, 3)
		if err != nil || err2 != nil || ok != ok2 {
			t.Fatal(err, err2, ok, ok2)
		}
		if ok && len(Differs(a, b)) > 0 {
			t.Fatalf("order matters: %v", Differs(a, b))
		}
	}
}

// everyone runs all upstreams against their simulators, which share one clock.
func everyone(t *testing.T) (map[string]*gpu.Server, Config) {
	t.Helper()
	began := time.Now()
	// Half an hour a second: stocks and prices change while we look, and the clocks stay after the real one's minutes.
	now := func() time.Time { return began.Add(1800 * time.Since(began)) }
	_, cfg := start(t, vast.Config{SearchesPerMinute: -1, Now: now})
	servers := map[string]*gpu.Server{}
	for _, c := range clouds {
		s, one := c.start(t, gpu.Config{Now: now})
		servers[c.key] = s
		switch c.key {
		case "runpod":
			cfg.RunPod = one.RunPod
		case "lambda":
			cfg.Lambda = one.Lambda
		case "shadeform":
			cfg.Shadeform = one.Shadeform
		case "prime_intellect":
			cfg.PrimeIntellect = one.PrimeIntellect
		case "akash":
			cfg.Akash = one.Akash
		case "azure":
			cfg.Azure = one.Azure
		}
	}
	cfg.Index = IndexConfig{Enabled: true, Source: "sim-hashpivot", Every: 20 * time.Millisecond, MinProviders: 3, StaleAfter: 4000}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return servers, cfg
}

func indices(evs []market.Event, gpu string) (out []*market.Rate) {
	for _, ev := range evs {
		if r, ok := ev.(*market.Rate); ok && r.Method == methodIndex && r.GPU == gpu {
			out = append(out, r)
		}
	}
	return out
}

// Any value can be computed again from the offers that are stored, and from nothing else.
func TestEveryRateCanBeRecomputedFromTheOffers(t *testing.T) {
	_, cfg := everyone(t)
	mem := feedtest.NewMemory()
	deps := over(mem)
	// The simulated venues are in our future.
	deps.Now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	stop := serve(t, cfg, deps)
	wait(t, mem, "indices", func(evs []market.Event) bool {
		return len(indices(evs, "h100-sxm")) > 25 && len(indices(evs, "a100-pcie")) > 5 && count(evs, action(market.OfferChanged)) > 300 && differentIndices(evs) >= 20
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	log := feedtest.Of[*market.Offer](mem)
	n, full := map[string]int{}, 0
	for _, r := range feedtest.Of[*market.Rate](mem) {
		again, err := Recompute(r, log)
		if err != nil {
			t.Fatalf("%s %s: %v", r.Method, r.GPU, err)
		}
		if d := Differs(r, again); len(d) > 0 {
			t.Fatalf("%s %s %s at %s differs in %v: stored %+v, again %+v", r.Method, r.GPU, r.Class, r.EventTime, d, r, again)
		}
		n[r.Method]++
		if r.Method != methodIndex {
			continue
		}
		// Nobody was stale here, so that which channels are in it follows from the offers too.
		if whole, ok, err := ProviderIndex(openAt(r, log), 3); err == nil && ok && len(Differs(r, whole)) == 0 {
			full++
		}
		for _, c := range r.Constituents {
			// A provider whose first polls failed, as on a busy machine, is known through its reseller until one succeeds.
			provider, _, resold := strings.Cut(c.Provider, " via ")
			if (provider == "lambda" || provider == "runpod") && resold && toldBy(log, "sim-"+provider, r.RecvTime) {
				t.Errorf("%s is read directly: %s", c.Provider, names(r))
			}
		}
	}
	// The first ones are from before every upstream had answered.
	if full < n[methodIndex]/2 {
		t.Errorf("%d of %d follow from the offers with the choice of channels", full, n[methodIndex])
	}
	last := indices(mem.Events(), "h100-sxm")
	t.Logf("%v recomputed, %d different; the last H100 SXM: %s of %s", n, differentIndices(mem.Events()), last[len(last)-1].USDPerGPUHour, names(last[len(last)-1]))
}

// differentIndices counts the values that the index has had, of any GPU: a test over few of them would be too quiet.
func differentIndices(evs []market.Event) int {
	seen := map[string]bool{}
	for _, ev := range evs {
		if r, ok := ev.(*market.Rate); ok && r.Method == methodIndex {
			seen[r.GPU+r.USDPerGPUHour.String()] = true
		}
	}
	return len(seen)
}

// toldBy reports whether a source had told an offer by a time.
func toldBy(log []*market.Offer, source string, at time.Time) bool {
	return slices.ContainsFunc(log, func(o *market.Offer) bool { return o.Source == source && !o.RecvTime.After(at) })
}

func openAt(r *market.Rate, log []*market.Offer) (out []*market.Offer) {
	open := map[string]*market.Offer{}
	for _, o := range log {
		if o.GPU == r.GPU && o.Class == r.Class && !o.RecvTime.After(r.RecvTime) {
			if open[o.Source+offerKey(o)] = o; o.Action == market.OfferClosed {
				delete(open, o.Source+offerKey(o))
			}
		}
	}
	for _, o := range open {
		out = append(out, o)
	}
	return out
}

// A provider whose polls fail is left out when its last good one is old, and comes back with the next.
func TestAStaleProviderIsLeftOut(t *testing.T) {
	servers, cfg := everyone(t)
	cfg.Index.StaleAfter = 40 // of 5 ms
	mem := feedtest.NewMemory()
	deps := over(mem)
	deps.Now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	stop := serve(t, cfg, deps)
	has := func(r *market.Rate, provider string) bool { return strings.Contains(names(r), provider+" ") }
	newest := func(provider string, want bool) func(evs []market.Event) bool {
		return func(evs []market.Event) bool {
			all := indices(evs, "a100-sxm4")
			return len(all) > 0 && has(all[len(all)-1], provider) == want
		}
	}
	wait(t, mem, "Azure in the index", newest("azure", true))
	servers["azure"].Faults().Order(30, gpu.Fault{Status: 503, Body: "busy"}) // 40 ms each, with the back-off
	wait(t, mem, "Azure left out", newest("azure", false))
	wait(t, mem, "Azure back", newest("azure", true))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestTooFewProvidersAreCounted(t *testing.T) {
	mem := feedtest.NewMemory()
	reg := prometheus.NewRegistry()
	x, err := newIndexer(t.Context(), IndexConfig{Source: "sim-hashpivot", MinProviders: 3}, feed.Deps{Sink: mem, Metrics: feed.NewMetrics(reg)}, newBoard())
	if err != nil {
		t.Fatal(err)
	}
	l := whole("x", nil)
	l.book, l.every = newBook(), time.Minute
	l.book.apply(of("akash", "", "1", "1", 1))
	if err := x.once(t.Context(), time.Now(), []*list{l}); err != nil {
		t.Fatal(err)
	}
	if mem.Len() > 0 {
		t.Errorf("an index of one provider: %+v", mem.Events())
	}
	found, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := false
	for _, f := range found {
		counted = counted || f.GetName() == "hashpivot_feed_ignored_total" && strings.Contains(f.String(), "index_with_too_few_providers")
	}
	if !counted {
		t.Error("nobody can see that there was no value")
	}
}
