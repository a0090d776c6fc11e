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
	"github.com/hashpivot/hashpivot/pkg/session"
)

// Names of the signals. A trade date's bar has a name of its own: its label, midnight, is that of a minute of the night session too.
const (
	signalDifference    = "bar-difference"
	signalDayDifference = "bar-difference-1d"
	signalSkipped       = "prints-without-bar"
)

func differenceOf(length int32) string {
	if length == dayLong {
		return signalDayDifference
	}
	return signalDifference
}

// vendorBar is the venue's own bar.
type vendorBar struct {
	values
	rev     uint32
	final   bool
	changed time.Time // by our clock
}

// toldDifference is the last revision of a difference that was told.
type toldDifference struct {
	rev    uint32
	fields int
	inputs string
}

// skipped counts the prints of a trade date that no bar can have.
type skipped struct{ outside, unmatched, tooOld, refused int }

func (s skipped) total() int { return s.outside + s.unmatched + s.tooOld + s.refused }

type toldSkipped struct {
	skipped
	rev uint32
	any bool // something was told
	at  time.Time
}

// own takes a venue's bar to hold ours against.
func (e *engine) own(ctx context.Context, bar *market.Bar, now time.Time) error {
	if bar.Session != "" || !slices.Contains(e.cfg.Bars.Check, bar.Interval) || bar.TradeCount == 0 && bar.Volume.IsZero() {
		return nil
	}
	v, fits := valuesOf(bar)
	if !fits {
		return nil
	}
	k, n := barKey{length: dayLong, start: bar.EventTime.Unix()}, bookName{bar.Source, bar.Symbol, e.cal.DateOf(bar.EventTime)}
	if bar.Interval == market.Interval1m {
		s := e.cal.At(bar.EventTime)
		if s.Kind == session.Closed {
			return nil
		}
		k.length, k.session, n.date = min1, kindIndex(s.Kind), s.TradeDate
	}
	if _, held := e.books[n]; !held && n.date.Before(e.complete) {
		return nil // we have no bar of ours of that date at hand, and reading its prints again would not be for a print's sake
	}
	b, err := e.bookOf(ctx, n)
	if err != nil {
		return err
	}
	if last, before := b.vendor[k]; before && last.rev > bar.Rev {
		return nil
	}
	b.vendor[k] = vendorBar{values: v, rev: bar.Rev, final: bar.Final, changed: now}
	e.again(b, k, now)
	return nil
}

// again asks for a comparison once both bars have stood for a while.
func (e *engine) again(b *symbolBook, k barKey, now time.Time) {
	if _, ok := b.vendor[k]; !ok {
		return
	}
	at := time.Unix(b.end(k, e.cal), 0)
	if at.Before(now) {
		at = now
	}
	b.checks[k] = at.Add(e.cfg.Bars.Settle)
}

