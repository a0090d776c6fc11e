package gpurates

import (
	"fmt"
	"math"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// The index "vast-wmedian", version 1. Whoever changes a value of it raises the version.
const (
	methodVast  = "vast-wmedian"
	versionVast = 1

	// Of the weight, a twentieth is cut from each end: the cheapest offers are often broken, the dearest not meant.
	vastTrimDivisor = 20
	// Below this there is no index.
	minOffers = 5
	minHosts  = 3
)

// Index computes the rate of one GPU model and class from Vast.ai's offers: the GPU-weighted median in USD per GPU-hour over offers that are
// verified and rentable, after the cap per host and the trimming, with its sample and spread. ok is false where the sample is too small.
// It does not depend on the order of the offers.
func Index(offers []*market.Offer) (_ *market.Rate, ok bool, _ error) {
	sample := make([]*market.Offer, 0, len(offers))
	for _, o := range offers {
		if inSample(o) {
			sample = append(sample, o)
		}
	}
	list, gpus, hosts := byHost(sample)
	if len(sample) < minOffers || hosts < minHosts {
		return nil, false, nil
	}
	list.trim(vastTrimDivisor)
	r := &market.Rate{
		GPU: sample[0].GPU, Class: sample[0].Class, Method: methodVast, Version: versionVast,
		SampleOffers: uint32(len(sample)), SampleGPUs: uint32(gpus), SampleHosts: uint32(hosts),
	}
	if err := spread(r, list, true); err != nil {
		return nil, false, err
	}
	return r, true, nil
}

// spread sets the median, the tenth and ninetieth percentile, and with dispersion the interquartile range over the median.
func spread(r *market.Rate, list weights, dispersion bool) error {
	var q [5]market.Decimal
	for i, f := range [5][2]int64{{1, 2}, {1, 10}, {9, 10}, {1, 4}, {3, 4}} {
		var err error
		if q[i], err = list.quantile(f[0], f[1]); err != nil {
			return fmt.Errorf("compute index: %w", err)
		}
	}
	r.USDPerGPUHour, r.P10USDPerGPUHour, r.P90USDPerGPUHour, r.Dispersion = q[0], q[1], q[2], math.NaN()
	if iqr, err := q[4].Sub(q[3]); err == nil && q[0].IsPos() && dispersion {
		a, _ := iqr.Float64()
		b, _ := q[0].Float64()
		r.Dispersion = a / b
	}
	return nil
}
