package chembed_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// certificate writes a certificate for 127.0.0.1 and returns its files and who trusts it.
func certificate(t testing.TB) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}

// Both protocols with TLS, beside those without; and what clients hear while the engine is away.
func TestTLSAndEngineAway(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	var dir string
	srv := chembedtest.Start(t, func(c *chembed.Config) {
		dir = c.DataDir
		c.NativeTLSAddr, c.HTTPSAddr, c.TLSCertFile, c.TLSKeyFile = "127.0.0.1:0", "127.0.0.1:0", certFile, keyFile
		c.RestartMin, c.RestartMax = time.Minute, time.Minute
	})
	ctx := context.Background()
	secret := &tls.Config{RootCAs: pool}
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
