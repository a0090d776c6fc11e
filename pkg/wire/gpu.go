package wire

import (
	"maps"
	"slices"

	"github.com/hashpivot/hashpivot/pkg/market"
	mdv1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/md/v1"
)

func offerBatch(events []market.Event) (*mdv1.OfferBatch, error) {
	offers, err := gather(events, func(o *market.Offer) string { return o.Provider + " " + o.GPU }, func(o *market.Offer) *mdv1.Offer {
		return &mdv1.Offer{
			Meta: metaOf(&o.Meta), Action: mdv1.OfferAction(o.Action), OfferId: o.OfferID, HostId: o.HostID, MachineId: o.MachineID,
			GpuName: o.GPUName, GpuCount: o.GPUCount, GpuMemoryMib: o.GPUMemoryMiB, Class: string(o.Class),
			UsdPerGpuHour: decText(o.USDPerGPUHour), RawPrice: decText(o.RawPrice), RawUnit: o.RawUnit, Region: o.Region,
			Verified: o.Verified, Rentable: o.Rentable, Reliability: o.Reliability, Via: o.Via, Stock: o.Stock,
		}
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Offer)
	return &mdv1.OfferBatch{Source: head.Source, Provider: head.Provider, Gpu: head.GPU, Offers: offers}, nil
}

func decodeOffers(data []byte) ([]market.Event, error) {
	var b mdv1.OfferBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	return spread(b.Offers, func(p *mdv1.Offer, o *market.Offer) error {
		var r reader
		action := market.OfferAction(0)
		if p.Action > 0 && p.Action <= mdv1.OfferAction_OFFER_ACTION_CLOSED {
			action = market.OfferAction(p.Action)
		}
		*o = market.Offer{
			Meta: toMeta(b.Source, p.Meta), Action: action, Provider: b.Provider, OfferID: p.OfferId, HostID: p.HostId, MachineID: p.MachineId,
			GPU: b.Gpu, GPUName: p.GpuName, GPUCount: p.GpuCount, GPUMemoryMiB: p.GpuMemoryMib, Class: market.Class(p.Class),
			USDPerGPUHour: r.dec("usd_per_gpu_hour", p.UsdPerGpuHour), RawPrice: r.dec("raw_price", p.RawPrice), RawUnit: p.RawUnit,
			Region: p.Region, Verified: p.Verified, Rentable: p.Rentable, Reliability: p.Reliability,
			Via: p.Via, Stock: p.Stock,
		}
		return r.err
	})
}

func rateBatch(events []market.Event) (*mdv1.RateBatch, error) {
	rates, err := gather(events, func(r *market.Rate) string { return r.GPU + " " + string(r.Class) }, func(r *market.Rate) *mdv1.Rate {
		return &mdv1.Rate{
			Meta: metaOf(&r.Meta), Method: r.Method, Version: r.Version, UsdPerGpuHour: decText(r.USDPerGPUHour),
			P10UsdPerGpuHour: decText(r.P10USDPerGPUHour), P90UsdPerGpuHour: decText(r.P90USDPerGPUHour), Dispersion: r.Dispersion,
			SampleOffers: r.SampleOffers, SampleGpus: r.SampleGPUs, SampleHosts: r.SampleHosts,
			SampleProviders: r.SampleProviders, Constituents: constituents(r.Constituents),
		}
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Rate)
	return &mdv1.RateBatch{Source: head.Source, Gpu: head.GPU, Class: string(head.Class), Rates: rates}, nil
}

func constituents(list []market.Constituent) []*mdv1.Constituent {
	var out []*mdv1.Constituent
	for _, c := range list {
		out = append(out, &mdv1.Constituent{Provider: c.Provider, UsdPerGpuHour: decText(c.USDPerGPUHour), Gpus: c.GPUs, Offers: c.Offers})
	}
	return out
}

func decodeRates(data []byte) ([]market.Event, error) {
	var b mdv1.RateBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	return spread(b.Rates, func(p *mdv1.Rate, m *market.Rate) error {
		var r reader
		*m = market.Rate{
			Meta: toMeta(b.Source, p.Meta), GPU: b.Gpu, Class: market.Class(b.Class), Method: p.Method, Version: p.Version,
			USDPerGPUHour:    r.dec("usd_per_gpu_hour", p.UsdPerGpuHour),
			P10USDPerGPUHour: r.dec("p10_usd_per_gpu_hour", p.P10UsdPerGpuHour), P90USDPerGPUHour: r.dec("p90_usd_per_gpu_hour", p.P90UsdPerGpuHour),
			Dispersion: p.Dispersion, SampleOffers: p.SampleOffers, SampleGPUs: p.SampleGpus, SampleHosts: p.SampleHosts,
			SampleProviders: p.SampleProviders,
		}
		for _, c := range p.Constituents {
			m.Constituents = append(m.Constituents, market.Constituent{
				Provider: c.Provider, USDPerGPUHour: r.dec("constituents.usd_per_gpu_hour", c.UsdPerGpuHour), GPUs: c.Gpus, Offers: c.Offers,
			})
		}
		return r.err
	})
}

func signalBatch(events []market.Event) (*mdv1.SignalBatch, error) {
	signals, err := gather(events, func(s *market.Signal) string { return s.Name + " " + s.Symbol }, func(s *market.Signal) *mdv1.Signal {
		p := &mdv1.Signal{Meta: metaOf(&s.Meta), Value: decText(s.Value), Unit: s.Unit}
		for _, name := range slices.Sorted(maps.Keys(s.Inputs)) {
			p.Inputs = append(p.Inputs, &mdv1.SignalInput{Name: name, Value: s.Inputs[name]})
		}
		return p
	})
	if err != nil {
		return nil, err
	}
	head := events[0].(*market.Signal)
	return &mdv1.SignalBatch{Source: head.Source, Name: head.Name, Symbol: head.Symbol, Signals: signals}, nil
}

func decodeSignals(data []byte) ([]market.Event, error) {
	var b mdv1.SignalBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	return spread(b.Signals, func(p *mdv1.Signal, s *market.Signal) error {
		var r reader
		*s = market.Signal{Meta: toMeta(b.Source, p.Meta), Name: b.Name, Symbol: b.Symbol, Value: r.dec("value", p.Value), Unit: p.Unit}
		if len(p.Inputs) > 0 {
			s.Inputs = make(map[string]string, len(p.Inputs))
		}
		for _, in := range p.Inputs {
			s.Inputs[in.Name] = in.Value
		}
		return r.err
	})
}
