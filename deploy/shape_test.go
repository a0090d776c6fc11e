package deploy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// process is a running program of the stack.
type process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	done chan struct{}

	mu   sync.Mutex
	text strings.Builder
	line chan string // what it prints; dropped when nobody waits
}

// start starts a program with exactly this environment, in an empty directory of its own.
func start(t testing.TB, name string, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(path, args...), done: make(chan struct{}), line: make(chan string, 16)}
	p.cmd.Env, p.cmd.Dir = append([]string{}, env...), t.TempDir()
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var read sync.WaitGroup
	read.Go(func() {
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			p.mu.Lock()
			fmt.Fprintln(&p.text, sc.Text())
			p.mu.Unlock()
			select {
			case p.line <- sc.Text():
			default:
			}
		}
		_, _ = io.Copy(io.Discard, r)
	})
	go func() {
		_ = p.cmd.Wait()
		_ = w.Close()
		read.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, p.printed())
		}
		// The containers' roots are read-only: a program that writes beside itself would fail there.
		if left, err := os.ReadDir(p.cmd.Dir); err != nil || len(left) > 0 {
			t.Errorf("%s left %v in its working directory, %v", name, left, err)
		}
	})
	return p
}

func (p *process) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// first waits for a line that is JSON with all of the keys, and returns it.
func (p *process) first(keys ...string) map[string]string {
	p.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case line := <-p.line:
			var v map[string]any
			if json.Unmarshal([]byte(line), &v) != nil || slices.ContainsFunc(keys, func(k string) bool { return v[k] == nil }) {
				continue
			}
			out := map[string]string{}
			for k, x := range v {
				out[k] = fmt.Sprint(x)
			}
			return out
		case <-p.done:
			p.t.Fatalf("%s ended before it printed %v", p.name, keys)
		case <-late:
			p.t.Fatalf("%s did not print %v", p.name, keys)
		}
	}
}

// stop ends the program as docker stop does, which must be in good order and within the compose file's grace.
func (p *process) stop(within time.Duration) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("%s did not end within %s of SIGTERM", p.name, within)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("%s ended with %d", p.name, code)
	}
}

// until asks again and again until the answer is yes.
func until(t testing.TB, within time.Duration, what string, yes func() bool) {
	t.Helper()
	tick, late := time.NewTicker(200*time.Millisecond), time.After(within)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// startNATS runs the real nats-server with the deployed configuration, on free ports, and returns its host:port and its monitor's URL.
func startNATS(t testing.TB, env []string) (addr, monitor string) {
	t.Helper()
	dir := t.TempDir()
	server := filepath.Join(dir, "nats-server")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", server, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	for _, file := range []string{"nats.conf", "users.conf"} {
		conf := strings.Replace(read(t, "deploy/nats/"+file), "store_dir: /data", "store_dir: "+dir, 1)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, "nats", env, server, "-c", filepath.Join(dir, "nats.conf"), "-a", "127.0.0.1", "-p", "-1", "-m", "-1", "--ports_file_dir", dir)
	var ports struct{ NATS, Monitoring []string }
	until(t, 30*time.Second, "nats-server tells its ports", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "*.ports"))
		if len(files) == 0 {
			return false
		}
		text, err := os.ReadFile(files[0])
		return err == nil && json.Unmarshal(text, &ports) == nil && len(ports.NATS) > 0 && len(ports.Monitoring) > 0
	})
	return strings.TrimPrefix(ports.NATS[0], "nats://"), ports.Monitoring[0]
}

func get(t testing.TB, url string) (int, []byte) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// stack is the compose file's services with the addresses of this machine in place of the containers' names.
type stack struct {
	t         testing.TB
	c         compose
	passwords map[string]string
	where     *strings.Replacer
	sim       []string
}

func (s *stack) env(name string) []string {
	var out []string
	for _, kv := range environment(s.t, s.c.Services[name], s.passwords) {
		out = append(out, s.where.Replace(kv))
	}
	return append(out, s.sim...)
}

// service starts a service as its container does and waits until it is healthy.
func (s *stack) service(name string) *process {
	s.t.Helper()
	args := append(slices.Clone(s.c.Services[name].Command), "--json")
	p := start(s.t, name, s.env(name), binary(s.t), args...)
	admin := p.first("admin")["admin"]
	until(s.t, 30*time.Second, name+" is healthy", func() bool {
		_, code := run(s.t, nil, "health", "http://"+admin+"/readyz")
		return code == 0
	})
	if code, body := get(s.t, "http://"+admin+"/metrics"); code != 200 {
		s.t.Errorf("%s: metrics: %d %s", name, code, body)
	}
	return p
}

// ops runs an operator's command as docker compose run --rm ops does.
func (s *stack) ops(args ...string) (string, int) {
	s.t.Helper()
	return run(s.t, s.env("ops"), args...)
}

func (s *stack) rows(table string) string {
	s.t.Helper()
	out, code := s.ops("sql", "--json", "SELECT toString(count()) AS n FROM "+table)
	if code != 0 {
		s.t.Fatalf("count %s: %s", table, out)
	}
	return out[:strings.IndexByte(out, '\n')]
}

