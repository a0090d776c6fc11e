package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const endless = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"

func moduleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, d := range info.Deps {
			if d.Path == path {
				return strings.TrimPrefix(d.Version, "v")
			}
		}
	}
	return ""
}

func (t *trial) options(protocol clickhouse.Protocol) *clickhouse.Options {
	port := t.nativePort
	if protocol == clickhouse.HTTP {
		port = t.httpPort
	}
	return &clickhouse.Options{
		Addr: []string{net.JoinHostPort("127.0.0.1", port)}, Protocol: protocol, Auth: clickhouse.Auth{Username: user, Password: password}, ReadTimeout: 2 * time.Minute,
	}
}

// clickhouseGo tries clickhouse-go by both protocols and behind database/sql.
func (t *trial) clickhouseGo(ctx context.Context) error {
	for _, p := range []clickhouse.Protocol{clickhouse.Native, clickhouse.HTTP} {
		name := "clickhouse-go " + moduleVersion("github.com/ClickHouse/clickhouse-go/v2") + ", " + p.String()
		conn, err := clickhouse.Open(t.options(p))
		if err != nil {
			return err
		}
		t.goClient(ctx, name, p, conn)
		if err := conn.Close(); err != nil {
			return err
		}
	}
	for _, p := range []clickhouse.Protocol{clickhouse.Native, clickhouse.HTTP} {
		db := clickhouse.OpenDB(t.options(p))
		t.goSQL(ctx, "database/sql, "+p.String(), p, db)
		if err := db.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) goClient(ctx context.Context, name string, p clickhouse.Protocol, conn driver.Conn) {
	table := "g_" + p.String()
	one := func(want any, query string, args ...any) (string, error) {
		got := reflect.New(reflect.TypeOf(want))
		if err := conn.QueryRow(ctx, query, args...).Scan(got.Interface()); err != nil {
			return "", err
		}
		if got.Elem().Interface() != want {
			return "", fmt.Errorf("%s: got %v, want %v", query, got.Elem(), want)
		}
		return "", nil
	}
	drain := func(ctx context.Context, query string) (n int, err error) {
		rows, err := conn.Query(ctx, query)
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		for rows.Next() {
			n++
		}
		return n, rows.Err()
	}
	t.cell(name, "connect", func() (string, error) {
		v, err := conn.ServerVersion()
		if err != nil {
			return "", err
		}
		return fmt.Sprint("revision ", v.Revision), conn.Ping(ctx)
	})
	t.cell(name, "auth failure", func() (string, error) {
		o := t.options(p)
		o.Auth.Password = "wrong"
		wrong, err := clickhouse.Open(o)
		if err == nil {
			err = wrong.Ping(ctx)
			_ = wrong.Close()
		}
		return wantError("", err, "516")
	})
	t.cell(name, "select", func() (string, error) { return one(uint64(45), "SELECT sum(number) FROM numbers(10)") })
	t.cell(name, "insert", func() (string, error) {
		if err := conn.Exec(ctx, "CREATE OR REPLACE TABLE "+table+" (a UInt64, b String) ENGINE = MergeTree ORDER BY a"); err != nil {
			return "", err
		}
		b, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
		if err != nil {
			return "", err
		}
		for i := range 1000 {
			if err := b.Append(uint64(i), "x"); err != nil {
				return "", err
			}
		}
		if err := b.Send(); err != nil {
			return "", err
		}
		return one(uint64(1000), "SELECT count() FROM "+table)
	})
	t.cell(name, "types", func() (string, error) {
		return t.everyType(func(kind, expr string) error { return goType(ctx, conn, table+"_t", kind, expr) })
	})
	t.cell(name, "parameters", func() (string, error) {
		pctx := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"n": "41", "s": "it's"}))
		var n uint64
		var s string
		if err := conn.QueryRow(pctx, "SELECT {n:UInt64} + 1, {s:String}").Scan(&n, &s); err != nil || n != 42 || s != "it's" {
			return "", errors.Join(err, fmt.Errorf("%d %q", n, s))
		}
		return one("it's", "SELECT ?", "it's")
	})
	t.cell(name, "sessions", func() (string, error) {
		o := t.options(p)
		o.MaxOpenConns = 1
		if p == clickhouse.HTTP {
			o.Settings = clickhouse.Settings{"session_id": "go-session"}
		}
		s, err := clickhouse.Open(o)
		if err != nil {
			return "", err
		}
		defer func() { _ = s.Close() }()
		if err := s.Exec(ctx, "CREATE TEMPORARY TABLE tmp AS SELECT 5 AS five"); err != nil {
			return "", err
		}
		var five uint8
		return "", s.QueryRow(ctx, "SELECT five FROM tmp").Scan(&five)
	})
	t.cell(name, "cancel", func() (string, error) {
		id := "cancel-" + name
		short, cancel := context.WithTimeout(clickhouse.Context(ctx, clickhouse.WithQueryID(id)), time.Second)
		defer cancel()
		if _, err := drain(short, endless); err == nil {
			return "", errors.New("it ended well")
		}
		return "by its context", goGone(ctx, conn, id)
	})
	t.cell(name, "error in mid-stream", func() (string, error) {
		_, err := drain(ctx, "SELECT number, throwIf(number = 2999999) FROM numbers(3000000)")
		if err == nil {
			return "", errors.New("the rows were taken for all")
		}
		return err.Error(), conn.Ping(ctx)
	})
	t.cell(name, "compression", func() (string, error) {
		methods := []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionLZ4HC, clickhouse.CompressionZSTD}
		if p == clickhouse.HTTP {
			methods = append(methods, clickhouse.CompressionGZIP, clickhouse.CompressionDeflate, clickhouse.CompressionBrotli)
		}
		for _, m := range methods {
			o := t.options(p)
			o.Compression = &clickhouse.Compression{Method: m, Level: 3}
			z, err := clickhouse.Open(o)
			if err != nil {
				return "", err
			}
			err = goCompressed(ctx, z, table+"_z")
			if err := errors.Join(err, z.Close()); err != nil {
				return "", fmt.Errorf("%s: %w", m, err)
			}
		}
		return "", nil
	})
	t.cell(name, "external tables", func() (string, error) {
		tab, err := ext.NewTable("ids", ext.Column("id", "UInt8"))
		if err == nil {
			err = errors.Join(tab.Append(uint8(1)), tab.Append(uint8(2)))
		}
		if err != nil {
			return "", err
		}
		var sum uint64
		err = conn.QueryRow(clickhouse.Context(ctx, clickhouse.WithExternalTable(tab)), "SELECT sum(id) FROM ids").Scan(&sum)
		if err == nil && sum != 3 {
			err = fmt.Errorf("sum %d", sum)
		}
		return "", err
	})
	t.cell(name, "totals", func() (string, error) {
		rows, err := conn.Query(ctx, "SELECT number % 3 AS k, count() AS n FROM numbers(10) GROUP BY k WITH TOTALS")
		if err != nil {
			return "", err
		}
		defer rows.Close()
		for rows.Next() {
		}
		var k uint8
		var n uint64
		if err := errors.Join(rows.Err(), rows.Totals(&k, &n)); err != nil {
			return "", err
		}
		if n != 10 {
			return "", fmt.Errorf("total %d", n)
		}
		return "", nil
	})
	t.cell(name, "rows out", func() (string, error) {
		n, err := drain(ctx, fmt.Sprintf("SELECT number, number * 2 FROM numbers(%d)", t.rows))
		if err == nil && n != t.rows {
			err = fmt.Errorf("%d rows", n)
		}
		return "", err
	})
	t.cell(name, "rows in", func() (string, error) {
		if err := conn.Exec(ctx, "CREATE OR REPLACE TABLE "+table+" (a UInt64, b Float64) ENGINE = MergeTree ORDER BY a"); err != nil {
			return "", err
		}
		const step = 500_000
		for at := 0; at < t.rows; at += step {
			b, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
			if err != nil {
				return "", err
			}
			for i := at; i < min(at+step, t.rows); i++ {
				if err := b.Append(uint64(i), float64(i)); err != nil {
					return "", err
				}
			}
			if err := b.Send(); err != nil {
				return "", err
			}
		}
		if _, err := one(uint64(t.rows), "SELECT count() FROM "+table); err != nil {
			return "", err
		}
		return one(uint64(t.rows), "SELECT uniqExact(a) FROM "+table)
	})
}

