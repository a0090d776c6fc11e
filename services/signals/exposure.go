package signals

import (
	"context"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// What is told of each symbol, factor and trade day: exposure-<kind>-<factor>-1d.
const (
	exposureBeta        = "beta"
	exposureCorrelation = "correlation"
	exposureShare       = "r2"
	exposureLead        = "lead" // lag of the strongest correlation

	exposurePrefix = "exposure-"
	exposureSource = "hashpivot-exposure" // behind the mark of the inputs
	// exposureMethod is in every value's inputs. Who changes a value raises the number.
	exposureMethod = "exposure/1"
)

var exposureKinds = []string{exposureBeta, exposureCorrelation, exposureShare, exposureLead}

const (
	// exposureTail is how many of a symbol's newest trade days are told, and revised; older ones are the views'.
	exposureTail = 20
	// exposureSpare is how many days more are held, for those without a final close.
	exposureSpare = 10
	// exposureQuiet is how long a change waits for others, and for the end of a history that is being read, which is not told day by day.
	exposureQuiet = 2 * time.Second
)

// whyHistory says that a value needs more days than are held: the views have it.
const whyHistory = "more days than are held"

// exposureSeries is a symbol and a factor.
type exposureSeries struct{ mark, symbol, factor string }

// toldExposures are the tellings of a series.
type toldExposures struct {
	at      map[toldExposure]toldPivot
	vain    map[string]exposureDay // newest day of a kind without a value
	when    time.Time              // told last, by our clock
	dirty   bool                   // to be computed again
	touched bool                   // by history, since the last flush
	since   time.Time              // dirty
	quiet   time.Time              // untouched
}

type toldExposure struct {
	kind string
	day  exposureDay
}

// exposureEngine computes exposures from the inputs that it is given and tells what is new when flush is called. It is not safe for concurrent use
// and keeps no clock.
type exposureEngine struct {
	cfg     Exposure
	cal     session.Calendar
	actions map[string][]reference.Adjustment
	metrics *Metrics
	emit    func(context.Context, market.Event) error

	boards map[string]*exposureBoard // by mark
	told   map[exposureSeries]*toldExposures
}

func newExposureEngine(cfg Exposure, cal session.Calendar, actions []reference.Action, m *Metrics, emit func(context.Context, market.Event) error) (*exposureEngine, error) {
	list, err := reference.Adjustments(actions)
	if err != nil {
		return nil, err
	}
	e := &exposureEngine{
		cfg: cfg, cal: cal, actions: map[string][]reference.Adjustment{}, metrics: m, emit: emit,
		boards: map[string]*exposureBoard{}, told: map[exposureSeries]*toldExposures{},
	}
	for _, a := range list {
		e.actions[a.Symbol] = append(e.actions[a.Symbol], a)
	}
	return e, nil
}

// keep is how many days of a symbol are held.
func (e *exposureEngine) keep() int {
	return e.cfg.Window + exposureLags + exposureTail + exposureSpare + 1
}

func (e *exposureEngine) board(source string) (mark string, _ *exposureBoard) {
	mark = markOf(source)
	b := e.boards[mark]
	if b == nil {
		b = newExposureBoard()
		e.boards[mark] = b
	}
	return mark, b
}

func (e *exposureEngine) series(s exposureSeries) *toldExposures {
	t := e.told[s]
	if t == nil {
		t = &toldExposures{at: map[toldExposure]toldPivot{}, vain: map[string]exposureDay{}}
		e.told[s] = t
	}
	return t
}

// touch has the values of symbols and factors computed again. History comes in masses, and they wait for its end.
func (e *exposureEngine) touch(mark string, symbols, factors []string, history bool) {
	for _, symbol := range symbols {
		for _, factor := range factors {
			t := e.series(exposureSeries{mark, symbol, factor})
			t.dirty, t.touched = true, t.touched || history
		}
	}
}

// take hands an event to the engine.
func (e *exposureEngine) take(ev market.Event, order uint64) {
	switch ev := ev.(type) {
	case *market.Bar:
		e.bar(ev, order)
	case *market.Hashprice:
		e.hashprice(ev, order)
	case *market.Rate:
		e.rate(ev, order)
	case *market.FeedGap:
		e.ledger(ev, order)
	}
}

func (e *exposureEngine) bar(b *market.Bar, order uint64) {
	if b.Interval != market.Interval1d || b.Session != "" || !slices.Contains(e.cfg.Symbols, b.Symbol) || strings.HasSuffix(b.Source, suffix) {
		return
	}
	day, ok := tradeDay(b, e.cal)
	if !ok {
		return
	}
	mark, board := e.board(b.Source)
	c := board.closes[b.Symbol]
	if c == nil {
		c = &exposureCloses{days: map[exposureDay]map[string]exposureInput{}}
		board.closes[b.Symbol] = c
	}
	in := exposureInput{
		usd: b.CloseUSD, at: b.EventTime.UTC(), source: b.Source, rev: b.Rev, order: order, backfill: b.Backfill, final: b.Final, traded: b.Volume.IsPos(),
	}
	if c.take(day, in, e.keep()) {
		e.touch(mark, []string{b.Symbol}, exposureFactors, b.Backfill)
	}
}

func (e *exposureEngine) hashprice(h *market.Hashprice, order uint64) {
	if h.Published || h.Method != levelDaily && h.Method != levelLive || !h.HashpriceUSD.IsPos() || !h.BTCUSD.IsPos() {
		return
	}
	mark, board := e.board(h.Source)
	in := exposureInput{at: h.EventTime.UTC(), source: h.Source, method: h.Method, rev: h.Rev, order: order, backfill: h.Backfill}
	day := dayOf(in.at)
	if h.Method == levelDaily && (!board.any || board.daily < day) {
		board.daily, board.any = day, true
	}
	for factor, usd := range map[string]market.Decimal{"hashprice": h.HashpriceUSD, "btc": h.BTCUSD} {
		in.usd = usd
		if board.level(factor, in, e.levelDays()) && (h.Method == levelDaily || board.any && day >= board.daily) {
			e.touch(mark, e.cfg.Symbols, []string{factor}, h.Backfill)
		}
	}
}

func (e *exposureEngine) rate(r *market.Rate, order uint64) {
	method := r.Method + "/" + strconv.FormatUint(uint64(r.Version), 10)
	if r.GPU != exposureGPU || r.Class != market.OnDemand || !slices.Contains(dailyRates, method) || !r.USDPerGPUHour.IsPos() {
		return
	}
	mark, board := e.board(r.Source)
	in := exposureInput{usd: r.USDPerGPUHour, at: r.EventTime.UTC(), source: r.Source, method: method, rev: r.Rev, order: order, backfill: r.Backfill}
	if board.level("gpu", in, e.levelDays()) {
		e.touch(mark, e.cfg.Symbols, []string{"gpu"}, r.Backfill)
	}
}

// ledger notes how the prices of an import are adjusted.
func (e *exposureEngine) ledger(g *market.FeedGap, order uint64) {
	m := importAdjusted.FindStringSubmatch(g.Reason)
	if m == nil || !strings.HasPrefix(g.Reason, "import ") {
		return
	}
	mark, board := e.board(g.Source)
	old, before := board.how[g.Source]
	if before && (g.EventTime.Before(old.at) || g.EventTime.Equal(old.at) && order < old.order) {
		return
	}
	board.how[g.Source] = imported{m[1], g.EventTime, order}
	if old.how != m[1] {
		e.touch(mark, slices.Sorted(maps.Keys(board.closes)), exposureFactors, false)
	}
}

// levelDays is for how many calendar days levels are held: those of a window, and of twice as long a pause in it.
func (e *exposureEngine) levelDays() int { return 3 * e.keep() }

// restore takes a signal of exposures that was published before.
func (e *exposureEngine) restore(s *market.Signal) {
	mark, ours := strings.CutSuffix(s.Source, exposureSource)
	kind, factor, known := exposureOf(s.Name)
	if !ours || !known {
		return
	}
	t := e.series(exposureSeries{mark, s.Symbol, factor})
	key := toldExposure{kind, dayOf(s.EventTime)}
	if last, before := t.at[key]; before && last.rev >= s.Rev {
		return
	}
	t.at[key] = toldPivot{s.Rev, pivotText(s.Value, s.Inputs)}
}

// exposureName is a signal's, and exposureOf its parts.
func exposureName(kind, factor string) string {
	return exposurePrefix + kind + "-" + factor + pivotDaily
}

func exposureOf(name string) (kind, factor string, known bool) {
	for _, kind := range exposureKinds {
		for _, factor := range exposureFactors {
			if name == exposureName(kind, factor) {
				return kind, factor, true
			}
		}
	}
	return "", "", false
}

// flush tells what is due by now: of the states between two tellings only the last.
func (e *exposureEngine) flush(ctx context.Context, now time.Time) error {
	for _, mark := range slices.Sorted(maps.Keys(e.boards)) {
		board := e.boards[mark]
		for _, symbol := range e.cfg.Symbols {
			c := board.closes[symbol]
			if c == nil {
				continue
			}
			var spans []exposureSpan
			for _, factor := range exposureFactors {
				s := exposureSeries{mark, symbol, factor}
				t := e.series(s)
				if !t.due(now, e.cfg.Every) {
					continue
				}
				if spans == nil {
					spans = c.spans(e.actions[symbol], board.adjusted)
				}
				if err := e.tell(ctx, s, board, spans, now); err != nil {
					return err
				}
				t.dirty, t.since = false, time.Time{}
			}
		}
	}
	return nil
}

// due reports whether a series is to be computed.
func (t *toldExposures) due(now time.Time, every time.Duration) bool {
	if !t.dirty {
		return false
	}
	if t.since.IsZero() {
		t.since = now
	}
	if t.touched {
		t.touched, t.quiet = false, now
	}
	return now.Sub(t.when) >= every && now.Sub(t.since) >= exposureQuiet && (now.Sub(t.quiet) >= exposureQuiet || now.Sub(t.since) >= every)
}

// tell publishes the values of a series of the newest trade days, as far as they are news.
func (e *exposureEngine) tell(ctx context.Context, s exposureSeries, board *exposureBoard, spans []exposureSpan, now time.Time) error {
	t := e.series(s)
	from := max(0, len(spans)-exposureTail)
	if from < len(spans) {
		maps.DeleteFunc(t.at, func(k toldExposure, _ toldPivot) bool { return k.day < spans[from].day })
	}
	x := newExposureWindow(board, s, spans, e.cfg.Window)
	for i := from; i < len(spans); i++ {
		for _, v := range x.values(i) {
			if err := e.news(ctx, s, spans[i].day, v, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// news publishes a value if it is one that was not told.
func (e *exposureEngine) news(ctx context.Context, s exposureSeries, day exposureDay, v exposureValue, now time.Time) error {
	t, name := e.series(s), exposureName(v.kind, s.factor)
	if v.value == nil {
		if t.vain[v.kind] < day {
			t.vain[v.kind] = day
			e.metrics.withoutExposure(name, v.why)
		}
		return nil
	}
	d, err := market.ParseDecimal(scaled(v.value, v.decimals))
	if err != nil {
		return fmt.Errorf("tell %s of %s: %w", name, s.symbol, err)
	}
	key := toldExposure{v.kind, day}
	last, before := t.at[key]
	next := toldPivot{text: pivotText(d, v.inputs)}
	if before {
		if last.text == next.text {
			return nil
		}
		next.rev = last.rev + 1
	}
	unit := "ratio"
	if v.kind == exposureLead {
		unit = "trade days"
	}
	if err := e.emit(ctx, &market.Signal{
		Meta: market.Meta{EventTime: day.time(), RecvTime: now, Source: s.mark + exposureSource, Rev: next.rev, Backfill: v.backfill},
		Name: name, Symbol: s.symbol, Value: d, Unit: unit, Inputs: v.inputs,
	}); err != nil {
		return err
	}
	t.at[key], t.when = next, now
	e.metrics.exposure(name, before)
	return nil
}

// oldest is the oldest day that may be told of a symbol; false if there is none.
func (e *exposureEngine) oldest(mark, symbol string) (exposureDay, bool) {
	board := e.boards[mark]
	if board == nil || board.closes[symbol] == nil {
		return 0, false
	}
	spans := board.closes[symbol].spans(e.actions[symbol], board.adjusted)
	if len(spans) == 0 {
		return 0, false
	}
	return spans[max(0, len(spans)-exposureTail)].day, true
}

// exposureWindow is what values of one symbol and factor are computed from.
type exposureWindow struct {
	board  *exposureBoard
	factor string
	spans  []exposureSpan
	width  int
	whole  bool       // spans are all that there are
	moves  []*big.Int // return of the factor over each span; nil: none
}

func newExposureWindow(board *exposureBoard, s exposureSeries, spans []exposureSpan, width int) exposureWindow {
	x := exposureWindow{board: board, factor: s.factor, spans: spans, width: width, whole: !board.closes[s.symbol].dropped}
	for _, span := range spans {
		move, _, _, _ := board.of(s.factor, span)
		x.moves = append(x.moves, move)
	}
	return x
}

// pairs of the window that ends with span i, the factor's return lag trade days before the symbol's; of each pair the later day lies in the
// window. ok is false where more is needed than is held.
func (x exposureWindow) pairs(i, lag int) (out []pair, ok bool) {
	for at := i; at > i-x.width; at-- {
		atY, atX := at-max(-lag, 0), at-max(lag, 0)
		if atY < 0 || atX < 0 {
			if !x.whole {
				return nil, false
			}
			continue
		}
		if x.board.floor > 0 && x.spans[atX].prev < x.board.floor {
			return nil, false
		}
		if p := (pair{x.moves[atX], x.spans[atY].y}); p.x != nil && p.y != nil {
			out = append(out, p)
		}
	}
	return out, true
}

// exposureValue is a value, or why there is none.
type exposureValue struct {
	kind     string
	value    *big.Int
	decimals int
	why      string
	inputs   map[string]string
	backfill bool
}
