// Package tape is the prints, quotes, halts and bars of the simulated equities, in no venue's format: every equity simulator tells the same ones.
package tape

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// The tape is a pure function of seed, rate and time, cut into buckets: what a stream sends in a bucket and what history tells of it later
// are computed by the same code, so they agree for any past moment, over a restart of a simulator and among simulators, and nothing
// needs to be kept.
const (
	// Bucket is the tape's grain; PerMinute of them make a minute.
	Bucket    = 50 * time.Millisecond
	PerMinute = int64(time.Minute / Bucket)

	haltSlot  = int64(30 * time.Minute / Bucket) // a symbol is halted at most once a slot
	haltLasts = int64(time.Minute / Bucket)
	haltOneIn = 20

	luldEvery = int64(30 * time.Second / Bucket)

	// Unit is one dollar in the units of a price: 1e-4 USD.
	Unit = 10_000

	maxPerBucket = 1 << 11 // ids of prints and of their corrections share 12 bits

	// A sequence number is the bucket of delivery, what is told behind that bucket's own events, and the place in the bucket where it was made.
	sequenceBits = 14
	toldLate     = 1 << 11
	toldByFate   = 1 << 12

	// meanActivity of world.ActivityAt, measured over many seeds; it makes Rate the mean rate.
	meanActivity = 1.56
)

// Fate is what becomes of a print.
type Fate uint8

// The fates.
const (
	Kept Fate = iota
	Cancelled
	Corrected
)

// Tick is one event of the tape.
type Tick struct {
	Kind     byte // t print, q quote, x cancel, c correction, s status, l price band
	Security *Security
	At       int64 // ns
	ID       uint64
	// Sequence of a print or quote grows with the order of delivery within a symbol, with gaps.
	Sequence uint64

	Price, Ask            int64 // units; bid and ask of a quote, up and down of a band
	Size, AskSize         int64
	Exchange, AskExchange byte
	Conditions            []string

	Late           bool
	Fate           Fate
	CorrectedPrice int64  // corrected price
	CorrectedID    uint64 // and id
	ToldAt         int64  // ns: when it was cancelled or corrected

	Resumed bool // of a status
}

// Security is a symbol on the tape.
type Security struct {
	Symbol, Tape string
	hash         uint64
	rate         float64 // mean events a second
}

// Config of a tape. Zero values mean the defaults in the comments.
type Config struct {
	Seed    uint64
	Symbols []string // those of the world's facts
	// Rate is the mean of events a second over all symbols, prints and quotes together; 100.
	Rate float64
	// Steady keeps the rate constant: no bursts, no quiet spells.
	Steady bool
	// FaultEvery: one print in so many is cancelled later, another corrected, another told late; 2000.
	FaultEvery int
	// LateBy is how late a late print is told, 5 s; FateBy how long after its time a print is cancelled or corrected, 3 s. Together below 30 s.
	LateBy, FateBy time.Duration
	// Calendar gives the tape sessions: an auction at the opening and the close of the regular one, thinner extended hours (Form T), silence
	// between sessions, and daily bars that are summed up from the prints. nil: a regular session without end.
	Calendar session.Calendar
	// Script is what is ordered to happen, shared by all who tell this tape; nil: nothing is.
	Script *Script
}

func (c *Config) defaults(w *world.World) error {
	if len(c.Symbols) == 0 {
		for _, e := range w.Facts().Equities {
			c.Symbols = append(c.Symbols, e.Symbol)
		}
	}
	if c.Rate == 0 {
		c.Rate = 100
	}
	if c.FaultEvery == 0 {
		c.FaultEvery = 2000
	}
	if c.LateBy == 0 {
		c.LateBy = 5 * time.Second
	}
	if c.FateBy == 0 {
		c.FateBy = 3 * time.Second
	}
	if c.Rate < 0 || c.FaultEvery < 3 {
		return fmt.Errorf("make tape: rate %v must not be below 0, one fault in %d not below 3", c.Rate, c.FaultEvery)
	}
	if c.LateBy < Bucket || c.FateBy < Bucket || c.LateBy+c.FateBy >= 30*time.Second {
		return fmt.Errorf("make tape: late by %s and fate by %s must be %s at least and below 30s together", c.LateBy, c.FateBy, Bucket)
	}
	return nil
}

// Generator tells the tape of a world. Its methods may be called from any goroutine.
type Generator struct {
	w      *world.World
	seed   uint64
	steady bool
	lateBy int64  // buckets
	fateBy int64  // buckets
	oneIn  uint64 // one print in so many is cancelled, another corrected, another late
	// Securities on the tape, in the order of their symbols. Symbols that the world does not know have none: they are silent, as at a venue.
	Securities []*Security

	cal     session.Calendar // nil: always regular
	script  *Script
	current atomic.Pointer[session.Session]
	daysMu  sync.Mutex
	days    map[dayKey]*daySum
}

