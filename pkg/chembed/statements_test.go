package chembed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/ext"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// Tables that come with a query are there for it and gone after it, by both protocols.
func TestExternalTables(t *testing.T) {
	srv := chembedtest.Shared(t)
	conn := open(t, srv, func(o *clickhouse.Options) { o.MaxOpenConns = 1 })
	ctx := context.Background()
	table := func(name string, rows int) *ext.Table {
		tab, err := ext.NewTable(name, ext.Column("id", "UInt64"), ext.Column("name", "LowCardinality(String)"), ext.Column("tags", "Array(Nullable(String))"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			if err := tab.Append(uint64(i), "n", []*string{nil}); err != nil {
				t.Fatal(err)
			}
		}
		return tab
	}
	with := clickhouse.Context(ctx, clickhouse.WithExternalTable(table("ext1", 1000), table("ext2", 10)))
	for range 2 { // the second time the names must be free again
		var n, m uint64
		if err := conn.QueryRow(with, "SELECT (SELECT sum(id) FROM ext1), (SELECT count() FROM ext2 WHERE name = 'n')").Scan(&n, &m); err != nil {
			t.Fatal(err)
		}
		if n != 499500 || m != 10 {
			t.Errorf("sum %d, count %d", n, m)
		}
	}
	wantCode(t, conn.Exec(ctx, "SELECT * FROM ext1"), 60)

	c := httpClient(t)
	form := func(fields map[string]string, files map[string]string) (*http.Response, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for k, v := range fields {
			_ = w.WriteField(k, v)
		}
		for k, v := range files {
			f, err := w.CreateFormFile(k, k+".txt")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = f.Write([]byte(v))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return do(t, srv, c, request{body: &b, header: map[string]string{"Content-Type": w.FormDataContentType()}})
	}
	f := func(fields, files map[string]string, status int, want string) {
		t.Helper()
		if resp, body := form(fields, files); resp.StatusCode != status || !strings.Contains(body, want) {
			t.Errorf("%v: %d %s; want %d with %q", fields, resp.StatusCode, body, status, want)
		}
	}
	f(map[string]string{"query": "SELECT sum(id), any(`a name`) FROM e", "e_structure": "id UInt32, `a name` String"}, map[string]string{"e": "1\tx\n2\tx\n"}, 200, "3\tx\n")
	f(map[string]string{"query": "SELECT sum(_1) FROM e WHERE _2 = 'y'", "e_types": "UInt8, Enum8('x' = 1, 'y' = 2)", "e_format": "CSV"}, map[string]string{"e": "1,x\n2,y\n"}, 200, "2\n")
	f(map[string]string{"query": "SELECT count() FROM a, b", "a_types": "UInt8", "b_types": "String"}, map[string]string{"a": "1\n2\n", "b": "p\nq\n"}, 200, "4\n")
	f(map[string]string{"query": "SELECT {x:UInt8}", "param_x": "5"}, nil, 200, "5\n")
	f(map[string]string{"query": "SELECT * FROM e"}, map[string]string{"e": "1\n"}, 400, "e_structure")
	f(map[string]string{"query": "SELECT * FROM e", "e_structure": "id UInt8) ENGINE = File(CSV"}, map[string]string{"e": "1\n"}, 400, "")
	f(map[string]string{"query": "SELECT * FROM e", "e_structure": "id Nonsense"}, map[string]string{"e": "1\n"}, 404, "Nonsense")
	f(map[string]string{"query": "SELECT * FROM e", "e_types": "UInt8"}, map[string]string{"e": "no number\n"}, 400, "Code: ")
}

// What runs is seen under the client's own query id, and ends by it.
func TestProcessesAndKill(t *testing.T) {
	srv := chembedtest.Shared(t)
	c := httpClient(t)
	watch := open(t, srv)
	ctx := context.Background()
	type process struct{ user, query, kind, agent string }
	find := func(id string) (p process, ok bool) {
		rows, err := watch.Query(ctx, "SELECT user, query, toString(interface), http_user_agent FROM system.processes WHERE query_id = '"+id+"'")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			if err := rows.Scan(&p.user, &p.query, &p.kind, &p.agent); err != nil {
				t.Fatal(err)
			}
			ok = true
		}
		return p, ok
	}
	const sql = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
	ended := make(chan string, 2)
	go func() {
		resp, body := do(t, srv, c, request{params: url.Values{"query_id": {"by-http"}}, body: strings.NewReader(sql), header: map[string]string{"User-Agent": "test agent"}})
		ended <- resp.Header.Get("X-ClickHouse-Exception-Code") + " " + body
	}()
	// A comment of the client's own, wherever it is set, is no hiding place.
	const commented = sql + " SETTINGS log_comment = 'mine'"
	native := open(t, srv)
	go func() {
		err := native.Exec(clickhouse.Context(ctx, clickhouse.WithQueryID("by-native"), clickhouse.WithSettings(clickhouse.Settings{"log_comment": "theirs"})), commented)
		if err == nil {
			ended <- "ended well"
			return
		}
		ended <- err.Error()
	}()
	eventually(t, "both queries to run", func() bool {
		_, a := find("by-http")
		_, b := find("by-native")
		return a && b
	})
	if p, _ := find("by-http"); p != (process{"default", sql, "2", "test agent"}) {
		t.Errorf("by HTTP: %+v", p)
	}
	if p, _ := find("by-native"); p.user != "default" || p.query != commented || p.kind != "1" {
		t.Errorf("by the native protocol: %+v", p)
	}
	var comment, marks string
	if err := watch.QueryRow(ctx, "SELECT Settings['log_comment'], arrayStringConcat(arrayFilter(v -> v NOT IN ('', '0', '1'), mapValues(mapFilter((k, v) -> k LIKE '%cache_name', Settings)))) "+
		"FROM system.processes WHERE query_id = 'by-native'").Scan(&comment, &marks); err != nil || comment != "mine" || marks != "" {
		t.Errorf("comment %q, marks of ours %q, %v", comment, marks, err)
	}
	// The same id a second time is refused.
	resp, _ := do(t, srv, c, request{params: url.Values{"query_id": {"by-http"}}, body: strings.NewReader("SELECT 1")})
	if code := resp.Header.Get("X-ClickHouse-Exception-Code"); code != "216" {
		t.Errorf("the same query id: code %q", code)
	}
	_, body := do(t, srv, c, request{body: strings.NewReader("KILL QUERY WHERE query_id = 'nobody' SYNC")})
	if body != "" {
		t.Errorf("nobody killed: %q", body)
	}
	_, body = do(t, srv, c, request{body: strings.NewReader("KILL QUERY WHERE query_id = 'by-http' TEST")})
	if !strings.HasPrefix(body, "waiting\tby-http\tdefault\t") {
		t.Errorf("test: %q", body)
	}
	_, body = do(t, srv, c, request{body: strings.NewReader("KILL QUERY WHERE query_id IN ('by-http', 'by-native') SYNC FORMAT TSV")})
	if !strings.Contains(body, "finished\tby-http\tdefault\t") || !strings.Contains(body, "finished\tby-native\tdefault\t") {
		t.Errorf("kill: %q", body)
	}
	// What queries are found again by is not for clients to change, however they write it.
	for _, sql := range []string{
		"SELECT 1 SETTINGS distributed_cache_file_cache_name = 'x'", "SET distributed_cache_file_cache_name = 'x'", "SELECT 1 SETTINGS `distributed_cache_file_cache_name` = 'x'",
		"SELECT 1 SETTINGS `distributed\\x5fcache_file_cache_name` = 'x'", "SELECT 1 SETTINGS distributed_cache_file_cache_name",
		"INSERT INTO FUNCTION null('a UInt8') SETTINGS distributed_cache_file_cache_name = 'x' VALUES (1)",
	} {
		wantCode(t, watch.Exec(ctx, sql), 452)
	}
	wantCode(t, watch.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"distributed_cache_file_cache_name": "x"})), "SELECT 1"), 452)
	for range 2 {
		if got := <-ended; !strings.Contains(got, "394") && !strings.Contains(got, "cancelled") {
			t.Errorf("a killed query: %s", got)
		}
	}
	if err := native.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// What the engine cannot run here says what to use instead, under ClickHouse's own codes.
