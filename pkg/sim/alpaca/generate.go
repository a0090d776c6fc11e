package alpaca

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// The generated tape is a pure function of seed, rate and time, cut into buckets: what the stream sends in a bucket and what REST tells
// of it later are computed by the same code, so they agree for any past moment and over a restart of the simulator, and nothing needs
// to be kept.
const (
	bucket    = 50 * time.Millisecond
	perMinute = int64(time.Minute / bucket)

	haltSlot  = int64(30 * time.Minute / bucket) // a symbol is halted at most once a slot
	haltLasts = int64(time.Minute / bucket)
	haltOneIn = 20

	luldEvery = int64(30 * time.Second / bucket)

	// units of a price: 1e-4 USD.
	unit = 10_000

	maxPerBucket = 1 << 11 // ids of prints and of their corrections share 12 bits

	// meanActivity of world.ActivityAt, measured over many seeds; it makes Rate the mean rate.
	meanActivity = 1.56
)

// fate is what becomes of a print.
type fate uint8

const (
	kept fate = iota
	cancelled
	corrected
)

// tick is one message of the tape.
type tick struct {
	kind byte // t q x c s l, as on the wire
	s    *security
	at   int64 // ns
	id   uint64

	price, ask    int64 // units; bid and ask of a quote, up and down of a band
	size, askSize int64
	ex, askEx     byte
	cond          []string

	late bool
	fate fate
	to   int64  // corrected price
	toID uint64 // and id
	told int64  // ns: when it was cancelled or corrected

	resumed bool // of a status
}

// security is a symbol on the tape.
type security struct {
	symbol, tape string
	hash         uint64
	rate         float64 // mean events a second
}

type generator struct {
	w       *world.World
	seed    uint64
	steady  bool
	lateBy  int64  // buckets
	fateBy  int64  // buckets
	oneIn   uint64 // one print in so many is cancelled, another corrected, another late
	symbols []*security
}

