package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/gateway"
	"github.com/hashpivot/hashpivot/services/lander"
	"github.com/hashpivot/hashpivot/services/nightly"
)

// stopWithin bounds the orderly end: a SIGTERM is answered within 10 s, the embedded servers' own end included.
const stopWithin = 4 * time.Second

type upCmd struct {
	Sim          bool   `help:"Simulated upstreams: generated data, marked sim-*, in a database of its own." xor:"from"`
	Recorded     string `help:"Replay the recordings in DIR through the real adapters." placeholder:"DIR" xor:"from"`
	UntilDrained bool   `help:"With --recorded: end when everything has landed, and print the balance as one JSON line." xor:"end"`
	Stay         bool   `help:"With --recorded: go on serving what has landed until a signal, for notebooks and clients." xor:"end"`
	Demo         bool   `hidden:"" help:"Print what to try."`
}

func (c *upCmd) mode() mode {
	switch {
	case c.Sim:
		return modeSim
	case c.Recorded != "":
		return modeRecorded
	}
	return modeLive
}

// Run runs everything in one process.
func (c *upCmd) Run(a *app) error {
	m := c.mode()
	if c.UntilDrained && m != modeRecorded {
		return run.Usage(errors.New("--until-drained needs --recorded DIR: live and simulated upstreams never end"))
	}
	if c.Stay && m != modeRecorded {
		return run.Usage(errors.New("--stay needs --recorded DIR: live and simulated upstreams go on by themselves"))
	}
	cfg, err := a.load(m)
	if err != nil {
		return err
	}
	if err := a.logger(cfg); err != nil {
		return err
	}
	start := time.Now()
	if c.UntilDrained {
		cfg.Nightly.Enabled = "false" // there is no night to wait for
		cfg.Audit.Every = 0           // everything is audited at the end
	}
	p, err := a.newPipeline(m, cfg, c.Recorded)
	if err != nil {
		return a.unlessStopped(err)
	}
	defer p.close()
	p.stay = c.Stay
	p.banner(a, c.Demo)
	if c.UntilDrained {
		return p.untilDrained(a, start)
	}
	parts := []reloadable{p.pubs.symbols()}
	if p.gate != nil {
		parts = append(parts, access(p.gate))
	}
	return a.watched(func() (*config, error) {
		cfg, err := a.load(m)
		if err == nil && p.sims != nil {
			err = p.sims.point(cfg)
		}
		return cfg, err
	}, func() error { return p.serve(a.ctx) }, parts...)
}

// pipeline is everything that up starts, in the order in which it is stopped: sources first, sinks last.
type pipeline struct {
	app    *app
	cfg    *config
	mode   mode
	back   *backends
	in     *instruments
	sims   *simulators // nil: live
	admin  *run.Admin
	absent func() // answers no more for its health; nil: it does not yet
	lander *lander.Lander
	gate   *gateway.Gateway // nil: off
	night  *nightly.Service // nil: off
	audit  *audit.Service
	pubs   *publishers
	stay   bool // feeds at their end do not end the others
}