// New makes the tape of a world.
func New(w *world.World, cfg Config) (*Generator, error) {
	if err := cfg.defaults(w); err != nil {
		return nil, err
	}
	g := &Generator{w: w, cal: cfg.Calendar, script: cfg.Script, days: map[dayKey]*daySum{}, seed: cfg.Seed, steady: cfg.Steady, oneIn: uint64(cfg.FaultEvery), lateBy: int64(cfg.LateBy / Bucket), fateBy: int64(cfg.FateBy / Bucket)}
	tapes := map[string]string{}
	for _, e := range w.Facts().Equities {
		tapes[e.Symbol] = e.Tape
	}
	total := 0.0
	for i, symbol := range cfg.Symbols {
		tape, ok := tapes[symbol]
		if !ok {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(symbol))
		weight := 1 / (1 + 0.25*float64(i))
		total += weight
		g.Securities = append(g.Securities, &Security{Symbol: symbol, Tape: tape, hash: h.Sum64(), rate: weight})
	}
	for _, s := range g.Securities {
		s.rate *= cfg.Rate / total
	}
	slices.SortFunc(g.Securities, func(a, b *Security) int {
		if a.Symbol < b.Symbol {
			return -1
		}
		return 1
	})
	return g, nil
}

// Settled is how many buckets after a minute's end nothing of it can change any more.
func (g *Generator) Settled() int64 { return g.lateBy + g.fateBy }

// Security of a symbol; nil for one that is not on the tape.
func (g *Generator) Security(symbol string) *Security {
	for _, s := range g.Securities {
		if s.Symbol == symbol {
			return s
		}
	}
	return nil
}

func (g *Generator) rng(s *Security, stream uint64, n int64) *rand.PCG {
	p := rand.NewPCG(g.seed^s.hash, stream<<56^uint64(n))
	p.Uint64() // the first value of neighbouring seeds is related
	return p
}

// BucketOf is the bucket that a time lies in.
func BucketOf(t time.Time) int64 { return t.UnixNano() / int64(Bucket) }

// BucketTime is the start of a bucket.
func BucketTime(b int64) time.Time { return time.Unix(0, b*int64(Bucket)).UTC() }

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

// Halt returns the first bucket of the halt of s in the slot that b lies in.
func (g *Generator) Halt(s *Security, b int64) (start int64, ok bool) {
	if g.sessionOf(b).Kind != session.Regular {
		return 0, false
	}
	slot := b / haltSlot
	p := g.rng(s, 1, slot)
	if below(p, haltOneIn) != 0 {
		return 0, false
	}
	return slot*haltSlot + int64(below(p, int(haltSlot-haltLasts-1))), true
}

