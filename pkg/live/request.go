package live

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Actions of control.
const (
	ActionPause  = "pause"
	ActionResume = "resume"
	ActionStop   = "stop"
	ActionSpeed  = "speed"
	ActionSeek   = "seek"
)

// Clocks of a replay.
const (
	ClockEvent  = "event"
	ClockStream = "stream"
)

// Bounds of a request.
const (
	MaxRequestBytes = 64 << 10
	MaxRequestDepth = 8
	MaxIDLen        = 64
	MaxPositions    = 1000
	MaxReplaySubs   = 100
	MinSpeed        = 0.1
	MaxSpeed        = 10_000
	maxSubLen       = 256
	maxEpochLen     = 64
)

// Request is what a client asks for. Which fields an operation has is in docs/live.md.
type Request struct {
	Op string `json:"op"`
	ID string `json:"id,omitempty"`

	Token string `json:"token,omitempty"` // authenticate

	Channel  Channel         `json:"channel,omitempty"` // subscribe, to Epoch
	Symbols  []string        `json:"symbols,omitempty"`
	Interval market.Interval `json:"interval,omitempty"`
	Source   string          `json:"source,omitempty"`
	MaxRate  float64         `json:"max_rate,omitempty"`
	From     string          `json:"from,omitempty"` // ParseFrom reads it
	Epoch    string          `json:"epoch,omitempty"`

	Sub string `json:"sub,omitempty"` // unsubscribe, control

	Resume    string            `json:"resume,omitempty"` // resume
	Positions map[string]string `json:"positions,omitempty"`

	Subscriptions []Spec    `json:"subscriptions,omitempty"` // replay
	Start         time.Time `json:"start,omitzero"`          // replay, control
	End           time.Time `json:"end,omitzero"`
	Speed         *float64  `json:"speed,omitempty"` // nil: not given; 0: as fast as the client reads
	Clock         string    `json:"clock,omitempty"`

	Action string `json:"action,omitempty"` // control
}

// Spec is what a subscribe selects. It is not normalized.
func (r *Request) Spec() Spec {
	return Spec{Channel: r.Channel, Symbols: r.Symbols, Source: r.Source, Interval: r.Interval, MaxRate: r.MaxRate}
}

// fields are what an operation has beside op and id, and needs those before the bar.
var fields = map[string]string{
	OpAuthenticate: "token |",
	OpSubscribe:    "channel symbols | interval source max_rate from epoch",
	OpUnsubscribe:  "sub |",
	OpResume:       "resume | positions",
	OpReplay:       "subscriptions start | end speed clock",
	OpControl:      "sub action | speed start",
	OpPing:         "|",
}

// Close codes of the websocket's own that requests can earn.
const (
	CloseNotUTF8 = 1007
	CloseTooBig  = 1009
)

// malformed is a request that is none: the connection is closed over it.
type malformed struct {
	close int
	err   *Error
}

func (m *malformed) Error() string { return m.err.Error() }
func (m *malformed) Unwrap() error { return m.err }

// Malformed is the code to close with where err is about bytes that are no request at all, not about what a request asks for; else 0.
func Malformed(err error) (code int) {
	var m *malformed
	if errors.As(err, &m) {
		return m.close
	}
	return 0
}

func malformedf(code int, format string, args ...any) error {
	return &malformed{code, Errorf(CodeBadRequest, format, args...)}
}

// ParseRequest reads a request strictly: each field must be known, of its type, there once, and belong to the operation. Every error is an
// *Error. The request that comes with an error is not nil and holds the id, where there was one, for the answer.
func ParseRequest(data []byte) (*Request, error) {
	r := &Request{}
	if err := wellFormed(data); err != nil {
		return r, err
	}
	var first error
	seen := map[string]bool{}
	// The walk goes on behind an error: the id may come last.
	err := eachField(data, "the request", func(name string, value json.RawMessage) {
		if err := r.set(name, value); err != nil && first == nil {
			first = err
		}
		seen[name] = true
	})
	if err != nil && first == nil {
		first = err
	}
	if !seen["op"] {
		return r, Errorf(CodeBadRequest, "op is missing: it says what is asked for, one of %s", strings.Join(Ops(), ", "))
	}
	of, known := fields[r.Op]
	if !known && (r.Op != "" || first == nil) {
		return r, Errorf(CodeUnknownOp, "op %.32q is none of %s", r.Op, strings.Join(Ops(), ", "))
	}
	if first != nil {
		return r, first
	}
	return r, r.complete(of, seen)
}