func (a *app) newPipeline(m mode, cfg *config, recorded string) (_ *pipeline, err error) {
	p := &pipeline{app: a, cfg: cfg, mode: m}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	a.log.Info("starting", "mode", string(m), "data_dir", cfg.DataDir, "version", version())
	if p.in, err = a.newInstruments(cfg, "up"); err != nil {
		return nil, err
	}
	if p.back, err = openBackends(a.ctx, cfg, a.log); err != nil {
		return nil, err
	}
	p.in.on(p.back.bus)
	if err = p.back.prepare(a.ctx, m); err != nil {
		return nil, err
	}
	if err = p.back.clock(a.ctx); err != nil {
		return nil, run.Usage(err)
	}
	if m != modeLive {
		if p.sims, err = startSimulators(a.ctx, cfg, m, recorded, a.log); err != nil {
			return nil, err
		}
		if err = p.sims.point(cfg); err != nil {
			return nil, err
		}
	}
	if err = cfg.marks("equities", "hashprice", "gpurates"); err != nil {
		return nil, err
	}
	p.lander, err = lander.New(cfg.Lander, landerDeps(cfg, p.back, a.log.With("service", "lander"), p.in))
	if err != nil {
		return nil, err
	}
	if cfg.Gateway.Enabled {
		if p.gate, err = newGateway(cfg, m, p.back, a.log, p.in); err != nil {
			return nil, err
		}
	}
	if p.audit, err = newAudit(a, cfg, p.back, p.in); err != nil {
		return nil, err
	}
	// What it found is told by its metrics; that it could not be made hinders nobody here.
	p.in.health.Add(run.Check{Name: audit.LeaseName, Aside: true, Stand: run.StandingOf(p.audit.Health)})
	p.pubs = newPublishers(cfg, p.back.bus, a.log, p.in.reg)
	p.pubs.health = p.in.health
	p.back.watch(p.in.health)
	on, err := a.nightlyOn(cfg, p.back)
	if err != nil {
		return nil, err
	}
	if on {
		if p.night, err = newNightly(cfg, m, p.back, a.log, p.in); err != nil {
			return nil, err
		}
		p.in.health.Check(nightly.LeaseName, p.night.Health)
	}
	if p.admin, err = run.StartAdmin(cfg.Admin, p.in.reg, p.in.health, a.log); err != nil {
		return nil, err
	}
	if p.absent, err = a.present(cfg, p.back.bus, p.admin.Addr(), p.in.reg, p.in.health); err != nil {
		return nil, err
	}
	in := p.instance()
	if p.back.nats != nil || p.back.engine != nil {
		if err = in.write(cfg.DataDir); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pipeline) instance() instance {
	in := instance{PID: os.Getpid(), Mode: p.mode, NATS: p.cfg.NATS.URL, Database: p.cfg.ClickHouse.Database, Admin: p.admin.Addr(), Started: time.Now().UTC()}
	if p.back.nats != nil {
		in.NATS, in.NATSSync = p.back.nats.URL(), p.cfg.NATS.Sync
	}
	if p.sims != nil {
		u := p.sims.sim.URLs()
		in.Sim, in.Recordings = &u, p.sims.dir
	}
	if p.gate != nil {
		in.Gateway = p.gate.Addr()
	}
	if len(p.cfg.ClickHouse.Addr) > 0 {
		in.ClickHouse = p.cfg.ClickHouse.Addr[0]
	}
	if p.back.engine != nil {
		in.ClickHouse, in.ClickHouseHTTP = p.back.engine.NativeAddr(), p.back.engine.HTTPAddr()
	}
	return in
}

func (p *pipeline) banner(a *app, demo bool) {
	in := p.instance()
	if a.cli.JSON {
		line, _ := json.Marshal(in)
		a.printf("%s\n", line)
		return
	}
	a.printf("hashpivot runs (%s data)\n", p.mode)
	a.printf("  NATS              %s\n", in.NATS)
	a.printf("  ClickHouse native %s   database %s\n", in.ClickHouse, in.Database)
	if in.ClickHouseHTTP != "" {
		a.printf("  ClickHouse HTTP   http://%s\n", in.ClickHouseHTTP)
	}
	if in.Gateway != "" {
		s := ""
		if p.gate.Secure() {
			s = "s"
		}
		a.printf("  page              http%s://%s\n", s, in.Gateway)
		if p.night != nil {
			a.printf("  research          http%s://%s/research/\n", s, in.Gateway)
		}
		a.printf("  live feed         ws%s://%s/v1/ws\n", s, in.Gateway)
	}
	if s := p.cfg.Admin.TLSCert; s == "" {
		a.printf("  metrics, health   http://%s/metrics /readyz\n", in.Admin)
	} else {
		a.printf("  metrics, health   https://%s/metrics /readyz\n", in.Admin)
	}
	if demo {
		a.printf("%s", demoText(in))
	}
}

// demoText is what a newcomer can type into a second terminal.
func demoText(in instance) string {
	q := "SELECT symbol, count() AS trades, max(price_usd) AS high, toString(max(event_time)) AS last FROM trades GROUP BY symbol ORDER BY symbol"
	return fmt.Sprintf(`
Try, in a second terminal:
  bin/hashpivot status
  bin/hashpivot sql "%s"
  bin/hashpivot sql "SELECT event_time, hashprice_usd, btc_usd FROM hashprice WHERE method = 'tip144' ORDER BY event_time DESC LIMIT 5"
  bin/hashpivot sql "SELECT gpu, class, argMax(usd_per_gpu_hour, event_time) AS usd_per_gpu_hour, argMax(sample_offers, event_time) AS offers FROM gpu_rates_now WHERE method = 'vast-wmedian' GROUP BY gpu, class ORDER BY gpu, class"
  bin/hashpivot tail "md.v1.trade.>"
  bin/hashpivot audit
  curl "http://%s/?database=%s" --data-binary "SELECT count() FROM trades"
Ctrl-C ends it in good order.
`, q, in.ClickHouseHTTP, in.Database)
}

// serve runs until ctx ends or something cannot go on, then stops in order.
func (p *pipeline) serve(ctx context.Context) error {
	_, err := p.runFeeds(ctx, stopWithin)
	return err
}

// runFeeds runs the feeds and the lander until ctx ends, the feeds are at their end, or one cannot go on. Then it stops the feeds, stores what
// they published, lets it land for as long as drain allows, and stops the lander. drained tells whether everything has landed.
func (p *pipeline) runFeeds(ctx context.Context, drain time.Duration) (drained bool, _ error) {
	lctx, stopLander := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLander()
	landed := make(chan error, 1)
	go func() { landed <- p.lander.Run(lctx) }()

	gctx, stopGate := context.WithCancel(lctx)
	defer stopGate()
	served := make(chan error, 1)
	if p.gate != nil {
		go func() { served <- p.gate.Run(gctx) }()
	}

	// The notebooks need what has landed and nothing else needs them: they end first, and their trouble stops nothing.
	nctx, stopNight := context.WithCancel(ctx)
	defer stopNight()
	var night sync.WaitGroup
	if p.night != nil {
		night.Go(func() {
			if err := serveNightly(nctx, p.cfg, p.back, p.night); err != nil {
				p.app.log.Error("the nightly service has ended", "err", err)
			}
		})
	}

	if p.cfg.Audit.Every > 0 {
		night.Go(func() {
			if err := serveAudit(nctx, p.cfg, p.back, p.audit); err != nil && nctx.Err() == nil {
				p.app.log.Error("the scheduled audit has ended", "err", err)
			}
		})
	}

	var (
		mu      sync.Mutex
		refused error
	)
	fctx, stopFeeds := context.WithCancel(ctx)
	defer stopFeeds()
	g, runCtx := errgroup.WithContext(fctx)
	names := p.pubs.enabled(p.mode)
	for _, name := range names {
		p.pubs.listed(name)
	}
	p.in.ready()
	for _, name := range names {
		g.Go(func() error {
			err := p.pubs.run(runCtx, name)
			if err == nil {
				return nil
			}
			err = fmt.Errorf("%s: %w", name, err)
			if feed.IsRefused(err) {
				// One upstream's no must not stop the others; the state is in feed_events and in status.
				p.app.log.Error("an upstream refuses us; the others go on", "service", name, "err", err)
				mu.Lock()
				refused = errors.Join(refused, err)
				mu.Unlock()
				return nil
			}
			return err
		})
	}
	feeds := make(chan error, 1)
	go func() {
		err := g.Wait()
		if p.stay && err == nil && refused == nil {
			p.app.log.Info("the recordings are at their end; serving until a signal")
			<-fctx.Done()
		}
		feeds <- errors.Join(err, refused)
	}()

	var err, landErr, gateErr error
	landing, serving := true, p.gate != nil
	select {
	case err = <-feeds:
	case landErr = <-landed:
		landing = false
		stopFeeds()
		err = <-feeds
	case gateErr = <-served:
		serving = false
		stopFeeds()
		err = <-feeds
		gateErr = cmp.Or(gateErr, errGatewayEnded)
	}
	p.app.log.Info("stopping: feeds have ended")
	stopNight()
	defer night.Wait()
	stopGate() // its clients are told while the rest lands

	// The feeds have stored what they published, and it may still land; what does not in time lands after the next start.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if landing {
		derr := p.lander.Drained(end)
		drained = derr == nil
		if derr != nil {
			p.app.log.Info("what has not landed yet lands after the next start", "reason", derr)
		}
		stopLander()
		landErr = <-landed
	}
	if serving {
		gateErr = <-served
	}
	return drained, errors.Join(err, landErr, gateErr)
}

