package chembed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// memory reads a process's resident size or its peak, in MiB.
func memory(t testing.TB, pid int, field string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(l, field+":"); ok {
			var kib int
			if _, err := fmt.Sscan(v, &kib); err != nil {
				t.Fatal(err)
			}
			return kib / 1024
		}
	}
	t.Fatalf("no %s in /proc/%d/status", field, pid)
	return 0
}

// resetPeak makes a process's peak of memory begin anew: the shared engine has had other tests.
func resetPeak(t testing.TB, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// plain turns compression off: under the race detector it would take half a minute.
func plain(o *clickhouse.Options) {
	o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionNone}
}

// Results stream: 200 MB of rows pass through an engine process that grows by a
// fraction of them. What a client would make of them is nothing to this test, so the bytes are read as they are.
func TestSelectInConstantMemory(t *testing.T) {
	srv := chembedtest.Shared(t)
	drain := func(rows int) {
		c := dial(t, srv)
		if _, err := c.Write(wireQuery(fmt.Sprintf("SELECT number, repeat('x', 2000) FROM numbers(%d) SETTINGS max_block_size = 2000", rows), false)); err != nil {
			t.Fatal(err)
		}
		if n, err := io.CopyN(io.Discard, c, int64(rows)*2010); err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	drain(20_000) // warm: pools and arenas
	resetPeak(t, srv.Pid())
	before := memory(t, srv.Pid(), "VmHWM")
	drain(100_000)
	if grown := memory(t, srv.Pid(), "VmHWM") - before; grown > 100 {
		t.Errorf("the engine's peak grew by %d MiB", grown)
	}
}

// Inserts stream as well: many blocks of one insert do not gather anywhere but in
// the engine's own block under construction, which is kept small here: by itself it
// grows to more than all that is sent.
func TestInsertInConstantMemory(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db))
	mustExec(t, conn, "CREATE TABLE t (a UInt64, s String) ENGINE = Null")
	mustExec(t, conn, "CREATE MATERIALIZED VIEW seen ENGINE = SummingMergeTree ORDER BY tuple() AS SELECT count() AS n FROM t")
	c := dial(t, srv)
	if _, err := c.Write(wireQuery("INSERT INTO "+db+".t (a, s) SETTINGS min_insert_block_size_bytes = 16000000, min_insert_block_size_rows = 5000 VALUES", false)); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c)
		answered <- err
	}()
	const rows = 2500
	block := wire{2, 0}.raw(wireBlock(2, rows)...).str("a").str("UInt64").raw(0).raw(make([]byte, 8*rows)...).str("s").str("String").raw(0)
	for range rows {
		block = block.str(strings.Repeat("y", 2000))
	}
	send := func(blocks int) {
		for range blocks {
			if _, err := c.Write(block); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(20)
	resetPeak(t, srv.Pid())
	before := memory(t, srv.Pid(), "VmHWM")
	send(30) // 150 MB
	if _, err := c.Write(wire{2, 0}.raw(wireBlock(0, 0)...)); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if grown := memory(t, srv.Pid(), "VmHWM") - before; grown > 100 {
		t.Errorf("the engine's peak grew by %d MiB", grown)
	}
	var n uint64
	if err := conn.QueryRow(context.Background(), "SELECT sum(n) FROM seen").Scan(&n); err != nil || n != 50*rows {
		t.Errorf("%d rows, want %d: %v", n, 50*rows, err)
	}
}

// Errors carry ClickHouse's codes, before and in the middle of a result, and leave
// the connection usable.
func TestExceptions(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db), func(o *clickhouse.Options) { o.MaxOpenConns = 1 })
	ctx := context.Background()
	run := func(ctx context.Context, sql string) error {
		rows, err := conn.Query(ctx, sql)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	f := func(sql string, code int32) {
		t.Helper()
		wantCode(t, run(ctx, sql), code)
		if err := run(ctx, "SELECT 1"); err != nil {
			t.Fatalf("after %s: %v", sql, err)
		}
	}
	mustExec(t, conn, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	f("SELECT * FROM nope", 60)
	f("SELECT nope FROM t", 47)
	f("SELEC 1", 62)
	f("SELECT 1; SELECT 2", 62)
	f("SELECT nope(1)", 46)
	f("USE nope", 81)
	f("INSERT INTO nope VALUES (1)", 60)
	f("INSERT INTO t VALUES ('x')", 6)
	f("SELECT throwIf(number = 200000) FROM numbers(300000)", 395)
	f("SELECT sleepEachRow(0.1) FROM numbers(100) SETTINGS max_execution_time = 0.3, max_block_size = 1", 159)
	f("CREATE USER u", 497)
	f("SELECT groupArray(number) FROM numbers(100000000) SETTINGS max_memory_usage = 50000000", 241)
	limited := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_memory_usage": 50_000_000}))
	wantCode(t, run(limited, "SELECT groupArray(number) FROM numbers(100000000)"), 241)
	wantCode(t, run(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"no_such": 1})), "SELECT 1"), 115)
	wantCode(t, run(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"readonly": 1})), "CREATE TABLE x (a UInt8) ENGINE = Memory"), 164)
	mustExec(t, conn, "CREATE TABLE y (a UInt8) ENGINE = Memory") // readonly is gone with its query
	_, err := conn.PrepareBatch(ctx, "INSERT INTO nope (a)")
	wantCode(t, err, 60)
	_, err = conn.PrepareBatch(ctx, "INSERT INTO t (b)")
	wantCode(t, err, 47)
	if err := run(ctx, "SELECT 1"); err != nil {
		t.Fatal(err)
	}
}

