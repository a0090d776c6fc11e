package bus

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/nats-io/nuid"

	"github.com/hashpivot/hashpivot/pkg/certs"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// ServerConfig of the embedded nats-server.
type ServerConfig struct {
	// Addr to listen on, so that any NATS client on this machine can join; port 0 is any free one.
	Addr string `koanf:"addr"`
	// DataDir keeps the streams.
	DataDir string `koanf:"data_dir"`
	// Sync is "always" (an acknowledged message is on the disk) or how often to sync, such as "2m" (an operating system's crash may lose that much).
	Sync string `koanf:"sync"`
	// TLS, if any, is what clients beyond this process must speak.
	TLS certs.Server
	// Users who may connect, by the name of their duty, each with the rights of it; none: everybody who reaches Addr may do everything.
	Users map[string]Login
}

// Login is how a user of the embedded server shows who it is: by a password, or by the nkey whose public half this is.
type Login struct {
	Password run.Secret `koanf:"password"`
	NKey     string     `koanf:"nkey"`
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
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		u := c.Users[name]
		if _, ok := DutyOf(name); !ok {
			return fmt.Errorf("nats.users: %.64q is none of the users; hashpivot nats-users lists them", name)
		}
		if (u.Password == "") == (u.NKey == "") {
			return fmt.Errorf("nats.users.%s: give one of password and nkey", name)
		}
		if u.NKey != "" && !nkeys.IsValidPublicUserKey(u.NKey) {
			return fmt.Errorf("nats.users.%s.nkey: is not the public key of a user, which begins with U; its seed, which begins with SU, belongs to the service alone", name)
		}
	}
	return c.TLS.Validate()
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
	// user and password are those of connections from this process, where users are told apart.
	user     string
	password run.Secret
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
	s := &Server{}
	opts, err := s.options(cfg, log)
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
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
	opts.Host, opts.Port = host, port
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
	s.ns, s.lock = ns, lock
	return s, nil
}

// options are nats-server's but for where it listens.
func (s *Server) options(cfg ServerConfig, log *slog.Logger) (*server.Options, error) {
	opts := &server.Options{
		ServerName: "hashpivot", JetStream: true, StoreDir: cfg.DataDir, NoSigs: true,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 40, MaxPayload: maxPayload, NoSystemAccount: false,
	}
	if cfg.Sync == "always" {
		opts.SyncAlways = true
	} else {
		opts.SyncInterval, _ = time.ParseDuration(cfg.Sync)
	}
	if cfg.TLS.On() {
		secure, err := cfg.TLS.Config(log)
		if err != nil {
			return nil, err
		}
		opts.TLS, opts.TLSConfig, opts.TLSTimeout = true, secure, tlsTimeout.Seconds()
		opts.TLSVerify = secure.ClientAuth == tls.RequireAndVerifyClientCert
	}
	if len(cfg.Users) == 0 {
		return opts, nil
	}
	s.user, s.password = "hashpivot", run.Secret(nuid.Next()+nuid.Next())
	opts.Users = []*server.User{{
		Username: s.user, Password: s.password.Reveal(), AllowedConnectionTypes: map[string]struct{}{jwt.ConnectionTypeInProcess: {}},
	}}
	for _, name := range slices.Sorted(maps.Keys(cfg.Users)) {
		duty, _ := DutyOf(name)
		may, login := duty.Rights().permissions(), cfg.Users[name]
		if login.NKey != "" {
			opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{Nkey: login.NKey, Permissions: may})
		} else {
			opts.Users = append(opts.Users, &server.User{Username: name, Password: login.Password.Reveal(), Permissions: may})
		}
	}
	return opts, nil
}

// tlsTimeout is for how long a client may take to shake hands.
const tlsTimeout = 5 * time.Second

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
