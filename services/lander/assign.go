package lander

import (
	"hash/fnv"
	"slices"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// unit is what one worker lands.
type unit struct {
	stream market.Stream
	shard  bus.Shard
}

// unitsOf are the units of a stream that was cut so.
func unitsOf(stream market.Stream, cuts []bus.Cut) []unit {
	out := []unit{{stream: stream}}
	for _, c := range cuts {
		for i := range c.Of {
			out = append(out, unit{stream, bus.Shard{Of: c.Of, Index: i}})
		}
	}
	return out
}

// member is a lander and the streams that it lands.
type member struct {
	id      string
	streams []market.Stream
}

// assign shares the units out, none with more than its part, and moves as few as it can when a member comes or goes: of those that have room the one with the
// highest score takes a unit (rendezvous hashing with bounded loads, Thaler and Ravishankar 1998; Mirrokni, Thorup, Zadimoghaddam 2016). All members
// that see the same lists come to the same result.
func assign(units []unit, members []member) map[unit]string {
	out := map[unit]string{}
	load := map[string]int{}
	for _, u := range units {
		able := 0
		for _, m := range members {
			if slices.Contains(m.streams, u.stream) {
				able++
			}
		}
		if able == 0 {
			continue
		}
		room := (len(units) + able - 1) / able
		best, bestScore := "", uint64(0)
		for {
			for _, m := range members {
				if !slices.Contains(m.streams, u.stream) || load[m.id] >= room {
					continue
				}
				if s := score(u, m.id); best == "" || s > bestScore {
					best, bestScore = m.id, s
				}
			}
			if best != "" {
				break
			}
			room++ // members that land few streams only have left more than its part to the others
		}
		out[u] = best
		load[best]++
	}
	return out
}

func score(u unit, id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(string(u.stream) + "/" + u.shard.String() + "/" + id))
	x := h.Sum64()
	// FNV's high bits barely depend on the last bytes; a finalizer (splitmix64) mixes them.
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
