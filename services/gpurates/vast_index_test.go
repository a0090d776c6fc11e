package gpurates

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/market"
)

func anOffer(id, host, price string, gpus uint32) *market.Offer {
	return &market.Offer{OfferID: id, HostID: host, GPU: "h100-sxm", Class: market.OnDemand, GPUCount: gpus, USDPerGPUHour: market.MustDecimal(price), Verified: true, Rentable: true}
}

// even offers one GPU per host at 1.00, 1.10, ... : no cap and no trim bites.
func even(n int) []*market.Offer {
	var out []*market.Offer
	for i := range n {
		out = append(out, anOffer(fmt.Sprint(i), fmt.Sprint("h", i), fmt.Sprintf("%d.%d", 1+i/10, i%10), 1))
	}
	return out
}

func index(t *testing.T, offers []*market.Offer) *market.Rate {
	t.Helper()
	r, ok, err := Index(offers)
	if err != nil || !ok {
		t.Fatalf("index of %d offers: %v, %v", len(offers), ok, err)
	}
	return r
}

func TestIndexIsTheMedian(t *testing.T) {
	r := index(t, even(5))
	if r.USDPerGPUHour.String() != "1.2" || r.SampleOffers != 5 || r.SampleGPUs != 5 || r.SampleHosts != 5 {
		t.Errorf("odd sample: %+v", r)
	}
	if r = index(t, even(6)); r.USDPerGPUHour.Cmp(market.MustDecimal("1.25")) != 0 {
		t.Errorf("even sample: %s, want the mean of the middle two, 1.25", r.USDPerGPUHour)
	}
	if r = index(t, even(40)); r.P10USDPerGPUHour.Cmp(r.USDPerGPUHour) >= 0 || r.P90USDPerGPUHour.Cmp(r.USDPerGPUHour) <= 0 || !(r.Dispersion > 0.3 && r.Dispersion < 0.9) {
		t.Errorf("spread: %+v", r)
	}
}

func TestIndexWeighsByGPUs(t *testing.T) {
	offers := []*market.Offer{
		anOffer("1", "a", "1", 1), anOffer("2", "b", "1", 1), anOffer("3", "c", "1", 1),
		anOffer("4", "d", "2", 8), anOffer("5", "e", "2", 8),
	}
	if r := index(t, offers); r.USDPerGPUHour.Cmp(market.MustDecimal("2")) != 0 {
		t.Errorf("16 of 19 GPUs cost 2, the index says %s", r.USDPerGPUHour)
	}
}

func TestIndexCapsAHost(t *testing.T) {
	offers := even(20) // 20 GPUs around 2.00
	for i := range 50 {
		offers = append(offers, anOffer(fmt.Sprint("big", i), "big", "0.10", 8)) // 400 GPUs of one host
	}
	r := index(t, offers)
	// The cap is a fifth of 420: 84 GPUs still outweigh 20 others. What it must not be is 400.
	if r.SampleGPUs != 420 || r.SampleHosts != 21 {
		t.Errorf("sample: %+v", r)
	}
	offers = even(20)
	for i := range 4 {
		offers = append(offers, anOffer(fmt.Sprint("big", i), "big", "0.10", 8)) // 32 GPUs, a majority, capped to 11
	}
	if r = index(t, offers); r.USDPerGPUHour.Cmp(market.MustDecimal("1")) < 0 {
		t.Errorf("one host with 32 of 52 GPUs makes the index %s", r.USDPerGPUHour)
	}
}

func TestIndexTrimsTheEnds(t *testing.T) {
	offers := even(38)
	offers = append(offers, anOffer("cheap", "x", "0.01", 1), anOffer("dear", "y", "99", 1))
	r := index(t, offers)
	if r.P10USDPerGPUHour.Cmp(market.MustDecimal("1")) < 0 || r.P90USDPerGPUHour.Cmp(market.MustDecimal("5")) > 0 {
		t.Errorf("outliers in the spread: p10 %s, p90 %s", r.P10USDPerGPUHour, r.P90USDPerGPUHour)
	}
}

func TestIndexNeedsASample(t *testing.T) {
	few := even(4)
	oneHost := even(9)
	unverified, rented := even(9), even(9)
	for i := range 9 {
		oneHost[i].HostID = "h"
		unverified[i].Verified = false
		rented[i].Rentable = false
	}
	for name, offers := range map[string][]*market.Offer{"none": nil, "few": few, "one host": oneHost, "unverified": unverified, "rented": rented} {
		if r, ok, err := Index(offers); ok || err != nil {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestIndexDoesNotDependOnOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var offers []*market.Offer
		for i := range 5 + rng.IntN(60) {
			offers = append(offers, anOffer(fmt.Sprint(i), fmt.Sprint(rng.IntN(12)), fmt.Sprintf("%d.%02d", rng.IntN(4), 1+rng.IntN(99)), 1+rng.Uint32N(8)))
		}
		a, ok, err := Index(offers)
		if err != nil {
			t.Fatal(err)
		}
		rng.Shuffle(len(offers), func(i, j int) { offers[i], offers[j] = offers[j], offers[i] })
		b, ok2, err := Index(offers)
		if err != nil || ok != ok2 {
			t.Fatal(err, ok, ok2)
		}
		if !ok {
			continue
		}
		if a.USDPerGPUHour.Cmp(b.USDPerGPUHour) != 0 || a.P10USDPerGPUHour.Cmp(b.P10USDPerGPUHour) != 0 || a.P90USDPerGPUHour.Cmp(b.P90USDPerGPUHour) != 0 || a.Dispersion != b.Dispersion {
			t.Fatalf("order matters: %+v, %+v", a, b)
		}
		if a.P10USDPerGPUHour.Cmp(a.USDPerGPUHour) > 0 || a.P90USDPerGPUHour.Cmp(a.USDPerGPUHour) < 0 || a.Dispersion < 0 || math.IsNaN(a.Dispersion) {
			t.Fatalf("quantiles out of order: %+v", a)
		}
	}
}

func TestGPUSlug(t *testing.T) {
	for _, c := range []struct {
		name string
		mib  uint32
		want string
	}{
		{"H100 SXM", 81559, "h100-sxm"}, {"H100 PCIE", 81559, "h100-pcie"}, {"H100 NVL", 95830, "h100-nvl"}, {"H100", 0, "h100"},
		{"H200", 143771, "h200"}, {"H200 NVL", 143771, "h200-nvl"}, {"B200", 183359, "b200"},
		{"A100 SXM4", 81920, "a100-sxm4"}, {"A100 SXM4", 40960, "a100-sxm4-40gb"}, {"A100 PCIE", 40960, "a100-pcie-40gb"}, {"A100", 0, "a100"},
		{"RTX 4090", 24564, "rtx-4090"}, {"RTX_4090", 23028, "rtx-4090"}, {"RTX 4090", 49140, "rtx-4090-48gb"},
		{"Tesla V100", 16384, "v100"}, {"Tesla V100", 32768, "v100-32gb"}, {"L40S", 46068, "l40s"}, {"L40S", 49140, "l40s"},
		{"NVIDIA GeForce RTX 5090", 32607, "rtx-5090"}, {"  Weird / Card™ 3 ", 1, "weird-card-3"}, {"…", 0, ""}, {"H100 SXM", 4000000, "h100-sxm"},
	} {
		if got := GPUSlug(c.name, c.mib); got != c.want {
			t.Errorf("GPUSlug(%q, %d) = %q, want %q", c.name, c.mib, got, c.want)
		}
	}
}
