package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/sim"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/signals"
)

// instance is what a running hashpivot writes into its data directory, so that the commands beside it find it. It holds no secret.
type instance struct {
	PID            int       `json:"pid"`
	Mode           mode      `json:"mode"`
	NATS           string    `json:"nats"`
	NATSSync       string    `json:"nats_sync,omitempty"` // of the embedded server
	ClickHouse     string    `json:"clickhouse"`
	ClickHouseHTTP string    `json:"clickhouse_http,omitempty"`
	Database       string    `json:"database"`
	Admin          string    `json:"admin,omitempty"`
	Gateway        string    `json:"gateway,omitempty"`
	Sim            *sim.URLs `json:"sim,omitempty"`
	Recordings     string    `json:"recordings,omitempty"`
	Started        time.Time `json:"started"`
}

func instanceFile(dataDir string) string { return filepath.Join(dataDir, "instance.json") }

// findInstance reads the instance that runs on a data directory; nil if none does.
func findInstance(dataDir string) *instance {
	data, err := os.ReadFile(instanceFile(dataDir))
	if err != nil {
		return nil
	}
	var in instance
	if json.Unmarshal(data, &in) != nil || in.PID <= 0 || syscall.Kill(in.PID, 0) != nil {
		return nil // left behind by one that was killed
	}
	// The pid may be somebody else's by now: it runs if it answers.
	u, err := url.Parse(in.NATS)
	if err != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return nil
	}
	_ = conn.Close()
	return &in
}

func (in instance) write(dataDir string) error {
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	tmp := instanceFile(dataDir) + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	return os.Rename(tmp, instanceFile(dataDir))
}

// backends are NATS and ClickHouse, embedded or external, and our connections to them.
type backends struct {
	nats   *bus.Server     // nil: external
	engine *chembed.Server // nil: external
	bus    *bus.Bus
	store  *store.Store
	log    *slog.Logger

	maxSkew   time.Duration
	stopClock func() // nil: clocks are not watched
}

