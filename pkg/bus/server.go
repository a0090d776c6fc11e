package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ServerConfig of the embedded nats-server.
type ServerConfig struct {
	// Addr to listen on, so that any NATS client on this machine can join; port 0 is any free one.
	Addr string `koanf:"addr"`
	// DataDir keeps the streams.
	DataDir string `koanf:"data_dir"`
	// Sync is "always" (an acknowledged message is on the disk) or how often to sync, such as "2m" (an operating system's crash may lose that much).
	Sync string `koanf:"sync"`
}

// DefaultServerConfig listens on the port of NATS and syncs always.
func DefaultServerConfig() ServerConfig { return ServerConfig{Addr: "127.0.0.1:4222", Sync: "always"} }

// Validate names the key that is wrong.
func (c ServerConfig) Validate() error {
	if _, _, err := splitAddr(c.Addr); err != nil {
		return fmt.Errorf("nats.addr: %w", err)
	}
	if c.DataDir == "" {
		return errors.New("nats.data_dir: is empty; name a directory for the streams")
	}
	if c.Sync != "always" {
		if d, err := time.ParseDuration(c.Sync); err != nil || d <= 0 {
			return fmt.Errorf("nats.sync: %q is neither \"always\" nor a duration such as 2m", c.Sync)
		}
	}
	return nil
}

func splitAddr(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port: %w", addr, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 {
		return "", 0, fmt.Errorf("%q: the port is not a number from 0 to 65535", addr)
	}
	return host, n, nil
}

// Server is an embedded nats-server with JetStream.
type Server struct {
	ns   *server.Server
	lock *os.File
}

// ErrDataDir is for a data directory that cannot be used, ErrAddr for an address that cannot be listened on: the operator has to change
// something.
var (
	ErrDataDir = errors.New("data directory cannot be used")
	ErrAddr    = errors.New("address cannot be listened on")
)

// StartServer starts nats-server and waits until it takes connections.
func StartServer(cfg ServerConfig, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	host, port, _ := splitAddr(cfg.Addr)
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("start nats-server: %w: %w; give a directory that can be written", ErrDataDir, err)
	}
	// Two servers over one directory would damage it, and nats-server does not look.
	lock, err := lockDir(filepath.Join(cfg.DataDir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w: %s: %w", ErrDataDir, cfg.DataDir, err)
	}
	if port != 0 {
		// nats-server reports an occupied port through its logger only; ask first, to be able to name the fix.
		l, err := net.Listen("tcp", cfg.Addr)
		if err != nil {
			_ = lock.Close()
			return nil, fmt.Errorf("start nats-server: %w: %w; free it, or set nats.addr to another (port 0: any free one)", ErrAddr, err)
		}
		_ = l.Close()
	} else {
		port = server.RANDOM_PORT
	}
	opts := &server.Options{
		ServerName: "hashpivot", Host: host, Port: port, JetStream: true, StoreDir: cfg.DataDir, NoSigs: true,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 40, MaxPayload: maxPayload, NoSystemAccount: false,
	}
	if cfg.Sync == "always" {
		opts.SyncAlways = true
	} else {
		opts.SyncInterval, _ = time.ParseDuration(cfg.Sync)
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("start nats-server in %s: %w", cfg.DataDir, err)
	}
	ns.SetLoggerV2(slogAdapter{log.With("component", "nats-server")}, false, false, false)
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		ns.Shutdown()
		ns.WaitForShutdown()
		_ = lock.Close()
		return nil, fmt.Errorf("start nats-server in %s: not ready within 30 s; see its log lines above", cfg.DataDir)
	}
	return &Server{ns: ns, lock: lock}, nil
}

// URL is where clients connect.
func (s *Server) URL() string { return s.ns.ClientURL() }

// Close stops the server and waits for it.
func (s *Server) Close() {
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	_ = s.lock.Close()
}

type slogAdapter struct{ l *slog.Logger }

func (a slogAdapter) Noticef(f string, v ...any) { a.l.Debug(fmt.Sprintf(f, v...)) }
func (a slogAdapter) Warnf(f string, v ...any)   { a.l.Warn(fmt.Sprintf(f, v...)) }
func (a slogAdapter) Fatalf(f string, v ...any)  { a.l.Error(fmt.Sprintf(f, v...)) }
func (a slogAdapter) Errorf(f string, v ...any)  { a.l.Error(fmt.Sprintf(f, v...)) }
func (a slogAdapter) Debugf(string, ...any)      {}
func (a slogAdapter) Tracef(string, ...any)      {}
