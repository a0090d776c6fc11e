// Package tcpserver is ClickHouse's native TCP protocol in front of the engine.
package tcpserver

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
)

// Config is the server's. Every field is required but MaxConnections, of which
// zero means no limit.
type Config struct {
	Engine         *engine.Engine
	Access         *access.Control
	MaxConnections int
	Logger         *slog.Logger
}

// The times a client has. They follow ClickHouse's own defaults.
const (
	helloTimeout  = 10 * time.Second
	idleTimeout   = time.Hour
	packetTimeout = 5 * time.Minute // for one packet to arrive, or one to leave
	heartbeat     = time.Second     // progress to a client that waits
	lingerTime    = time.Second
	lingerBytes   = 16 << 20
	readBuffer    = 128 << 10

	// attendAfter is how old a query must be for its client to be listened to, which most queries do not become.
	attendAfter = 10 * time.Millisecond
	// flushAfter is for how long what is small waits for what comes behind it: a short answer leaves in one piece.
	flushAfter = time.Millisecond
)

// Server accepts native connections on one listener.
type Server struct {
	cfg  Config
	info native.ServerInfo

	ctx    context.Context // ends when running queries shall
	cancel context.CancelFunc

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool
	wg      sync.WaitGroup
}

// New makes a server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, conns: map[*conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.info = native.ServerInfo{Timezone: cfg.Engine.Timezone, DisplayName: "hashpivot"}
	for i, part := range strings.Split(cfg.Engine.Version, ".") {
		n, _ := strconv.ParseUint(part, 10, 32)
		switch i {
		case 0:
			s.info.Major = n
		case 1:
			s.info.Minor = n
		case 2:
			s.info.Patch = n
		}
	}
	return s
}

// Serve accepts until the listener is closed.
func (s *Server) Serve(ln net.Listener) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				return nil
			}
			// Out of descriptors, most likely: give others time to close theirs.
			s.cfg.Logger.Warn("accept native connection", "error", err)
			select {
			case <-s.ctx.Done():
				return nil
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		c := &conn{srv: s, nc: nc}
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			_ = nc.Close()
			continue
		}
		full := s.cfg.MaxConnections > 0 && len(s.conns) >= s.cfg.MaxConnections
		s.conns[c] = struct{}{}
		s.wg.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.wg.Done()
			c.serve(full)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
	}
}

// Shutdown closes idle connections at once, lets running queries end until ctx
// does, then cancels them, and waits for every connection.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	for c := range s.conns {
		c.closeIfIdle()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		s.cancel()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.nc.Close()
		}
		s.mu.Unlock()
		<-done
	}
	s.cancel()
}

// conn is one client. Its goroutine reads packets and runs queries; while a query
// runs, a second one listens for its cancellation and a third keeps the client
// from giving up on a silent server.
type conn struct {
	srv *Server
	nc  net.Conn
	r   native.Reader
	rev uint64

	session *engine.Session
	account *access.Account
	agent   string
	run     *engine.Run // the query of the moment

	wmu     sync.Mutex // packets go out whole
	w       *native.Writer
	flusher *time.Timer // flushes what nothing came behind of; stopped between queries
	lastOut time.Time
	told    engine.Stats // in the progress packets of the query
	seen    engine.Stats // with its blocks

	compression bool
	extremes    bool // are asked for
	// patience is for how long the client of an insert may take for a block: its receive_timeout.
	patience time.Duration
	frames   *native.FrameWriter
	frameIn  *native.FrameReader
	plainIn  *native.PlainReader
	walkIn   native.Walker
	walkOut  native.Walker

	stateMu sync.Mutex
	busy    bool
	closed  bool
}

func (c *conn) closeIfIdle() {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	c.closed = true
	if !c.busy {
		_ = c.nc.Close()
	}
}

// setBusy marks the connection as running a query; false means that the server
// is closing and it must not start another.
func (c *conn) setBusy(b bool) bool {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if c.closed {
		return false
	}
	c.busy = b
	return true
}

// errClose ends a connection whose client has been told why.
var errClose = errors.New("connection is out of step")

// linger gives the client the time to read why it is let go: closing with its
// bytes unread would reset the connection under the exception.
func (c *conn) linger() {
	if t, ok := c.nc.(interface{ CloseWrite() error }); ok && t.CloseWrite() == nil {
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.r, lingerBytes)
	}
}

func (c *conn) serve(full bool) {
	defer c.nc.Close()
	c.r = native.Reader{Reader: bufio.NewReaderSize(c.nc, readBuffer)}
	c.w = native.NewWriter(c.nc)
	c.flusher = time.AfterFunc(time.Hour, c.flushLate)
	defer c.flusher.Stop()
	c.frames = native.NewFrameWriter(c.w, native.MethodLZ4)
	c.frameIn = native.NewFrameReader(c.r.Reader)
	c.plainIn = native.NewPlainReader(c.r.Reader)
	defer c.frames.Close()
	defer c.frameIn.Close()

	err := c.hello(full)
	if c.session != nil {
		defer func() { c.session.Close() }()
	}
	for err == nil {
		err = c.packet()
	}
	if errors.Is(err, errClose) {
		c.linger()
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, errClose) && !errors.Is(err, net.ErrClosed) {
		c.srv.cfg.Logger.Debug("native connection ended", "remote", c.nc.RemoteAddr().String(), "error", err)
	}
}

