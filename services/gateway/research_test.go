package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/services/gateway"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

const (
	runA = "20250304T010203.000001Z-aaaa"
	runB = "20250304T020203.000001Z-bbbb"
)

// researchDir is what the nightly service leaves, and what an enemy might add to it.
func researchDir(t *testing.T) string {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "research")
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(base, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			t.Fatal(err)
		}
	}
	for i, run := range []string{runA, runB} {
		write("research/2025-03-03/"+run+"/index.html", "<!doctype html>index of "+run)
		write("research/2025-03-03/"+run+"/run.json", fmt.Sprintf(`{"trade_date":"2025-03-03","run_id":"%s","state":"failed","complete":false,"missing":["bars: <b>none"],"by":"service","ended":"2025-03-04T0%d:00:00Z",
			"notebooks":[{"notebook":"01_pivot","state":"failed"},{"notebook":"05_claims","state":"ok"}]}`, run, i+1))
	}
	write("research/2025-03-03/"+runB+"/01_pivot.pdf", "%PDF-")
	write("research/2025-03-03/"+runB+"/01_pivot.1.log", "<script>alert(1)</script>")
	write("research/2025-03-03/"+runB+"/.work-x/out.html", "hidden")
	write("research/2025-03-03/"+runB+"/program.sh", "hidden")
	write("research/.cache/font.json", "hidden")
	write("secret/"+runA+"/index.html", "hidden")
	write("secret/x.html", "hidden")
	link(runB, "2025-03-03/latest")
	link("2025-03-03/"+runB, "latest")
	link("../../../secret/x.html", "2025-03-03/"+runB+"/linked.html")
	link("../secret", "2025-03-04")
	if err := os.MkdirAll(filepath.Join(dir, "2025-03-05"), 0o700); err != nil {
		t.Fatal(err)
	}
	link("../../secret/"+runA, "2025-03-05/latest")
	return dir
}

// ask sends a path as it is: a client would clean it.
func ask(t *testing.T, g *gateway.Gateway, target string, header ...string) (status int, h http.Header, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", target, g.Addr(), strings.Join(append(header, ""), "\r\n"))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(data)
}

func TestResearch(t *testing.T) {
	w := newWorld(t, false)
	dir := researchDir(t)
	g, _ := w.gateway(func(c *gateway.Config) {
		c.Research = dir
		c.Limits.AddressRequests, c.Limits.AddressRequestBurst = 1e6, 1e6
	})
	ok := func(target, kind, policy, want string) {
		t.Helper()
		status, h, body := ask(t, g, target)
		if status != http.StatusOK || h.Get("Content-Type") != kind || !strings.Contains(body, want) || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), policy) {
			t.Errorf("%s: %d %v %.200s", target, status, h, body)
		}
	}
	const html = "text/html; charset=utf-8"
	run := "/research/2025-03-03/" + runB + "/"
	ok("/research/", html, "default-src 'none'", "SIMULATED data")
	ok("/research/", html, "sandbox", `href="/research/2025-03-03/`+runB+`/"`)
	ok("/research/2025-03-03/", html, "sandbox", "bars: &lt;b&gt;none")
	ok(run, html, "default-src 'none'", "index of "+runB)
	ok(run+"index.html", html, "frame-ancestors 'none'", "index of")
	ok(run+"01_pivot.pdf", "application/pdf", "frame-ancestors 'none'", "%PDF-")
	ok(run+"01_pivot.1.log", "text/plain; charset=utf-8", "frame-ancestors 'none'", "<script>")
	ok(run+"run.json", "application/json", "frame-ancestors 'none'", "trade_date")
	if _, _, body := ask(t, g, "/research/"); strings.Index(body, runB) > strings.Index(body, runA) || !strings.Contains(body, "failed</span> 01_pivot<") {
		t.Errorf("the list is %s", body)
	}
	for target, to := range map[string]string{
		"/research": "/research/", "/research/latest": run, "/research/latest/": run, "/research/latest/01_pivot.pdf": run + "01_pivot.pdf", "/research/2025-03-03/latest/": run,
		strings.TrimSuffix(run, "/"): run,
	} {
		if status, h, _ := ask(t, g, target); status < 300 || status > 399 || h.Get("Location") != to {
			t.Errorf("%s: %d to %q, want %s", target, status, h.Get("Location"), to)
		}
	}
	for _, target := range []string{
		"/research/..%2f..%2fetc/passwd", "/research/%2e%2e/%2e%2e/etc/passwd", "/research/../secret/x.html", "/research/2025-03-03/..%2f..%2fsecret/x.html",
		"/research/2025-03-03/" + runB + "/..%2f..%2f..%2f..%2fsecret%2fx.html", run + "%2e%2e/%2e%2e/%2e%2e/secret/x.html", run + "linked.html", run + ".work-x/out.html", run + "program.sh",
		run + "none.html", run + "latest", "/research/2025-03-04/" + runA + "/index.html", "/research/2025-03-04/", "/research/2025-03-05/latest/", "/research/2025-03-05/", "/research/.cache/font.json",
		"/research/latest/..%2f..%2fx", "/research//etc/passwd", "/research/2025-13-99/", "/research/2025-03-03/x%00/index.html", "/research/2025-03-03/%5c..%5c..%5csecret/x.html",
	} {
		status, _, body := ask(t, g, target)
		for status >= 300 && status <= 399 { // the path in clean form
			_, h, _ := ask(t, g, target)
			target = h.Get("Location")
			status, _, body = ask(t, g, target)
		}
		if status == http.StatusOK && !strings.HasPrefix(body, "<!doctype html>\n<html lang=\"en\">") || strings.Contains(body, "hidden") || strings.Contains(body, "root:") {
			t.Errorf("%s: %d %.200s", target, status, body)
		}
		if strings.HasPrefix(target, "/research/") && (status != http.StatusNotFound || !strings.Contains(body, "message")) {
			t.Errorf("%s: %d without a sentence: %.200s", target, status, body)
		}
	}
	resp, err := http.Post("http://"+g.Addr()+run, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}

