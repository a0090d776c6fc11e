package market

import (
	"fmt"
	"time"
)

// Stream is the name of a JetStream stream and so of a family of events.
type Stream string

// The streams of the system; DESIGN.md has the table of their subjects and tables.
const (
	Trades     Stream = "TRADES"
	Quotes     Stream = "QUOTES"
	Bars       Stream = "BARS"
	Halts      Stream = "HALTS"
	Network    Stream = "NETWORK"
	Hashprices Stream = "HASHPRICE"
	Offers     Stream = "OFFERS"
	Rates      Stream = "RATES"
	Signals    Stream = "SIGNALS"
	Feeds      Stream = "FEEDS"
	Dead       Stream = "DEAD"
)

// Streams lists every stream in the order of DESIGN.md.
func Streams() []Stream {
	return []Stream{Trades, Quotes, Bars, Halts, Network, Hashprices, Offers, Rates, Signals, Feeds, Dead}
}

// Meta is what every event carries.
type Meta struct {
	// EventTime is when it happened by the clock of whoever reported it (a bar's is its start).
	EventTime time.Time
	// RecvTime is when our process had the whole frame in hand; of what feeds publish in whole microseconds.
	RecvTime time.Time
	// Source names the upstream: "alpaca", "mempool", "coinbase", "vast". Generated data carries the prefix "sim-", replayed
	// recordings "rec-".
	Source string
	// Rev is 0 for a first report and rises with each later report of the same identity; the greatest is what is true now.
	Rev uint32
	// Backfill marks an event that was fetched from history instead of seen live.
	Backfill bool
}

// Event is one fact of one stream. Implementations are pointers to the structs of this package.
type Event interface {
	// GetMeta returns what every event carries.
	GetMeta() *Meta
	// Stream is where the event belongs.
	Stream() Stream
	// Tokens are the unescaped subject tokens behind "md.v1.<kind>": {"alpaca", "IREN"} for a trade.
	Tokens() (kind string, rest []string)
	// Identity names the fact: two events of one stream with the same identity are the same fact told twice.
	Identity() string
	// Validate refuses what cannot be true or cannot be stored exactly; the error is an *Invalid.
	Validate() error
}

// AppendIdentity appends the event's identity to b, without garbage for those that come in masses.
func AppendIdentity(b []byte, ev Event) []byte {
	switch e := ev.(type) {
	case *Trade:
		return e.appendIdentity(b)
	case *Quote:
		return e.appendIdentity(b)
	}
	return append(b, ev.Identity()...)
}

// Place is where an event stands in its stream: the cursor of history, snapshot and live alike.
type Place struct {
	Stream Stream
	// Seq is the stream sequence of the message, Idx the event's index in the message's batch.
	Seq uint64
	Idx uint32
	// StreamTime is when JetStream stored the message, in whole microseconds; to the nanosecond for what was published before there was bus.Msg.Micros.
	StreamTime time.Time
}

// GetMeta returns m, so that embedding Meta is enough.
func (m *Meta) GetMeta() *Meta { return m }

// Reason says why an event or a frame was rejected. Reasons are few and stable: they are counted and queried.
type Reason string

// The reasons that the domain itself gives; decoders add their own (see pkg/feed).
const (
	ReasonMissing    Reason = "missing_field"
	ReasonPrice      Reason = "impossible_price"
	ReasonSize       Reason = "impossible_size"
	ReasonTime       Reason = "impossible_time"
	ReasonFuture     Reason = "time_in_future"
	ReasonPrecision  Reason = "precision"
	ReasonValue      Reason = "impossible_value"
	ReasonIncoherent Reason = "incoherent"
)

// Invalid is a rejected event: a stable reason and what was wrong with which field.
type Invalid struct {
	Reason Reason
	Detail string
}

func (e *Invalid) Error() string { return fmt.Sprintf("invalid event (%s): %s", e.Reason, e.Detail) }

func invalid(r Reason, format string, args ...any) error {
	return &Invalid{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// earliest is before anything that hashpivot can hold: daily bars of equities go back to the nineties.
var earliest = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

// latest is what DateTime64(9) can hold, with room.
var latest = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)

func (m *Meta) validate() error {
	switch {
	case m.Source == "":
		return invalid(ReasonMissing, "source is empty")
	case m.EventTime.Before(earliest) || m.EventTime.After(latest):
		return invalid(ReasonTime, "event time %s is outside 1990 to 2262", m.EventTime.UTC().Format(time.RFC3339))
	case m.RecvTime.Before(earliest) || m.RecvTime.After(latest):
		return invalid(ReasonTime, "receive time %s is outside 1990 to 2262", m.RecvTime.UTC().Format(time.RFC3339))
	}
	return nil
}

// CheckFuture refuses an event whose venue time is further ahead of its receive time than skew.
func CheckFuture(ev Event, skew time.Duration) error {
	m := ev.GetMeta()
	if ahead := m.EventTime.Sub(m.RecvTime); ahead > skew {
		return invalid(ReasonFuture, "event time is %s ahead of our clock, more than the allowed %s", ahead, skew)
	}
	return nil
}

// Stored precision of prices and sizes: Decimal(18, 8) in ClickHouse, ten digits before the point and eight behind it.
const (
	storedPrecision = 18
	storedScale     = 8
)

func checkStored(name string, d Decimal) error {
	if !Fits(d, storedPrecision, storedScale) {
		return invalid(ReasonPrecision, "%s %s does not fit Decimal(%d,%d)", name, d, storedPrecision, storedScale)
	}
	return nil
}

func checkPrice(name string, d Decimal) error {
	if !d.IsPos() {
		return invalid(ReasonPrice, "%s is %s, not above 0", name, d)
	}
	return checkStored(name, d)
}

// checkPriceOrNone is for sides that may be absent, which venues write as 0.
func checkPriceOrNone(name string, d Decimal) error {
	if d.IsNeg() {
		return invalid(ReasonPrice, "%s is %s, below 0", name, d)
	}
	return checkStored(name, d)
}

func checkSize(name string, d Decimal) error {
	if d.IsNeg() {
		return invalid(ReasonSize, "%s is %s, below 0", name, d)
	}
	return checkStored(name, d)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkText(name, s string) error {
	if s == "" {
		return invalid(ReasonMissing, "%s is empty", name)
	}
	if len(s) > 128 {
		return invalid(ReasonValue, "%s is %d bytes long, more than 128", name, len(s))
	}
	return nil
}
