package live

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// AppendJSON appends the one form of an event as a message: the columns of its table by their names, without those that are zero, empty or not
// given. Trailing zeros of decimals are left out, so that an event reads the same from the stream and from the table.
func AppendJSON(b []byte, ev market.Event, at market.Place) []byte {
	o := object{append(b, `{"type":"`...)}
	o.b = append(append(o.b, Type(ev)...), `","cursor":"`...)
	o.b = append(At(at).Append(o.b), '"')
	m := ev.GetMeta()
	o.time("stream_time", at.StreamTime)
	o.time("event_time", m.EventTime)
	o.time("recv_time", m.RecvTime)
	o.text("source", m.Source)
	o.uint("rev", uint64(m.Rev))
	o.bool("backfill", m.Backfill)
	switch e := ev.(type) {
	case *market.Trade:
		o.trade(e)
	case *market.Quote:
		o.quote(e)
	case *market.Bar:
		o.bar(e)
	case *market.Halt:
		o.halt(e)
	case *market.Imbalance:
		o.imbalance(e)
	case *market.Block:
		o.block(e)
	case *market.Difficulty:
		o.difficulty(e)
	case *market.Fees:
		o.fees(e)
	case *market.BTCPrice:
		o.btcPrice(e)
	case *market.Hashprice:
		o.hashprice(e)
	case *market.Offer:
		o.offer(e)
	case *market.Rate:
		o.rate(e)
	case *market.Signal:
		o.signal(e)
	case *market.FeedEvent:
		o.text("state", string(e.State))
		o.text("detail", e.Detail)
	case *market.FeedGap:
		o.gap(e)
	}
	return append(o.b, '}')
}

// Type names the kind of an event in a message.
func Type(ev market.Event) string {
	switch ev.(type) {
	case *market.Trade:
		return "trade"
	case *market.Quote:
		return "quote"
	case *market.Bar:
		return "bar"
	case *market.Halt:
		return "halt"
	case *market.Imbalance:
		return "imbalance"
	case *market.Block:
		return "block"
	case *market.Difficulty:
		return "difficulty"
	case *market.Fees:
		return "fees"
	case *market.BTCPrice:
		return "btc_price"
	case *market.Hashprice:
		return "hashprice"
	case *market.Offer:
		return "offer"
	case *market.Rate:
		return "rate"
	case *market.Signal:
		return "signal"
	case *market.FeedEvent:
		return "feed_event"
	case *market.FeedGap:
		return "feed_gap"
	case *market.DeadLetter:
		return "dead_letter"
	}
	return "unknown"
}

// object writes the members of a JSON object behind the first.
type object struct{ b []byte }

func (o *object) key(name string) {
	o.b = append(append(append(o.b, ',', '"'), name...), '"', ':')
}

func (o *object) text(name, v string) {
	if v != "" {
		o.key(name)
		o.b = appendString(o.b, v)
	}
}

func (o *object) uint(name string, v uint64) {
	if v != 0 {
		o.key(name)
		o.b = strconv.AppendUint(o.b, v, 10)
	}
}

func (o *object) int(name string, v int64) {
	if v != 0 {
		o.key(name)
		o.b = strconv.AppendInt(o.b, v, 10)
	}
}

func (o *object) bool(name string, v bool) {
	if v {
		o.key(name)
		o.b = append(o.b, "true"...)
	}
}

func (o *object) float(name string, v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		o.key(name)
		// The stream does not hold the sign of a zero, a table does: both are told as 0.
		if v == 0 {
			v = 0
		}
		o.b = strconv.AppendFloat(o.b, v, 'g', -1, 64)
	}
}

func (o *object) dec(name string, v market.Decimal) {
	if !v.IsZero() {
		o.key(name)
		o.b = append(appendDecimal(append(o.b, '"'), v), '"')
	}
}

// appendDecimal appends v without trailing zeros.
func appendDecimal(b []byte, v market.Decimal) []byte {
	text, err := v.Trim(0).AppendText(b)
	if err != nil { // no decimal is unwritable
		return b
	}
	return text
}

// time writes nanoseconds as far as there are any; the zero time is not given.
func (o *object) time(name string, t time.Time) {
	if !t.IsZero() {
		o.key(name)
		o.b = append(t.UTC().AppendFormat(append(o.b, '"'), time.RFC3339Nano), '"')
	}
}

func (o *object) list(name string, v []string) {
	if len(v) == 0 {
		return
	}
	o.key(name)
	for i, s := range v {
		o.b = appendString(append(o.b, "[,"[min(i, 1)]), s)
	}
	o.b = append(o.b, ']')
}

// pairs writes a map in the order of its keys.
func (o *object) pairs(name string, v map[string]string) {
	if len(v) == 0 {
		return
	}
	o.key(name)
	text, err := json.Marshal(v)
	if err != nil { // a map of strings cannot fail
		text = []byte("null")
	}
	o.b = append(o.b, text...)
}

// appendString appends s as a JSON string. What is plain is copied; the rest is encoding/json's.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' {
			text, err := json.Marshal(s)
			if err != nil {
				text = []byte(`""`)
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
