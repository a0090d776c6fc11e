package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

// What the embedded ClickHouse costs in front of its engine: each query and insert through each protocol, as a ratio to the engine called directly on the
// same data in the same run.
const (
	chWideRows    = 1_000_000
	chWideColumns = 20
	chSmallRuns   = 2000
	chRuns        = 7
	chInsertRows  = 100_000 // of a block
	chInserts     = 20
)

func chWideTable() string {
	var cols []string
	for i := range chWideColumns {
		typ := []string{"UInt64", "Float64", "Decimal(18, 8)", "LowCardinality(String)", "DateTime64(9)"}[i%5]
		cols = append(cols, fmt.Sprintf("c%d %s", i, typ))
	}
	return "(" + strings.Join(cols, ", ") + ") ENGINE = MergeTree ORDER BY c0"
}

func chWideSelect(rows int) string {
	var cols []string
	for i := range chWideColumns {
		expr := []string{"number", "toFloat64(number) / 3", "toDecimal64(number % 1000, 8)", "toLowCardinality(toString(number % 100))",
			"toDateTime64('2026-01-01 00:00:00', 9) + number / 1000"}[i%5]
		cols = append(cols, fmt.Sprintf("%s AS c%d", expr, i))
	}
	return fmt.Sprintf("SELECT %s FROM numbers(%d)", strings.Join(cols, ", "), rows)
}

const chHeavy = "SELECT c3, count(), sum(c1), quantile(0.99)(c6), uniq(c5) FROM wide GROUP BY c3 ORDER BY c3"

func clickhouseBench(ctx context.Context, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg := engineConfig(dir)
	setup := []string{"CREATE TABLE wide " + chWideTable(), "INSERT INTO wide " + chWideSelect(chWideRows), "OPTIMIZE TABLE wide FINAL"}
	queries := []struct {
		name, sql string
		runs      int
	}{
		{"small", "SELECT 1", chSmallRuns}, {"wide", "SELECT * FROM wide", chRuns}, {"heavy", chHeavy, chRuns},
	}
	bare := map[string]time.Duration{}
	for _, q := range queries {
		res, err := chembed.RunBareQuery(ctx, cfg, chembed.BareQuery{Setup: setup, Query: q.sql, Runs: q.runs})
		if err != nil {
			return err
		}
		setup = nil
		bare[q.name] = chMedian(res.Each)
		print(figure{Name: "clickhouse_" + q.name + "_engine", Value: ms(bare[q.name]), Unit: "ms"})
	}
	blocks, err := chBlocks(ctx, cfg)
	if err != nil {
		return err
	}
	res, err := chembed.RunBareInsert(ctx, cfg, chembed.BareInsert{Setup: []string{"CREATE TABLE bare " + chWideTable()}, Insert: "INSERT INTO bare", Blocks: blocks})
	if err != nil {
		return err
	}
	direct := float64(res.Rows) / res.Elapsed.Seconds()
	print(figure{Name: "clickhouse_insert_engine", Value: direct, Unit: "rows/s"})

	srv, err := chembed.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = srv.Close(context.WithoutCancel(ctx)) }()
	web := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer web.CloseIdleConnections()
	columns, err := ch.Dial(ctx, ch.Options{Address: srv.NativeAddr()})
	if err != nil {
		return err
	}
	defer func() { _ = columns.Close() }()
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{srv.NativeAddr()}})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ways := []struct {
		name string
		run  func(sql string) error
	}{
		// The bytes of an answer are read and dropped: what the server costs, without a client's decoding.
		{"http", func(sql string) error { return chPost(ctx, web, srv.HTTPAddr(), sql, "Native", nil) }},
		// Clients that decode what they read: columns, rows.
		{"ch_go", func(sql string) error { return chColumns(ctx, columns, sql) }},
		{"clickhouse_go", func(sql string) error { return chScan(ctx, conn, sql) }},
	}
	for _, q := range queries {
		for _, w := range ways {
			each := make([]time.Duration, 0, q.runs)
			for range q.runs {
				start := time.Now()
				if err := w.run(q.sql); err != nil {
					return fmt.Errorf("%s by %s: %w", q.name, w.name, err)
				}
				each = append(each, time.Since(start))
			}
			m := chMedian(each)
			print(figure{
				Name: "clickhouse_" + q.name + "_" + w.name, Value: ms(m), Unit: "ms",
				Ratio: bare[q.name].Seconds() / m.Seconds(), RatioTo: "clickhouse_" + q.name + "_engine",
			})
			if q.name == "small" {
				print(figure{Name: "clickhouse_small_" + w.name + "_added", Value: ms(m - bare[q.name]), Unit: "ms"})
			}
		}
	}
	return chInsert(ctx, srv, columns, conn, web, blocks, direct, print)
}

