package store

import (
	chdecimal "github.com/shopspring/decimal"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// offerRow is a row of gpu_offers.
type offerRow struct {
	action                                             int8
	provider, offerID, hostID, machineID, gpu, gpuName string
	gpuCount, gpuMemoryMib                             uint32
	class                                              string
	usdPerGPUHour, rawPrice                            price
	rawUnit, region                                    string
	verified, rentable                                 bool
	reliability                                        *float64
	via, stock                                         string
}

func offerColumns() []string {
	return []string{
		asEnum("action"), "provider", "offer_id", "host_id", "machine_id", "gpu", "gpu_name", "gpu_count", "gpu_memory_mib",
		"class", asPrice("usd_per_gpu_hour"), asPrice("raw_price"), "raw_unit", "region", "verified", "rentable", "reliability",
		"via", "stock",
	}
}

func (r *offerRow) dest() []any {
	return []any{
		&r.action, &r.provider, &r.offerID, &r.hostID, &r.machineID, &r.gpu, &r.gpuName, &r.gpuCount, &r.gpuMemoryMib, &r.class,
		(*int64)(&r.usdPerGPUHour), (*int64)(&r.rawPrice), &r.rawUnit, &r.region, &r.verified, &r.rentable, &r.reliability,
		&r.via, &r.stock,
	}
}

func (r *offerRow) event(m market.Meta) (market.Event, error) {
	return &market.Offer{
		Meta: m, Action: market.OfferAction(r.action), Provider: r.provider, OfferID: r.offerID, HostID: r.hostID, MachineID: r.machineID,
		GPU: r.gpu, GPUName: r.gpuName, GPUCount: r.gpuCount, GPUMemoryMiB: r.gpuMemoryMib, Class: market.Class(r.class),
		USDPerGPUHour: r.usdPerGPUHour.dec(), RawPrice: r.rawPrice.dec(), RawUnit: r.rawUnit, Region: r.region,
		Verified: r.verified, Rentable: r.rentable, Reliability: orNaN(r.reliability), Via: r.via, Stock: r.stock,
	}, nil
}

// rateRow is a row of gpu_rates.
type rateRow struct {
	gpu, class, method                                     string
	version                                                uint32
	usdPerGPUHour, p10USDPerGPUHour, p90USDPerGPUHour      price
	dispersion                                             *float64
	sampleOffers, sampleGPUs, sampleHosts, sampleProviders uint32
	constituentProviders                                   []string
	constituentUSDPerGPUHour                               []int64
	constituentGPUs, constituentOffers                     []uint32
}

func rateColumns() []string {
	return []string{
		"gpu", "class", "method", "version", asPrice("usd_per_gpu_hour"), asPrice("p10_usd_per_gpu_hour"),
		asPrice("p90_usd_per_gpu_hour"), "dispersion", "sample_offers", "sample_gpus", "sample_hosts", "sample_providers",
		"constituent_providers", "arrayMap(x -> " + asPrice("x") + ", constituent_usd_per_gpu_hour)", "constituent_gpus",
		"constituent_offers",
	}
}

func (r *rateRow) dest() []any {
	return []any{
		&r.gpu, &r.class, &r.method, &r.version, (*int64)(&r.usdPerGPUHour), (*int64)(&r.p10USDPerGPUHour),
		(*int64)(&r.p90USDPerGPUHour), &r.dispersion, &r.sampleOffers, &r.sampleGPUs, &r.sampleHosts, &r.sampleProviders,
		&r.constituentProviders, &r.constituentUSDPerGPUHour, &r.constituentGPUs, &r.constituentOffers,
	}
}

func (r *rateRow) event(m market.Meta) (market.Event, error) {
	e := &market.Rate{
		Meta: m, GPU: r.gpu, Class: market.Class(r.class), Method: r.method, Version: r.version, USDPerGPUHour: r.usdPerGPUHour.dec(),
		P10USDPerGPUHour: r.p10USDPerGPUHour.dec(), P90USDPerGPUHour: r.p90USDPerGPUHour.dec(), Dispersion: orNaN(r.dispersion),
		SampleOffers: r.sampleOffers, SampleGPUs: r.sampleGPUs, SampleHosts: r.sampleHosts, SampleProviders: r.sampleProviders,
	}
	for i, name := range r.constituentProviders {
		e.Constituents = append(e.Constituents, market.Constituent{
			Provider: name, USDPerGPUHour: price(r.constituentUSDPerGPUHour[i]).dec(), GPUs: r.constituentGPUs[i], Offers: r.constituentOffers[i],
		})
	}
	return e, nil
}

// signalRow is a row of signals.
type signalRow struct {
	name, symbol string
	value        chdecimal.Decimal
	unit         string
	inputs       map[string]string
}

func signalColumns() []string {
	return []string{
		"name", "symbol", "value", "unit", "inputs",
	}
}

func (r *signalRow) dest() []any {
	return []any{
		&r.name, &r.symbol, &r.value, &r.unit, &r.inputs,
	}
}

func (r *signalRow) event(m market.Meta) (market.Event, error) {
	var w wide
	e := &market.Signal{
		Meta: m, Name: r.name, Symbol: r.symbol, Value: w.dec("value", r.value), Unit: r.unit, Inputs: entries(r.inputs),
	}
	return e, w.err
}