// complete holds the fields against the operation's.
func (r *Request) complete(of string, seen map[string]bool) error {
	need, may, _ := strings.Cut(of, "|")
	for _, name := range strings.Fields(need) {
		if !seen[name] {
			return Errorf(CodeBadRequest, "%s is missing: op %s needs it", name, r.Op)
		}
		delete(seen, name)
	}
	for _, name := range append(strings.Fields(may), "op", "id") {
		delete(seen, name)
	}
	for _, name := range requestFields {
		if seen[name] {
			return Errorf(CodeBadRequest, "%s does not belong to op %s; leave it out", name, r.Op)
		}
	}
	if r.Op == OpControl && r.Action == ActionSpeed && r.Speed == nil {
		return Errorf(CodeBadRequest, "speed is missing: action speed needs it")
	}
	if r.Op == OpControl && r.Action == ActionSeek && r.Start.IsZero() {
		return Errorf(CodeBadRequest, "start is missing: action seek needs it")
	}
	if !r.End.IsZero() && !r.End.After(r.Start) {
		return Errorf(CodeBadRequest, "end %s is not behind start %s", r.End.Format(time.RFC3339Nano), r.Start.Format(time.RFC3339Nano))
	}
	return nil
}

var requestFields = []string{
	"op", "id", "token", "channel", "symbols", "interval", "source", "max_rate", "from", "epoch", "sub", "resume", "positions", "subscriptions",
	"start", "end", "speed", "clock", "action",
}

// set reads one field.
func (r *Request) set(name string, value json.RawMessage) (err error) {
	switch name {
	case "op":
		r.Op, err = text(name, value, MaxIDLen)
	case "id":
		r.ID, err = text(name, value, MaxIDLen)
	case "token":
		r.Token, err = text(name, value, MaxRequestBytes)
	case "channel":
		r.Channel, err = channel(name, value)
	case "symbols":
		r.Symbols, err = texts(name, value)
	case "interval":
		r.Interval, err = interval(name, value)
	case "source":
		r.Source, err = text(name, value, MaxSymbolLen)
	case "max_rate":
		r.MaxRate, err = decimalNumber(name, value)
	case "from":
		r.From, err = text(name, value, maxSubLen)
	case "epoch":
		r.Epoch, err = text(name, value, maxEpochLen)
	case "sub":
		r.Sub, err = text(name, value, maxSubLen)
	case "resume":
		r.Resume, err = text(name, value, MaxRequestBytes)
	case "positions":
		r.Positions, err = positions(name, value)
	case "subscriptions":
		r.Subscriptions, err = subscriptions(name, value)
	case "start":
		r.Start, err = instant(name, value)
	case "end":
		r.End, err = instant(name, value)
	case "speed":
		r.Speed, err = speed(name, value)
	case "clock":
		r.Clock, err = oneOf(name, value, ClockEvent, ClockStream)
	case "action":
		r.Action, err = oneOf(name, value, ActionPause, ActionResume, ActionStop, ActionSpeed, ActionSeek)
	default:
		return unknownField(name)
	}
	return err
}

func unknownField(name string) error {
	return Errorf(CodeBadRequest, "field %.32q is unknown; docs/live.md lists the fields of each op", name)
}

// wellFormed holds that data is one JSON object of bounded size and depth, before anything is allocated for it.
func wellFormed(data []byte) error {
	if len(data) > MaxRequestBytes {
		return malformedf(CloseTooBig, "the request has %d bytes; at most %d are read", len(data), MaxRequestBytes)
	}
	if !utf8.Valid(data) {
		return malformedf(CloseNotUTF8, "the request is no UTF-8")
	}
	if depth(data) > MaxRequestDepth {
		return malformedf(CloseMalformed, "the request is nested deeper than %d levels", MaxRequestDepth)
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return malformedf(CloseMalformed, "the request is no JSON: %s", err)
	}
	if i := slices.IndexFunc(data, func(c byte) bool { return !strings.ContainsRune(" \t\r\n", rune(c)) }); data[i] != '{' {
		return malformedf(CloseMalformed, "the request is no JSON object")
	}
	return nil
}

// depth of the nesting of brackets outside texts, of bytes that need be no JSON.
func depth(data []byte) int {
	now, most, inText := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			now++
			most = max(most, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return most
}
