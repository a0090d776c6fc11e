package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/nats-io/nats.go"
)

// TestSimulatedSystem runs everything as `make demo` does and looks at it with clients of other makers.
func TestSimulatedSystem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, nil, "up", "--sim", "--json", "--free-ports", "--data-dir", dir, "--set", "sim.rate=500")
	in := p.instance()

	tables := []string{"trades", "quotes", "bars", "btc_blocks", "btc_prices", "hashprice", "gpu_offers", "gpu_rates", "feed_events"}
	until(t, 60*time.Second, "rows in every table", func() bool {
		for _, table := range tables {
			if one(t, dir, "SELECT count() AS n FROM "+table) == "0" {
				return false
			}
		}
		return true
	})

	t.Run("generated data is marked", func(t *testing.T) {
		for _, table := range tables {
			if n := one(t, dir, "SELECT count() AS n FROM "+table+" WHERE source NOT LIKE 'sim-%'"); n != "0" {
				t.Errorf("%s: %s rows without the mark", table, n)
			}
		}
		if in.Database != "hashpivot_sim" {
			t.Errorf("database %s", in.Database)
		}
	})

	t.Run("clickhouse-go connects", func(t *testing.T) {
		conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{in.ClickHouse}, Auth: clickhouse.Auth{Database: in.Database}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		var n uint64
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM trades").Scan(&n); err != nil || n == 0 {
			t.Errorf("%d trades, %v", n, err)
		}
	})

	t.Run("ClickHouse over HTTP", func(t *testing.T) {
		until(t, time.Minute, "a print of IREN", func() bool { return one(t, dir, "SELECT count() AS n FROM trades WHERE symbol = 'IREN'") != "0" })
		resp, err := http.Post("http://"+in.ClickHouseHTTP+"/?database="+in.Database, "text/plain", strings.NewReader("SELECT symbol FROM trades GROUP BY symbol ORDER BY symbol FORMAT CSV"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || !bytes.Contains(body, []byte(`"IREN"`)) {
			t.Errorf("%d %s %v", resp.StatusCode, body, err)
		}
	})

	t.Run("any NATS client joins", func(t *testing.T) {
		nc, err := nats.Connect(in.NATS)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		sub, err := nc.SubscribeSync("md.v1.quote.*.*")
		if err != nil {
			t.Fatal(err)
		}
		m, err := sub.NextMsg(20 * time.Second)
		if err != nil || m.Header.Get("Hashpivot-Events") == "" || !strings.HasPrefix(m.Subject, "md.v1.quote.sim-") {
			t.Errorf("%+v %v", m, err)
		}
	})

	t.Run("tail", func(t *testing.T) {
		code, out, errs := run(t, 30*time.Second, "tail", "md.v1.quote.>", "-n", "2", "--data-dir", dir)
		if code != 0 {
			t.Fatalf("code %d %s", code, errs)
		}
		for l := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
			var m struct {
				Stream string
				Seq    uint64
				Batch  struct{ Source string }
			}
			if err := json.Unmarshal([]byte(l), &m); err != nil || m.Stream != "QUOTES" || m.Seq == 0 || !strings.HasPrefix(m.Batch.Source, "sim-") {
				t.Errorf("%s: %v", l, err)
			}
		}
	})

	t.Run("history on demand, files, the ledger", func(t *testing.T) {
		// What the service owes by itself, the command leaves to it.
		until(t, 2*time.Minute, "the service's own history", func() bool {
			code, out, _ := run(t, 20*time.Second, "gaps", "--state", "open", "--json", "--data-dir", dir)
			return code == 0 && strings.TrimSpace(out) == ""
		})
		code, out, errs := run(t, time.Minute, "backfill", "--from", "7m", "--symbols", "IREN", "--upstream", "sim-alpaca", "--json", "--data-dir", dir)
		var filled struct {
			Units, Done int
			Rows        uint64
		}
		if code != 0 || json.Unmarshal([]byte(out), &filled) != nil || filled.Rows == 0 || filled.Done != filled.Units {
			t.Errorf("backfill: code %d %s %s", code, out, errs)
		}
		file := filepath.Join(t.TempDir(), "prints.csv")
		if err := os.WriteFile(file, []byte("time,symbol,price,size,id,exchange\n2026-11-20T15:00:00Z,IREN,49.1,100,1,V\n2026-11-20T15:00:01Z,IREN,49.2,abc,2,V\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, published := range []int{1, 0} { // once, and not again
			code, out, errs = run(t, time.Minute, "import", file, "--source", "vendor-x", "--json", "--data-dir", dir)
			var res struct {
				Source    string
				Published int
			}
			if code != 0 || json.Unmarshal([]byte(out), &res) != nil || res.Published != published || res.Source != "sim-vendor-x" {
				t.Errorf("import: code %d %s %s", code, out, errs)
			}
		}
		until(t, 20*time.Second, "the imported print, the ledger's lines", func() bool {
			code, out, _ := run(t, 20*time.Second, "gaps", "--json", "--data-dir", dir)
			return code == 0 && strings.Contains(out, `"reason":"backfill"`) && strings.Contains(out, "import prints.csv") &&
				one(t, dir, "SELECT count() AS n FROM trades WHERE source = 'sim-vendor-x'") == "1"
		})
	})

	t.Run("status and health", func(t *testing.T) {
		// Beside other systems on the same cores a feed may read back for a while what it has published.
		until(t, 2*time.Minute, "every feed ready", func() bool {
			code, _, _ := run(t, 30*time.Second, "health", "http://"+in.Admin+"/readyz")
			return code == 0
		})
		type status struct {
			Mode    string
			Streams map[string]struct{ Rows uint64 }
			Feeds   []struct{ Source, State string }
			Landing []struct{ Stream string }
			// The process answers for itself over NATS.
			Processes []struct {
				Service string
				Ready   bool
			}
			Gateways struct{ Gateways int }
			Problems []any
			Disks    []struct{ Of string }
		}
		var st status
		defer func() {
			if t.Failed() {
				t.Logf("%d streams land, processes %+v, gateways %+v, problems %v, disks %v", len(st.Landing), st.Processes, st.Gateways, st.Problems, st.Disks)
			}
		}()
		// Nor is it ready at every moment there.
		until(t, 2*time.Minute, "a status of everything, without a problem", func() bool {
			code, out, errs := run(t, 30*time.Second, "status", "--json", "--data-dir", dir)
			st = status{}
			if err := json.Unmarshal([]byte(out), &st); err != nil || code != 0 {
				t.Fatalf("code %d %s %s %v", code, out, errs, err)
			}
			return len(st.Landing) >= 11 && len(st.Processes) == 1 && st.Processes[0].Service == "up" && st.Processes[0].Ready && st.Gateways.Gateways == 1 && len(st.Problems) == 0
		})
		if st.Mode != "sim" || st.Streams["TRADES"].Rows == 0 || len(st.Feeds) < 4 || len(st.Disks) == 0 {
			t.Errorf("%+v", st)
		}
		for _, f := range st.Feeds {
			if f.State != "connected" {
				t.Errorf("feed %s is %s", f.Source, f.State)
			}
		}
		if code, out, errs := run(t, 10*time.Second, "health", "http://"+in.Admin+"/readyz"); code != 0 || !strings.Contains(out, `"clickhouse":"ok"`) {
			t.Errorf("health: %d %s %s", code, out, errs)
		}
		// Ready means that data moves, by each source.
		if code, out, errs := run(t, 10*time.Second, "health", "http://"+in.Admin+"/readyz?verbose"); code != 0 || !strings.Contains(out, `"name":"feed sim-alpaca","status":"ok"`) ||
			!strings.Contains(out, "a sign of life") || !strings.Contains(out, `"name":"landing","status":"ok"`) {
			t.Errorf("health: %d %s %s", code, out, errs)
		}
	})

	t.Run("doctor", func(t *testing.T) {
		code, out, errs := run(t, 2*time.Minute, "doctor", "--json", "--within", "60s", "--data-dir", dir) // the notebooks' packages are slow to load beside other tests
		var rep struct {
			OK       bool
			Findings []struct{ Check, State, Detail, Fix string }
		}
		if err := json.Unmarshal([]byte(out), &rep); err != nil || code != 0 || !rep.OK {
			t.Fatalf("code %d %s %s %v", code, out, errs, err)
		}
		state := map[string]string{}
		for _, f := range rep.Findings {
			state[f.Check] = f.State
			if f.State == "skip" {
				t.Errorf("%+v: everything runs", f)
			}
		}
		for _, check := range []string{"configuration", "nats", "nats sync", "streams", "schema", "clickhouse grants", "deployment", "upstream sim-alpaca", "upstream sim-bitcoind"} {
			if state[check] != "ok" {
				t.Errorf("%s is %s", check, state[check])
			}
		}
	})

	t.Run("a killed engine comes back", func(t *testing.T) {
		pid := engineOf(t, in.PID)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		was := uint64(0)
		until(t, 30*time.Second, "new rows after the kill", func() bool {
			code, out, _ := run(t, 30*time.Second, "sql", "--json", "--data-dir", dir, "SELECT count() AS n FROM quotes")
			var row struct{ N json.Number }
			if code != 0 || json.Unmarshal([]byte(out), &row) != nil {
				return false // the engine is not up again yet
			}
			n, err := strconv.ParseUint(string(row.N), 10, 64)
			if err != nil {
				return false
			}
			if was == 0 {
				was = n
			}
			return n > was
		})
	})

	if code, out, errs := run(t, time.Minute, "audit", "--data-dir", dir); code != 0 {
		t.Errorf("audit: %d %s %s", code, out, errs)
	}

	t.Run("ends in good order", func(t *testing.T) {
		engine := engineOf(t, in.PID)
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.wait(10 * time.Second); code != 0 {
			t.Errorf("code %d\n%s", code, p.stderr.text())
		}
		if err := syscall.Kill(engine, 0); err == nil {
			t.Error("the engine outlived its parent")
		}
		// The commands work on the directory when nothing runs there.
		if code, out, errs := run(t, time.Minute, "audit", "--json", "--data-dir", dir); code != 0 || !strings.Contains(out, `"lost":0`) {
			t.Errorf("audit after the end: %d %s %s", code, out, errs)
		}
		if code, _, errs := run(t, time.Minute, "up", "--recorded", os.TempDir(), "--data-dir", dir, "--free-ports"); code != 2 || !strings.Contains(errs, "sim data") {
			t.Errorf("recordings into a simulated directory: %d %s", code, errs)
		}
	})
}

// engineOf finds the child of pid.
func engineOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	ids := strings.Fields(string(text))
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err == nil {
			ids = append(ids, strings.Fields(string(text))...)
		}
	}
	if len(ids) == 0 {
		t.Fatalf("process %d has no child", pid)
	}
	id, err := strconv.Atoi(ids[0])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestWhatTheOperatorMustMend: one clear line that names the fix, and code 2.
