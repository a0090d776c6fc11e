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

// AdminConfig of the listeners for operators.
type AdminConfig struct {
	// Addr of /metrics, /livez and /readyz.
	Addr string `koanf:"addr"`
	// TLSCert and TLSKey, PEM files, make it HTTPS; TLSClientCA, if any, lets in only who shows a certificate that one of its authorities has signed. They are read
	// again when they change.
	TLSCert     string `koanf:"tls_cert"`
	TLSKey      string `koanf:"tls_key"`
	TLSClientCA string `koanf:"tls_client_ca"`
	// PprofAddr of Go's profiles, on loopback only; empty: off.
	PprofAddr string `koanf:"pprof_addr"`
}

func (c AdminConfig) secure() certs.Server {
	return certs.Server{Section: "admin", CertFile: c.TLSCert, KeyFile: c.TLSKey, ClientCAFile: c.TLSClientCA}
}

// Validate names the key that is wrong.
func (c AdminConfig) Validate() error {
	if c.PprofAddr != "" {
		if err := onLoopback(c.PprofAddr); err != nil {
			return err
		}
	}
	return c.secure().Validate()
}

// Admin is what listens for operators: /metrics, /livez and /readyz, and on a port of their own Go's profiles.
type Admin struct {
	health  *Health
	log     *slog.Logger
	metrics HealthMetrics
	admin   *listening
	pprof   *listening // nil: off
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// StartAdmin listens.
func StartAdmin(cfg AdminConfig, reg *prometheus.Registry, h *Health, log *slog.Logger) (_ *Admin, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, Usage(err)
	}
	var secret *tls.Config
	if s := cfg.secure(); s.On() {
		if secret, err = s.Config(log); err != nil {
			return nil, Usage(err)
		}
	}
	a := &Admin{health: h, log: log, metrics: NewHealthMetrics(reg)}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", a.serveLive)
	mux.HandleFunc("GET /readyz", a.serveReady)
	if a.admin, err = listen("admin.addr", cfg.Addr, secret, mux, log); err != nil {
		return nil, err
	}
	if cfg.PprofAddr != "" {
		if a.pprof, err = listen("admin.pprof_addr", cfg.PprofAddr, nil, profiles(), log); err != nil {
			_ = a.admin.close()
			return nil, err
		}
		log.Info("Go's profiles are served", "addr", a.pprof.addr()+"/debug/pprof/")
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.work.Go(func() { a.watch(ctx) })
	return a, nil
}

// serveLive answers 200 "ok" while every loop turns.
func (a *Admin) serveLive(w http.ResponseWriter, r *http.Request) {
	rep := a.health.Live()
	if r.URL.Query().Has("verbose") {
		answer(w, rep.OK, rep)
		return
	}
	if !rep.OK {
		answer(w, false, rep.brief())
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// serveReady answers 200 while the process does what it is for; with ?verbose with the reason of each check.
func (a *Admin) serveReady(w http.ResponseWriter, r *http.Request) {
	rep := a.health.Ready(r.Context())
	if r.URL.Query().Has("verbose") {
		answer(w, rep.OK, rep)
		return
	}
	answer(w, rep.OK, rep.brief())
}

func answer(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body)
}

// HealthMetrics are the checks as metrics.
type HealthMetrics struct {
	ready, live prometheus.Gauge
	checks      *prometheus.GaugeVec
}

// NewHealthMetrics makes the metrics and registers them; StartAdmin does.
func NewHealthMetrics(reg prometheus.Registerer) HealthMetrics {
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "hashpivot", Subsystem: "health", Name: name, Help: help}
	}
	m := HealthMetrics{
		ready:  prometheus.NewGauge(gauge("ready", "1 while /readyz answers 200.")),
		live:   prometheus.NewGauge(gauge("live", "1 while /livez answers 200.")),
		checks: prometheus.NewGaugeVec(gauge("check", "1 while a check of /readyz stands."), []string{"check"}),
	}
	reg.MustRegister(m.ready, m.live, m.checks)
	return m
}

// watchEvery is how often the checks are looked at without being asked.
const watchEvery = 5 * time.Second

// watch keeps the metrics, and tells the log when readiness changes.
func (a *Admin) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var was Status
	for {
		live, ready := a.health.Live(), a.health.Ready(ctx)
		if ctx.Err() != nil {
			return
		}
		a.metrics.live.Set(number(live.OK))
		a.metrics.ready.Set(number(ready.OK))
		a.metrics.checks.Reset()
		for name, word := range ready.brief() {
			a.metrics.checks.WithLabelValues(name).Set(number(word == "ok"))
		}
		switch {
		case ready.OK && was == StatusFailed:
			a.log.Info("ready again")
		case !ready.OK && was != StatusFailed && was != "": // at the start nothing is ready yet
			a.log.Warn("not ready", "why", ready.Wrong())
		}
		was = ready.Status
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Wrong are the checks that fail, each with the reason.
func (r Report) Wrong() map[string]string {
	out := map[string]string{}
	for _, c := range r.Checks {
		if c.Status == StatusFailed {
			out[c.Name] = c.Why
		}
	}
	return out
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Addr is where /metrics, /livez and /readyz are.
func (a *Admin) Addr() string { return a.admin.addr() }

// PprofAddr is where the profiles are; empty: they are off.
func (a *Admin) PprofAddr() string {
	if a.pprof == nil {
		return ""
	}
	return a.pprof.addr()
}

// Close stops listening and waits for requests in flight, for a moment.
func (a *Admin) Close() error {
	a.stop()
	err := a.admin.close()
	if a.pprof != nil {
		err = errors.Join(err, a.pprof.close())
	}
	a.work.Wait()
	return err
}

// listening is an HTTP server at an address.
type listening struct {
	l    net.Listener
	srv  *http.Server
	done chan struct{}
}

// listen serves at the address, which the key names; with a secret over TLS.
func listen(key, addr string, secret *tls.Config, h http.Handler, log *slog.Logger) (*listening, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, Usage(fmt.Errorf("%s: %w; free it, or choose another (port 0: any free one)", key, err))
	}
	if secret != nil {
		l = tls.NewListener(l, secret)
	}
	s := &listening{l: l, srv: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_ = s.srv.Serve(l)
	}()
	return s, nil
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

func (s *listening) addr() string { return s.l.Addr().String() }

func (s *listening) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.srv.Close()
	}
	<-s.done
	return err
}
