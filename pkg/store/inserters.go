package store

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// inserters are connections for inserts that wait for the next one. clickhouse-go, which does everything else, would copy each value of a block three
// times on its way to the socket.
type inserters struct {
	max      int
	compress bool

	mu     sync.Mutex
	idle   []idleConn
	closed bool
}

type idleConn struct {
	*client
	since time.Time
}

// maxIdle is for how long a connection may wait: servers and what stands between end those that say nothing.
const maxIdle = time.Minute

// keptBuffer bounds the block after which a connection that compresses is kept: it keeps the buffers of its greatest block.
const keptBuffer = 4 << 20

// take returns a connection that was at work a moment ago and still lives, or a new one.
func (p *inserters) take(ctx context.Context, dial func(context.Context) (*client, error)) (*client, error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			return dial(ctx)
		}
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		if time.Since(c.since) < maxIdle && alive(c.socket) {
			return c.client, nil
		}
		_ = c.Close()
	}
}

// put keeps a connection whose insert of a block of size bytes succeeded.
func (p *inserters) put(c *client, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.max || p.compress && size > keptBuffer {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, idleConn{c, time.Now()})
}

// close ends all that wait.
func (p *inserters) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
}

// alive reports whether a connection on which the server owes nothing is still open: there is nothing to read, and no end.
func alive(conn net.Conn) bool {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = t.NetConn()
	}
	s, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK)
		return true
	})
	return err == nil && open
}
