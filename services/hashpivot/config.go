package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/certs"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/equities"
	"github.com/hashpivot/hashpivot/services/gateway"
	"github.com/hashpivot/hashpivot/services/gpurates"
	"github.com/hashpivot/hashpivot/services/hashprice"
	"github.com/hashpivot/hashpivot/services/lander"
	"github.com/hashpivot/hashpivot/services/nightly"
	"github.com/hashpivot/hashpivot/services/signals"
)

// config is the whole configuration; hashpivot config prints it.
type config struct {
	// Mode of a service that runs alone: live, sim or recorded. The up command sets it.
	Mode mode `koanf:"mode"`
	// DataDir of the embedded servers; empty: data/<mode>.
	DataDir string `koanf:"data_dir"`
	// MaxClockSkew is how far our clock may be from that of NATS: publishing services do not start beyond it, and all say so. 0: it is not looked at.
	MaxClockSkew time.Duration    `koanf:"max_clock_skew"`
	Log          run.LogConfig    `koanf:"log"`
	Admin        run.AdminConfig  `koanf:"admin"`
	Trace        run.TraceConfig  `koanf:"trace"`
	NATS         natsConfig       `koanf:"nats"`
	ClickHouse   clickhouseConfig `koanf:"clickhouse"`
	Equities     equities.Config  `koanf:"equities"`
	Hashprice    hashprice.Config `koanf:"hashprice"`
	GPURates     gpurates.Config  `koanf:"gpurates"`
	Signals      signals.Config   `koanf:"signals"`
	Lander       lander.Config    `koanf:"lander"`
	Audit        audit.Config     `koanf:"audit"`
	Backup       backupConfig     `koanf:"backup"`
	Gateway      gateway.Config   `koanf:"gateway"`
	Nightly      nightly.Config   `koanf:"nightly"`
	Lease        leaseConfig      `koanf:"lease"`
	Sim          simConfig        `koanf:"sim"`
}

// natsConfig is an external cluster where its URL is set, else the embedded server.
type natsConfig struct {
	bus.Config `koanf:",squash"`
	Addr       string `koanf:"addr"` // embedded: where it listens
	Sync       string `koanf:"sync"` // embedded: always, or an interval
	// Embedded: TLS for who connects from beyond this process, with certificates of clients where TLSClientCA is set; and who may connect, by name (hashpivot
	// nats-users), none: everybody.
	TLSCert     string              `koanf:"tls_cert"`
	TLSKey      string              `koanf:"tls_key"`
	TLSClientCA string              `koanf:"tls_client_ca"`
	Users       map[string]natsUser `koanf:"users"`
}

// natsUser is one who may connect to the embedded NATS.
type natsUser struct {
	bus.Login `koanf:",squash"`
	// Rest is what is none of these: a misspelt password must not be taken for none.
	Rest map[string]any `koanf:",remain"`
}

func (c natsConfig) server(dataDir string) bus.ServerConfig {
	out := bus.ServerConfig{
		Addr: c.Addr, DataDir: filepath.Join(dataDir, "nats"), Sync: c.Sync,
		TLS: certs.Server{Section: "nats", CertFile: c.TLSCert, KeyFile: c.TLSKey, ClientCAFile: c.TLSClientCA}, Users: map[string]bus.Login{},
	}
	for name, u := range c.Users {
		out.Users[name] = u.Login
	}
	return out
}

func (c natsConfig) validate() error {
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		for _, key := range slices.Sorted(maps.Keys(c.Users[name].Rest)) {
			return fmt.Errorf("nats.users.%s: unknown key %s", name, key)
		}
	}
	return c.Validate()
}

