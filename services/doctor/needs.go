package doctor

import (
	"slices"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// need is a subject that a service uses, without wildcards: how wide a user's permission is drawn is the operator's.
type need struct {
	subject   string
	subscribe bool
}

// The services, as their commands are named.
const (
	Equities  = "equities"
	Hashprice = "hashprice"
	GPURates  = "gpurates"
	Signals   = "signals"
	Lander    = "lander"
	Gateway   = "gateway"
	Nightly   = "nightly"
	Audit     = "audit"
)

// Services are all that there are.
func Services() []string {
	return []string{Equities, Hashprice, GPURates, Signals, Lander, Gateway, Nightly, Audit}
}

// publishes are the kinds of subjects that a service publishes, each with tokens for an example.
var publishes = map[string][]string{
	Equities:  {"trade.alpaca.IREN", "quote.alpaca.IREN", "bar.1m.IREN", "halt.alpaca.IREN", "imbalance.alpaca.IREN", "feed.alpaca", "dead.UPSTREAM.alpaca"},
	Hashprice: {"network.block.mempool", "network.btcusd.coinbase", "hashprice.tip144", "signal.hashprice-difference.luxor", "feed.mempool", "dead.UPSTREAM.mempool"},
	GPURates:  {"gpu.offer.vast.h100-sxm", "gpu.rate.h100-sxm.on-demand", "feed.vast", "dead.UPSTREAM.vast"},
	Signals:   {"bar.5m.IREN", "signal.pivot-premium.IREN"},
	Lander:    {"dead.TRADES.1-1-0", "feed.lander"},
}

// reads are the streams that a service reads.
func reads(service string) []market.Stream {
	switch service {
	case Equities:
		return []market.Stream{market.Trades, market.Quotes, market.Bars, market.Halts, market.Feeds}
	case Hashprice:
		return []market.Stream{market.Network, market.Hashprices, market.Feeds}
	case GPURates:
		return []market.Stream{market.Offers, market.Rates, market.Feeds}
	case Signals:
		return []market.Stream{market.Trades, market.Bars, market.Hashprices, market.Rates, market.Signals}
	}
	return market.Streams()
}

// records are the keys of cells that a service writes, beside its lease.
func records(service string) []string {
	if service != Lander {
		return []string{"lease." + service}
	}
	out := []string{"roster.lander.doctor"}
	for _, st := range market.Streams() {
		out = append(out, bus.LandingKey(st, bus.Shard{}))
	}
	return out
}

// needs of the services, each once.
func needs(services []string) []need {
	var out []need
	add := func(subscribe bool, subjects ...string) {
		for _, s := range subjects {
			if n := (need{s, subscribe}); !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	add(true, bus.SubjectHealth)
	for _, svc := range services {
		for _, s := range publishes[svc] {
			add(false, bus.Prefix+s)
		}
		for _, st := range reads(svc) {
			add(false, "$JS.API.STREAM.INFO."+string(st), "$JS.API.CONSUMER.CREATE."+string(st)+".doctor", "$JS.API.CONSUMER.MSG.NEXT."+string(st)+".doctor")
		}
		add(false, "$JS.API.STREAM.INFO.KV_hashpivot", "$JS.API.DIRECT.GET.KV_hashpivot.$KV.hashpivot.mode")
		if svc != Gateway {
			for _, key := range records(svc) {
				add(false, "$KV.hashpivot."+key)
			}
		}
		if svc == Lander { // it follows the list of landers
			add(false, "$JS.API.CONSUMER.CREATE.KV_hashpivot.doctor")
		}
	}
	return out
}
