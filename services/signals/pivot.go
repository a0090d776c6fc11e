package signals

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// Names of the signals of the pivot. Each has a daily series too, with pivotDaily behind the name.
const (
	signalMining    = "mining-revenue"       // USD/MWh by fleet
	signalGPU       = "gpu-revenue"          // USD/MWh by GPU model
	signalPremium   = "pivot-premium"        // their ratio
	signalSpread    = "pivot-spread"         // their difference, USD/MWh
	signalBreakEven = "break-even-hashprice" // USD/PH/s/day

	pivotDaily  = "-1d"
	pivotSource = "hashpivot-pivot" // behind the mark of the inputs
)

var pivotUnits = map[string]string{
	signalMining: "USD/MWh", signalGPU: "USD/MWh", signalPremium: "ratio", signalSpread: "USD/MWh", signalBreakEven: "USD/PH/s/day",
}

// pivotMethod is in every value's inputs. Who changes a value raises the number.
const pivotMethod = "pivot/1"

const (
	// pivotMaxAge is how old the older of two inputs may be when the newer comes; beyond it there is no value.
	pivotMaxAge = 15 * time.Minute
	// pivotWindow is for how long a live value is revised when an input before it comes late.
	pivotWindow = time.Hour
)

// liveRate is the index of the live values.
const liveRate = "gpu-wmedian/1"

// dailyRates are the methods of the daily values; the first that told a rate on a day is that day's. The last one reaches back to before our
// own indices began.
var dailyRates = []string{liveRate, "vast-wmedian/1", "vast-metrics-median/1"}

// pivotSeries is what values of one name and symbol are.
type pivotSeries struct {
	mark   string // sim-, rec- or nothing: inputs of two marks never meet
	name   string
	symbol string
	daily  bool
}

// toldPivots are the tellings of a series by their event time, Unix nanoseconds.
type toldPivots struct {
	at    map[int64]toldPivot
	last  int64              // the newest event time that was told
	vain  int64              // the newest event time of which there is no value
	when  time.Time          // by our clock
	dirty map[int64]struct{} // to be computed again
}

type toldPivot struct {
	rev  uint32
	text string
}

// pivotEngine computes the pivot from the inputs that it is given and tells what is new when flush is called. It is not safe for concurrent use
// and keeps no clock.
type pivotEngine struct {
	cfg     Pivot
	power   *reference.Power
	gpus    []string
	metrics *Metrics
	emit    func(context.Context, market.Event) error

	inputs map[string]*pivotInputs // by mark
	told   map[pivotSeries]*toldPivots
}

func newPivotEngine(cfg Pivot, m *Metrics, emit func(context.Context, market.Event) error) (*pivotEngine, error) {
	power, err := reference.LoadPower()
	if err != nil {
		return nil, err
	}
	gpus := cfg.GPUs
	if len(gpus) == 0 {
		gpus = power.GPUs()
	}
	return &pivotEngine{cfg: cfg, power: power, gpus: gpus, metrics: m, emit: emit, inputs: map[string]*pivotInputs{}, told: map[pivotSeries]*toldPivots{}}, nil
}

func (e *pivotEngine) series(s pivotSeries) *toldPivots {
	t := e.told[s]
	if t == nil {
		t = &toldPivots{at: map[int64]toldPivot{}, dirty: map[int64]struct{}{}}
		e.told[s] = t
	}
	return t
}

func (e *pivotEngine) board(source string) (mark string, _ *pivotInputs) {
	mark = markOf(source)
	b := e.inputs[mark]
	if b == nil {
		b = newPivotInputs()
		e.inputs[mark] = b
	}
	return mark, b
}

// markOf is what a source's name says of where its data comes from.
func markOf(source string) string {
	for _, mark := range []string{"sim-", "rec-"} {
		if strings.HasPrefix(source, mark) {
			return mark
		}
	}
	return ""
}

// seriesOf are the names and symbols that a GPU model has, or the fleet where gpu is empty.
func (e *pivotEngine) seriesOf(mark, gpu string, daily bool) []pivotSeries {
	if gpu == "" {
		return []pivotSeries{{mark, signalMining, e.cfg.Fleet, daily}}
	}
	var out []pivotSeries
	for _, name := range []string{signalGPU, signalPremium, signalSpread, signalBreakEven} {
		out = append(out, pivotSeries{mark, name, gpu, daily})
	}
	return out
}

// hashprice takes a value from the stream.
func (e *pivotEngine) hashprice(h *market.Hashprice, order uint64) {
	if h.Published || h.Method != "tip144" && h.Method != "daily" || !h.HashpriceUSD.IsPos() {
		return
	}
	mark, b := e.board(h.Source)
	in := pivotInput{usd: h.HashpriceUSD, at: h.EventTime.UTC(), method: h.Method, rev: h.Rev, order: order, backfill: h.Backfill}
	if h.Method == "daily" {
		day := in.at.Truncate(24 * time.Hour)
		if b.day(day).takeHashprice(in) {
			e.touch(mark, day, "")
			for _, gpu := range e.gpus {
				e.touch(mark, day, gpu)
			}
		}
		return
	}
	if b.hashprices.take(in) {
		e.late(mark, "", in.at)
		for _, gpu := range e.gpus {
			e.late(mark, gpu, in.at)
		}
	}
}

