//go:build linux

package chaos

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// nodes of the NATS cluster.
const nodes = 3

// startWithin is how long a part may take to be up on a machine that has much else to do.
const startWithin = 3 * time.Minute

const database = "hashpivot_sim"

// system is what is under test: every part a process of its own, every connection through a proxy, and a way around the proxies for us.
type system struct {
	cfg     Config
	dir     string
	spawn   *spawner
	wires   *wires
	nats    []*proc
	engine  *proc
	landers []*proc
	load    *proc
	procCtx context.Context //nolint:containedctx // the processes' life, which is the run's and not a call's

	natsURL []string // direct
	natsWeb []string
	native  string
	web     string
	mounted bool // the last node's store and the engine's data are on small file systems
	nc      *nats.Conn
	js      jetstream.JetStream
	bus     *bus.Bus
	client  http.Client
	after   func() // when no process runs any more
}

func nodeName(i int) string   { return fmt.Sprintf("nats-%d", i+1) }
func landerName(i int) string { return fmt.Sprintf("lander-%d", i+1) }

const (
	engineName = "engine"
	loadName   = "load"
)

func (s *system) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// start brings everything up, the landers and the load last.
func (s *system) start(ctx context.Context) error {
	for _, d := range []string{"logs", "told", "engine", "nats-1", "nats-2", "nats-3"} {
		if err := os.MkdirAll(s.path(d), 0o700); err != nil {
			return err
		}
	}
	if s.cfg.Mounts {
		if err := s.mount(); err != nil {
			return err
		}
	}
	ports, err := freePorts(3*nodes+2, 20000+int(s.cfg.Seed%97)*100)
	if err != nil {
		return err
	}
	if err := s.startNATS(ports[:3*nodes]); err != nil {
		return err
	}
	if err := s.startEngine(s.path(engineName, "data"), ports[3*nodes], ports[3*nodes+1]); err != nil {
		return err
	}
	return s.ready(ctx)
}

// ready waits for the servers, prepares them, and starts what works with them.
func (s *system) ready(ctx context.Context) error {
	if err := s.wait(ctx, "the NATS cluster", startWithin, s.natsReady); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.wait(ctx, "the engine", startWithin, func(ctx context.Context) error {
		_, err := s.sql(ctx, "SELECT 1", "default")
		return err
	}); err != nil {
		return err
	}
	if out, err := s.hashpivot(ctx, "migrate"); err != nil {
		return fmt.Errorf("migrate: %w: %s", err, out)
	}
	return s.startClients()
}

