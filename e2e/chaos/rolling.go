//go:build linux

package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// RollConfig of a rolling restart: every service of hashpivot twice, as a process of its own, under the simulators' load; one process after the other is
// told to end in good order and started again.
type RollConfig struct {
	Binary string
	Dir    string // for everything; empty: a temporary one
	// Rate is the equities' events a second, of three venues together that tell the same tape.
	Rate int
	// Clients that follow the live feed, each connected to any of the gateways and coming again by itself.
	Clients int
	// Quiet is how long all works before the first restart, Settle how long after each.
	Quiet, Settle time.Duration
	// Rounds of restarts of all processes.
	Rounds int
	Keep   bool // the directory of a good run too
	Out    io.Writer
}

// DefaultRollConfig suits two processors.
func DefaultRollConfig() RollConfig {
	return RollConfig{Binary: "bin/hashpivot", Rate: 200, Clients: 4, Quiet: 20 * time.Second, Settle: 6 * time.Second, Rounds: 1, Out: os.Stderr}
}

// What is asked of a rolling restart.
const (
	mostDelay = 5 * time.Second
	mostDrain = 10 * time.Second
)

// rolled are the services in the order in which they are restarted, sources first, each as two processes.
var rolled = []string{"hashprice", "gpurates", "equities", "signals", "lander", "gateway"}

// Restart is one process that was told to end and started again.
type Restart struct {
	Process string  `json:"process"`
	DrainS  float64 `json:"drain_s"` // from SIGTERM to its end
	Exit    string  `json:"exit"`    // how it ended
	BackS   float64 `json:"back_s"`  // from its start until it was ready
	// QueryableMaxS and LiveMaxS are the longest delays of what was received from its SIGTERM to the next.
	QueryableMaxS float64 `json:"queryable_max_s"`
	LiveMaxS      float64 `json:"live_max_s"`

	at time.Time
}

// RollReport is the result: its last line.
type RollReport struct {
	Clean    bool      `json:"clean"`
	Failed   []string  `json:"failed"`
	Seconds  float64   `json:"seconds"`
	Load     [2]string `json:"load_averages"` // of the machine, at the beginning and the end
	Restarts []Restart `json:"restarts"`
	DrainMax float64   `json:"drain_max_s"`
	// Quiet are the longest delays before the first restart: what the machine takes by itself.
	Quiet struct {
		QueryableMaxS float64 `json:"queryable_max_s"`
		LiveMaxS      float64 `json:"live_max_s"`
	} `json:"quiet"`
	// Of what was received from the first SIGTERM on: Queryable is from the receive stamp until a row was seen in ClickHouse, by a look every quarter of a second; Live until a client had it.
	Queryable delays `json:"recv_to_queryable"`
	Live      delays `json:"recv_to_client"`
	// Event is from the venue's own time until a row was seen, of prints and quotes: it has what a restarted feed fetched from history, and what venues print late.
	Event delays `json:"event_to_queryable"`

	Audit struct {
		Published, Landed, Dead, Pending, Lost, Duplicates, Altered uint64
	} `json:"audit"`
	Venue struct {
		Prints, Missing, Doubled int
	} `json:"venue"` // Alpaca's prints, by its own history
	Clients struct {
		Messages, Missing, Doubled, Disordered int
		Reconnects                             int64
	} `json:"clients"`
	// Gaps by source and state: what the ledger says was missed.
	Gaps map[string]int `json:"gaps"`
}

