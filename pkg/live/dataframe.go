package live

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// Message is an event with its place.
type Message struct {
	Event market.Event
	Place market.Place
}

// Cursor is the message's place as a client gives it back.
func (m Message) Cursor() Cursor { return At(m.Place) }

// DataFrame is a data or snapshot frame of ProtoProtocol.
type DataFrame struct {
	Sub      string
	Snapshot bool
	Position Cursor // of a snapshot; the zero value: not given
	Messages []Message
	Skipped  []Skipped
}

// Fields of hashpivot.live.v1.DataFrame and Skipped. The frame is walked by hand because the batches in it stay bytes: package wire reads those.
const (
	frameSub, frameMessages, frameSkipped, frameSnapshot, framePosition = 1, 2, 3, 4, 5
	skippedSymbol, skippedCount, skippedFrom, skippedTo                 = 1, 2, 3, 4
)

// batchStreams are the streams by the field that holds their batch.
var batchStreams = func() map[protowire.Number]market.Stream {
	streams := map[protowire.Number]market.Stream{}
	for stream, field := range batchFields {
		streams[field] = stream
	}
	return streams
}()

// DecodeDataFrame reads a binary frame. Events may share memory with data, which must not be changed afterwards.
func DecodeDataFrame(data []byte) (DataFrame, error) {
	var f DataFrame
	err := walk(data, func(n protowire.Number, v value) (err error) {
		switch n {
		case frameSub:
			f.Sub, err = v.text()
		case frameMessages:
			var m Message
			m, err = decodeMessage(v)
			f.Messages = append(f.Messages, m)
		case frameSkipped:
			var s Skipped
			s, err = decodeSkipped(v)
			f.Skipped = append(f.Skipped, s)
		case frameSnapshot:
			var u uint64
			u, err = v.varint()
			f.Snapshot = u != 0
		case framePosition:
			var s string
			if s, err = v.text(); err == nil && s != "" {
				f.Position, err = ParseCursor(s)
			}
		}
		return err
	})
	if err != nil {
		return DataFrame{}, fmt.Errorf("decode data frame: %w", err)
	}
	return f, nil
}

func decodeMessage(v value) (Message, error) {
	var m Message
	body, err := v.bytes()
	if err != nil {
		return m, err
	}
	var streamTime int64
	err = walk(body, func(n protowire.Number, v value) (err error) {
		var u uint64
		switch n {
		case fieldSeq:
			m.Place.Seq, err = v.varint()
		case fieldIdx:
			if u, err = v.varint(); err == nil && u >= Whole {
				err = fmt.Errorf("index %d is no event's", u)
			}
			m.Place.Idx = uint32(min(u, math.MaxUint32))
		case fieldStreamTime:
			u, err = v.fixed64()
			streamTime = int64(u)
		default:
			if stream, ok := batchStreams[n]; ok {
				err = m.batch(stream, v)
			}
		}
		return err
	})
	switch {
	case err != nil:
		return m, fmt.Errorf("message: %w", err)
	case m.Event == nil:
		return m, errors.New("message: has no event that this version knows")
	}
	m.Place.StreamTime = time.Unix(0, streamTime).UTC()
	return m, nil
}

func (m *Message) batch(stream market.Stream, v value) error {
	if m.Event != nil {
		return errors.New("has more than one batch")
	}
	body, err := v.bytes()
	if err != nil {
		return err
	}
	evs, err := wire.Decode(stream, body)
	if err != nil {
		return err
	}
	if len(evs) != 1 {
		return fmt.Errorf("batch has %d events, not one", len(evs))
	}
	m.Event, m.Place.Stream = evs[0], stream
	return nil
}

func decodeSkipped(v value) (Skipped, error) {
	var s Skipped
	body, err := v.bytes()
	if err != nil {
		return s, err
	}
	err = walk(body, func(n protowire.Number, v value) (err error) {
		switch n {
		case skippedSymbol:
			s.Symbol, err = v.text()
		case skippedCount:
			s.Count, err = v.varint()
		case skippedFrom:
			s.From, err = v.text()
		case skippedTo:
			s.To, err = v.text()
		}
		return err
	})
	if err == nil {
		err = s.Check()
	}
	if err != nil {
		return s, fmt.Errorf("skipped: %w", err)
	}
	return s, nil
}

// Check refuses a notice that says nothing or whose cursors are none.
func (s *Skipped) Check() error {
	from, err := ParseCursor(s.From)
	if err != nil {
		return err
	}
	to, err := ParseCursor(s.To)
	if err != nil {
		return err
	}
	if s.Count == 0 || from.Stream != to.Stream || from.After(to) {
		return fmt.Errorf("%d messages from %s to %s make no sense", s.Count, s.From, s.To)
	}
	return nil
}

// value is a field's content with its wire type.
type value struct {
	kind protowire.Type
	b    []byte
}

var errKind = errors.New("field has a wire type that its number does not have")

func (v value) bytes() ([]byte, error) {
	if v.kind != protowire.BytesType {
		return nil, errKind
	}
	b, _ := protowire.ConsumeBytes(v.b)
	return b, nil
}

func (v value) text() (string, error) {
	b, err := v.bytes()
	if err == nil && !utf8.Valid(b) {
		err = errors.New("text is no UTF-8")
	}
	return string(b), err
}

func (v value) varint() (uint64, error) {
	if v.kind != protowire.VarintType {
		return 0, errKind
	}
	u, _ := protowire.ConsumeVarint(v.b)
	return u, nil
}

func (v value) fixed64() (uint64, error) {
	if v.kind != protowire.Fixed64Type {
		return 0, errKind
	}
	u, _ := protowire.ConsumeFixed64(v.b)
	return u, nil
}

// walk calls do for each field; fields that do does not know are passed over, as protobuf wants it.
func walk(b []byte, do func(protowire.Number, value) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		size = protowire.ConsumeFieldValue(n, kind, b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if err := do(n, value{kind, b[:size]}); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}
