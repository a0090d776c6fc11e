package chembed_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/certs/certstest"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// Both protocols with TLS, beside those without; clients must show a certificate; a renewed one of the server's counts at once; and there is an error in TLS while the
// engine is away.
func TestTLSAndEngineAway(t *testing.T) {
	a := certstest.New(t)
	certFile, keyFile := a.Issue(certstest.Order{Name: "server"})
	clientCert, clientKey := a.Issue(certstest.Order{})
	var dir string
	srv := chembedtest.Start(t, func(c *chembed.Config) {
		dir = c.DataDir
		c.NativeTLSAddr, c.HTTPSAddr, c.TLSCertFile, c.TLSKeyFile = "127.0.0.1:0", "127.0.0.1:0", certFile, keyFile
		c.TLSClientCAFile = a.File
		c.RestartMin, c.RestartMax = time.Minute, time.Minute
	})
	ctx := context.Background()
	pair, err := tls.LoadX509KeyPair(clientCert, clientKey)
	if err != nil {
		t.Fatal(err)
	}
	secret := &tls.Config{RootCAs: a.Pool(), Certificates: []tls.Certificate{pair}}
	conn := open(t, srv, func(o *clickhouse.Options) { o.Addr, o.TLS = []string{srv.NativeTLSAddr()}, secret })
	if n := count(t, conn, "numbers(7)"); n != 7 {
		t.Errorf("%d rows", n)
	}
	if n := count(t, open(t, srv), "numbers(7)"); n != 7 {
		t.Errorf("%d rows without TLS", n)
	}
	tr := &http.Transport{TLSClientConfig: secret}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: time.Minute}
	resp, err := c.Post("https://"+srv.HTTPSAddr()+"/", "", bytes.NewReader([]byte("SELECT 'secret'")))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(body) != "secret\n" {
		t.Errorf("HTTPS: %q, %v", body, err)
	}
	if err := open(t, srv, func(o *clickhouse.Options) { o.Addr = []string{srv.NativeTLSAddr()} }).Ping(ctx); err == nil {
		t.Error("the port with TLS took a client without")
	}
	if err := open(t, srv, func(o *clickhouse.Options) {
		o.Addr, o.TLS = []string{srv.NativeTLSAddr()}, &tls.Config{RootCAs: a.Pool()}
	}).Ping(ctx); err == nil {
		t.Error("the port with TLS took a client without a certificate")
	}
	served := func() string {
		conn, err := tls.Dial("tcp", srv.NativeTLSAddr(), secret)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := served()
	a.Issue(certstest.Order{Name: "server"})
	eventually(t, "the renewed certificate", func() bool { return served() != before })
	tr.CloseIdleConnections()
	killEngine(t, srv)
	// While the engine is away, clients are told so at once and in their protocol.
	for _, url := range []string{"https://" + srv.HTTPSAddr(), "http://" + srv.HTTPAddr()} {
		eventually(t, "an answer in the engine's place", func() bool {
			resp, err := c.Get(url + "/?query=SELECT+1")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("X-ClickHouse-Exception-Code") == "210"
		})
	}
	start := time.Now()
	away := open(t, srv, func(o *clickhouse.Options) { o.Addr, o.TLS = []string{srv.NativeTLSAddr()}, secret })
	wantCode(t, away.Ping(ctx), 210)
	wantCode(t, open(t, srv).Ping(ctx), 210)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("the answers took %s", d)
	}
	reports, err := filepath.Glob(filepath.Join(dir, "crashes", "*.txt"))
	if err != nil || len(reports) != 1 {
		t.Fatalf("crash reports %v, %v", reports, err)
	}
	text, err := os.ReadFile(reports[0])
	if err != nil || !bytes.Contains(text, []byte("exit: signal: killed")) {
		t.Errorf("crash report %q, %v", text, err)
	}
	// Close must not wait for the restart that is due in a minute.
	start = time.Now()
	chembedtest.Close(t, srv)
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("close took %s", d)
	}
}
