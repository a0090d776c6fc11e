package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// poller reads many connections into one buffer on one goroutine: a goroutine and a buffer for each of thousands cost more than the reading, and
// that cost would be measured as the server's.
type poller struct {
	p       Protocol
	marker  []byte // of p
	ack     []byte
	epoll   int
	wake    int        // event descriptor that ends run
	mu      sync.Mutex // of conns, measure, hist
	conns   map[int32]*conn
	buf     []byte
	measure bool        // take latencies
	nth     uint64      // message while they are taken
	hist    Histogram   // of them
	asked   atomic.Bool // acknowledgements are waited for
	frames  atomic.Uint64
	bytes   atomic.Uint64
	lost    atomic.Uint64 // connections that the server closed
	code    atomic.Int64  // of the last close frame
	err     error         // of run
	done    sync.WaitGroup
}

// sampled is of how many messages one has its latency taken. Of all of them it costs a client more than reading them, and what it can read then is less than what saturates a
// server whose latencies are not taken: it would be the client that falls behind at a share of that.
const sampled = 8

func newPoller(p Protocol) (*poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(ep)
		return nil, fmt.Errorf("create an event: %w", err)
	}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		_, _ = unix.Close(ep), unix.Close(wake)
		return nil, fmt.Errorf("watch the event: %w", err)
	}
	l := &poller{p: p, marker: []byte(p.Marker), ack: []byte(p.Ack), epoll: ep, wake: wake, conns: map[int32]*conn{}, buf: make([]byte, 256<<10)}
	l.done.Go(func() { l.err = l.run() })
	return l, nil
}

func (l *poller) add(c *conn) error {
	l.mu.Lock()
	l.conns[int32(c.fd)] = c
	l.mu.Unlock()
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)}); err != nil {
		return fmt.Errorf("watch a connection: %w", err)
	}
	return nil
}

// close ends run, then every connection.
func (l *poller) close() error {
	one := binary.NativeEndian.AppendUint64(nil, 1)
	_, err := unix.Write(l.wake, one)
	l.done.Wait()
	for _, c := range l.conns {
		if !c.closed.Load() {
			_ = unix.Close(c.fd)
		}
	}
	_, _ = unix.Close(l.epoll), unix.Close(l.wake)
	return errors.Join(err, l.err)
}

func (l *poller) run() error {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for connections: %w", err)
		}
		if end, err := l.readAll(events[:n]); end || err != nil {
			return err
		}
	}
}

func (l *poller) readAll(ready []unix.EpollEvent) (end bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range ready {
		if e.Fd == int32(l.wake) {
			return true, nil
		}
		if err := l.read(l.conns[e.Fd]); err != nil {
			return false, err
		}
	}
	return false, nil
}

// read takes what the connection has, at most a buffer: the others wait.
func (l *poller) read(c *conn) error {
	if len(c.rest) > len(l.buf)/2 {
		l.buf = make([]byte, 2*len(l.buf)+len(c.rest))
	}
	held := copy(l.buf, c.rest)
	n, err := read(c.fd, l.buf[held:])
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	if err != nil || n == 0 {
		l.drop(c)
		return nil
	}
	now := time.Now()
	l.bytes.Store(l.bytes.Load() + uint64(n))
	b := l.buf[:held+n]
	frames, messages := uint64(0), uint64(0)
	for {
		op, payload, rest, ok, err := nextFrame(b)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		b = rest
		frames++
		switch op {
		case opPing:
			_ = c.write(appendFrame(nil, opPong, payload)) // a connection that cannot take it is closed by the server
		case opClose:
			if len(payload) >= 2 {
				l.code.Store(int64(binary.BigEndian.Uint16(payload)))
			}
		case opText, opBinary, opContinuation:
			messages += l.payload(c, payload, now)
		}
	}
	c.rest = append(c.rest[:0], b...)
	if len(c.rest) == 0 && cap(c.rest) > 4<<10 {
		c.rest = nil
	}
	if messages > 0 {
		c.count.Store(c.count.Load() + messages)
	}
	l.frames.Store(l.frames.Load() + frames)
	return nil
}

func (l *poller) payload(c *conn, payload []byte, now time.Time) uint64 {
	n := uint64(0)
	for b := payload; ; n++ {
		i := bytes.Index(b, l.marker)
		if i < 0 {
			break
		}
		b = b[i+len(l.marker):]
		if l.measure {
			if l.nth++; l.nth%sampled == 0 {
				if at, ok := l.p.Stamp(b); ok {
					l.hist.Record(now.Sub(at))
				}
			}
		}
		b = b[min(l.p.Apart, len(b)):]
	}
	if l.asked.Load() { // an acknowledgement may come in one frame with messages
		if acks := bytes.Count(payload, l.ack); acks > 0 {
			c.acks.Add(int64(acks))
		}
	}
	if n == 0 {
		if answer := l.p.Answer(payload); answer != nil {
			_ = c.send(l.p, string(answer))
		}
	}
	return n
}

func (l *poller) drop(c *conn) {
	c.closed.Store(true)
	l.lost.Add(1)
	delete(l.conns, int32(c.fd))
	_ = unix.Close(c.fd)
}
