package store_test

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/certs/certstest"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// TestTLSErrorsSayWhatToDo: through both libraries, the reading and the inserting one.
func TestTLSErrorsSayWhatToDo(t *testing.T) {
	a, stranger := certstest.New(t), certstest.New(t)
	serve := func(o certstest.Order) string {
		cert, key := a.Issue(o)
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = io.Copy(io.Discard, c) // shakes hands
				_ = c.Close()
			}
		}()
		t.Cleanup(func() {
			_ = ln.Close()
			<-done
		})
		return ln.Addr().String()
	}
	for _, x := range []struct{ name, addr, ca, want string }{
		{"another authority", serve(certstest.Order{}), stranger.File, "set clickhouse.ca_file"},
		{"expired", serve(certstest.Order{To: time.Now().Add(-time.Minute)}), a.File, "has expired at"},
		{"another name", serve(certstest.Order{Names: []string{"ch.example.com"}}), a.File, "connect by a name that it is for (ch.example.com)"},
	} {
		cfg := store.DefaultConfig()
		cfg.Addr, cfg.TLS, cfg.CAFile, cfg.DialTimeout = []string{x.addr}, true, x.ca, 5*time.Second
		st, err := store.Open(t.Context(), cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{"ping": st.Ping(t.Context()), "insert": st.Insert(t.Context(), trades(t, 1), "x")} {
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%s: %s: %v, want %q", x.name, what, err, x.want)
			}
			if !store.IsTransient(err) || store.IsRefused(err) {
				t.Errorf("%s: %s: rows would die of it", x.name, what)
			}
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	for key, edit := range map[string]func(*store.Config){
		"ca_file":          func(c *store.Config) { c.CAFile = a.File + "x" },
		"cert_file and":    func(c *store.Config) { c.CertFile = a.File },
		"ca_file, cert_fi": func(c *store.Config) { c.TLS, c.CAFile = false, a.File },
	} {
		cfg := store.DefaultConfig()
		cfg.TLS = true
		edit(&cfg)
		if _, err := store.Open(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
