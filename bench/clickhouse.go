package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
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
	chWideRows     = 1_000_000
	chWideColumns  = 20
	chRounds       = 3
	chSmallRuns    = 1000
	chRuns         = 5
	chInsertRows   = 100_000 // of a block
	chInserts      = 20
	chSmallInserts = 300
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

// chFigures gathers figures over rounds; what a ratio is to is measured in the same round.
type chFigures struct {
	names  []string
	values map[string][]float64
	ratios map[string][]float64
	unit   map[string]string
	to     map[string]string
}

func (f *chFigures) add(name string, value float64, unit string) {
	if _, ok := f.values[name]; !ok {
		f.names = append(f.names, name)
	}
	f.values[name] = append(f.values[name], value)
	f.unit[name] = unit
}

func (f *chFigures) addRatio(name string, value float64, unit string, ratio float64, to string) {
	f.add(name, value, unit)
	f.ratios[name] = append(f.ratios[name], ratio)
	f.to[name] = to
}

func (f *chFigures) print(print func(figure)) {
	for _, name := range f.names {
		fig := figure{Name: name, Value: chMiddle(f.values[name]), Unit: f.unit[name]}
		if to, ok := f.to[name]; ok {
			fig.Ratio, fig.RatioTo = chMiddle(f.ratios[name]), to
		}
		print(fig)
	}
}

// chQueries are what is asked, of the engine and by each protocol.
var chQueries = []struct {
	name, sql string
	runs      int
}{
	{"small", "SELECT 1", chSmallRuns}, {"wide", "SELECT * FROM wide", chRuns}, {"heavy", chHeavy, chRuns},
}

// clickhouseBench measures in rounds, in each the engine alone and then every protocol: whatever else the machine does changes from minute to minute.
func clickhouseBench(ctx context.Context, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg := engineConfig(dir)
	blocks, err := chBlocks(ctx, cfg)
	if err != nil {
		return err
	}
	figures := &chFigures{values: map[string][]float64{}, ratios: map[string][]float64{}, unit: map[string]string{}, to: map[string]string{}}
	for round := range chRounds {
		if err := chRound(ctx, cfg, round, blocks, figures); err != nil {
			return err
		}
	}
	figures.print(print)
	return nil
}

func chRound(ctx context.Context, cfg chembed.Config, round int, blocks [][]byte, figures *chFigures) error {
	bare := map[string]time.Duration{}
	var setup []string
	if round == 0 {
		setup = []string{"CREATE TABLE wide " + chWideTable(), "INSERT INTO wide " + chWideSelect(chWideRows), "OPTIMIZE TABLE wide FINAL"}
	}
	for _, q := range chQueries {
		res, err := chembed.RunBareQuery(ctx, cfg, chembed.BareQuery{Setup: setup, Query: q.sql, Runs: q.runs})
		if err != nil {
			return err
		}
		setup = nil
		bare[q.name] = chMedian(res.Each)
		figures.add("clickhouse_"+q.name+"_engine", ms(bare[q.name]), "ms")
	}
	inserts := map[string]float64{}
	for _, in := range chInsertions(blocks) {
		res, err := chembed.RunBareInsert(ctx, cfg, chembed.BareInsert{
			Setup: []string{"CREATE OR REPLACE TABLE bare " + in.table}, Insert: "INSERT INTO bare", Blocks: in.blocks, Token: in.token,
		})
		if err != nil {
			return err
		}
		inserts[in.name] = in.figure(res.Rows, res.Elapsed)
		figures.add("clickhouse_"+in.name+"_engine", inserts[in.name], in.unit)
	}

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
		{"http", func(sql string) error {
			return chPost(ctx, web, srv.HTTPAddr(), url.Values{"query": {sql}, "default_format": {"Native"}}, nil)
		}},
		// Clients that decode what they read: columns, rows.
		{"ch_go", func(sql string) error { return chColumns(ctx, columns, sql) }},
		{"clickhouse_go", func(sql string) error { return chScan(ctx, conn, sql) }},
	}
	for _, q := range chQueries {
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
			figures.addRatio("clickhouse_"+q.name+"_"+w.name, ms(m), "ms", bare[q.name].Seconds()/m.Seconds(), "clickhouse_"+q.name+"_engine")
			if q.name == "small" {
				figures.add("clickhouse_small_"+w.name+"_added", ms(m-bare[q.name]), "ms")
			}
		}
	}
	for _, in := range chInsertions(blocks) {
		if err := chInsert(ctx, srv, columns, conn, web, in, inserts[in.name], figures); err != nil {
			return err
		}
	}
	return nil
}