// goType reads a value, inserts what it read, and compares the engine's own text of both.
func goType(ctx context.Context, conn driver.Conn, table, kind, expr string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the client panics: %v", p)
		}
	}()
	if err := conn.Exec(ctx, "CREATE OR REPLACE TABLE "+table+" (v "+column(kind)+") ENGINE = Memory"); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, "SELECT ("+expr+")::"+column(kind)+" AS v, 'after' AS z")
	if err != nil {
		return fmt.Errorf("select: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return fmt.Errorf("select: no row: %w", rows.Err())
	}
	dest, z := reflect.New(rows.ColumnTypes()[0].ScanType()), ""
	if err := rows.Scan(dest.Interface(), &z); err != nil {
		return fmt.Errorf("select: %w", err)
	}
	if err := rows.Close(); err != nil {
		return err
	}
	b, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
	if err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	if err := b.Append(dest.Elem().Interface()); err != nil {
		return errors.Join(fmt.Errorf("insert: %w", err), b.Abort())
	}
	if err := b.Send(); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	var before, after string
	if err := conn.QueryRow(ctx, "SELECT ifNull(toString(("+expr+")::"+column(kind)+"), 'NULL')").Scan(&before); err != nil {
		return err
	}
	if err := conn.QueryRow(ctx, "SELECT ifNull(toString(v), 'NULL') FROM "+table).Scan(&after); err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("%q came back as %q", before, after)
	}
	return nil
}

