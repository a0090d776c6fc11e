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
	now, old hashes
}

// NewSeen remembers at least the last n identities.
func NewSeen(n int) *Seen { return &Seen{n: max(n, 1)} }

// Add remembers id and reports whether it was new.
func (s *Seen) Add(id []byte) bool {
	h := xxh3.Hash128(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.has(h) {
		return false
	}
	known := s.old.has(h)
	if s.now.n >= s.n {
		s.old, s.now = s.now, hashes{}
	}
	s.now.add(h)
	return !known
}

// Has reports whether id is remembered.
func (s *Seen) Has(id []byte) bool {
	h := xxh3.Hash128(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.has(h) || s.old.has(h)
}

// Remove forgets id: what it names was not published after all.
func (s *Seen) Remove(id []byte) {
	h := xxh3.Hash128(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.remove(h)
	s.old.remove(h)
}

// hashes is a set of hashes in one array, probed in a line: a look-up is one miss of the processor's cache, where a map has several. Each event of a
// feed makes two.
type hashes struct {
	slots []xxh3.Uint128 // a power of two; zero is empty
	n     int
}

// slotOf is where a hash is looked for first; one that is zero is kept as another.
func (t *hashes) slotOf(h xxh3.Uint128) (int, xxh3.Uint128) {
	if h == (xxh3.Uint128{}) {
		h.Hi = 1
	}
	return int(h.Lo) & (len(t.slots) - 1), h
}

func (t *hashes) has(h xxh3.Uint128) bool {
	if t.n == 0 {
		return false
	}
	i, h := t.slotOf(h)
	for ; t.slots[i] != (xxh3.Uint128{}); i = (i + 1) & (len(t.slots) - 1) {
		if t.slots[i] == h {
			return true
		}
	}
	return false
}

func (t *hashes) add(h xxh3.Uint128) {
	if 4*(t.n+1) > 3*len(t.slots) {
		was := t.slots
		t.slots, t.n = make([]xxh3.Uint128, max(1024, 2*len(was))), 0
		for _, x := range was {
			if x != (xxh3.Uint128{}) {
				t.add(x)
			}
		}
	}
	i, h := t.slotOf(h)
	for t.slots[i] != (xxh3.Uint128{}) {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = h
	t.n++
}

func (t *hashes) remove(h xxh3.Uint128) {
	if !t.has(h) {
		return
	}
	mask := len(t.slots) - 1
	i, h := t.slotOf(h)
	for t.slots[i] != h {
		i = (i + 1) & mask
	}
	// What was pushed on by the one that goes moves back, or it would not be found any more.
	for j := (i + 1) & mask; t.slots[j] != (xxh3.Uint128{}); j = (j + 1) & mask {
		if home, _ := t.slotOf(t.slots[j]); (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = xxh3.Uint128{}
	t.n--
}
