package alpaca

import (
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

// message of the stream, encoded once for all clients of a format.
type message struct {
	kind   byte
	symbol string
	tick   *tape.Tick
	sec    *tape.Security
	bar    *tape.Bar
	json   []byte
	pack   []byte
}

// framesOf bounds the messages of one frame, as the venue batches them.
const perFrame = 100

// catchUp is how many buckets the tape makes up for when it was held up; beyond that (a suspended machine) streams are dropped, so that
// clients fetch what they missed.
const catchUp = int64(time.Minute / tape.Bucket)

// run sends the tape, bucket by bucket.
func (s *Server) run() {
	defer s.wg.Done()
	t := time.NewTicker(tape.Bucket)
	defer t.Stop()
	told, late := newTeller(s), newTeller(s)
	late.delayed = true
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		newest := tape.BucketOf(s.clock.Now()) - 1
		b := s.done.Load() + 1
		if newest-b > catchUp || b-newest > catchUp { // the clock was set
			s.DropAll()
			told, late = newTeller(s), newTeller(s)
			late.delayed = true
			b = newest
		}
		for ; b <= newest; b++ {
			told.bucket(b)
			if len(s.audience(true)) > 0 {
				late.bucket(b - int64(sipDelay/tape.Bucket))
			}
		}
	}
}

// sipDelay is how far delayed_sip is behind.
const sipDelay = 15 * time.Minute

// teller is the state of the sending goroutine.
type teller struct {
	s       *Server
	delayed bool // it tells delayed_sip
	packer  *packer
	scratch []tape.Tick
	ticks   []tape.Tick
	out     []message
	minutes map[*tape.Security]*tape.Minute // the running minute
	last    map[*tape.Security]*tape.Minute // the one before it
}

func newTeller(s *Server) *teller {
	return &teller{s: s, packer: newPacker(), minutes: map[*tape.Security]*tape.Minute{}, last: map[*tape.Security]*tape.Minute{}}
}

func (t *teller) bucket(b int64) {
	s, g := t.s, t.s.gen
	t.ticks, t.out = t.ticks[:0], t.out[:0]
	for _, sec := range g.Securities {
		t.scratch, t.ticks = g.Delivered(sec, b, t.scratch, t.ticks)
	}
	start := b - b%tape.PerMinute
	for i := range t.ticks {
		x := &t.ticks[i]
		t.count(x, start, b)
		t.out = append(t.out, message{kind: x.Kind, symbol: x.Security.Symbol, tick: x})
	}
	switch b % tape.PerMinute {
	case tape.PerMinute - 1:
		for _, sec := range g.Securities {
			t.closeMinute(sec, start, b)
		}
	case tape.PerMinute / 2:
		for _, sec := range g.Securities {
			t.reviseMinute(sec, start-tape.PerMinute, b)
		}
	}
	if !t.delayed {
		s.done.Store(b)
	}
	if len(t.out) == 0 || s.muted.Load() || s.sockets.Muted() {
		return
	}
	for _, c := range s.audience(t.delayed) {
		t.sendTo(c)
	}
}

// count adds a print to its minute's bar, or marks the bar for building anew.
func (t *teller) count(x *tape.Tick, start, b int64) {
	if x.Kind != 't' && x.Kind != 'x' && x.Kind != 'c' {
		return
	}
	m := t.minutes[x.Security]
	if m == nil {
		// The first print that we send of this minute; there were others if the tape began within the minute.
		m = &tape.Minute{Bar: tape.Bar{At: start * int64(tape.Bucket)}, Dirty: true}
		t.minutes[x.Security] = m
	}
	switch {
	case x.At < start*int64(tape.Bucket):
		if l := t.last[x.Security]; l != nil {
			l.Dirty = true
		}
	case x.Kind != 't' || x.Late:
		m.Dirty = true
	default:
		m.Add(x.At, x.Price, x.Size, x.Conditions)
	}
}

func (t *teller) closeMinute(sec *tape.Security, start, b int64) {
	m := t.minutes[sec]
	if m == nil {
		m = &tape.Minute{Bar: tape.Bar{At: start * int64(tape.Bucket)}, Dirty: true}
	}
	ok := m.OK()
	if m.Dirty {
		m.Bar, ok = t.s.gen.MinuteBar(sec, start, b)
		m.Dirty = false
	}
	if ok {
		m.Sent = true
		t.out = append(t.out, message{kind: 'b', symbol: sec.Symbol, sec: sec, bar: &m.Bar})
	}
	t.last[sec] = m
	t.minutes[sec] = &tape.Minute{Bar: tape.Bar{At: (start + tape.PerMinute) * int64(tape.Bucket)}}
	if t.wants('d', sec.Symbol) {
		now := tape.BucketTime(b + 1)
		if d, ok := t.s.gen.DailyBar(t.s.cal, sec, t.s.gen.TradeDate(t.s.cal, now.Add(-time.Nanosecond)), now); ok {
			t.out = append(t.out, message{kind: 'd', symbol: sec.Symbol, sec: sec, bar: &d})
		}
	}
}

func (t *teller) reviseMinute(sec *tape.Security, start, b int64) {
	m := t.last[sec]
	if m == nil || !m.Dirty {
		return
	}
	m.Dirty = false
	built, ok := t.s.gen.MinuteBar(sec, start, b)
	if !ok || m.Sent && built == m.Bar {
		return
	}
	m.Bar, m.Sent = built, true
	t.out = append(t.out, message{kind: 'u', symbol: sec.Symbol, sec: sec, bar: &m.Bar})
}

// audience is who listens to the stream, or to the delayed one.
func (s *Server) audience(delayed bool) []*client {
	return slices.DeleteFunc(s.snapshot(), func(c *client) bool { return strings.HasSuffix(c.path, "/delayed_sip") != delayed })
}

func (t *teller) wants(kind byte, symbol string) bool {
	for _, c := range t.s.audience(t.delayed) {
		if c.wants(kind, symbol) {
			return true
		}
	}
	return false
}

func (t *teller) sendTo(c *client) {
	var body []byte
	n := 0
	flush := func() {
		if n == 0 {
			return
		}
		if c.binary {
			c.send(outFrame{append(arrayHeader(n), body...), true})
		} else {
			c.send(outFrame{append(body, ']'), false})
		}
		body, n = nil, 0
	}
	c.mu.Lock()
	subs := c.subs
	c.mu.Unlock()
	for i := range t.out {
		m := &t.out[i]
		if !subs.has(m.kind, m.symbol) {
			continue
		}
		if c.binary {
			body = append(body, t.packed(m)...)
		} else {
			sep := byte(',')
			if n == 0 {
				sep = '['
			}
			body = append(append(body, sep), t.text(m)...)
		}
		if n++; n == perFrame {
			flush()
		}
	}
	flush()
}

func (t *teller) text(m *message) []byte {
	if m.json == nil {
		if m.bar != nil {
			m.json = appendBar(nil, m.kind, m.sec, m.bar)
		} else {
			m.json = appendTick(nil, m.tick)
		}
	}
	return m.json
}

func (t *teller) packed(m *message) []byte {
	if m.pack == nil {
		if m.bar != nil {
			m.pack = t.packer.bar(m.kind, m.sec, m.bar)
		} else {
			m.pack = t.packer.tick(m.tick)
		}
	}
	return m.pack
}

// arrayHeader is MsgPack's for n <= perFrame elements.
func arrayHeader(n int) []byte {
	if n < 16 {
		return []byte{0x90 | byte(n)}
	}
	return []byte{0xdc, byte(n >> 8), byte(n)}
}
