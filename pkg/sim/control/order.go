// Package control is how faults are ordered from a simulator: by a test in Go, or by anyone over HTTP (Desk).
package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The faults that every simulator of a websocket understands.
const (
	Drop      = "drop"
	Mute      = "mute"
	HalfOpen  = "half-open"
	Slow      = "slow"
	Duplicate = "duplicate"
	Reorder   = "reorder"
	Garbage   = "garbage"
	Types     = "types"
	HugeFrame = "huge-frame"
	Frame     = "frame"
	Close     = "close"
	Refuse    = "refuse"
)

// The faults that every simulator of an HTTP interface understands.
const (
	Status    = "status"
	HTML      = "html"
	ErrorBody = "error-body"
	Body      = "body"
	Truncate  = "truncate"
	HugeBody  = "huge-body"
	GzipBomb  = "gzip-bomb"
	Nested    = "nested"
	SlowBody  = "slow-body"
	Stall     = "stall"
	PageLoop  = "page-loop"
	PageFlood = "page-flood"
)

// Skew sets the simulator's clock off.
const Skew = "skew"

// Fault is one that a simulator understands.
type Fault struct {
	Name string `json:"name"`
	Does string `json:"does"`
}

// Duration is a time.Duration that JSON writes as "30s".
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%.40s is not a duration; write \"30s\"", data)
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%.40q is not a duration; write \"30s\"", text)
	}
	*d = Duration(v)
	return nil
}

// Order is a fault to have. Only Fault is needed.
type Order struct {
	Fault string `json:"fault"`
	// For is how long the fault lasts, Times how often it strikes (connections, frames or requests, by the fault). Neither: once where the
	// fault is an event, until it is cleared where it is a condition.
	For   Duration `json:"for,omitempty"`
	Times int      `json:"times,omitempty"`
	// Status, Header and Body of an HTTP answer or of a refused handshake; Body also of a frame.
	Status int               `json:"status,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	Body   string            `json:"body,omitempty"`
	// Code and Reason of a close frame.
	Code   int    `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Delay of slow and of drop; By is the skew.
	Delay Duration `json:"delay,omitempty"`
	By    Duration `json:"by,omitempty"`
}

// HTTPHeader is Header as net/http has it.
func (o Order) HTTPHeader() http.Header {
	h := http.Header{}
	for k, v := range o.Header {
		h.Set(k, v)
	}
	return h
}

// Target is a simulator that takes orders.
type Target interface {
	// Faults lists what it understands.
	Faults() []Fault
	// Order takes an order; an error says what is wrong with it.
	Order(o Order) error
	// Clear ends a fault, all where the name is empty.
	Clear(fault string) error
	// Seen counts what reached the simulator.
	Seen() Seen
}

// Seen is what reached a simulator, by its machine's clock, bounded to the newest few thousand.
type Seen struct {
	// Connects are the websocket handshakes, refused ones included; Requests the HTTP requests.
	Connects []time.Time `json:"connects"`
	Requests []time.Time `json:"requests"`
	// Open counts the websockets that are connected.
	Open int `json:"open"`
}

// Unknown is the error of a name that is none of those known.
func Unknown(what, name string, known []string) error {
	known = slices.Sorted(slices.Values(known))
	return fmt.Errorf("%s %.60q is unknown; known are %s", what, name, strings.Join(known, ", "))
}

// Check finds what no fault allows.
func (o Order) Check() error {
	switch {
	case o.Times < 0 || o.For < 0 || o.Delay < 0:
		return fmt.Errorf("order %s: times, for and delay must not be below 0", o.Fault)
	case o.Times > 0 && o.For > 0:
		return fmt.Errorf("order %s: give times or for, not both", o.Fault)
	case o.Status != 0 && (o.Status < 200 || o.Status > 599):
		return fmt.Errorf("order %s: status %d is not from 200 to 599", o.Fault, o.Status)
	}
	return nil
}

// HTTPStatus is Status as text.
func (o Order) HTTPStatus() string { return strconv.Itoa(o.Status) }
