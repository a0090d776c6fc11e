//go:build linux

package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Fault is one step of a schedule. The schedule is a function of the seed alone: the same faults, to the same parts, in the same order, as long.
type Fault struct {
	Step int    `json:"step"`
	Kind string `json:"kind"`
	// On is the part that is hit; And the other end of a wire. "leader" is the node that leads the stream TRADES at that moment.
	On  string `json:"on"`
	And string `json:"and,omitempty"`
	// Gap is the pause before it; Hold how long it lasts: of a kill, how long the process stays away.
	Gap  time.Duration `json:"gap"`
	Hold time.Duration `json:"hold"`
	// By is how much: milliseconds of latency, bytes of an answer.
	By int `json:"by,omitempty"`
}

func (f Fault) String() string {
	s := fmt.Sprintf("step %d: %s %s", f.Step, f.Kind, f.On)
	if f.And != "" {
		s += " - " + f.And
	}
	return s + " for " + f.Hold.String()
}

// The kinds of faults.
const (
	Kill         = "kill"           // kill -9
	Pause        = "pause"          // SIGSTOP, then SIGCONT
	Wipe         = "wipe"           // kill -9 of a NATS node and its store deleted
	Cut          = "cut"            // connections end, new ones are refused
	Latency      = "latency"        // both ways
	HalfOpen     = "half-open"      // nothing arrives any more, and nobody is told
	Torn         = "torn"           // connections end in the midst of what is sent
	LateAnswer   = "late-answer"    // the request arrives, the answer after its sender has given up
	EngineAway   = "engine-away"    // ClickHouse is down for long
	Overload     = "overload"       // ClickHouse refuses: too many queries at once
	TooManyParts = "too-many-parts" // ClickHouse refuses: too many parts
	Memory       = "memory"         // ClickHouse refuses: memory
	ReadOnly     = "read-only"      // ClickHouse cannot write
	DiskFull     = "disk-full"
	ClockStep    = "clock-step" // the wall clock jumps, and back after a while
)

// Kills tells kinds that count as kills from the others.
func kills(kind string) bool { return kind == Kill }

// schedule yields the faults of a seed, one by one.
type schedule struct {
	rng     *rand.Rand
	landers int
	step    int
	kinds   []weighted
}

type weighted struct {
	weight int
	make   func(s *schedule) Fault
}

func newSchedule(seed uint64, landers int, clock bool) *schedule {
	s := &schedule{rng: rand.New(rand.NewPCG(seed, 0x68617368)), landers: landers, kinds: allKinds}
	if clock {
		s.kinds = append(slices.Clone(s.kinds), weighted{6, func(s *schedule) Fault {
			on := s.node()
			if s.rng.IntN(2) == 0 {
				on = s.lander()
			}
			// Below half the window in which JetStream knows a message's id again: docs/chaos.md says what a longer step can do.
			by := 1000 + s.rng.IntN(49_000)
			if s.rng.IntN(2) == 0 {
				by = -by
			}
			return Fault{Kind: ClockStep, On: on, By: by, Hold: s.between(2000, 8000)}
		}})
	}
	return s
}

func (s *schedule) next() Fault {
	total := 0
	for _, k := range s.kinds {
		total += k.weight
	}
	n := s.rng.IntN(total)
	i := 0
	for ; n >= s.kinds[i].weight; i++ {
		n -= s.kinds[i].weight
	}
	f := s.kinds[i].make(s)
	s.step++
	f.Step = s.step
	f.Gap = s.between(300, 1500)
	return f
}

func (s *schedule) between(fromMS, toMS int) time.Duration {
	return time.Duration(fromMS+s.rng.IntN(toMS-fromMS)) * time.Millisecond
}

func (s *schedule) lander() string { return landerName(s.rng.IntN(s.landers)) }
func (s *schedule) node() string   { return nodeName(s.rng.IntN(nodes)) }

// client of NATS.
func (s *schedule) client() string {
	if n := s.rng.IntN(s.landers + 1); n < s.landers {
		return landerName(n)
	}
	return loadName
}