func (c *conn) hello(full bool) error {
	_ = c.nc.SetDeadline(time.Now().Add(helloTimeout))
	packet, err := c.r.Uvarint()
	if err != nil {
		return err
	}
	if packet != native.ClientHello {
		if packet == 'G' || packet == 'P' { // GET, POST, PUT: a browser or curl
			_, _ = io.WriteString(c.nc, "HTTP/1.0 400 Bad Request\r\n\r\nThis is ClickHouse's native protocol port: use the HTTP port\r\n")
		}
		return errClose
	}
	h, err := c.r.Hello()
	if err != nil {
		return err
	}
	c.rev = min(h.Revision, native.Revision)
	switch {
	case h.Revision < native.MinRevision:
		return c.refuse(engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS",
			"Client protocol revision %d is too old: at least %d is needed (ClickHouse 18.x)", h.Revision, native.MinRevision))
	case full:
		return c.refuse(engine.NewError(engine.CodeTooMany, "TOO_MANY_SIMULTANEOUS_QUERIES",
			"Too many connections: %d are open", c.srv.cfg.MaxConnections))
	}
	if c.account, err = c.srv.cfg.Access.Login(h.User, h.Password, c.nc.RemoteAddr().String()); err != nil {
		return c.refuse(err)
	}
	c.agent = h.ClientName
	if c.session, err = c.srv.cfg.Engine.NewSession(); err != nil {
		return c.refuse(err)
	}
	if err := c.session.UseAs(c.account, h.Database); err != nil {
		return c.refuse(err)
	}
	c.w.Hello(c.srv.info, c.rev)
	if err := c.w.Flush(); err != nil {
		return err
	}
	if native.HasAddendum(c.rev) {
		if err := c.r.Addendum(); err != nil {
			return err
		}
	}
	return c.nc.SetDeadline(time.Time{})
}

// refuse tells why and ends the connection.
func (c *conn) refuse(err error) error {
	e := engine.AsException(err)
	c.w.Exception(e.Code, e.Text)
	_ = c.w.Flush()
	return errClose
}

// packet waits for the next packet and acts on it.
func (c *conn) packet() error {
	_ = c.nc.SetReadDeadline(time.Now().Add(idleTimeout))
	packet, err := c.r.Uvarint()
	if err != nil {
		return err
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(packetTimeout))
	switch packet {
	case native.ClientPing:
		return c.send(func() { c.w.Uvarint(native.ServerPong) })
	case native.ClientCancel:
		return nil // of a query that has ended meanwhile
	case native.ClientData:
		// What an insert that went wrong had still to send.
		_, err := c.skipData()
		return c.protocolError(err)
	case native.ClientQuery:
		if !c.setBusy(true) {
			return errClose
		}
		defer func() {
			if !c.setBusy(false) {
				_ = c.nc.Close()
			}
		}()
		q, err := c.r.Query(c.rev, c.srv.cfg.Engine.SettingType)
		if err != nil {
			return c.protocolError(err)
		}
		return c.query(q)
	}
	return c.protocolError(engine.NewError(engine.CodeUnknownPacket, "UNKNOWN_PACKET_FROM_CLIENT",
		"Unknown packet %d from client", packet))
}

// protocolError tells the client what was wrong with its bytes; nothing after
// them can be understood.
func (c *conn) protocolError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, native.ErrMalformed) || errors.Is(err, native.ErrUnsupported) {
		err = dataError(err)
	}
	var e interface{ Timeout() bool }
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &e) {
		return err
	}
	c.exception(err)
	return errClose
}

// dataError gives an error in a client's bytes ClickHouse's code.
func dataError(err error) error {
	if errors.Is(err, native.ErrUnsupported) {
		return engine.NewError(engine.CodeNotImplemented, "NOT_IMPLEMENTED", "%v", err)
	}
	return engine.NewError(engine.CodeIncorrectData, "INCORRECT_DATA", "%v", err)
}

// send writes one or more packets and flushes them.
func (c *conn) send(write func()) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.sendLocked(write)
}

func (c *conn) sendLocked(write func()) error {
	write()
	return c.flushLocked()
}

func (c *conn) flushLocked() error {
	c.flusher.Stop()
	c.lastOut = time.Now()
	_ = c.nc.SetWriteDeadline(c.lastOut.Add(packetTimeout))
	return c.w.Flush()
}

// flushLate sends what has waited long enough. Its error is the next flush's.
func (c *conn) flushLate() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_ = c.flushLocked()
}

func (c *conn) exception(err error) {
	e := engine.AsException(err)
	_ = c.send(func() { c.w.Exception(e.Code, e.Text) })
}
