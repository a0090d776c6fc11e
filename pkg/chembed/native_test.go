package chembed_test

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// shared is the server that tests have together, and a database of the test's own in it.
func shared(t testing.TB) (*chembed.Server, string) {
	t.Helper()
	srv := chembedtest.Shared(t)
	name := databaseName.ReplaceAllString(t.Name(), "_")
	conn := open(t, srv)
	mustExec(t, conn, "CREATE DATABASE "+name)
	t.Cleanup(func() { mustExec(t, open(t, srv), "DROP DATABASE "+name) })
	return srv, name
}

var databaseName = regexp.MustCompile("[^A-Za-z0-9]+")

// in makes connections begin in a database.
func in(database string) func(*clickhouse.Options) {
	return func(o *clickhouse.Options) { o.Auth.Database = database }
}

// open connects clickhouse-go over the native protocol.
func open(t testing.TB, srv *chembed.Server, change ...func(*clickhouse.Options)) driver.Conn {
	t.Helper()
	o := &clickhouse.Options{
		Addr:        []string{srv.NativeAddr()},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
		DialTimeout: 10 * time.Second,
	}
	for _, c := range change {
		c(o)
	}
	conn, err := clickhouse.Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func mustExec(t testing.TB, conn driver.Conn, sql string, args ...any) {
	t.Helper()
	if err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func count(t testing.TB, conn driver.Conn, from string) uint64 {
	t.Helper()
	var n uint64
	if err := conn.QueryRow(context.Background(), "SELECT count() FROM "+from).Scan(&n); err != nil {
		t.Fatalf("count %s: %v", from, err)
	}
	return n
}

func wantCode(t testing.TB, err error, code int32) {
	t.Helper()
	var ex *clickhouse.Exception
	if !errors.As(err, &ex) {
		t.Fatalf("got %v, want a ClickHouse exception %d", err, code)
	}
	if ex.Code != code {
		t.Fatalf("got exception %d (%s), want %d", ex.Code, ex.Message, code)
	}
}

func TestSelectAndInsert(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db))
	ctx := context.Background()
	if err := conn.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, "CREATE TABLE t (a UInt64, b LowCardinality(String)) ENGINE = MergeTree ORDER BY a")
	b, err := conn.PrepareBatch(ctx, "INSERT INTO t (a, b)")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := b.Append(uint64(i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Send(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, conn, "t"); n != 1000 {
		t.Fatalf("%d rows, want 1000", n)
	}
	wantCode(t, conn.Exec(ctx, "SELECT * FROM nope"), 60)
	wantCode(t, conn.Exec(ctx, "SELEC 1"), 62)
}
