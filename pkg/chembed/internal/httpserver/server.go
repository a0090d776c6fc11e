// Package httpserver is ClickHouse's HTTP interface in front of the engine.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
)

// Config is the server's. Every field is required but MaxConnections, of which
// zero means no limit.
type Config struct {
	Engine         *engine.Engine
	Access         *access.Control
	MaxConnections int
	Logger         *slog.Logger
}

const (
	readHeaderTimeout = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	bodyTimeout       = 5 * time.Minute // for one piece of a body to arrive
	maxHeaderBytes    = 1 << 20
	maxQueryText      = 16 << 20  // a query that is no INSERT, in the body
	maxInsertHeader   = 256 << 10 // an INSERT's text before its data
	idleSessions      = 8         // engine sessions kept for the next request
	maxNamedSessions  = 1000
)

// Server serves HTTP on one listener.
type Server struct {
	cfg  Config
	http *http.Server
	slot chan struct{} // a place for each connection

	mu    sync.Mutex
	idle  map[string][]*engine.Session // by user
	idled int                          // how many
	named map[string]*namedSession     // by user and id
	done  bool
}

// New makes a server.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, idle: map[string][]*engine.Session{}, named: map[string]*namedSession{}}
	if cfg.MaxConnections > 0 {
		s.slot = make(chan struct{}, cfg.MaxConnections)
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve accepts until Shutdown or until the listener is closed.
func (s *Server) Serve(ln net.Listener) error {
	err := s.http.Serve(earlyListener{ln})
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
}

// Shutdown lets running requests end until ctx does, cancels them then, and
// closes the sessions.
func (s *Server) Shutdown(ctx context.Context) {
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	for _, sessions := range s.idle {
		for _, sess := range sessions {
			sess.Close()
		}
	}
	s.idle = nil
	for id, n := range s.named {
		n.mu.Lock() // waits for a request that is still at it
		n.closeLocked()
		n.mu.Unlock()
		delete(s.named, id)
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ping":
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		_, _ = io.WriteString(w, "Ok.\n")
		return
	case "/replicas_status":
		_, _ = io.WriteString(w, "Ok.\n")
		return
	case "/play", "/dashboard":
		http.Error(w, "There is no web page here: query with curl, clickhouse-client or any ClickHouse client.", http.StatusNotFound)
		return
	case "/", "/query":
	default:
		http.Error(w, fmt.Sprintf("There is no handle %s\n\nUse / or /ping for health checks.\n", r.URL.Path), http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost && r.Method != http.MethodHead && r.Method != http.MethodPut {
		w.Header().Set("Allow", "GET, HEAD, POST, PUT")
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	q := &query{srv: s, w: w, r: r, params: r.URL.Query()}
	if s.slot != nil {
		select {
		case s.slot <- struct{}{}:
			defer func() { <-s.slot }()
		default:
			q.fail(engine.NewError(engine.CodeTooMany, "TOO_MANY_SIMULTANEOUS_QUERIES",
				"Too many HTTP requests: %d are running", cap(s.slot)))
			return
		}
	}
	if r.URL.RawQuery == "" && r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		_, _ = io.WriteString(w, "Ok.\n")
		return
	}
	if err := q.answer(); err != nil {
		q.fail(err)
	}
}

// authenticate takes the user from headers, basic auth or the URL, in the order
// in which the server looks.
func (s *Server) authenticate(r *http.Request, params url.Values) (*access.Account, error) {
	user, password := r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	if user == "" && password == "" {
		if u, p, ok := r.BasicAuth(); ok {
			user, password = u, p
		} else {
			user, password = params.Get("user"), params.Get("password")
		}
	}
	return s.cfg.Access.Login(user, password, r.RemoteAddr)
}

// namedSession is a session that a client holds by its id.
type namedSession struct {
	mu      sync.Mutex // held while a request uses it
	session *engine.Session
	timer   *time.Timer
}

func (n *namedSession) closeLocked() {
	if n.timer != nil {
		n.timer.Stop()
	}
	if n.session != nil {
		n.session.Close()
		n.session = nil
	}
}

const (
	defaultSessionTimeout = time.Minute
	maxSessionTimeout     = time.Hour
)

// session gives the request its engine session and the way to hand it back. Sessions never change hands between users.
func (s *Server) session(a *access.Account, params url.Values) (*engine.Session, func(), error) {
	if id := params.Get("session_id"); id != "" {
		return s.namedSession(a.Name+"\x00"+id, params)
	}
	var stranger *engine.Session
	s.mu.Lock()
	if mine := s.idle[a.Name]; len(mine) > 0 {
		sess := mine[len(mine)-1]
		s.idle[a.Name] = mine[:len(mine)-1]
		s.idled--
		s.mu.Unlock()
		return sess, func() { s.putBack(a, sess) }, nil
	}
	if s.idled >= idleSessions {
		// Another user's makes room.
		for user, theirs := range s.idle {
			if len(theirs) > 0 {
				stranger = theirs[len(theirs)-1]
				s.idle[user] = theirs[:len(theirs)-1]
				s.idled--
				break
			}
		}
	}
	s.mu.Unlock()
	if stranger != nil {
		stranger.Close()
	}
	sess, err := s.cfg.Engine.NewSession()
	if err != nil {
		return nil, nil, err
	}
	return sess, func() { s.putBack(a, sess) }, nil
}

func (s *Server) putBack(a *access.Account, sess *engine.Session) {
	if !sess.Spoilt() {
		s.mu.Lock()
		if !s.done && s.idled < idleSessions {
			s.idle[a.Name] = append(s.idle[a.Name], sess)
			s.idled++
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
	sess.Close()
}

func (s *Server) namedSession(id string, params url.Values) (*engine.Session, func(), error) {
	timeout := defaultSessionTimeout
	if v := params.Get("session_timeout"); v != "" {
		sec, err := strconv.ParseFloat(v, 64)
		if err != nil || sec <= 0 || sec > maxSessionTimeout.Seconds() {
			return nil, nil, engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS",
				"Invalid session timeout '%s': seconds up to %.0f are allowed", v, maxSessionTimeout.Seconds())
		}
		timeout = time.Duration(sec * float64(time.Second))
	}
	s.mu.Lock()
	n := s.named[id]
	if n == nil {
		if params.Get("session_check") == "1" {
			s.mu.Unlock()
			return nil, nil, engine.NewError(engine.CodeSessionNotFound, "SESSION_NOT_FOUND", "Session %s not found", params.Get("session_id"))
		}
		if len(s.named) >= maxNamedSessions {
			s.mu.Unlock()
			return nil, nil, engine.NewError(engine.CodeTooMany, "TOO_MANY_SIMULTANEOUS_QUERIES",
				"Too many sessions: %d are open; they end %s after their last use", maxNamedSessions, defaultSessionTimeout)
		}
		n = &namedSession{}
		s.named[id] = n
	}
	if !n.mu.TryLock() {
		s.mu.Unlock()
		return nil, nil, engine.NewError(engine.CodeSessionLocked, "SESSION_IS_LOCKED", "Session %s is locked by a concurrent client", params.Get("session_id"))
	}
	s.mu.Unlock()
	if n.timer != nil {
		n.timer.Stop()
	}
	if n.session == nil {
		sess, err := s.cfg.Engine.NewSession()
		if err != nil {
			n.mu.Unlock()
			return nil, nil, err
		}
		n.session = sess
	}
	return n.session, func() {
		n.timer = time.AfterFunc(timeout, func() { s.expire(id, n) })
		n.mu.Unlock()
	}, nil
}

// expire closes a session that nobody used for its timeout.
func (s *Server) expire(id string, n *namedSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.named[id] != n || !n.mu.TryLock() {
		return // closed, or in use again
	}
	defer n.mu.Unlock()
	n.closeLocked()
	delete(s.named, id)
}

// truth reads a boolean parameter as the server does.
func truth(v string) bool { return v == "1" || strings.EqualFold(v, "true") }