// An insert that the engine breaks off says so to a client that is still sending.
func TestInsertFailsInTheMiddle(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db), plain)
	ctx := context.Background()
	mustExec(t, conn, "CREATE TABLE t (a UInt64, CONSTRAINT small CHECK a < 1000000) ENGINE = MergeTree ORDER BY a")
	b, err := conn.PrepareBatch(ctx, "INSERT INTO t (a)")
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]uint64, 3_000_000)
	for i := range ids {
		ids[i] = uint64(i)
	}
	if err := b.Column(0).Append(ids); err != nil {
		t.Fatal(err)
	}
	wantCode(t, b.Send(), 469)
	if n := count(t, conn, "t"); n != 0 {
		t.Errorf("%d rows of a block that was refused", n)
	}
}

// A cancelled query stops in the engine, whether it is streaming or computing.
func TestCancel(t *testing.T) {
	srv := chembedtest.Shared(t)
	watch := open(t, srv)
	conn := open(t, srv)
	running := func() (n uint64) {
		err := watch.QueryRow(context.Background(), "SELECT count() FROM system.processes WHERE query LIKE '%cancel-me%' AND query NOT LIKE '%processes%'").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, sql := range []string{
		"SELECT sleepEachRow(0.01), number AS `cancel-me` FROM numbers(1000000) SETTINGS max_block_size = 10",
		"SELECT sum(sipHash64(number, 'cancel-me')) FROM numbers(1000000000000)",
	} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			rows, err := conn.Query(ctx, sql)
			if err == nil {
				for rows.Next() {
				}
				err = rows.Err()
				_ = rows.Close()
			}
			done <- err
		}()
		eventually(t, "the query to run", func() bool { return running() == 1 })
		cancel()
		if err := <-done; err == nil {
			t.Errorf("%s ended well though it was cancelled", sql)
		}
		eventually(t, "the cancelled query to end", func() bool { return running() == 0 })
	}
}

// A client that waits for a slow query hears from the server.
func TestHeartbeat(t *testing.T) {
	conn := open(t, chembedtest.Shared(t))
	var beats int
	var read, total uint64
	ctx := clickhouse.Context(context.Background(), clickhouse.WithProgress(func(p *clickhouse.Progress) {
		beats++
		read += p.Rows
		total += p.TotalRows
	}))
	var v uint64
	if err := conn.QueryRow(ctx, "SELECT sum(sleepEachRow(0.005)) FROM numbers(260) SETTINGS max_block_size = 20, max_threads = 1").Scan(&v); err != nil {
		t.Fatal(err)
	}
	if beats < 2 || read != 260 || total != 260 {
		t.Errorf("%d progress packets in 1.3 s, %d rows of %d", beats, read, total)
	}
}

