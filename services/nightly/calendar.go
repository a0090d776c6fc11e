package nightly

import (
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
)

// calendar tells the trade dates and their bounds.
type calendar struct {
	session.Calendar
	schedule *session.Schedule // nil: every day is a trade date
}

func newCalendar(name string) (calendar, error) {
	switch name {
	case "us":
		s, err := session.US()
		return calendar{s, s}, err
	case "always":
		a, err := session.NewAlways()
		return calendar{a, nil}, err
	}
	s, err := session.Load(name)
	if err != nil {
		return calendar{}, fmt.Errorf("%.64q is none of us, always, and no calendar file: %w", name, err)
	}
	return calendar{s, s}, nil
}

// fullSession is the regular session of a whole day.
const fullSession = 6*time.Hour + 30*time.Minute

// tradeDate is what the calendar says of a date.
type tradeDate struct {
	is, known, half          bool
	begin, end, regularClose time.Time
}

func (c calendar) day(d session.Date) tradeDate {
	if c.schedule == nil {
		return tradeDate{is: true, known: true, begin: c.Midnight(d), end: c.TradeDateEnd(d)}
	}
	sessions := c.schedule.Sessions(d)
	if len(sessions) == 0 {
		return tradeDate{known: c.schedule.Covers(d)}
	}
	out := tradeDate{is: true, known: c.schedule.Covers(d), begin: sessions[0].Open, end: c.TradeDateEnd(d)}
	for _, s := range sessions {
		if s.Kind == session.Regular {
			out.regularClose = s.Close
			out.half = s.Close.Sub(s.Open) < fullSession
		}
	}
	return out
}

// ended lists the latest n trade dates whose last session had ended at the time, oldest first.
func (c calendar) ended(now time.Time, n int) []session.Date {
	var out []session.Date
	for d, looked := c.DateOf(now).AddDays(1), 0; len(out) < n && looked < 60; d, looked = d.AddDays(-1), looked+1 {
		if t := c.day(d); t.is && !t.end.After(now) {
			out = append([]session.Date{d}, out...)
		}
	}
	return out
}

// zone of the exchange, for people.
func (c calendar) zone() *time.Location {
	loc, err := time.LoadLocation("America/New_York")
	if err != nil {
		return time.UTC
	}
	return loc
}
