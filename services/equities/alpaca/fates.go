package alpaca

import (
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// fates remembers prints that a live correction replaced or made, which history tells in another way.
type fates struct {
	mu       sync.Mutex
	n        int
	now, old map[string]struct{}
}

const maxFates = 1 << 16

func newFates() *fates { return &fates{n: maxFates, now: map[string]struct{}{}} }

// printKey names a print on its date, as market.Trade.Identity does.
func printKey(symbol, exchange, id string, at time.Time) string {
	return symbol + "|" + exchange + "|" + id + "|" + at.Add(-5*time.Hour).Format("20060102")
}

func (f *fates) add(keys ...string) {
	if len(f.now) >= f.n {
		f.old, f.now = f.now, map[string]struct{}{}
	}
	for _, k := range keys {
		f.now[k] = struct{}{}
	}
}

func (f *fates) has(key string) bool {
	if _, ok := f.now[key]; ok {
		return true
	}
	_, ok := f.old[key]
	return ok
}

func (f *fates) addCorrection(t *market.Trade) {
	f.add(printKey(t.Symbol, t.Exchange, t.ID, t.EventTime), printKey(t.Symbol, t.Exchange, t.OriginalID, t.EventTime))
}
