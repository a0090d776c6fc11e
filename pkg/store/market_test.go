package store_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// day generates ticks of many symbols as they come off a stream, 25,000 a second: venue times to the nanosecond, frames of 5 ms with one
// receive time each, messages of one symbol's events of 20 ms with one stream time each, prices walking in cents, odd and round lots. It
// is seeded: the same rows each time.
type day struct {
	r       *rand.Rand
	symbols []symbol
	now     time.Time
	seq     uint64
	id      int64
}

type symbol struct {
	name    string
	cents   int64
	tape    string
	pending []market.Event
}

func newDay(symbols int) *day {
	d := &day{r: rand.New(rand.NewPCG(1, 2)), now: time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC), id: 52983525027888}
	for i := range symbols {
		d.symbols = append(d.symbols, symbol{name: fmt.Sprintf("S%03d", i), cents: 500 + d.r.Int64N(30000), tape: string(rune('A' + i%3))})
	}
	return d
}

const (
	frame  = 5 * time.Millisecond
	window = 20 * time.Millisecond
)

// messages makes the messages of the next window.
func (d *day) messages(event func(s *symbol, m market.Meta) market.Event, f func(market.Event, market.Place)) {
	end := d.now.Truncate(window).Add(window)
	var frameEnd, recv time.Time
	for {
		d.now = d.now.Add(1 + time.Duration(d.r.ExpFloat64()*40_000))
		if !d.now.Before(end) {
			break
		}
		if e := d.now.Truncate(frame).Add(frame); !e.Equal(frameEnd) {
			frameEnd, recv = e, e.Add(8*time.Millisecond+time.Duration(d.r.Int64N(2_000))*time.Microsecond)
		}
		// A few symbols make most of the ticks.
		s := &d.symbols[min(int(d.r.ExpFloat64()*float64(len(d.symbols))/5), len(d.symbols)-1)]
		s.cents = max(100, s.cents+int64(d.r.NormFloat64()*1.2))
		s.pending = append(s.pending, event(s, market.Meta{EventTime: d.now, RecvTime: recv, Source: "alpaca"}))
	}
	for i := range d.symbols {
		s := &d.symbols[i]
		if len(s.pending) == 0 {
			continue
		}
		d.seq++
		stored := end.Add(11*time.Millisecond + time.Duration(d.r.Int64N(1_000))*time.Microsecond)
		for j, ev := range s.pending {
			f(ev, market.Place{Stream: ev.Stream(), Seq: d.seq, Idx: uint32(j), StreamTime: stored})
		}
		s.pending = nil
	}
}

func (d *day) pick(words ...string) string { return words[d.r.IntN(len(words))] }

func (d *day) size() market.Decimal {
	n := d.r.Int64N(99) + 1
	switch d.r.IntN(5) {
	case 0, 1:
		n = 100
	case 2:
		n = 100 * (1 + int64(d.r.ExpFloat64()*3))
	}
	return decimal(n, 0)
}

func decimal(n int64, scale int) market.Decimal {
	d, err := market.ParseDecimal(strconv.FormatFloat(float64(n)/pow(scale), 'f', scale, 64))
	if err != nil {
		panic(err)
	}
	return d
}

func pow(n int) float64 {
	p := 1.0
	for range n {
		p *= 10
	}
	return p
}

func (d *day) trade(s *symbol, m market.Meta) market.Event {
	d.id += 1 + d.r.Int64N(40)
	e := &market.Trade{
		Meta: m, Action: market.TradeNew, Symbol: s.name, ID: strconv.FormatInt(d.id, 10), Exchange: d.pick("V", "Q", "P", "Z", "K", "D", "D", "D", "N", "U"),
		Tape: s.tape, PriceUSD: decimal(s.cents, 2), SizeShares: d.size(),
	}
	switch d.r.IntN(3) {
	case 0:
		e.Conditions = []string{"@"}
	case 1:
		e.Conditions = []string{"@", "I"}
	default:
		e.Conditions = []string{"@", "F", "I"}
	}
	if d.r.IntN(10) == 0 { // a sub-penny print off exchange
		e.PriceUSD = decimal(s.cents*100+d.r.Int64N(100), 4)
	}
	return e
}

func (d *day) quote(s *symbol, m market.Meta) market.Event {
	return &market.Quote{
		Meta: m, Symbol: s.name, BidExchange: d.pick("V", "Q", "P", "Z", "K", "N"), AskExchange: d.pick("V", "Q", "P", "Z", "K", "N"),
		BidPriceUSD: decimal(s.cents, 2), AskPriceUSD: decimal(s.cents+1+d.r.Int64N(3), 2), BidSizeShares: d.size(), AskSizeShares: d.size(),
		Conditions: []string{"R"}, Tape: s.tape,
	}
}
