package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// listener hands out connections that the gateway can take over.
type listener struct {
	net.Listener
	tls *tls.Config // nil: in the clear
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("the gateway listens on TCP only")
	}
	_ = tcp.SetWriteBuffer(sendBuffer) // a wish; without it the kernel chooses
	out := &conn{TCPConn: tcp}
	if l.tls != nil {
		out.secure = secure(tcp, l.tls)
	}
	return out, nil
}

// sendBuffer is what the kernel holds of what was written to a client and not taken yet. Left to itself it holds megabytes: for thousands of slow clients that
// is all the TCP memory of a machine, which then drops packets of everybody's, and a client would be slow for long before we noticed.
const sendBuffer = 256 << 10

// conn is a TCP connection whose writes, once it has a client, go through the client's queue: pongs and closes that the websocket library writes
// then never fall into the middle of another frame.
type conn struct {
	*net.TCPConn
	secure *secured // nil: in the clear
	client atomic.Pointer[client]
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	cl := c.client.Load()
	if cl == nil && c.secure != nil {
		return c.secure.tls.Write(b)
	}
	if cl == nil {
		return c.TCPConn.Write(b)
	}
	frame := append([]byte(nil), b...)
	if !cl.enqueue(frame) {
		return 0, net.ErrClosed
	}
	return len(b), nil
}

// SetWriteDeadline implements net.Conn. The client's writes have deadlines of their own.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.client.Load() != nil {
		return nil
	}
	return c.TCPConn.SetWriteDeadline(t)
}

// tryWrite writes as much of b as the socket takes at once and never waits.
func (c *conn) tryWrite(b []byte) (int, error) {
	if c.secure != nil {
		return c.secure.tryWrite(b, c.tryRaw)
	}
	return c.tryRaw(b)
}

// tryRaw is tryWrite of the bytes as they are.
func (c *conn) tryRaw(b []byte) (n int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	werr := raw.Write(func(fd uintptr) bool {
		n, err = writeOnce(fd, b)
		return true
	})
	if err == nil {
		err = werr
	}
	return n, err
}

// writePiece is what a client must take within the patience that it is given.
const writePiece = 16 << 10

// writeAll writes b, waiting for the socket: for each piece at most patience. A client that reads slowly is not one that reads nothing: progress is called
// after each piece.
func (c *conn) writeAll(b []byte, patience func() time.Duration, progress func()) error {
	if c.secure != nil {
		return c.secure.writeAll(b, func(records []byte) error { return c.writeRaw(records, patience, progress) })
	}
	return c.writeRaw(b, patience, progress)
}

// writeRaw is writeAll of the bytes as they are.
func (c *conn) writeRaw(b []byte, patience func() time.Duration, progress func()) error {
	for len(b) > 0 {
		if err := c.TCPConn.SetWriteDeadline(time.Now().Add(patience())); err != nil {
			return err
		}
		n, err := c.TCPConn.Write(b[:min(len(b), writePiece)])
		if err != nil {
			return err
		}
		b = b[n:]
		progress()
	}
	return c.TCPConn.SetWriteDeadline(time.Time{})
}

// writeOnce is one write; a full socket is no error.
func writeOnce(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return 0, nil
		case err != nil:
			return 0, err
		}
		return n, nil
	}
}