// clickhouseConfig is an external server where its Addr is set, else the embedded engine. Its Database is hashpivot, hashpivot_sim or
// hashpivot_recorded where it is empty: generated data never shares a database with real data.
type clickhouseConfig struct {
	store.Config `koanf:",squash"`
	NativeAddr   string `koanf:"native_addr"` // embedded: where it listens
	HTTPAddr     string `koanf:"http_addr"`   // embedded: where it listens
	Library      string `koanf:"library"`     // embedded: libchdb.so; empty: where make puts it
	MaxMemory    uint64 `koanf:"max_memory"`  // embedded: bytes for all queries together; 0: nine tenths of the machine
	// Server is the embedded engine as a server for others: users, limits, TLS.
	Server engineConfig `koanf:"server"`
}

// simConfig of the simulated upstreams.
type simConfig struct {
	Seed uint64 `koanf:"seed"`
	// Rate is the mean of equity events a second.
	Rate float64 `koanf:"rate"`
	// Steady keeps the rate constant.
	Steady bool `koanf:"steady"`
}

func defaultConfig() config {
	server, engine, client := bus.DefaultServerConfig(), chembed.DefaultConfig(), store.DefaultConfig()
	client.Addr, client.Database = nil, "" // the embedded engine, the mode's database
	return config{
		Mode: modeLive, MaxClockSkew: time.Minute, Log: run.DefaultLogConfig(), Admin: run.AdminConfig{Addr: "127.0.0.1:9464"}, Trace: run.DefaultTraceConfig(),
		NATS:       natsConfig{Config: bus.DefaultConfig(), Addr: server.Addr, Sync: server.Sync, Users: map[string]natsUser{}},
		ClickHouse: clickhouseConfig{Config: client, NativeAddr: engine.NativeAddr, HTTPAddr: engine.HTTPAddr, Server: defaultEngineConfig()},
		Equities:   equities.DefaultConfig(), Hashprice: hashprice.DefaultConfig(), GPURates: gpurates.DefaultConfig(), Lander: lander.DefaultConfig(),
		Audit:   audit.DefaultConfig(),
		Signals: signals.DefaultConfig(), Gateway: gateway.DefaultConfig(), Nightly: nightly.DefaultConfig(), Lease: leaseConfig{TTL: bus.DefaultLeaseTTL},
		Sim: simConfig{Seed: 1, Rate: 100},
	}
}

// mode is where the data comes from. Each has its own data directory, database and source names, and none mixes with another.
type mode string

const (
	modeLive     mode = "live"
	modeSim      mode = "sim"
	modeRecorded mode = "recorded"
)

// prefix marks the sources of a mode.
func (m mode) prefix() string {
	switch m {
	case modeSim:
		return "sim-"
	case modeRecorded:
		return "rec-"
	}
	return ""
}

func (m mode) database() string {
	if m == modeLive {
		return "hashpivot"
	}
	return "hashpivot_" + string(m)
}

// load reads the configuration and checks it. An empty mode is the configuration's.
func (a *app) load(m mode) (*config, error) {
	cfg, err := a.read(m)
	if err != nil {
		return nil, err
	}
	if err := cfg.validate(); err != nil {
		return nil, run.Usage(err)
	}
	return cfg, nil
}

// read reads the configuration: defaults, file, environment, flags.
func (a *app) read(m mode) (*config, error) {
	cfg := defaultConfig()
	set := a.cli.Set
	if a.cli.DataDir != "" {
		set = append(set, "data_dir="+a.cli.DataDir)
	}
	if a.cli.LogLevel != "" {
		set = append(set, "log.level="+a.cli.LogLevel)
	}
	if a.cli.Free {
		set = append(set, "nats.addr=127.0.0.1:0", "clickhouse.native_addr=127.0.0.1:0", "clickhouse.http_addr=127.0.0.1:0", "admin.addr=127.0.0.1:0", "gateway.addr=127.0.0.1:0")
	}
	err := run.Load(&cfg, run.Source{File: a.cli.Config, Environ: a.env, NotConfig: []string{chembed.LibraryEnv}, Set: set})
	if err != nil {
		return nil, err
	}
	a.vendorKeys(&cfg)
	if m == "" {
		m = cfg.Mode
	}
	cfg.Mode = m
	if cfg.DataDir == "" {
		cfg.DataDir = filepath.Join("data", string(m))
	}
	if cfg.ClickHouse.Database == "" {
		cfg.ClickHouse.Database = m.database()
	}
	return &cfg, nil
}

