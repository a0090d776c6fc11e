package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/certs/certstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// listen serves TLS until the test ends: each connection is sent a greeting. Without a configuration it is sent in the clear.
func listen(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				if cfg != nil {
					c = tls.Server(c, cfg)
				}
				if _, err := c.Write([]byte("hello there\n")); err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// talk connects and reads of the greeting: a server refuses a client's certificate only behind the handshake.
func talk(t *testing.T, c Client, addr string) (serial string, _ error) {
	t.Helper()
	conn, err := c.Dial(t.Context(), addr, 10*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return "", Explain(err, c.Section)
	}
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// TestWhatIsWrongIsSaid: each thing that can be wrong with a certificate is told in a sentence with the remedy.
func TestWhatIsWrongIsSaid(t *testing.T) {
	ours, theirs := certstest.New(t), certstest.New(t)
	serve := func(a *certstest.Authority, o certstest.Order, clientCA string) string {
		cert, key := a.Issue(o)
		// A server of somebody else's may have a certificate that ours would not start with.
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		if clientCA != "" {
			if cfg.ClientCAs, err = authorities(clientCA, "x"); err != nil {
				t.Fatal(err)
			}
			cfg.ClientAuth = tls.RequireAndVerifyClientCert
		}
		return listen(t, cfg)
	}
	good, mutual := serve(ours, certstest.Order{}, ""), serve(ours, certstest.Order{}, ours.File)
	cert, key := ours.Issue(certstest.Order{Name: "client"})
	strange, strangeKey := theirs.Issue(certstest.Order{})
	client := Client{Section: "nats", CAFile: ours.File}
	known := Client{Section: "nats", CAFile: ours.File, CertFile: cert, KeyFile: key}
	stranger := Client{Section: "nats", CAFile: ours.File, CertFile: strange, KeyFile: strangeKey}
	now := time.Now()
	for _, x := range []struct {
		name string
		c    Client
		addr string
		want []string // none: it works
	}{
		{"right", client, good, nil},
		{"mutual", known, mutual, nil},
		{"expired", client, serve(ours, certstest.Order{To: now.Add(-time.Minute)}, ""), []string{"has expired at", "renew it on the server"}},
		{"not yet valid", client, serve(ours, certstest.Order{From: now.Add(time.Hour)}, ""), []string{"is not valid before", "clocks"}},
		{"another name", client, serve(ours, certstest.Order{Names: []string{"nats.example.com"}}, ""),
			[]string{"not for 127.0.0.1", "connect by a name that it is for (nats.example.com)", "subject alternative name"}},
		{"another authority", client, serve(theirs, certstest.Order{}, ""), []string{"signed by an authority that is not trusted here", "set nats.ca_file"}},
		{"the system's authorities", Client{Section: "clickhouse"}, good, []string{"not trusted here", "set clickhouse.ca_file"}},
		{"no TLS", client, listen(t, nil), []string{"does not speak TLS"}},
		{"no certificate of ours", client, mutual, []string{"asks for a certificate of ours", "nats.cert_file and nats.key_file"}},
		{"a certificate of a stranger", stranger, mutual, []string{"does not take our certificate", "signed by an authority that the server trusts"}},
	} {
		_, err := talk(t, x.c, x.addr)
		if len(x.want) == 0 {
			if err != nil {
				t.Errorf("%s: %v", x.name, err)
			}
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: %v is not explained", x.name, err)
			continue
		}
		for _, want := range x.want {
			if !strings.Contains(e.Error(), want) {
				t.Errorf("%s: %q lacks %q", x.name, e.Error(), want)
			}
		}
	}
	plain := errors.New("no route to host")
	if err := Explain(plain, "nats"); !errors.Is(err, plain) || err.Error() != plain.Error() {
		t.Errorf("another error became %v", err)
	}
	if Explain(nil, "nats") != nil {
		t.Error("no error became one")
	}
}

// TestFilesThatAreNoUse: a server does not start, and a client does not connect, with files that could only be refused by the other side.
func TestFilesThatAreNoUse(t *testing.T) {
	a := certstest.New(t)
	cert, key := a.Issue(certstest.Order{})
	other, otherKey := a.Issue(certstest.Order{})
	old, oldKey := a.Issue(certstest.Order{To: time.Now().Add(-time.Minute)})
	early, earlyKey := a.Issue(certstest.Order{From: time.Now().Add(time.Hour)})
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ cert, key, ca, want string }{
		{old, oldKey, "", "has expired at"},
		{early, earlyKey, "", "is not valid before"},
		{cert, otherKey, "", "private key does not match"},
		{other, key, "", "the key that it was made for"},
		{cert + "x", key, "", "gateway.tls_cert"},
		{cert, key + "x", "", "gateway.tls_key"},
		{garbage, key, "", garbage},
		{key, key, "", "must be a PEM certificate"},
		{cert, key, key, "has no PEM certificate"},
		{cert, key, cert + "x", "gateway.tls_client_ca"},
	} {
		_, err := Server{Section: "gateway", CertFile: x.cert, KeyFile: x.key, ClientCAFile: x.ca}.Config(nil)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", filepath.Base(x.cert), err, x.want)
		}
	}
	addr := listen(t, nil)
	for _, c := range []Client{{Section: "nats", CAFile: cert + "x"}, {Section: "nats", CAFile: key}, {Section: "nats", CertFile: old, KeyFile: oldKey}} {
		if _, err := c.Dial(t.Context(), addr, time.Second); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, err := range []error{
		Server{Section: "s", CertFile: "x"}.Validate(), Server{Section: "s", KeyFile: "x"}.Validate(), Server{Section: "s", ClientCAFile: "x"}.Validate(),
		Client{Section: "s", CertFile: "x"}.Validate(), Client{Section: "s", KeyFile: "x"}.Validate(),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "s.") {
			t.Errorf("half a configuration: %v", err)
		}
	}
	if (Server{}).Validate() != nil || (Client{}).Validate() != nil || (Server{}).On() || (Client{}).Given() {
		t.Error("nothing configured is not nothing")
	}
	if names, err := Names(cert); err != nil || strings.Join(names, " ") != "localhost 127.0.0.1" {
		t.Errorf("names %v, %v", names, err)
	}
}