// chInsert inserts the same rows through each protocol.
func chInsert(ctx context.Context, srv *chembed.Server, columns *ch.Client, conn driver.Conn, web *http.Client, blocks [][]byte, direct float64, print func(figure)) error {
	input := chInput()
	for _, way := range []string{"native", "http"} {
		if err := conn.Exec(ctx, "CREATE TABLE "+way+" "+chWideTable()); err != nil {
			return err
		}
		rows := uint64(0)
		start := time.Now()
		if way == "http" {
			for _, b := range blocks {
				if err := chPost(ctx, web, srv.HTTPAddr(), "INSERT INTO http FORMAT Native", "", b); err != nil {
					return err
				}
			}
		} else {
			for range chInserts {
				if err := columns.Do(ctx, ch.Query{Body: "INSERT INTO native VALUES", Input: input}); err != nil {
					return err
				}
			}
		}
		took := time.Since(start)
		if err := conn.QueryRow(ctx, "SELECT count() FROM "+way).Scan(&rows); err != nil {
			return err
		}
		if rows != chInserts*chInsertRows {
			return fmt.Errorf("insert by %s: %d rows arrived of %d", way, rows, chInserts*chInsertRows)
		}
		rate := float64(rows) / took.Seconds()
		print(figure{Name: "clickhouse_insert_" + way, Value: rate, Unit: "rows/s", Ratio: rate / direct, RatioTo: "clickhouse_insert_engine"})
	}
	return nil
}

// chBlocks makes the blocks that are inserted.
func chBlocks(ctx context.Context, cfg chembed.Config) ([][]byte, error) {
	srv, err := chembed.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = srv.Close(context.WithoutCancel(ctx)) }()
	q := url.Values{"query": {chWideSelect(chInsertRows*chInserts) + " FORMAT Native"}, "max_block_size": {fmt.Sprint(chInsertRows)}, "max_threads": {"1"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+srv.HTTPAddr()+"/?"+q.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	web := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer web.CloseIdleConnections()
	resp, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return chembed.NativeBlocks(body)
}

func chPost(ctx context.Context, web *http.Client, addr, sql, format string, body []byte) error {
	v := url.Values{"query": {sql}}
	if format != "" {
		v.Set("default_format", format)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/?"+v.Encode(), strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// chScan reads every row as a program does.
func chScan(ctx context.Context, conn driver.Conn, sql string) error {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

func chMedian(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// chColumns reads every block as columns: ch-go, the native protocol's fastest client.
func chColumns(ctx context.Context, conn *ch.Client, sql string) error {
	var results proto.Results
	return conn.Do(ctx, ch.Query{Body: sql, Result: results.Auto(), OnResult: func(context.Context, proto.Block) error { return nil }})
}

// chInput are the columns of one block, as chWideSelect makes them.
func chInput() proto.Input {
	var in proto.Input
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range chWideColumns {
		var col proto.ColInput
		switch i % 5 {
		case 0:
			c := new(proto.ColUInt64)
			for n := range chInsertRows {
				c.Append(uint64(n))
			}
			col = c
		case 1:
			c := new(proto.ColFloat64)
			for n := range chInsertRows {
				c.Append(float64(n) / 3)
			}
			col = c
		case 2:
			c := new(proto.ColDecimal64)
			for n := range chInsertRows {
				c.Append(proto.Decimal64(n % 1000 * 1e8))
			}
			col = proto.Alias(c, "Decimal(18, 8)")
		case 3:
			c := new(proto.ColStr).LowCardinality()
			for n := range chInsertRows {
				c.Append(fmt.Sprint(n % 100))
			}
			col = c
		case 4:
			c := new(proto.ColDateTime64).WithPrecision(9)
			for n := range chInsertRows {
				c.Append(at.Add(time.Duration(n) * time.Millisecond))
			}
			col = c
		}
		in = append(in, proto.InputColumn{Name: fmt.Sprintf("c%d", i), Data: col})
	}
	return in
}