// check compares what is due.
func (e *engine) check(ctx context.Context, b *symbolBook, now time.Time) error {
	for k, at := range b.checks {
		if at.After(now) {
			continue
		}
		delete(b.checks, k)
		if _, changing := b.pending[k]; changing {
			b.checks[k] = now.Add(e.cfg.Bars.Settle)
			continue
		}
		ours, ok := b.told[k]
		theirs := b.vendor[k]
		if !ok || k.length == dayLong && (!ours.final || !theirs.final) || b.lost {
			continue // asked for again when ours is told, or final
		}
		from, to := time.Unix(b.first(k), 0), time.Unix(b.end(k, e.cal), 0)
		switch e.covered(b.source, b.symbol, from, to) {
		case holed:
			continue
		case unknownYet:
			b.checks[k] = now.Add(e.cfg.Bars.Settle)
			continue
		}
		if err := e.compare(ctx, b, k, ours, theirs, now); err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) compare(ctx context.Context, b *symbolBook, k barKey, ours toldBar, theirs vendorBar, now time.Time) error {
	inputs := map[string]string{}
	fields := 0
	note := func(name string, a, b, slack int64) {
		if d := a - b; d > slack || d < -slack {
			fields++
			inputs["ours."+name], inputs["vendor."+name] = decimalOf(a).String(), decimalOf(b).String()
		}
	}
	note("open_usd", ours.open, theirs.open, 0)
	note("high_usd", ours.high, theirs.high, 0)
	note("low_usd", ours.low, theirs.low, 0)
	note("close_usd", ours.close, theirs.close, 0)
	note("volume", int64(ours.volume), int64(theirs.volume), 0)
	if theirs.trades > 0 && ours.trades != theirs.trades {
		fields++
		inputs["ours.trade_count"], inputs["vendor.trade_count"] = strconv.FormatUint(ours.trades, 10), strconv.FormatUint(theirs.trades, 10)
	}
	if theirs.vwap > 0 {
		note("vwap_usd", ours.vwap, theirs.vwap, vwapSlack(b.rules.Method))
	}
	last, before := b.found[k]
	text := fmt.Sprint(inputs)
	if !before && fields == 0 || before && last.fields == fields && last.inputs == text {
		e.metrics.compared(b.source, fields > 0)
		return nil
	}
	x := toldDifference{fields: fields, inputs: text}
	if before {
		x.rev = last.rev + 1
	}
	inputs[inputInterval] = string(k.interval())
	inputs[inputOurRev], inputs[inputVendorRev] = strconv.FormatUint(uint64(ours.rev), 10), strconv.FormatUint(uint64(theirs.rev), 10)
	s := &market.Signal{
		Meta: market.Meta{EventTime: k.startOf(), RecvTime: now, Source: b.source + suffix, Rev: x.rev},
		Name: differenceOf(k.length), Symbol: b.symbol, Value: decimalOf(int64(fields) * 1e8), Unit: "fields", Inputs: inputs,
	}
	if err := e.emit(ctx, s); err != nil {
		return err
	}
	b.found[k] = x
	e.metrics.compared(b.source, fields > 0)
	return nil
}

// vwapSlack is one unit in the last place that the venue writes: it rounds its average price, or cuts it.
func vwapSlack(method string) int64 {
	if method == "massive-conditions/1" {
		return 10_000 // 1e-4
	}
	return 100 // 1e-6
}

// list tells how many prints of the trade date no bar can have, if any, when the date closes and when that changes later.
func (e *engine) list(ctx context.Context, b *symbolBook, now time.Time) error {
	if !b.final || now.Sub(b.listed.at) < e.cfg.Bars.ReviseEvery {
		return nil
	}
	b.listed.at = now
	s := b.skipped
	s.unmatched = b.unmatched()
	s.tooOld = max(s.tooOld, b.listed.tooOld) // after a restart only some of them are read again
	if b.listed.any && s == b.listed.skipped || !b.listed.any && s.total() == 0 {
		return nil
	}
	x := b.listed
	if x.any {
		x.rev++
	}
	x.skipped, x.any = s, true
	sig := &market.Signal{
		Meta: market.Meta{EventTime: e.cal.Midnight(b.date), RecvTime: now, Source: b.source + suffix, Rev: x.rev},
		Name: signalSkipped, Symbol: b.symbol, Value: decimalOf(int64(s.total()) * 1e8), Unit: "prints",
		Inputs: map[string]string{
			inputDate: b.date.String(), inputOutside: strconv.Itoa(s.outside), inputUnmatched: strconv.Itoa(s.unmatched),
			inputTooOld: strconv.Itoa(s.tooOld), inputRefused: strconv.Itoa(s.refused),
		},
	}
	if err := e.emit(ctx, sig); err != nil {
		return err
	}
	b.listed = x
	return nil
}

// Inputs of the signal of prints without a bar.
const (
	inputDate      = "trade_date"
	inputOutside   = "outside_sessions"
	inputUnmatched = "revisions_without_print"
	inputTooOld    = "older_than_the_stream"
	inputRefused   = "impossible_bars"
)

// Inputs of a difference that are not a field's.
const (
	inputInterval  = "interval"
	inputOurRev    = "ours.rev"
	inputVendorRev = "vendor.rev"
)

// restoreSignal takes a signal of ours that was published before.
func (e *engine) restoreSignal(ctx context.Context, s *market.Signal) error {
	source, ours := strings.CutSuffix(s.Source, suffix)
	var date session.Date
	k := barKey{length: dayLong, start: s.EventTime.Unix()}
	switch {
	case !ours:
		return nil
	case s.Name == signalSkipped, s.Name == signalDayDifference:
		date = e.cal.DateOf(s.EventTime)
	case s.Name == signalDifference:
		x := e.cal.At(s.EventTime)
		date, k.length, k.session = x.TradeDate, min1, kindIndex(x.Kind)
	default:
		return nil
	}
	if date.Before(e.complete) {
		return nil
	}
	b, err := e.bookOf(ctx, bookName{source, s.Symbol, date})
	if err != nil {
		return err
	}
	b.restoreSignal(s, k)
	return nil
}

func (b *symbolBook) restoreSignal(s *market.Signal, k barKey) {
	if s.Name == signalSkipped {
		if !b.listed.any || b.listed.rev < s.Rev {
			get := func(key string) int { n, _ := strconv.Atoi(s.Inputs[key]); return n }
			b.listed.skipped = skipped{outside: get(inputOutside), unmatched: get(inputUnmatched), tooOld: get(inputTooOld), refused: get(inputRefused)}
			b.listed.rev, b.listed.any = s.Rev, true
		}
		return
	}
	if last, before := b.found[k]; before && last.rev >= s.Rev {
		return
	}
	inputs := maps.Clone(s.Inputs)
	for _, key := range []string{inputInterval, inputOurRev, inputVendorRev} {
		delete(inputs, key)
	}
	fields, _, _ := s.Value.Int64(0)
	b.found[k] = toldDifference{rev: s.Rev, fields: int(fields), inputs: fmt.Sprint(inputs)}
}
