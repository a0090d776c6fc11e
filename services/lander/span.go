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
}

func (s *span) empty() bool { return s.messages == 0 }

func (s *span) reset() {
	s.batch.Reset()
	s.first, s.last, s.messages, s.dead = 0, 0, 0, nil
}

// add decodes a message into the span. It is a pure function of the message: a replay gives the same rows and the same letters.
func (s *span) add(stream market.Stream, created int64, m bus.Msg) {
	if s.empty() {
		s.first = m.Seq
	}
	s.last = m.Seq
	s.messages++
	events, err := wire.Decode(stream, m.Data)
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
}

// maxDead bounds the letters of a span, and so their memory.
const maxDead = 256
