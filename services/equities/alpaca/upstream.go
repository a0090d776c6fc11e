package alpaca

import (
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// Upstream is one Alpaca stream with its history.
type Upstream struct {
	cfg   Config
	fates *fates
}

// New makes the upstream of a valid configuration.
func New(cfg Config) *Upstream { return &Upstream{cfg: cfg, fates: newFates()} }

// sipDelay is how far delayed_sip is behind the market.
const sipDelay = 15 * time.Minute

// delayed reports whether the stream is the delayed one.
func (c Config) delayed() bool {
	return strings.HasSuffix(strings.TrimSuffix(c.StreamURL, "/"), "/delayed_sip")
}

// channels are what the configuration asks the stream for.
func (u *Upstream) channels() []string {
	list := []string{"trades", "bars", "updatedBars", "dailyBars"}
	if u.cfg.Quotes {
		list = append(list, "quotes")
	}
	if u.cfg.Halts {
		list = append(list, "statuses", "lulds")
	}
	if u.cfg.Imbalances {
		list = append(list, "imbalances")
	}
	return list
}

// History implements engine.Upstream.
func (u *Upstream) History() engine.History {
	h := engine.History{Trails: u.cfg.HistoryTrails}
	if u.cfg.Feed == "" {
		h.Without = append(h.Without, "trades", "bars")
	} else {
		h.Kinds = append(h.Kinds, engine.DailyBars, engine.MinuteBars, engine.Trades)
	}
	switch {
	case !u.cfg.Quotes:
	case u.cfg.Feed == "":
		h.Without = append(h.Without, "quotes")
	default:
		h.Kinds = append(h.Kinds, engine.Quotes)
	}
	if u.cfg.Halts {
		h.Without = append(h.Without, "statuses", "lulds")
	}
	if u.cfg.Imbalances {
		h.Without = append(h.Without, "imbalances")
	}
	if u.cfg.delayed() {
		h.Delay = sipDelay
	}
	return h
}

// Restored remembers the corrections that were published before the start.
func (u *Upstream) Restored(ev market.Event) {
	if t, ok := ev.(*market.Trade); ok && t.Action == market.TradeCorrection {
		u.fates.mu.Lock()
		u.fates.addCorrection(t)
		u.fates.mu.Unlock()
	}
}
