package chembed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Server is a running embedded ClickHouse.
type Server struct {
	cfg   Config
	log   *slog.Logger
	child childConfig
	exe   string

	listeners []listener

	closeOnce sync.Once
	closing   chan struct{} // closed by Close
	done      chan struct{} // closed when everything has ended
	drainTo   time.Time     // set before closing is closed

	mu       sync.Mutex
	proc     *process // the engine process, of the moment or the last
	version  string
	restarts int
}

// Start opens the data directory and returns once clients can connect. Its context
// is for starting only; Close ends the server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := newServer(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		s.closeListeners()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	p, err := s.launch(ctx)
	if err != nil {
		s.closeListeners()
		return nil, err
	}
	s.proc = p
	s.log.Info("embedded ClickHouse is up", "native", s.NativeAddr(), "http", s.HTTPAddr(),
		"version", s.version, "data", s.child.DataDir, "pid", p.pid)
	go s.supervise(p)
	return s, nil
}

// newServer checks the configuration and the files it names; nothing runs yet.
func newServer(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	library, err := FindLibrary(cfg.LibraryPath)
	if err != nil {
		return nil, err
	}
	dir, err := prepareDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	exe := cfg.Executable
	if exe == "" {
		if exe, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find the running executable: %w", err)
		}
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, exe: exe,
		closing: make(chan struct{}), done: make(chan struct{}),
		child: childConfig{
			Library: library, DataDir: dir,
			ServerSettings: engineDefaults(), Settings: sessionDefaults(),
			Users: cfg.accounts(), MaxConnections: cfg.MaxConnections, MaxConcurrentQueries: cfg.MaxConcurrentQueries,
			QueueWait: cfg.QueueWait, Drain: cfg.DrainTimeout,
		},
	}
	if s.child.ServerSettings["config-file"], err = writeEngineConfig(dir); err != nil {
		return nil, err
	}
	if cfg.MaxMemory > 0 {
		s.child.ServerSettings["max_server_memory_usage"] = fmt.Sprint(cfg.MaxMemory)
	}
	if cfg.MaxMemoryPerQuery > 0 {
		s.child.Settings["max_memory_usage"] = fmt.Sprint(cfg.MaxMemoryPerQuery)
	}
	if cfg.MaxExecutionTime > 0 {
		s.child.Settings["max_execution_time"] = fmt.Sprint(cfg.MaxExecutionTime.Seconds())
	}
	if cfg.MaxResultRows > 0 {
		s.child.Settings["max_result_rows"] = fmt.Sprint(cfg.MaxResultRows)
	}
	if cfg.MaxRowsToRead > 0 {
		s.child.Settings["max_rows_to_read"] = fmt.Sprint(cfg.MaxRowsToRead)
	}
	if cfg.TLSCertFile != "" {
		if err := s.readCertificate(); err != nil {
			return nil, err
		}
	}
	maps.Copy(s.child.ServerSettings, cfg.ServerSettings)
	maps.Copy(s.child.Settings, cfg.Settings)
	return s, nil
}

// listener is a listening socket.
type listener struct {
	kind listenerKind
	*net.TCPListener
}

// listen opens the sockets of the configuration.
func (s *Server) listen() error {
	for _, l := range []struct {
		kind listenerKind
		addr string
	}{{kindNative, s.cfg.NativeAddr}, {kindHTTP, s.cfg.HTTPAddr}, {kindNativeTLS, s.cfg.NativeTLSAddr}, {kindHTTPS, s.cfg.HTTPSAddr}} {
		if l.addr == "" {
			continue
		}
		ln, err := net.Listen("tcp", l.addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%w: %s (ClickHouse %s): stop what listens there, or choose another port (0 takes any free one)", ErrAddressInUse, l.addr, l.kind)
		}
		if err != nil {
			return fmt.Errorf("%w: listen on %s for ClickHouse %s: %w", ErrConfig, l.addr, l.kind, err)
		}
		s.listeners = append(s.listeners, listener{l.kind, ln.(*net.TCPListener)})
		s.child.Listeners = append(s.child.Listeners, l.kind)
	}
	return nil
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
}

