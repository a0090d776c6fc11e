package chembed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
)

// stateColumn holds states as they are on the wire. How long each is it has been told: by the engine, of states as text.
type stateColumn struct {
	typ  proto.ColumnType
	size []int
	rows [][]byte
}

func (c *stateColumn) Type() proto.ColumnType { return c.typ }
func (c *stateColumn) Rows() int              { return len(c.rows) }
func (c *stateColumn) Reset()                 { c.rows = nil }

func (c *stateColumn) DecodeColumn(r *proto.Reader, rows int) error {
	for range rows {
		b, err := r.ReadRaw(c.size[len(c.rows)])
		if err != nil {
			return err
		}
		c.rows = append(c.rows, append([]byte(nil), b...))
	}
	return nil
}

func (c *stateColumn) EncodeColumn(b *proto.Buffer) {
	for _, row := range c.rows {
		b.Buf = append(b.Buf, row...)
	}
}

func (c *stateColumn) WriteColumn(w *proto.Writer) { w.ChainBuffer(c.EncodeColumn) }

// The states of the functions that are known come out and go in as they are, whatever stands behind them.
func TestStatesOfAggregateFunctions(t *testing.T) {
	srv, db := shared(t)
	c := httpClient(t)
	query := func(sql string) string {
		t.Helper()
		resp, body := do(t, srv, c, request{params: url.Values{"query": {sql}}, database: db})
		if resp.StatusCode != 200 {
			t.Fatalf("%.200s: %s", sql, body)
		}
		return strings.TrimSpace(body)
	}
	const (
		text = "toString(number)"
		null = "if(number % 3 = 0, NULL, number)"
	)
	var calls []string
	for _, f := range []string{"sum", "avg", "min", "max", "any", "anyLast", "uniq", "uniqExact", "groupArray", "groupUniqArray", "quantileExact"} {
		for _, arg := range []string{"number", "number = 1", "toInt8(number)", "toFloat32(number)", "toDecimal64(number, 3)", "toDateTime64(number, 3)", "toDate(number)", null, "toLowCardinality(toUInt16(number))"} {
			if sums := f == "sum" || f == "avg"; !sums || !strings.Contains(arg, "Date") {
				calls = append(calls, f+"("+arg+")")
			}
		}
	}
	for _, f := range []string{"min", "max", "any", "uniq", "uniqExact", "groupArray", "groupUniqArray"} {
		calls = append(calls, f+"("+text+")", f+"(toLowCardinality("+text+"))", f+"(toNullable("+text+"))")
	}
	calls = append(calls, "count()", "count(number)", "count("+null+")", "countIf(number > 50)", "sumIf(number, number > 50)", "sumOrNull(number)", "maxOrDefault("+text+")",
		"minIf("+null+", number > 50)", "argMax("+text+", number)", "argMin(number, "+text+")", "argMaxIf(toDate(number), toDateTime64(number, 3), number > 990)", "sumWithOverflow(toUInt8(number))",
		"quantile(number)", "quantiles(0.5, 0.9)(toFloat32(number))", "quantileTDigest(number)", "quantilesExact(0.5)(toInt32(number))", "stddevPop(number)", "varSamp(toFloat64(number))",
		"varPopStable(number)", "avgOrNull(number)", "max(toDate(number))", "min(toDateTime64(number, 9))", "sum(number = 1)", "sum(toDecimal256(number, 2))")
	states := make([]string, len(calls))
	for i, call := range calls {
		at := strings.IndexByte(call, '(')
		states[i] = fmt.Sprintf("%sState%s AS s%d", call[:at], call[at:], i)
	}
	query("CREATE TABLE states ENGINE = Memory AS SELECT number % 7 AS k, " + strings.Join(states, ", ") + ", 'behind' AS z FROM numbers(1000) GROUP BY k ORDER BY k")
	query("CREATE TABLE again AS states")
	var results proto.Results
	var input proto.Input
	columns := make([]*stateColumn, len(calls))
	k, z := new(proto.ColUInt8), new(proto.ColStr)
	add := func(name string, c proto.Column) {
		results = append(results, proto.ResultColumn{Name: name, Data: c})
		input = append(input, proto.InputColumn{Name: name, Data: c})
	}
	add("k", k)
	var ask []string
	for i := range calls {
		ask = append(ask, fmt.Sprintf("any(toTypeName(s%d)), groupArray(length(CAST(s%[1]d AS String)))", i))
	}
	told := strings.Split(query("SELECT "+strings.Join(ask, ", ")+" FROM (SELECT * FROM states ORDER BY k) FORMAT TSVRaw"), "\t")
	for i := range calls {
		columns[i] = &stateColumn{typ: proto.ColumnType(told[2*i])}
		if err := json.Unmarshal([]byte(told[2*i+1]), &columns[i].size); err != nil {
			t.Fatal(err)
		}
		add(fmt.Sprint("s", i), columns[i])
	}
	add("z", z)
	finals := make([]string, len(calls))
	for i, call := range calls {
		finals[i] = fmt.Sprintf("finalizeAggregation(s%d)", i)
		if strings.HasPrefix(call, "groupUniqArray") { // in any order
			finals[i] = "arraySort(" + finals[i] + ")"
		}
		finals[i] = "groupArray((k, z, " + finals[i] + "))"
	}
	all := "SELECT " + strings.Join(finals, ", ") + " FROM (SELECT * FROM %s ORDER BY k) FORMAT TSVRaw"
	for name, compression := range map[string]ch.Compression{"none": ch.CompressionDisabled, "lz4": ch.CompressionLZ4} {
		conn := dialChGo(t, srv, db, compression)
		ctx := context.Background()
		if err := conn.Do(ctx, ch.Query{Body: "SELECT * FROM states ORDER BY k", Result: results}); err != nil {
			t.Fatalf("%s: read: %v", name, err)
		}
		if k.Rows() != 7 || z.Row(6) != "behind" {
			t.Fatalf("%s: %d rows", name, k.Rows())
		}
		query("TRUNCATE TABLE again")
		if err := conn.Do(ctx, ch.Query{Body: input.Into("again"), Input: input}); err != nil {
			t.Fatalf("%s: insert: %v", name, err)
		}
		want, got := strings.Split(query(fmt.Sprintf(all, "states")), "\t"), strings.Split(query(fmt.Sprintf(all, "again")), "\t")
		for i, call := range calls {
			if got[i] != want[i] {
				t.Errorf("%s: %s: %.200s came back as %.200s", name, call, want[i], got[i])
			}
		}
	}
}
