package feed

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// DefaultSeen is how many identities a feed remembers: more than two trade dates of four busy symbols.
const DefaultSeen = 4 << 20

// Seen remembers identities, bounded: when a generation is full the one before it is forgotten, so the last n to 2n identities
// are always known. It keeps 128-bit hashes; at four million identities a false match has a chance below 1e-25.
type Seen struct {
	mu       sync.Mutex
	n        int
	now, old map[xxh3.Uint128]struct{}
}

// NewSeen remembers at least the last n identities.
func NewSeen(n int) *Seen {
	return &Seen{n: max(n, 1), now: map[xxh3.Uint128]struct{}{}}
}

// Add remembers id and reports whether it was new.
func (s *Seen) Add(id string) bool {
	h := xxh3.HashString128(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.now[h]; ok {
		return false
	}
	_, known := s.old[h]
	if len(s.now) >= s.n {
		s.old, s.now = s.now, make(map[xxh3.Uint128]struct{})
	}
	s.now[h] = struct{}{}
	return !known
}

// Has reports whether id is remembered.
func (s *Seen) Has(id string) bool {
	h := xxh3.HashString128(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.now[h]; ok {
		return true
	}
	_, ok := s.old[h]
	return ok
}

// Remove forgets id.
func (s *Seen) Remove(id string) {
	h := xxh3.HashString128(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, h)
	delete(s.old, h)
}
