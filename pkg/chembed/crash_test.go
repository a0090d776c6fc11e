package chembed_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// killEngine kills the engine as the kernel's out-of-memory killer would.
func killEngine(t testing.TB, srv *chembed.Server) {
	t.Helper()
	if err := syscall.Kill(srv.Pid(), syscall.SIGKILL); err != nil {
		t.Fatalf("kill engine: %v", err)
	}
}

// retry does what a client does about errors that may pass.
func retry(t testing.TB, ctx context.Context, f func() error) {
	t.Helper()
	for {
		err := f()
		if err == nil {
			return
		}
		var ex *clickhouse.Exception
		if errors.As(err, &ex) && ex.Code != 210 {
			t.Fatalf("not an error to retry: %v", err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still failing: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// alive says whether a process exists and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// eventually polls for something that another process does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Killed between the token of an insert and its rows (a soak of 86 kills lost an acknowledged insert once, by this as far as can be told), the engine takes the repetition for one. It is made so here by what such a death leaves: an
// entry of the log whose part is not there. Entries whose parts are there, or were merged, keep their tokens.
func TestTokenOfAnInsertCutOffIsFree(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// with starts an engine over the directory, and kills it when f is done.
	with := func(f func(conn driver.Conn)) {
		t.Helper()
		srv := chembedtest.Start(t, func(c *chembed.Config) { c.DataDir = dir })
		conn := open(t, srv)
		f(conn)
		_ = conn.Close()
		killEngine(t, srv)
		if err := srv.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	insert := func(conn driver.Conn, token string, from int) {
		t.Helper()
		retry(t, ctx, func() error { return insertToken(ctx, conn, token, from, from+10) })
	}
	var cut string
	with(func(conn driver.Conn) {
		mustExec(t, conn, dedupTable)
		mustExec(t, conn, "SYSTEM STOP MERGES d")
		for i, token := range []string{"a", "b", "c"} {
			insert(conn, token, 10*i)
		}
		if err := conn.QueryRow(ctx, "SELECT argMax(path, max_block_number) FROM system.parts WHERE table = 'd' AND active").Scan(&cut); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.RemoveAll(cut); err != nil {
		t.Fatal(err)
	}
	with(func(conn driver.Conn) {
		for _, x := range []struct {
			token string
			from  int
			want  uint64
		}{{"a", 0, 20}, {"b", 10, 20}, {"c", 20, 30}, {"c", 20, 30}} {
			insert(conn, x.token, x.from)
			if n := count(t, conn, "d"); n != x.want {
				t.Errorf("token %s again: %d rows, want %d", x.token, n, x.want)
			}
		}
		mustExec(t, conn, "OPTIMIZE TABLE d FINAL")
	})
	with(func(conn driver.Conn) {
		insert(conn, "c", 20)
		if n := count(t, conn, "d"); n != 30 {
			t.Errorf("the token of a part that was merged: %d rows, want 30", n)
		}
	})
}

// Killed in the middle of a query and of an insert, the engine comes back on the
// same ports; the clients see errors and no hang, the table no half insert.
func TestEngineKilled(t *testing.T) {
	srv := chembedtest.Start(t)
	conn := open(t, srv)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	mustExec(t, conn, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	mustExec(t, conn, "INSERT INTO t SELECT number FROM numbers(1000)")
	mustExec(t, conn, dedupTable)
	if err := insertToken(ctx, conn, "a", 0, 1000); err != nil {
		t.Fatal(err)
	}
	addr, pid := srv.NativeAddr(), srv.Pid()

	b, err := conn.PrepareBatch(ctx, "INSERT INTO t (a)")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if err := b.Append(uint64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(ctx, "SELECT sleepEachRow(0.001), number FROM numbers(1000000) SETTINGS max_block_size = 10")
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		t.Fatalf("no row: %v", rows.Err())
	}
	killEngine(t, srv)
	for rows.Next() {
	}
	if rows.Err() == nil {
		t.Error("the query ended well though its engine was killed")
	}
	_ = rows.Close()
	if err := b.Send(); err == nil {
		t.Error("the insert ended well though its engine was killed")
	}
	retry(t, ctx, func() error { return conn.Ping(ctx) })
	if n := count(t, conn, "t"); n != 1000 {
		t.Errorf("%d rows, want the 1000 of before", n)
	}
	mustExec(t, conn, "INSERT INTO t SELECT number FROM numbers(10)")
	// The tokens are remembered by the table's files: an engine killed between two attempts drops the second one.
	for token, rows := range map[string]int{"a": 1000, "b": 500} {
		if err := insertToken(ctx, conn, token, 0, rows); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, conn, "d"); n != 1500 {
		t.Errorf("%d rows under two tokens, want 1500", n)
	}
	if srv.NativeAddr() != addr || srv.Pid() == pid || srv.Restarts() != 1 || alive(pid) {
		t.Errorf("address %s, pid %d, restarts %d", srv.NativeAddr(), srv.Pid(), srv.Restarts())
	}
}

// A client that goes away in the middle of its insert inserts nothing.
func TestClientVanishesInInsert(t *testing.T) {
	srv, db := shared(t)
	ctx := context.Background()
	watch := open(t, srv, in(db))
	mustExec(t, watch, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	for _, flush := range []bool{true, false} {
		var raw net.Conn
		conn := open(t, srv, in(db), func(o *clickhouse.Options) {
			o.DialContext = func(ctx context.Context, addr string) (net.Conn, error) {
				var d net.Dialer
				c, err := d.DialContext(ctx, "tcp", addr)
				raw = c
				return c, err
			}
		})
		b, err := conn.PrepareBatch(ctx, "INSERT INTO t (a)")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100_000 {
			if err := b.Append(uint64(i)); err != nil {
				t.Fatal(err)
			}
		}
		if flush {
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		_ = raw.Close()
		_ = b.Abort()
	}
	// By HTTP: a body that ends before its promised length.
	raw, err := net.Dial("tcp", srv.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(raw, "POST /?query=INSERT+INTO+t+FORMAT+CSV&database=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n1\n2\n3\n", db)
	_ = raw.Close()
	eventually(t, "all inserts to have ended", func() bool {
		var n uint64
		if err := watch.QueryRow(ctx, "SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
	if n := count(t, watch, "t"); n != 0 {
		t.Errorf("%d rows of clients that went away", n)
	}
}

// helperEnv makes this test binary a program that runs a server and waits.
const helperEnv = "CHEMBED_TEST_HELPER_DIR"

// TestHelperProcess is not a test: TestOrphan runs it as a program.
func TestHelperProcess(t *testing.T) {
	dir := os.Getenv(helperEnv)
	if dir == "" {
		return
	}
	cfg := chembedtest.Config(t)
	cfg.DataDir = dir
	srv, err := chembed.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("PID %d\n", srv.Pid())
	select {} // until killed
}

// A parent that is killed takes its engine with it, and the data directory is free
// for the next.
func TestOrphan(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if s, ok := strings.CutPrefix(lines.Text(), "PID "); ok {
			pid, _ = strconv.Atoi(s)
			break
		}
	}
	if pid == 0 {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatal("the helper said no PID")
	}

	cfg := chembedtest.Config(t)
	cfg.DataDir = dir
	if _, err := chembed.Start(context.Background(), cfg); !errors.Is(err, chembed.ErrDataDirLocked) || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
		t.Errorf("a second server on the directory: %v, want %v with process %d", err, chembed.ErrDataDirLocked, pid)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "the engine to end with its parent", func() bool { return !alive(pid) })
	srv := chembedtest.Start(t, func(c *chembed.Config) { c.DataDir = dir })
	if err := open(t, srv).Ping(context.Background()); err != nil {
		t.Error(err)
	}
}

// Data survives closing and opening again.
func TestReopen(t *testing.T) {
	cfg := chembedtest.Config(t)
	for i := range 2 {
		srv, err := chembed.Start(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		conn := open(t, srv)
		mustExec(t, conn, "CREATE TABLE IF NOT EXISTS t (a UInt64) ENGINE = MergeTree ORDER BY a")
		mustExec(t, conn, "INSERT INTO t VALUES (1)")
		if n := count(t, conn, "t"); n != uint64(i+1) {
			t.Errorf("round %d: %d rows", i, n)
		}
		pid := srv.Pid()
		_ = conn.Close()
		chembedtest.Close(t, srv)
		<-srv.Done()
		if alive(pid) {
			t.Errorf("engine %d lives on after Close", pid)
		}
	}
}

// What a user can get wrong is told in one line that names the fix.
func TestStartRefusals(t *testing.T) {
	f := func(name string, want error, change func(*chembed.Config)) {
		t.Helper()
		cfg := chembedtest.Config(t)
		change(&cfg)
		srv, err := chembed.Start(context.Background(), cfg)
		if err == nil {
			chembedtest.Close(t, srv)
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", name, err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	f("no directory", chembed.ErrConfig, func(c *chembed.Config) { c.DataDir = "" })
	f("bad address", chembed.ErrConfig, func(c *chembed.Config) { c.HTTPAddr = "8123" })
	f("address of another machine", chembed.ErrConfig, func(c *chembed.Config) { c.HTTPAddr = "192.0.2.1:0" })
	f("native port taken", chembed.ErrAddressInUse, func(c *chembed.Config) { c.NativeAddr = taken.Addr().String() })
	f("HTTP port taken", chembed.ErrAddressInUse, func(c *chembed.Config) { c.HTTPAddr = taken.Addr().String() })
	f("no library", chembed.ErrLibraryMissing, func(c *chembed.Config) { c.LibraryPath = "/nonexistent/libchdb.so" })
	f("no real library", chembed.ErrLibraryInvalid, func(c *chembed.Config) { c.LibraryPath = file })
	f("directory is a file", chembed.ErrDataDirUnusable, func(c *chembed.Config) { c.DataDir = file })
	f("unreadable data", chembed.ErrDataDirUnusable, func(c *chembed.Config) {
		c.DataDir = t.TempDir()
		if err := os.Mkdir(c.DataDir+"/status", 0o700); err != nil {
			t.Fatal(err)
		}
	})
	f("executable that is no server", chembed.ErrNotAChild, func(c *chembed.Config) { c.Executable = "/bin/true" })
}
