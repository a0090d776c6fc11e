package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	prog "github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/gateway"
	"github.com/hashpivot/hashpivot/services/lander"
	"github.com/hashpivot/hashpivot/services/nightly"
)

// serviceCmd runs one service alone, against the NATS (and, for the lander, the ClickHouse) of the configuration or of a hashpivot up on the
// same data directory.
type serviceCmd struct{}

// Run is told by its command's name which service it is.
func (*serviceCmd) Run(a *app) error {
	cfg, err := a.loadAlone()
	if err != nil {
		return err
	}
	if err := a.logger(cfg); err != nil {
		return err
	}
	if a.command == "equities" && !cfg.equitiesOn() {
		return prog.Usage(cfg.Equities.Validate())
	}
	in, err := a.newInstruments(cfg, a.command)
	if err != nil {
		return err
	}
	defer in.close()
	admin, err := prog.StartAdmin(cfg.Admin, in.reg, in.health, a.log)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	a.admin = admin.Addr()
	a.log.Info("starting", "service", a.command, "admin", a.admin, "version", version())
	alone := a.feedAlone
	switch a.command {
	case "lander":
		alone = a.landerAlone
	case "gateway":
		alone = a.gatewayAlone
	case audit.LeaseName:
		alone = a.auditAlone
	case nightly.LeaseName:
		alone = a.nightlyAlone
	}
	return a.unlessStopped(alone(cfg, in))
}

// unlessStopped is err, but for a service that was told to end while it was starting: that is no failure.
func (a *app) unlessStopped(err error) error {
	if a.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		a.log.Info("stopped while starting")
		return nil
	}
	return err
}

// loadAlone loads the configuration and finds the servers. A service alone embeds none.
func (a *app) loadAlone() (*config, error) {
	cfg, in, err := a.loadBeside()
	if err != nil {
		return nil, err
	}
	tables := a.command == "lander" || a.command == "gateway" || a.command == nightly.LeaseName || a.command == audit.LeaseName
	if cfg.NATS.URL == "" || tables && len(cfg.ClickHouse.Addr) == 0 {
		return nil, prog.Usage(errors.New("a service alone needs servers: set nats.url (and clickhouse.addr for lander, gateway, nightly and audit), or start hashpivot up on the same data directory first"))
	}
	if err := cfg.marks(a.command); err != nil {
		return nil, err
	}
	if in != nil {
		cfg.Admin.Addr = "127.0.0.1:0" // the instance has the usual one
		if cfg.Gateway.Addr == gateway.DefaultConfig().Addr {
			cfg.Gateway.Addr = "127.0.0.1:0"
		}
	}
	return cfg, nil
}

func (a *app) landerAlone(cfg *config, in *instruments) error {
	b, err := openBackends(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	defer b.close()
	in.on(b.bus)
	if err := b.prepare(a.ctx, cfg.Mode, streamsOf(a.command)...); err != nil {
		return err
	}
	b.watch(in.health)
	l, err := lander.New(cfg.Lander, landerDeps(cfg, b, a.log, in))
	if err != nil {
		return err
	}
	return a.served(cfg, b, in, func() error { return l.Run(a.ctx) })
}

// served runs a service alone, which speaks for its health itself from now on: it answers those who ask all processes, and takes over changes of its configuration.
func (a *app) served(cfg *config, b *backends, in *instruments, run func() error, parts ...reloadable) error {
	stop, err := a.present(cfg, b.bus, a.admin, in.reg, in.health)
	if err != nil {
		return err
	}
	defer stop()
	in.ready()
	return a.watched(a.loadAlone, run, parts...)
}

// landerDeps is what every lander of this program works with.
func landerDeps(cfg *config, b *backends, log *slog.Logger, in *instruments) lander.Deps {
	return lander.Deps{
		Bus: b.bus, Store: b.store, Logger: log, Metrics: lander.NewMetrics(in.reg), Tracer: in.tracing.Tracer(), Health: in.health, Mark: cfg.Mode.prefix(), Holder: holder(), TTL: cfg.Lease.TTL, Dead: deadHolder,
	}
}

func (a *app) feedAlone(cfg *config, in *instruments) error {
	conn, err := bus.Connect(cfg.NATS.Config, nil, a.log)
	if err != nil {
		return err
	}
	b := &backends{bus: conn, log: a.log, maxSkew: cfg.MaxClockSkew}
	defer b.close()
	in.on(conn)
	if err := b.clock(a.ctx); errors.Is(err, errClock) {
		return prog.Usage(err)
	}
	if err := b.claim(a.ctx, cfg.Mode, streamsOf(a.command)...); err != nil {
		return err
	}
	b.watch(in.health)
	p := newPublishers(cfg, conn, a.log, in.reg)
	p.health = in.health
	p.listed(a.command)
	return a.served(cfg, b, in, func() error { return p.run(a.ctx, a.command) }, p.symbols())
}

type migrateCmd struct{}

// Run brings the schema to this version, and where a NATS is named declares its streams and marks them with the mode: what services whose users may not do
// either need before they start.
func (migrateCmd) Run(a *app) error {
	cfg, err := a.load("")
	if err != nil {
		return err
	}
	if len(cfg.ClickHouse.Addr) == 0 && cfg.NATS.URL == "" { // the embedded ones
		b, cfg, err := a.attach()
		if err != nil {
			return err
		}
		defer b.close()
		if err := b.migrate(a.ctx); err != nil {
			return err
		}
		a.printf("database %s is at this version's schema\n", cfg.ClickHouse.Database)
		return nil
	}
	if err := a.logger(cfg); err != nil {
		return err
	}
	b := &backends{log: a.log, maxSkew: cfg.MaxClockSkew}
	defer b.close()
	if len(cfg.ClickHouse.Addr) > 0 {
		if b.store, err = store.Open(a.ctx, cfg.ClickHouse.Config, a.log); err != nil {
			return err
		}
		if err := b.migrate(a.ctx); err != nil {
			return err
		}
		a.printf("database %s is at this version's schema\n", cfg.ClickHouse.Database)
	}
	if cfg.NATS.URL == "" {
		return nil
	}
	if b.bus, err = bus.Connect(cfg.NATS.Config, nil, a.log); err != nil {
		return err
	}
	if err := b.claim(a.ctx, cfg.Mode); err != nil {
		return err
	}
	a.printf("the streams are declared, for %s data\n", cfg.Mode)
	return nil
}

type healthCmd struct {
	URL string `arg:"" optional:"" help:"Of /readyz (default: at admin.addr, on this machine)."`
}

// Run asks a service whether it is ready: the health check of containers, which have no curl.
func (c *healthCmd) Run(a *app) error {
	client := http.DefaultClient
	if c.URL == "" {
		cfg, err := a.load("")
		if err != nil {
			return err
		}
		if client, c.URL, err = cfg.Admin.Client(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(a.ctx, 5*time.Second)
	defer cancel()
	resp, err := feed.Call(ctx, client, feed.Request{URL: c.URL, Limit: 64 << 10})
	if err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	a.printf("%s", resp.Body)
	return nil
}
