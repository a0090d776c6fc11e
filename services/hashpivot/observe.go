package main

import (
	"context"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/hashpivot/hashpivot/pkg/bus"
	prog "github.com/hashpivot/hashpivot/pkg/run"
)

// instruments are what a process is watched with.
type instruments struct {
	reg      *prometheus.Registry
	health   *prog.Health
	tracing  *prog.Tracing // nil: off
	starting *prog.Health  // says that the process is not ready, until ready is called
}

// newInstruments makes them; service names the process to who collects its spans.
func (a *app) newInstruments(cfg *config, service string) (*instruments, error) {
	tracing, err := prog.StartTracing(a.ctx, cfg.Trace, service, version(), a.log)
	if err != nil {
		return nil, err
	}
	in := &instruments{reg: newRegistry(cfg.Mode), health: &prog.Health{}, tracing: tracing}
	in.starting = in.health.Scope()
	in.starting.Add(prog.Check{Name: "start", Stand: func(context.Context) prog.Standing { return prog.Standing{Why: "it starts"} }})
	return in, nil
}

// unwatched are the instruments of a command, which nobody watches.
func unwatched() *instruments { return &instruments{reg: prometheus.NewRegistry()} }

// ready says that what the process is made of speaks for itself from now on.
func (in *instruments) ready() { in.starting.Close() }

func (in *instruments) close() { in.tracing.Close() }

// on has the connection to NATS watched.
func (in *instruments) on(b *bus.Bus) { b.Instrument(bus.NewMetrics(in.reg), in.tracing.Tracer()) }

// newRegistry has what every process tells of itself.
func newRegistry(m mode) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo(m))
	return reg
}

// buildInfo says which program runs.
func buildInfo(m mode) prometheus.Collector {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "hashpivot", Subsystem: "build", Name: "info", Help: "1; its labels say which program runs, and on which kind of data.",
	}, []string{"version", "go_version", "mode"})
	build.WithLabelValues(version(), runtime.Version(), string(m)).Set(1)
	return build
}

// standing is how a service stands that runs on a lease.
type standing struct {
	mu  sync.Mutex
	now prog.Standing
}

func (s *standing) set(ok bool, why string) {
	s.mu.Lock()
	s.now = prog.Standing{OK: ok, Why: why}
	s.mu.Unlock()
}

func (s *standing) get(context.Context) prog.Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
