package run

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hashpivot/hashpivot/pkg/certs"
)

// Health gathers named checks.
type Health struct {
	mu     sync.Mutex
	checks map[string]func(context.Context) error
}

// Check adds a check to /readyz.
func (h *Health) Check(name string, f func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]func(context.Context) error{}
	}
	h.checks[name] = f
}

// Report makes all checks: "ok" or what is wrong by name, and whether all are ok.
func (h *Health) Report(ctx context.Context) (map[string]string, bool) {
	h.mu.Lock()
	checks := make(map[string]func(context.Context) error, len(h.checks))
	for k, v := range h.checks {
		checks[k] = v
	}
	h.mu.Unlock()
	out, ok := map[string]string{}, true
	for name, f := range checks {
		out[name] = "ok"
		if err := f(ctx); err != nil {
			out[name], ok = err.Error(), false
		}
	}
	return out, ok
}

// Admin is the HTTP listener for operators: /metrics, /livez, /readyz.
type Admin struct {
	l    net.Listener
	srv  *http.Server
	done chan struct{}
}

// AdminConfig of the listener for operators.
type AdminConfig struct {
	// Addr of /metrics, /livez and /readyz.
	Addr string `koanf:"addr"`
	// TLSCert and TLSKey, PEM files, make it HTTPS; TLSClientCA, if any, lets in only who shows a certificate that one of its authorities has signed. They are read
	// again when they change.
	TLSCert     string `koanf:"tls_cert"`
	TLSKey      string `koanf:"tls_key"`
	TLSClientCA string `koanf:"tls_client_ca"`
}

func (c AdminConfig) secure() certs.Server {
	return certs.Server{Section: "admin", CertFile: c.TLSCert, KeyFile: c.TLSKey, ClientCAFile: c.TLSClientCA}
}

// Validate names the key that is wrong.
func (c AdminConfig) Validate() error { return c.secure().Validate() }

// StartAdmin listens.
func StartAdmin(cfg AdminConfig, reg prometheus.Gatherer, h *Health, log *slog.Logger) (*Admin, error) {
	var secret *tls.Config
	if s := cfg.secure(); s.On() {
		var err error
		if secret, err = s.Config(log); err != nil {
			return nil, Usage(err)
		}
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, Usage(fmt.Errorf("admin.addr: %w; free it, or choose another (port 0: any free one)", err))
	}
	if secret != nil {
		l = tls.NewListener(l, secret)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		report, ok := h.Report(ctx)
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(report)
	})
	a := &Admin{l: l, srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		_ = a.srv.Serve(l)
	}()
	return a, nil
}

// Client asks a listener of this configuration on this machine, and takes no other certificate than its own. The URL is that of /readyz.
func (c AdminConfig) Client() (client *http.Client, url string, _ error) {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return nil, "", Usage(fmt.Errorf("admin.addr: %w", err))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	if !c.secure().On() {
		return http.DefaultClient, "http://" + net.JoinHostPort(host, port) + "/readyz", nil
	}
	names, err := certs.Names(c.TLSCert)
	if err != nil {
		return nil, "", Usage(err)
	}
	// It must be the very certificate, so the name in it need not be this machine's.
	own := certs.Client{Section: "admin", CAFile: c.TLSCert, CertFile: c.TLSCert, KeyFile: c.TLSKey}
	secret, err := own.Config(append(names, host)[0])
	if err != nil {
		return nil, "", Usage(err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: secret}}, "https://" + net.JoinHostPort(host, port) + "/readyz", nil
}

// Addr is where it listens.
func (a *Admin) Addr() string { return a.l.Addr().String() }

// Close stops listening and waits for requests in flight, for a moment.
func (a *Admin) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := a.srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = a.srv.Close()
	}
	<-a.done
	return err
}
