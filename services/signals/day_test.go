package signals

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// TestTradeDateOfTheTape feeds the engine a whole trade date with a night session, as it is delivered live with auctions, late prints,
// cancels and corrections, and holds minutes and the day against what the tape says of them itself.
func TestTradeDateOfTheTape(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a whole trade date")
	}
	cal := us(t)
	w, err := world.New(world.Config{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	g, err := tape.New(w, tape.Config{Seed: 3, Symbols: []string{"IREN"}, Rate: 5, FaultEvery: 30, Calendar: cal})
	if err != nil {
		t.Fatal(err)
	}
	date := session.Date{Year: 2026, Month: 12, Day: 8}
	from, to := time.Date(2026, 12, 8, 2, 0, 0, 0, time.UTC), time.Date(2026, 12, 9, 1, 0, 0, 0, time.UTC)
	cfg := DefaultConfig()
	cfg.Bars.Intervals = []market.Interval{market.Interval1m, market.Interval1d}
	h := newHarness(t, cfg, cal)
	s := g.Security("IREN")
	last := tape.BucketOf(to) + g.Settled() + 1
	var scratch, out []tape.Tick
	n, kinds := 0, map[byte]int{}
	for b := tape.BucketOf(from); b <= last; b++ {
		scratch, out = g.Delivered(s, b, scratch, out[:0])
		for _, x := range out {
			kinds[x.Kind]++
			if x.Kind != 't' && x.Kind != 'x' && x.Kind != 'c' {
				continue
			}
			n++
			h.feed(t, n, tradeOf(x))
		}
		if b%1200 == 0 {
			h.tick(t, tape.BucketTime(b))
		}
	}
	h.tick(t, to.Add(16*time.Minute))
	bars := lastOf(t, h.bars)
	compared := 0
	check := func(start time.Time, i market.Interval, sess string, theirs tape.Bar, ok bool) {
		t.Helper()
		ours, have := bars[fmt.Sprint("IREN", i, sess, start.Unix())]
		if have != ok {
			t.Errorf("%s of %s %s: we have it %v, the tape %v: %+v %+v", i, start, sess, have, ok, ours, theirs)
			return
		}
		if !ok {
			return
		}
		compared++
		usd := func(units int64) string { return decimalOf(units * 1e8 / tape.Unit).String() }
		got := fmt.Sprintf("%s %s %s %s %s %d", ours.OpenUSD, ours.HighUSD, ours.LowUSD, ours.CloseUSD, ours.Volume, ours.TradeCount)
		want := fmt.Sprintf("%s %s %s %s %d %d", usd(theirs.O), usd(theirs.H), usd(theirs.L), usd(theirs.C), theirs.V, theirs.N)
		vwap, _ := fixed(ours.VWAPUSD)
		if d := vwap - theirs.VW*100; got != want || d < -100 || d > 100 || !ours.Final {
			t.Errorf("%s of %s %s: ours %s %s, the tape's %s %d", i, start, sess, got, ours.VWAPUSD, want, theirs.VW)
		}
	}
	for at := from; at.Before(to); at = at.Add(time.Minute) {
		b, ok := g.MinuteBar(s, tape.BucketOf(at), last)
		check(at, market.Interval1m, string(cal.At(at).Kind), b, ok)
	}
	always, err := session.NewAlways()
	if err != nil {
		t.Fatal(err)
	}
	b, ok := g.DailyBar(always, s, date, to.Add(time.Hour))
	check(cal.Midnight(date), market.Interval1d, "", b, ok)
	if compared < 500 || kinds['x'] == 0 || kinds['c'] == 0 {
		t.Errorf("%d bars compared, %v", compared, kinds)
	}
	t.Logf("%d bars equal, of %d prints, %d cancels, %d corrections", compared, kinds['t'], kinds['x'], kinds['c'])
}

func tradeOf(x tape.Tick) market.Trade {
	usd := func(units int64) market.Decimal { return decimalOf(units * 1e8 / tape.Unit) }
	at := time.Unix(0, x.At).UTC()
	out := market.Trade{
		Meta: market.Meta{EventTime: at, RecvTime: at, Source: "sim-alpaca"}, Action: market.TradeNew, Symbol: x.Security.Symbol, ID: strconv.FormatUint(x.ID, 10),
		Exchange: string(x.Exchange), Tape: x.Security.Tape, PriceUSD: usd(x.Price), SizeShares: decimalOf(x.Size * 1e8), Conditions: x.Conditions,
	}
	switch x.Kind {
	case 'x':
		out.Action, out.EventTime, out.Conditions = market.TradeCancel, time.Unix(0, x.ToldAt).UTC(), nil
	case 'c':
		out.Action, out.EventTime, out.OriginalID = market.TradeCorrection, time.Unix(0, x.ToldAt).UTC(), out.ID
		out.ID, out.PriceUSD = strconv.FormatUint(x.CorrectedID, 10), usd(x.CorrectedPrice)
	}
	return out
}