// What the configuration allows, over both protocols, and what a client may ask for over it.
func TestLimits(t *testing.T) {
	srv := chembedtest.Start(t, func(c *chembed.Config) {
		c.MaxConnections, c.MaxConcurrentQueries, c.QueueWait = 4, 1, 100*time.Millisecond
		c.MaxExecutionTime, c.MaxResultRows, c.MaxRowsToRead = 200*time.Millisecond, 25, 5000
	})
	c := httpClient(t)
	conn := open(t, srv)
	ctx := context.Background()
	f := func(name, sql string, code int32, settings ...string) {
		t.Helper()
		set, params := clickhouse.Settings{}, url.Values{"query": {sql + " FORMAT Null"}}
		for i := 0; i+1 < len(settings); i += 2 {
			set[settings[i]] = settings[i+1]
			params.Set(settings[i], settings[i+1])
		}
		rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(set)), sql)
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
			_ = rows.Close()
		}
		resp, body := do(t, srv, c, request{params: params})
		got := resp.Header.Get("X-ClickHouse-Exception-Code")
		if code == 0 {
			if err != nil || got != "" {
				t.Errorf("%s: %v; by HTTP %s", name, err, body)
			}
			return
		}
		ex, ok := errors.AsType[*clickhouse.Exception](err)
		if !ok || ex.Code != code || got != strconv.Itoa(int(code)) {
			t.Errorf("%s: %v; by HTTP %s; want code %d", name, err, body, code)
		}
	}
	const slow = "SELECT sleepEachRow(0.02) FROM numbers(20) SETTINGS max_block_size = 1"
	f("max_execution_time", slow, 159)
	f("max_execution_time, more asked for", slow, 0, "max_execution_time", "10")
	f("max_result_rows", "SELECT number FROM numbers(26)", 396)
	f("max_result_rows, as many as allowed", "SELECT number FROM numbers(25)", 0)
	f("max_result_rows, more asked for", "SELECT number FROM numbers(1001)", 0, "max_result_rows", "1001")
	f("max_rows_to_read", "SELECT count() FROM numbers(6000) WHERE number % 2", 158)
	f("max_rows_to_read, more asked for", "SELECT count() FROM numbers(6000) WHERE number % 2", 0, "max_rows_to_read", "0")
	// What is asked of the engine on the way counts for nobody: a table has more columns than a result may have rows.
	var columns []string
	for i := range 30 {
		columns = append(columns, fmt.Sprintf("c%d UInt8", i))
	}
	mustExec(t, conn, "CREATE TABLE wide ("+strings.Join(columns, ", ")+") ENGINE = Memory")
	b, err := conn.PrepareBatch(ctx, "INSERT INTO wide")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.Columns()); n != len(columns) {
		t.Errorf("an insert of %d columns", n)
	}
	if err := b.Send(); err != nil {
		t.Error(err)
	}
	if rows, err := conn.Query(ctx, "SELECT * FROM wide"); err != nil || len(rows.Columns()) != len(columns) {
		t.Errorf("the columns of an empty result: %v", err)
	} else {
		_ = rows.Close()
	}
	t.Run("queue", func(t *testing.T) { queryQueue(t, srv) })
	t.Run("slow reader by native", func(t *testing.T) {
		conn := open(t, srv, plain)
		rows, err := conn.Query(slowContext(), slowSelect)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		slowReader(t, srv, func() (n int, err error) {
			for rows.Next() {
				n++
			}
			return n, rows.Err()
		})
	})
	t.Run("slow reader by HTTP", func(t *testing.T) {
		v := url.Values{"query": {slowSelect + " FORMAT TSV"}}
		for name, value := range slowSettings {
			v.Set(name, fmt.Sprint(value))
		}
		resp, err := httpClient(t).Post("http://"+srv.HTTPAddr()+"/?"+v.Encode(), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		slowReader(t, srv, func() (int, error) {
			b, err := io.ReadAll(resp.Body)
			return bytes.Count(b, []byte("\n")), err
		})
	})
	t.Run("connections", func(t *testing.T) {
		_ = conn.Close()
		for range 4 {
			eventually(t, "those of before to be gone", func() bool { return open(t, srv).Ping(ctx) == nil })
		}
		wantCode(t, open(t, srv).Ping(ctx), 202)
	})
}