// untilDrained replays recordings to their end, lets everything land, audits, and prints the balance.
func (p *pipeline) untilDrained(a *app, start time.Time) error {
	// A recording is finite, and so is the wait; a signal ends it earlier.
	drained, err := p.runFeeds(a.ctx, time.Hour)
	if err != nil {
		return err
	}
	if a.ctx.Err() != nil {
		return errors.New("ended by a signal before the recordings were drained; run it again to go on")
	}
	if !drained {
		return errors.New("the recordings did not land; see the log, then run it again to go on")
	}
	res, err := audit.Audit(a.ctx, p.back.bus, p.back.store, nil)
	if err != nil {
		return err
	}
	line, err := json.Marshal(struct {
		audit.Result
		Seconds float64 `json:"seconds"`
	}{res, float64(time.Since(start).Milliseconds()) / 1e3})
	if err != nil {
		return err
	}
	p.close() // the last line must be the last
	a.printf("%s\n", line)
	if !res.Clean() {
		return errNotClean
	}
	return nil
}

// close stops what is left, sinks last. It may be called again.
func (p *pipeline) close() {
	if p.sims != nil {
		p.sims.close()
		p.sims = nil
	}
	if p.gate != nil {
		p.gate.Close()
		p.gate = nil
	}
	if p.absent != nil {
		p.absent()
		p.absent = nil
	}
	if p.admin != nil {
		_ = p.admin.Close()
		p.admin = nil
	}
	if p.back != nil {
		p.back.close()
		p.back = nil
	}
	if p.in != nil {
		p.in.close()
		p.in = nil
	}
}