func newGenerator(w *world.World, cfg Config) *generator {
	g := &generator{w: w, seed: cfg.Seed, steady: cfg.Steady, oneIn: uint64(cfg.FaultEvery), lateBy: int64(cfg.LateBy / bucket), fateBy: int64(cfg.FateBy / bucket)}
	tapes := map[string]string{}
	for _, e := range w.Facts().Equities {
		tapes[e.Symbol] = e.Tape
	}
	total := 0.0
	for i, symbol := range cfg.Symbols {
		tape, ok := tapes[symbol]
		if !ok {
			continue // accepted in subscriptions, but silent: as an unknown symbol is at the venue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(symbol))
		weight := 1 / (1 + 0.25*float64(i))
		total += weight
		g.symbols = append(g.symbols, &security{symbol: symbol, tape: tape, hash: h.Sum64(), rate: weight})
	}
	for _, s := range g.symbols {
		s.rate *= cfg.Rate / total
	}
	// Symbol order is the order of REST pages.
	slices.SortFunc(g.symbols, func(a, b *security) int {
		if a.symbol < b.symbol {
			return -1
		}
		return 1
	})
	return g
}

func (g *generator) security(symbol string) *security {
	for _, s := range g.symbols {
		if s.symbol == symbol {
			return s
		}
	}
	return nil
}

func (g *generator) rng(s *security, stream uint64, n int64) *rand.PCG {
	p := rand.NewPCG(g.seed^s.hash, stream<<56^uint64(n))
	p.Uint64() // the first value of neighbouring seeds is related
	return p
}

func bucketOf(t time.Time) int64   { return t.UnixNano() / int64(bucket) }
func bucketTime(b int64) time.Time { return time.Unix(0, b*int64(bucket)).UTC() }
func uniform(p *rand.PCG) float64  { return float64(p.Uint64()>>11) / (1 << 53) }
func below(p *rand.PCG, n int) int { return int(p.Uint64() % uint64(n)) }
func poisson(p *rand.PCG, m float64) (n int) {
	for m > 30 { // exp(-m) must not vanish
		n += poisson(p, 30)
		m -= 30
	}
	limit, product := math.Exp(-m), 1.0
	for {
		product *= uniform(p)
		if product <= limit {
			return n
		}
		n++
	}
}

// halt returns the first bucket of the halt of s in the slot that b lies in.
func (g *generator) halt(s *security, b int64) (start int64, ok bool) {
	slot := b / haltSlot
	p := g.rng(s, 1, slot)
	if below(p, haltOneIn) != 0 {
		return 0, false
	}
	return slot*haltSlot + int64(below(p, int(haltSlot-haltLasts-1))), true
}

func (g *generator) halted(s *security, b int64) bool {
	start, ok := g.halt(s, b)
	return ok && b >= start && b < start+haltLasts
}

var (
	exchanges  = []byte{'Q', 'P', 'Z', 'K', 'V', 'J', 'N', 'U'}
	regular    = []string{"@"}
	oddLot     = []string{"@", "I"}
	sweep      = []string{"@", "F"}
	oddSweep   = []string{"@", "F", "I"}
	quoteFlags = []string{"R"}
)

// made appends the prints and quotes whose time lies in the bucket, in the order of time, whenever they are delivered.
func (g *generator) made(s *security, b int64, out []tick) []tick {
	if g.halted(s, b) {
		return out
	}
	mean := s.rate * bucket.Seconds()
	if !g.steady {
		mean *= g.w.ActivityAt(bucketTime(b)) / meanActivity
	}
	p := g.rng(s, 0, b)
	n := min(poisson(p, mean), maxPerBucket)
	if n == 0 {
		return out
	}
	usd, ok := g.w.EquityAt(s.symbol, bucketTime(b))
	if !ok {
		return out
	}
	mid := max(int64(usd*unit), 2)
	tickSize := tickOf(mid)
	for i := range n {
		r := p.Uint64()
		at := b*int64(bucket) + (int64(i)*int64(bucket)+int64(r%uint64(bucket)))/int64(n)
		half := max(mid/5000/tickSize, 1)
		bid := max(mid/tickSize-half/2-int64(r>>40%2), 1) * tickSize
		ask := bid + max(half, 1+int64(r>>41%2))*tickSize
		ex := exchanges[r>>44%uint64(len(exchanges))]
		if r>>32%10 < 7 {
			out = append(out, tick{
				kind: 'q', s: s, at: at, price: bid, ask: ask, size: 100 * (1 + int64(r>>48%9)), askSize: 100 * (1 + int64(r>>52%9)),
				ex: ex, askEx: exchanges[r>>56%uint64(len(exchanges))], cond: quoteFlags,
			})
			continue
		}
		t := tick{kind: 't', s: s, at: at, id: uint64(b)<<12 | uint64(i), price: bid, ex: ex, cond: regular}
		q := p.Uint64()
		switch q % 5 {
		case 0, 1:
			t.price = ask
		case 2: // off the exchange, inside the spread, down to a hundredth of a cent
			t.ex, t.price = 'D', bid+int64(q>>8%uint64(ask-bid+1))
		}
		if q>>16%100 < 45 {
			t.size, t.cond = 1+int64(q>>24%99), oddLot
		} else {
			t.size = 100 * (1 + int64(q>>24%12)*int64(q>>28%3))
		}
		if q>>32%4 == 0 {
			t.cond = sweep
			if t.size < 100 {
				t.cond = oddSweep
			}
		}
		t.told = at + g.fateBy*int64(bucket)
		switch q >> 34 % g.oneIn {
		case 0:
			t.fate = cancelled
		case 1:
			t.fate, t.to, t.toID = corrected, max(t.price-tickSize, 1), t.id|maxPerBucket
		case 2:
			t.late = true
		}
		out = append(out, t)
	}
	return out
}

func tickOf(price int64) int64 {
	if price < unit {
		return 1
	}
	return unit / 100
}

// delivered appends what the stream sends at the bucket: what was made in it and is not late, late prints, cancels and corrections of
// earlier prints, statuses and bands.
func (g *generator) delivered(s *security, b int64, scratch, out []tick) (kept, result []tick) {
	if start, ok := g.halt(s, b); ok && b == start {
		out = append(out, tick{kind: 's', s: s, at: b * int64(bucket)})
	} else if ok && b == start+haltLasts {
		out = append(out, tick{kind: 's', s: s, at: b * int64(bucket), resumed: true})
	}
	scratch = g.made(s, b, scratch[:0])
	for _, t := range scratch {
		if !t.late {
			out = append(out, t)
		}
	}
	scratch = g.made(s, b-g.lateBy, scratch[:0])
	for _, t := range scratch {
		if t.late {
			out = append(out, t)
		}
	}
	scratch = g.made(s, b-g.fateBy, scratch[:0])
	for _, t := range scratch {
		switch t.fate {
		case cancelled:
			t.kind = 'x'
			out = append(out, t)
		case corrected:
			t.kind = 'c'
			out = append(out, t)
		}
	}
	if (b+int64(s.hash%uint64(luldEvery)))%luldEvery == 0 {
		if usd, ok := g.w.EquityAt(s.symbol, bucketTime(b)); ok {
			mid := int64(usd * unit)
			size := tickOf(mid)
			out = append(out, tick{kind: 'l', s: s, at: b * int64(bucket), price: mid * 11 / 10 / size * size, ask: max(mid*9/10/size, 1) * size})
		}
	}
	return scratch, out
}

// told is a print as REST tells it: u is empty for a valid one.
type told struct {
	tick
	u string
}

// trades appends the prints of the bucket as REST knows them at bucket now, by time and id.
func (g *generator) trades(s *security, b, now int64, scratch []tick, out []told) ([]tick, []told) {
	scratch = g.made(s, b, scratch[:0])
	from := len(out)
	for _, t := range scratch {
		switch {
		case t.kind != 't', t.late && b+g.lateBy > now:
		case t.fate == kept || b+g.fateBy > now:
			out = append(out, told{tick: t})
		case t.fate == cancelled:
			out = append(out, told{t, "canceled"})
		default:
			out = append(out, told{t, "incorrect"})
			t.id, t.price = t.toID, t.to
			out = append(out, told{t, "corrected"})
		}
	}
	slices.SortStableFunc(out[from:], func(x, y told) int { return int(x.at - y.at) })
	return scratch, out
}
