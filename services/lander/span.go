package lander

import (
	"errors"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// span is a contiguous range of a stream's sequences, decoded: the rows that land and the letters of those that never can.
// Deleted messages leave holes in it; they hold nothing.
type span struct {
	first, last uint64
	messages    int
	batch       *store.Batch
	dead        []*market.DeadLetter
	deadBytes   int
	decoder     wire.Decoder
	// unweighed is what of the messages came since size was told.
	unweighed, size int
}

func (s *span) empty() bool { return s.messages == 0 }

func (s *span) reset() {
	s.batch.Reset()
	s.first, s.last, s.messages, s.dead = 0, 0, 0, nil
	s.deadBytes, s.unweighed, s.size = 0, 0, 0
}

// weighEvery is how many bytes of messages are decoded before the rows are weighed again: that looks at every column of every table.
const weighEvery = 64 << 10

// bytes is about how much memory the span takes. It may lag behind by weighEvery of messages.
func (s *span) bytes() int {
	if s.unweighed >= weighEvery {
		s.size, s.unweighed = s.batch.Bytes(), 0
	}
	return s.size + s.deadBytes
}

// full reports whether the span is to be landed before another message is added to it.
func (s *span) full(cfg Config) bool {
	return s.batch.Rows() >= cfg.MaxRows || s.bytes() >= cfg.MaxBytes || len(s.dead) >= maxDead
}

// add decodes a message into the span. It is a pure function of the message: a replay gives the same rows and the same letters.
func (s *span) add(stream market.Stream, created int64, m bus.Msg) {
	if s.empty() {
		s.first = m.Seq
	}
	s.last = m.Seq
	s.messages++
	s.unweighed += len(m.Data)
	events, err := s.decoder.Decode(stream, m.Data)
	if err != nil {
		s.bury(stream, created, m, -1, feed.ReasonMalformed, err, m.Data)
		return
	}
	for i, ev := range events {
		err := ev.Validate()
		if err == nil {
			err = s.batch.Add(ev, market.Place{Stream: stream, Seq: m.Seq, Idx: uint32(i), StreamTime: m.Time})
		}
		if err != nil {
			payload, _ := wire.Encode(nil, []market.Event{ev})
			s.bury(stream, created, m, int32(i), reasonOf(err), err, payload)
		}
	}
}

func reasonOf(err error) market.Reason {
	if row, ok := errors.AsType[*store.RowError](err); ok {
		return row.Reason
	}
	return feed.ReasonOf(err, market.ReasonValue)
}

func (s *span) bury(stream market.Stream, created int64, m bus.Msg, idx int32, reason market.Reason, cause error, payload []byte) {
	// Times come from the message, not from our clock: a replay must write the same letter.
	d := market.NewDeadFrame("lander", m.Subject, reason, cause.Error(), payload, m.Time)
	d.Of, d.Created, d.Seq, d.Idx = string(stream), created/1e9, m.Seq, idx
	s.dead = append(s.dead, d)
	s.deadBytes += len(d.Payload) + letterSize
}

// maxDead bounds the letters of a span, which are published one by one; letterSize is about what one takes beside its payload.
const (
	maxDead    = 256
	letterSize = 1 << 10
)
