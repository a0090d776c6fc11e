package wire

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// MaxEvents bounds a message. A publisher's hold hundreds; in two bytes each, a foreign message of the greatest size could hold half a million, and
// decoded they would take some hundred times its size.
const MaxEvents = 1 << 16

// ErrTooMany is for a batch of more than MaxEvents events.
var ErrTooMany = fmt.Errorf("batch has more than %d events", MaxEvents)

// headFields is more than a batch says beside its events.
const headFields = 8

// checkCount counts the fields of the whole message, which are its events but for a few.
func checkCount(data []byte) error {
	if len(data) < 2*MaxEvents { // an event takes two bytes at least
		return nil
	}
	for n := 0; len(data) > 0; n++ {
		if n == MaxEvents+headFields {
			return ErrTooMany
		}
		_, _, size := protowire.ConsumeField(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		data = data[size:]
	}
	return nil
}

// Decoder decodes one message after another, each into the memory of the one before: what Decode returns is valid until the next call, and shares memory with
// the message too. The trades and quotes of a tape are read without the messages' own types between, which is several times as fast; whatever is
// unusual about a message sends it the common way.
type Decoder struct {
	trades slab[market.Trade, *market.Trade]
	quotes slab[market.Quote, *market.Quote]
	texts  []string
}

// Decode is Decode with memory that is used again.
func (d *Decoder) Decode(stream market.Stream, data []byte) ([]market.Event, error) {
	switch stream {
	case market.Trades:
		if events, ok := decodeFast(&d.trades, d, data, (*Decoder).trade, func(t *market.Trade, symbol string) { t.Symbol = symbol }); ok {
			return events, nil
		}
	case market.Quotes:
		if events, ok := decodeFast(&d.quotes, d, data, (*Decoder).quote, func(q *market.Quote, symbol string) { q.Symbol = symbol }); ok {
			return events, nil
		}
	}
	return Decode(stream, data)
}

// event is a pointer to an event of type T.
type event[T any] interface {
	*T
	market.Event
}

// slab holds the events of a message.
type slab[T any, E event[T]] struct {
	items  []T
	events []market.Event // pointers to the items
}

// maxSlab bounds the events whose memory is kept for the next message.
const maxSlab = 1 << 13

func (s *slab[T, E]) next() *T {
	if len(s.items) == cap(s.items) {
		var zero T
		s.items = append(s.items, zero) // moves: the pointers are made anew
		s.events = s.events[:0]
	} else {
		s.items = s.items[:len(s.items)+1]
		clear(s.items[len(s.items)-1:])
	}
	return &s.items[len(s.items)-1]
}

func (s *slab[T, E]) all() []market.Event {
	for i := len(s.events); i < len(s.items); i++ {
		s.events = append(s.events, E(&s.items[i]))
	}
	return s.events[:len(s.items)]
}

func (s *slab[T, E]) reset() {
	if cap(s.items) > maxSlab {
		s.items, s.events = nil, nil
	}
	s.items = s.items[:0]
}

// decodeFast reads a batch of source, symbol and events; ok is false if it is not made of these alone, once each, in the plain form.
func decodeFast[T any, E event[T]](s *slab[T, E], d *Decoder, data []byte, one func(*Decoder, []byte, *T) bool, symbolOf func(*T, string)) (_ []market.Event, ok bool) {
	s.reset()
	if cap(d.texts) > 8*maxSlab {
		d.texts = nil
	}
	d.texts = d.texts[:0]
	if checkCount(data) != nil {
		return nil, false
	}
	var source, symbol string
	for len(data) > 0 {
		tag := data[0]
		body, rest, ok := chunk(data[1:])
		if !ok {
			return nil, false
		}
		data = rest
		switch tag {
		case 1<<3 | 2:
			source = alias(body)
		case 2<<3 | 2:
			symbol = alias(body)
		case 3<<3 | 2:
			if !one(d, body, s.next()) {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	if len(s.items) == 0 {
		return nil, false
	}
	for i := range s.items {
		E(&s.items[i]).GetMeta().Source = source
		symbolOf(&s.items[i], symbol)
	}
	return s.all(), true
}

// chunk takes a length and as many bytes.
func chunk(b []byte) (body, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	n, at := uint64(b[0]), 1
	if n >= 0x80 {
		if n, at = binary.Uvarint(b); at <= 0 {
			return nil, nil, false
		}
	}
	if n > uint64(len(b)-at) {
		return nil, nil, false
	}
	end := at + int(n)
	return b[at:end], b[end:], true
}

func alias(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// number reads a decimal as reader.dec does, where that succeeds.
func number(into *market.Decimal, b []byte) bool {
	if len(b) == 0 {
		*into = market.Decimal{}
		return true
	}
	d, err := market.ParseDecimal(alias(b))
	*into = d
	return err == nil
}

func (d *Decoder) trade(b []byte, t *market.Trade) bool {
	from := len(d.texts)
	for len(b) > 0 {
		tag := b[0]
		b = b[1:]
		switch tag {
		case 2 << 3: // action
			if len(b) == 0 || b[0] >= 0x80 {
				return false
			}
			t.Action, b = tradeActionOf(b[0]), b[1:]
			continue
		case 13 << 3: // sequence
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return false
			}
			t.Sequence, b = v, b[n:]
			continue
		}
		body, rest, ok := chunk(b)
		if !ok {
			return false
		}
		b = rest
		switch tag {
		case 1<<3 | 2:
			ok = meta(&t.Meta, body)
		case 3<<3 | 2:
			t.ID = alias(body)
		case 4<<3 | 2:
			t.Exchange = alias(body)
		case 5<<3 | 2:
			t.Tape = alias(body)
		case 6<<3 | 2:
			ok = number(&t.PriceUSD, body)
		case 7<<3 | 2:
			ok = number(&t.SizeShares, body)
		case 8<<3 | 2:
			d.texts = append(d.texts, alias(body))
		case 9<<3 | 2:
			t.OriginalID = alias(body)
		case 10<<3 | 2:
			ok = number(&t.OriginalPriceUSD, body)
		case 11<<3 | 2:
			ok = number(&t.OriginalSizeShares, body)
		case 12<<3 | 2:
			t.CancelCode = alias(body)
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	if n := len(d.texts); n > from {
		t.Conditions = d.texts[from:n:n]
	}
	return true
}

func (d *Decoder) quote(b []byte, q *market.Quote) bool {
	from := len(d.texts)
	for len(b) > 0 {
		tag := b[0]
		body, rest, ok := chunk(b[1:])
		if !ok {
			return false
		}
		b = rest
		switch tag {
		case 1<<3 | 2:
			ok = meta(&q.Meta, body)
		case 2<<3 | 2:
			q.BidExchange = alias(body)
		case 3<<3 | 2:
			q.AskExchange = alias(body)
		case 4<<3 | 2:
			ok = number(&q.BidPriceUSD, body)
		case 5<<3 | 2:
			ok = number(&q.AskPriceUSD, body)
		case 6<<3 | 2:
			ok = number(&q.BidSizeShares, body)
		case 7<<3 | 2:
			ok = number(&q.AskSizeShares, body)
		case 8<<3 | 2:
			d.texts = append(d.texts, alias(body))
		case 9<<3 | 2:
			q.Tape = alias(body)
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	if n := len(d.texts); n > from {
		q.Conditions = d.texts[from:n:n]
	}
	return true
}

// meta reads what comes once for each event; a second one would be merged with the first, which is left to the common way.
func meta(m *market.Meta, b []byte) bool {
	if !m.EventTime.IsZero() {
		return false
	}
	var event, recv int64
	for len(b) > 0 {
		tag := b[0]
		b = b[1:]
		switch tag {
		case 1<<3 | 1, 2<<3 | 1:
			if len(b) < 8 {
				return false
			}
			ns := int64(binary.LittleEndian.Uint64(b))
			b = b[8:]
			if tag == 1<<3|1 {
				event = ns
			} else {
				recv = ns
			}
		case 3 << 3:
			v, n := binary.Uvarint(b)
			if n <= 0 || v > 1<<32-1 {
				return false
			}
			m.Rev, b = uint32(v), b[n:]
		case 4 << 3:
			if len(b) == 0 || b[0] >= 0x80 {
				return false
			}
			m.Backfill, b = b[0] != 0, b[1:]
		default:
			return false
		}
	}
	m.EventTime, m.RecvTime = time.Unix(0, event).UTC(), time.Unix(0, recv).UTC()
	return true
}