// clean waits until nothing is on its way any more, and wants the audit clean.
func (s *stack) clean() {
	s.t.Helper()
	until(s.t, 30*time.Second, "everything lands", func() bool {
		out, code := s.ops("status", "--json")
		if code != 0 {
			s.t.Fatal(out)
		}
		var st struct {
			Streams map[string]struct{ Behind uint64 }
		}
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			s.t.Fatal(err)
		}
		for _, x := range st.Streams {
			if x.Behind > 0 {
				return false
			}
		}
		return true
	})
	out, code := s.ops("audit", "--json")
	var res struct {
		Lost, Duplicates *uint64
		Streams          map[string]struct{ Published, Landed uint64 }
	}
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != 0 || res.Lost == nil || *res.Lost != 0 || *res.Duplicates != 0 {
		s.t.Errorf("audit: exit %d, %v: %s", code, err, out)
	}
	if tr := res.Streams["TRADES"]; tr.Published == 0 || tr.Landed == 0 {
		s.t.Errorf("audit of nothing: %s", out)
	}
}

// TestProductionShape runs every service of docker-compose.yml as a process of its own, with its own command and variables, against a real
// nats-server under the deployed configuration, a ClickHouse that asks for a password, and simulated upstreams.
func TestProductionShape(t *testing.T) {
	s := &stack{t: t, c: load(t), passwords: map[string]string{
		// What people's password makers make: nats.conf takes the first for a number, a comment and a variable.
		"NATS_MIGRATE_PASSWORD": "12e4", "NATS_LANDER_PASSWORD": "12e4 #x'y{z}", "NATS_OPS_PASSWORD": "@%k", "NATS_UP_PASSWORD": "1k", "CLICKHOUSE_MIGRATE_PASSWORD": "p=,&<ss>",
		// Keys that are not set switch nothing on: with invented ones a test once called on the vendors' own hosts.
		"MASSIVE_API_KEY": "", "FINNHUB_API_KEY": "",
	}}
	natsAddr, monitor := startNATS(t, environment(t, s.c.Services["nats"], s.passwords))
	ch := chembedtest.Start(t, func(c *chembed.Config) {
		c.Users = map[string]chembed.User{}
		for _, g := range store.Grants() {
			password := s.passwords["CLICKHOUSE_"+strings.ToUpper(g.User)+"_PASSWORD"]
			if password == "" {
				password = "for-clickhouse_" + g.User + "_password" // as environment fills it in
			}
			u := chembed.User{Password: password}
			if g.Profile != "" { // of the grants the embedded one has this
				u.ReadOnly = 2
			}
			c.Users[g.User] = u
		}
	})
	s.where = strings.NewReplacer("nats://nats:4222", "nats://"+natsAddr, "clickhouse:9000", ch.NativeAddr(), "0.0.0.0:9464", "127.0.0.1:0", "0.0.0.0:8080", "127.0.0.1:0")

	t.Run("NATS syncs always and asks for a password", func(t *testing.T) {
		_, body := get(t, monitor+"/jsz")
		if !bytes.Contains(body, []byte(`"sync_always": true`)) {
			t.Errorf("%s", body)
		}
		if code, body := get(t, monitor+"/healthz?js-enabled-only=true"); code != 200 {
			t.Errorf("the health check's page: %d %s", code, body)
		}
		env := slices.DeleteFunc(s.env("migrate"), func(kv string) bool { return strings.HasPrefix(kv, "HASHPIVOT_NATS__PASSWORD=") })
		out, code := run(t, append(env, "HASHPIVOT_NATS__PASSWORD=guess"), "audit")
		if code != 1 || !strings.Contains(out, "Authorization Violation") || strings.Contains(out, "guess") {
			t.Errorf("a wrong password: exit %d, %s", code, out)
		}
	})
	t.Run("equities without keys says so", func(t *testing.T) {
		env := slices.DeleteFunc(s.env("equities"), func(kv string) bool { return strings.HasPrefix(kv, "APCA_") })
		// Nothing but this machine is called, should it start after all.
		nowhere := "://127.0.0.1:9/"
		env = append(env, "HASHPIVOT_EQUITIES__ALPACA__STREAM_URL=ws"+nowhere, "HASHPIVOT_EQUITIES__ALPACA__REST_URL=http"+nowhere,
			"HASHPIVOT_EQUITIES__MASSIVE__STREAM_URL=ws"+nowhere, "HASHPIVOT_EQUITIES__MASSIVE__REST_URL=http"+nowhere,
			"HASHPIVOT_EQUITIES__FINNHUB__STREAM_URL=ws"+nowhere, "HASHPIVOT_EQUITIES__FINNHUB__REST_URL=http"+nowhere)
		if out, code := run(t, env, "equities"); code != 2 || !strings.Contains(out, "equities.alpaca.key") {
			t.Errorf("exit %d, %s", code, out)
		}
	})

	u := start(t, "simulators", []string{"HASHPIVOT_SIM__RATE=300"}, binary(t), "sim", "--json").first("AlpacaStream", "Vast")
	s.sim = []string{
		"HASHPIVOT_MODE=sim", "HASHPIVOT_EQUITIES__ALPACA__SOURCE=sim-alpaca", "HASHPIVOT_EQUITIES__CALENDAR=always", "HASHPIVOT_SIGNALS__CALENDAR=always",
		"HASHPIVOT_EQUITIES__ALPACA__STREAM_URL=" + u["AlpacaStream"], "HASHPIVOT_EQUITIES__ALPACA__REST_URL=" + u["AlpacaREST"],
		"HASHPIVOT_HASHPRICE__CALCULATOR__SOURCE=sim-hashpivot",
		"HASHPIVOT_HASHPRICE__MEMPOOL__SOURCE=sim-mempool", "HASHPIVOT_HASHPRICE__MEMPOOL__CALL_EVERY=1ms",
		"HASHPIVOT_HASHPRICE__MEMPOOL__STREAM_URL=" + u["MempoolWS"], "HASHPIVOT_HASHPRICE__MEMPOOL__REST_URL=" + u["MempoolREST"],
		"HASHPIVOT_HASHPRICE__COINBASE__SOURCE=sim-coinbase", "HASHPIVOT_HASHPRICE__COINBASE__CALL_EVERY=1ms",
		"HASHPIVOT_HASHPRICE__COINBASE__STREAM_URL=" + u["CoinbaseWS"], "HASHPIVOT_HASHPRICE__COINBASE__REST_URL=" + u["CoinbaseREST"],
		"HASHPIVOT_HASHPRICE__KRAKEN__SOURCE=sim-kraken", "HASHPIVOT_HASHPRICE__KRAKEN__STREAM_URL=" + u["KrakenWS"],
		"HASHPIVOT_HASHPRICE__BRAIINS__SOURCE=sim-braiins", "HASHPIVOT_HASHPRICE__BRAIINS__URL=" + u["BraiinsREST"],
		"HASHPIVOT_HASHPRICE__COINMETRICS__SOURCE=sim-coinmetrics", "HASHPIVOT_HASHPRICE__COINMETRICS__URL=" + u["CoinMetricsREST"],
		"HASHPIVOT_GPURATES__VAST__SOURCE=sim-vast", "HASHPIVOT_GPURATES__VAST__URL=" + u["Vast"], "HASHPIVOT_GPURATES__VAST__METRICS_CALL_EVERY=1ms",
		"HASHPIVOT_GPURATES__RUNPOD__SOURCE=sim-runpod", "HASHPIVOT_GPURATES__RUNPOD__URL=" + u["RunPodGraphQL"],
		"HASHPIVOT_GPURATES__AKASH__SOURCE=sim-akash", "HASHPIVOT_GPURATES__AKASH__URL=" + u["Akash"],
		"HASHPIVOT_GPURATES__AZURE__SOURCE=sim-azure", "HASHPIVOT_GPURATES__AZURE__URL=" + u["Azure"], "HASHPIVOT_GPURATES__INDEX__SOURCE=sim-hashpivot",
	}
	if out, code := run(t, s.env("migrate"), s.c.Services["migrate"].Command...); code != 0 {
		t.Fatalf("migrate: exit %d, %s", code, out)
	}
	grace, err := time.ParseDuration(s.c.Services["lander"].Grace)
	if err != nil {
		t.Fatal(err)
	}

	lander := s.service("lander")
	feeds := map[string]*process{}
	for _, name := range []string{"hashprice", "gpurates", "equities", "signals", "audit"} {
		feeds[name] = s.service(name)
	}
	for _, table := range []string{"trades", "quotes", "hashprice", "btc_prices", "gpu_offers", "gpu_rates"} {
		until(t, time.Minute, "rows in "+table, func() bool { return s.rows(table) != `{"n":"0"}` })
	}
	// The gateway beside them serves what has landed.
	gate := s.service("gateway")
	addr := gate.first("addr")["addr"]
	until(t, time.Minute, "history over HTTP", func() bool {
		code, body := get(t, "http://"+addr+"/v1/history?channel=trades&symbols=*&from=TRADES:0&limit=1")
		return code == 200 && bytes.Contains(body, []byte(`"cursor":"TRADES:`))
	})
	gate.stop(grace)
	// The lander is killed and restarted, as its container would be; nothing is lost or doubled.
	_ = lander.cmd.Process.Kill()
	<-lander.done
	lander = s.service("lander")
	before := s.rows("trades")
	until(t, time.Minute, "the next lander goes on", func() bool { return s.rows("trades") != before })
	for _, name := range slices.Sorted(maps.Keys(feeds)) {
		feeds[name].stop(grace)
	}
	s.clean()
	lander.stop(grace)

	// The service sim is all of it in one process, with the same servers.
	before = s.rows("trades")
	s.sim = nil
	s.passwords["MODE"] = "sim"
	all := s.service("sim")
	until(t, time.Minute, "the service sim lands trades", func() bool { return s.rows("trades") != before })
	all.stop(grace)
	if out, code := s.ops("audit"); code != 0 {
		t.Errorf("audit: exit %d, %s", code, out)
	}
}
