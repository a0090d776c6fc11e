package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// secured is the TLS of a connection. Until a client takes the connection over, its records go straight to the socket; then they go into memory, so that
// encrypting never waits for a socket, and whoever writes for the client writes them from there.
type secured struct {
	tls *tls.Conn
	tcp *net.TCPConn

	mu      sync.Mutex
	taken   bool
	pending []byte // records that the socket has not taken
}

func secure(tcp *net.TCPConn, cfg *tls.Config) *secured {
	s := &secured{tcp: tcp}
	s.tls = tls.Server(records{tcp, s}, cfg)
	return s
}

// records is the socket as TLS writes to it.
type records struct {
	*net.TCPConn
	s *secured
}

// Write implements net.Conn.
func (r records) Write(b []byte) (int, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if !r.s.taken {
		return r.TCPConn.Write(b)
	}
	r.s.pending = append(r.s.pending, b...)
	return len(b), nil
}

// take lets records gather in memory from now on.
func (s *secured) take() {
	s.mu.Lock()
	s.taken = true
	s.mu.Unlock()
}

// owes reports whether the socket has still to take something of what was written.
func (s *secured) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) > 0
}

// notTLS is what a client hears that speaks HTTP in the clear.
const notTLS = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nthis port speaks TLS: write https:// or wss://\n"

func (s *secured) read(b []byte) (int, error) {
	n, err := s.tls.Read(b)
	if bad, ok := errors.AsType[tls.RecordHeaderError](err); ok && bad.Conn != nil && printable(bad.RecordHeader[:]) {
		_ = s.tcp.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = s.tcp.Write([]byte(notTLS))
	}
	return n, err
}

// printable reports whether bytes look like the beginning of a request in the clear.
func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// tryWrite encrypts as much of b as the socket takes at once; what it leaves of a record stays owed. try writes to the socket and never waits.
func (s *secured) tryWrite(b []byte, try func([]byte) (int, error)) (n int, err error) {
	for {
		if err := s.flush(try); err != nil {
			return n, err
		}
		if n == len(b) || s.owes() {
			return n, nil
		}
		k, err := s.tls.Write(b[n:min(len(b), n+writePiece)])
		if n += k; err != nil {
			return n, err
		}
	}
}

// writeAll encrypts b piece by piece and writes it and what was owed by write, which waits for the socket.
func (s *secured) writeAll(b []byte, write func([]byte) error) error {
	for {
		s.mu.Lock()
		owed := s.pending
		s.pending = nil
		s.mu.Unlock()
		if err := write(owed); err != nil {
			return err
		}
		if len(b) == 0 {
			return nil
		}
		n, err := s.tls.Write(b[:min(len(b), writePiece)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
}

func (s *secured) flush(try func([]byte) (int, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return nil
	}
	n, err := try(s.pending)
	if s.pending = s.pending[n:]; len(s.pending) == 0 {
		s.pending = nil // an idle connection should cost little
	}
	return err
}

// closeWrite says goodbye.
func (s *secured) closeWrite(try func([]byte) (int, error)) error {
	return errors.Join(s.tls.CloseWrite(), s.flush(try), s.tcp.CloseWrite())
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if c.secure != nil {
		return c.secure.read(b)
	}
	return c.TCPConn.Read(b)
}

// ReadFrom and WriteTo are the socket's own, which net/http and io.Copy would find: with TLS they must not lead around it.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if c.secure != nil {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	return c.TCPConn.ReadFrom(r)
}

// WriteTo implements io.WriterTo.
func (c *conn) WriteTo(w io.Writer) (int64, error) {
	if c.secure != nil {
		return io.Copy(w, struct{ io.Reader }{c})
	}
	return c.TCPConn.WriteTo(w)
}

// CloseWrite ends our side.
func (c *conn) CloseWrite() error {
	if c.secure != nil {
		return c.secure.closeWrite(c.tryRaw)
	}
	return c.TCPConn.CloseWrite()
}

// owes reports whether something that was written still waits for the socket.
func (c *conn) owes() bool { return c.secure != nil && c.secure.owes() }

// take gives the connection to a client, which alone writes from now on.
func (c *conn) take(cl *client) {
	if c.secure != nil {
		c.secure.take()
	}
	c.client.Store(cl)
}

// connKey is a connection among a request's values.
type connKey struct{}

// hsts tells browsers that were here with TLS to come with it only.
const hsts = "max-age=31536000"

// withHeaders sets on every answer what browsers need to be told; a handler that has more to allow sets its own. Requests over TLS say so, as net/http's own do.
func withHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		if c, ok := r.Context().Value(connKey{}).(*conn); ok && c.secure != nil {
			state := c.secure.tls.ConnectionState()
			r.TLS = &state
			h.Set("Strict-Transport-Security", hsts)
		}
		next.ServeHTTP(w, r)
	})
}
