package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// One row of everything that a format could get wrong.
const oddRow = `SELECT
	toDecimal64('12.50000001', 8) AS price, toDecimal128('-0.0000000000000000001', 19) AS tiny, toUInt64('18446744073709551615') AS big, toInt256('-57896044618658097711785492504343953926634992332820282019728792003956564819968') AS huge,
	CAST(NULL, 'Nullable(String)') AS missing, '' AS empty, '\\N' AS likenull, 'a,"b"\r\nc' AS quoted, ' pad' AS pad, 'ü' AS umlaut,
	toDateTime64('2026-11-20 14:30:00.123456789', 9, 'UTC') AS at, toDateTime64('2026-11-20 14:30:00', 3, 'UTC') AS whole,
	toDateTime64('2026-11-20 09:30:00', 9, 'America/New_York') AS ny, toDate('2026-11-20') AS day,
	['@', 'F'] AS conditions, [toDecimal64('0.1', 8), NULL] AS prices, CAST(map('b', 2.5, 'a', 1), 'Map(String, Decimal(9, 2))') AS inputs,
	CAST((1.5, '2026-11-20'), 'Tuple(z Decimal(9, 2), a Date)') AS pair, CAST([], 'Array(String)') AS none, CAST('x', 'LowCardinality(Nullable(String))') AS low,
	nan AS undefined, -inf AS least, 0.1 AS tenth, true AS yes`

