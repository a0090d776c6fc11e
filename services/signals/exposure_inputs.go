package signals

import (
	"cmp"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// exposureFactors are what returns are held against.
var exposureFactors = []string{"hashprice", "btc", "gpu"}

// exposureGPU is the model whose on-demand rate is the factor gpu.
const exposureGPU = "h100-sxm"

// Methods of levels; the first that both days of a span have is the span's.
const (
	levelDaily = "daily"
	levelLive  = "tip144" // the last of a day, from the newest daily one on: provisional
)

var exposureMethods = map[string][]string{"hashprice": {levelDaily, levelLive}, "btc": {levelDaily, levelLive}, "gpu": dailyRates}

// exposureDay is a UTC day, Unix seconds of its start.
type exposureDay int64

func (d exposureDay) time() time.Time { return time.Unix(int64(d), 0).UTC() }
func (d exposureDay) String() string  { return d.time().Format(time.DateOnly) }

func dayOf(t time.Time) exposureDay { return exposureDay(t.UTC().Truncate(24 * time.Hour).Unix()) }

// exposureInput is a close or a level.
type exposureInput struct {
	usd      market.Decimal
	at       time.Time
	source   string
	method   string
	rev      uint32
	order    uint64 // place in the stream
	backfill bool
	final    bool
	traded   bool // the bar has a volume
}

// later reports whether x is told of the same fact in a later revision, or again, further on in the stream.
func (x exposureInput) later(y exposureInput) bool {
	return cmp.Or(cmp.Compare(x.rev, y.rev), cmp.Compare(x.order, y.order)) > 0
}

// preferred is less than 0 where x is the close of a day rather than y: final before provisional, then by the venue, as daily_closes has it.
func (x exposureInput) preferred(y exposureInput) int {
	final := func(in exposureInput) int {
		if in.final {
			return 0
		}
		return 1
	}
	rank := func(in exposureInput) int {
		base := strings.TrimPrefix(in.source, markOf(in.source))
		switch {
		case strings.HasPrefix(base, "alpaca"):
			return 1
		case strings.HasPrefix(base, "massive"):
			return 2
		case base == "finnhub":
			return 3
		case in.traded:
			return 4
		}
		return 5
	}
	return cmp.Or(cmp.Compare(final(x), final(y)), cmp.Compare(rank(x), rank(y)), cmp.Compare(x.source, y.source))
}

// exposureCloses are the newest days of a symbol.
type exposureCloses struct {
	days    map[exposureDay]map[string]exposureInput // by source
	dropped bool                                     // older days were there
	oldest  exposureDay                              // that is held, once one was dropped
}

func (c *exposureCloses) take(day exposureDay, in exposureInput, keep int) bool {
	if c.dropped && day < c.oldest {
		return false
	}
	m := c.days[day]
	if old, ok := m[in.source]; ok && !in.later(old) {
		return false
	}
	if m == nil {
		m = map[string]exposureInput{}
		c.days[day] = m
	}
	m[in.source] = in
	if len(c.days) > keep {
		list := make([]exposureDay, 0, len(c.days))
		for d := range c.days {
			list = append(list, d)
		}
		slices.Sort(list)
		delete(c.days, list[0])
		c.dropped, c.oldest = true, list[1]
	}
	return true
}

// close of a day: of the preferred source.
func (c *exposureCloses) close(day exposureDay) (best exposureInput) {
	first := true
	for _, in := range c.days[day] {
		if first || in.preferred(best) < 0 {
			best, first = in, false
		}
	}
	return best
}

// exposureSpan is the time from one trade day of a symbol to the next.
type exposureSpan struct {
	prev, day     exposureDay
	before, close exposureInput
	factor        string   // what before is multiplied by for actions between the two; empty: nothing
	y             *big.Int // nil: no return, and why says why
	why           string
}

// spans of the days that are held, oldest first. Of the newest day a provisional close counts, of any other only a final one.
func (c *exposureCloses) spans(actions []reference.Adjustment, adjusted func(source string) string) []exposureSpan {
	days := slices.Sorted(maps.Keys(c.days))
	var out []exposureSpan
	var prev exposureDay
	var before exposureInput
	for i, day := range days {
		in := c.close(day)
		if !in.final && i < len(days)-1 {
			continue
		}
		if before.source != "" {
			s := exposureSpan{prev: prev, day: day, before: before, close: in}
			s.compute(actions, adjusted(before.source), adjusted(in.source))
			out = append(out, s)
		}
		prev, before = day, in
	}
	return out
}

// compute the return. Prices of a source that has adjusted them itself are not adjusted again.
func (s *exposureSpan) compute(actions []reference.Adjustment, before, now string) {
	if before != now {
		s.why = whyAdjusted
		return
	}
	times, timesBefore := tenTo(reference.FactorScale), tenTo(reference.FactorScale)
	if a := adjustmentOf(actions, s.prev.time(), s.day.time()); a != nil && now != adjustedTotal {
		s.factor, timesBefore = factorOf(a.Total)
		if now == adjustedSplit {
			_, times = factorOf(a.Split)
		}
	}
	s.y = returnOf(timesBefore.Mul(timesBefore, unscaled(s.before.usd, 8)), times.Mul(times, unscaled(s.close.usd, 8)))
	if s.y == nil {
		s.why = whyPriceJumps
	}
}

// factorOf is a factor as the table adjustment_factors has it: as text, and times 10^30.
func factorOf(r *big.Rat) (string, *big.Int) {
	text := r.FloatString(reference.FactorScale)
	v, _ := new(big.Int).SetString(strings.Replace(text, ".", "", 1), 10)
	return text, v
}

// How the prices of a source are adjusted already.
const (
	adjustedSplit = "split"
	adjustedTotal = "total"
)

// importAdjusted finds how an import's prices are adjusted in its line of the ledger.
var importAdjusted = regexp.MustCompile(`; adjusted \(([a-z-]+)\)`)

// adjustmentOf makes a price of one date comparable to one of a later date; nil if nothing happened between.
func adjustmentOf(actions []reference.Adjustment, date, asOf time.Time) *reference.Adjustment {
	in := func(t, from, to time.Time) bool { return !t.Before(from) && (to.IsZero() || t.Before(to)) }
	for i := range actions {
		if a := &actions[i]; in(date, a.From, a.To) && in(asOf, a.AsOfFrom, a.AsOf) {
			return a
		}
	}
	return nil
}

// exposureLevels are the levels of a factor by day and method.
type exposureLevels map[exposureDay]map[string]exposureInput

// exposureBoard is the inputs of one mark.
type exposureBoard struct {
	closes map[string]*exposureCloses
	levels map[string]exposureLevels
	newest exposureDay // day of a level
	daily  exposureDay // newest day of a daily hashprice, if there is one
	any    bool
	floor  exposureDay // levels of days before it are not held
	how    map[string]imported
}

// imported is what the ledger says of an imported source's prices.
type imported struct {
	how   string
	at    time.Time
	order uint64
}

func newExposureBoard() *exposureBoard {
	b := &exposureBoard{closes: map[string]*exposureCloses{}, levels: map[string]exposureLevels{}, how: map[string]imported{}}
	for _, f := range exposureFactors {
		b.levels[f] = exposureLevels{}
	}
	return b
}

// adjusted says how the prices of a source are adjusted already; empty: not at all.
func (b *exposureBoard) adjusted(source string) string {
	how := b.how[source].how
	switch {
	case strings.HasPrefix(source, "rec-alpaca"):
		return adjustedTotal
	case strings.HasPrefix(how, "yahoo"):
		return adjustedSplit
	case how != "":
		return adjustedTotal
	}
	return ""
}

// level takes a level of a day. It holds those of the newest keep days.
func (b *exposureBoard) level(factor string, in exposureInput, keep int) bool {
	day := dayOf(in.at)
	if b.newest < day {
		b.newest = day
		b.floor = dayOf(day.time().AddDate(0, 0, -keep))
		for _, l := range b.levels {
			for d := range l {
				if d < b.floor {
					delete(l, d)
				}
			}
		}
	}
	if day < b.floor {
		return false
	}
	m := b.levels[factor][day]
	if old, ok := m[in.method]; ok && (in.method != levelDaily && in.at.Before(old.at) || (in.method == levelDaily || in.at.Equal(old.at)) && !in.later(old)) {
		return false
	}
	if m == nil {
		m = map[string]exposureInput{}
		b.levels[factor][day] = m
	}
	m[in.method] = in
	return true
}

// of is the return of a factor over a span, with its levels; nil where there is none, and why says why.
func (b *exposureBoard) of(factor string, s exposureSpan) (x *big.Int, before, level exposureInput, why string) {
	now, prev := b.at(factor, s.day), b.at(factor, s.prev)
	switch {
	case len(now) == 0:
		return nil, before, level, whyNoLevel
	case len(prev) == 0:
		return nil, before, level, whyNoLevelPrev
	}
	for _, method := range exposureMethods[factor] {
		level, ok := now[method]
		before, too := prev[method]
		if !ok || !too {
			continue
		}
		if x = returnOf(unscaled(before.usd, 19), unscaled(level.usd, 19)); x == nil {
			why = whyFactorJumps
		}
		return x, before, level, why
	}
	return nil, before, level, whyNoMethod
}

// at are the levels of a day by method. Live ones count from the newest daily one on.
func (b *exposureBoard) at(factor string, day exposureDay) map[string]exposureInput {
	m := b.levels[factor][day]
	if _, ok := m[levelLive]; !ok || b.any && day >= b.daily {
		return m
	}
	m = maps.Clone(m)
	delete(m, levelLive)
	return m
}

// tradeDay of a daily bar.
func tradeDay(b *market.Bar, cal session.Calendar) (exposureDay, bool) {
	d := cal.DateOf(b.EventTime)
	if b.TradeDate != "" {
		var err error
		if d, err = session.ParseDate(b.TradeDate); err != nil {
			return 0, false
		}
	}
	return dayOf(time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC)), true
}
