package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/client"
	"github.com/hashpivot/hashpivot/pkg/live"
)

// TestDashboards runs everything and looks at it as dashboards do: the page in a real Chromium, the clients' examples, and gateways that are killed.
func TestDashboards(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs Chromium, npm's and Python's packages, and a minute")
	}
	dir := t.TempDir()
	p := start(t, nil, "up", "--sim", "--json", "--free-ports", "--data-dir", dir, "--set", "sim.rate=300")
	in := p.instance()
	url := "ws://" + in.Gateway + "/v1/ws"
	until(t, 60*time.Second, "a pivot by day", func() bool {
		return one(t, dir, "SELECT count() AS n FROM signals WHERE name = 'pivot-premium-1d'") != "0"
	})

	t.Run("the page in Chromium", func(t *testing.T) {
		browser := os.Getenv("CHROMIUM")
		if browser == "" {
			browser = "/usr/bin/chromium"
		}
		if _, err := os.Stat(browser); err != nil {
			t.Skipf("no Chromium: %v; make chromium installs Debian's, CHROMIUM names another", err)
		}
		command(t, 6*time.Minute, "browser", []string{
			"BASE_URL=http://" + in.Gateway, "CLICKHOUSE_URL=http://" + in.ClickHouseHTTP + "/?database=" + in.Database, "CHROMIUM=" + browser,
		}, "npm", "test", "--silent")
	})

	t.Run("the example of the TypeScript client", func(t *testing.T) {
		example(t, "../services/gateway/web/client/README.md", "js", "../services/gateway/web/client", "example.mjs", url, "node")
	})
	t.Run("the example of the Python client", func(t *testing.T) {
		example(t, "../research/hashpivot_live/README.md", "python", "../research/hashpivot_live", "example.py", url, "../../.cache/venv/bin/python")
	})
	t.Run("gateways are killed", func(t *testing.T) { killedGateways(t, dir) })
}

// command runs a test program of another language to its end.
func command(t *testing.T, within time.Duration, dir string, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(os.Environ(), env...), 5*time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		for l := range strings.Lines(string(out)) { // one by one, so that they are seen where only first lines are
			if strings.Contains(l, "not ok") || strings.Contains(l, "error:") {
				t.Errorf("%s", strings.TrimSpace(l))
			}
		}
		t.Errorf("%s %v: %v", name, args, err)
	}
}

// example runs the first block of a language in a README as it stands there, but for the address, until it prints a line.
func example(t *testing.T, readme, language, dir, file, url, interpreter string) {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(text), "```"+language+"\n")
	block, _, end := strings.Cut(block, "```")
	if !ok || !end {
		t.Fatalf("%s has no example in %s", readme, language)
	}
	block = strings.ReplaceAll(block, "ws://127.0.0.1:8080/v1/ws", url)
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Remove(path) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, file)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(os.Environ(), "HASHPIVOT_URL="+url, "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=src"), 5*time.Second
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, rerr := out.Read(buf)
	cancel()
	_ = cmd.Wait()
	if n == 0 {
		t.Fatalf("the example printed nothing: %v\n%s", rerr, said.String())
	}
	t.Logf("%s", buf[:n])
}

// fleet is some gateways of which one after the other is killed.
type fleet struct {
	t   *testing.T
	dir string

	mu    sync.Mutex
	addrs []string
	procs []*proc
}

func (f *fleet) start(i int) {
	p := start(f.t, nil, "--data-dir", f.dir, "--json", "--set", "mode=sim", "--set", "gateway.addr=127.0.0.1:0", "gateway")
	var line struct{ Msg, Addr string }
	until(f.t, time.Minute, "a gateway listens", func() bool {
		for l := range strings.Lines(p.stderr.text()) {
			if json.Unmarshal([]byte(l), &line) == nil && line.Msg == "the gateway listens" {
				return true
			}
		}
		return false
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addrs[i], f.procs[i] = line.Addr, p
}

func (f *fleet) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	f.mu.Lock()
	addr := f.addrs[rand.IntN(len(f.addrs))]
	f.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// killedGateways holds that clients receive exactly the rows of the table, in order, while one gateway after the other is killed.
func killedGateways(t *testing.T, dir string) {
	f := &fleet{t: t, dir: dir, addrs: make([]string, 2), procs: make([]*proc, 2)}
	for i := range f.addrs {
		f.start(i)
	}
	type row struct{ seq, idx uint64 }
	got := make([][]row, 4)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	enough := make(chan struct{})
	var received atomic.Int64
	var reading sync.WaitGroup
	for i := range got {
		reading.Go(func() {
			cfg := client.Config{URL: "ws://127.0.0.1/v1/ws", NetDial: f.dial, FirstWait: 20 * time.Millisecond, MaxWait: 200 * time.Millisecond}
			c, err := client.Dial(ctx, cfg)
			for err != nil && ctx.Err() == nil { // the gateway was killed just now
				c, err = client.Dial(ctx, cfg)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			defer c.Close()
			sub, err := c.Subscribe(ctx, client.Spec{Channel: live.Trades, Symbols: []string{"*"}, From: fmt.Sprintf("TRADES:%d", rand.IntN(50))})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			for msg, err := range sub.Messages(ctx) {
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				got[i] = append(got[i], row{msg.Place.Seq, uint64(msg.Place.Idx)})
				received.Add(1)
				select {
				case <-enough:
					if len(got[i]) > 500 {
						return
					}
				default:
				}
			}
		})
	}
	for i := range 4 {
		before := received.Load()
		until(t, time.Minute, "messages", func() bool { return received.Load() > before+200 })
		f.procs[i%2].kill()
		f.start(i % 2)
	}
	close(enough)
	reading.Wait()
	last := uint64(0)
	for _, rows := range got {
		if len(rows) > 0 {
			last = max(last, rows[len(rows)-1].seq)
		}
	}
	until(t, 30*time.Second, "what was received has landed", func() bool {
		return one(t, dir, fmt.Sprintf("SELECT toString(max(stream_seq) > %d) AS n FROM trades", last)) == "1"
	})
	for i, rows := range got {
		if len(rows) == 0 {
			t.Errorf("client %d got nothing", i)
			continue
		}
		for k := 1; k < len(rows); k++ {
			if rows[k].seq < rows[k-1].seq || rows[k].seq == rows[k-1].seq && rows[k].idx <= rows[k-1].idx {
				t.Fatalf("client %d: %v comes behind %v", i, rows[k], rows[k-1])
			}
		}
		first, end := rows[0], rows[len(rows)-1]
		n := one(t, dir, fmt.Sprintf("SELECT count() AS n FROM trades WHERE (stream_seq, idx) >= (%d, %d) AND (stream_seq, idx) <= (%d, %d)", first.seq, first.idx, end.seq, end.idx))
		if n != fmt.Sprint(len(rows)) {
			t.Errorf("client %d received %d messages from %v to %v, the table has %s", i, len(rows), first, end, n)
		}
	}
}
