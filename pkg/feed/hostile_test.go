package feed_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// What an upstream asks for is heeded within reason: neither years of silence nor a hammering can be had by a header.
func TestRetryAfterCannotBeAbused(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"":                              5 * time.Second,
		"7":                             7 * time.Second,
		" 7 ":                           7 * time.Second,
		"0":                             time.Second,
		"-5":                            time.Second,
		"soon":                          5 * time.Second,
		"1e9":                           5 * time.Second,
		"315360000":                     15 * time.Minute, // ten years
		"9223372036854775807":           15 * time.Minute,
		"99999999999999999999999":       15 * time.Minute,
		"Fri, 01 Jan 2100 00:00:00 GMT": 15 * time.Minute,
		"Fri, 01 Jan 1999 00:00:00 GMT": time.Second,
	} {
		t.Run(value, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", value)
				w.WriteHeader(http.StatusTooManyRequests)
			}))
			defer srv.Close()
			_, refusal := feed.Call(t.Context(), srv.Client(), feed.Request{URL: srv.URL})
			synctest.Test(t, func(t *testing.T) {
				f := newFeed(t, feedtest.NewMemory(), nil)
				ctx, cancel := context.WithCancel(t.Context())
				n, begin := 0, time.Now()
				if err := f.Run(ctx, exact(), func(context.Context, *feed.Session) error {
					if n++; n == 2 {
						cancel()
					}
					return refusal
				}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took != want {
					t.Errorf("came again after %s, want %s", took, want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // an adapter's own number
		f := newFeed(t, feedtest.NewMemory(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		n, begin := 0, time.Now()
		if err := f.Run(ctx, exact(), func(context.Context, *feed.Session) error {
			if n++; n == 2 {
				cancel()
			}
			return feed.RetryAfter(errors.New("go away"), 10*365*24*time.Hour)
		}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 15*time.Minute {
			t.Errorf("came again after %s, want 15 min", took)
		}
	})
}

// A refused handshake must not reset the back-off either, nor a login that is taken and dropped again and again.
func TestBackOffIsNotResetByRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, feedtest.NewMemory(), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		n := 0
		if err := f.Run(ctx, exact(), func(ctx context.Context, s *feed.Session) error {
			n++
			if n%2 == 0 {
				return feed.RetryAfter(errors.New("slow down"), -time.Hour)
			}
			return errors.Join(s.Ready(ctx), feed.RetryAfter(errors.New("slow down"), 0))
		}); err != nil {
			t.Fatal(err)
		}
		if n < 20 || n > 30 {
			t.Errorf("%d sessions in ten minutes", n)
		}
	})
}

func selfSigned(t *testing.T, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestCertificatesAreNamed(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		from, to time.Time
		want     string
	}{
		"expired": {now.Add(-48 * time.Hour), now.Add(-24 * time.Hour), "expired"},
		"unknown": {now.Add(-time.Hour), now.Add(time.Hour), "unknown authority"},
	} {
		srv := httptest.NewUnstartedServer(http.NotFoundHandler())
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t, c.from, c.to)}}
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.StartTLS()
		client := &http.Client{}
		_, err := feed.Call(t.Context(), client, feed.Request{URL: srv.URL})
		_, werr := feed.Dial(t.Context(), feed.WebsocketConfig{URL: "wss" + strings.TrimPrefix(srv.URL, "https")})
		srv.Close()
		client.CloseIdleConnections()
		for _, err := range []error{err, werr} {
			ce, ok := errors.AsType[*feed.CertificateError](err)
			if !ok || !strings.Contains(ce.Problem, c.want) || feed.IsRefused(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// What keeps a feed from ever being accepted is published, once an outage and kind, so that it shows in the table.
func TestOutagesBeforeAcceptanceAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		f := newFeed(t, mem, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		n := 0
		if err := f.Run(ctx, exact(), func(ctx context.Context, s *feed.Session) error {
			switch n++; {
			case n < 5:
				return errors.New("connection refused")
			case n < 10:
				return &feed.CertificateError{Problem: "it has expired"}
			case n == 10:
				return errors.Join(s.Ready(ctx), errors.New("dropped"))
			}
			return errors.New("connection refused")
		}); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(states(mem))
		if want := fmt.Sprint([]market.FeedState{market.FeedLost, market.FeedLost, market.FeedConnected, market.FeedLost}); got != want {
			t.Errorf("states %s, want %s", got, want)
		}
		if ev := feedtest.Of[*market.FeedEvent](mem)[1]; !strings.Contains(ev.Detail, "expired") {
			t.Errorf("detail %q", ev.Detail)
		}
		if len(f.OpenGaps()) != 1 {
			t.Errorf("%d gaps, want that of the session that was accepted", len(f.OpenGaps()))
		}
	})
}

func TestBombsAreBounded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			chunk := make([]byte, 1<<20)
			for range 16 {
				if _, err := z.Write(chunk); err != nil {
					return
				}
			}
			_ = z.Close()
		case "/nested":
			_, _ = io.WriteString(w, strings.Repeat(`{"a":[`, 50_000))
		case "/html":
			_, _ = io.WriteString(w, "\ufeff\n<!DOCTYPE html><html><head><title> Just a moment... </title></head></html>")
		case "/slow":
			for range 100 {
				if _, err := io.WriteString(w, " "); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		case "/stall":
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	call := func(path string) (*feed.Response, error) {
		return feed.Call(t.Context(), srv.Client(), feed.Request{URL: srv.URL + path, Limit: 8 << 20, Within: 150 * time.Millisecond})
	}
	if _, err := feed.Call(t.Context(), srv.Client(), feed.Request{URL: srv.URL + "/gzip", Limit: 1 << 20}); feed.ReasonOf(err, "") != feed.ReasonTooLarge {
		t.Errorf("a gzip bomb is told as %v", err)
	}
	resp, err := feed.Call(t.Context(), srv.Client(), feed.Request{URL: srv.URL + "/nested"})
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := feed.DecodeJSON(resp.Body, &v); feed.ReasonOf(err, "") != feed.ReasonMalformed {
		t.Errorf("a hundred thousand levels are told as %v", err)
	}
	if resp, err = feed.Call(t.Context(), srv.Client(), feed.Request{URL: srv.URL + "/html"}); err != nil {
		t.Fatal(err)
	}
	if err := feed.DecodeJSON(resp.Body, &v); err == nil || !strings.Contains(err.Error(), `HTML instead of JSON, titled "just a moment..."`) {
		t.Errorf("HTML is told as %v", err)
	}
	for _, path := range []string{"/slow", "/stall"} {
		begin := time.Now()
		if _, err := call(path); err == nil || !strings.Contains(err.Error(), "no whole answer within 150ms") || time.Since(begin) > time.Second {
			t.Errorf("%s is told as %v after %s", path, err, time.Since(begin))
		}
	}
}

// A compressed message counts by what it becomes.
func TestConnRefusesCompressedBombs(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{EnableCompression: true}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		_ = ws.WriteMessage(websocket.TextMessage, bytes.Repeat([]byte(" "), 8<<20)) // some 8 KiB on the wire
		_, _, _ = ws.ReadMessage()
	}))
	defer srv.Close()
	c, err := feed.Dial(t.Context(), feed.WebsocketConfig{URL: "ws" + strings.TrimPrefix(srv.URL, "http"), Compress: true, ReadLimit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(t.Context()); feed.ReasonOf(err, "") != feed.ReasonTooLarge {
		t.Errorf("a compressed bomb is told as %v", err)
	}
}

func TestRedirectsDoNotCarryKeysAway(t *testing.T) {
	asked := 0
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer thief.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		case "/here":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/there":
			_, _ = io.WriteString(w, r.Header.Get("X-Api-Key"))
		}
	}))
	defer srv.Close()
	header := http.Header{"X-Api-Key": {"hush"}, "Authorization": {"Bearer hush"}}
	_, err := feed.Call(t.Context(), srv.Client(), feed.Request{URL: srv.URL + "/away", Header: header})
	if err == nil || !strings.Contains(err.Error(), "redirected to another host") || strings.Contains(err.Error(), "hush") || asked > 0 {
		t.Errorf("a redirect to another host: %v, which was asked %d times", err, asked)
	}
	if resp, err := feed.Call(t.Context(), srv.Client(), feed.Request{URL: srv.URL + "/here", Header: header}); err != nil || string(resp.Body) != "hush" {
		t.Errorf("a redirect on the same host: %v", err)
	}
	if _, err := feed.Call(t.Context(), srv.Client(), feed.Request{URL: srv.URL + "/loop"}); err == nil || !strings.Contains(err.Error(), "redirected five times") {
		t.Errorf("a redirect loop: %v", err)
	}
}
