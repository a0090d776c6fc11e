package signals

import (
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// coverage says whether a source told us all prints of a span, as far as its ledger of gaps knows.
type coverage uint8

const (
	covered    coverage = iota
	holed               // a gap lies in it: the venue's bar has prints that ours may lack
	unknownYet          // a gap is still open
)

// gapMargin is how far about a gap prints may be missing: a tape tells some of them ten seconds late.
const gapMargin = 15 * time.Second

// gap takes a line of a source's ledger.
func (e *engine) gap(g *market.FeedGap) {
	m := e.gaps[g.Source]
	if m == nil {
		m = map[string]*market.FeedGap{}
		e.gaps[g.Source] = m
	}
	if last := m[g.GapID]; last == nil || last.Rev <= g.Rev {
		m[g.GapID] = g
	}
}

// covered judges from <= t < to. Gaps that were filled count too: history may tell a print in another way than the stream did.
func (e *engine) covered(source, symbol string, from, to time.Time) coverage {
	out := covered
	for id, g := range e.gaps[source] {
		open := g.To.IsZero() || g.State == market.GapOpen
		if !open && g.To.Before(e.cal.Midnight(e.complete).AddDate(0, 0, -2)) {
			delete(e.gaps[source], id) // nothing that old is compared
			continue
		}
		if g.Symbol != "*" && g.Symbol != symbol || !g.From.Add(-gapMargin).Before(to) {
			continue
		}
		switch {
		case open:
			out = max(out, unknownYet)
		case g.To.Add(gapMargin).After(from):
			return holed
		}
	}
	return out
}
