package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/certs/certstest"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/gateway"
)

// TestTLS: page, websocket and event stream over TLS, with a client that reads slowly; a certificate that is renewed; who speaks in the clear is told.
func TestTLS(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue(certstest.Order{Name: "gateway"})
	w := newWorld(t, false)
	g, _ := w.gateway(func(c *gateway.Config) {
		c.TLSCert, c.TLSKey, c.Queue, c.Heartbeat, c.Stuck = cert, key, 64<<10, time.Minute, 5*time.Minute
		c.Research = researchDir(t)
	})
	trust := &tls.Config{RootCAs: a.Pool()}
	dialTLS := func(header http.Header) *peer {
		t.Helper()
		d := websocket.Dialer{HandshakeTimeout: 10 * time.Second, TLSClientConfig: trust}
		ws, resp, err := d.Dial("wss://"+g.Addr()+"/v1/ws", header)
		if err != nil {
			t.Fatalf("dial: %v (%v)", err, resp)
		}
		t.Cleanup(func() { _ = ws.Close() })
		p := &peer{t, ws}
		if f := p.next(); f.Type != live.FrameWelcome {
			t.Fatalf("the first frame is %q", f.Type)
		}
		return p
	}
	slow, quick := dialTLS(nil), dialTLS(http.Header{"Origin": {"https://" + g.Addr()}})
	slow.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}})
	quick.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}})
	const n, step = 6_000, 120
	for from := 0; from < n; from += step {
		batch := make([]market.Event, step)
		for i := range batch {
			batch[i] = quote("S"+strconv.Itoa(i%50), from+i)
		}
		w.publish(batch...)
		for got := 0; got < step; {
			got += len(quick.next().Messages)
		}
	}
	got, skipped := 0, 0
	for got+skipped < n {
		f := slow.next()
		got += len(f.Messages)
		for _, s := range f.Skipped {
			skipped += int(s.Count)
		}
	}
	if got+skipped != n || skipped == 0 {
		t.Errorf("%d received and %d skipped, of %d: the socket was never full", got, skipped, n)
	}
	// The page is served by a way that net/http takes for plain sockets: it must not lead around the encryption.
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	page := func(path string) (*http.Response, []byte) {
		t.Helper()
		resp, err := client.Get("https://" + g.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, body
	}
	if resp, body := page("/"); resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("<html")) || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("page: %d %v %.100s", resp.StatusCode, resp.Header, body)
	}
	if resp, body := page("/research/latest/01_pivot.pdf"); resp.StatusCode != http.StatusOK || !bytes.HasPrefix(body, []byte("%PDF-")) {
		t.Errorf("file: %d %.100s", resp.StatusCode, body)
	}
	events, err := client.Get("https://" + g.Addr() + "/v1/stream?channel=quotes&symbols=S1&from=snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	for lines := bufio.NewScanner(events.Body); ; {
		if !lines.Scan() {
			t.Fatalf("the event stream ended: %v", lines.Err())
		}
		if strings.Contains(lines.Text(), `"symbol":"S1"`) {
			break
		}
	}
	clear, err := net.Dial("tcp", g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer clear.Close()
	_ = clear.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = fmt.Fprintf(clear, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if answer, _ := io.ReadAll(clear); !bytes.Contains(answer, []byte("this port speaks TLS")) {
		t.Errorf("in the clear: %q", answer)
	}
	if _, err := http.Get("https://" + g.Addr() + "/"); err == nil {
		t.Error("a certificate of an unknown authority was taken")
	}
	before := peerSerial(t, g.Addr(), trust)
	a.Issue(certstest.Order{Name: "gateway"})
	tick, late := time.NewTicker(50*time.Millisecond), time.After(60*time.Second)
	defer tick.Stop()
	for peerSerial(t, g.Addr(), trust) == before {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("the renewed certificate is not served")
		}
	}
	w.publish(quote("S1", n+1))
	if f := quick.next(); len(f.Messages) != 1 {
		t.Errorf("who was connected before is told %+v", f)
	}
}

func peerSerial(t *testing.T, addr string, trust *tls.Config) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, trust)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// TestEveryAnswerHasItsHeaders: whatever is asked for, found or not, allowed or not.
func TestEveryAnswerHasItsHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.html"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, _ := w.gateway(func(c *gateway.Config) { c.Research = dir })
	for _, x := range []struct{ method, path, origin string }{
		{"GET", "/", ""}, {"HEAD", "/", ""}, {"POST", "/", ""}, {"GET", "/no/such/page", ""}, {"GET", "/assets/none.js", ""}, {"GET", "/research/", ""}, {"POST", "/research/", ""},
		{"GET", "/research/2025-03-03/", ""}, {"GET", "/v1/ws", ""}, {"GET", "/v1/ws", "https://evil.example.com"}, {"GET", "/v1/stream", ""}, {"GET", "/v1/stream?nonsense=1", ""},
		{"POST", "/v1/ticket", ""}, {"GET", "/v1/ticket", ""}, {"GET", "/v1/no-such", ""}, {"TRACE", "/", ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), x.method, "http://"+g.Addr()+x.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if x.origin != "" {
			req.Header.Set("Origin", x.origin)
		}
		resp, err := (&http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", x.method, x.path, err)
			continue
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
		h := resp.Header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "Permissions-Policy": "camera=()", "Content-Security-Policy": "frame-ancestors 'none'",
		} {
			if got := h.Values(name); len(got) != 1 || !strings.Contains(got[0], want) {
				t.Errorf("%s %s (%d): %s is %q, want %s", x.method, x.path, resp.StatusCode, name, got, want)
			}
		}
		if csp := h.Get("Content-Security-Policy"); strings.Contains(csp, "script-src 'unsafe") || strings.Contains(csp, "*") || !strings.Contains(csp, "default-src 'none'") && !strings.Contains(csp, "default-src 'self'") {
			t.Errorf("%s %s: policy %q", x.method, x.path, csp)
		}
		if h.Get("Strict-Transport-Security") != "" || h.Get("Server") != "" || h.Get("Access-Control-Allow-Origin") == "*" {
			t.Errorf("%s %s: says too much: %v", x.method, x.path, h)
		}
	}
	// The answer of an event stream is written by hand.
	resp, err := http.Get("http://" + g.Addr() + "/v1/stream?channel=trades&symbols=CORZ")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, name := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cross-Origin-Resource-Policy"} {
		if resp.Header.Get(name) == "" {
			t.Errorf("an event stream has no %s", name)
		}
	}
}