func goCompressed(ctx context.Context, conn driver.Conn, table string) error {
	if err := conn.Exec(ctx, "CREATE OR REPLACE TABLE "+table+" (a UInt64) ENGINE = MergeTree ORDER BY a"); err != nil {
		return err
	}
	b, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
	if err != nil {
		return err
	}
	for i := range 100_000 {
		if err := b.Append(uint64(i)); err != nil {
			return err
		}
	}
	if err := b.Send(); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, "SELECT a FROM "+table)
	if err != nil {
		return err
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil || n != 100_000 {
		return errors.Join(err, fmt.Errorf("%d rows", n))
	}
	return nil
}

// goGone waits until a query runs no more.
func goGone(ctx context.Context, conn driver.Conn, id string) error {
	for range 100 {
		var n uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM system.processes WHERE query_id = ?", id).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("the query runs on")
}

func (t *trial) goSQL(ctx context.Context, name string, p clickhouse.Protocol, db *sql.DB) {
	table := "s_" + p.String()
	t.cell(name, "connect", func() (string, error) { return "", db.PingContext(ctx) })
	t.cell(name, "auth failure", func() (string, error) {
		o := t.options(p)
		o.Auth.Password = "wrong"
		wrong := clickhouse.OpenDB(o)
		defer wrong.Close()
		return wantError("", wrong.PingContext(ctx), "516")
	})
	t.cell(name, "select", func() (string, error) {
		var n uint64
		err := db.QueryRowContext(ctx, "SELECT sum(number) FROM numbers(10)").Scan(&n)
		if err == nil && n != 45 {
			err = fmt.Errorf("sum %d", n)
		}
		return "", err
	})
	t.cell(name, "insert", func() (string, error) {
		if _, err := db.ExecContext(ctx, "CREATE OR REPLACE TABLE "+table+" (a UInt64, b String) ENGINE = MergeTree ORDER BY a"); err != nil {
			return "", err
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return "", err
		}
		st, err := tx.PrepareContext(ctx, "INSERT INTO "+table)
		if err != nil {
			return "", err
		}
		for i := range 1000 {
			if _, err := st.ExecContext(ctx, uint64(i), "x"); err != nil {
				return "", err
			}
		}
		if err := tx.Commit(); err != nil {
			return "", err
		}
		var n uint64
		err = db.QueryRowContext(ctx, "SELECT count() FROM "+table).Scan(&n)
		if err == nil && n != 1000 {
			err = fmt.Errorf("%d rows", n)
		}
		return "", err
	})
	t.cell(name, "parameters", func() (string, error) {
		var s string
		err := db.QueryRowContext(ctx, "SELECT concat(@a, $2)", clickhouse.Named("a", "it's")).Scan(&s)
		if err != nil { // the two kinds do not mix
			err = db.QueryRowContext(ctx, "SELECT concat(@a, '!')", clickhouse.Named("a", "it's")).Scan(&s)
		}
		if err == nil && s != "it's!" {
			err = fmt.Errorf("%q", s)
		}
		return "client-side", err
	})
	t.cell(name, "error in mid-stream", func() (string, error) {
		rows, err := db.QueryContext(ctx, "SELECT number, throwIf(number = 2999999) FROM numbers(3000000)")
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
			_ = rows.Close()
		}
		if err == nil {
			return "", errors.New("the rows were taken for all")
		}
		return err.Error(), db.PingContext(ctx)
	})
}