func (c *config) validate() error {
	errs := []error{c.NATS.validate(), c.Admin.Validate(), c.Trace.Validate(), c.Hashprice.Validate(), c.GPURates.Validate(), c.Lander.Validate(), c.Audit.Validate(), c.Signals.Validate(), c.Gateway.Validate(), c.Nightly.Validate(), c.Lease.Validate(), c.ClickHouse.Server.validate()}
	if c.equitiesOn() {
		errs = append(errs, c.Equities.Validate())
	}
	if c.Mode != modeLive && c.Mode != modeSim && c.Mode != modeRecorded {
		errs = append(errs, fmt.Errorf("mode: %q is not one of live, sim, recorded", c.Mode))
	}
	if c.MaxClockSkew < 0 || c.MaxClockSkew > 0 && c.MaxClockSkew < time.Second {
		errs = append(errs, fmt.Errorf("max_clock_skew: %s is neither 0 (not looked at) nor a second or more", c.MaxClockSkew))
	}
	if c.NATS.URL == "" {
		errs = append(errs, c.NATS.server(c.DataDir).Validate())
	}
	ch := c.ClickHouse.Config
	if len(ch.Addr) == 0 {
		if ch.Replicated {
			errs = append(errs, errors.New("clickhouse.replicated: wants the servers that are replicas in clickhouse.addr; the embedded engine is one by itself"))
		}
		ch.Addr = []string{c.ClickHouse.NativeAddr}
	}
	if err := ch.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("clickhouse.%w", err))
	}
	if c.Sim.Rate < 0 || c.Sim.Rate > 1e6 {
		errs = append(errs, fmt.Errorf("sim.rate: %v is not from 0 to 1000000 events a second", c.Sim.Rate))
	}
	return errors.Join(errs...)
}

// marks holds that the source names of the services tell the mode: sim- for generated data, rec- for recordings, neither for live data. They are what keeps
// made-up numbers from ever passing for real ones.
func (c *config) marks(services ...string) error {
	type marked struct{ service, key, source string }
	var list []marked
	stocks := c.Equities.Sources()
	for _, key := range slices.Sorted(maps.Keys(stocks)) {
		list = append(list, marked{"equities", key, stocks[key]})
	}
	network := c.Hashprice.Sources()
	for _, key := range slices.Sorted(maps.Keys(network)) {
		list = append(list, marked{"hashprice", key, network[key]})
	}
	gpu := c.GPURates.Sources()
	for _, key := range slices.Sorted(maps.Keys(gpu)) {
		list = append(list, marked{"gpurates", key, gpu[key]})
	}
	for _, x := range list {
		is := modeLive
		for _, m := range []mode{modeSim, modeRecorded} {
			if strings.HasPrefix(x.source, m.prefix()) {
				is = m
			}
		}
		if is != c.Mode && slices.Contains(services, x.service) {
			return run.Usage(fmt.Errorf("%s: %q marks %s data, but the mode is %s", x.key, x.source, is, c.Mode))
		}
	}
	return nil
}

// logger writes to stderr: stdout is for results.
func (a *app) logger(cfg *config) error {
	log, level, err := run.NewLogger(cfg.Log, a.stderr)
	a.log, a.level = log, level
	return err
}

func (a *app) printf(format string, args ...any) { _, _ = fmt.Fprintf(a.stdout, format, args...) }

type configCmd struct {
	Mode string `help:"live, sim or recorded." default:"live" enum:"live,sim,recorded"`
}

// Run prints the configuration.
func (c *configCmd) Run(a *app) error {
	cfg, err := a.load(mode(c.Mode))
	if err != nil {
		return err
	}
	text, err := run.Print(*cfg)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(text)
	return err
}