func (s *system) startNATS(ports []int) error {
	var addr, route [nodes]string
	s.natsURL, s.natsWeb = make([]string, nodes), make([]string, nodes)
	for i := range nodes {
		addr[i] = fmt.Sprintf("127.0.0.1:%d", ports[3*i])
		s.natsWeb[i] = fmt.Sprintf("127.0.0.1:%d", ports[3*i+1])
		route[i] = fmt.Sprintf("127.0.0.1:%d", ports[3*i+2])
		s.natsURL[i] = "nats://" + addr[i]
	}
	for i := range nodes {
		var routes []string
		for j := range nodes {
			if i != j {
				at, err := s.wires.lay(nodeName(i), nodeName(j), route[j])
				if err != nil {
					return err
				}
				routes = append(routes, "nats-route://"+at)
			}
		}
		// Nothing is advertised, so that nobody finds a way around the proxies. Pings are as often as the faults are.
		text := fmt.Sprintf(`
server_name: %s
listen: %q
http: %q
max_payload: 1MB
ping_interval: "5s"
ping_max: 2
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 1TB, sync_interval: %s }
cluster { name: chaos, listen: %q, advertise: "127.0.0.1:1", no_advertise: true, ping_interval: "5s", routes: [%s] }
`, nodeName(i), addr[i], s.natsWeb[i], s.path(nodeName(i)), s.cfg.Sync, route[i], strings.Join(routes, ", "))
		file := s.path(nodeName(i) + ".conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		sp, err := childSpec(nodeName(i), childConfig{Role: "nats", File: file}, true)
		if err == nil {
			err = s.withClock(&sp)
		}
		if err != nil {
			return err
		}
		p, err := s.spawn.run(s.procCtx, sp, s.path("logs"), s.cfg.note)
		if err != nil {
			return err
		}
		s.nats = append(s.nats, p)
	}
	return nil
}

// withClock gives a process a clock that can be stepped, where the run has such.
func (s *system) withClock(sp *spec) error {
	if s.cfg.Clock == "" {
		return nil
	}
	file, err := s.clockFile(sp.name)
	if err != nil {
		return err
	}
	if sp.path != s.cfg.Binary {
		sp.path = filepath.Join(s.cfg.Clock, "chaos")
	}
	sp.env = append(sp.env, clockEnv+"="+file)
	return nil
}

// maxQueries is little enough to be used up.
const maxQueries = 16

func (s *system) startEngine(dir string, native, web int) error {
	s.native, s.web = fmt.Sprintf("127.0.0.1:%d", native), fmt.Sprintf("127.0.0.1:%d", web)
	sp, err := childSpec(engineName, childConfig{
		Role: "engine", DataDir: dir, Native: s.native, HTTP: s.web, MaxQueries: maxQueries,
	}, true)
	if err != nil {
		return err
	}
	s.engine, err = s.spawn.run(s.procCtx, sp, s.path("logs"), s.cfg.note)
	return err
}

// startClients starts what goes through the proxies.
func (s *system) startClients() error {
	natsOf := func(who string) (string, error) {
		var urls []string
		for i := range s.natsURL {
			at, err := s.wires.lay(who, nodeName(i), strings.TrimPrefix(s.natsURL[i], "nats://"))
			if err != nil {
				return "", err
			}
			urls = append(urls, "nats://"+at)
		}
		return strings.Join(urls, ","), nil
	}
	for i := range s.cfg.Landers {
		urls, err := natsOf(landerName(i))
		if err != nil {
			return err
		}
		engine, err := s.wires.lay(landerName(i), engineName, s.native)
		if err != nil {
			return err
		}
		args := append([]string{"lander", "--set", "admin.addr=127.0.0.1:0"}, s.settings(urls, engine)...)
		args = append(args, "--set", "clickhouse.read_timeout="+s.cfg.ReadTimeout.String(), "--set", "lander.min_interval=20ms", "--set", "lander.max_rows=3000")
		for _, set := range s.cfg.LanderSet {
			args = append(args, "--set", set)
		}
		sp := spec{name: landerName(i), path: s.cfg.Binary, args: args, again: true}
		if err := s.withClock(&sp); err != nil {
			return err
		}
		p, err := s.spawn.run(s.procCtx, sp, s.path("logs"), s.cfg.note)
		if err != nil {
			return err
		}
		s.landers = append(s.landers, p)
	}
	urls, err := natsOf(loadName)
	if err != nil {
		return err
	}
	sp, err := childSpec(loadName, childConfig{Role: "load", Load: &loadConfig{NATS: urls, Dir: s.path("told"), Rate: s.cfg.Rate, Replicas: len(s.natsURL)}}, true)
	if err != nil {
		return err
	}
	s.load, err = s.spawn.run(s.procCtx, sp, s.path("logs"), s.cfg.note)
	return err
}

// settings point a hashpivot at the servers.
func (s *system) settings(natsURL, engine string) []string {
	var out []string
	for _, kv := range []string{
		"mode=sim", "nats.url=" + natsURL, fmt.Sprintf("nats.replicas=%d", len(s.natsURL)), fmt.Sprintf("nats.max_bytes=%d", int64(streamBytes)), "clickhouse.addr=" + engine,
	} {
		out = append(out, "--set", kv)
	}
	if s.cfg.Shards > 0 {
		out = append(out, "--set", fmt.Sprintf("nats.shards.%s=%d", market.Trades, s.cfg.Shards))
	}
	return out
}

// hashpivot runs a command of the operator's, around the proxies, and returns its standard output.
func (s *system) hashpivot(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.cfg.Binary, append(args, s.settings(strings.Join(s.natsURL, ","), s.native)...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := s.spawn.start(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("hashpivot %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// connect makes our own connections, around the proxies, and declares the streams.
func (s *system) connect(ctx context.Context) error {
	var err error
	urls := strings.Join(s.natsURL, ",")
	if s.nc, err = nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(200*time.Millisecond), nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2)); err != nil {
		return err
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		return err
	}
	cfg := bus.DefaultConfig()
	cfg.URL, cfg.Replicas, cfg.MaxBytes = urls, len(s.natsURL), streamBytes
	if s.cfg.Shards > 0 {
		cfg.Shards = map[market.Stream]int{market.Trades: s.cfg.Shards}
	}
	if s.bus, err = bus.Connect(cfg, nil, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	return s.wait(ctx, "the streams to be declared", startWithin, func(ctx context.Context) error { return s.bus.Ensure(ctx) })
}

// natsReady is nil when every node says that all it keeps is current.
func (s *system) natsReady(ctx context.Context) error {
	for i, addr := range s.natsWeb {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		body, status, err := s.get(ctx, "http://"+addr+"/healthz")
		cancel()
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("%s: %s", nodeName(i), body)
		}
	}
	return nil
}

// inSync is nil when every replica of every stream has all that its leader has, but for what is under way at most.
func (s *system) inSync(underWay uint64) func(context.Context) error {
	return func(ctx context.Context) error {
		for name := range s.streams() {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			st, err := s.js.Stream(ctx, name)
			cancel()
			if err != nil {
				return fmt.Errorf("ask for %s: %w", name, err)
			}
			c := st.CachedInfo().Cluster
			if c == nil || c.Leader == "" || len(c.Replicas) != nodes-1 {
				return fmt.Errorf("%s has no leader or not all replicas", name)
			}
			for _, r := range c.Replicas {
				if !r.Current || r.Offline || r.Lag > underWay {
					return fmt.Errorf("%s: replica %s is %d behind (current %t, offline %t)", name, r.Name, r.Lag, r.Current, r.Offline)
				}
			}
		}
		return nil
	}
}

// streams are ours and the records' bucket.
func (s *system) streams() map[string]bool {
	out := map[string]bool{"KV_hashpivot": true}
	for _, st := range market.Streams() {
		out[string(st)] = true
	}
	return out
}

// leader of a stream, as an index into nats; -1 if it has none.
func (s *system) leader(ctx context.Context, stream string) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	st, err := s.js.Stream(ctx, stream)
	if err != nil || st.CachedInfo().Cluster == nil {
		return -1
	}
	for i := range nodes {
		if nodeName(i) == st.CachedInfo().Cluster.Leader {
			return i
		}
	}
	return -1
}

func (s *system) get(ctx context.Context, url string) (string, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return strings.TrimSpace(string(body)), resp.StatusCode, err
}

// sql runs a statement around the proxies and returns its answer as text.
func (s *system) sql(ctx context.Context, query, db string) (string, error) {
	var out strings.Builder
	err := s.rows(ctx, query, db, func(line string) error {
		out.WriteString(line + "\n")
		return nil
	})
	return strings.TrimSpace(out.String()), err
}

// rows calls each with every line of the answer, in TSV.
func (s *system) rows(ctx context.Context, query, db string, each func(line string) error) error {
	u := "http://" + s.web + "/?database=" + url.QueryEscape(db)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u, strings.NewReader(query))
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 2048))
		return fmt.Errorf("%s: %s: %s", query, resp.Status, strings.TrimSpace(string(body)))
	}
	// No bufio.Scanner: of an answer that is cut short it gives the last line as far as it came.
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadString('\n')
		switch {
		case err == io.EOF && line == "":
			return nil
		case err != nil:
			return fmt.Errorf("%s: the answer ends in a line: %w", query, err)
		}
		if err := each(strings.TrimSuffix(line, "\n")); err != nil {
			return err
		}
	}
}