// rate takes a value from the stream.
func (e *pivotEngine) rate(r *market.Rate, order uint64) {
	method := r.Method + "/" + strconv.FormatUint(uint64(r.Version), 10)
	if r.Class != market.OnDemand || !slices.Contains(e.gpus, r.GPU) || !slices.Contains(dailyRates, method) || !r.USDPerGPUHour.IsPos() {
		return
	}
	mark, b := e.board(r.Source)
	in := pivotInput{usd: r.USDPerGPUHour, at: r.EventTime.UTC(), method: method, rev: r.Rev, order: order, backfill: r.Backfill}
	day := in.at.Truncate(24 * time.Hour)
	if d := b.day(day); d.takeRate(r.GPU, in) {
		e.touch(mark, day, r.GPU)
	}
	if method == liveRate && b.rate(r.GPU).take(in) {
		e.late(mark, r.GPU, in.at)
	}
}

// touch has the values of a day computed again.
func (e *pivotEngine) touch(mark string, day time.Time, gpu string) {
	for _, s := range e.seriesOf(mark, gpu, true) {
		e.series(s).dirty[day.UnixNano()] = struct{}{}
	}
}

// late has the live values at and after an input computed again that were told before it came.
func (e *pivotEngine) late(mark, gpu string, at time.Time) {
	for _, s := range e.seriesOf(mark, gpu, false) {
		t := e.series(s)
		if t.last < at.UnixNano() {
			continue
		}
		for x := range t.at {
			if x >= at.UnixNano() {
				t.dirty[x] = struct{}{}
			}
		}
	}
}

// restore takes a signal of the pivot that was published before.
func (e *pivotEngine) restore(s *market.Signal) {
	mark, ours := strings.CutSuffix(s.Source, pivotSource)
	name, daily := strings.CutSuffix(s.Name, pivotDaily)
	if _, known := pivotUnits[name]; !ours || !known {
		return
	}
	t := e.series(pivotSeries{mark, name, s.Symbol, daily})
	at := s.EventTime.UnixNano()
	if last, before := t.at[at]; before && last.rev >= s.Rev {
		return
	}
	t.at[at], t.last = toldPivot{s.Rev, pivotText(s.Value, s.Inputs)}, max(t.last, at)
}

// pivotText is what a value must differ in to be told again. A new version of the reference alone is not news.
func pivotText(v market.Decimal, inputs map[string]string) string {
	inputs = maps.Clone(inputs)
	delete(inputs, inputReference)
	return v.Trim(0).String() + " " + fmt.Sprint(inputs)
}

// flush tells what is due by now. A live value takes the inputs up to a moment before now, so that those of two streams meet in the order of
// their own times; of the states between two tellings only the last is told.
func (e *pivotEngine) flush(ctx context.Context, now time.Time) error {
	cut := now.Add(-e.cfg.Settle)
	for _, mark := range slices.Sorted(maps.Keys(e.inputs)) {
		b := e.inputs[mark]
		b.forget(now.Add(-pivotWindow - 2*pivotMaxAge))
		for _, gpu := range append([]string{""}, e.gpus...) {
			for _, s := range e.seriesOf(mark, gpu, true) {
				if err := e.again(ctx, s, now); err != nil {
					return err
				}
			}
			for _, s := range e.seriesOf(mark, gpu, false) {
				if err := e.live(ctx, s, b, cut, now); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// live tells the newest value of a series, and revises those that a late input changed.
func (e *pivotEngine) live(ctx context.Context, s pivotSeries, b *pivotInputs, cut, now time.Time) error {
	t := e.series(s)
	if now.Sub(t.when) < e.cfg.Every {
		return nil
	}
	if err := e.again(ctx, s, now); err != nil {
		return err
	}
	at, ok := b.newest(s, cut)
	if !ok || at.UnixNano() <= max(t.last, t.vain) || now.Sub(at) > pivotWindow {
		return nil
	}
	for x := range t.at {
		if x < now.Add(-pivotWindow).UnixNano() && x != t.last {
			delete(t.at, x)
		}
	}
	return e.tell(ctx, s, at, now)
}

// again computes what is dirty, oldest first. A day waits until it has ended.
func (e *pivotEngine) again(ctx context.Context, s pivotSeries, now time.Time) error {
	t := e.told[s]
	if t == nil || len(t.dirty) == 0 {
		return nil
	}
	for _, x := range slices.Sorted(maps.Keys(t.dirty)) {
		at := time.Unix(0, x).UTC()
		if s.daily && at.Add(24*time.Hour+e.cfg.Settle).After(now) {
			break
		}
		if err := e.tell(ctx, s, at, now); err != nil {
			return err
		}
		delete(t.dirty, x)
	}
	return nil
}

// tell publishes the value of a series at a time if that is news.
func (e *pivotEngine) tell(ctx context.Context, s pivotSeries, at, now time.Time) error {
	t := e.series(s)
	v, inputs, backfill, reason := e.value(s, at)
	name := s.name
	if s.daily {
		name += pivotDaily
	}
	if reason != "" {
		if t.vain < at.UnixNano() {
			t.vain = at.UnixNano()
			e.metrics.withoutPivot(name, reason)
		}
		return nil
	}
	last, before := t.at[at.UnixNano()]
	x := toldPivot{text: pivotText(v, inputs)}
	if before {
		if last.text == x.text {
			return nil
		}
		x.rev = last.rev + 1
	}
	sig := &market.Signal{
		Meta: market.Meta{EventTime: at, RecvTime: now, Source: s.mark + pivotSource, Rev: x.rev, Backfill: backfill},
		Name: name, Symbol: s.symbol, Value: v, Unit: pivotUnits[s.name], Inputs: inputs,
	}
	if err := e.emit(ctx, sig); err != nil {
		return err
	}
	t.at[at.UnixNano()], t.last, t.when = x, max(t.last, at.UnixNano()), now
	e.metrics.pivot(name, before)
	return nil
}