// slowSelect is more than the sockets between a server and its client hold.
const (
	slowRows   = 30_000
	slowSelect = "SELECT number, repeat('x', 1000) FROM numbers(30000)"
)

var slowSettings = clickhouse.Settings{"max_execution_time": 0, "max_result_rows": 0, "max_rows_to_read": 0, "max_block_size": 1000}

func slowContext() context.Context {
	return clickhouse.Context(context.Background(), clickhouse.WithSettings(slowSettings))
}

// slowReader is called while a client does not read its answer: the one place among the running queries becomes free for another, and the answer is whole when the client
// reads on.
func slowReader(t *testing.T, srv *chembed.Server, read func() (rows int, err error)) {
	t.Helper()
	other := open(t, srv)
	eventually(t, "a place for another query", func() bool {
		err := other.Exec(context.Background(), "SELECT 1")
		if err != nil {
			wantCode(t, err, 202)
		}
		return err == nil
	})
	if n, err := read(); err != nil || n != slowRows {
		t.Errorf("the slow reader has %d rows of %d: %v", n, slowRows, err)
	}
	// It took its place again, and has given it back.
	eventually(t, "a place behind the slow reader", func() bool { return other.Exec(context.Background(), "SELECT 1") == nil })
}

func queryQueue(t *testing.T, srv *chembed.Server) {
	ctx, cancel := context.WithCancel(slowContext())
	defer cancel()
	first := open(t, srv)
	rows, err := first.Query(ctx, "SELECT sleepEachRow(0.01) FROM numbers(100000) SETTINGS max_block_size = 1")
	if err != nil {
		t.Fatal(err)
	}
	second := open(t, srv)
	_, err = second.Query(ctx, "SELECT 1")
	wantCode(t, err, 202)
	cancel()
	_ = rows.Close()
	eventually(t, "a place behind the query that was cancelled", func() bool { return second.Exec(context.Background(), "SELECT 1") == nil })
}

// Six clients insert and ten query at once; the sum of it all is exact.
func TestManyClients(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db), func(o *clickhouse.Options) { o.MaxOpenConns = 20 })
	mustExec(t, conn, "CREATE TABLE t (w UInt32, a UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY (w, a)")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var wg sync.WaitGroup
	sent := make([]uint64, 6)
	for w := range sent {
		wg.Go(func() {
			for ctx.Err() == nil {
				b, err := conn.PrepareBatch(context.Background(), "INSERT INTO t (w, a, s)")
				if err != nil {
					t.Error(err)
					return
				}
				for i := range 1000 {
					if err := b.Append(uint32(w), sent[w]+uint64(i), fmt.Sprint("s", i%10)); err != nil {
						t.Error(err)
						return
					}
				}
				if err := b.Send(); err != nil {
					t.Error(err)
					return
				}
				sent[w] += 1000
			}
		})
	}
	for range 10 {
		wg.Go(func() {
			for ctx.Err() == nil {
				rows, err := conn.Query(context.Background(), "SELECT w, count(), max(a) + 1, uniq(s) FROM t GROUP BY w")
				if err != nil {
					t.Error(err)
					return
				}
				for rows.Next() {
					var w uint32
					var n, next, uniq uint64
					if err := rows.Scan(&w, &n, &next, &uniq); err != nil {
						t.Error(err)
					}
					if n != next || n%1000 != 0 || uniq != 10 {
						t.Errorf("writer %d: %d rows, next %d, %d symbols", w, n, next, uniq)
					}
				}
				if err := rows.Err(); err != nil {
					t.Error(err)
				}
				_ = rows.Close()
			}
		})
	}
	wg.Wait()
	var total uint64
	for _, n := range sent {
		total += n
	}
	if n := count(t, conn, "t"); n != total || n == 0 {
		t.Errorf("%d rows, want %d", n, total)
	}
}
