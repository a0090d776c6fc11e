package alpaca

import (
	"time"
)

// message of the stream, encoded once for all clients of a format.
type message struct {
	kind   byte
	symbol string
	tick   *tick
	sec    *security
	bar    *bar
	json   []byte
	pack   []byte
}

// framesOf bounds the messages of one frame, as the venue batches them.
const perFrame = 100

// catchUp is how many buckets the tape makes up for when it was held up; beyond that (a suspended machine) streams are dropped, so that
// clients fetch what they missed.
const catchUp = int64(time.Minute / bucket)

// run sends the tape, bucket by bucket.
func (s *Server) run() {
	defer s.wg.Done()
	t := time.NewTicker(bucket)
	defer t.Stop()
	tape := &tape{s: s, packer: newPacker(), minutes: map[*security]*minute{}, last: map[*security]*minute{}}
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		newest := bucketOf(time.Now()) - 1
		b := s.done.Load() + 1
		if newest-b > catchUp {
			s.DropAll()
			tape.minutes, tape.last = map[*security]*minute{}, map[*security]*minute{}
			b = newest
		}
		for ; b <= newest; b++ {
			tape.bucket(b)
		}
	}
}

// tape is the state of the sending goroutine.
type tape struct {
	s       *Server
	packer  *packer
	scratch []tick
	ticks   []tick
	out     []message
	minutes map[*security]*minute // the running minute
	last    map[*security]*minute // the one before it
}

func (t *tape) bucket(b int64) {
	s, g := t.s, t.s.gen
	t.ticks, t.out = t.ticks[:0], t.out[:0]
	for _, sec := range g.symbols {
		t.scratch, t.ticks = g.delivered(sec, b, t.scratch, t.ticks)
	}
	start := b - b%perMinute
	for i := range t.ticks {
		x := &t.ticks[i]
		t.count(x, start, b)
		t.out = append(t.out, message{kind: x.kind, symbol: x.s.symbol, tick: x})
	}
	switch b % perMinute {
	case perMinute - 1:
		for _, sec := range g.symbols {
			t.closeMinute(sec, start, b)
		}
	case perMinute / 2:
		for _, sec := range g.symbols {
			t.reviseMinute(sec, start-perMinute, b)
		}
	}
	s.done.Store(b)
	if len(t.out) == 0 || s.muted.Load() {
		return
	}
	for _, c := range s.snapshot() {
		t.sendTo(c)
	}
}

// count adds a print to its minute's bar, or marks the bar for building anew.
func (t *tape) count(x *tick, start, b int64) {
	if x.kind != 't' && x.kind != 'x' && x.kind != 'c' {
		return
	}
	m := t.minutes[x.s]
	if m == nil {
		// The first print that we send of this minute; there were others if the tape began within the minute.
		m = &minute{b: bar{at: start * int64(bucket)}, dirty: true}
		t.minutes[x.s] = m
	}
	switch {
	case x.at < start*int64(bucket):
		if l := t.last[x.s]; l != nil {
			l.dirty = true
		}
	case x.kind != 't' || x.late:
		m.dirty = true
	default:
		m.add(x.at, x.price, x.size, x.cond)
	}
}

func (t *tape) closeMinute(sec *security, start, b int64) {
	m := t.minutes[sec]
	if m == nil {
		m = &minute{b: bar{at: start * int64(bucket)}, dirty: true}
	}
	ok := m.ok()
	if m.dirty {
		m.b, ok = t.s.gen.minuteBar(sec, start, b)
		m.dirty = false
	}
	if ok {
		m.sent = true
		t.out = append(t.out, message{kind: 'b', symbol: sec.symbol, sec: sec, bar: &m.b})
	}
	t.last[sec] = m
	t.minutes[sec] = &minute{b: bar{at: (start + perMinute) * int64(bucket)}}
	if t.s.wants('d', sec.symbol) {
		now := bucketTime(b + 1)
		if d, ok := t.s.gen.dailyBar(t.s.cal, sec, t.s.cal.DateOf(now.Add(-time.Nanosecond)), now); ok {
			t.out = append(t.out, message{kind: 'd', symbol: sec.symbol, sec: sec, bar: &d})
		}
	}
}

func (t *tape) reviseMinute(sec *security, start, b int64) {
	m := t.last[sec]
	if m == nil || !m.dirty {
		return
	}
	m.dirty = false
	built, ok := t.s.gen.minuteBar(sec, start, b)
	if !ok || m.sent && built == m.b {
		return
	}
	m.b, m.sent = built, true
	t.out = append(t.out, message{kind: 'u', symbol: sec.symbol, sec: sec, bar: &m.b})
}

func (s *Server) wants(kind byte, symbol string) bool {
	for _, c := range s.snapshot() {
		if c.wants(kind, symbol) {
			return true
		}
	}
	return false
}

func (t *tape) sendTo(c *client) {
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

func (t *tape) text(m *message) []byte {
	if m.json == nil {
		if m.bar != nil {
			m.json = appendBar(nil, m.kind, m.sec, m.bar)
		} else {
			m.json = appendTick(nil, m.tick)
		}
	}
	return m.json
}

func (t *tape) packed(m *message) []byte {
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
