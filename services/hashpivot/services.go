package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/equities"
	"github.com/hashpivot/hashpivot/services/gpurates"
	"github.com/hashpivot/hashpivot/services/hashprice"
	"github.com/hashpivot/hashpivot/services/signals"
)

// service is one that publishes, bound to its configuration. It may be run again, with another sink.
type service struct {
	name string
	run  func(ctx context.Context, sink feed.Sink, health *run.Health) error
}

// publishers are the services that publish, by name, over one connection.
type publishers struct {
	cfg      *config
	bus      *bus.Bus
	log      *slog.Logger
	services map[string]service
	equities equitiesService
	policy   func(feed.Policy) feed.Policy // nil: the feeds' own
	now      func() time.Time              // nil: the clock
	health   *run.Health                   // nil: nobody asks

	mu     sync.Mutex
	states map[string]*standing
}

func newPublishers(cfg *config, b *bus.Bus, log *slog.Logger, reg prometheus.Registerer) *publishers {
	p := &publishers{cfg: cfg, bus: b, log: log, services: map[string]service{}, states: map[string]*standing{}}
	metrics, derived := feed.NewMetrics(reg), signals.NewMetrics(reg)
	add := func(name string, f func(ctx context.Context, deps feed.Deps) error) {
		p.services[name] = service{name, func(ctx context.Context, sink feed.Sink, health *run.Health) error {
			return f(ctx, feed.Deps{Sink: sink, History: b, Logger: log.With("service", name), Metrics: metrics, Health: health, Now: p.now, Policy: p.policy})
		}}
	}
	p.equities.cfg = cfg.Equities
	add("equities", p.equities.run)
	add("hashprice", func(ctx context.Context, deps feed.Deps) error { return hashprice.Run(ctx, cfg.Hashprice, deps) })
	add("gpurates", func(ctx context.Context, deps feed.Deps) error { return gpurates.Run(ctx, cfg.GPURates, deps) })
	add("signals", func(ctx context.Context, deps feed.Deps) error {
		return signals.Run(ctx, cfg.Signals, signals.Deps{Bus: b, Sink: deps.Sink, Logger: deps.Logger, Metrics: derived, Health: deps.Health, Now: deps.Now})
	})
	return p
}

// listed adds a service to the checks; from then on it is waited for.
func (p *publishers) listed(name string) *standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.states[name]
	if s == nil {
		s = &standing{}
		s.set(false, "it asks for its lease")
		p.states[name] = s
		p.health.Add(run.Check{Name: "service " + name, Stand: s.get})
	}
	return s
}

// run runs a service while its lease is ours, each time with a publisher of its own: what a term that was lost has not stored must never be.
func (p *publishers) run(ctx context.Context, name string) error {
	svc := p.services[name]
	lease := p.bus.Lease(name, holder(), p.cfg.Lease.TTL)
	lease.KnowDead(deadHolder)
	state := p.listed(name)
	lease.OnStandby(func(holder string) { state.set(true, "it stands by; the lease is held by "+holder) })
	return lease.Hold(ctx, func(ctx context.Context) error {
		pub := p.bus.NewPublisher(bus.PublisherConfig{Gate: lease.Gate()})
		health := p.health.Scope()
		defer health.Close()
		health.Add(run.Check{Name: "publisher of " + name, Stand: pub.Stand})
		state.set(true, "it is active")
		err := svc.run(ctx, pub, health)
		switch {
		case errors.Is(context.Cause(ctx), bus.ErrLeaseLost):
			state.set(false, "it asks for its lease")
		case err != nil:
			state.set(false, err.Error())
		default:
			state.set(true, "it has ended in good order")
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		if cerr := pub.Close(end); cerr != nil && !errors.Is(context.Cause(ctx), bus.ErrLeaseLost) {
			p.log.Warn("some events were not stored before the end; the service finds them again after its next start", "service", name, "err", cerr)
		}
		return err
	})
}

// enabled are the services that up runs: those whose upstreams need no key, the equities where a key is set, and what is derived from both.
func (p *publishers) enabled(m mode) []string {
	names := []string{"hashprice", "gpurates"}
	if p.cfg.equitiesOn() {
		names = append(names, "equities")
	} else {
		p.log.Info("equities are off: no key; set APCA_API_KEY_ID and APCA_API_SECRET_KEY (or equities.alpaca.key and .secret), MASSIVE_API_KEY or FINNHUB_API_KEY to turn them on")
	}
	if p.cfg.Signals.Enabled && m != modeRecorded { // recordings hold no prints
		names = append(names, "signals")
	}
	return names
}

// equitiesService is the equities as they run now, for changes of their symbols.
type equitiesService struct {
	mu  sync.Mutex
	cfg equities.Config
	now *equities.Service // nil: standing by
}

func (e *equitiesService) run(ctx context.Context, deps feed.Deps) error {
	e.mu.Lock()
	s, err := equities.New(e.cfg, deps)
	e.now = s
	e.mu.Unlock()
	if err != nil {
		return err
	}
	defer func() {
		e.mu.Lock()
		e.now = nil
		e.mu.Unlock()
	}()
	return s.Run(ctx)
}

// apply changes the lists of symbols to those of cfg, of which it takes nothing else.
func (e *equitiesService) apply(ctx context.Context, cfg equities.Config) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.cfg.WithSymbols(cfg)
	if e.now == nil { // standing by: the change counts when our term begins
		if err := next.Validate(); err != nil {
			return err
		}
		e.cfg = next
		return nil
	}
	if err := e.now.Apply(ctx, next); err != nil {
		return err
	}
	e.cfg = next
	return nil
}

func (c *config) equitiesOn() bool { return c.Equities.On() }

// vendorKeys takes the vendors' own environment variables where our keys are not set.
func (a *app) vendorKeys(cfg *config) {
	for _, v := range []struct {
		name string
		into *run.Secret
	}{
		{"APCA_API_KEY_ID", &cfg.Equities.Alpaca.Key}, {"APCA_API_SECRET_KEY", &cfg.Equities.Alpaca.Secret},
		{"MASSIVE_API_KEY", &cfg.Equities.Massive.Key}, {"FINNHUB_API_KEY", &cfg.Equities.Finnhub.Key},
	} {
		if *v.into == "" {
			*v.into = run.Secret(a.getenv(v.name))
		}
	}
}

func (a *app) getenv(name string) string {
	for _, kv := range a.env {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return kv[len(name)+1:]
		}
	}
	return ""
}
