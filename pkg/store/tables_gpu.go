package store

import (
	"maps"
	"slices"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// offerRows are rows of gpu_offers.
type offerRows struct {
	common
	action             fixed
	provider           dict
	offer              text
	host, machine      text
	gpu, gpuName       dict
	count, memory      fixed
	class              dict
	rate, rawPrice     fixed
	rawUnit, region    dict
	verified, rentable fixed
	reliability        nullable
	via, stock         dict
}

func newOfferRows() rows[*market.Offer] {
	return &offerRows{
		common:      newCommon(),
		action:      newFixed("action", "Enum8('opened' = 1, 'changed' = 2, 'closed' = 3)", 1),
		provider:    newDict("provider"),
		offer:       newText("offer_id"),
		host:        newText("host_id"),
		machine:     newText("machine_id"),
		gpu:         newDict("gpu"),
		gpuName:     newDict("gpu_name"),
		count:       newFixed("gpu_count", "UInt32", 4),
		memory:      newFixed("gpu_memory_mib", "UInt32", 4),
		class:       newDict("class"),
		rate:        newPrice("usd_per_gpu_hour"),
		rawPrice:    newPrice("raw_price"),
		rawUnit:     newDict("raw_unit"),
		region:      newDict("region"),
		verified:    newFixed("verified", "Bool", 1),
		rentable:    newFixed("rentable", "Bool", 1),
		reliability: newNullable("reliability", "Float64"),
		via:         newDict("via"),
		stock:       newDict("stock"),
	}
}

func (r *offerRows) columns() []col {
	return r.cols(&r.action, &r.provider, &r.offer, &r.host, &r.machine, &r.gpu, &r.gpuName, &r.count, &r.memory, &r.class, &r.rate, &r.rawPrice,
		&r.rawUnit, &r.region, &r.verified, &r.rentable, &r.reliability, &r.via, &r.stock)
}

func (r *offerRows) add(e *market.Offer, at market.Place) error {
	c := check{table: tableOffers}
	p := c.place(&e.Meta, at)
	c.enum("action", uint8(e.Action), uint8(market.OfferClosed))
	rate := c.price("usd_per_gpu_hour", e.USDPerGPUHour)
	raw := c.price("raw_price", e.RawPrice)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.action.u8(uint8(e.Action))
	r.provider.add(e.Provider)
	r.offer.add(e.OfferID)
	r.host.add(e.HostID)
	r.machine.add(e.MachineID)
	r.gpu.add(e.GPU)
	r.gpuName.add(e.GPUName)
	r.count.u32(e.GPUCount)
	r.memory.u32(e.GPUMemoryMiB)
	r.class.add(string(e.Class))
	r.rate.i64(rate)
	r.rawPrice.i64(raw)
	r.rawUnit.add(e.RawUnit)
	r.region.add(e.Region)
	r.verified.bool(e.Verified)
	r.rentable.bool(e.Rentable)
	r.reliability.float(e.Reliability)
	r.via.add(e.Via)
	r.stock.add(e.Stock)
	return nil
}

// rateRows are rows of gpu_rates.
type rateRows struct {
	common
	gpu, class          dict
	method              dict
	version             fixed
	rate, p10, p90      fixed
	dispersion          nullable
	offers, gpus, hosts fixed
	providers           fixed
	parts               list  // of constituents: their providers,
	partPrices          array // prices,
	partGPUs            array // GPUs
	partOffers          array // and offers
}

func newRateRows() rows[*market.Rate] {
	return &rateRows{
		common:     newCommon(),
		gpu:        newDict("gpu"),
		class:      newDict("class"),
		method:     newDict("method"),
		version:    newFixed("version", "UInt32", 4),
		rate:       newPrice("usd_per_gpu_hour"),
		p10:        newPrice("p10_usd_per_gpu_hour"),
		p90:        newPrice("p90_usd_per_gpu_hour"),
		dispersion: newNullable("dispersion", "Float64"),
		offers:     newFixed("sample_offers", "UInt32", 4),
		gpus:       newFixed("sample_gpus", "UInt32", 4),
		hosts:      newFixed("sample_hosts", "UInt32", 4),
		providers:  newFixed("sample_providers", "UInt32", 4),
		parts:      newList("constituent_providers"),
		partPrices: newArray("constituent_usd_per_gpu_hour", priceType, 8),
		partGPUs:   newArray("constituent_gpus", "UInt32", 4),
		partOffers: newArray("constituent_offers", "UInt32", 4),
	}
}

func (r *rateRows) columns() []col {
	return r.cols(&r.gpu, &r.class, &r.method, &r.version, &r.rate, &r.p10, &r.p90, &r.dispersion, &r.offers, &r.gpus, &r.hosts,
		&r.providers, &r.parts, &r.partPrices, &r.partGPUs, &r.partOffers)
}

func (r *rateRows) add(e *market.Rate, at market.Place) error {
	c := check{table: tableRates}
	p := c.place(&e.Meta, at)
	rate := c.price("usd_per_gpu_hour", e.USDPerGPUHour)
	p10 := c.price("p10_usd_per_gpu_hour", e.P10USDPerGPUHour)
	p90 := c.price("p90_usd_per_gpu_hour", e.P90USDPerGPUHour)
	prices := make([]int64, len(e.Constituents))
	for i, x := range e.Constituents {
		prices[i] = c.price("constituent_usd_per_gpu_hour", x.USDPerGPUHour)
	}
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.gpu.add(e.GPU)
	r.class.add(string(e.Class))
	r.method.add(e.Method)
	r.version.u32(e.Version)
	r.rate.i64(rate)
	r.p10.i64(p10)
	r.p90.i64(p90)
	r.dispersion.float(e.Dispersion)
	r.offers.u32(e.SampleOffers)
	r.gpus.u32(e.SampleGPUs)
	r.hosts.u32(e.SampleHosts)
	r.providers.u32(e.SampleProviders)
	names := make([]string, len(e.Constituents))
	for i, x := range e.Constituents {
		names[i] = x.Provider
		r.partPrices.values.i64(prices[i])
		r.partGPUs.values.u32(x.GPUs)
		r.partOffers.values.u32(x.Offers)
	}
	r.parts.add(names)
	r.partPrices.end()
	r.partGPUs.end()
	r.partOffers.end()
	return nil
}

// signalRows are rows of signals.
type signalRows struct {
	common
	signal, symbol dict
	value          fixed
	unit           dict
	inputs         pairs
}

func newSignalRows() rows[*market.Signal] {
	return &signalRows{
		common: newCommon(),
		signal: newDict("name"),
		symbol: newDict("symbol"),
		value:  newWide("value"),
		unit:   newDict("unit"),
		inputs: newPairs("inputs"),
	}
}

func (r *signalRows) columns() []col {
	return r.cols(&r.signal, &r.symbol, &r.value, &r.unit, &r.inputs)
}

func (r *signalRows) add(e *market.Signal, at market.Place) error {
	c := check{table: tableSignals}
	p := c.place(&e.Meta, at)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.signal.add(e.Name)
	r.symbol.add(e.Symbol)
	r.value.wide(e.Value)
	r.unit.add(e.Unit)
	// In order of their names: a map's own order would make another block each time.
	r.inputs.add(slices.Sorted(maps.Keys(e.Inputs)), e.Inputs)
	return nil
}
