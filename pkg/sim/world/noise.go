package world

import (
	"hash/fnv"
	"math"
	"time"
)

// noise is a sum of octaves of smooth value noise: continuous, bounded, without state.
type noise struct {
	seed    uint64
	octaves []octave
}

type octave struct {
	period    int64 // ns
	amplitude float64
}

const (
	longestPeriod  = 8 * 24 * time.Hour
	shortestPeriod = 2 * time.Second
)

// walkNoise moves like a random walk of the given daily volatility for times up to days and is bounded beyond: amplitudes grow with the
// square root of the period. The factor of a half makes the variance of a day's increment that of the volatility, since the octaves
// shorter and longer than a day add about as much again.
func walkNoise(seed uint64, name string, dailyVol float64) noise {
	n := noise{seed: seedOf(seed, name)}
	if dailyVol == 0 {
		return n
	}
	for p := longestPeriod; p >= shortestPeriod; p /= 2 {
		n.octaves = append(n.octaves, octave{int64(p), dailyVol * math.Sqrt(p.Hours()/24/2)})
	}
	return n
}

// burstNoise is the logarithm of activity: quiet spells and bursts of seconds to an hour, all weighing alike.
func burstNoise(seed uint64, name string) noise {
	n := noise{seed: seedOf(seed, name)}
	for p := time.Hour; p >= 5*time.Second; p /= 3 {
		n.octaves = append(n.octaves, octave{int64(p), 0.8})
	}
	return n
}

func seedOf(seed uint64, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash never fails
	return mix(seed ^ h.Sum64())
}

func (n noise) at(ns int64) float64 {
	sum := 0.0
	for i, o := range n.octaves {
		cell := floorDiv(ns, o.period)
		x := float64(ns-cell*o.period) / float64(o.period)
		a, b := n.point(i, cell), n.point(i, cell+1)
		sum += o.amplitude * (a + (b-a)*x*x*(3-2*x))
	}
	return sum
}

// point is the noise's value at a lattice point: uniform in -1 to 1.
func (n noise) point(octave int, cell int64) float64 {
	h := mix(n.seed + uint64(octave)*0x9e3779b97f4a7c15 ^ mix(uint64(cell)))
	return float64(int64(h)) / (1 << 63)
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
