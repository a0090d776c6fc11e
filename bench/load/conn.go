package load

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// conn is one client. A poller alone reads it, once it is added there.
type conn struct {
	fd     int
	rest   []byte        // of a frame that is not whole yet
	count  atomic.Uint64 // messages
	acks   atomic.Int64
	closed atomic.Bool
}

// clientBuffer is what the kernel holds for a client. Left to itself it holds up to tens of megabytes for each, and when a thousand on one machine have used
// up its TCP memory, it drops what is sent to all of them: no server's fault, and nothing that clients on machines of their own would see.
//
// The segments are those of an Ethernet. Loopback's are of 64 KiB, and a window of two of them opens and closes so coarsely that senders wait for probes.
const (
	clientBuffer    = 256 << 10
	ethernetSegment = 1460
)

// connect opens a connection to addr (IPv4) and shakes hands. receiveBuffer is for a client that does not read: so much the kernel takes for it at most;
// 0 is for all others.
func connect(addr unix.SockaddrInet4, p Protocol, receiveBuffer int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	c := &conn{fd: fd}
	fail := func(err error) (*conn, error) { _ = unix.Close(fd); return nil, err }
	segment := ethernetSegment
	if receiveBuffer > 0 {
		// The server's kernel makes its send buffer a multiple of the segment: with a larger one it would take megabytes for the client.
		segment = 536
	}
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, cmp.Or(receiveBuffer, clientBuffer)),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, segment)); err != nil {
		return fail(fmt.Errorf("set the receive buffer and the segment size: %w", err))
	}
	patience := unix.Timeval{Sec: 20}
	if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)); err != nil {
		return fail(fmt.Errorf("set up the socket: %w", err))
	}
	if err := dial(fd, addr); err != nil {
		return fail(fmt.Errorf("connect: %w", err))
	}
	host := fmt.Sprintf("127.0.0.1:%d", addr.Port)
	req := "GET " + p.Path + " HTTP/1.1\r\nHost: " + host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if p.Subprotocol != "" {
		req += "Sec-WebSocket-Protocol: " + p.Subprotocol + "\r\n"
	}
	if err := c.write([]byte(req + "\r\n")); err != nil {
		return fail(err)
	}
	var head []byte
	for !bytes.Contains(head, []byte("\r\n\r\n")) {
		var b [4096]byte
		n, err := read(fd, b[:])
		if err != nil || n == 0 {
			return fail(fmt.Errorf("read the handshake after %q: %w", head, errors.Join(err, unix.ECONNRESET)))
		}
		if head = append(head, b[:n]...); len(head) > 64<<10 {
			return fail(errors.New("the handshake does not end"))
		}
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !strings.Contains(string(head), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
		return fail(fmt.Errorf("the handshake was answered with %.200q", head))
	}
	_, after, _ := bytes.Cut(head, []byte("\r\n\r\n"))
	c.rest = append(c.rest, after...)
	if p.Hello != "" {
		if err := c.send(p, p.Hello); err != nil {
			return fail(err)
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fail(fmt.Errorf("set up the socket: %w", err))
	}
	return c, nil
}

// dial connects; an interrupted connect goes on by itself.
func dial(fd int, addr unix.SockaddrInet4) error {
	err := unix.Connect(fd, &addr)
	for errors.Is(err, unix.EINTR) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if _, err = unix.Poll(fds, 20_000); err != nil {
			continue
		}
		code, gerr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case gerr != nil:
			return gerr
		case code != 0:
			return unix.Errno(code)
		case fds[0].Revents == 0:
			return unix.ETIMEDOUT
		}
	}
	return err
}

func (c *conn) send(p Protocol, message string) error {
	op := byte(opText)
	if p.Binary {
		op = opBinary
	}
	return c.write(appendFrame(nil, op, []byte(message)))
}

// write sends what is small enough for the socket's buffer.
func (c *conn) write(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("write: %w", err)
		default:
			b = b[n:]
		}
	}
	return nil
}

func read(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
