package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
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

func (h *Health) report(ctx context.Context) (map[string]string, bool) {
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

// StartAdmin listens on addr.
func StartAdmin(addr string, reg prometheus.Gatherer, h *Health) (*Admin, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, Usage(fmt.Errorf("admin.addr: %w; free it, or choose another (port 0: any free one)", err))
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		report, ok := h.report(ctx)
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(report)
	})
	a := &Admin{l: l, srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		_ = a.srv.Serve(l)
	}()
	return a, nil
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
