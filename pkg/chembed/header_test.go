package chembed_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// The columns of an insert are remembered, and are never those of a schema of before, whoever changed it and however.
func TestInsertHeaderIsOfTheSchema(t *testing.T) {
	srv, db := shared(t)
	one := func(o *clickhouse.Options) { o.MaxOpenConns = 1 }
	conn, other := open(t, srv, in(db), one), open(t, srv, in(db), one)
	ctx := context.Background()
	columns := func(conn driver.Conn, ctx context.Context, sql string) string {
		t.Helper()
		b, err := conn.PrepareBatch(ctx, sql)
		if err != nil {
			return err.Error()
		}
		var names []string
		for _, c := range b.Columns() {
			names = append(names, c.Name()+" "+string(c.Type()))
		}
		if err := b.Send(); err != nil { // nothing; giving up would cost the connection
			t.Fatal(err)
		}
		return strings.Join(names, ", ")
	}
	f := func(change, want string) {
		t.Helper()
		if change != "" {
			mustExec(t, other, change)
		}
		for range 2 { // described, and remembered
			if got := columns(conn, ctx, "INSERT INTO t"); !strings.Contains(got, want) {
				t.Errorf("after %s: %s, want %s", change, got, want)
			}
		}
	}
	f("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a", "a UInt8")
	f("ALTER TABLE t ADD COLUMN b String", "a UInt8, b String")
	f("ALTER TABLE t MODIFY COLUMN b LowCardinality(String)", "a UInt8, b LowCardinality(String)")
	f("ALTER TABLE t RENAME COLUMN b TO c", "a UInt8, c LowCardinality(String)")
	f("ALTER TABLE t DROP COLUMN c", "a UInt8")
	f("CREATE OR REPLACE TABLE t (x Date) ENGINE = Memory", "x Date")
	mustExec(t, other, "CREATE TABLE u (y UInt64) ENGINE = Memory")
	f("EXCHANGE TABLES t AND u", "y UInt64")
	f("DROP TABLE t", "60")
	f("RENAME TABLE u TO t", "x Date")
	if resp, body := do(t, srv, httpClient(t), request{params: url.Values{"query": {"ALTER TABLE t ADD COLUMN z Int8"}}, database: db}); resp.StatusCode != 200 {
		t.Fatal(body)
	}
	f("", "x Date, z Int8")
	// The same text means another table in another database, in a session with a temporary table, and with an external one.
	mustExec(t, other, "CREATE DATABASE "+db+"_2")
	defer mustExec(t, other, "DROP DATABASE "+db+"_2")
	mustExec(t, other, "CREATE TABLE "+db+"_2.t (two UInt8) ENGINE = Memory")
	if got := columns(open(t, srv, in(db+"_2")), ctx, "INSERT INTO t"); got != "two UInt8" {
		t.Errorf("in another database: %s", got)
	}
	f("", "x Date, z Int8")
	table, err := ext.NewTable("t", ext.Column("e", "UInt8"))
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Append(uint8(1)); err != nil {
		t.Fatal(err)
	}
	// This client sends no external tables with an insert; that the name is the table's again behind a query with one is what counts.
	var sum uint64
	if err := conn.QueryRow(clickhouse.Context(ctx, clickhouse.WithExternalTable(table)), "SELECT sum(e) FROM t").Scan(&sum); err != nil || sum != 1 {
		t.Errorf("sum %d, %v", sum, err)
	}
	f("", "x Date, z Int8")
	mustExec(t, conn, "CREATE TEMPORARY TABLE t (tmp UInt8)")
	f("", "tmp UInt8")
	if got := columns(other, ctx, "INSERT INTO t"); got != "x Date, z Int8" {
		t.Errorf("beside a session with a temporary table: %s", got)
	}
	mustExec(t, conn, "DROP TEMPORARY TABLE t")
	f("", "x Date, z Int8")
	// Columns that are computed are not inserted, whatever * is.
	mustExec(t, other, "ALTER TABLE t ADD COLUMN m UInt8 MATERIALIZED 1")
	with := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"asterisk_include_materialized_columns": 1}))
	if got := columns(other, with, "INSERT INTO t"); got != "x Date, z Int8" {
		t.Errorf("with materialized columns: %s", got)
	}
	f("", "x Date, z Int8")
}

// An insert like one before asks the engine for nothing but itself.
func TestInsertHeaderIsRemembered(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db), func(o *clickhouse.Options) { o.MaxOpenConns = 1 })
	mustExec(t, conn, "CREATE TABLE t (a UInt64) ENGINE = Null")
	queries := func() (n uint64) {
		if err := conn.QueryRow(context.Background(), "SELECT value FROM system.events WHERE event = 'Query'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const inserts = 20
	insert := func(token string) {
		ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
		b, err := conn.PrepareBatch(ctx, "INSERT INTO t")
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Append(uint64(1)); err != nil {
			t.Fatal(err)
		}
		if err := b.Send(); err != nil {
			t.Fatal(err)
		}
	}
	insert("first")
	before := queries()
	for i := range inserts {
		insert(fmt.Sprint("token", i))
	}
	// Each sets its token, and the count itself is a query. The engine counts what other tests ask of it meanwhile, too; headers that are asked for would be one more an insert.
	if n := queries() - before; n >= 3*inserts {
		t.Errorf("%d statements for %d inserts", n, inserts)
	}
}
