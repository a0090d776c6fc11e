// Package world is the economy behind the simulators: one seeded, endless path of bitcoin, fees, difficulty, GPU rates and equities
// that all simulators share, so that what they tell fits together. It is a pure function of seed and time: any moment, past or
// future, can be asked for, in any order and by several processes, and the answer is the same.
//
// Every path is a real, dated level times exp(noise), where the noise looks like a random walk over minutes and hours and is bounded over
// weeks (octaves of smooth value noise, amplitude as the square root of the period). Equities are their measured betas on the
// bitcoin and the AI factor plus noise of their own.
package world

import (
	"fmt"
	"math"
	"time"

	"github.com/hashpivot/hashpivot/schemas/reference"
)

// Config of a world. Facts empty means reference.Load; Origin zero means the date of the newest fact.
type Config struct {
	Seed  uint64
	Facts reference.Levels
	// Origin is when the world stands exactly at the real levels.
	Origin time.Time
}

// Levels is the state of the world at a time. Floats are fine here: the simulators round them to ticks and write decimal text.
type Levels struct {
	BTCUSD          float64
	Difficulty      float64
	FeesBTCPerBlock float64
	GPUUSDPerHour   map[string]float64 // by reference.GPU.Key
	EquityUSD       map[string]float64 // by symbol
	// Activity is how busy the markets are: 1 is normal, 0.1 a quiet spell, 10 a burst.
	Activity float64
}

// Period of the difficulty: 2016 blocks of ten minutes.
const retargetEvery = 14 * 24 * time.Hour

// Assumed, not measured: how fees, GPU rates and difficulty move. Fees double or halve within days, GPU rates creep, difficulty moves by
// a few percent a retarget.
const (
	feesDailyVol       = 0.20
	gpuDailyVol        = 0.008
	gpuBetaAI          = 0.10
	difficultyPerPoint = 0.03
)

type equity struct {
	level, betaBTC, betaAI float64
	own                    noise
	ownAtOrigin            float64
}

type gpu struct {
	level       float64
	own         noise
	ownAtOrigin float64
}

// World is immutable and safe for concurrent use.
type World struct {
	origin                           int64
	btcUSD, difficulty, feesPerBlock float64

	btc, ai, fees, activity, retargets noise
	btc0, ai0, fees0                   float64

	equities map[string]*equity
	gpus     map[string]*gpu
	facts    reference.Levels
}

// New makes a world.
func New(cfg Config) (*World, error) {
	if len(cfg.Facts.Equities) == 0 && len(cfg.Facts.Network) == 0 {
		facts, err := reference.Load()
		if err != nil {
			return nil, fmt.Errorf("make world: %w", err)
		}
		cfg.Facts = facts
	}
	if cfg.Origin.IsZero() {
		cfg.Origin = cfg.Facts.Newest()
	}
	w := &World{
		origin: cfg.Origin.UnixNano(), facts: cfg.Facts,
		equities: map[string]*equity{}, gpus: map[string]*gpu{},
	}
	for key, to := range map[string]*float64{
		reference.BTCUSD: &w.btcUSD, reference.Difficulty: &w.difficulty, reference.FeesBTCPerBlock: &w.feesPerBlock,
	} {
		f, ok := cfg.Facts.NetworkFact(key)
		if !ok {
			return nil, fmt.Errorf("make world: the facts lack the network level %s", key)
		}
		*to = f.Float()
	}
	walk := func(name string, dailyVol float64) noise {
		return walkNoise(cfg.Seed, name, dailyVol)
	}
	w.btc = walk("btc", cfg.Facts.Factors.BTCVol)
	w.ai = walk("ai", cfg.Facts.Factors.AIVol)
	w.fees = walk("fees", feesDailyVol)
	w.retargets = noise{seed: seedOf(cfg.Seed, "retargets")}
	w.activity = burstNoise(cfg.Seed, "activity")
	w.btc0, w.ai0, w.fees0 = w.btc.at(w.origin), w.ai.at(w.origin), w.fees.at(w.origin)
	for _, e := range cfg.Facts.Equities {
		x := &equity{level: e.Float(), betaBTC: e.BetaBTC, betaAI: e.BetaAI, own: walk("equity "+e.Symbol, e.IdioVol)}
		x.ownAtOrigin = x.own.at(w.origin)
		w.equities[e.Symbol] = x
	}
	for _, g := range cfg.Facts.GPUs {
		x := &gpu{level: g.Float(), own: walk("gpu "+g.Key, gpuDailyVol)}
		x.ownAtOrigin = x.own.at(w.origin)
		w.gpus[g.Key] = x
	}
	return w, nil
}

// Facts returns the real levels behind the world.
func (w *World) Facts() reference.Levels { return w.facts }

// At is the whole state at a time.
func (w *World) At(t time.Time) Levels {
	ns := t.UnixNano()
	btc, ai := w.btc.at(ns)-w.btc0, w.ai.at(ns)-w.ai0
	l := Levels{
		BTCUSD:          w.btcUSD * math.Exp(btc),
		Difficulty:      w.DifficultyAt(t),
		FeesBTCPerBlock: w.feesPerBlock * math.Exp(w.fees.at(ns)-w.fees0),
		GPUUSDPerHour:   make(map[string]float64, len(w.gpus)),
		EquityUSD:       make(map[string]float64, len(w.equities)),
		Activity:        w.ActivityAt(t),
	}
	for key, g := range w.gpus {
		l.GPUUSDPerHour[key] = g.level * math.Exp(gpuBetaAI*ai+g.own.at(ns)-g.ownAtOrigin)
	}
	for symbol, e := range w.equities {
		l.EquityUSD[symbol] = e.price(btc, ai, ns)
	}
	return l
}

func (e *equity) price(btc, ai float64, ns int64) float64 {
	return e.level * math.Exp(e.betaBTC*btc+e.betaAI*ai+e.own.at(ns)-e.ownAtOrigin)
}

// EquityAt is the price of one symbol, as in At but without building the maps; false for a symbol that the facts do not have.
func (w *World) EquityAt(symbol string, t time.Time) (usd float64, ok bool) {
	e, ok := w.equities[symbol]
	if !ok {
		return 0, false
	}
	ns := t.UnixNano()
	return e.price(w.btc.at(ns)-w.btc0, w.ai.at(ns)-w.ai0, ns), true
}

// BTCUSDAt is the price of bitcoin, as in At.
func (w *World) BTCUSDAt(t time.Time) float64 {
	return w.btcUSD * math.Exp(w.btc.at(t.UnixNano())-w.btc0)
}

// ActivityAt is how busy the markets are, as in At.
func (w *World) ActivityAt(t time.Time) float64 {
	return min(max(math.Exp(w.activity.at(t.UnixNano())), 0.1), 10)
}

// DifficultyAt is the difficulty in force: constant for two weeks, as the network's is, then a step of a few percent.
func (w *World) DifficultyAt(t time.Time) float64 {
	period := floorDiv(t.UnixNano()-w.origin, int64(retargetEvery))
	if period == 0 {
		return w.difficulty
	}
	// Steps about the level, not a sum of steps: a world of any age stays near the real difficulty.
	return w.difficulty * math.Exp(difficultyPerPoint*w.retargets.point(0, period))
}