// chGo tries ch-go, which works by columns.
func (t *trial) chGo(ctx context.Context) error {
	name := "ch-go " + moduleVersion("github.com/ClickHouse/ch-go")
	o := ch.Options{Address: net.JoinHostPort("127.0.0.1", t.nativePort), User: user, Password: password}
	c, err := ch.Dial(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	exec := func(sql string) error { return c.Do(ctx, ch.Query{Body: sql}) }
	t.cell(name, "connect", func() (string, error) { return fmt.Sprint("revision ", c.ServerInfo().Revision), c.Ping(ctx) })
	t.cell(name, "auth failure", func() (string, error) {
		wrong := o
		wrong.Password = "wrong"
		_, err := ch.Dial(ctx, wrong)
		return wantError("", err, "516")
	})
	count := func(sql string) (n uint64, err error) {
		var data proto.ColUInt64
		err = c.Do(ctx, ch.Query{Body: sql, Result: proto.Results{{Name: "n", Data: &data}}, OnResult: func(context.Context, proto.Block) error {
			for i := range data.Rows() {
				n += data.Row(i)
			}
			return nil
		}})
		return n, err
	}
	t.cell(name, "select", func() (string, error) {
		n, err := count("SELECT number AS n FROM numbers(10)")
		if err == nil && n != 45 {
			err = fmt.Errorf("sum %d", n)
		}
		return "", err
	})
	insert := func(rows int) error {
		if err := exec("CREATE OR REPLACE TABLE chgo (n UInt64, s String) ENGINE = MergeTree ORDER BY n"); err != nil {
			return err
		}
		var n proto.ColUInt64
		var s proto.ColStr
		at := 0
		fill := func() {
			n.Reset()
			s.Reset()
			for ; at < rows && n.Rows() < 100_000; at++ {
				n.Append(uint64(at))
				s.Append("x")
			}
		}
		fill()
		err := c.Do(ctx, ch.Query{Body: "INSERT INTO chgo VALUES", Input: proto.Input{{Name: "n", Data: &n}, {Name: "s", Data: &s}}, OnInput: func(context.Context) error {
			if fill(); n.Rows() == 0 {
				return io.EOF
			}
			return nil
		}})
		if err != nil {
			return err
		}
		got, err := count("SELECT uniqExact(n) AS n FROM chgo")
		if err == nil && got != uint64(rows) {
			err = fmt.Errorf("%d rows are stored", got)
		}
		return err
	}
	t.cell(name, "insert", func() (string, error) { return "", insert(1000) })
	t.cell(name, "parameters", func() (string, error) {
		var data proto.ColStr
		err := c.Do(ctx, ch.Query{Body: "SELECT {s:String} AS s", Parameters: ch.Parameters(map[string]any{"s": "it's"}), Result: proto.Results{{Name: "s", Data: &data}}})
		if err == nil && data.Row(0) != "it's" {
			err = fmt.Errorf("%q", data.Row(0))
		}
		return "", err
	})
	t.cell(name, "cancel", func() (string, error) {
		other, err := ch.Dial(ctx, o)
		if err != nil {
			return "", err
		}
		defer func() { _ = other.Close() }()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := other.Do(short, ch.Query{Body: endless, QueryID: "ch-cancel"}); err == nil {
			return "", errors.New("it ended well")
		}
		for range 100 {
			if n, err := count("SELECT count() AS n FROM system.processes WHERE query_id = 'ch-cancel'"); err != nil || n == 0 {
				return "by its context", err
			}
			time.Sleep(100 * time.Millisecond)
		}
		return "", errors.New("the query runs on")
	})
	t.cell(name, "error in mid-stream", func() (string, error) {
		_, err := count("SELECT throwIf(number = 2999999)::UInt64 AS n FROM numbers(3000000)")
		if note, err := wantError("", err, "395"); err != nil {
			return note, err
		}
		return "", c.Ping(ctx)
	})
	t.cell(name, "compression", func() (string, error) {
		for _, m := range []ch.Compression{ch.CompressionDisabled, ch.CompressionNone, ch.CompressionLZ4, ch.CompressionLZ4HC, ch.CompressionZSTD} {
			z := o
			z.Compression = m
			conn, err := ch.Dial(ctx, z)
			if err != nil {
				return "", err
			}
			saved := c
			c = conn
			err = insert(250_000)
			c = saved
			if err := errors.Join(err, conn.Close()); err != nil {
				return "", fmt.Errorf("%v: %w", m, err)
			}
		}
		return "none, LZ4, LZ4HC, ZSTD", nil
	})
	t.cell(name, "rows out", func() (string, error) {
		n, err := count(fmt.Sprintf("SELECT number AS n FROM numbers(%d)", t.rows))
		if want := uint64(t.rows) * uint64(t.rows-1) / 2; err == nil && n != want {
			err = fmt.Errorf("sum %d, want %d", n, want)
		}
		return "", err
	})
	t.cell(name, "rows in", func() (string, error) { return "", insert(t.rows) })
	return nil
}