func TestWhatTheOperatorMustMend(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	taken := l.Addr().String()
	file := t.TempDir() + "/c.yaml"
	if err := os.WriteFile(file, []byte("lander:\n  max_rowz: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(want string, args ...string) {
		t.Helper()
		code, _, errs := run(t, time.Minute, args...)
		last := strings.TrimSpace(errs)
		if i := strings.LastIndexByte(last, '\n'); i >= 0 {
			last = last[i+1:]
		}
		if code != 2 || !strings.HasPrefix(last, "hashpivot: ") || !strings.Contains(last, want) {
			t.Errorf("hashpivot %s: code %d, %q; want code 2 and %q", strings.Join(args, " "), code, last, want)
		}
	}
	up := func(set ...string) []string {
		args := []string{"up", "--sim", "--free-ports", "--data-dir", t.TempDir()}
		for _, s := range set {
			args = append(args, "--set", s)
		}
		return args
	}
	f("lander.max_rowz; did you mean lander.max_rows?", "up", "-c", file)
	f("does not exist", "up", "-c", file+"x")
	f("nats.url", up("nats.url=http://x")...)
	f("gpurates.vast.url", "config", "--set", "gpurates.vast.url=console.vast.ai")
	f("log.level", up("log.level=loud")...)
	f("nats.addr", "up", "--sim", "--data-dir", t.TempDir(), "--set", "nats.addr="+taken, "--set", "clickhouse.native_addr=127.0.0.1:0", "--set", "clickhouse.http_addr=127.0.0.1:0")
	f(taken, "up", "--sim", "--data-dir", t.TempDir(), "--set", "nats.addr=127.0.0.1:0", "--set", "clickhouse.native_addr="+taken, "--set", "clickhouse.http_addr=127.0.0.1:0")
	f("--data-dir", "up", "--sim", "--free-ports", "--data-dir", "/proc/none")
	f("--recorded", "up", "--recorded", "/nonexistent", "--free-ports", "--data-dir", t.TempDir())
	f("--recorded", "up", "--until-drained")
	f("no hashpivot has run", "sql", "SELECT 1", "--data-dir", t.TempDir())
	f("needs servers", "lander", "--data-dir", t.TempDir())
	f("equities.alpaca.key", "equities", "--set", "nats.url=nats://127.0.0.1:1", "--data-dir", t.TempDir())
	f("no stream", "tail", "elsewhere.>")
	f("", "nosuchcommand")
}
