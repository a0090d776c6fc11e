package tape

import (
	"sync"
	"time"
)

// Script is what is ordered to happen on a tape. It may be shared by the generators of several simulators: they tell the same halts.
type Script struct {
	mu    sync.Mutex
	halts []haltOrder
}

// haltOrder halts a symbol in the buckets from <= b < to.
type haltOrder struct {
	symbol   string
	from, to int64
}

// Halt halts a symbol for a while from the next bucket on: a status, no print and no quote, a status again. What has been told stays told, so
// it begins no earlier.
func (s *Script) Halt(symbol string, now time.Time, lasts time.Duration) {
	from := BucketOf(now) + 2
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halts = append(s.halts, haltOrder{symbol, from, from + max(int64(lasts/Bucket), 1)})
}

func (s *Script) halted(symbol string, b int64) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.halts {
		if h.symbol == symbol && b >= h.from && b < h.to {
			return true
		}
	}
	return false
}

// at returns the halts that begin or end at the bucket.
func (s *Script) at(symbol string, b int64) (out []haltOrder) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.halts {
		if h.symbol == symbol && (h.from == b || h.to == b) {
			out = append(out, h)
		}
	}
	return out
}
