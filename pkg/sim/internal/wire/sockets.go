package wire

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

// Sockets are the websockets of a simulator, as the generic faults see them. A Hub has its own; a simulator that serves its clients itself
// opens a Line for each.
type Sockets struct {
	mu       sync.Mutex
	lines    map[*Line]struct{}
	spans    map[string]*span
	connects arrivals
	wg       sync.WaitGroup // huge frames on their way
}

// Wait waits for what was still being written when the connections were closed.
func (s *Sockets) Wait() { s.wg.Wait() }

// Line is one connection, with the faults that were ordered for it. One goroutine reads; any may write.
type Line struct {
	s    *Sockets
	ws   *websocket.Conn
	gone chan struct{}
	once sync.Once

	mu     sync.Mutex // one writer at a time
	dead   bool       // half-open: nothing goes out, nothing that comes in is heard
	held   []byte     // waits for its successor to be sent before it
	heldAs int
	flush  *time.Timer
}

// heldFor is how long a frame that is to be swapped waits for the next one.
const heldFor = 500 * time.Millisecond

// Refused answers a handshake that is to be refused, and reports whether it did. It counts the handshake.
func (s *Sockets) Refused(w http.ResponseWriter) bool {
	s.mu.Lock()
	s.connects.add()
	x := s.spans[control.Refuse]
	refuse := x.strike()
	s.mu.Unlock()
	if !refuse {
		return false
	}
	writeOrder(w, x.order, http.StatusServiceUnavailable)
	return true
}

// Open takes a connection in.
func (s *Sockets) Open(ws *websocket.Conn) *Line {
	l := &Line{s: s, ws: ws, gone: make(chan struct{})}
	ws.SetPingHandler(func(text string) error {
		if !l.isDead() {
			_ = ws.WriteControl(websocket.PongMessage, []byte(text), time.Now().Add(time.Second)) // a failure shows at the next read
		}
		return nil
	})
	ws.SetCloseHandler(func(code int, _ string) error {
		if !l.isDead() {
			_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
		}
		return nil
	})
	s.mu.Lock()
	if s.lines == nil {
		s.lines = map[*Line]struct{}{}
	}
	s.lines[l] = struct{}{}
	if x := s.spans[control.HalfOpen]; x.strike() {
		l.dead = true
	}
	drop, bye := s.spans[control.Drop], s.spans[control.Close]
	if drop.strike() {
		time.AfterFunc(time.Duration(drop.order.Delay), l.cut)
	}
	if bye.strike() {
		time.AfterFunc(time.Duration(bye.order.Delay), func() { l.bye(bye.order) })
	}
	s.mu.Unlock()
	return l
}

func (l *Line) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// Close forgets the connection and closes its socket.
func (l *Line) Close() {
	l.once.Do(func() {
		close(l.gone)
		l.s.mu.Lock()
		delete(l.s.lines, l)
		l.s.mu.Unlock()
		_ = l.ws.Close() // ends a write that waits, which holds the lock
		l.mu.Lock()
		if l.flush != nil {
			l.flush.Stop()
		}
		l.mu.Unlock()
	})
}

func (l *Line) cut() { _ = l.ws.NetConn().Close() }

func (l *Line) bye(o control.Order) {
	if o.Code == 0 {
		o.Code = websocket.CloseGoingAway
	}
	_ = l.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(o.Code, o.Reason), time.Now().Add(time.Second))
}

// Read returns the next message of the client.
func (l *Line) Read() ([]byte, error) {
	for {
		l.dawdle()
		_, data, err := l.ws.ReadMessage()
		if err != nil || !l.isDead() {
			return data, err
		}
	}
}

// dawdle waits as long as a slow server does.
func (l *Line) dawdle() {
	l.s.mu.Lock()
	x := l.s.spans[control.Slow]
	slow := x.on()
	l.s.mu.Unlock()
	if !slow {
		return
	}
	t := time.NewTimer(orElse(time.Duration(x.order.Delay), time.Second))
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.gone:
	}
}

// Write sends a message with the faults that are due.
func (l *Line) Write(typ int, data []byte) error {
	l.dawdle()
	l.s.mu.Lock()
	twice := l.s.spans[control.Duplicate].strike()
	swap := l.s.spans[control.Reorder].strike()
	l.s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil
	}
	if swap && l.held == nil {
		l.held, l.heldAs = data, typ
		l.flush = time.AfterFunc(heldFor, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			_ = l.release() // a failure shows at the next write
		})
		return nil
	}
	err := l.send(typ, data)
	if twice {
		err = errors.Join(err, l.send(typ, data))
	}
	return errors.Join(err, l.release())
}

