package chembed_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
)

// Whatever a client sends, it gets an exception or a closed connection in good
// time, nothing of it is stored or grows, and others do not notice.
func TestHostileNativeClients(t *testing.T) {
	srv, db := shared(t)
	other := open(t, srv, in(db))
	mustExec(t, other, "CREATE TABLE t (a UInt8, s String) ENGINE = MergeTree ORDER BY a")
	resetPeak(t, srv.Pid())
	before := memory(t, srv.Pid(), "VmHWM")
	insert := func(compressed bool) wire { return wireQuery("INSERT INTO "+db+".t (a, s) VALUES", compressed) }
	data := func(block ...byte) wire { return insert(false).raw(2, 0).raw(block...) }
	frame := func(b []byte) wire { return insert(true).raw(2, 0).raw(b...) }
	good := wireBlock(2, 1).str("a").str("UInt8").raw(0, 7).str("s").str("String").raw(0).str("text")
	change := func(b []byte, at int, v uint32) []byte { // in a frame: 17 is its packed size, 21 its raw one
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[at:], v)
		return wireSum(b)
	}
	zeros := make([]byte, 1<<20)
	huge := wire{}.num(1 << 50)
	for name, c := range map[string]struct {
		sent []byte
		want string // in what it is told
	}{
		"nothing":                {nil, ""},
		"HTTP":                   {[]byte("GET / HTTP/1.1\r\n\r\n"), "use the HTTP port"},
		"noise":                  {bytes.Repeat([]byte{0xfe, 0xff}, 5000), ""},
		"huge client name":       {append(wire{0}, huge...), ""},
		"hello cut short":        {wireHello()[:9], ""},
		"old client":             {wire{0}.str("old").nums(1, 1, 54000).strs("", "", ""), "too old"},
		"no such user":           {wire{0}.str("client").nums(1, 1, wireRevision).strs("", "nobody", "x"), "Authentication failed"},
		"unknown packet":         {wireHello().raw(77), "Unknown packet 77"},
		"huge query id":          {wireHello().raw(1).raw(huge...), "string of"},
		"query cut short":        {wireHello().raw(1, 3, 'a'), ""},
		"data out of nowhere":    {wireHello().raw(2, 0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 200, 200, 200, 200, 200, 200), ""},
		"endless varint":         {wireHello().raw(bytes.Repeat([]byte{0xff}, 100)...), ""},
		"compressed garbage":     {wireHello().raw(2, 0).raw(bytes.Repeat([]byte{0x82}, 64)...), ""},
		"query instead of data":  {insert(false).raw(1), "data was expected"},
		"cancelled insert":       {insert(false).raw(3), "cancelled by the client"},
		"block cut short":        {data(good[:len(good)-2]...), ""},
		"block of 2^39 rows":     {data(wireBlock(2, 1<<39).str("a").str("UInt8").raw(0).raw(zeros...)...), ""},
		"block of 2^41 rows":     {data(wireBlock(2, 1<<41).str("a").str("UInt8").raw(0)...), "block of 2 columns and"},
		"block of 2^30 columns":  {data(wireBlock(1<<30, 1)...), "columns"},
		"rows without columns":   {data(wireBlock(0, 5)...), "0 columns and 5 rows"},
		"string of 2^50 bytes":   {data(wireBlock(1, 1).str("s").str("String").raw(0).raw(huge...)...), ""},
		"array of 2^62":          {data(wireBlock(1, 1).str("a").str("Array(UInt8)").raw(0, 0, 0, 0, 0, 0, 0, 0, 0x40)...), "column of"},
		"type without end":       {data(wireBlock(1, 1).str("a").str("Array(UInt8").raw(0)...), "does not end"},
		"type deeper than deep":  {data(wireBlock(1, 1).str("a").str(strings.Repeat("Array(", 100) + "UInt8" + strings.Repeat(")", 100)).raw(0)...), "nested deeper"},
		"sparse column":          {data(wireBlock(1, 1).str("a").str("UInt8").raw(1)...), "custom serialization"},
		"column of another type": {data(wireBlock(1, 1).str("a").str("UUID").raw(0).raw(zeros[:16]...).raw(2, 0).raw(wireBlock(0, 0)...)...), "DB::Exception"},
		"wrong checksum":         {frame(flipped(wireFrame(native.MethodLZ4, good), 3)), "checksum"},
		"flipped bit":            {frame(flipped(wireFrame(native.MethodZSTD, good), 30)), "checksum"},
		"frame cut short":        {frame(wireFrame(native.MethodLZ4, good)[:20]), ""},
		"frame of 1 GiB":         {frame(change(wireFrame(native.MethodLZ4, good), 17, 1<<30)), "compressed frame of"},
		"frame of nothing":       {frame(change(wireFrame(native.MethodLZ4, good), 21, 0)), "compressed frame of"},
		"LZ4 bomb":               {frame(change(wireFrame(native.MethodLZ4, good), 21, 100<<20)), "LZ4 frame"},
		"LZ4 of another size":    {frame(change(wireFrame(native.MethodLZ4, good), 21, uint32(len(good)+1))), "does not decompress"},
		"ZSTD bomb":              {frame(change(wireFrame(native.MethodZSTD, zeros), 21, 100)), "does not decompress"},
		"ZSTD of another size":   {frame(change(wireFrame(native.MethodZSTD, good), 21, uint32(len(good)+1))), "does not decompress"},
		"unknown compression":    {frame(wireSum(append(append(make([]byte, 16), 0x77, 13, 0, 0, 0, 4, 0, 0, 0), 1, 2, 3, 4))), "compression method"},
		"more than a block":      {frame(wireFrame(native.MethodLZ4, append(bytes.Clone(good), "tail"...))), "behind the end of a block"},
	} {
		conn := dial(t, srv)
		if _, err := conn.Write(c.sent); err != nil && c.want != "" {
			t.Errorf("%s: %v", name, err)
		}
		_ = conn.CloseWrite()
		told, err := io.ReadAll(conn)
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			t.Errorf("%s: the connection was left open", name)
		}
		if !bytes.Contains(told, []byte(c.want)) {
			t.Errorf("%s: was told %.300q, want %q", name, told, c.want)
		}
		_ = conn.Close()
		if err := other.Ping(context.Background()); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
	}
	if n := count(t, other, "t"); n != 0 {
		t.Errorf("%d rows of it were stored", n)
	}
	if grown := memory(t, srv.Pid(), "VmHWM") - before; grown > 100 {
		t.Errorf("the engine's peak grew by %d MiB", grown)
	}
	// The same, meant well, arrives: what is refused above is refused for what is wrong with it.
	for _, whole := range []wire{data(good...).raw(2, 0).raw(wireBlock(0, 0)...), frame(wireFrame(native.MethodLZ4, good)).raw(2, 0).raw(wireFrame(native.MethodLZ4, wireBlock(0, 0))...)} {
		conn := dial(t, srv)
		_, _ = conn.Write(whole)
		_ = conn.CloseWrite()
		if told, err := io.ReadAll(conn); err != nil || bytes.Contains(told, []byte("DB::Exception")) {
			t.Errorf("%q, %v", told, err)
		}
		_ = conn.Close()
	}
	if n := count(t, other, "t WHERE a = 7 AND s = 'text'"); n != 2 {
		t.Errorf("%d rows of those meant well, want 2", n)
	}
	if srv.Restarts() != 0 {
		t.Error("the engine died of it")
	}
}

