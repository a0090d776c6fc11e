package httpserver

import (
	"bytes"
	"context"
	"net"
	"sync"
)

// earlyConn lets the head of a response begin before net/http sends it: ClickHouse tells progress in headers while the query runs, and net/http knows all headers at
// once or none. Of the head that net/http sends in the end, the status line is left out where one has gone already; its headers follow those that have.
type earlyConn struct {
	net.Conn

	mu    sync.Mutex
	begun bool // a status line has gone, and net/http's own has not come yet
}

// early sends a part of the head: the status line before the first.
func (c *earlyConn) early(status string, header []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.begun {
		header = append([]byte(status+"\r\n"), header...)
		c.begun = true
	}
	_, err := c.Conn.Write(header)
	return err
}

func (c *earlyConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	dropped := 0
	if c.begun {
		c.begun = false
		dropped = bytes.IndexByte(p, '\n') + 1
	}
	c.mu.Unlock()
	n, err := c.Conn.Write(p[dropped:])
	return n + dropped, err
}

// CloseWrite is looked for by net/http when it lets go of a client that is still sending.
func (c *earlyConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// earlyListener wraps the connections of another.
type earlyListener struct{ net.Listener }

func (l earlyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &earlyConn{Conn: c}, nil
}

// connKey is where a request's context has its earlyConn.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}
