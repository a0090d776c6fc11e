package signals

import (
	"context"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// LoadReference fills the tables of reference with this version's facts: instruments, corporate actions and their factors, which the views
// bars_adjusted and trades_adjusted read; machines, systems, levels and contracts, which revenue_per_mwh and pivot read; market_events; companies and
// claims; and the calendar's trade dates, which daily_closes and bars_of read.
// Run again it changes nothing. exec runs a statement: (*store.Store).Exec.
func LoadReference(ctx context.Context, exec func(ctx context.Context, sql string) error) error {
	facts, err := reference.Facts()
	if err != nil {
		return err
	}
	dates, err := tradeDates()
	if err != nil {
		return err
	}
	for _, sql := range append(facts, dates) {
		if err := exec(ctx, sql); err != nil {
			return fmt.Errorf("load reference facts: %w", err)
		}
	}
	return nil
}

// tradeDates of the years that the calendar covers.
func tradeDates() (string, error) {
	cal, err := session.US()
	if err != nil {
		return "", err
	}
	var list []reference.TradeDate
	for d := (session.Date{Year: 2000, Month: time.January, Day: 1}); d.Year < 2100; d = d.AddDays(1) {
		if !cal.Covers(d) || !cal.IsTradeDate(d) {
			continue
		}
		day := reference.TradeDate{Date: time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC)}
		midnight := cal.Midnight(d)
		for _, s := range cal.Sessions(d) {
			day.Sessions = append(day.Sessions, reference.SessionSpan{
				Kind: string(s.Kind), Open: int(s.Open.Sub(midnight) / time.Second), Close: int(s.Close.Sub(midnight) / time.Second),
			})
		}
		list = append(list, day)
	}
	return reference.FillTradeDates(list)
}
