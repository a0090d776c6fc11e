package main

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	prog "github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/gateway"
)

// newGateway makes a gateway over the connections of this process.
func newGateway(cfg *config, m mode, b *backends, log *slog.Logger, reg prometheus.Registerer) (*gateway.Gateway, error) {
	g := cfg.Gateway
	if g.Research == "" {
		g.Research = cfg.researchDir()
	}
	return gateway.New(g, gateway.Deps{
		Log: gateway.JetStream(b.bus), History: b.store, Tables: b.store, Mode: string(m), Once: b.bus, Logger: log.With("service", "gateway"), Metrics: gateway.NewMetrics(reg),
		Intervals: cfg.Signals.Bars.Intervals,
	})
}

// gatewayAlone runs one gateway; as many as are needed may run.
func (a *app) gatewayAlone(cfg *config, reg *prometheus.Registry, health *prog.Health) error {
	b, err := openBackends(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.claim(a.ctx, cfg.Mode, streamsOf(a.command)...); err != nil {
		return err
	}
	b.watch(health)
	g, err := newGateway(cfg, cfg.Mode, b, a.log, reg)
	if err != nil {
		return err
	}
	a.log.Info("the gateway listens", "addr", g.Addr())
	return a.served(cfg, b, reg, health, func() error { return g.Run(a.ctx) }, access(g))
}

// errGatewayEnded says that the gateway ended before it was told to.
var errGatewayEnded = errors.New("the gateway ended by itself")