func (g *Generator) halted(s *Security, b int64) bool {
	if g.script.halted(s.Symbol, b) {
		return true
	}
	start, ok := g.Halt(s, b)
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

// Made appends the prints and quotes whose time lies in the bucket, in the order of time, whenever they are delivered.
func (g *Generator) Made(s *Security, b int64, out []Tick) []Tick {
	if g.halted(s, b) {
		return out
	}
	x := g.sessionOf(b)
	if x.Kind == session.Closed {
		return out
	}
	mean := s.rate * Bucket.Seconds()
	if x.Kind != session.Regular {
		mean *= extendedShare
	}
	if !g.steady {
		mean *= g.w.ActivityAt(BucketTime(b)) / meanActivity
	}
	p := g.rng(s, 0, b)
	n := min(poisson(p, mean), maxPerBucket-maxAuction)
	auction := g.auction(b, x)
	if n == 0 && auction == noAuction {
		return out
	}
	usd, ok := g.w.EquityAt(s.Symbol, BucketTime(b))
	if !ok {
		return out
	}
	mid := max(int64(usd*Unit), 2)
	tickSize := TickOf(mid)
	if auction != noAuction {
		out = appendAuction(out, s, b, auction, max(mid/tickSize, 1)*tickSize)
	}
	extended := x.Kind != session.Regular
	for i := range n {
		r := p.Uint64()
		at := b*int64(Bucket) + (int64(i)*int64(Bucket)+int64(r%uint64(Bucket)))/int64(n)
		i += auctionPrints(auction)
		half := max(mid/5000/tickSize, 1)
		bid := max(mid/tickSize-half/2-int64(r>>40%2), 1) * tickSize
		ask := bid + max(half, 1+int64(r>>41%2))*tickSize
		ex := exchanges[r>>44%uint64(len(exchanges))]
		sequence := uint64(b)<<sequenceBits | uint64(i)
		if r>>32%10 < 7 {
			out = append(out, Tick{
				Sequence: sequence, Kind: 'q', Security: s, At: at, Price: bid, Ask: ask, Size: 100 * (1 + int64(r>>48%9)), AskSize: 100 * (1 + int64(r>>52%9)),
				Exchange: ex, AskExchange: exchanges[r>>56%uint64(len(exchanges))], Conditions: quoteFlags,
			})
			continue
		}
		t := Tick{Kind: 't', Security: s, At: at, ID: uint64(b)<<12 | uint64(i), Sequence: sequence, Price: bid, Exchange: ex, Conditions: regular}
		q := p.Uint64()
		switch q % 5 {
		case 0, 1:
			t.Price = ask
		case 2: // off the exchange, inside the spread, down to a hundredth of a cent
			t.Exchange, t.Price = 'D', bid+int64(q>>8%uint64(ask-bid+1))
		}
		if q>>16%100 < 45 {
			t.Size, t.Conditions = 1+int64(q>>24%99), oddLot
		} else {
			t.Size = 100 * (1 + int64(q>>24%12)*int64(q>>28%3))
		}
		if q>>32%4 == 0 {
			t.Conditions = sweep
			if t.Size < 100 {
				t.Conditions = oddSweep
			}
		}
		if extended {
			t.Conditions = formT(t.Conditions)
		}
		t.ToldAt = at + g.fateBy*int64(Bucket)
		switch q >> 34 % g.oneIn {
		case 0:
			t.Fate = Cancelled
		case 1:
			t.Fate, t.CorrectedPrice, t.CorrectedID = Corrected, max(t.Price-tickSize, 1), t.ID|maxPerBucket
		case 2:
			t.Late, t.Sequence = true, uint64(b+g.lateBy)<<sequenceBits|toldLate|uint64(i)
		}
		out = append(out, t)
	}
	return out
}

// TickOf is the least step of a price, in units.
func TickOf(price int64) int64 {
	if price < Unit {
		return 1
	}
	return Unit / 100
}

// Delivered appends what a stream sends at the bucket: what was made in it and is not late, late prints, cancels and corrections of
// earlier prints, statuses and bands.
func (g *Generator) Delivered(s *Security, b int64, scratch, out []Tick) (kept, result []Tick) {
	if start, ok := g.Halt(s, b); ok && b == start {
		out = append(out, Tick{Kind: 's', Security: s, At: b * int64(Bucket)})
	} else if ok && b == start+haltLasts {
		out = append(out, Tick{Kind: 's', Security: s, At: b * int64(Bucket), Resumed: true})
	}
	for _, h := range g.script.at(s.Symbol, b) {
		out = append(out, Tick{Kind: 's', Security: s, At: b * int64(Bucket), Resumed: h.to == b})
	}
	scratch = g.Made(s, b, scratch[:0])
	for _, t := range scratch {
		if !t.Late {
			out = append(out, t)
		}
	}
	scratch = g.Made(s, b-g.lateBy, scratch[:0])
	for _, t := range scratch {
		if t.Late {
			out = append(out, t)
		}
	}
	scratch = g.Made(s, b-g.fateBy, scratch[:0])
	for _, t := range scratch {
		switch t.Fate {
		case Cancelled:
			t.Kind = 'x'
			out = append(out, t)
		case Corrected:
			t.Kind = 'c'
			out = append(out, t)
		}
	}
	if (b+int64(s.hash%uint64(luldEvery)))%luldEvery == 0 && g.sessionOf(b).Kind == session.Regular {
		if usd, ok := g.w.EquityAt(s.Symbol, BucketTime(b)); ok {
			mid := int64(usd * Unit)
			size := TickOf(mid)
			out = append(out, Tick{Kind: 'l', Security: s, At: b * int64(Bucket), Price: mid * 11 / 10 / size * size, Ask: max(mid*9/10/size, 1) * size})
		}
	}
	return scratch, out
}

// Told is a print as history tells it. Update is empty for a valid one, else canceled, incorrect (it was corrected) or corrected (it is the
// correction).
type Told struct {
	Tick
	Update string
}

// Prints appends the prints of the bucket as history knows them at bucket now, by time and id.
func (g *Generator) Prints(s *Security, b, now int64, scratch []Tick, out []Told) ([]Tick, []Told) {
	scratch = g.Made(s, b, scratch[:0])
	from := len(out)
	for _, t := range scratch {
		switch {
		case t.Kind != 't', t.Late && b+g.lateBy > now:
		case t.Fate == Kept || b+g.fateBy > now:
			out = append(out, Told{Tick: t})
		case t.Fate == Cancelled:
			out = append(out, Told{t, "canceled"})
		default:
			out = append(out, Told{t, "incorrect"})
			t.ID, t.Price = t.CorrectedID, t.CorrectedPrice
			t.Sequence = uint64(b+g.fateBy)<<sequenceBits | toldByFate | t.Sequence%toldLate
			out = append(out, Told{t, "corrected"})
		}
	}
	slices.SortStableFunc(out[from:], func(x, y Told) int { return int(x.At - y.At) })
	return scratch, out
}
