package live

import (
	"errors"
	"time"
)

// FromKind is what a subscription begins with.
type FromKind uint8

// The kinds of beginnings.
const (
	FromLive FromKind = iota
	FromSnapshot
	FromTime
	FromCursor
)

// The words of from.
const (
	fromLive     = "live"
	fromSnapshot = "snapshot"
)

// From is where a subscription begins. The zero value is the present.
type From struct {
	Kind   FromKind
	Time   time.Time // FromTime: the first message that JetStream stored at or after it
	Cursor Cursor    // FromCursor: the first message behind it
}

// String is what ParseFrom reads.
func (f From) String() string {
	switch f.Kind {
	case FromSnapshot:
		return fromSnapshot
	case FromTime:
		return f.Time.UTC().Format(time.RFC3339Nano)
	case FromCursor:
		return f.Cursor.String()
	}
	return fromLive
}

// ParseFrom reads live, snapshot, a time or a cursor; empty is live. Its error is an *Error.
func ParseFrom(s string) (From, error) {
	switch {
	case s == "" || s == fromLive:
		return From{}, nil
	case s == fromSnapshot:
		return From{Kind: FromSnapshot}, nil
	case s[0] >= '0' && s[0] <= '9': // no stream's name begins so
		t, err := parseInstant(s)
		if err != nil {
			return From{}, Errorf(CodeBadFrom, "from %.40q is no time as 2026-11-25T15:30:00Z: %s", s, err)
		}
		return From{Kind: FromTime, Time: t}, nil
	}
	c, err := ParseCursor(s)
	if err != nil {
		return From{}, Errorf(CodeBadFrom, "from is neither live, snapshot, a time nor a cursor: %s", err)
	}
	return From{Kind: FromCursor, Cursor: c}, nil
}

// parseInstant reads RFC 3339 strictly, within what the tables' nanoseconds can hold.
func parseInstant(s string) (time.Time, error) {
	var t time.Time
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return time.Time{}, errors.New("give date, time and zone")
	}
	if t.Year() < 1970 || t.Year() > 2261 {
		return time.Time{}, errors.New("the year is not from 1970 to 2261")
	}
	return t.UTC(), nil
}