func (s *schedule) twoNodes() (string, string) {
	i := s.rng.IntN(nodes)
	return nodeName(i), nodeName((i + 1 + s.rng.IntN(nodes-1)) % nodes)
}

// wire picks two parts that talk to each other.
func (s *schedule) wire() (string, string) {
	switch s.rng.IntN(3) {
	case 0:
		return s.lander(), engineName
	case 1:
		return s.client(), s.node()
	}
	return s.twoNodes()
}

func (s *schedule) away() time.Duration {
	if s.rng.IntN(10) == 0 {
		return s.between(2000, 4000)
	}
	return s.between(0, 600)
}

const leaderName = "leader"

var allKinds = []weighted{
	{24, func(s *schedule) Fault { return Fault{Kind: Kill, On: s.lander(), Hold: s.away()} }},
	{11, func(s *schedule) Fault { return Fault{Kind: Kill, On: engineName, Hold: 0} }},
	{5, func(s *schedule) Fault {
		return Fault{Kind: Kill, On: engineName, And: "its parent too", Hold: s.away()}
	}},
	{12, func(s *schedule) Fault { return Fault{Kind: Kill, On: s.node(), Hold: s.away()} }},
	{10, func(s *schedule) Fault { return Fault{Kind: Kill, On: leaderName, Hold: s.away()} }},
	{9, func(s *schedule) Fault { return Fault{Kind: Kill, On: loadName, Hold: s.away()} }},

	{4, func(s *schedule) Fault { return Fault{Kind: Pause, On: s.lander(), Hold: s.between(4000, 8000)} }}, // past its lease
	{1, func(s *schedule) Fault { return Fault{Kind: Pause, On: s.node(), Hold: s.between(1000, 4000)} }},
	{1, func(s *schedule) Fault { return Fault{Kind: Pause, On: engineName, Hold: s.between(1000, 6000)} }},
	{1, func(s *schedule) Fault { return Fault{Kind: Wipe, On: s.node()} }},
	{5, func(s *schedule) Fault {
		a, b := s.wire()
		return Fault{Kind: Cut, On: a, And: b, Hold: s.between(1000, 5000)}
	}},
	{1, func(s *schedule) Fault {
		return Fault{Kind: Cut, On: s.client(), And: "all nodes", Hold: s.between(2000, 6000)}
	}},
	{3, func(s *schedule) Fault {
		a, b := s.wire()
		return Fault{Kind: Latency, On: a, And: b, By: 20 + s.rng.IntN(280), Hold: s.between(2000, 5000)}
	}},
	{4, func(s *schedule) Fault {
		a, b := s.wire()
		return Fault{Kind: HalfOpen, On: a, And: b, Hold: s.between(2000, 8000)}
	}},
	{2, func(s *schedule) Fault {
		return Fault{Kind: Torn, On: s.lander(), And: engineName, By: 1000 + s.rng.IntN(40_000), Hold: s.between(1000, 3000)}
	}},
	{3, func(s *schedule) Fault {
		return Fault{Kind: LateAnswer, On: s.lander(), And: engineName, Hold: s.between(6000, 9000)}
	}},
	{1, func(s *schedule) Fault { return Fault{Kind: EngineAway, On: engineName, Hold: s.between(8000, 15_000)} }},
	{1, func(s *schedule) Fault { return Fault{Kind: Overload, On: engineName, Hold: s.between(3000, 6000)} }},
	{1, func(s *schedule) Fault { return Fault{Kind: TooManyParts, On: engineName, Hold: s.between(2000, 5000)} }},
	{1, func(s *schedule) Fault { return Fault{Kind: Memory, On: engineName, Hold: s.between(2000, 5000)} }},
	{1, func(s *schedule) Fault { return Fault{Kind: ReadOnly, On: engineName, Hold: s.between(2000, 5000)} }},
	{1, func(s *schedule) Fault { return Fault{Kind: DiskFull, On: engineName, Hold: s.between(2000, 5000)} }},
	{1, func(s *schedule) Fault {
		return Fault{Kind: DiskFull, On: nodeName(nodes - 1), Hold: s.between(2000, 4000)}
	}},
}
