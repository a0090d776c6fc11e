package store

import (
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// The reasons that the store adds to the domain's.
const (
	// ReasonStream: the event was read from a stream that it does not belong to.
	ReasonStream market.Reason = "wrong_stream"
	// ReasonUnknown: the store has no table for this type of event.
	ReasonUnknown market.Reason = "unknown_event"
)

// RowError is an event that can never be stored: Add refuses it and the batch goes on without it.
type RowError struct {
	Reason market.Reason
	Table  string
	Column string
	Detail string
}

func (e *RowError) Error() string {
	return fmt.Sprintf("add row to %s: column %s: %s (%s)", e.Table, e.Column, e.Detail, e.Reason)
}

// check converts an event's values to those of its row and keeps the first that cannot be. A row is appended only once all of its
// values are converted, so that a refused row leaves nothing behind.
type check struct {
	table string
	err   *RowError
}

func (c *check) refuse(column string, r market.Reason, format string, args ...any) {
	if c.err == nil {
		c.err = &RowError{Reason: r, Table: c.table, Column: column, Detail: fmt.Sprintf(format, args...)}
	}
}

// failed returns the error as an error, nil if there is none.
func (c *check) failed() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

func (c *check) price(column string, d market.Decimal) int64 {
	v, ok := scalePrice(d)
	if !ok {
		c.refuse(column, market.ReasonPrecision, "%s does not fit %s", d, priceType)
	}
	return v
}

// The range of event, receive and stream times, Unix seconds: that of the domain (1990 to 2262). DateTime64(9) holds it, and so do
// differences between any two of them in an Int64 of nanoseconds.
const (
	minSeconds = 631152000  // 1990-01-01
	maxSeconds = 9214646400 // 2262-01-01
)

// time returns t in nanoseconds since 1970.
func (c *check) time(column string, t time.Time) int64 {
	s := t.Unix()
	if s < minSeconds || s > maxSeconds {
		c.refuse(column, market.ReasonTime, "%s is outside 1990 to 2262", t.UTC().Format(time.RFC3339))
		return 0
	}
	return s*1e9 + int64(t.Nanosecond())
}

// timeOrNone checks a time that may be absent.
func (c *check) timeOrNone(column string, t time.Time) {
	if !t.IsZero() {
		c.time(column, t)
	}
}

// enum checks that v is one of 1 to last, the values of the table's Enum8.
func (c *check) enum(column string, v, last uint8) {
	if v < 1 || v > last {
		c.refuse(column, market.ReasonValue, "%d is not between 1 and %d", v, last)
	}
}

// place is what the row of every event begins with.
type place struct {
	event, recv, stream int64
	meta                *market.Meta
	at                  market.Place
}

func (c *check) place(m *market.Meta, at market.Place) place {
	return place{
		event:  c.time("event_time", m.EventTime),
		recv:   c.time("recv_time", m.RecvTime),
		stream: c.time("stream_time", at.StreamTime),
		meta:   m,
		at:     at,
	}
}
