// Package chain is the generated bitcoin chain that the simulators of its observers (mempool.space, Bitcoin Core) share: what they tell
// fits together, block by block.
package chain

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// Protocol constants.
const (
	RetargetBlocks = 2016
	halvingBlocks  = 210_000
	SatPerBTC      = 1e8
)

// DefaultOrigin is when a chain of which nothing else is said stands at the real height. It never moves: a data directory that is kept for
// months sees one chain, not a reorganisation of thousands of blocks at each new anchor.
func DefaultOrigin() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }

// Config of a chain.
type Config struct {
	World *world.World
	Seed  uint64
	// Every is the mean time between blocks; 0: 40 s, since ten minutes, as in the real network, are too slow to watch.
	Every time.Duration
	// Origin is when the chain stands at Height; it grows from there. Zero: DefaultOrigin.
	Origin time.Time
	// Height at Origin; 0: reference.BlockHeight.
	Height int64
}

// Chain is a pure function of seed, origin and time, but for what was ordered (forks, facts): nothing is kept, any block of past or future
// can be told, and a restart goes on where it was. It is safe for concurrent use.
type Chain struct {
	world  *world.World
	seed   uint64
	every  time.Duration
	origin time.Time
	height int64 // at origin
	real   int64 // the height of the facts, for whose subsidy the world's difficulty is

	mu    sync.Mutex
	forks map[int64]int // by height, how often it was reorganised
	facts map[int64]Facts
	mined int64 // blocks that were ordered beyond those of time
}

// Facts of a block that are to be other than generated; what is zero is generated.
type Facts struct {
	FeesSat int64
	// Difficulty at the first height of a period of 2016 blocks holds for all of it.
	Difficulty float64
	Time       time.Time
}

// Block of the chain.
type Block struct {
	Height         int64
	Hash, Previous string
	Time           time.Time
	Difficulty     float64
	SubsidySat     int64
	FeesSat        int64
	Txs            int64
	Size, Weight   int64
}

// New makes a chain.
func New(cfg Config) (*Chain, error) {
	if cfg.World == nil {
		return nil, errors.New("make chain: no world to take fees and difficulty from")
	}
	f, ok := cfg.World.Facts().NetworkFact(reference.BlockHeight)
	if !ok {
		return nil, fmt.Errorf("make chain: the facts lack %s", reference.BlockHeight)
	}
	height, err := strconv.ParseInt(f.Value, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("make chain: read fact %s: %w", reference.BlockHeight, err)
	}
	c := &Chain{
		world: cfg.World, seed: cfg.Seed, every: cfg.Every, origin: cfg.Origin.UTC(), height: cfg.Height, real: height,
		forks: map[int64]int{}, facts: map[int64]Facts{},
	}
	if c.every == 0 {
		c.every = 40 * time.Second
	}
	if c.every < time.Millisecond {
		return nil, fmt.Errorf("make chain: blocks every %s: less than a millisecond", c.every)
	}
	if cfg.Origin.IsZero() {
		c.origin = DefaultOrigin()
	}
	if c.height == 0 {
		c.height = height
	}
	return c, nil
}

// Every is the mean time between blocks.
func (c *Chain) Every() time.Duration { return c.every }

// OriginHeight is the height at the origin.
func (c *Chain) OriginHeight() int64 { return c.height }

// At is when a block is found: regular intervals, each block late by up to nine tenths of one.
func (c *Chain) At(height int64) time.Time {
	c.mu.Lock()
	f := c.facts[height]
	c.mu.Unlock()
	if !f.Time.IsZero() {
		return f.Time
	}
	return c.due(height)
}

func (c *Chain) due(height int64) time.Time {
	late := wire.Uniform(c.seed, "block time", height) * 0.9 * float64(c.every)
	return c.origin.Add(time.Duration(height-c.height)*c.every + time.Duration(late))
}

// Tip is the height of the newest block.
func (c *Chain) Tip(now time.Time) int64 {
	h := c.height + int64(math.Floor(float64(now.Sub(c.origin))/float64(c.every)))
	for c.due(h).After(now) {
		h--
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return h + c.mined
}

// Mine finds n blocks at once, whatever the time.
func (c *Chain) Mine(n int64) {
	c.mu.Lock()
	c.mined += n
	c.mu.Unlock()
}

// Set makes a block other than generated.
func (c *Chain) Set(height int64, f Facts) {
	c.mu.Lock()
	c.facts[height] = f
	c.mu.Unlock()
}

// Reorg replaces the newest depth blocks by others.
func (c *Chain) Reorg(now time.Time, depth int) {
	tip := c.Tip(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := tip - int64(depth) + 1; h <= tip; h++ {
		c.forks[h]++
	}
}

// Hash of the block at a height, as of the forks so far.
func (c *Chain) Hash(height int64) string {
	c.mu.Lock()
	fork := c.forks[height]
	c.mu.Unlock()
	sum := sha256.Sum256(fmt.Appendf(nil, "%d|%d|%d|%d", c.seed, c.origin.UnixNano(), height, fork))
	return "0000000000000000000" + hex.EncodeToString(sum[:])[:45]
}

// Subsidy at a height, in satoshi.
func Subsidy(height int64) int64 {
	if halvings := max(height, 0) / halvingBlocks; halvings < 63 {
		return 50 * SatPerBTC >> halvings
	}
	return 0
}

// Difficulty changes at the heights of the protocol, to what the world says at that time, times what the halvings since the facts have
// taken from the miners: at 40 s a block there is one each 97 days, and miners leave until those who stay earn what they did.
func (c *Chain) Difficulty(height int64) float64 {
	start := floorDiv(height, RetargetBlocks) * RetargetBlocks
	c.mu.Lock()
	f := c.facts[start]
	c.mu.Unlock()
	if f.Difficulty > 0 {
		return f.Difficulty
	}
	share := float64(max(Subsidy(start), 1)) / float64(Subsidy(c.real))
	return math.Round(c.world.DifficultyAt(c.due(start))*share*100) / 100
}

// Network is what holds at a time: the difficulty of the tip and its subsidy in BTC.
func (c *Chain) Network(t time.Time) (difficulty, subsidyBTC float64) {
	tip := c.Tip(t)
	return c.Difficulty(tip), float64(Subsidy(tip)) / SatPerBTC
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// Fees of a block: the world's mean, times anything from a third to three.
func (c *Chain) Fees(height int64) int64 {
	c.mu.Lock()
	f := c.facts[height]
	c.mu.Unlock()
	if f.FeesSat > 0 {
		return f.FeesSat
	}
	mean := c.world.At(c.due(height)).FeesBTCPerBlock
	x := wire.Uniform(c.seed, "block fees", height)*2 - 1
	return int64(mean * SatPerBTC * math.Pow(3, x) / 1.2137) // the mean of 3^x over x in -1 to 1 is 1.2137
}

// Block at a height.
func (c *Chain) Block(height int64) Block {
	return Block{
		Height: height, Hash: c.Hash(height), Previous: c.Hash(height - 1), Time: c.At(height), Difficulty: c.Difficulty(height),
		SubsidySat: Subsidy(height), FeesSat: c.Fees(height),
		Txs: 1500 + int64(3000*c.Uniform("txs", height)), Size: 1_400_000 + int64(400_000*c.Uniform("size", height)),
		Weight: 3_993_000 - int64(9000*c.Uniform("weight", height)),
	}
}

// Uniform is a number in [0, 1) of a block's own.
func (c *Chain) Uniform(name string, height int64) float64 { return wire.Uniform(c.seed, name, height) }
