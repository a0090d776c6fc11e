package lander

import (
	"errors"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// span is a contiguous range of a stream's sequences, decoded: the rows that land and the letters of those that never can.
// Messages that are gone leave holes in it.
type span struct {
	stream   market.Stream
	created  int64
	batch    *store.Batch
	last     uint64
	lastTime time.Time
	messages int
	// firstTime is when the first message was stored, events are those of all; traced are the first messages that are sampled for a trace.
	firstTime time.Time
	events    int
	traced    []bus.Msg
	dead      []*market.DeadLetter
	holes     []hole
	decoder   wire.Decoder
	// deadBytes is about what the letters take; unweighed is what of the messages came since size was told.
	deadBytes, unweighed, size int
	// settled, if any, tells what of the range need not be done again.
	settled *settled
}

// hole is a run of sequences that no message stands at.
type hole struct{ first, last uint64 }

// settled is what became of a range in an earlier try.
type settled struct {
	places store.Places
	// buried are the events that have a letter, by place; -1 as the index: the whole message.
	buried map[place]bool
}

type place struct {
	seq uint64
	idx int32
}

func (s *settled) landed(seq uint64, idx uint32) bool {
	if s == nil {
		return false
	}
	_, ok := s.places[store.Place{Seq: seq, Idx: idx}]
	return ok
}

// touched reports whether any event of a message has landed.
func (s *settled) touched(seq uint64) bool {
	if s == nil {
		return false
	}
	for p := range s.places {
		if p.Seq == seq {
			return true
		}
	}
	return false
}

func (s *settled) dead(seq uint64, idx int32) bool {
	return s != nil && (s.buried[place{seq, idx}] || s.buried[place{seq, -1}])
}

func (s *span) empty() bool { return s.messages == 0 }

func (s *span) reset() {
	s.batch.Reset()
	s.last, s.lastTime, s.messages, s.dead, s.holes = 0, time.Time{}, 0, nil, nil
	s.firstTime, s.events, s.traced = time.Time{}, 0, nil
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
func (s *span) add(m bus.Msg) {
	s.last, s.lastTime = m.Seq, m.Time
	if s.messages == 0 {
		s.firstTime = m.Time
	}
	if m.Trace != "" && len(s.traced) <= maxLinks {
		s.traced = append(s.traced, bus.Msg{Seq: m.Seq, Trace: m.Trace})
	}
	s.messages++
	s.unweighed += len(m.Data)
	events, err := s.decoder.Decode(s.stream, m.Data)
	if err != nil {
		// Another version of us may have made rows of it before.
		if !s.settled.touched(m.Seq) && !s.settled.dead(m.Seq, -1) {
			s.bury(m, -1, feed.ReasonMalformed, err, m.Data)
		}
		return
	}
	s.events += len(events)
	for i, ev := range events {
		if s.settled.landed(m.Seq, uint32(i)) || s.settled.dead(m.Seq, int32(i)) {
			continue
		}
		err := ev.Validate()
		if err == nil {
			err = s.batch.Add(ev, market.Place{Stream: s.stream, Seq: m.Seq, Idx: uint32(i), StreamTime: m.StreamTime()})
		}
		if err != nil {
			payload, _ := wire.Encode(nil, []market.Event{ev})
			s.bury(m, int32(i), reasonOf(err), err, payload)
		}
	}
}

func reasonOf(err error) market.Reason {
	if row, ok := errors.AsType[*store.RowError](err); ok {
		return row.Reason
	}
	return feed.ReasonOf(err, market.ReasonValue)
}

func (s *span) bury(m bus.Msg, idx int32, reason market.Reason, cause error, payload []byte) {
	// Times come from the message, not from our clock: a replay must write the same letter.
	d := market.NewDeadFrame("lander", m.Subject, reason, cause.Error(), payload, m.Time)
	d.Of, d.Created, d.Seq, d.Idx = string(s.stream), s.created/1e9, m.Seq, idx
	s.dead = append(s.dead, d)
	s.deadBytes += len(d.Payload) + letterSize
}

// maxDead bounds the letters of a span, which are published one by one; letterSize is about what one takes beside its payload.
const (
	maxDead    = 256
	letterSize = 1 << 10
)