// wait tries until it succeeds.
func (s *system) wait(ctx context.Context, what string, within time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: not within %s: %w", what, within, last)
		}
	}
}

// lastSeqs are the streams' ends as they are now.
func (s *system) lastSeqs(ctx context.Context) (map[string]uint64, error) {
	out := map[string]uint64{}
	for _, st := range market.Streams() {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		info, err := s.bus.Info(ctx, st)
		cancel()
		if err != nil {
			return nil, err
		}
		out[string(st)] = info.LastSeq
	}
	return out, nil
}

// landedTo is nil when all of it is in the records' past or present range.
func (s *system) landedTo(ctx context.Context, ends map[string]uint64) error {
	for _, st := range market.Streams() {
		end := ends[string(st)]
		if end == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		l, ok, err := s.bus.Landing(ctx, st)
		cancel()
		if err != nil {
			return err
		}
		if !ok || l.Last < end {
			return fmt.Errorf("%s ends at %d, landed up to %d", st, end, l.Last)
		}
	}
	return nil
}

// audit is what hashpivot audit says.
type audit struct {
	Streams map[market.Stream]struct {
		Published uint64 `json:"published"`
		Landed    uint64 `json:"landed"`
		Dead      uint64 `json:"dead"`
		Pending   uint64 `json:"pending"`
	} `json:"streams"`
	Lost       uint64 `json:"lost"`
	Duplicates uint64 `json:"duplicates"`
	Altered    uint64 `json:"altered"`
}

func (s *system) audit(ctx context.Context) (a audit, err error) {
	out, err := s.hashpivot(ctx, "audit", "--json")
	if out == "" && err != nil {
		return a, err
	}
	if jerr := json.Unmarshal([]byte(out), &a); jerr != nil {
		return a, errors.Join(err, fmt.Errorf("read the audit: %w: %s", jerr, out))
	}
	for st, b := range a.Streams {
		if b.Pending > 0 {
			return a, fmt.Errorf("audit: %d events of %s are pending", b.Pending, st)
		}
	}
	return a, nil
}

func (s *system) procs() []*proc {
	var out []*proc
	for _, p := range slices.Concat(s.nats, []*proc{s.engine, s.load}, s.landers) {
		if p != nil {
			out = append(out, p)
		}
	}
	return out
}

// named finds a process.
func (s *system) named(name string) *proc {
	for _, p := range s.procs() {
		if p.name == name {
			return p
		}
	}
	return nil
}

func (s *system) close() {
	for _, p := range s.procs() {
		p.stop()
	}
	for _, p := range s.procs() {
		<-p.gone
	}
	if s.bus != nil {
		s.bus.Close()
	}
	if s.nc != nil {
		s.nc.Close()
	}
	s.wires.close()
	if s.after != nil {
		s.after()
	}
}
