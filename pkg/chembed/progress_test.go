package chembed_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// Progress is told in headers while the query runs, where a client asks for it; the connection goes on to be used.
func TestHTTPProgress(t *testing.T) {
	srv := chembedtest.Shared(t)
	watch := open(t, srv)
	c, err := net.Dial("tcp", srv.HTTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	ask := func(id, sql string) {
		v := url.Values{"query": {sql}, "query_id": {id}, "send_progress_in_http_headers": {"1"}, "http_headers_progress_interval_ms": {"20"}}
		_, _ = fmt.Fprintf(c, "POST /?%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", v.Encode())
	}
	// answer is the answer behind what has been read of it.
	answer := func(begun []byte) (*http.Response, string) {
		t.Helper()
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(begun), r)), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	ask("progress", "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
	var begun []byte
	for range 3 { // the status line and two headers
		line, err := r.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		begun = append(begun, line...)
	}
	if !bytes.HasPrefix(begun, []byte("HTTP/1.1 200 OK\r\nX-ClickHouse-Progress: {")) {
		t.Fatalf("the answer begins with %q", begun)
	}
	if n := count(t, watch, "system.processes WHERE query_id = 'progress'"); n != 1 {
		t.Errorf("%d queries run while their progress is told", n)
	}
	// What goes wrong now has no status of its own any more: a header tells, as of a server.
	mustExec(t, watch, "KILL QUERY WHERE query_id = 'progress' SYNC")
	resp, body := answer(begun)
	if resp.StatusCode != 200 || resp.Header.Get("X-ClickHouse-Exception-Code") != "394" || !strings.HasPrefix(body, "Code: 394.") || resp.Close {
		t.Errorf("a query that was killed behind its progress: %v %s", resp, body)
	}
	if r.Buffered() > 0 {
		t.Fatalf("%d bytes behind the answer", r.Buffered())
	}
	ask("progress2", "SELECT sum(sleepEachRow(0.01)) FROM numbers(20) SETTINGS max_block_size = 5, max_threads = 1")
	resp, body = answer(nil)
	lines := resp.Header.Values("X-ClickHouse-Progress")
	if body != "0\n" || len(lines) == 0 || !strings.Contains(lines[len(lines)-1], `"total_rows_to_read":"20"`) || resp.Header.Get("X-ClickHouse-Query-Id") != "progress2" {
		t.Errorf("%s, header %v", body, resp.Header)
	}
	// One that was quick has none, and its own status.
	ask("progress3", "SELECT * FROM nope")
	if resp, body := answer(nil); resp.StatusCode != 404 || resp.Header.Get("X-ClickHouse-Progress") != "" {
		t.Errorf("status %d, %s", resp.StatusCode, body)
	}
	if err := watch.Ping(context.Background()); err != nil {
		t.Error(err)
	}
}
