package chembed_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// The rows that the benchmarks insert: seven columns as trades have them.
const (
	benchColumns = "(event_time, symbol, price, size, seq, idx, source)"
	benchTable   = ` (event_time DateTime64(9), symbol LowCardinality(String), price Decimal(18, 8), size UInt32,
		seq UInt64, idx UInt32, source LowCardinality(String))
		ENGINE = MergeTree ORDER BY (symbol, event_time, seq) SETTINGS non_replicated_deduplication_window = 10000`
	benchRow = `toDateTime64('2026-01-01 00:00:00', 9) + number / 1000 AS event_time,
		toLowCardinality(['CORZ', 'BTBT', 'IREN', 'WGMI'][1 + number % 4]) AS symbol,
		toDecimal64(10 + number % 1000 / 100, 8) AS price, toUInt32(number % 500) AS size, number AS seq,
		toUInt32(number % 300) AS idx, toLowCardinality('sim-alpaca') AS source`
)

// nativeBlocks makes n blocks of rows rows by the engine.
func nativeBlocks(t testing.TB, srv *chembed.Server, n, rows int) [][]byte {
	t.Helper()
	q := url.Values{"query": {fmt.Sprintf("SELECT %s FROM numbers(%d) FORMAT Native", benchRow, n*rows)},
		"max_block_size": {fmt.Sprint(rows)}, "max_threads": {"1"}}
	resp, err := httpClient(t).Post("http://"+srv.HTTPAddr()+"/?"+q.Encode(), "", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := chembed.NativeBlocks(body)
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != n {
		t.Fatalf("%d blocks, want %d", len(blocks), n)
	}
	return blocks
}

// The bare measurement stores what it says, and its tokens count.
func TestBareInsert(t *testing.T) {
	srv := chembedtest.Shared(t)
	blocks := nativeBlocks(t, srv, 3, 1000)
	cfg := chembedtest.Config(t)
	req := chembed.BareInsert{
		Setup: []string{"CREATE TABLE IF NOT EXISTS b" + benchTable}, Insert: "INSERT INTO b " + benchColumns,
		Blocks: blocks, Token: "t", Sessions: 2,
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 2 {
		res, err := chembed.RunBareInsert(ctx, cfg, req)
		if err != nil {
			t.Fatal(err)
		}
		if res.Elapsed <= 0 || res.Bytes == 0 {
			t.Errorf("result %+v", res)
		}
	}
	again := chembedtest.Start(t, func(c *chembed.Config) { c.DataDir = cfg.DataDir })
	if n := count(t, open(t, again), "b"); n != 3000 {
		t.Errorf("%d rows, want 3000", n)
	}
	if _, err := chembed.RunBareInsert(ctx, chembedtest.Config(t), chembed.BareInsert{Insert: "SELECT 1"}); err == nil {
		t.Error("SELECT was taken for an INSERT")
	}
}

const (
	benchBlocks    = 20
	benchBlockRows = 100_000
)

// BenchmarkInsertBare is the limit: the engine alone, fed with finished blocks.
func BenchmarkInsertBare(b *testing.B) {
	srv := chembedtest.Start(b)
	blocks := nativeBlocks(b, srv, benchBlocks, benchBlockRows)
	for b.Loop() {
		res, err := chembed.RunBareInsert(context.Background(), chembedtest.Config(b), chembed.BareInsert{
			Setup: []string{"CREATE TABLE b" + benchTable}, Insert: "INSERT INTO b " + benchColumns, Blocks: blocks, Token: "t",
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(res.Rows)/res.Elapsed.Seconds(), "rows/s")
	}
}

// BenchmarkInsertNative is the same through clickhouse-go: columns appended, sent,
// stored, one insert after the other.
func BenchmarkInsertNative(b *testing.B) {
	for name, method := range map[string]clickhouse.CompressionMethod{"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4} {
		b.Run(name, func(b *testing.B) {
			srv := chembedtest.Start(b)
			conn := open(b, srv, func(o *clickhouse.Options) { o.Compression = &clickhouse.Compression{Method: method} })
			cols := benchColumnsOf(benchBlockRows)
			for b.Loop() {
				mustExec(b, conn, "CREATE OR REPLACE TABLE b"+benchTable)
				start := time.Now()
				for i := range benchBlocks {
					sendColumns(b, conn, fmt.Sprint("t", i), cols)
				}
				b.ReportMetric(benchBlocks*benchBlockRows/time.Since(start).Seconds(), "rows/s")
			}
		})
	}
}

func sendColumns(t testing.TB, conn driver.Conn, token string, cols []any) {
	ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO b "+benchColumns)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range cols {
		if err := batch.Column(i).Append(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Send(); err != nil {
		t.Fatal(err)
	}
}

func benchColumnsOf(n int) []any {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	symbols := []string{"CORZ", "BTBT", "IREN", "WGMI"}
	times, syms, prices, sizes := make([]time.Time, n), make([]string, n), make([]decimal.Decimal, n), make([]uint32, n)
	seqs, idxs, sources := make([]uint64, n), make([]uint32, n), make([]string, n)
	for i := range n {
		times[i], syms[i], prices[i] = at.Add(time.Duration(i)*time.Millisecond), symbols[i%4], decimal.New(int64(1000+i%1000), -2)
		sizes[i], seqs[i], idxs[i], sources[i] = uint32(i%500), uint64(i), uint32(i%300), "sim-alpaca"
	}
	return []any{times, syms, prices, sizes, seqs, idxs, sources}
}

// BenchmarkSelectOne is the cost of the smallest query.
func BenchmarkSelectOne(b *testing.B) {
	srv := chembedtest.Start(b)
	conn := open(b, srv)
	var v uint8
	for b.Loop() {
		if err := conn.QueryRow(context.Background(), "SELECT 1").Scan(&v); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSelectRows reads a million rows of seven columns.
func BenchmarkSelectRows(b *testing.B) {
	srv := chembedtest.Start(b)
	conn := open(b, srv)
	mustExec(b, conn, "CREATE TABLE b"+benchTable)
	mustExec(b, conn, "INSERT INTO b SELECT "+benchRow+" FROM numbers(1000000)")
	for b.Loop() {
		rows, err := conn.Query(context.Background(), "SELECT * FROM b")
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for rows.Next() {
			n++
		}
		if err := rows.Err(); err != nil || n != 1_000_000 {
			b.Fatalf("%d rows: %v", n, err)
		}
		_ = rows.Close()
	}
	b.ReportMetric(1e6*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
