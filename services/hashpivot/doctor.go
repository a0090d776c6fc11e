package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/doctor"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
	"github.com/hashpivot/hashpivot/services/nightly"
)

// errFindings ends the program with code 1 after the findings have been printed.
var errFindings = errors.New("a check has failed")

type doctorCmd struct {
	Service   []string      `help:"What these services need only, by their commands' names; without it what all need together." placeholder:"SERVICE" enum:"equities,hashprice,gpurates,signals,lander,gateway,nightly,audit"`
	Within    time.Duration `help:"Time that each check has." default:"10s"`
	Monitor   []string      `name:"nats-monitor" help:"Monitoring address of each server of an external NATS, to look at how it syncs." placeholder:"URL"`
	Upstreams bool          `help:"Ask the upstreams, each once or twice." default:"true" negatable:""`
}

// Run checks the deployment and prints what it found.
func (c *doctorCmd) Run(a *app) error {
	cfg, in, err := a.loadBeside()
	if err != nil {
		// The rest is looked at with what can be read.
		if cfg, _ = a.read(""); cfg == nil {
			return c.tell(a, []doctor.Finding{
				{Check: "configuration", State: doctor.Fail, Detail: err.Error(), Fix: "correct it; hashpivot config prints all keys"},
				{Check: "everything else", State: doctor.Skip, Detail: "the configuration cannot be read"},
			})
		}
	}
	s := surgery{cmd: c, cfg: cfg, in: in, services: c.Service, http: &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}}
	defer s.close()
	if len(s.services) == 0 {
		s.services = doctor.Services()
	}
	return c.tell(a, doctor.Run(a.ctx, s.checks(a, err), c.Within))
}

func (c *doctorCmd) tell(a *app, found []doctor.Finding) error {
	bad := doctor.Failed(found)
	if a.cli.JSON {
		line, err := json.Marshal(struct {
			OK       bool             `json:"ok"`
			Version  string           `json:"version"`
			Findings []doctor.Finding `json:"findings"`
		}{!bad, version(), found})
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
	} else {
		paint, width := newPaint(a.stdout), 0
		for _, f := range found {
			width = max(width, len(f.Check))
		}
		for _, f := range found {
			word := map[doctor.State]string{doctor.OK: paint.good("ok  "), doctor.Warn: paint.odd("warn"), doctor.Fail: paint.bad("FAIL"), doctor.Skip: paint.dim("skip")}[f.State]
			a.printf("%s  %-*s  %s\n", word, width, f.Check, f.Detail)
			if f.Fix != "" {
				a.printf("      %-*s  %s\n", width, "", paint.bold("-> "+f.Fix))
			}
		}
	}
	if bad {
		return errFindings
	}
	return nil
}

// surgery is one visit to the doctor.
type surgery struct {
	cmd      *doctorCmd
	cfg      *config
	in       *instance // nil: none runs here
	services []string
	http     *http.Client
	nats     *doctor.NATS       // nil: embedded, and does not run
	tables   *doctor.ClickHouse // nil: not needed, or embedded and does not run
}

func (s *surgery) close() {
	s.http.CloseIdleConnections()
	if s.nats != nil {
		s.nats.Close()
	}
	if s.tables != nil {
		_ = s.tables.Close() // nothing was written over it
	}
}

// of reports whether any of these services is looked after.
func (s *surgery) of(names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(s.services, n) })
}

// embedded reports whether up runs the servers, now or at its next start.
func (s *surgery) embedded() bool {
	return s.in != nil || s.cfg.NATS.URL == "" || len(s.cfg.ClickHouse.Addr) == 0 && s.needsTables()
}

func (s *surgery) needsTables() bool {
	return s.of(doctor.Lander, doctor.Gateway, doctor.Nightly, doctor.Audit)
}

func (s *surgery) checks(a *app, invalid error) []doctor.Check {
	out := []doctor.Check{s.configuration(invalid)}
	out = append(out, s.servers()...)
	out = append(out, s.machine(a)...)
	if s.of(doctor.Gateway) && len(s.cfg.Gateway.Auth.Keys) > 0 {
		out = append(out, doctor.Simple("gateway keys", func(context.Context) doctor.Finding {
			if _, err := auth.New(s.cfg.Gateway.Auth, nil, time.Now); err != nil {
				return doctor.Finding{State: doctor.Fail, Detail: "gateway." + err.Error(), Fix: "see gateway.auth.keys"}
			}
			return doctor.Finding{State: doctor.OK, Detail: fmt.Sprintf("%d can be read", len(s.cfg.Gateway.Auth.Keys))}
		}))
	}
	if s.of(doctor.Nightly) {
		out = append(out, doctor.Simple("notebooks", s.notebooks))
	}
	return append(out, s.upstreams()...)
}

func (s *surgery) configuration(invalid error) doctor.Check {
	return doctor.Simple("configuration", func(context.Context) doctor.Finding {
		err := invalid
		// Where up has the simulators it marks the sources itself.
		if err == nil && (s.cfg.Mode == modeLive || s.in != nil || s.cfg.NATS.URL != "") {
			err = s.cfg.marks(s.services...)
		}
		if err != nil {
			return doctor.Finding{State: doctor.Fail, Detail: err.Error(), Fix: "correct it; hashpivot config prints all keys as they are in effect"}
		}
		where := fmt.Sprintf("mode %s", s.cfg.Mode)
		if s.in != nil {
			where += fmt.Sprintf(", of process %d on %s", s.in.PID, s.cfg.DataDir)
		}
		return doctor.Finding{State: doctor.OK, Detail: where}
	})
}

