package feed_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
)

// serveWS serves websockets with fn and returns the URL.
func serveWS(t *testing.T, fn func(*websocket.Conn)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		fn(ws)
	}))
	t.Cleanup(srv.Close)
	return "ws" + strings.TrimPrefix(srv.URL, "http")
}

func TestConnReadsAndWrites(t *testing.T) {
	url := serveWS(t, func(ws *websocket.Conn) {
		typ, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		_ = ws.WriteMessage(typ, append(data, '!'))
		_ = ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "end of recording"))
		_, _, _ = ws.ReadMessage()
	})
	c, err := feed.Dial(t.Context(), feed.WebsocketConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Write([]byte("hello"), true); err != nil {
		t.Fatal(err)
	}
	f, err := c.Read(t.Context())
	if err != nil || string(f.Data) != "hello!" || !f.Binary || time.Since(f.Recv) > time.Minute {
		t.Errorf("frame %+v, %v", f, err)
	}
	_, err = c.Read(t.Context())
	if ce, ok := errors.AsType[*feed.CloseError](err); !ok || ce.Code != 1000 || ce.Text != "end of recording" {
		t.Errorf("close is told as %v", err)
	}
	c.Close() // again is fine
}

func TestConnRefusesHugeFrames(t *testing.T) {
	url := serveWS(t, func(ws *websocket.Conn) {
		_ = ws.WriteMessage(websocket.TextMessage, make([]byte, 2000))
		_, _, _ = ws.ReadMessage()
	})
	c, err := feed.Dial(t.Context(), feed.WebsocketConfig{URL: url, ReadLimit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Read(t.Context())
	if feed.ReasonOf(err, "") != feed.ReasonTooLarge {
		t.Errorf("a huge frame is told as %v", err)
	}
}

func TestConnEndsWithItsContext(t *testing.T) {
	url := serveWS(t, func(ws *websocket.Conn) { _, _, _ = ws.ReadMessage() })
	ctx, cancel := context.WithCancel(t.Context())
	c, err := feed.Dial(ctx, feed.WebsocketConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cancel()
	if _, err := c.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("read of an ended session: %v", err)
	}
}

// A peer whose host has gone answers no pings; TCP alone would take minutes to tell.
func TestConnNoticesADeadPeer(t *testing.T) {
	release := make(chan struct{})
	url := serveWS(t, func(*websocket.Conn) { <-release }) // never reads, so never pongs
	defer close(release)
	c, err := feed.Dial(t.Context(), feed.WebsocketConfig{URL: url, PingEvery: 50 * time.Millisecond, PongWithin: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "no pong") {
		t.Errorf("a dead peer is told as %v", err)
	}
}

func TestDialTellsWhatTheAnswerMeans(t *testing.T) {
	for status, refused := range map[int]bool{401: true, 403: true, 402: true, 429: false, 500: false, 404: false} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, err := feed.Dial(t.Context(), feed.WebsocketConfig{URL: "ws" + strings.TrimPrefix(srv.URL, "http") + "/?token=hush"})
		srv.Close()
		if err == nil || feed.IsRefused(err) != refused {
			t.Errorf("HTTP %d: %v", status, err)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

// An upstream that accepts connections and drops them before a handshake is an error, not a hang.
func TestDialSurvivesAnUpstreamThatDrops(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
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
			_ = c.Close()
		}
	}()
	if _, err := feed.Dial(t.Context(), feed.WebsocketConfig{URL: "ws://" + ln.Addr().String()}); err == nil {
		t.Error("a dropped handshake is taken for a connection")
	}
	_ = ln.Close()
	<-done
}

func TestCall(t *testing.T) {
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := hits.Add(1)
		switch r.URL.Path {
		case "/ok":
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, r.Method+" "+r.Header.Get("X-Key")+" "+string(body))
		case "/big":
			_, _ = w.Write(make([]byte, 5000))
		case "/forbidden":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "no such key")
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/flaky":
			if n%3 != 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, "at last")
		}
	}))
	defer srv.Close()
	client := srv.Client()
	resp, err := feed.Call(t.Context(), client, feed.Request{Method: "POST", URL: srv.URL + "/ok", Header: http.Header{"X-Key": {"k"}}, Body: []byte("body")})
	if err != nil || string(resp.Body) != "POST k body" || resp.Date.IsZero() {
		t.Errorf("%+v, %v", resp, err)
	}
	if _, err := feed.Call(t.Context(), client, feed.Request{URL: srv.URL + "/big", Limit: 1000}); feed.ReasonOf(err, "") != feed.ReasonTooLarge {
		t.Errorf("a big body is told as %v", err)
	}
	_, err = feed.Call(t.Context(), client, feed.Request{URL: srv.URL + "/forbidden?key=hush"})
	if se, ok := errors.AsType[*feed.StatusError](err); !ok || !feed.IsRefused(err) || se.Status != 403 || se.Body != "no such key" || strings.Contains(err.Error(), "hush") {
		t.Errorf("403 is told as %v", err)
	}
	f := newFeed(t, feedtest.NewMemory(), nil)
	hits.Store(0)
	if resp, err := f.CallPatiently(t.Context(), client, feed.Request{URL: srv.URL + "/flaky"}); err != nil || string(resp.Body) != "at last" || hits.Load() != 3 {
		t.Errorf("%v after %d calls", err, hits.Load())
	}
	hits.Store(0)
	if _, err := f.CallPatiently(t.Context(), client, feed.Request{URL: srv.URL + "/missing"}); err == nil || hits.Load() != 1 {
		t.Errorf("404 was asked for %d times, %v", hits.Load(), err)
	}
	url := srv.URL
	srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := f.CallPatiently(ctx, client, feed.Request{URL: url + "/ok?key=hush"}); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("a server that is gone is told as %v", err)
	}
}

// TestReadEndsWithClose: who closes a connection from elsewhere ends the Read that waits, although the frames are read ahead. An adapter that renews a
// connection by closing it once waited for ever.
func TestReadEndsWithClose(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{}
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		_, _, _ = ws.ReadMessage() // until the client goes
	}))
	defer srv.Close()
	for range 50 {
		c, err := feed.Dial(t.Context(), feed.WebsocketConfig{URL: "ws" + strings.TrimPrefix(srv.URL, "http")})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := c.Read(t.Context())
			ended <- err
		}()
		c.Close()
		select {
		case err := <-ended:
			if err == nil {
				t.Fatal("a frame that nobody sent")
			}
		case <-time.After(60 * time.Second):
			t.Fatal("Read waits on a connection that is closed")
		}
	}
}
