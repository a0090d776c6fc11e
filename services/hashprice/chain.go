package hashprice

import (
	"math/big"
	"sync"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// keepBlocks is how far below the tip the chain is remembered: more than any reorganisation and any window.
const keepBlocks = 2 * retargetBlocks

type link struct {
	hash, previous string
	rev            uint32
	feesSat        int64
	difficulty     market.Decimal
}

// chain is what we hold for true about the newest blocks. It is safe for concurrent use.
type chain struct {
	mu    sync.Mutex
	links map[uint64]link
	tip   uint64 // 0: none known
}

func newChain() *chain { return &chain{links: map[uint64]link{}} }

// restore takes a block that was published before; of several at one height the greatest rev is the last word.
func (c *chain) restore(b *market.Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.links[b.Height]; ok && old.rev > b.Rev {
		return
	}
	c.store(b)
}

// has reports whether exactly this block is what the chain holds at its height.
func (c *chain) has(b *market.Block) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.links[b.Height]
	return ok && old.hash == b.Hash
}

// holds reports whether the chain has this block at the height.
func (c *chain) holds(height uint64, hash string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return hash != "" && c.links[height].hash == hash
}

// heldDifficulty is that of the block at the height itself.
func (c *chain) heldDifficulty(height uint64) (market.Decimal, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.links[height]
	return l.difficulty, ok && l.hash != ""
}

// put takes a block from the upstream and sets its Rev: 0 for a new height, one more than the last for a reorganised one. It reports
// whether it is new.
func (c *chain) put(b *market.Block) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.links[b.Height]
	if ok && old.hash == b.Hash {
		return false
	}
	if ok {
		b.Rev = old.rev + 1
	}
	c.store(b)
	return true
}

func (c *chain) store(b *market.Block) {
	c.links[b.Height] = link{b.Hash, b.PreviousHash, b.Rev, b.FeesSat, b.Difficulty}
	c.tip = max(c.tip, b.Height)
	if len(c.links) > 2*keepBlocks {
		for h := range c.links {
			if h+keepBlocks < c.tip {
				delete(c.links, h)
			}
		}
	}
}

// lower takes the upstream's word for where the tip is, when a reorganisation made the chain shorter. What was above is forgotten but for
// its revisions, so that the next block there is told as a change.
func (c *chain) lower(tip uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if tip >= c.tip {
		return
	}
	for h, l := range c.links {
		if h > tip {
			c.links[h] = link{rev: l.rev}
		}
	}
	c.tip = tip
}

func (c *chain) tipHeight() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tip
}

// hole finds the highest height in [low, tip] that is missing in the chain and in pending, or whose block is not the one that the block
// above names as its predecessor.
func (c *chain) hole(low, tip uint64, pending map[uint64]*market.Block) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	want := ""
	for h := tip; h >= low; h-- {
		var l link
		if b, ok := pending[h]; ok {
			l = link{hash: b.Hash, previous: b.PreviousHash}
		} else {
			l = c.links[h]
		}
		if l.hash == "" || want != "" && l.hash != want {
			return h, true
		}
		want = l.previous
		if h == 0 {
			break
		}
	}
	return 0, false
}

// window sums the fees of the n blocks up to the tip. ok is false while one is missing.
func (c *chain) window(n int) (t tipState, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tip == 0 || c.tip+1 < uint64(n) {
		return tipState{}, false
	}
	sum := new(big.Int)
	for h := c.tip + 1 - uint64(n); h <= c.tip; h++ {
		l, ok := c.links[h]
		if !ok || l.hash == "" {
			return tipState{}, false
		}
		sum.Add(sum, big.NewInt(l.feesSat))
	}
	return tipState{Height: c.tip, Hash: c.links[c.tip].hash, Difficulty: c.links[c.tip].difficulty, FeesSat: sum, Blocks: n}, true
}

// difficultyAt is the difficulty of a block that the chain holds in the same period of 2016 as the height.
func (c *chain) difficultyAt(height uint64) (market.Decimal, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.links[height]; ok && l.hash != "" {
		return l.difficulty, true
	}
	if l, ok := c.links[c.tip]; ok && l.hash != "" && c.tip/retargetBlocks == height/retargetBlocks {
		return l.difficulty, true
	}
	return market.Decimal{}, false
}

// tipState is what the hashprice needs to know of the chain.
type tipState struct {
	Height     uint64
	Hash       string
	Difficulty market.Decimal
	FeesSat    *big.Int // of the last Blocks blocks together
	Blocks     int
}
