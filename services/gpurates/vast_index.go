package gpurates

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// The index "vast-wmedian", version 1. Whoever changes anything below raises the version.
const (
	methodVast  = "vast-wmedian"
	versionVast = 1

	// A host counts for at most a fifth of the GPUs on offer: one data centre with one price must not be the market. But for no less than
	// eight, a whole machine.
	hostShareDivisor = 5
	hostFloorGPUs    = 8
	// Of the weight, a twentieth is cut from each end: the cheapest offers are often broken, the dearest not meant.
	trimDivisor = 20
	// Below this there is no index.
	minOffers = 5
	minHosts  = 3

	weightUnit = 1_000_000 // weights are millionths of a GPU, so that capping stays in whole numbers
)

// Index computes the rate of one GPU model and class from its offers: the GPU-weighted median in USD per GPU-hour over offers that are
// verified and rentable, after the cap per host and the trimming, with its sample and spread. ok is false where the sample is too small.
// It does not depend on the order of the offers.
func Index(offers []*market.Offer) (_ *market.Rate, ok bool, _ error) {
	type weighed struct {
		price  market.Decimal
		weight int64
		id     string
	}
	gpus := map[string]int64{}
	var total int64
	sample := make([]*market.Offer, 0, len(offers))
	for _, o := range offers {
		if o.Verified && o.Rentable && o.GPUCount > 0 && o.GPUCount < 1<<16 {
			sample = append(sample, o)
			gpus[host(o)] += int64(o.GPUCount)
			total += int64(o.GPUCount)
		}
	}
	if len(sample) < minOffers || len(gpus) < minHosts {
		return nil, false, nil
	}
	most := max((total+hostShareDivisor-1)/hostShareDivisor, hostFloorGPUs)
	list := make([]weighed, 0, len(sample))
	var sum int64
	for _, o := range sample {
		w := int64(o.GPUCount) * weightUnit
		if h := gpus[host(o)]; h > most {
			w = w / h * most
		}
		list = append(list, weighed{o.USDPerGPUHour, w, o.OfferID})
		sum += w
	}
	slices.SortFunc(list, func(a, b weighed) int {
		if c := a.price.Cmp(b.price); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	// Trim: cut weight from both ends; an offer across the edge keeps what is inside.
	cut := sum / trimDivisor
	for left, i := cut, 0; left > 0; i++ {
		w := min(left, list[i].weight)
		list[i].weight -= w
		left -= w
	}
	for left, i := cut, len(list)-1; left > 0; i-- {
		w := min(left, list[i].weight)
		list[i].weight -= w
		left -= w
	}
	sum -= 2 * cut
	// The quantile is the lowest price at which the cumulated weight reaches its share; where it reaches it exactly, the mean with the next
	// price, as in the plain median of an even number.
	quantile := func(num, den int64) (market.Decimal, error) {
		want := sum * num
		var cum int64
		for i, x := range list {
			if x.weight == 0 {
				continue
			}
			cum += x.weight
			if cum*den > want {
				return x.price, nil
			}
			if cum*den == want {
				for _, y := range list[i+1:] {
					if y.weight > 0 {
						return mean(x.price, y.price)
					}
				}
				return x.price, nil
			}
		}
		return list[len(list)-1].price, nil
	}
	var q [5]market.Decimal
	for i, f := range [5][2]int64{{1, 2}, {1, 10}, {9, 10}, {1, 4}, {3, 4}} {
		var err error
		if q[i], err = quantile(f[0], f[1]); err != nil {
			return nil, false, fmt.Errorf("compute index: %w", err)
		}
	}
	r := &market.Rate{
		GPU: sample[0].GPU, Class: sample[0].Class, Method: methodVast, Version: versionVast,
		USDPerGPUHour: q[0], P10USDPerGPUHour: q[1], P90USDPerGPUHour: q[2], Dispersion: math.NaN(),
		SampleOffers: uint32(len(sample)), SampleGPUs: uint32(total), SampleHosts: uint32(len(gpus)),
	}
	if iqr, err := q[4].Sub(q[3]); err == nil && q[0].IsPos() {
		a, _ := iqr.Float64()
		b, _ := q[0].Float64()
		r.Dispersion = a / b
	}
	return r, true, nil
}

// host names who offers; an offer without a host stands for itself.
func host(o *market.Offer) string {
	if o.HostID == "" {
		return "offer " + o.OfferID
	}
	return o.HostID
}

// mean of two prices at published precision, half to even.
func mean(a, b market.Decimal) (market.Decimal, error) {
	s, err := a.Add(b)
	if err != nil {
		return market.Decimal{}, err
	}
	m, err := s.Quo(market.MustDecimal("2"))
	if err != nil {
		return market.Decimal{}, err
	}
	return m.Round(priceScale).Trim(0), nil
}