// readCertificate checks the certificate of the sockets with TLS, and names its files to the engine's process, which serves it.
func (s *Server) readCertificate() error {
	for _, f := range []struct {
		name string
		into *string
	}{{s.cfg.TLSCertFile, &s.child.CertFile}, {s.cfg.TLSKeyFile, &s.child.KeyFile}, {s.cfg.TLSClientCAFile, &s.child.ClientCAFile}} {
		if f.name == "" {
			continue
		}
		abs, err := filepath.Abs(f.name)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		*f.into = abs
	}
	if _, err := s.child.certificate().Config(s.log); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// addr is where a kind of socket listens; empty where it does not.
func (s *Server) addr(kind listenerKind) string {
	for _, l := range s.listeners {
		if l.kind == kind {
			return l.Addr().String()
		}
	}
	return ""
}

// prepareDir makes the data directory and tries to write in it.
func prepareDir(dir string) (string, error) {
	unusable := func(err error) error {
		return fmt.Errorf("%w: %s: %w: choose another one or mend its permissions", ErrDataDirUnusable, dir, err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", unusable(err)
	}
	if err := os.MkdirAll(abs, 0o750); err != nil {
		return "", unusable(err)
	}
	f, err := os.CreateTemp(abs, ".write-check-*")
	if err != nil {
		return "", unusable(err)
	}
	_ = f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return "", unusable(err)
	}
	if _, err := os.ReadDir(abs); err != nil {
		return "", unusable(err)
	}
	return abs, nil
}

// NativeAddr is where the native protocol listens, as host:port.
func (s *Server) NativeAddr() string { return s.addr(kindNative) }

// HTTPAddr is where HTTP listens, as host:port.
func (s *Server) HTTPAddr() string { return s.addr(kindHTTP) }

// NativeTLSAddr is where the native protocol listens with TLS; empty where it does not.
func (s *Server) NativeTLSAddr() string { return s.addr(kindNativeTLS) }

// HTTPSAddr is where HTTPS listens; empty where it does not.
func (s *Server) HTTPSAddr() string { return s.addr(kindHTTPS) }

// Version is the engine's, such as "26.7.2.1".
func (s *Server) Version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// Pid is the engine process's, of the moment or the last.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.pid
}

// Restarts counts how often an engine that died was replaced.
func (s *Server) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

// Done is closed when the server has ended, which it does by Close alone.
func (s *Server) Done() <-chan struct{} { return s.done }

// closeGrace is what the engine gets, beyond the drain time, to close its tables.
const closeGrace = 10 * time.Second

// Close stops accepting, lets running queries end for the drain time and closes the
// engine; when ctx ends before, it kills it. It may be called more than once.
func (s *Server) Close(ctx context.Context) error {
	s.closeOnce.Do(func() {
		s.drainTo = time.Now().Add(s.cfg.DrainTimeout + closeGrace)
		if d, ok := ctx.Deadline(); ok && d.Before(s.drainTo) {
			s.drainTo = d
		}
		close(s.closing)
	})
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		p := s.proc
		s.mu.Unlock()
		p.kill()
		<-s.done
		return fmt.Errorf("close embedded ClickHouse: %w: the engine was killed, which its data survives", ctx.Err())
	}
}

// stableAfter is how long an engine must have lived for its death to be the first
// again in the count of the back-off.
const stableAfter = time.Minute

// supervise keeps one engine process running until Close.
func (s *Server) supervise(p *process) {
	defer close(s.done)
	defer s.closeListeners()
	backoff := s.cfg.RestartMin
	for {
		started := time.Now()
		select {
		case <-s.closing:
			s.stop(p)
			return
		case <-p.exited:
		}
		if time.Since(started) >= stableAfter {
			backoff = s.cfg.RestartMin
		}
		report, err := s.reportCrash(p, started)
		if err != nil {
			s.log.Warn("cannot keep a crash report", "error", err)
		}
		s.log.Error("embedded ClickHouse died; it will be restarted", "pid", p.pid, "exit", p.exit(),
			"after", time.Since(started).Round(time.Millisecond), "backoff", backoff, "last_output", p.output.String(), "report", report)
		next, ok := s.restart(&backoff)
		if !ok {
			return
		}
		p = next
	}
}

// restart tries until an engine is up, answering clients meanwhile. ok is false
// when the server is closed before.
func (s *Server) restart(backoff *time.Duration) (next *process, ok bool) {
	stand := s.standIn()
	defer stand.stop()
	for {
		timer := time.NewTimer(*backoff)
		select {
		case <-s.closing:
			timer.Stop()
			return nil, false
		case <-timer.C:
		}
		*backoff = min(*backoff*2, s.cfg.RestartMax)
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StartTimeout)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-s.closing:
				cancel()
			case <-ctx.Done():
			}
		}()
		p, err := s.launch(ctx)
		cancel()
		<-watched
		if err != nil {
			select {
			case <-s.closing:
				return nil, false
			default:
			}
			s.log.Error("embedded ClickHouse does not come up again", "error", err, "backoff", *backoff)
			continue
		}
		s.mu.Lock()
		s.proc = p
		s.restarts++
		s.mu.Unlock()
		s.log.Info("embedded ClickHouse is up again", "pid", p.pid)
		return p, true
	}
}

// stop ends the engine process in order, or by force when its time is over.
func (s *Server) stop(p *process) {
	p.closeControl()
	timer := time.NewTimer(time.Until(s.drainTo))
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		s.log.Warn("embedded ClickHouse does not end in time; killing it", "pid", p.pid)
		p.kill()
		<-p.exited
	}
}
