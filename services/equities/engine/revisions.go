package engine

import (
	"strconv"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// revisions knows the last told state of each bar, so that a bar which changed becomes its next revision and one that did not is dropped.
// It is restored from what was published. Bounded: when a generation is full, the bars that were not touched in it are forgotten with
// the one before it (a minute bar months old; telling it again would be revision 0 once more, which feed.Emit knows).
type revisions struct {
	mu       sync.Mutex
	n        int
	now, old map[barKey]barState
}

type barKey struct {
	symbol   string
	interval market.Interval
	start    int64
}

type barState struct {
	content uint64
	rev     uint32
	final   bool
	// asOf is when what we know was true: a history page that was asked for before that cannot correct it.
	asOf time.Time
}

const maxBars = 1 << 19

func newRevisions() *revisions {
	return &revisions{n: maxBars, now: map[barKey]barState{}, old: map[barKey]barState{}}
}

func contentOf(b *market.Bar) uint64 {
	text := make([]byte, 0, 96)
	for _, d := range [...]market.Decimal{b.OpenUSD, b.HighUSD, b.LowUSD, b.CloseUSD, b.Volume, b.VWAPUSD} {
		text = append(append(text, d.Trim(0).String()...), '|')
	}
	text = strconv.AppendUint(text, b.TradeCount, 10)
	return xxh3.Hash(text)
}

func keyOf(b *market.Bar) barKey { return barKey{b.Symbol, b.Interval, b.EventTime.Unix()} }

func (r *revisions) get(k barKey) (barState, bool) {
	if s, ok := r.now[k]; ok {
		return s, true
	}
	s, ok := r.old[k]
	return s, ok
}

func (r *revisions) put(k barKey, s barState) {
	if len(r.now) >= r.n {
		r.old, r.now = r.now, map[barKey]barState{}
	}
	r.now[k] = s
}

// restore takes a bar that was published before.
func (r *revisions) restore(b *market.Bar) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := keyOf(b)
	if s, ok := r.get(k); ok && s.rev > b.Rev {
		return
	}
	r.put(k, barState{contentOf(b), b.Rev, b.Final, b.RecvTime})
}

// undo takes back the last next of a bar, which the sink did not take.
func (r *revisions) undo(b *market.Bar, before barState, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := keyOf(b)
	if now, ok := r.get(k); !ok || now.rev != b.Rev {
		return // told again meanwhile, or refused before it had a revision
	}
	delete(r.now, k)
	delete(r.old, k)
	if known {
		r.put(k, before)
	}
}

// state of a bar as it was told last.
func (r *revisions) state(b *market.Bar) (barState, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.get(keyOf(b))
}

// next sets the revision of a bar that was true at asOf and reports whether it says anything new. That a day's bar is final is new; that a
// minute's is, alone, is not: the nightly end of a session would double every minute bar.
func (r *revisions) next(b *market.Bar, asOf time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, content := keyOf(b), contentOf(b)
	s, known := r.get(k)
	switch {
	case !known:
	case asOf.Before(s.asOf):
		return false
	case content == s.content && (!b.Final || s.final || b.Interval == market.Interval1m):
		return false
	default:
		b.Rev = s.rev + 1
	}
	r.put(k, barState{content, b.Rev, b.Final, asOf})
	return true
}