// TestReload: a renewed certificate counts for the next handshake, on both sides; one that is no use does not, and the one of before goes on.
func TestReload(t *testing.T) {
	a := certstest.New(t)
	cert, key := a.Issue(certstest.Order{Name: "server"})
	var log bytes.Buffer
	var mu sync.Mutex
	now := &clock{now: time.Now()}
	cfg, err := Server{Section: "nats", CertFile: cert, KeyFile: key}.config(slog.New(slog.NewTextHandler(locked{&mu, &log}, nil)), now.read)
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, cfg)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	trust := func(x *certstest.Authority) {
		t.Helper()
		text, err := os.ReadFile(x.File)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ca, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust(a)
	client := Client{Section: "nats", CAFile: ca}
	serial := func() string {
		t.Helper()
		s, err := talk(t, client, addr)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := serial()
	a.Issue(certstest.Order{Name: "server"})
	if got := serial(); got != first {
		t.Error("the files are looked at more often than once a second")
	}
	now.move(2 * time.Second)
	second := serial()
	if second == first {
		t.Error("the renewed certificate is not served")
	}
	// Half of a renewal, and one that has expired.
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	now.move(2 * time.Second)
	if got := serial(); got != second {
		t.Error("a certificate that is no use was taken")
	}
	a.Issue(certstest.Order{Name: "server", To: time.Now().Add(-time.Minute)})
	now.move(2 * time.Second)
	if got := serial(); got != second {
		t.Error("an expired certificate was taken")
	}
	// Another authority: the client trusts it once its file does.
	b := certstest.New(t)
	bCert, bKey := b.Issue(certstest.Order{})
	for from, to := range map[string]string{bCert: cert, bKey: key} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now.move(2 * time.Second)
	if _, err := talk(t, client, addr); err == nil {
		t.Error("the client trusts whom it was not told to")
	}
	trust(b)
	if got := serial(); got == second {
		t.Errorf("serial %s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"the changed certificate is not taken", "has expired at", "certificate read again"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

// TestLater: who must come up does, and serves once its files are right.
func TestLater(t *testing.T) {
	a := certstest.New(t)
	cert, key := a.Issue(certstest.Order{Name: "late", To: time.Now().Add(-time.Minute)})
	addr := listen(t, Server{Section: "clickhouse.server", CertFile: cert, KeyFile: key}.Later(nil))
	client := Client{Section: "clickhouse", CAFile: a.File}
	if _, err := talk(t, client, addr); err == nil {
		t.Error("an expired certificate was served")
	}
	a.Issue(certstest.Order{Name: "late"})
	if _, err := talk(t, client, addr); err != nil {
		t.Error(err)
	}
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
