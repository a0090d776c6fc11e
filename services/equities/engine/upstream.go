// Package engine is what every upstream of equities shares: it restores what was published, opens the lines of the ledger that a start owes,
// runs the stream, fills every hole from the venue's history and settles its line, numbers the revisions of bars, judges silence by the
// session calendar, takes new lists of symbols while it runs, and reads history on demand.
package engine

import (
	"context"
	"errors"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Upstream is a venue's protocol. The engine calls Stream from one goroutine and Fetch from another.
//
// Stream is one connection's life: dial, log in, subscribe to e.Symbols(), e.Ready with the symbols that the venue acknowledged, then
// e.Alive for each sign of life and e.Live for each event, until ctx ends or the connection is lost; the error says why. The engine comes
// again, opens the line of the ledger, and judges silence: Stream never retries. feed.Refused ends the upstream, feed.RetryAfter
// slows it, feed.ErrEndOfInput is a recording's end.
//
// Fetch reads one query of history to its end, page by page (Engine.Pages), and hands every record to emit, oldest first within a symbol
// where the venue can. The engine sets times, revisions, finality and the backfill mark. Errors: *TooRecent, *NotServed, or any other, after which
// the engine asks again later.
//
// An Upstream may have a method Restored(market.Event), which sees what was published before the start, oldest first.
type Upstream interface {
	Stream(ctx context.Context, s *feed.Session, e *Engine) error
	Fetch(ctx context.Context, e *Engine, q Query, emit Emit) error
	History() History
}

// Kind of a history.
type Kind string

// The kinds, in the order in which a hole is read.
const (
	DailyBars  Kind = "1d bars"
	MinuteBars Kind = "1m bars"
	Trades     Kind = "trades"
	Quotes     Kind = "quotes"
)

// History says what can be read again.
type History struct {
	// Kinds that have a history.
	Kinds []Kind
	// Without names what the stream tells and no history does, as the ledger shall say it: "statuses", "lulds". A hole is then filled
	// partly only; one of an upstream without any Kinds is given up.
	Without []string
	// Trails is how far the history may trail the stream: a hole is read as long after the reconnect.
	Trails time.Duration
	// Delay is how far the stream itself is behind the market, as a delayed feed is.
	Delay time.Duration
	// CallEvery is the least pause between two calls (Engine.Pages); 0: as fast as the venue's rate headers allow.
	CallEvery time.Duration
}

// Query of history.
type Query struct {
	Kind     Kind
	Symbols  []string
	From, To time.Time // inclusive
}

// Page is where a record of history was read.
type Page struct {
	Path string    // without secrets; dead letters are marked with it
	AsOf time.Time // when it was asked for
	Recv time.Time // when it was in hand
	Now  time.Time // the venue's clock, where it tells it
}

// Emit publishes a record of history; raw is what it came from. The error is the sink's: bad records are refused and counted.
type Emit func(ev market.Event, p Page, raw []byte) error

// TooRecent is the error of a query whose end is younger than the plan lets us read. What is older is read at once, the rest later.
type TooRecent struct {
	Err   error
	Delay time.Duration
}

func (e *TooRecent) Error() string { return e.Err.Error() }

// Unwrap returns what the venue said.
func (e *TooRecent) Unwrap() error { return e.Err }

// NotServed is the error of a kind of history that the venue does not give us, now or later: the plan does not have it. The others are
// read, and the line of the ledger says what was not.
type NotServed struct{ Err error }

func (e *NotServed) Error() string { return e.Err.Error() }

// Unwrap returns what the venue said.
func (e *NotServed) Unwrap() error { return e.Err }

func isNotServed(err error) bool {
	_, ok := errors.AsType[*NotServed](err)
	return ok
}
