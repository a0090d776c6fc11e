package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

const exportTrades = `INSERT INTO trades (event_time, stream_after_event_ns, recv_to_stream_ns, stream_seq, idx, source, action, symbol, trade_number, exchange, tape, price_usd, size_shares, condition_codes)
	WITH toDateTime64('2026-11-20 21:00:00', 9, 'UTC') + toIntervalMicrosecond(number) AS stored
	SELECT toDateTime64('2026-11-18 14:30:00.123456789', 9, 'UTC') + INTERVAL number %% 3 DAY + toIntervalSecond(number) AS at,
		toUnixTimestamp64Nano(stored) - intDiv(toUnixTimestamp64Nano(at), 1000) * 1000, toUnixTimestamp64Nano(stored) - toUnixTimestamp64Nano(at) - 3000000, %d + intDiv(number, 3), number %% 3, 'sim-test', 'trade',
		['CORZ', 'BRK.B'][1 + number %% 2], 52983525029461 + number, ['V', 'D', ''][1 + number %% 3], 'C', toDecimal64(16.5, 8) + toDecimal64('0.00000001', 8) * number,
		1 + number %% 400, ['', '@,', '@,F,', '@,F,I,'][1 + number %% 4]
	FROM numbers(%d)`

func TestExport(t *testing.T) {
	t.Parallel()
	st, srv := storetest.StartServer(t)
	ctx := context.Background()
	do := func(sql string) {
		t.Helper()
		if err := st.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"HASHPIVOT_CLICKHOUSE__ADDR=" + srv.NativeAddr(), "HASHPIVOT_CLICKHOUSE__DATABASE=hashpivot"}
	f := func(code int, want string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := execute(ctx, append([]string{"export"}, args...), env, &out, &errs); got != code || !strings.Contains(out.String()+errs.String(), want) {
			t.Fatalf("%v: code %d\n%s%swant %d, %s", args, got, out.String(), errs.String(), code, want)
		}
		return out.String()
	}
	do(fmt.Sprintf(exportTrades, 1, 30_000))
	dir := t.TempDir()
	trades := []string{"--table", "trades", "--by-symbol", "--out", dir}
	path := func(day, symbol string) string {
		return filepath.Join(dir, "trades", "date="+day, "symbol="+symbol, "trades.parquet")
	}

	t.Run("resumes", func(t *testing.T) {
		// The first file's line ends the run, as Ctrl-C would.
		ictx, cancel := context.WithCancel(ctx)
		var errs bytes.Buffer
		if code := execute(ictx, append([]string{"export"}, trades...), env, writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }), &errs); code != 1 ||
			!strings.Contains(errs.String(), "run it again to go on") {
			t.Fatalf("code %d, %s", code, errs.String())
		}
		first := modTime(t, path("2026-11-18", "BRK.B"))
		half := path("2026-11-19", "CORZ") + ".writing"
		if err := errors.Join(os.MkdirAll(filepath.Dir(half), 0o755), os.WriteFile(half, []byte("PAR1"), 0o644)); err != nil {
			t.Fatal(err)
		}
		f(0, "6 files in "+filepath.Join(dir, "trades")+": 5 new, 0 written again, 1 were whole; 25000 rows", trades...)
		f(0, "0 new, 0 written again, 6 were whole; 0 rows", trades...)
		if _, err := os.Stat(half); err == nil || modTime(t, path("2026-11-18", "BRK.B")) != first {
			t.Errorf("a half file stayed, or a whole one was written again: %v", err)
		}
		// Killed before the manifest was written: the files tell themselves.
		if err := os.Remove(filepath.Join(dir, "trades", "manifest.json")); err != nil {
			t.Fatal(err)
		}
		f(0, "0 new, 0 written again, 6 were whole", trades...)
		// Damaged, and gone.
		if err := errors.Join(os.Truncate(path("2026-11-18", "CORZ"), 100), os.Remove(path("2026-11-19", "CORZ"))); err != nil {
			t.Fatal(err)
		}
		out := f(0, "0 new, 2 written again, 4 were whole", trades...)
		if !strings.Contains(out, "date=2026-11-18/symbol=CORZ/trades.parquet: 5000 rows") || !strings.Contains(out, "(file is damaged)") || !strings.Contains(out, "(file is gone)") {
			t.Errorf("told %s", out)
		}
	})

	t.Run("late rows", func(t *testing.T) {
		do(`INSERT INTO trades SELECT * REPLACE (toUInt64(20000) AS stream_seq, toUnixTimestamp64Nano(toDateTime64('2026-11-21 10:00:00', 9, 'UTC')) - intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000 AS stream_after_event_ns, 'cancel' AS action) FROM trades
			WHERE symbol = 'CORZ' AND toDate(event_time) = '2026-11-20' LIMIT 3`)
		out := f(0, "0 new, 1 written again, 5 were whole; 5003 rows", trades...)
		if !strings.Contains(out, "date=2026-11-20/symbol=CORZ/trades.parquet: 5003 rows") || !strings.Contains(out, "(changed: rows 5000, now 5003; last cursor 9999:2, now 20000:2)") {
			t.Errorf("told %s", out)
		}
		// As of before they came, in a directory of its own.
		asOf := t.TempDir()
		f(0, "1 files in "+filepath.Join(asOf, "trades")+": 1 new", "--table", "trades", "--symbols", "corz", "--partition", "none", "--as-of", "2026-11-21T00:00:00Z", "--out", asOf)
		rows, about := readParquet(t, filepath.Join(asOf, "trades", "trades.parquet"))
		if len(rows) != 15_000 || about["hashpivot.as_of"] != "2026-11-21T00:00:00Z" {
			t.Errorf("%d rows, as of %s", len(rows), about["hashpivot.as_of"])
		}
	})

	t.Run("exact", func(t *testing.T) {
		rows, about := readParquet(t, path("2026-11-20", "CORZ"))
		same(t, st, "SELECT * FROM trades_as_of(as_of = '2200-01-01 00:00:00') WHERE symbol = 'CORZ' AND toDate(event_time) = '2026-11-20' ORDER BY symbol, event_time, stream_seq, idx", rows)
		if about["hashpivot.rows"] != "5003" || about["hashpivot.min_cursor"] == "" || about["hashpivot.max_cursor"] != "20000:2" || about["hashpivot.version"] != version() ||
			!strings.Contains(about["hashpivot.query"], "FROM trades") {
			t.Errorf("metadata %v", about)
		}
		want := map[string]string{
			"event_time": "TIMESTAMP(isAdjustedToUTC=true,unit=NANOS)", "price_usd": "DECIMAL(18,8)", "symbol": "STRING", "stream_seq": "INT(64,false)", "action": "STRING",
			"backfill": "BOOLEAN",
		}
		for name, typ := range want {
			if got := parquetTypes(t, path("2026-11-20", "CORZ"))[name]; got != typ {
				t.Errorf("%s is %s, want %s", name, got, typ)
			}
		}
	})

	t.Run("everything", func(t *testing.T) {
		query := strings.ReplaceAll(oddRow, "'\\\\N'", "'x'") + ", toDate('2026-11-20') + number AS event_day, number AS n, toInt128(-5) AS wide, generateUUIDv4() AS id, toFixedString('ab', 3) AS fixed, " +
			"CAST(if(number = 1, [], [[1, NULL], []]), 'Array(Array(Nullable(Int16)))') AS nested, CAST(NULL, 'Nullable(Decimal(38, 19))') AS none_yet FROM numbers(3)"
		do("CREATE TABLE odd ENGINE = MergeTree ORDER BY n AS " + query)
		f(0, "1 new", "--query", "SELECT * FROM odd", "--name", "odd", "--partition", "none", "--out", dir)
		rows, _ := readParquet(t, filepath.Join(dir, "odd", "odd.parquet"))
		same(t, st, "SELECT * FROM odd ORDER BY n", rows)
		f(0, "0 new, 0 written again, 1 were whole", "--query", "SELECT * FROM odd", "--name", "odd", "--partition", "none", "--out", dir)
		// Rows without a cursor: their values tell.
		do("ALTER TABLE odd UPDATE tenth = 0.2 WHERE n = 1 SETTINGS mutations_sync = 2")
		f(0, "(changed: values differ)", "--query", "SELECT * FROM odd", "--name", "odd", "--partition", "none", "--out", dir)
		do("ALTER TABLE odd ADD COLUMN more UInt8")
		f(0, "1 written again", "--query", "SELECT * FROM odd", "--name", "odd", "--partition", "none", "--out", dir)
	})

	t.Run("views", func(t *testing.T) {
		do(`INSERT INTO bars (event_time, stream_time, stream_seq, source, symbol, interval, close_usd) VALUES
			('2026-10-30 04:00:00', '2026-11-01 00:00:00', 1, 'sim-test', 'CORZ', '1d', 16.5), ('2026-11-02 05:00:00', '2026-11-03 00:00:00', 2, 'sim-test', 'CORZ', '1d', 17)`)
		f(0, "2 files", "--table", "bars_now", "--partition", "month", "--out", dir)
		rows, _ := readParquet(t, filepath.Join(dir, "bars_now", "month=2026-11", "bars_now.parquet"))
		same(t, st, "SELECT * FROM bars_now WHERE event_time >= '2026-11-01'", rows)
		f(0, "1 files", "--table", "bars_now", "--partition", "month", "--from", "2026-11-10", "--to", "2026-11-11", "--out", dir)
		f(0, "0 files", "--query", "SELECT * FROM pivot_with(j_per_th = 17.5, mining_pue = 1.03, utilisation = 1, gpu_pue = 1.3)", "--name", "pivot", "--out", dir)
	})

	t.Run("refused", func(t *testing.T) {
		f(2, "holds another export", "--table", "trades", "--out", dir)
		f(2, "give one of --table and --query", "--out", dir)
		f(2, "there is no table or view nothing", "--table", "nothing", "--out", dir)
		f(2, "is not the name of a table", "--table", "trades; DROP TABLE trades", "--out", dir)
		f(2, "give one for the directory", "--query", "SELECT 1", "--out", dir)
		f(2, "write them into the query", "--query", "SELECT 1", "--name", "one", "--as-of", "2026-11-01", "--out", dir)
		f(2, "is none of day, month, none", "--table", "trades", "--partition", "week", "--out", dir)
		f(2, "has no column event_time, minute or day", "--query", "SELECT 1", "--name", "one", "--out", dir)
		f(2, "has no column symbol", "--table", "hashprice", "--by-symbol", "--out", dir)
		f(2, "neither stream_time nor a view gpu_systems_now_as_of", "--table", "gpu_systems_now", "--as-of", "2026-11-01", "--partition", "none", "--out", dir)
		f(2, "is not after --from", "--table", "trades", "--from", "2026-11-02", "--to", "2026-11-01", "--out", dir)
		f(1, "for a view with parameters, give --query", "--table", "pivot_as_of", "--out", dir)
		f(1, "values of type IPv4 are not read here", "--query", "SELECT toIPv4('127.0.0.1') AS ip", "--name", "ip", "--partition", "none", "--out", dir)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func modTime(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime().UnixNano()
}

// readParquet reads a file as any reader would, a row as the JSON that sql prints of it.
func readParquet(t *testing.T, path string) ([]map[string]any, map[string]string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	about := map[string]string{}
	for _, kv := range file.Metadata().KeyValueMetadata {
		about[kv.Key] = kv.Value
	}
	var out []map[string]any
	for _, g := range file.RowGroups() {
		rows := g.Rows()
		buf := make([]parquet.Row, 1)
		for {
			n, err := rows.ReadRows(buf)
			if n == 1 {
				out = append(out, rowOf(file.Schema(), buf[0]))
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out, about
}

// rowOf puts a row's leaves together by their levels: the other half of what parquetWriter does, written from the format's description.
func rowOf(schema *parquet.Schema, row parquet.Row) map[string]any {
	out := map[string]any{}
	at := 0
	for _, f := range schema.Fields() {
		n := leaves(f)
		columns := make([][]parquet.Value, n)
		for _, v := range row {
			if v.Column() >= at && v.Column() < at+n {
				columns[v.Column()-at] = append(columns[v.Column()-at], v)
			}
		}
		out[f.Name()] = assemble(f, columns, 0, 0)
		at += n
	}
	return out
}

func leaves(n parquet.Node) int {
	if n.Leaf() {
		return 1
	}
	sum := 0
	for _, f := range n.Fields() {
		sum += leaves(f)
	}
	return sum
}

// assemble makes the value of a node that lies at these levels.
func assemble(n parquet.Node, columns [][]parquet.Value, rep, def int) any {
	if n.Optional() {
		def++
	}
	if n.Leaf() {
		if v := columns[0][0]; v.DefinitionLevel() == def {
			return scalarText(n, v)
		}
		return nil
	}
	fields := n.Fields()
	split := func(fields []parquet.Field, columns [][]parquet.Value) (out [][][]parquet.Value) {
		for _, f := range fields {
			k := leaves(f)
			out, columns = append(out, columns[:k]), columns[k:]
		}
		return out
	}
	if len(fields) == 1 && fields[0].Repeated() {
		inner := fields[0].Fields()
		isMap := len(inner) == 2
		list, object := []any{}, map[string]any{}
		if columns[0][0].DefinitionLevel() > def {
			for _, item := range items(columns, rep+1) {
				parts := split(inner, item)
				if isMap {
					object[fmt.Sprint(assemble(inner[0], parts[0], rep+1, def+1))] = assemble(inner[1], parts[1], rep+1, def+1)
				} else {
					list = append(list, assemble(inner[0], parts[0], rep+1, def+1))
				}
			}
		}
		if isMap {
			return object
		}
		return list
	}
	object := map[string]any{}
	for i, part := range split(fields, columns) {
		object[fields[i].Name()] = assemble(fields[i], part, rep, def)
	}
	return object
}

// items cuts columns where a value repeats at the level or above.
func items(columns [][]parquet.Value, level int) (out [][][]parquet.Value) {
	for k, values := range columns {
		i := -1
		for j, v := range values {
			if j == 0 || v.RepetitionLevel() <= level {
				if i++; k == 0 {
					out = append(out, make([][]parquet.Value, len(columns)))
				}
			}
			out[i][k] = append(out[i][k], v)
		}
	}
	return out
}

func scalarText(n parquet.Node, v parquet.Value) any {
	if logical := n.Type().LogicalType(); logical != nil {
		switch l := logical.Value.(type) {
		case *format.DecimalType:
			switch v.Kind() {
			case parquet.FixedLenByteArray:
				b := v.ByteArray() // two's complement, the highest byte first
				n := new(big.Int).SetBytes(b)
				if b[0]&0x80 != 0 {
					n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b)*8)))
				}
				return "decimal " + n.String()
			case parquet.Int32:
				return fmt.Sprint("decimal ", v.Int32())
			}
			return fmt.Sprint("decimal ", v.Int64())
		case *format.TimestampType:
			return fmt.Sprint("ticks ", v.Int64())
		case *format.DateType:
			return fmt.Sprint("days ", v.Int32())
		case *format.UUIDType:
			return fmt.Sprintf("%x", v.ByteArray())
		case *format.IntType:
			switch {
			case !l.IsSigned && v.Kind() == parquet.Int32:
				return fmt.Sprint(uint32(v.Int32()))
			case !l.IsSigned:
				return fmt.Sprint(uint64(v.Int64()))
			}
		}
	}
	switch v.Kind() {
	case parquet.Boolean:
		return fmt.Sprint(v.Boolean())
	case parquet.Float:
		return floatText(float64(v.Float()), 32)
	case parquet.Double:
		return floatText(v.Double(), 64)
	case parquet.ByteArray:
		return string(v.ByteArray())
	}
	return fmt.Sprint(v)
}

// same holds rows of a file against the database's, whose decimals and times are asked for as the integers that they are.
func same(t *testing.T, st *store.Store, sql string, rows []map[string]any) {
	t.Helper()
	i := 0
	var names []string
	var types []chType
	err := st.QueryEach(context.Background(), sql, func(n, ts []string) error {
		names = n
		for _, typ := range ts {
			types = append(types, parseType(typ))
		}
		return nil
	}, func(row []any) error {
		if i >= len(rows) {
			return fmt.Errorf("the file has %d rows only", len(rows))
		}
		for k, v := range row {
			want, got := normal(types[k], v), rows[i][names[k]]
			w, _ := json.Marshal(want)
			g, _ := json.Marshal(got)
			if !bytes.Equal(w, g) {
				return fmt.Errorf("row %d, %s: file %s, database %s", i, names[k], g, w)
			}
		}
		i++
		return nil
	})
	if err != nil || i != len(rows) || i == 0 {
		t.Errorf("%d of %d rows: %v", i, len(rows), err)
	}
}

// normal is a value of the database's in the words of scalarText.
func normal(typ chType, v any) any {
	if v == nil {
		return nil
	}
	switch typ.name {
	case "Decimal":
		text := fmt.Sprint(v)
		scale := typ.number(1)
		whole, frac, _ := strings.Cut(strings.TrimPrefix(text, "-"), ".")
		digits := strings.TrimLeft(whole+frac+strings.Repeat("0", scale-len(frac)), "0")
		switch {
		case digits == "":
			digits = "0"
		case strings.HasPrefix(text, "-"):
			digits = "-" + digits
		}
		return "decimal " + digits
	case "DateTime64":
		unit := time.Nanosecond
		if p := typ.number(0); p <= 3 {
			unit = time.Millisecond
		} else if p <= 6 {
			unit = time.Microsecond
		}
		return fmt.Sprint("ticks ", v.(time.Time).UnixNano()/int64(unit))
	case "Date":
		return fmt.Sprint("days ", v.(time.Time).Unix()/86400)
	case "UUID":
		return strings.ReplaceAll(fmt.Sprint(v), "-", "")
	case "Array":
		list := []any{}
		r := reflect.ValueOf(v)
		for i := range r.Len() {
			list = append(list, normal(typ.args[0], r.Index(i).Interface()))
		}
		return list
	case "Map", "Tuple":
		object := map[string]any{}
		r := reflect.ValueOf(v)
		for _, k := range r.MapKeys() {
			arg := typ.args[len(typ.args)-1]
			if typ.name == "Tuple" {
				arg = typ.args[slices.Index(typ.fields, k.String())]
			}
			object[k.String()] = normal(arg, r.MapIndex(k).Interface())
		}
		return object
	}
	text, err := typ.text(v)
	if err != nil {
		return err
	}
	return text
}

func parquetTypes(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, field := range file.Schema().Fields() {
		if field.Leaf() {
			out[field.Name()] = field.Type().String()
		}
	}
	return out
}