func TestAdvice(t *testing.T) {
	conn := open(t, chembedtest.Shared(t))
	ctx := context.Background()
	for sql, want := range map[string]struct {
		code int32
		text string
	}{
		"CREATE USER u IDENTIFIED BY 'x'":                    {497, "clickhouse.server.users"},
		"CREATE QUOTA q FOR INTERVAL 1 hour MAX queries = 1": {497, "Quotas"},
		"CREATE ROLE r":                                         {497, "roles"},
		"CREATE ROW POLICY p ON t USING 1":                      {497, "views"},
		"GRANT SELECT ON *.* TO default":                        {497, "grants"},
		"CREATE TABLE c ON CLUSTER x (a UInt8) ENGINE = Memory": {701, "leave ON CLUSTER out"},
		"SELECT * FROM cluster('x', system.one)":                {701, "no clusters"},
		"CREATE TABLE n (a UInt8) ENGINE = NATS SETTINGS nats_url = 'x', nats_subjects = 'y', nats_format = 'CSV'": {56, "lander"},
	} {
		err := conn.Exec(ctx, sql)
		ex, ok := errors.AsType[*clickhouse.Exception](err)
		if !ok {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if ex.Code != want.code || !strings.Contains(ex.Message, want.text) {
			t.Errorf("%s: %d %s; want %d with %q", sql, ex.Code, ex.Message, want.code, want.text)
		}
	}
}

// Totals and extremes come as packets of their own, whatever they hold.
func TestTotals(t *testing.T) {
	conn := open(t, chembedtest.Shared(t))
	ctx := context.Background()
	rows, err := conn.Query(ctx, `SELECT number % 3 AS k, count() AS n, groupArray((number, 'it\'s\t' || toString(number))) AS g, sum(number) / 0 AS inf,
		toNullable(k) AS nk FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var k uint8
	var n uint64
	var g [][]any
	var inf float64
	var nk *uint8
	count := 0
	for ; rows.Next(); count++ {
		if err := rows.Scan(&k, &n, &g, &inf, &nk); err != nil {
			t.Fatal(err)
		}
		if int(k) != count || len(g) != int(n) || g[0][1] != fmt.Sprintf("it's\t%d", k) || *nk != k {
			t.Errorf("row %d: %d %d %v %v", count, k, n, g, nk)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if err := rows.Totals(&k, &n, &g, &inf, &nk); err != nil {
		t.Fatal(err)
	}
	if count != 3 || k != 0 || n != 10 || len(g) != 10 || !math.IsInf(inf, 1) {
		t.Errorf("%d rows, totals %d %d %v %v", count, k, n, g, inf)
	}
	// As wide as it gets: the result is held as a whole, and says so when it is too large.
	err = conn.Exec(ctx, "SELECT number, repeat('x', 10000) FROM numbers(3500) GROUP BY number WITH TOTALS")
	wantCode(t, err, 396)
	if err := conn.Ping(ctx); err != nil {
		t.Error(err)
	}
}

// An INSERT without columns takes those that are stored, also in a session whose * shows computed ones.
func TestInsertWithoutColumnsLeavesOutComputedOnes(t *testing.T) {
	conn := open(t, chembedtest.Shared(t), func(o *clickhouse.Options) {
		o.Settings = clickhouse.Settings{"asterisk_include_alias_columns": 1, "asterisk_include_materialized_columns": 1}
	})
	ctx := context.Background()
	if err := conn.Exec(ctx, "CREATE TABLE computed (a UInt8, twice UInt16 ALIAS 2 * a, half UInt8 MATERIALIZED intDiv(a, 2)) ENGINE = MergeTree ORDER BY a"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Exec(ctx, "DROP TABLE computed") }()
	b, err := conn.PrepareBatch(ctx, "INSERT INTO computed")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Append(uint8(6)), b.Send()); err != nil {
		t.Fatal(err)
	}
	var a, half uint8
	var twice uint16
	if err := conn.QueryRow(ctx, "SELECT * FROM computed").Scan(&a, &half, &twice); err != nil || a != 6 || twice != 12 || half != 3 {
		t.Errorf("%d, twice %d, half %d (%v)", a, twice, half, err)
	}
}
