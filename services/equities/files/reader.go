package files

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// reader turns the rows of one file into events.
type reader struct {
	path   string
	opt    Options
	clock  clock
	made   time.Time // when the file was last changed: what was not over by then is not final
	layout Layout
	symbol string // of a file without such a column

	ordinals map[string]int
	kept     map[barKey]keptBar
	from, to time.Time // of what was read
}

func (im *importer) reader(path string, made time.Time) *reader {
	symbol := im.opt.Symbol
	if symbol == "" {
		symbol, _, _ = strings.Cut(filepath.Base(path), ".")
		symbol = strings.ToUpper(symbol)
	}
	return &reader{path: path, opt: im.opt, clock: im.clock, made: made, symbol: symbol, ordinals: map[string]int{}, kept: map[barKey]keptBar{}}
}

// errAdjusted says how to take adjusted prices.
var errAdjusted = errors.New("its prices are adjusted for splits, not what was traded: set files.adjusted (--adjusted) to take them, under a source of their own")

// read hands the events over, and the rows that are none. bad may be nil.
func (r *reader) read(ctx context.Context, fn func(market.Event, row) error, bad func(row, error) error) error {
	err := readFile(r.path, sink{
		header: func(columns []string) (err error) {
			if r.layout, err = layoutOf(r.opt.Layout, columns); err != nil {
				return err
			}
			if slices.Contains(adjusted, r.layout) && !r.opt.Adjusted {
				return fmt.Errorf("layout %s: %w", r.layout, errAdjusted)
			}
			return nil
		},
		row: func(x row) error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			ev, err := r.event(&x)
			if err != nil {
				if bad == nil {
					return nil
				}
				return bad(x, err)
			}
			at := ev.GetMeta().EventTime
			if r.from.IsZero() || at.Before(r.from) {
				r.from = at
			}
			if at.After(r.to) {
				r.to = at
			}
			return fn(ev, x)
		},
	})
	return err
}

func (r *reader) event(x *row) (market.Event, error) {
	if x.err != nil {
		return nil, x.err
	}
	if x.cells["symbol"] == "" {
		x.cells["symbol"] = r.symbol
	}
	if err := engine.CheckSymbols([]string{x.cells["symbol"]}); err != nil {
		return nil, &feed.Malformed{Reason: market.ReasonValue, Err: err}
	}
	c := &cells{row: *x, clock: r.clock}
	var ev market.Event
	switch r.layout {
	case Trades:
		t := c.trade()
		if t.ID == "" && c.err == nil {
			t.ID = r.ordinal(t)
		}
		ev = t
	case Quotes:
		ev = c.quote()
	case Bars:
		ev = c.bar(r.opt.Interval)
	case YahooCSV, Stooq:
		ev = c.daily(x.cells["symbol"])
	case Closes:
		ev = c.closing(x.cells["symbol"])
	case YahooJSON:
		ev = r.chartBar(c)
	default:
		return nil, fmt.Errorf("layout %q is not read", r.layout)
	}
	if b, ok := ev.(*market.Bar); ok && c.err == nil {
		b.Final = r.final(b)
	}
	return ev, c.err
}

// final reports whether the bar's trade date was over when the file was made.
func (r *reader) final(b *market.Bar) bool {
	d := r.clock.cal.DateOf(b.EventTime)
	if b.Interval != market.Interval1d {
		d = r.clock.cal.At(b.EventTime).TradeDate
	}
	return !r.clock.cal.TradeDateEnd(d).After(r.made)
}

// chartBar of a granularity that we have.
func (r *reader) chartBar(c *cells) *market.Bar {
	switch g := c.cells[chartColumn]; g {
	case "1d":
		c.chartDay()
		return c.daily(c.cells["symbol"])
	case "1m", "1h", "60m":
		b := &market.Bar{
			Symbol: c.cells["symbol"], Interval: market.Interval1m, OpenUSD: c.noisyPrice("open"), HighUSD: c.noisyPrice("high"), LowUSD: c.noisyPrice("low"),
			CloseUSD: c.noisyPrice("close"), Volume: c.decimal("volume", false).Trim(0),
		}
		if g != "1m" {
			b.Interval = market.Interval1h
		}
		b.EventTime = c.time("time")
		return b
	default:
		c.fail(&market.Invalid{Reason: market.ReasonValue, Detail: fmt.Sprintf("bars of %.8q are not kept; 1m, 1h, 1d are", g)})
		return &market.Bar{}
	}
}

// ordinal is the id of a print without one: its content, and which of its equals in the file it is. The same prints in another file get the
// same ids: files may overlap.
func (r *reader) ordinal(t *market.Trade) string {
	content := strings.Join([]string{
		strconv.FormatInt(t.EventTime.UnixNano(), 10), t.PriceUSD.Trim(0).String(), t.SizeShares.Trim(0).String(), strings.Join(t.Conditions, ","),
	}, "-")
	key := t.Symbol + "|" + t.Exchange + "|" + content
	n := r.ordinals[key]
	r.ordinals[key] = n + 1
	return content + "-" + strconv.Itoa(n)
}