func TestSQLFormats(t *testing.T) {
	t.Parallel()
	srv := chembedtest.Start(t)
	f := func(code int, want string, args ...string) (string, string) {
		t.Helper()
		var out, errs bytes.Buffer
		env := []string{"HASHPIVOT_CLICKHOUSE__ADDR=" + srv.NativeAddr(), "HASHPIVOT_CLICKHOUSE__DATABASE=default"}
		if got := execute(t.Context(), append([]string{"sql"}, args...), env, &out, &errs); got != code || !strings.Contains(errs.String(), want) {
			t.Fatalf("%v: code %d, %s; want %d, %s", args, got, errs.String(), code, want)
		}
		return out.String(), errs.String()
	}
	values := map[string]string{
		"price": "12.50000001", "tiny": "-0.0000000000000000001", "big": "18446744073709551615", "missing": `\N`, "empty": "",
		"huge":     "-57896044618658097711785492504343953926634992332820282019728792003956564819968",
		"likenull": `\N`, "quoted": "a,\"b\"\r\nc", "pad": " pad", "umlaut": "ü", "at": "2026-11-20 14:30:00.123456789", "whole": "2026-11-20 14:30:00.000",
		"ny": "2026-11-20 09:30:00.000000000-05:00", "day": "2026-11-20", "conditions": `["@","F"]`, "prices": "[0.1,null]", "inputs": `{"a":1,"b":2.5}`,
		"pair": `{"z":1.5,"a":"2026-11-20"}`, "none": "[]", "low": "x", "undefined": "nan", "least": "-inf", "tenth": "0.1", "yes": "true",
	}

	t.Run("csv", func(t *testing.T) {
		out, _ := f(0, "", oddRow, "--format", "csv")
		if !strings.Contains(out, `,\N,"","\N","a,""b""`+"\r\n"+`c"," pad",`) || !strings.HasSuffix(out, "\r\n") {
			t.Errorf("NULL, empty, quoted: %q", out)
		}
		// Go's reader makes line ends in fields LF.
		lines, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if err != nil || len(lines) != 2 || len(lines[0]) != len(values) {
			t.Fatalf("%d lines, %v", len(lines), err)
		}
		for i, name := range lines[0] {
			if want := strings.ReplaceAll(values[name], "\r\n", "\n"); lines[1][i] != want {
				t.Errorf("%s: %q, want %q", name, lines[1][i], want)
			}
		}
		out, _ = f(0, "", "SELECT NULL AS a, '' AS b, '-' AS c", "--format", "csv", "--null", "-")
		if out != "a,b,c\r\n-,\"\",\"-\"\r\n" {
			t.Errorf("with a null text of one's own: %q", out)
		}
	})

	t.Run("json", func(t *testing.T) {
		out, _ := f(0, "", oddRow, "--format", "json")
		if same, _ := f(0, "", "--json", oddRow); same != out {
			t.Errorf("--json differs from --format json: %s", same)
		}
		dec := json.NewDecoder(strings.NewReader(out))
		var raw map[string]json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			t.Fatal(err)
		}
		for name, want := range values {
			var got string
			if raw[name][0] != '"' || json.Unmarshal(raw[name], &got) != nil {
				got = string(raw[name])
			}
			switch name {
			case "missing":
				want = "null"
			case "at", "whole":
				want = strings.Replace(want, " ", "T", 1) + "Z"
			case "ny":
				want = strings.Replace(want, " ", "T", 1)
			}
			if got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if !strings.HasPrefix(out, `{"price":12.50000001,"tiny":-0.0000000000000000001,"big":18446744073709551615,`) || strings.Count(out, "\n") != 1 {
			t.Errorf("not an object a line in the order of the columns: %s", out)
		}
	})

	t.Run("table", func(t *testing.T) {
		out, errs := f(0, "2 rows", "SELECT number + 8 AS n, if(number = 1, NULL, 'a\tb') AS s FROM numbers(2);")
		if want := "n  s\n8  a\\tb\n9  NULL\n"; out != want {
			t.Errorf("got %q, %s", out, errs)
		}
		f(0, "done", "CREATE TABLE IF NOT EXISTS nothing (a Int8) ENGINE = Memory")
	})

	t.Run("refused", func(t *testing.T) {
		f(2, "is none of table, csv, json", "SELECT 1", "--format", "xml")
		f(2, "give one of them", "--json", "SELECT 1", "--format", "csv")
		f(2, "--null", "SELECT 1", "--format", "csv", "--null", ",")
		out, _ := f(1, "intended", "SELECT number, throwIf(number = 150000, 'intended') AS ok FROM numbers(200000) SETTINGS max_block_size = 10000", "--format", "csv")
		if !strings.HasPrefix(out, "number,ok\r\n0,0\r\n") {
			t.Errorf("rows before the error: %.60q", out)
		}
	})

	// What is printed leaves at once: a reader who goes away ends the query long before 10^12 rows.
	t.Run("streams", func(t *testing.T) {
		for _, format := range []string{"csv", "json", "table"} {
			r, w := io.Pipe()
			done := make(chan int, 1)
			go func() {
				code := execute(t.Context(), []string{"sql", "SELECT number FROM system.numbers LIMIT 1000000000000", "--format", format},
					[]string{"HASHPIVOT_CLICKHOUSE__ADDR=" + srv.NativeAddr(), "HASHPIVOT_CLICKHOUSE__DATABASE=default"}, w, io.Discard)
				_ = w.CloseWithError(errors.New("ended"))
				done <- code
			}()
			if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
				t.Errorf("%s: %v", format, err)
			}
			_ = r.Close()
			if code := <-done; code != 1 {
				t.Errorf("%s: code %d", format, code)
			}
		}
	})
}

func TestParseType(t *testing.T) {
	got := parseType("Map(LowCardinality(String), Array(Nullable(Decimal(18, 8))))")
	if got.name != "Map" || got.args[0].name != "String" || got.args[1].name != "Array" {
		t.Fatalf("got %+v", got)
	}
	if d := got.args[1].args[0]; d.name != "Decimal" || !slices.Equal(d.params, []string{"18", "8"}) {
		t.Errorf("got %+v", d)
	}
	got = parseType("Tuple(`a b` DateTime64(9, 'UTC'), e Enum8('x,(' = 1, 'y\\'' = 2))")
	if len(got.args) != 2 || !slices.Equal(got.fields, []string{"a b", "e"}) || got.args[0].name != "DateTime64" || got.args[1].name != "Enum8" || len(got.args[1].params) != 2 {
		t.Errorf("got %+v", got)
	}
}
