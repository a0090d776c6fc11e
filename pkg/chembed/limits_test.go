package chembed_test

import (
	"context"
	"fmt"
	"os"
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

// plain turns compression off: under the race detector it would take half a minute.
func plain(o *clickhouse.Options) {
	o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionNone}
}

// Results stream: 400 MB of rows pass through an engine process that grows by a
// fraction of them.
func TestSelectInConstantMemory(t *testing.T) {
	srv := chembedtest.Start(t)
	conn := open(t, srv, plain)
	ctx := context.Background()
	drain := func(rows int) int {
		res, err := conn.Query(ctx, fmt.Sprintf("SELECT number, repeat('x', 2000) AS b FROM numbers(%d) SETTINGS max_block_size = 2000", rows))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Close()
		n := 0
		for res.Next() {
			n++
		}
		if err := res.Err(); err != nil {
			t.Fatal(err)
		}
		return n
	}
	drain(20_000) // warm: pools and arenas
	before := memory(t, srv.Pid(), "VmHWM")
	const rows = 200_000
	if n := drain(rows); n != rows {
		t.Fatalf("%d rows, want %d", n, rows)
	}
	if grown := memory(t, srv.Pid(), "VmHWM") - before; grown > 150 {
		t.Errorf("the engine's peak grew by %d MiB", grown)
	}
}

// Inserts stream as well: many blocks of one insert do not gather anywhere but in
// the engine's own block under construction.
func TestInsertInConstantMemory(t *testing.T) {
	srv := chembedtest.Start(t)
	conn := open(t, srv, plain)
	ctx := context.Background()
	mustExec(t, conn, "CREATE TABLE t (a UInt64, s String) ENGINE = Null")
	b, err := conn.PrepareBatch(ctx, "INSERT INTO t")
	if err != nil {
		t.Fatal(err)
	}
	ids, text := make([]uint64, 2_500), make([]string, 2_500)
	for i := range text {
		text[i] = strings.Repeat("y", 2000)
	}
	send := func(blocks int) {
		for range blocks {
			if err := b.Column(0).Append(ids); err != nil {
				t.Fatal(err)
			}
			if err := b.Column(1).Append(text); err != nil {
				t.Fatal(err)
			}
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(40)
	before := memory(t, srv.Pid(), "VmHWM")
	send(100) // 500 MB
	if err := b.Send(); err != nil {
		t.Fatal(err)
	}
	if grown := memory(t, srv.Pid(), "VmHWM") - before; grown > 200 {
		t.Errorf("the engine's peak grew by %d MiB", grown)
	}
}

// Errors carry ClickHouse's codes, before and in the middle of a result, and leave
// the connection usable.
func TestExceptions(t *testing.T) {
	srv := chembedtest.Start(t)
	conn := open(t, srv, func(o *clickhouse.Options) { o.MaxOpenConns = 1 })
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
	srv := chembedtest.Start(t)
	conn := open(t, srv)
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
	srv := chembedtest.Start(t)
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
	srv := chembedtest.Start(t)
	conn := open(t, srv)
	var beats int
	var read, total uint64
	ctx := clickhouse.Context(context.Background(), clickhouse.WithProgress(func(p *clickhouse.Progress) {
		beats++
		read += p.Rows
		total += p.TotalRows
	}))
	var v uint64
	if err := conn.QueryRow(ctx, "SELECT sum(sleepEachRow(0.005)) FROM numbers(500) SETTINGS max_block_size = 50, max_threads = 1").Scan(&v); err != nil {
		t.Fatal(err)
	}
	if beats < 2 || read != 500 || total != 500 {
		t.Errorf("%d progress packets in 2.5 s, %d rows of %d", beats, read, total)
	}
}

func TestConnectionLimit(t *testing.T) {
	srv := chembedtest.Start(t, func(c *chembed.Config) { c.MaxConnections = 2 })
	ctx := context.Background()
	for range 2 {
		if err := open(t, srv).Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, open(t, srv).Ping(ctx), 202)
}

func TestQueryQueue(t *testing.T) {
	srv := chembedtest.Start(t, func(c *chembed.Config) { c.MaxConcurrentQueries, c.QueueWait = 1, 100*time.Millisecond })
	ctx, cancel := context.WithCancel(context.Background())
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
	retryFor, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	for {
		if _, err = second.Query(retryFor, "SELECT 1"); err == nil {
			return
		}
		if retryFor.Err() != nil {
			t.Fatal(err)
		}
	}
}

// Six clients insert and ten query at once; the sum of it all is exact.
func TestManyClients(t *testing.T) {
	srv := chembedtest.Start(t)
	conn := open(t, srv, func(o *clickhouse.Options) { o.MaxOpenConns = 20 })
	mustExec(t, conn, "CREATE TABLE t (w UInt32, a UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY (w, a)")
	duration := 3 * time.Second
	if testing.Short() {
		duration = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), duration)
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