func TestResearchIsBehindTheTokens(t *testing.T) {
	w := newWorld(t, false)
	dir := researchDir(t)
	cfg := auth.DefaultConfig()
	cfg.Anonymous = auth.AnonymousNobody
	cfg.Keys = map[string]auth.Key{"main": {Algorithm: auth.HS256, Secret: "0123456789abcdef0123456789abcdef"}}
	signer, err := auth.New(cfg, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := w.gateway(func(c *gateway.Config) { c.Research, c.Auth = dir, cfg })
	bearer := func(scope ...string) string {
		t.Helper()
		token, _, err := signer.Mint(auth.Order{Subject: "desk", Scope: scope, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return "Authorization: Bearer " + token
	}
	for _, target := range []string{"/research/", "/research/2025-03-03/" + runB + "/", "/research/latest", "/research/none"} {
		if status, _, body := ask(t, g, target); status != http.StatusUnauthorized || strings.Contains(body, runA) {
			t.Errorf("%s without a token: %d %s", target, status, body)
		}
		if status, _, body := ask(t, g, target, bearer("trades:*", "signals:*")); status != http.StatusForbidden || !strings.Contains(body, "*:*") {
			t.Errorf("%s with less than everything: %d %s", target, status, body)
		}
	}
	if status, _, _ := ask(t, g, "/research/", bearer("*:*")); status != http.StatusOK {
		t.Errorf("with everything: %d", status)
	}
	if status, _, _ := ask(t, g, "/research/", "Origin: https://elsewhere.example", bearer("*:*")); status != http.StatusForbidden {
		t.Errorf("from another page: %d", status)
	}
}

// Where there is nothing, a sentence says so, and what comes later is served without a restart.
func TestNoResearch(t *testing.T) {
	w := newWorld(t, false)
	g, stop := w.gateway(nil)
	if status, _, body := ask(t, g, "/research/"); status != http.StatusNotFound || !strings.Contains(body, "gateway.research names no directory") {
		t.Errorf("%d %s", status, body)
	}
	stop()
	dir := filepath.Join(t.TempDir(), "research")
	g, _ = w.gateway(func(c *gateway.Config) { c.Research = dir })
	if status, _, body := ask(t, g, "/research/"); status != http.StatusNotFound || !strings.Contains(body, "there is no research yet") {
		t.Errorf("%d %s", status, body)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if status, _, body := ask(t, g, "/research/"); status != http.StatusNotFound || !strings.Contains(body, "nothing was run yet") {
		t.Errorf("%d %s", status, body)
	}
}
