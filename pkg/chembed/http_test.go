package chembed_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// httpClient leaves no idle connections behind for the leak check.
func httpClient(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// request is one HTTP call: parameters, body, headers by turns; in a database, if they name none.
type request struct {
	method   string
	params   url.Values
	body     io.Reader
	header   map[string]string
	database string
}

func do(t testing.TB, srv *chembed.Server, c *http.Client, r request) (*http.Response, string) {
	t.Helper()
	if r.method == "" {
		r.method = http.MethodPost
	}
	params := url.Values{}
	maps.Copy(params, r.params)
	if r.database != "" && !params.Has("database") {
		params.Set("database", r.database)
	}
	req, err := http.NewRequestWithContext(context.Background(), r.method, "http://"+srv.HTTPAddr()+"/?"+params.Encode(), r.body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%v: %v", r.params, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%v: read: %v", r.params, err)
	}
	return resp, string(b)
}

func TestHTTP(t *testing.T) {
	srv, db := shared(t)
	c := httpClient(t)
	q := func(sql string, more ...string) url.Values {
		v := url.Values{"query": {sql}}
		for i := 0; i+1 < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	f := func(name string, r request, wantStatus int, want string) *http.Response {
		t.Helper()
		if r.params != nil || r.body != nil {
			r.database = db
		}
		resp, got := do(t, srv, c, r)
		if resp.StatusCode != wantStatus || !strings.Contains(got, want) {
			t.Errorf("%s: status %d, body %q; want %d, %q", name, resp.StatusCode, got, wantStatus, want)
		}
		return resp
	}
	f("no query", request{method: "GET"}, 200, "Ok.")
	f("GET", request{method: "GET", params: q("SELECT 1")}, 200, "1\n")
	f("POST in URL", request{params: q("SELECT 2")}, 200, "2\n")
	f("POST in body", request{body: strings.NewReader("SELECT 3")}, 200, "3\n")
	f("URL continued in body", request{params: q("SELECT"), body: strings.NewReader("4")}, 200, "4\n")
	f("JSON by clause", request{params: q("SELECT 5 AS x FORMAT JSONCompact")}, 200, `"data":`)
	f("JSON by default_format", request{params: q("SELECT 5 AS x", "default_format", "JSONEachRow")}, 200, `{"x":5}`)
	f("with settings after the format", request{params: q("SELECT getSetting('max_threads') FORMAT CSV SETTINGS max_threads=1")}, 200, "1\n")
	f("setting", request{params: q("SELECT getSetting('max_block_size')", "max_block_size", "77")}, 200, "77\n")
	f("setting gone with its query", request{params: q("SELECT getSetting('max_block_size') = 77")}, 200, "0\n")
	f("parameter", request{params: q("SELECT {x:UInt8} + 1, {s:String}", "param_x", "6", "param_s", "it's")}, 200, "7\tit\\'s\n")
	f("GET writes nothing", request{method: "GET", params: q("CREATE TABLE no (a UInt8) ENGINE = Memory")}, 500, "Code: 164.")
	f("DDL", request{params: q("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")}, 200, "")
	f("insert in body", request{body: strings.NewReader("INSERT INTO t FORMAT CSV\n1,\"x\"\n2,\"y\"\n")}, 200, "")
	resp := f("insert, data in body", request{params: q("INSERT INTO t FORMAT JSONEachRow"), body: strings.NewReader(`{"a":3,"b":"z"}`)}, 200, "")
	if s := resp.Header.Get("X-ClickHouse-Summary"); !strings.Contains(s, `"written_rows":"1"`) {
		t.Errorf("summary %q", s)
	}
	f("insert values", request{params: q("INSERT INTO t VALUES (4,'v')")}, 200, "")
	f("insert values in body", request{body: strings.NewReader("INSERT INTO t (b, a) VALUES ('w', 5), ('u', 6)")}, 200, "")
	f("insert select", request{params: q("INSERT INTO t SELECT number + 7, 'n' FROM numbers(3)")}, 200, "")
	f("rows", request{params: q("SELECT count(), sum(a) FROM t")}, 200, "9\t45\n")
	f("describe", request{params: q("DESCRIBE TABLE t FORMAT TSV")}, 200, "a\tUInt32")
	f("show", request{params: q("SHOW TABLES")}, 200, "t\n")
	f("database", request{params: q("SELECT currentDatabase()", "database", "system")}, 200, "system\n")
	f("database of the next", request{params: q("SELECT currentDatabase()")}, 200, db+"\n")
	f("unknown table", request{params: q("SELECT * FROM nope")}, 404, "Code: 60. DB::Exception: ")
	resp = f("syntax", request{params: q("SELEC 1")}, 400, "(SYNTAX_ERROR) (version ")
	if h := resp.Header.Get("X-ClickHouse-Exception-Code"); h != "62" {
		t.Errorf("exception code header %q", h)
	}
	f("two statements", request{params: q("SELECT 1; SELECT 2")}, 400, "Multi-statements")
	f("unknown format", request{params: q("SELECT 1 FORMAT Nope")}, 404, "Code: 73.")
	f("unknown setting", request{params: q("SELECT 1", "no_such_setting", "1")}, 404, "Code: 115.")
	f("wrong password", request{params: q("SELECT 1", "user", "default", "password", "x")}, 403, "Code: 516.")
	f("wrong user by header", request{params: q("SELECT 1"), header: map[string]string{"X-ClickHouse-User": "nobody"}}, 403, "Code: 516.")
	resp = f("headers", request{params: q("SELECT 1 FORMAT JSON", "query_id", "my-id")}, 200, "")
	for k, want := range map[string]string{
		"X-ClickHouse-Query-Id": "my-id", "X-ClickHouse-Format": "JSON", "Content-Type": "application/json; charset=UTF-8",
	} {
		if got := resp.Header.Get(k); got != want {
			t.Errorf("header %s = %q, want %q", k, got, want)
		}
	}
	if s := resp.Header.Get("X-ClickHouse-Summary"); !strings.Contains(s, `"read_rows":"1"`) {
		t.Errorf("summary %q", s)
	}
	f("session keeps a setting", request{params: q("SET max_block_size = 99", "session_id", "s1")}, 200, "")
	f("session has it", request{params: q("SELECT getSetting('max_block_size')", "session_id", "s1")}, 200, "99\n")
	f("temporary table", request{params: q("CREATE TEMPORARY TABLE tmp AS SELECT 1 AS one", "session_id", "s1")}, 200, "")
	f("temporary table again", request{params: q("SELECT one FROM tmp", "session_id", "s1")}, 200, "1\n")
	f("not in another session", request{params: q("SELECT one FROM tmp", "session_id", "s2")}, 404, "Code: 60.")
	f("no such session", request{params: q("SELECT 1", "session_id", "s3", "session_check", "1")}, 404, "Code: 372.")
	if resp, err := c.Get("http://" + srv.HTTPAddr() + "/ping"); err != nil {
		t.Error(err)
	} else {
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != "Ok.\n" {
			t.Errorf("ping: %q", b)
		}
	}
}

// A result of any length goes out as it is made, as one document.
func TestHTTPLongDocument(t *testing.T) {
	srv := chembedtest.Shared(t)
	c := httpClient(t)
	_, got := do(t, srv, c, request{params: url.Values{"query": {"SELECT number FROM numbers(300000) FORMAT CSVWithNames"}}})
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if len(lines) != 300_001 || lines[0] != `"number"` || lines[300_000] != "299999" {
		t.Fatalf("%d lines, first %q, last %q", len(lines), lines[0], lines[len(lines)-1])
	}
}

func TestClickHouseGoOverHTTP(t *testing.T) {
	srv, db := shared(t)
	ctx := context.Background()
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionGZIP} {
		conn := open(t, srv, in(db), func(o *clickhouse.Options) {
			o.Addr = []string{srv.HTTPAddr()}
			o.Protocol = clickhouse.HTTP
			o.Compression = &clickhouse.Compression{Method: method}
		})
		table := fmt.Sprintf("h%d", method)
		mustExec(t, conn, "CREATE TABLE "+table+" (a UInt64, b LowCardinality(String), c Nullable(Decimal(18, 8))) ENGINE = MergeTree ORDER BY a")
		b, err := conn.PrepareBatch(ctx, "INSERT INTO "+table)
		if err != nil {
			t.Fatalf("method %v: %v", method, err)
		}
		for i := range 1000 {
			if err := b.Append(uint64(i), fmt.Sprint(i%7), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Send(); err != nil {
			t.Fatalf("method %v: %v", method, err)
		}
		if n := count(t, conn, table); n != 1000 {
			t.Errorf("method %v: %d rows", method, n)
		}
		wantCode(t, conn.Exec(ctx, "SELECT * FROM nope"), 60)
	}
}