// chInsertion is a number of inserts.
type chInsertion struct {
	name, table, token string
	unit               string
	blocks             [][]byte
	input              proto.Input // a block, as ch-go sends it
	rows               int         // of a block
}

// figure is rows a second of large inserts, and the milliseconds of a small one.
func (in chInsertion) figure(rows uint64, took time.Duration) float64 {
	if in.unit == "ms" {
		return ms(took) / float64(len(in.blocks))
	}
	return float64(rows) / took.Seconds()
}

// chInsertions are large inserts, of which the engine's work is what counts, and small ones into nothing, each under a token of its own, of which it is not.
func chInsertions(blocks [][]byte) []chInsertion {
	small := binary.AppendUvarint(nil, 1)
	small = append(append(small, 1, 1, 'n', 6), "UInt64"...)
	small = binary.LittleEndian.AppendUint64(small, 7)
	n := proto.ColUInt64{7}
	return []chInsertion{
		{name: "insert", table: chWideTable(), unit: "rows/s", blocks: blocks, input: chInput(), rows: chInsertRows},
		{name: "insert_small", table: "(n UInt64) ENGINE = Null", token: "t", unit: "ms", blocks: slices.Repeat([][]byte{small}, chSmallInserts), input: proto.Input{{Name: "n", Data: &n}}, rows: 1},
	}
}

// chInsert inserts the same rows through each protocol.
func chInsert(ctx context.Context, srv *chembed.Server, columns *ch.Client, conn driver.Conn, web *http.Client, in chInsertion, direct float64, figures *chFigures) error {
	for _, way := range []string{"native", "http"} {
		if err := conn.Exec(ctx, "CREATE OR REPLACE TABLE "+way+" "+in.table); err != nil {
			return err
		}
		start := time.Now()
		for i, b := range in.blocks {
			var err error
			token := in.token
			if token != "" {
				token += strconv.Itoa(i)
			}
			if way == "http" {
				v := url.Values{"query": {"INSERT INTO http FORMAT Native"}}
				if token != "" {
					v.Set("insert_deduplication_token", token)
				}
				err = chPost(ctx, web, srv.HTTPAddr(), v, b)
			} else {
				q := ch.Query{Body: "INSERT INTO native VALUES", Input: in.input}
				if token != "" {
					q.Settings = []ch.Setting{{Key: "insert_deduplication_token", Value: token, Important: true}}
				}
				err = columns.Do(ctx, q)
			}
			if err != nil {
				return fmt.Errorf("%s by %s: %w", in.name, way, err)
			}
		}
		took := time.Since(start)
		sent := uint64(len(in.blocks) * in.rows)
		if in.token == "" { // the others go nowhere
			var rows uint64
			if err := conn.QueryRow(ctx, "SELECT count() FROM "+way).Scan(&rows); err != nil {
				return err
			}
			if rows != sent {
				return fmt.Errorf("insert by %s: %d rows arrived of %d", way, rows, sent)
			}
		}
		value := in.figure(sent, took)
		ratio := value / direct
		if in.unit == "ms" {
			ratio = direct / value
		}
		figures.addRatio("clickhouse_"+in.name+"_"+way, value, in.unit, ratio, "clickhouse_"+in.name+"_engine")
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

func chPost(ctx context.Context, web *http.Client, addr string, v url.Values, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/?"+v.Encode(), bytes.NewReader(body))
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

func chMiddle(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
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
