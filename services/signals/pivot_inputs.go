package signals

import (
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// pivotInput is a hashprice or a rate.
type pivotInput struct {
	usd      market.Decimal
	at       time.Time
	method   string
	rev      uint32
	order    uint64 // place in the stream
	backfill bool
}

// later reports whether x tells the same fact in a later revision, or again, further on in the stream.
func (x pivotInput) later(y pivotInput) bool {
	return x.rev > y.rev || x.rev == y.rev && x.order > y.order
}

// pivotLine is recent inputs of one kind by their time.
type pivotLine struct{ list []pivotInput }

// take adds an input or its revision. It reports whether that is new.
func (l *pivotLine) take(in pivotInput) bool {
	i, found := l.find(in.at)
	if found {
		if !in.later(l.list[i]) {
			return false
		}
		l.list[i] = in
		return true
	}
	l.list = slices.Insert(l.list, i, in)
	return true
}

func (l *pivotLine) find(at time.Time) (int, bool) {
	return slices.BinarySearchFunc(l.list, at, func(x pivotInput, t time.Time) int { return x.at.Compare(t) })
}

// until is the newest input up to a time; nil if there is none.
func (l *pivotLine) until(at time.Time) *pivotInput {
	i, found := l.find(at)
	if !found {
		i--
	}
	if i < 0 {
		return nil
	}
	return &l.list[i]
}

func (l *pivotLine) forget(before time.Time) {
	i, _ := l.find(before)
	l.list = slices.Delete(l.list, 0, i)
}

// pivotDay is the inputs of a UTC day.
type pivotDay struct {
	hashprice *pivotInput
	rates     map[string]map[string]pivotInput // the last of the day, by GPU model and method
}

func (d *pivotDay) takeHashprice(in pivotInput) bool {
	if d.hashprice != nil && !in.later(*d.hashprice) {
		return false
	}
	d.hashprice = &in
	return true
}

func (d *pivotDay) takeRate(gpu string, in pivotInput) bool {
	m := d.rates[gpu]
	if m == nil {
		m = map[string]pivotInput{}
		d.rates[gpu] = m
	}
	if old, ok := m[in.method]; ok && (in.at.Before(old.at) || in.at.Equal(old.at) && !in.later(old)) {
		return false
	}
	m[in.method] = in
	return true
}

// rate of the day: of the first method that has one.
func (d *pivotDay) rate(gpu string) *pivotInput {
	for _, method := range dailyRates {
		if in, ok := d.rates[gpu][method]; ok {
			return &in
		}
	}
	return nil
}

// pivotInputs are the inputs of one mark.
type pivotInputs struct {
	hashprices pivotLine
	rates      map[string]*pivotLine
	days       map[int64]*pivotDay
}

func newPivotInputs() *pivotInputs {
	return &pivotInputs{rates: map[string]*pivotLine{}, days: map[int64]*pivotDay{}}
}

func (b *pivotInputs) rate(gpu string) *pivotLine {
	l := b.rates[gpu]
	if l == nil {
		l = &pivotLine{}
		b.rates[gpu] = l
	}
	return l
}

func (b *pivotInputs) day(day time.Time) *pivotDay {
	d := b.days[day.Unix()]
	if d == nil {
		d = &pivotDay{rates: map[string]map[string]pivotInput{}}
		b.days[day.Unix()] = d
	}
	return d
}

// at are the inputs of a series at a time.
func (b *pivotInputs) at(s pivotSeries, at time.Time) (hashprice, rate *pivotInput) {
	if !s.daily {
		return b.hashprices.until(at), b.rate(s.symbol).until(at)
	}
	d := b.days[at.Unix()]
	if d == nil {
		return nil, nil
	}
	return d.hashprice, d.rate(s.symbol)
}

// newest is the time of the newest value of a series with inputs up to a time: that of the newer of its inputs.
func (b *pivotInputs) newest(s pivotSeries, until time.Time) (at time.Time, ok bool) {
	h, r := b.at(s, until)
	switch {
	case s.name == signalMining:
		r = nil
	case s.name == signalGPU || s.name == signalBreakEven:
		h = nil
	case h == nil || r == nil:
		return time.Time{}, false
	}
	for _, in := range []*pivotInput{h, r} {
		if in != nil && (!ok || in.at.After(at)) {
			at, ok = in.at, true
		}
	}
	return at, ok
}

// forget drops live inputs from before a time.
func (b *pivotInputs) forget(before time.Time) {
	b.hashprices.forget(before)
	for _, l := range b.rates {
		l.forget(before)
	}
}