// WriteRaw sends a message as it is, whatever stands but a half-open line.
func (l *Line) WriteRaw(typ int, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil
	}
	return l.send(typ, data)
}

func (l *Line) send(typ int, data []byte) error {
	_ = l.ws.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return l.ws.WriteMessage(typ, data)
}

func (l *Line) release() error {
	if l.held == nil {
		return nil
	}
	l.flush.Stop()
	data := l.held
	l.held = nil
	return l.send(l.heldAs, data)
}

// Muted reports whether nothing is to be sent to anyone.
func (s *Sockets) Muted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spans[control.Mute].on()
}

func (s *Sockets) all() []*Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Line, 0, len(s.lines))
	for l := range s.lines {
		out = append(out, l)
	}
	return out
}

func (s *Sockets) set(name string, x *span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spans == nil {
		s.spans = map[string]*span{}
	}
	s.spans[name] = x
}

var socketFaults = []control.Fault{
	{Name: control.Drop, Does: "cuts all connections without a close frame; with for or times also those that come, each delay after its handshake"},
	{Name: control.Mute, Does: "connections stay, pings are answered, nothing is sent"},
	{Name: control.HalfOpen, Does: "connections stay in TCP only: nothing is sent, heard or answered, pings neither; with for or times those that come too"},
	{Name: control.Slow, Does: "each read and write waits for delay (1s)"},
	{Name: control.Duplicate, Does: "each message is sent twice"},
	{Name: control.Reorder, Does: "neighbouring messages change places"},
	{Name: control.Garbage, Does: "sends a message that cannot be decoded, times times"},
	{Name: control.Types, Does: "sends a message whose fields have other types than the protocol says, times times"},
	{Name: control.HugeFrame, Does: "sends a message of 10 MB"},
	{Name: control.Frame, Does: "sends body as it is"},
	{Name: control.Close, Does: "closes all connections with code (1001) and reason; with for or times also those that come, after delay"},
	{Name: control.Refuse, Does: "answers the next handshake, or those within for, with status (503), header and body"},
}

// order takes an order of a generic fault; false: it is none.
func (s *Sockets) order(o control.Order, types string) (bool, error) {
	switch o.Fault {
	case control.Drop, control.Close:
		if o.For > 0 || o.Times > 1 {
			x := standing(o)
			if o.Times > 1 {
				x.left = o.Times - 1 // those that are connected are the first time
			}
			s.set(o.Fault, x)
		}
		for _, l := range s.all() {
			if o.Fault == control.Drop {
				l.cut()
			} else {
				l.bye(o)
			}
		}
	case control.HalfOpen:
		if o.For > 0 || o.Times > 0 {
			s.set(o.Fault, standing(o))
		}
		for _, l := range s.all() {
			l.mu.Lock()
			l.dead = true
			l.mu.Unlock()
		}
	case control.Mute, control.Slow, control.Duplicate, control.Reorder:
		s.set(o.Fault, standing(o))
	case control.Refuse:
		s.set(o.Fault, event(o))
	case control.Garbage:
		return true, s.inject(o, []byte("\xff\xfe{\"\x00<garbage"))
	case control.Types:
		return true, s.inject(o, []byte(types))
	case control.HugeFrame:
		return true, s.inject(o, []byte(`"`+strings.Repeat("x", 10<<20)+`"`))
	case control.Frame:
		return true, s.inject(o, []byte(o.Body))
	default:
		return false, nil
	}
	return true, nil
}

func (s *Sockets) inject(o control.Order, data []byte) error {
	lines := s.all()
	if len(lines) == 0 {
		return errors.New("order " + o.Fault + ": no client is connected")
	}
	for _, l := range lines {
		write := func() {
			for range max(o.Times, 1) {
				_ = l.WriteRaw(websocket.TextMessage, data) // a client that goes meanwhile is no fault of the order
			}
		}
		if len(data) > 64<<10 { // more than a socket takes from a client that does not read
			s.wg.Go(write)
		} else {
			write()
		}
	}
	return nil
}

// clear ends a fault, all where the name is empty.
func (s *Sockets) clear(fault string) {
	s.mu.Lock()
	if fault == "" {
		clear(s.spans)
	} else {
		delete(s.spans, fault)
	}
	s.mu.Unlock()
	if fault == "" || fault == control.HalfOpen {
		for _, l := range s.all() {
			l.mu.Lock()
			l.dead = false
			l.mu.Unlock()
		}
	}
}

func orElse(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
