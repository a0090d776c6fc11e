package gateway

import (
	"fmt"
	"net"
	"time"

	"github.com/hashpivot/hashpivot/pkg/certs"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
	"github.com/hashpivot/hashpivot/services/gateway/limit"
)

// Config of a gateway.
type Config struct {
	Enabled bool `koanf:"enabled"`
	// Addr of the page, the websocket and the HTTP endpoints.
	Addr string `koanf:"addr"`
	// TLSCert and TLSKey, PEM files, make all of it HTTPS and wss; TLSClientCA, if any, lets in only who shows a certificate that one of its authorities has
	// signed. They are read again when they change.
	TLSCert     string `koanf:"tls_cert"`
	TLSKey      string `koanf:"tls_key"`
	TLSClientCA string `koanf:"tls_client_ca"`
	// Queue bounds what waits for one client in one subscription, bytes. Beyond it the client is put forward to the present.
	Queue int `koanf:"queue"`
	// Recent bounds the newest messages of each stream that are held for those who join, bytes.
	Recent int `koanf:"recent"`
	// Heartbeat is how often a client is told that we live; a client that gives no sign of life for two and a half of them is closed.
	Heartbeat time.Duration `koanf:"heartbeat"`
	// Stuck is how long a client may read nothing while something waits for it.
	Stuck time.Duration `koanf:"stuck"`
	// Linger is how long the end of a connection may take.
	Linger time.Duration `koanf:"linger"`
	// Compress offers permessage-deflate.
	Compress bool `koanf:"compress"`
	// Research is the directory whose pages are served at /research/; empty: that of the nightly service.
	Research string       `koanf:"research"`
	Limits   limit.Config `koanf:"limits"`
	Auth     auth.Config  `koanf:"auth"`
}

// DefaultConfig serves this machine.
func DefaultConfig() Config {
	return Config{
		Enabled: true, Addr: "127.0.0.1:8080", Queue: 1 << 20, Recent: 16 << 20, Heartbeat: 15 * time.Second, Stuck: 30 * time.Second, Linger: 3 * time.Second,
		Compress: true, Limits: limit.DefaultConfig(), Auth: auth.DefaultConfig(),
	}
}

// secure is the certificate of the listener.
func (c Config) secure() certs.Server {
	return certs.Server{Section: "gateway", CertFile: c.TLSCert, KeyFile: c.TLSKey, ClientCAFile: c.TLSClientCA}
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("gateway.%s: %s", key, fmt.Sprintf(format, args...))
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return bad("addr", "%.80q is not host:port: %s", c.Addr, err)
	}
	if err := c.secure().Validate(); err != nil {
		return err
	}
	if c.Queue < 64<<10 || c.Queue > 256<<20 {
		return bad("queue", "%d is not from 65536 to 268435456 bytes", c.Queue)
	}
	if c.Recent < 1<<20 || c.Recent > 1<<30 {
		return bad("recent", "%d is not from 1048576 to 1073741824 bytes", c.Recent)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
		least time.Duration
	}{{"heartbeat", c.Heartbeat, 100 * time.Millisecond}, {"stuck", c.Stuck, 100 * time.Millisecond}, {"linger", c.Linger, 10 * time.Millisecond}} {
		if d.value < d.least || d.value > 10*time.Minute {
			return bad(d.key, "%v is not from %v to 10m", d.value, d.least)
		}
	}
	if err := c.Auth.Validate(); err != nil {
		return fmt.Errorf("gateway.%w", err)
	}
	if err := c.Limits.Validate(); err != nil {
		return fmt.Errorf("gateway.%w", err)
	}
	return nil
}
