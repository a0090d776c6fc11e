package equities

import "github.com/hashpivot/hashpivot/pkg/feed"

// Probes are questions to the upstreams that are switched on; off names the keys that would switch the others on.
func (c Config) Probes() (on []feed.Probe, off []string) {
	symbol := "IREN"
	if len(c.Symbols) > 0 {
		symbol = c.Symbols[0]
	}
	for _, x := range []struct {
		on     bool
		key    string
		probes func(string) []feed.Probe
	}{
		{c.Alpaca.Key != "", "equities.alpaca.key", c.Alpaca.Probes}, {c.Massive.Key != "", "equities.massive.key", c.Massive.Probes},
		{c.Finnhub.Key != "", "equities.finnhub.key", c.Finnhub.Probes},
	} {
		if x.on {
			on = append(on, x.probes(symbol)...)
		} else {
			off = append(off, x.key)
		}
	}
	return on, off
}
