package certs

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Server is the certificate of a listener.
type Server struct {
	// Section begins the names of the configuration's keys, in errors.
	Section string
	// CertFile and KeyFile: PEM; the certificate's chain may stand behind it.
	CertFile, KeyFile string
	// ClientCAFile, if any, holds the authorities one of which must have signed the certificate of who connects: mutual TLS.
	ClientCAFile string
}

// On reports whether the listener speaks TLS.
func (s Server) On() bool { return s.CertFile != "" }

// Validate names the key that is wrong. It reads no file.
func (s Server) Validate() error {
	switch {
	case (s.CertFile == "") != (s.KeyFile == ""):
		return fmt.Errorf("%s.tls_cert and %s.tls_key belong together: give both or neither", s.Section, s.Section)
	case s.ClientCAFile != "" && s.CertFile == "":
		return fmt.Errorf("%s.tls_client_ca: is set, but there is no TLS without %s.tls_cert and %s.tls_key", s.Section, s.Section, s.Section)
	}
	return nil
}

// lookEvery bounds how often the files are looked at.
const lookEvery = time.Second

// served is the certificate of a listener as its files had it last.
type served struct {
	Server
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	looked time.Time
	seen   [3]state
	cfg    *tls.Config
}

// Config reads the certificate and checks it. Later handshakes take the files' newer content; while that is no use, as in the midst of a renewal, the
// certificate of before goes on and the log says so.
func (s Server) Config(log *slog.Logger) (*tls.Config, error) {
	return s.config(log, time.Now)
}

func (s Server) config(log *slog.Logger, now func() time.Time) (*tls.Config, error) {
	x := s.serve(log, now)
	var err error
	if x.cfg, err = x.load(); err != nil {
		return nil, err
	}
	out := x.cfg.Clone()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return x.current() }
	return out, nil
}

// Later is Config for who must come up whatever the files hold now, because they were right once: handshakes fail until they are again.
func (s Server) Later(log *slog.Logger) *tls.Config {
	x := s.serve(log, time.Now)
	x.looked, x.seen = time.Time{}, [3]state{}
	return &tls.Config{MinVersion: minVersion, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return x.current() }}
}

func (s Server) serve(log *slog.Logger, now func() time.Time) *served {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &served{Server: s, log: log, now: now, looked: now(), seen: states(s.CertFile, s.KeyFile, s.ClientCAFile)}
}

func (x *served) load() (*tls.Config, error) {
	now := x.now()
	cert, err := pair(x.CertFile, x.KeyFile, x.Section+".tls_cert", x.Section+".tls_key", now)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: minVersion}
	if x.ClientCAFile != "" {
		if cfg.ClientCAs, err = authorities(x.ClientCAFile, x.Section+".tls_client_ca"); err != nil {
			return nil, err
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if end := cert.Leaf.NotAfter; end.Sub(now) < soon {
		x.log.Warn("a certificate ends soon; renew the file, it is taken up without a restart", "file", x.CertFile, "ends", stamp(end))
	}
	return cfg, nil
}

// current is the configuration of now. Without one of before, it is the files' or an error.
func (x *served) current() (*tls.Config, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.now()
	if x.cfg != nil && now.Sub(x.looked) < lookEvery && !now.Before(x.looked) {
		return x.cfg, nil
	}
	x.looked = now
	seen := states(x.CertFile, x.KeyFile, x.ClientCAFile)
	if x.cfg != nil && seen == x.seen {
		return x.cfg, nil
	}
	x.seen = seen
	cfg, err := x.load()
	switch {
	case err != nil && x.cfg == nil:
		x.log.Error("there is no certificate to serve", "err", err)
		return nil, err
	case err != nil:
		x.log.Error("the changed certificate is not taken; the one of before goes on", "err", err)
		return x.cfg, nil
	case x.cfg != nil:
		x.log.Info("certificate read again", "file", x.CertFile, "ends", stamp(cfg.Certificates[0].Leaf.NotAfter))
	}
	x.cfg = cfg
	return cfg, nil
}
