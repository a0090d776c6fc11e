package doctor

import (
	"slices"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// The services, as their commands and their users in NATS are named.
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

// Services are all that up runs.
func Services() []string {
	return []string{Equities, Hashprice, GPURates, Signals, Lander, Gateway, Nightly, Audit}
}

// streamsOf are the streams that the services use.
func streamsOf(services []string) []market.Stream {
	var out []market.Stream
	for _, st := range market.Streams() {
		if slices.ContainsFunc(services, func(s string) bool {
			d, _ := bus.DutyOf(s)
			return slices.Contains(d.Streams(), st)
		}) {
			out = append(out, st)
		}
	}
	return out
}