// servers are NATS and ClickHouse.
func (s *surgery) servers() []doctor.Check {
	notRunning := func(name string) doctor.Check {
		return doctor.Simple(name, func(context.Context) doctor.Finding {
			return doctor.Finding{State: doctor.Skip, Detail: "embedded, and does not run on " + s.cfg.DataDir + " now: start hashpivot up, and ask again"}
		})
	}
	var out []doctor.Check
	if s.cfg.NATS.URL == "" {
		out = append(out, notRunning("nats"))
	} else {
		s.nats = doctor.NewNATS(s.cfg.NATS.Config, s.services...)
		known := ""
		if s.in != nil {
			known = s.in.NATSSync
		}
		out = append(out, s.nats.Reached(), s.nats.Clock(s.cfg.MaxClockSkew), s.nats.Permissions(), s.nats.Streams(), s.nats.Storage(), s.nats.Sync(known, s.cmd.Monitor))
	}
	if s.needsTables() {
		if len(s.cfg.ClickHouse.Addr) == 0 {
			out = append(out, notRunning("clickhouse"))
		} else {
			s.tables = doctor.NewClickHouse(s.cfg.ClickHouse.Config)
			out = append(out, s.tables.Reached(), s.tables.Clock(), s.tables.Schema(), s.tables.Grants(s.services...), s.tables.Disks())
			if s.cfg.ClickHouse.Replicated {
				out = append(out, s.tables.Replicas())
			}
		}
	}
	if s.nats != nil {
		out = append(out, doctor.Deployment(s.nats, s.tables, string(s.cfg.Mode)))
	}
	return out
}

// What a process wants of the machine: the embedded engine, a lander with its ranges, one of the others.
const (
	memoryUp, memoryLander, memoryOther = 2 << 30, 1 << 30, 256 << 20
	filesOther                          = 2000
)

// machine is what lies on this host.
func (s *surgery) machine(a *app) []doctor.Check {
	var out []doctor.Check
	memory, pid := uint64(memoryOther), 0
	if s.of(doctor.Lander) {
		memory = memoryLander
	}
	if s.embedded() {
		memory = memoryUp
		var grow uint64
		if s.cfg.NATS.URL == "" || s.in != nil && s.in.NATSSync != "" {
			grow = uint64(len(market.Streams())) * uint64(s.cfg.NATS.MaxBytes)
		}
		out = append(out, doctor.Directory("data directory", s.cfg.DataDir), doctor.Disk(s.cfg.DataDir, grow), doctor.Fsync(s.cfg.DataDir, s.cfg.Lease.TTL))
	}
	switch {
	case s.in != nil:
		pid = s.in.PID
	case s.embedded():
		listens := map[string]string{"admin.addr": s.cfg.Admin.Addr}
		if s.cfg.NATS.URL == "" {
			listens["nats.addr"] = s.cfg.NATS.Addr
		}
		if len(s.cfg.ClickHouse.Addr) == 0 {
			listens["clickhouse.native_addr"], listens["clickhouse.http_addr"] = s.cfg.ClickHouse.NativeAddr, s.cfg.ClickHouse.HTTPAddr
			out = append(out, doctor.Simple("engine", func(context.Context) doctor.Finding {
				path, err := chembed.FindLibrary(cmp.Or(s.cfg.ClickHouse.Library, a.getenv(chembed.LibraryEnv)))
				if err != nil {
					return doctor.Finding{State: doctor.Fail, Detail: err.Error(), Fix: "make build fetches it"}
				}
				return doctor.Finding{State: doctor.OK, Detail: path}
			}))
		}
		if s.cfg.Gateway.Enabled {
			listens["gateway.addr"] = s.cfg.Gateway.Addr
		}
		out = append(out, doctor.Addresses(listens))
	}
	files := uint64(filesOther)
	if s.of(doctor.Gateway) {
		files += uint64(s.cfg.Gateway.Limits.Connections)
	}
	return append(out, doctor.Files(pid, files), doctor.Memory(memory))
}

// notebooks says whether the nightly service could run them.
func (s *surgery) notebooks(ctx context.Context) doctor.Finding {
	on, auto, err := s.cfg.Nightly.Switch()
	if err != nil || !on && !auto {
		return doctor.Finding{State: doctor.OK, Detail: "off (nightly.enabled)"}
	}
	python, err := nightly.Python(ctx, s.cfg.Nightly)
	switch {
	case err == nil:
		return doctor.Finding{State: doctor.OK, Detail: python}
	case auto && len(s.services) > 1:
		return doctor.Finding{State: doctor.OK, Detail: "off: nightly.enabled is auto, and " + err.Error()}
	}
	return doctor.Finding{State: doctor.Fail, Detail: err.Error(), Fix: "make research-python, or set nightly.python or nightly.enabled"}
}

// upstreams asks those that are on.
func (s *surgery) upstreams() []doctor.Check {
	if !s.cmd.Upstreams || !s.of(doctor.Equities, doctor.Hashprice, doctor.GPURates) {
		return nil
	}
	if s.cfg.Mode != modeLive && s.in == nil && s.cfg.NATS.URL == "" {
		return []doctor.Check{doctor.Simple("upstreams", func(context.Context) doctor.Finding {
			return doctor.Finding{State: doctor.Skip, Detail: "the simulators run with hashpivot up: start it, and ask again"}
		})}
	}
	var probes []feed.Probe
	var off []string
	for _, svc := range []struct {
		name   string
		probes func() ([]feed.Probe, []string)
	}{{doctor.Equities, s.cfg.Equities.Probes}, {doctor.Hashprice, s.cfg.Hashprice.Probes}, {doctor.GPURates, s.cfg.GPURates.Probes}} {
		if s.of(svc.name) {
			p, o := svc.probes()
			probes, off = append(probes, p...), append(off, o...)
		}
	}
	return append(doctor.Upstreams(probes, s.http), doctor.Off(off))
}