// The same over HTTP.
func TestHostileHTTPClients(t *testing.T) {
	srv, db := shared(t)
	other := open(t, srv, in(db))
	mustExec(t, other, "CREATE TABLE t (a UInt8, s String) ENGINE = MergeTree ORDER BY a")
	resetPeak(t, srv.Pid())
	before := memory(t, srv.Pid(), "VmHWM")
	post := func(params string, body []byte, headers ...string) []byte {
		h := fmt.Sprintf("POST /?database=%s&%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", db, params)
		for _, line := range headers {
			h += line + "\r\n"
		}
		return append([]byte(fmt.Sprintf("%sContent-Length: %d\r\n\r\n", h, len(body))), body...)
	}
	zip := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(b)
		_ = w.Close()
		return out.Bytes()
	}
	zeros := make([]byte, 17<<20)
	bomb, err := zstd.NewWriter(nil) // it makes next to nothing of them
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bomb.Close() }()
	good := wire{}.nums(1, 1).str("a").str("UInt8").raw(7)
	frame := wireFrame(native.MethodLZ4, good)
	tampered := func(at int, v uint32) []byte {
		b := bytes.Clone(frame)
		binary.LittleEndian.PutUint32(b[at:], v)
		return wireSum(b)
	}
	const (
		native1 = "query=INSERT+INTO+t+(a)+FORMAT+Native"
		csv     = "query=INSERT+INTO+t+FORMAT+CSV"
		form    = "Content-Type: multipart/form-data; boundary=b"
	)
	for name, c := range map[string]struct {
		sent []byte
		want string // in the answer
	}{
		"noise":                 {bytes.Repeat([]byte{0xfe, 0xff}, 5000), "400 Bad Request"},
		"native hello":          {wireHello(), "400 Bad Request"},
		"headers without end":   {append([]byte("GET / HTTP/1.1\r\nHost: x\r\nX-A: "), bytes.Repeat([]byte{'a'}, 2<<20)...), "431 Request Header"},
		"other method":          {[]byte("DELETE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "405 Method"},
		"other path":            {[]byte("GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "404 Not Found"},
		"length that lies":      {[]byte("POST /?" + csv + "&database=" + db + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n1,x\n"), ""},
		"chunk that lies":       {[]byte("POST /?" + csv + "&database=" + db + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n1,x\n"), ""},
		"chunk of no number":    {[]byte("POST /?" + csv + "&database=" + db + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "Code: 210"},
		"two lengths":           {[]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1"), "400 Bad Request"},
		"header in a query id":  {post("query=SELECT+1&query_id=a%0D%0AX-Evil:+1", nil), "X-Clickhouse-Query-Id: a  X-Evil: 1\r\n"},
		"gzip cut short":        {post(csv, zip([]byte("1,x\n"))[:12], "Content-Encoding: gzip"), "Code: 210"},
		"gzip with a wrong sum": {post(csv, flipped(zip([]byte("1,x\n")), -6), "Content-Encoding: gzip"), "Code: 210"},
		"bomb for a query":      {post("", bomb.EncodeAll(zeros, nil), "Content-Encoding: zstd"), "Query is longer than"},
		"bomb for a value":      {post(csv+"&max_memory_usage=8000000", bomb.EncodeAll(append([]byte("1,"), zeros...), nil), "Content-Encoding: zstd"), "Code: 241"},
		"block of 2^39 rows":    {post(native1, wire{}.nums(1, 1<<39).str("a").str("UInt8").raw(1, 2, 3)), "Code: "},
		"block of 2^60 columns": {post(native1, wire{}.nums(1<<60, 1).str("a")), "Code: "},
		"block cut short":       {post(native1, good[:len(good)-1]), "Code: "},
		"wrong checksum":        {post(native1+"&decompress=1", flipped(frame, 2)), "Code: 117"},
		"frame of 1 GiB":        {post(native1+"&decompress=1", tampered(17, 1<<30)), "Code: 117"},
		"LZ4 bomb":              {post(native1+"&decompress=1", tampered(21, 100<<20)), "Code: 117"},
		"frame cut short":       {post(native1+"&decompress=1", frame[:20]), "Code: 210"},
		"form without end":      {post("query=SELECT+1&e_types=UInt8", []byte("--b\r\nContent-Disposition: form-data; name=\"e\"; filename=\"e\"\r\n\r\n1\n"), form), "multipart form"},
		"form without names":    {post("query=SELECT+1", []byte("--b\r\n\r\n1\r\n--b--\r\n"), form), "multipart form"},
		"form of 101 tables":    {post("query=SELECT+1", []byte(strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"e\"; filename=\"e\"\r\n\r\n1\r\n", 101)+"--b--\r\n"), form), "more than 100 files"},
		"body that stops":       {[]byte("POST /?" + csv + "&http_receive_timeout=0.1&database=" + db + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n1,x\n"), "Code: 209"},
	} {
		conn, err := net.Dial("tcp", srv.HTTPAddr())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = conn.Write(c.sent) // the answer may come before all of it is taken
		if name != "body that stops" {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		answer, err := io.ReadAll(conn)
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			t.Errorf("%s: the connection was left open", name)
		}
		if !bytes.Contains(answer, []byte(c.want)) {
			t.Errorf("%s: was told %.500q, want %q", name, answer, c.want)
		}
		_ = conn.Close()
		if err := other.Ping(context.Background()); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
	}
	if n := count(t, other, "t"); n != 0 {
		t.Errorf("%d rows of it were stored", n)
	}
	// A query's text is held, up to its bound; nothing else is.
	if grown := memory(t, srv.Pid(), "VmHWM") - before; grown > 400 { // under the race detector, which takes several times what it looks after
		t.Errorf("the engine's peak grew by %d MiB", grown)
	}
	if srv.Restarts() != 0 {
		t.Error("the engine died of it")
	}
}

// flipped has one bit of b changed; a negative place counts from the end.
func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	return b
}

func TestHTTPBodies(t *testing.T) {
	srv, db := shared(t)
	c := httpClient(t)
	conn := open(t, srv, in(db))
	mustExec(t, conn, "CREATE TABLE t (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
	insert := url.Values{"query": {"INSERT INTO t FORMAT CSV"}, "database": {db}}
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
	f("no frames", request{params: url.Values{"query": insert["query"], "database": {db}, "decompress": {"1"}}, body: strings.NewReader(strings.Repeat("x", 100))}, 400, "117")
	f("no CSV", request{params: insert, body: strings.NewReader("x,y,z\n")}, 400, "27")
	if n := count(t, conn, "t"); n != 2 {
		t.Errorf("%d rows after inserts that failed, want 2", n)
	}
	// What one format writes, it reads back.
	for _, format := range []string{"Parquet", "Arrow", "RowBinary", "Native", "JSONEachRow", "JSONCompact", "Avro", "TSVWithNamesAndTypes", "MsgPack"} {
		_, body := do(t, srv, c, request{params: url.Values{"query": {"SELECT a, s FROM t ORDER BY a LIMIT 2"}, "default_format": {format}}, database: db})
		resp, msg := do(t, srv, c, request{params: url.Values{"query": {"INSERT INTO t FORMAT " + format}, "insert_deduplicate": {"0"}}, body: strings.NewReader(body), database: db})
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
	srv := chembedtest.Shared(t)
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
	srv := chembedtest.Shared(t)
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
