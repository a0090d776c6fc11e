package mempool

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// generated is a chain that is a pure function of seed, origin and time (but for the forks that were ordered): nothing is kept, any block of
// past or future can be told, and a restart goes on where it was.
type generated struct {
	world  *world.World
	seed   uint64
	every  time.Duration
	origin time.Time
	height int64 // at origin
	days0  int

	mu    sync.Mutex
	forks map[int64]int // by height, how often it was reorganised
}

const satPerBTC = 1e8

func newGenerated(cfg Config) (*generated, error) {
	f, ok := cfg.World.Facts().NetworkFact(reference.BlockHeight)
	if !ok {
		return nil, fmt.Errorf("the facts lack %s", reference.BlockHeight)
	}
	height, err := strconv.ParseInt(f.Value, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read fact %s: %w", reference.BlockHeight, err)
	}
	if cfg.BlockEvery < time.Millisecond {
		return nil, fmt.Errorf("blocks every %s: less than a millisecond", cfg.BlockEvery)
	}
	if cfg.Origin.IsZero() {
		now := cfg.Now().UTC()
		cfg.Origin = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	return &generated{
		world: cfg.World, seed: cfg.Seed, every: cfg.BlockEvery, origin: cfg.Origin.UTC(), height: height, days0: cfg.HistoryDays,
		forks: map[int64]int{},
	}, nil
}

// at is when a block is found: regular intervals, each block late by up to nine tenths of one.
func (g *generated) at(height int64) time.Time {
	late := wire.Uniform(g.seed, "block time", height) * 0.9 * float64(g.every)
	return g.origin.Add(time.Duration(height-g.height)*g.every + time.Duration(late))
}

func (g *generated) tip(now time.Time) (int64, bool) {
	h := g.height + int64(math.Floor(float64(now.Sub(g.origin))/float64(g.every)))
	for g.at(h).After(now) {
		h--
	}
	return h, true
}

func (g *generated) hash(height int64) string {
	g.mu.Lock()
	fork := g.forks[height]
	g.mu.Unlock()
	sum := sha256.Sum256(fmt.Appendf(nil, "%d|%d|%d|%d", g.seed, g.origin.UnixNano(), height, fork))
	return "0000000000000000000" + hex.EncodeToString(sum[:])[:45]
}

func (g *generated) reorg(now time.Time, depth int) {
	tip, _ := g.tip(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	for h := tip - int64(depth) + 1; h <= tip; h++ {
		g.forks[h]++
	}
}

func subsidy(height int64) int64 { return 50 * satPerBTC >> (height / 210000) }

// difficulty changes at the heights of the protocol, to what the world says at that time.
func (g *generated) difficulty(height int64) float64 {
	start := floorDiv(height, 2016) * 2016
	return math.Round(g.world.DifficultyAt(g.at(start))*100) / 100
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// feesAt is what a block pays: the world's mean, times anything from a third to three.
func (g *generated) feesAt(height int64) int64 {
	mean := g.world.At(g.at(height)).FeesBTCPerBlock
	x := wire.Uniform(g.seed, "block fees", height)*2 - 1
	return int64(mean * satPerBTC * math.Pow(3, x) / 1.2137) // the mean of 3^x over x in -1 to 1 is 1.2137
}

var pools = [...]pool{
	{ID: 111, Name: "Foundry USA", Slug: "foundryusa"}, {ID: 44, Name: "AntPool", Slug: "antpool"}, {ID: 2, Name: "ViaBTC", Slug: "viabtc"},
	{ID: 36, Name: "F2Pool", Slug: "f2pool"}, {ID: 142, Name: "MARA Pool", Slug: "marapool"}, {ID: 43, Name: "Braiins Pool", Slug: "braiinspool"},
}

func (g *generated) block(height int64) block {
	at, total := g.at(height), g.feesAt(height)
	u := func(name string) float64 { return wire.Uniform(g.seed, name, height) }
	txs := 1500 + int64(3000*u("txs"))
	rate := math.Max(1, math.Round(float64(total)/1e6*100)/100)
	p := u("pool")
	return block{
		ID: g.hash(height), Height: height, Version: 0x20000000, Timestamp: at.Unix(), Bits: 0x17020000, Nonce: uint32(wire.Hash(g.seed, "nonce", height)),
		Difficulty: g.difficulty(height), MerkleRoot: hex.EncodeToString(fmt.Appendf(nil, "%032d", height)),
		TxCount: txs, Size: 1_400_000 + int64(400_000*u("size")), Weight: 3_993_000 - int64(9000*u("weight")), Previous: g.hash(height - 1),
		MedianTime: at.Add(-6 * g.every).Unix(),
		Extras: extras{
			TotalFees: total, MedianFee: rate, FeeRange: []float64{rate / 2, rate * 0.8, rate, rate * 1.5, rate * 3, rate * 9, rate * 60},
			Reward: subsidy(height) + total, Pool: pools[int(p*p*float64(len(pools)))], AvgFee: total / txs, AvgFeeRate: int64(rate),
			AvgTxSize: 420.5, VirtualSize: 998_000.25, Orphans: []string{},
		},
	}
}

func (g *generated) blocks(height int64, n int) []block {
	out := make([]block, 0, n)
	for h := height; h > height-int64(n); h-- {
		out = append(out, g.block(h))
	}
	return out
}

// first is the height from which there is history.
func (g *generated) first() int64 {
	return g.height - int64(time.Duration(g.days0)*24*time.Hour/g.every)
}

func (g *generated) retargets(now time.Time) []retarget {
	tip, _ := g.tip(now)
	var out []retarget
	old := 0.0
	for h := floorDiv(g.first(), 2016) * 2016; h <= tip; h += 2016 {
		d := g.difficulty(h)
		r := retarget{time: g.at(h).Unix(), height: h, difficulty: d, ratio: 1}
		if old > 0 {
			r.ratio = d / old
		}
		out, old = append(out, r), d
	}
	return out
}

func (g *generated) days(now time.Time) []dayRow {
	var out []dayRow
	const day = 24 * time.Hour
	for d := g.at(g.first()).Truncate(day).Add(day); d.Before(now); d = d.Add(day) {
		end := d.Add(day)
		if end.After(now) {
			end = now
		}
		last, _ := g.tip(end)
		before, _ := g.tip(d)
		if last == before {
			continue
		}
		// The mean over 24 blocks of the day stands for that of all.
		const sample = 24
		sum := int64(0)
		for i := range int64(sample) {
			sum += g.feesAt(before + 1 + (last-before-1)*i/(sample-1))
		}
		mid := (before + 1 + last) / 2
		row := dayRow{height: mid, time: g.at(mid).Unix(), fees: sum / sample}
		first, lastSubsidy := subsidy(before+1), subsidy(last)
		row.rewards = row.fees + lastSubsidy
		if first != lastSubsidy { // the day of a halving
			halving := last / 210000 * 210000
			row.rewards = row.fees + (first*(halving-before-1)+lastSubsidy*(last-halving+1))/(last-before)
		}
		out = append(out, row)
	}
	return out
}

func (g *generated) prices(now time.Time) []price {
	var out []price
	const day = 24 * time.Hour
	for d := g.at(g.first()).Truncate(day); !d.After(now); d = d.Add(day) {
		out = append(out, price{Time: d.Unix(), USD: math.Round(g.world.BTCUSDAt(d)*100) / 100})
	}
	return out
}

func (g *generated) adjustment(now time.Time) (adjustment, bool) {
	tip, _ := g.tip(now)
	a := newAdjustment(tip, g.every.Milliseconds(), now.Unix())
	start := a.NextRetargetHeight - 2016
	progress := float64(tip-start) / 2016 * 100
	change := (g.difficulty(a.NextRetargetHeight)/g.difficulty(tip) - 1) * 100
	previous := (g.difficulty(start)/g.difficulty(start-1) - 1) * 100
	expected := float64(now.Sub(g.at(start))) / float64(g.every)
	a.ProgressPercent, a.DifficultyChange, a.PreviousRetarget, a.ExpectedBlocks = &progress, &change, &previous, &expected
	a.PreviousTime = g.at(start).Unix()
	return a, true
}

func (g *generated) fees(now time.Time) fees {
	l := g.world.At(now)
	base := math.Max(1, l.FeesBTCPerBlock*100) * math.Sqrt(math.Max(l.Activity, 0.25))
	r := func(f float64) int64 { return int64(math.Max(1, math.Round(base*f))) }
	return fees{Fastest: r(1.5), HalfHour: r(1.2), Hour: r(1), Economy: r(0.7), Minimum: 1}
}

func (g *generated) usd(now time.Time) (int64, bool) {
	return int64(math.Round(g.world.BTCUSDAt(now))), true
}
