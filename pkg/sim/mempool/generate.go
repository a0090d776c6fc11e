package mempool

import (
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// generated is the shared chain as mempool.space tells it.
type generated struct {
	*chain.Chain
	world *world.World
	seed  uint64
	days0 int
}

const (
	satPerBTC      = chain.SatPerBTC
	retargetBlocks = chain.RetargetBlocks
)

func (g *generated) tip(now time.Time) (int64, bool) { return g.Tip(now), true }

func (g *generated) reorg(now time.Time, depth int) { g.Reorg(now, depth) }

func subsidy(height int64) int64 { return chain.Subsidy(height) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

var pools = [...]pool{
	{ID: 111, Name: "Foundry USA", Slug: "foundryusa"}, {ID: 44, Name: "AntPool", Slug: "antpool"}, {ID: 2, Name: "ViaBTC", Slug: "viabtc"},
	{ID: 36, Name: "F2Pool", Slug: "f2pool"}, {ID: 142, Name: "MARA Pool", Slug: "marapool"}, {ID: 43, Name: "Braiins Pool", Slug: "braiinspool"},
}

func (g *generated) block(height int64) block {
	b := g.Block(height)
	rate := math.Max(1, math.Round(float64(b.FeesSat)/1e6*100)/100)
	p := g.Uniform("pool", height)
	return block{
		ID: b.Hash, Height: height, Version: 0x20000000, Timestamp: b.Time.Unix(), Bits: 0x17020000, Nonce: uint32(wire.Hash(g.seed, "nonce", height)),
		Difficulty: b.Difficulty, MerkleRoot: hex.EncodeToString(fmt.Appendf(nil, "%032d", height)),
		TxCount: b.Txs, Size: b.Size, Weight: b.Weight, Previous: b.Previous, MedianTime: b.Time.Add(-6 * g.Every()).Unix(),
		Extras: extras{
			TotalFees: b.FeesSat, MedianFee: rate, FeeRange: []float64{rate / 2, rate * 0.8, rate, rate * 1.5, rate * 3, rate * 9, rate * 60},
			Reward: b.SubsidySat + b.FeesSat, Pool: pools[int(p*p*float64(len(pools)))], AvgFee: b.FeesSat / b.Txs, AvgFeeRate: int64(rate),
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
	return g.OriginHeight() - int64(time.Duration(g.days0)*24*time.Hour/g.Every())
}

func (g *generated) retargets(now time.Time) []retarget {
	tip, _ := g.tip(now)
	var out []retarget
	old := 0.0
	for h := floorDiv(g.first(), retargetBlocks) * retargetBlocks; h <= tip; h += retargetBlocks {
		d := g.Difficulty(h)
		r := retarget{time: g.At(h).Unix(), height: h, difficulty: d, ratio: 1}
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
	for d := g.At(g.first()).Truncate(day).Add(day); d.Before(now); d = d.Add(day) {
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
			sum += g.Fees(before + 1 + (last-before-1)*i/(sample-1))
		}
		mid := (before + 1 + last) / 2
		row := dayRow{height: mid, time: g.At(mid).Unix(), fees: sum / sample}
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
	for d := g.At(g.first()).Truncate(day); !d.After(now); d = d.Add(day) {
		out = append(out, price{Time: d.Unix(), USD: math.Round(g.world.BTCUSDAt(d)*100) / 100})
	}
	return out
}

func (g *generated) adjustment(now time.Time) (adjustment, bool) {
	tip, _ := g.tip(now)
	a := newAdjustment(tip, g.Every().Milliseconds(), now.Unix())
	start := a.NextRetargetHeight - retargetBlocks
	progress := float64(tip-start) / retargetBlocks * 100
	change := (g.Difficulty(a.NextRetargetHeight)/g.Difficulty(tip) - 1) * 100
	previous := (g.Difficulty(start)/g.Difficulty(start-1) - 1) * 100
	expected := float64(now.Sub(g.At(start))) / float64(g.Every())
	a.ProgressPercent, a.DifficultyChange, a.PreviousRetarget, a.ExpectedBlocks = &progress, &change, &previous, &expected
	a.PreviousTime = g.At(start).Unix()
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
