package main

import (
	"errors"
	"log/slog"

	"github.com/hashpivot/hashpivot/services/gateway"
)

// newGateway makes a gateway over the connections of this process.
func newGateway(cfg *config, m mode, b *backends, log *slog.Logger, in *instruments) (*gateway.Gateway, error) {
	g := cfg.Gateway
	if g.Research == "" {
		g.Research = cfg.researchDir()
	}
	return gateway.New(g, gateway.Deps{
		Log: gateway.JetStream(b.bus), History: b.store, Tables: b.store, Mode: string(m), Once: b.bus, Logger: log.With("service", "gateway"), Metrics: gateway.NewMetrics(in.reg), Tracer: in.tracing.Tracer(), Health: in.health,
		Intervals: cfg.Signals.Bars.Intervals,
	})
}

// gatewayAlone runs one gateway; as many as are needed may run.
func (a *app) gatewayAlone(cfg *config, in *instruments) error {
	b, err := openBackends(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	defer b.close()
	in.on(b.bus)
	if err := b.claim(a.ctx, cfg.Mode, streamsOf(a.command)...); err != nil {
		return err
	}
	b.watch(in.health)
	g, err := newGateway(cfg, cfg.Mode, b, a.log, in)
	if err != nil {
		return err
	}
	a.log.Info("the gateway listens", "addr", g.Addr())
	return a.served(cfg, b, in, func() error { return g.Run(a.ctx) }, access(g))
}

// errGatewayEnded says that the gateway ended before it was told to.
var errGatewayEnded = errors.New("the gateway ended by itself")
