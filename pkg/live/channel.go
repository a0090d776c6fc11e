// Package live is the protocol that dashboards are served by: channels, subscriptions, cursors, the one form of a message, and the frames around
// it. docs/live.md describes it; the gateway speaks it and package client understands it.
package live

import (
	"errors"
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Channel is what can be subscribed to.
type Channel string

// The channels.
const (
	Trades    Channel = "trades"
	Quotes    Channel = "quotes"
	Bars      Channel = "bars"
	Halts     Channel = "halts"
	Network   Channel = "network"
	Hashprice Channel = "hashprice"
	Offers    Channel = "offers"
	Rates     Channel = "rates"
	Signals   Channel = "signals"
	Feeds     Channel = "feeds"
)

// Channels lists them all.
func Channels() []Channel {
	return []Channel{Trades, Quotes, Bars, Halts, Network, Hashprice, Offers, Rates, Signals, Feeds}
}

func channelNames() []string {
	var names []string
	for _, c := range Channels() {
		names = append(names, string(c))
	}
	return names
}

// Stream is where the channel's messages are; empty for an unknown channel.
func (c Channel) Stream() market.Stream {
	switch c {
	case Trades:
		return market.Trades
	case Quotes:
		return market.Quotes
	case Bars:
		return market.Bars
	case Halts:
		return market.Halts
	case Network:
		return market.Network
	case Hashprice:
		return market.Hashprices
	case Offers:
		return market.Offers
	case Rates:
		return market.Rates
	case Signals:
		return market.Signals
	case Feeds:
		return market.Feeds
	}
	return ""
}

// Valid reports whether the channel exists.
func (c Channel) Valid() bool { return c.Stream() != "" }

// ChannelOf is the channel of a stream; empty where it has none.
func ChannelOf(stream market.Stream) Channel {
	for _, c := range Channels() {
		if c.Stream() == stream {
			return c
		}
	}
	return ""
}

// The subprotocols of the websocket.
const (
	JSONProtocol  = "hashpivot.v1.json"
	ProtoProtocol = "hashpivot.v1.proto"
)

// Close codes: 4000 to 4099 invite to connect again, 4100 to 4199 do not.
const (
	CloseShutdown     = 4000
	CloseSlow         = 4001
	CloseSilent       = 4002
	CloseExpired      = 4003
	CloseMalformed    = 4100
	CloseUnauthorised = 4101
	CloseTooMany      = 4102
)

// Codes of errors.
const (
	CodeBadRequest        = "bad_request"
	CodeUnknownOp         = "unknown_op"
	CodeBadChannel        = "bad_channel"
	CodeBadSymbol         = "bad_symbol"
	CodeBadInterval       = "bad_interval"
	CodeBadRate           = "bad_rate"
	CodeBadFrom           = "bad_from"
	CodeBadCursor         = "bad_cursor"
	CodeOtherEpoch        = "other_epoch"
	CodePurged            = "purged"
	CodeTooMany           = "too_many"
	CodeUnauthorised      = "unauthorised"
	CodeForbidden         = "forbidden"
	CodeNotSubscribed     = "not_subscribed"
	CodeAlreadySubscribed = "already_subscribed"
	CodeUnavailable       = "unavailable"
	CodeInternal          = "internal"
)

// Error is an error that a client is told: a stable code and a sentence.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an Error.
func Errorf(code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// AsError is err as a client may see it: what is no *Error is internal and keeps its text to itself.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{CodeInternal, "the gateway could not do this; its log says why"}
}
