package load

import (
	"math/bits"
	"time"
)

// Histogram counts latencies in buckets of a 256th of their size, from a microsecond on.
type Histogram struct {
	counts [40 << subBits]uint64
	n      uint64
}

const subBits = 8

func bucket(us uint64) int {
	if us < 1<<subBits {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	return (shift+1)<<subBits + int(us>>shift)&(1<<subBits-1)
}

// lowest is the least latency of a bucket, in microseconds.
func lowest(b int) float64 {
	if b < 1<<subBits {
		return float64(b)
	}
	shift := b>>subBits - 1
	return float64(uint64(1<<subBits|b&(1<<subBits-1)) << shift)
}

// Record counts one latency; one below zero, of a clock that was set, counts as zero.
func (h *Histogram) Record(d time.Duration) {
	b := min(bucket(uint64(max(d.Microseconds(), 0))), len(h.counts)-1)
	h.counts[b]++
	h.n++
}

// Add adds another's counts.
func (h *Histogram) Add(o *Histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
}

// Count is how many latencies were recorded.
func (h *Histogram) Count() uint64 { return h.n }

// Quantile is the latency in milliseconds that a share q of all does not exceed; 0 without any.
func (h *Histogram) Quantile(q float64) float64 {
	if h.n == 0 {
		return 0
	}
	rank, seen := q*float64(h.n), uint64(0)
	for b, c := range h.counts {
		if c == 0 {
			continue
		}
		if float64(seen+c) >= rank {
			within := (rank - float64(seen)) / float64(c)
			return (lowest(b) + within*(lowest(b+1)-lowest(b))) / 1000
		}
		seen += c
	}
	return lowest(len(h.counts)-1) / 1000
}
