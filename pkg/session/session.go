// Package session is the US equity trading calendar: which session a moment lies in and which trade date it belongs to. The trade date is
// not the calendar date: from December 2026 on, a print of Sunday 21:00 New York time is Monday's.
package session

import (
	"fmt"
	"time"
)

// Kind of a session.
type Kind string

// The kinds. Closed is everything between sessions: the pause of the evening, nights, weekends, holidays.
const (
	Closed    Kind = "closed"
	Overnight Kind = "overnight"
	Pre       Kind = "pre"
	Regular   Kind = "regular"
	After     Kind = "after"
)

// Session is a span of one kind: Open <= t < Close, UTC.
type Session struct {
	Kind Kind
	// TradeDate that prints of the session belong to; of a Closed span, the next one to trade.
	TradeDate   Date
	Open, Close time.Time
}

// Calendar tells the session of a moment. *Schedule and Always are calendars.
type Calendar interface {
	At(t time.Time) Session
	// TradeDateEnd is when the last session of the trade date closes.
	TradeDateEnd(d Date) time.Time
	// Midnight is the start of the date, New York time: the stamp of a venue's daily bar.
	Midnight(d Date) time.Time
	// DateOf is the New York calendar date of a moment.
	DateOf(t time.Time) Date
}

// Date is a calendar or trade date without a time.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// String is the date as 2006-01-02.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// ParseDate reads 2006-01-02.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Date{}, fmt.Errorf("parse date %.32q, want it as 2006-01-02: %w", s, err)
	}
	return dateOf(t), nil
}

// AddDays is the date n days later.
func (d Date) AddDays(n int) Date {
	return dateOf(time.Date(d.Year, d.Month, d.Day+n, 0, 0, 0, 0, time.UTC))
}

// Before reports whether d is earlier than e.
func (d Date) Before(e Date) bool {
	if d.Year != e.Year {
		return d.Year < e.Year
	}
	if d.Month != e.Month {
		return d.Month < e.Month
	}
	return d.Day < e.Day
}

// Weekday of the date.
func (d Date) Weekday() time.Weekday {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Weekday()
}

func dateOf(t time.Time) Date {
	y, m, d := t.Date()
	return Date{y, m, d}
}

func (d Date) at(seconds int, loc *time.Location) time.Time {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, seconds, 0, loc).UTC()
}

// Always is the calendar of a simulator: a regular session from New York midnight to midnight, every day.
type Always struct{ loc *time.Location }

// NewAlways makes it.
func NewAlways() (Always, error) {
	loc, err := newYork()
	return Always{loc}, err
}

// At implements Calendar.
func (a Always) At(t time.Time) Session {
	d := a.DateOf(t)
	return Session{Regular, d, a.Midnight(d), a.TradeDateEnd(d)}
}

// TradeDateEnd implements Calendar.
func (a Always) TradeDateEnd(d Date) time.Time { return a.Midnight(d.AddDays(1)) }

// Midnight implements Calendar.
func (a Always) Midnight(d Date) time.Time { return d.at(0, a.loc) }

// DateOf implements Calendar.
func (a Always) DateOf(t time.Time) Date { return dateOf(t.In(a.loc)) }
