package gpurates

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// The index across providers "gpu-wmedian", version 1; docs/gpu-index.md has the method in full. Whoever changes a value of it raises the
// version.
const (
	methodIndex  = "gpu-wmedian"
	versionIndex = 1

	// A provider counts for no less than eight GPUs, a whole machine: price lists do not tell how many there are.
	providerFloorGPUs = 8
	// Of more than three providers none counts for more than a third; three or fewer count the same.
	providerShareDivisor = 3
	// Of the weight, a tenth is cut from each end.
	indexTrimDivisor = 10
	// Of fewer providers the quartiles say nothing.
	minDispersion = 4
)

// channelName names where a provider's offers were read: the provider itself, or the marketplace that resells it.
func channelName(o *market.Offer) string {
	if o.Via == "" {
		return o.Provider
	}
	return o.Provider + " via " + o.Via
}

// channels chooses, of the open offers of one GPU and class, each provider's one channel, and of it what is in the sample. What a provider
// tells itself wins over what others tell of it, sold out or not; of several resellers it is the one whose name comes first of those that
// have something to rent: which is cheapest would change with their stock.
func channels(offers []*market.Offer) map[string][]*market.Offer {
	direct := map[string]bool{}
	resold := map[string]string{} // the first reseller with stock
	for _, o := range offers {
		if o.Via == "" {
			direct[o.Provider] = true
		} else if via, ok := resold[o.Provider]; inSample(o) && (!ok || o.Via < via) {
			resold[o.Provider] = o.Via
		}
	}
	out := map[string][]*market.Offer{}
	for _, o := range offers {
		if inSample(o) && (o.Via == "" || !direct[o.Provider] && o.Via == resold[o.Provider]) {
			out[channelName(o)] = append(out[channelName(o)], o)
		}
	}
	return out
}

// ProviderIndex computes the rate of one GPU and class across providers from their open offers, with the providers' own prices as
// constituents. ok is false with fewer providers than least. It does not depend on the order of the offers.
func ProviderIndex(offers []*market.Offer, least int) (_ *market.Rate, ok bool, _ error) {
	return providerRate(channels(offers), least)
}

func providerRate(by map[string][]*market.Offer, least int) (_ *market.Rate, ok bool, _ error) {
	if len(by) < max(least, 1) {
		return nil, false, nil
	}
	r := &market.Rate{Method: methodIndex, Version: versionIndex, SampleProviders: uint32(len(by))}
	var list weights
	for _, name := range slices.Sorted(maps.Keys(by)) {
		sample := by[name]
		own, gpus, hosts := byHost(sample)
		median, err := own.quantile(1, 2)
		if err != nil {
			return nil, false, fmt.Errorf("compute price of %s: %w", name, err)
		}
		r.GPU, r.Class = sample[0].GPU, sample[0].Class
		r.SampleOffers += uint32(len(sample))
		r.SampleGPUs += uint32(gpus)
		r.SampleHosts += uint32(hosts)
		r.Constituents = append(r.Constituents, market.Constituent{Provider: name, USDPerGPUHour: median, GPUs: uint32(gpus), Offers: uint32(len(sample))})
		list = append(list, weighed{median, max(gpus, providerFloorGPUs) * weightUnit, name})
	}
	list.capShares()
	list.sort()
	list.trim(indexTrimDivisor)
	if err := spread(r, list, len(list) >= minDispersion); err != nil {
		return nil, false, err
	}
	return r, true, nil
}

// capShares lowers the greatest weights until none is more than a third of their sum; three or fewer become equal.
func (w weights) capShares() {
	if len(w) <= providerShareDivisor {
		for i := range w {
			w[i].weight = weightUnit
		}
		return
	}
	slices.SortFunc(w, func(a, b weighed) int {
		switch {
		case a.weight != b.weight:
			return int(max(min(b.weight-a.weight, 1), -1))
		}
		return strings.Compare(a.id, b.id)
	})
	// With the k greatest at the cap c, c = (k·c + rest) / 3, so c = rest / (3 − k).
	for k := range int64(providerShareDivisor) {
		limit := w[k:].sum() / (providerShareDivisor - k)
		if w[k].weight > limit {
			continue
		}
		for i := range w[:k] {
			w[i].weight = limit
		}
		return
	}
}

// Recompute computes a stored rate of "gpu-wmedian" or "vast-wmedian" again, from the log of offers: all events of the sources that were read, in
// the order in which each source's stand in the stream; what was received after the rate is left out. It is the stored rate but for what
// differs. Only the channels that the rate names are looked at: which upstreams were fresh is not in the log of offers.
func Recompute(stored *market.Rate, log []*market.Offer) (*market.Rate, error) {
	open := map[string]*market.Offer{}
	for _, o := range log {
		if o.GPU != stored.GPU || o.Class != stored.Class || o.RecvTime.After(stored.RecvTime) {
			continue
		}
		key := o.Source + " " + offerKey(o)
		if o.Action == market.OfferClosed {
			delete(open, key)
		} else {
			open[key] = o
		}
	}
	var (
		r   *market.Rate
		ok  bool
		err error
	)
	switch {
	case stored.Method == methodIndex && stored.Version == versionIndex:
		by := map[string][]*market.Offer{}
		for _, o := range open {
			name := channelName(o)
			if inSample(o) && slices.ContainsFunc(stored.Constituents, func(c market.Constituent) bool { return c.Provider == name }) {
				by[name] = append(by[name], o)
			}
		}
		r, ok, err = providerRate(by, 1)
	case stored.Method == methodVast && stored.Version == versionVast:
		var offers []*market.Offer
		for _, o := range open {
			if o.Source == stored.Source {
				offers = append(offers, o)
			}
		}
		r, ok, err = Index(offers)
	default:
		return nil, fmt.Errorf("recompute rate: method %s version %d is none of ours", stored.Method, stored.Version)
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("recompute rate of %s %s at %s: the log of offers has no sample for it", stored.GPU, stored.Class, stored.EventTime)
	}
	r.Meta = stored.Meta
	return r, nil
}

// Recomputable reports whether a rate is of a calculation of ours, which Recompute knows.
func Recomputable(r *market.Rate) bool {
	return r.Method == methodIndex && r.Version == versionIndex || r.Method == methodVast && r.Version == versionVast
}

// Differs says in which fields two rates differ; empty: they are the same.
func Differs(a, b *market.Rate) []string {
	var out []string
	field := func(name string, same bool) {
		if !same {
			out = append(out, name)
		}
	}
	field("usd_per_gpu_hour", a.USDPerGPUHour.Cmp(b.USDPerGPUHour) == 0)
	field("p10_usd_per_gpu_hour", a.P10USDPerGPUHour.Cmp(b.P10USDPerGPUHour) == 0)
	field("p90_usd_per_gpu_hour", a.P90USDPerGPUHour.Cmp(b.P90USDPerGPUHour) == 0)
	field("dispersion", a.Dispersion == b.Dispersion || math.IsNaN(a.Dispersion) && math.IsNaN(b.Dispersion))
	field("sample_offers", a.SampleOffers == b.SampleOffers)
	field("sample_gpus", a.SampleGPUs == b.SampleGPUs)
	field("sample_hosts", a.SampleHosts == b.SampleHosts)
	field("sample_providers", a.SampleProviders == b.SampleProviders)
	field("constituents", slices.EqualFunc(a.Constituents, b.Constituents, func(x, y market.Constituent) bool {
		return x.Provider == y.Provider && x.USDPerGPUHour.Cmp(y.USDPerGPUHour) == 0 && x.GPUs == y.GPUs && x.Offers == y.Offers
	}))
	return out
}