// open starts what is embedded and connects.
func openBackends(ctx context.Context, cfg *config, log *slog.Logger) (_ *backends, err error) {
	b := &backends{log: log, maxSkew: cfg.MaxClockSkew}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	embedded := cfg.NATS.URL == "" || len(cfg.ClickHouse.Addr) == 0
	if embedded {
		if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
			return nil, run.Usage(fmt.Errorf("data_dir: %w; give a directory that can be written, by --data-dir", err))
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	if cfg.NATS.URL == "" {
		g.Go(func() (err error) {
			b.nats, err = bus.StartServer(cfg.NATS.server(cfg.DataDir), log)
			return err
		})
	}
	client := cfg.ClickHouse.Config
	if len(cfg.ClickHouse.Addr) == 0 {
		g.Go(func() (err error) {
			c, err := cfg.ClickHouse.engine(cfg.DataDir, log)
			if err != nil {
				return err
			}
			if _, ok := c.Users[cfg.ClickHouse.User]; !ok && len(c.Users) > 0 {
				return run.Usage(fmt.Errorf("clickhouse.server.users knows no %s, as whom hashpivot itself connects: set clickhouse.password, or clickhouse.user", cfg.ClickHouse.User))
			}
			if c.ServerSettings, err = cfg.backupSettings(); err != nil {
				return err
			}
			b.engine, err = chembed.Start(gctx, c)
			if err == nil {
				client.Addr = []string{b.engine.NativeAddr()}
				client.TLS, client.CAFile, client.CertFile, client.KeyFile = false, "", "", "" // on loopback, in the clear
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if b.bus, err = bus.Connect(cfg.NATS.Config, b.nats, log); err != nil {
		return nil, err
	}
	if b.store, err = store.Open(ctx, client, log); err != nil {
		return nil, err
	}
	return b, nil
}

// prepare holds that NATS and the database are this mode's and as this version wants them, for a service with tables. Where the user may, it makes them so.
func (b *backends) prepare(ctx context.Context, m mode, streams ...market.Stream) error {
	if err := b.claim(ctx, m, streams...); err != nil {
		return err
	}
	err := b.migrate(ctx)
	if store.IsDenied(err) {
		// A user that only lands, or reads, has neither right; the schema is right, or we would know.
		if current, cerr := b.store.Current(ctx); cerr == nil && current {
			b.log.Debug("the reference facts are for hashpivot migrate to load", "err", err)
			return nil
		}
	}
	return err
}

// migrate brings the schema to this version's, and with it the facts that its views read.
func (b *backends) migrate(ctx context.Context) error {
	if err := b.store.Migrate(ctx); err != nil {
		return err
	}
	return signals.LoadReference(ctx, b.store.Exec)
}

// claim looks that the streams are there as they are declared, or declares them, and that they are marked with the mode; no streams: all.
func (b *backends) claim(ctx context.Context, m mode, streams ...market.Stream) error {
	if err := b.bus.Ensure(ctx, streams...); err != nil {
		return err
	}
	cell := b.bus.Cell("mode")
	was, rev, err := cell.Get(ctx)
	if err != nil {
		return err
	}
	if rev != 0 && string(was) != string(m) {
		return run.Usage(fmt.Errorf("this NATS holds %s data and cannot take %s data; use another data directory (--data-dir) or another nats.url", was, m))
	}
	if rev == 0 {
		if _, err := cell.Swap(ctx, []byte(m), 0); err != nil && !errors.Is(err, bus.ErrConflict) {
			return err
		}
	}
	b.tellClock(ctx)
	return nil
}

// streamsOf are those that a service works with.
func streamsOf(service string) []market.Stream {
	d, _ := bus.DutyOf(service)
	return d.Streams()
}

// watch adds what is connected to the health checks.
func (b *backends) watch(h *run.Health) {
	h.Check("clock", func(ctx context.Context) error {
		if err := b.clock(ctx); errors.Is(err, errClock) {
			return err
		}
		return nil // that NATS does not answer is told below
	})
	b.watchClock()
	h.Check("nats", func(context.Context) error {
		if !b.bus.Connected() {
			return errors.New("not connected")
		}
		return nil
	})
	if b.store != nil {
		h.Check("clickhouse", b.store.Ping)
	}
}

// close closes the connections, then stops what is embedded.
func (b *backends) close() {
	if b.stopClock != nil {
		b.stopClock()
	}
	if b.store != nil {
		if err := b.store.Close(); err != nil {
			b.log.Warn("closing the connection to ClickHouse", "err", err)
		}
	}
	if b.bus != nil {
		b.bus.Close()
	}
	var g errgroup.Group
	if b.engine != nil {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
			defer cancel()
			return b.engine.Close(ctx)
		})
	}
	if b.nats != nil {
		b.nats.Close()
	}
	if err := g.Wait(); err != nil {
		b.log.Warn("stopping the embedded ClickHouse", "err", err)
	}
}

// attach connects a command to the hashpivot that runs on the data directory, to the external servers of the configuration, or, where
// neither is, starts the embedded servers on the directory for as long as the command lives.
func (a *app) attach() (*backends, *config, error) { return a.attachAs(false) }

// attachAs attaches a command that may only look: then it declares nothing.
func (a *app) attachAs(onlyLooks bool) (*backends, *config, error) {
	cfg, in, err := a.loadBeside()
	if err != nil {
		return nil, nil, err
	}
	if a.cli.LogLevel == "" && cfg.Log.Level == "info" {
		cfg.Log.Level = "warn" // a command's own answer is what counts
	}
	if err := a.logger(cfg); err != nil {
		return nil, nil, err
	}
	if in == nil {
		if cfg.NATS.URL == "" {
			if _, err := os.Stat(filepath.Join(cfg.DataDir, "nats")); err != nil {
				return nil, nil, run.Usage(fmt.Errorf("no hashpivot has run on %s; start one with hashpivot up, or name its directory by --data-dir", cfg.DataDir))
			}
		}
		cfg.NATS.Addr, cfg.ClickHouse.NativeAddr, cfg.ClickHouse.HTTPAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	}
	cfg.NATS.LookOnly = onlyLooks
	b, err := openBackends(a.ctx, cfg, a.log)
	return b, cfg, err
}

// loadBeside loads the configuration and points it at the instance that runs on the data directory, if one does.
func (a *app) loadBeside() (*config, *instance, error) {
	// Who names servers means those, whatever runs here.
	cfg, err := a.load("")
	if err != nil || cfg.NATS.URL != "" || len(cfg.ClickHouse.Addr) > 0 {
		return cfg, nil, err
	}
	m, dir, in := a.whichInstance()
	if dir != "" && a.cli.DataDir == "" {
		a.cli.DataDir = dir
	}
	if cfg, err = a.load(m); err != nil {
		return nil, nil, err
	}
	if in != nil {
		cfg.NATS.URL = in.NATS
		cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{in.ClickHouse}, in.Database
		cfg.ClickHouse.TLS, cfg.ClickHouse.CAFile, cfg.ClickHouse.CertFile, cfg.ClickHouse.KeyFile = false, "", "", "" // the instance's port on loopback
		if cfg.Nightly.ClickHouseURL == "" && in.ClickHouseHTTP != "" {
			cfg.Nightly.ClickHouseURL = "http://" + in.ClickHouseHTTP
		}
		if in.Sim != nil {
			if err := pointAt(cfg, *in.Sim, m, in.Recordings); err != nil {
				return nil, nil, err
			}
		}
	}
	return cfg, in, nil
}

// whichInstance finds the running instance: of --data-dir if that is given, else the one under data/ that runs.
func (a *app) whichInstance() (mode, string, *instance) {
	if a.cli.DataDir != "" {
		if in := findInstance(a.cli.DataDir); in != nil {
			return in.Mode, a.cli.DataDir, in
		}
		return a.modeOf(a.cli.DataDir), a.cli.DataDir, nil
	}
	for _, m := range []mode{modeLive, modeSim, modeRecorded} {
		dir := filepath.Join("data", string(m))
		if in := findInstance(dir); in != nil {
			return in.Mode, dir, in
		}
	}
	return "", "", nil
}

// modeOf tells the mode of a directory on which nothing runs now.
func (a *app) modeOf(dir string) mode {
	data, err := os.ReadFile(instanceFile(dir))
	var in instance
	if err == nil && json.Unmarshal(data, &in) == nil && in.Mode != "" {
		return in.Mode
	}
	return ""
}