// JSON is the report as one line.
func (r RollReport) JSON() string {
	text, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// roll is one run.
type roll struct {
	cfg     RollConfig
	name    string
	dir     string
	spawn   *spawner
	nats    *proc
	engine  *proc
	sim     *proc
	procs   map[string]*proc // the services'
	admin   map[string]string
	gates   []string
	config  string // file
	natsURL string
	native  string
	web     string
	alpaca  string // its REST
	bus     *bus.Bus
	http    http.Client
	ctx     context.Context //nolint:containedctx // the processes' life, which is the run's and not a call's
	rep     RollReport
}

// Roll restarts every service under load. The error says what was asked for and not met; the report says what was.
func Roll(ctx context.Context, cfg RollConfig) (rep RollReport, err error) {
	// The processes end when we say so, not with ctx: a signal must not look like an outage.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	r := &roll{cfg: cfg, name: "rolling", dir: cfg.Dir, spawn: newSpawner(life), procs: map[string]*proc{}, admin: map[string]string{}, ctx: life}
	r.rep.Failed, r.rep.Restarts, r.rep.Gaps = []string{}, []Restart{}, map[string]int{}
	if r.dir == "" {
		if r.dir, err = os.MkdirTemp("", "rolling"); err != nil {
			return r.rep, err
		}
	}
	began := time.Now()
	r.rep.Load[0] = loadAverage()
	err = r.run(ctx)
	r.rep.Seconds, r.rep.Load[1] = time.Since(began).Seconds(), loadAverage()
	r.close()
	if err != nil {
		r.rep.Failed = append(r.rep.Failed, err.Error())
	}
	r.rep.Clean = len(r.rep.Failed) == 0
	if !r.rep.Clean {
		r.note("everything is kept in %s", r.dir)
		return r.rep, errors.New(strings.Join(r.rep.Failed, "; "))
	}
	if !cfg.Keep && cfg.Dir == "" {
		return r.rep, os.RemoveAll(r.dir)
	}
	return r.rep, nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func (r *roll) note(format string, args ...any) {
	_, _ = fmt.Fprintf(r.cfg.Out, "%s %s: %s\n", time.Now().Format(time.TimeOnly), r.name, fmt.Sprintf(format, args...))
}

func (r *roll) failed(format string, args ...any) {
	r.rep.Failed = append(r.rep.Failed, fmt.Sprintf(format, args...))
}

func (r *roll) run(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	r.note("up; watching for %s", r.cfg.Quiet)
	began := time.Now()
	w, err := r.watch(ctx)
	if err != nil {
		return err
	}
	err = r.restartAll(ctx)
	if err == nil {
		err = pause(ctx, r.cfg.Settle)
	}
	ended := time.Now()
	return errors.Join(err, r.judge(ctx, w, began, ended))
}

// restartAll restarts one process after the other.
func (r *roll) restartAll(ctx context.Context) error {
	if err := pause(ctx, r.cfg.Quiet); err != nil {
		return err
	}
	for range r.cfg.Rounds {
		for _, service := range rolled {
			first, err := r.holder(ctx, service)
			if err != nil {
				return err
			}
			// Who holds the lease goes first: then each of the two hands it over once.
			for i := range 2 {
				if err := r.restart(ctx, fmt.Sprintf("%s-%d", service, (first+i)%2+1)); err != nil {
					return err
				}
				if err := pause(ctx, r.cfg.Settle); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// holder is which of a service's processes has its lease, 0 or 1; 0 also where it has none.
func (r *roll) holder(ctx context.Context, service string) (int, error) {
	held, err := r.bus.Holders(ctx)
	if err != nil {
		return 0, err
	}
	for _, h := range held {
		if h.Lease == service && strings.HasSuffix(h.Holder, "/"+strconv.Itoa(r.procs[service+"-2"].pid())) {
			return 1, nil
		}
	}
	return 0, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// restart ends a process in good order and starts it again.
func (r *roll) restart(ctx context.Context, name string) error {
	p := r.procs[name]
	x := Restart{Process: name, at: time.Now()}
	end, cancel := context.WithTimeout(ctx, 3*mostDrain)
	err := p.terminate(end)
	cancel()
	x.DrainS = time.Since(x.at).Seconds()
	if err != nil {
		return err
	}
	if x.Exit = p.lastExit(); x.Exit != "exit 0" {
		r.failed("%s ended with %s", name, x.Exit)
	}
	if x.DrainS > mostDrain.Seconds() {
		r.failed("%s took %.1f s to end, asked are %s", name, x.DrainS, mostDrain)
	}
	began := time.Now()
	p.release()
	if err := r.ready(ctx, name); err != nil {
		return err
	}
	x.BackS = time.Since(began).Seconds()
	r.rep.Restarts = append(r.rep.Restarts, x)
	r.rep.DrainMax = max(r.rep.DrainMax, x.DrainS)
	r.note("%s ended within %.2f s (%s) and was ready again within %.2f s", name, x.DrainS, x.Exit, x.BackS)
	return nil
}

// start brings everything up, the services last.
func (r *roll) start(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(r.dir, "logs"), 0o700); err != nil {
		return err
	}
	ports, err := freePorts(5+2*len(rolled), 21000+os.Getpid()%97*100)
	if err != nil {
		return err
	}
	r.natsURL, r.native, r.web = fmt.Sprintf("nats://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1]), fmt.Sprintf("127.0.0.1:%d", ports[2])
	if err := r.servers(ctx, ports[0]); err != nil {
		return err
	}
	if err := r.simulators(ctx); err != nil {
		return err
	}
	if out, err := r.hashpivot(ctx, "migrate"); err != nil {
		return fmt.Errorf("migrate: %w: %s", err, out)
	}
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.MaxBytes = r.natsURL, rollStreamBytes
	if r.bus, err = bus.Connect(cfg, nil, quietLog()); err != nil {
		return err
	}
	for i := range 2 {
		r.gates = append(r.gates, fmt.Sprintf("127.0.0.1:%d", ports[3+i]))
	}
	for i, service := range rolled {
		for k := range 2 {
			name := fmt.Sprintf("%s-%d", service, k+1)
			r.admin[name] = fmt.Sprintf("127.0.0.1:%d", ports[5+2*i+k])
			args := []string{"--config", r.config, service, "--set", "admin.addr=" + r.admin[name]}
			if service == "gateway" {
				args = append(args, "--set", "gateway.addr="+r.gates[k])
			}
			// A directory without data/: it must find nobody else's.
			p, err := r.spawn.run(r.ctx, spec{name: name, path: r.cfg.Binary, args: append(args, "--data-dir", filepath.Join(r.dir, "none")), again: true}, filepath.Join(r.dir, "logs"), r.note)
			if err != nil {
				return err
			}
			r.procs[name] = p
		}
	}
	for name := range r.procs {
		if err := r.ready(ctx, name); err != nil {
			return err
		}
	}
	err = r.poll(ctx, "the feeds to be connected and all to have landed", startWithin, func(ctx context.Context) error {
		out, err := r.sql(ctx, "SELECT countIf(state = 'connected'), count() FROM (SELECT source, argMax(state, (event_time, stream_time, stream_seq, idx)) AS state FROM feed_events GROUP BY source)")
		if err != nil {
			return err
		}
		if up, all, _ := strings.Cut(out, "\t"); all == "0" || up != all {
			return fmt.Errorf("%s feeds of %s are connected", up, all)
		}
		out, err = r.sql(ctx, "SELECT count() FROM trades WHERE recv_time > now() - 5")
		if err == nil && out == "0" {
			err = errors.New("no fresh print has landed")
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.caughtUp(ctx)
}

// caughtUp waits until what is stored lands at once, some times in a row: the first look at an upstream reads years of history.
func (r *roll) caughtUp(ctx context.Context) error {
	end := time.Now().Add(startWithin)
	for quick := 0; quick < 5; {
		began := time.Now()
		if err := r.landedAll(ctx); err != nil {
			return err
		}
		if quick++; time.Since(began) > 2*time.Second {
			quick = 0
		}
		if time.Now().After(end) {
			return fmt.Errorf("what is stored takes %s to land on this machine, without any restart", time.Since(began).Round(time.Millisecond))
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// rollStreamBytes bounds each stream.
const rollStreamBytes = 1 << 30

// servers are NATS, which syncs always, and the engine.
func (r *roll) servers(ctx context.Context, port int) error {
	conf := filepath.Join(r.dir, "nats.conf")
	text := fmt.Sprintf("server_name: rolling\nlisten: \"127.0.0.1:%d\"\nmax_payload: 1MB\njetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 1TB, sync_interval: always }\n", port, filepath.Join(r.dir, "nats"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	logs := filepath.Join(r.dir, "logs")
	sp, err := childSpec("nats", childConfig{Role: "nats", File: conf}, true)
	if err != nil {
		return err
	}
	if r.nats, err = r.spawn.run(r.ctx, sp, logs, r.note); err != nil {
		return err
	}
	sp, err = childSpec("engine", childConfig{Role: "engine", DataDir: filepath.Join(r.dir, "clickhouse"), Native: r.native, HTTP: r.web, MaxQueries: 64}, true)
	if err != nil {
		return err
	}
	if r.engine, err = r.spawn.run(r.ctx, sp, logs, r.note); err != nil {
		return err
	}
	return r.poll(ctx, "the engine", startWithin, func(ctx context.Context) error {
		_, err := r.sqlIn(ctx, "SELECT 1", "default")
		return err
	})
}

// simulators run, and their own words are the configuration of everything else.
func (r *roll) simulators(ctx context.Context) error {
	sp := spec{name: "sim", path: r.cfg.Binary, args: []string{"sim", "--set", fmt.Sprintf("sim.rate=%d", r.cfg.Rate), "--set", "sim.steady=true", "--log-level", "warn"}}
	p, err := r.spawn.run(r.ctx, sp, filepath.Join(r.dir, "logs"), r.note)
	if err != nil {
		return err
	}
	r.sim = p
	var text string
	err = r.poll(ctx, "the simulators", startWithin, func(context.Context) error {
		lines := lastLines(filepath.Join(r.dir, "logs", "sim.log"), 100)
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "# faults are ordered") })
		if at < 0 {
			return errors.New("they have not said where they are")
		}
		text = strings.Join(slices.DeleteFunc(lines[:at], func(l string) bool { return strings.HasPrefix(l, "----") }), "\n")
		return nil
	})
	if err != nil {
		return err
	}
	_, rest, ok := strings.Cut(text, "rest_url: ")
	if !ok {
		return fmt.Errorf("the simulators name no address of Alpaca's history: %.300s", text)
	}
	r.alpaca = rest[:strings.IndexAny(rest, ",}")]
	text += fmt.Sprintf("\nnats: {url: %q, max_bytes: %d}\nclickhouse: {addr: [%q], database: %s}\nnightly: {enabled: \"false\"}\nsignals: {calendar: always}\n", r.natsURL, rollStreamBytes, r.native, database)
	r.config = filepath.Join(r.dir, "hashpivot.yaml")
	return os.WriteFile(r.config, []byte(text), 0o600)
}

// hashpivot runs a command to its end and returns its standard output.
func (r *roll) hashpivot(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, r.cfg.Binary, append([]string{"--config", r.config, "--data-dir", filepath.Join(r.dir, "none")}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := r.spawn.start(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("hashpivot %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

func (r *roll) ready(ctx context.Context, name string) error {
	return r.poll(ctx, name+" to be ready", startWithin, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.admin[name]+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := r.http.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		return nil
	})
}

// poll tries until it succeeds.
func (r *roll) poll(ctx context.Context, what string, within time.Duration, try func(context.Context) error) error {
	return (&system{}).wait(ctx, what, within, try)
}

func (r *roll) sql(ctx context.Context, query string) (string, error) {
	return r.sqlIn(ctx, query, database)
}

func (r *roll) sqlIn(ctx context.Context, query, db string) (string, error) {
	var out strings.Builder
	err := r.rows(ctx, query, db, func(line string) error {
		out.WriteString(line + "\n")
		return nil
	})
	return strings.TrimSpace(out.String()), err
}

// rows calls each with every line of the answer, in TSV.
func (r *roll) rows(ctx context.Context, query, db string, each func(line string) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.web+"/?database="+url.QueryEscape(db), strings.NewReader(query))
	if err != nil {
		return err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
		return fmt.Errorf("%.100s: %s: %s", query, resp.Status, strings.TrimSpace(string(body)))
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if err := each(in.Text()); err != nil {
			return err
		}
	}
	return in.Err()
}

func (r *roll) close() {
	var all []*proc
	for _, p := range r.procs {
		all = append(all, p)
	}
	for _, p := range append(all, r.sim, r.engine, r.nats) { // what they need goes last
		if p != nil {
			p.stop()
			<-p.gone
		}
	}
	if r.bus != nil {
		r.bus.Close()
	}
	r.http.CloseIdleConnections()
}

// landedAll waits until everything that is stored now has landed.
func (r *roll) landedAll(ctx context.Context) error {
	ends := map[market.Stream]uint64{}
	for _, st := range market.Streams() {
		info, err := r.bus.Info(ctx, st)
		if err != nil {
			return err
		}
		ends[st] = info.LastSeq
	}
	return r.poll(ctx, "everything to land", time.Minute, func(ctx context.Context) error {
		for st, end := range ends {
			l, _, err := r.bus.Landing(ctx, st)
			if err != nil {
				return err
			}
			if end > 0 && l.First <= end {
				return fmt.Errorf("%s has landed up to %d of %d", st, l.First-1, end)
			}
		}
		return nil
	})
}
