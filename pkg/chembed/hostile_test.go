package chembed_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// Whatever a client sends, it gets an exception or a closed connection in good
// time, and others do not notice.
func TestHostileNativeClients(t *testing.T) {
	srv := chembedtest.Start(t)
	other := open(t, srv)
	var hello []byte
	str := func(s string) { hello = append(binary.AppendUvarint(hello, uint64(len(s))), s...) }
	hello = append(hello, 0)
	str("client")
	hello = append(hello, 1, 1)
	hello = binary.AppendUvarint(hello, 54460)
	str("default")
	str("default")
	str("")
	str("") // addendum
	with := func(tail ...byte) []byte { return append(bytes.Clone(hello), tail...) }
	huge := binary.AppendUvarint(nil, 1<<50)
	for name, sent := range map[string][]byte{
		"nothing":             {},
		"HTTP":                []byte("GET / HTTP/1.1\r\n\r\n"),
		"noise":               bytes.Repeat([]byte{0xfe, 0xff}, 5000),
		"huge client name":    append([]byte{0}, huge...),
		"unknown packet":      with(77),
		"huge query id":       with(append([]byte{1}, huge...)...),
		"query cut short":     with(1, 3, 'a'),
		"data out of nowhere": with(2, 0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 200, 200, 200, 200, 200, 200),
		"endless varint":      with(bytes.Repeat([]byte{0xff}, 100)...),
		"compressed garbage":  with(append([]byte{2, 0}, bytes.Repeat([]byte{0x82}, 64)...)...),
	} {
		c, err := net.Dial("tcp", srv.NativeAddr())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(15 * time.Second))
		if _, err := c.Write(sent); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, c); err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Errorf("%s: the connection was left open", name)
			}
		}
		_ = c.Close()
		if err := other.Ping(context.Background()); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
	}
	if srv.Restarts() != 0 {
		t.Error("the engine died of it")
	}
}

func TestHTTPBodies(t *testing.T) {
	srv := chembedtest.Start(t)
	c := httpClient(t)
	conn := open(t, srv)
	mustExec(t, conn, "CREATE TABLE t (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
	insert := url.Values{"query": {"INSERT INTO t FORMAT CSV"}}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(w, "1,x\n2,y\n")
	_ = w.Close()
	whole := bytes.Clone(zipped.Bytes())
	gz := map[string]string{"Content-Encoding": "gzip"}
	if resp, body := do(t, srv, c, request{params: insert, body: &zipped, header: gz}); resp.StatusCode != 200 {
		t.Errorf("gzip body: %d %s", resp.StatusCode, body)
	}
	if n := count(t, conn, "t"); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	f := func(name string, r request, status int, code string) {
		t.Helper()
		resp, body := do(t, srv, c, r)
		if resp.StatusCode != status || resp.Header.Get("X-ClickHouse-Exception-Code") != code {
			t.Errorf("%s: %d, code %s: %s", name, resp.StatusCode, resp.Header.Get("X-ClickHouse-Exception-Code"), body)
		}
	}
	f("gzip cut short", request{params: insert, body: bytes.NewReader(whole[:len(whole)-9]), header: gz}, 503, "210")
	f("no gzip", request{params: insert, body: strings.NewReader("1,x\n"), header: gz}, 400, "117")
	f("unknown encoding", request{params: insert, body: strings.NewReader("1,x\n"), header: map[string]string{"Content-Encoding": "rot13"}}, 501, "48")
	f("no frames", request{params: url.Values{"query": {"INSERT INTO t FORMAT CSV"}, "decompress": {"1"}}, body: strings.NewReader(strings.Repeat("x", 100))}, 400, "117")
	f("no CSV", request{params: insert, body: strings.NewReader("x,y,z\n")}, 400, "27")
	if n := count(t, conn, "t"); n != 2 {
		t.Errorf("%d rows after inserts that failed, want 2", n)
	}
	// What one format writes, it reads back.
	for _, format := range []string{"Parquet", "Arrow", "RowBinary", "Native", "JSONEachRow", "JSONCompact", "Avro", "TSVWithNamesAndTypes", "MsgPack"} {
		_, body := do(t, srv, c, request{params: url.Values{"query": {"SELECT a, s FROM t ORDER BY a LIMIT 2"}, "default_format": {format}}})
		resp, msg := do(t, srv, c, request{params: url.Values{"query": {"INSERT INTO t FORMAT " + format}, "insert_deduplicate": {"0"}}, body: strings.NewReader(body)})
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", format, resp.StatusCode, msg)
		}
	}
	if n := count(t, conn, "t"); n != 20 {
		t.Errorf("%d rows, want 20", n)
	}
}

// A result that breaks off says so twice: in its text, and by not ending.
func TestHTTPErrorInTheMiddle(t *testing.T) {
	srv := chembedtest.Start(t)
	c := httpClient(t)
	q := url.Values{"query": {"SELECT number, throwIf(number = 299999) FROM numbers(300000) FORMAT CSV"}}
	resp, err := c.Post("http://"+srv.HTTPAddr()+"/?"+q.Encode(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	tag := resp.Header.Get("X-ClickHouse-Exception-Tag")
	if err == nil || resp.StatusCode != 200 || !bytes.Contains(body, []byte("\r\n__exception__\r\n"+tag+"\r\nCode: 395.")) {
		t.Errorf("status %d, error %v, end %q", resp.StatusCode, err, body[max(0, len(body)-300):])
	}
}

// A client that stops reading stops its query.
func TestHTTPClientGoesAway(t *testing.T) {
	srv := chembedtest.Start(t)
	c := httpClient(t)
	watch := open(t, srv)
	ctx := context.Background()
	resp, err := c.Post("http://"+srv.HTTPAddr()+"/", "", strings.NewReader("SELECT number, 'go-away' FROM numbers(100000000000) FORMAT JSONEachRow"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 1<<20)
	_ = resp.Body.Close()
	eventually(t, "the query to end", func() bool {
		var n uint64
		if err := watch.QueryRow(ctx, "SELECT count() FROM system.processes WHERE query LIKE '%go-away%' AND query NOT LIKE '%processes%'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
}
