package wire_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is the least simulator: it sends back what it is sent.
type echo struct {
	control.Target
	hub    *wire.Hub
	faults wire.Faults
	clock  *wire.Clock
	url    string
	own    []string
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	e := &echo{hub: wire.NewHub(), clock: wire.NewClock(nil)}
	e.Target = &wire.Target{Hub: e.hub, HTTP: &e.faults, Clock: e.clock, Error: `{"code":7}`, Pages: true, Own: []wire.Own{
		{Name: "error", Does: "error:N", Order: func(o control.Order) error { e.own = append(e.own, o.Fault); return nil }},
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		e.hub.Serve(w, r, func(*wire.Client) {}, func(c *wire.Client, data []byte) { c.Send(data) }, nil)
	})
	mux.Handle("/", e.faults.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"answer":"true"}`)
	})))
	srv := httptest.NewServer(mux)
	e.url = srv.URL
	t.Cleanup(func() {
		_ = e.Clear("")
		e.hub.Close()
		srv.CloseClientConnections()
		srv.Close()
	})
	return e
}

type peer struct {
	t     *testing.T
	ws    *websocket.Conn
	pongs chan struct{}
}

func (e *echo) dial(t *testing.T) *peer {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(e.url, "http")+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	p := &peer{t, ws, make(chan struct{}, 8)}
	ws.SetPongHandler(func(string) error { p.pongs <- struct{}{}; return nil })
	p.say("hello")
	p.hear("hello")
	return p
}

func (p *peer) say(text string) {
	p.t.Helper()
	if err := p.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) next() (string, error) {
	_ = p.ws.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, data, err := p.ws.ReadMessage()
	return string(data), err
}

func (p *peer) hear(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got, err := p.next(); err != nil || got != w {
			p.t.Fatalf("heard %.60q, %v; want %q", got, err, w)
		}
	}
}

// silent expects nothing for a while; a read deadline that has passed ends a gorilla connection, so it is the last that is asked.
func (p *peer) silent() {
	p.t.Helper()
	_ = p.ws.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	if _, data, err := p.ws.ReadMessage(); err == nil || !strings.Contains(err.Error(), "timeout") {
		p.t.Errorf("heard %q, %v; want silence", data, err)
	}
}

func (e *echo) have(t *testing.T, o control.Order) {
	t.Helper()
	if err := e.Order(o); err != nil {
		t.Fatal(err)
	}
}

func TestSocketFaults(t *testing.T) {
	t.Run("duplicate and reorder", func(t *testing.T) {
		e := newEcho(t)
		p := e.dial(t)
		e.have(t, control.Order{Fault: control.Duplicate, Times: 1})
		p.say("a")
		p.hear("a", "a")
		e.have(t, control.Order{Fault: control.Reorder, Times: 1})
		p.say("b")
		p.say("c")
		p.hear("c", "b")
		e.have(t, control.Order{Fault: control.Reorder, Times: 1})
		p.say("alone")
		p.hear("alone") // nobody comes to change places with
		p.say("d")
		p.hear("d")
	})
	t.Run("frames", func(t *testing.T) {
		e := newEcho(t)
		p := e.dial(t)
		e.have(t, control.Order{Fault: control.Garbage, Times: 2})
		for range 2 {
			if got, err := p.next(); err != nil || json.Valid([]byte(got)) {
				t.Errorf("garbage is %q, %v", got, err)
			}
		}
		e.have(t, control.Order{Fault: control.Types})
		if got, err := p.next(); err != nil || !json.Valid([]byte(got)) {
			t.Errorf("wrong types are %q, %v", got, err)
		}
		e.have(t, control.Order{Fault: control.HugeFrame})
		if got, err := p.next(); err != nil || len(got) < 10<<20 {
			t.Errorf("a huge frame has %d bytes, %v", len(got), err)
		}
		e.have(t, control.Order{Fault: control.Frame, Body: "<html>"})
		p.hear("<html>")
		e.have(t, control.Order{Fault: control.Close, Code: 4001, Reason: "bye"})
		if _, err := p.next(); !websocket.IsCloseError(err, 4001) {
			t.Errorf("closed with %v", err)
		}
	})
	t.Run("mute", func(t *testing.T) {
		e := newEcho(t)
		p := e.dial(t)
		e.have(t, control.Order{Fault: control.Mute})
		p.say("a")
		_ = p.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
		p.silent()
		if len(p.pongs) != 1 {
			t.Error("a mute socket answers no ping")
		}
		if err := e.Clear(control.Mute); err != nil {
			t.Fatal(err)
		}
		e.dial(t)
	})
	t.Run("half-open", func(t *testing.T) {
		e := newEcho(t)
		p := e.dial(t)
		e.have(t, control.Order{Fault: control.HalfOpen})
		p.say("a")
		_ = p.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second))
		p.silent()
		if len(p.pongs) != 0 {
			t.Error("a half-open socket answers pings")
		}
		e.dial(t) // those that come are well
	})
	t.Run("drop", func(t *testing.T) {
		e := newEcho(t)
		p := e.dial(t)
		e.have(t, control.Order{Fault: control.Drop, Times: 2, Delay: control.Duration(10 * time.Millisecond)})
		if _, err := p.next(); err == nil || websocket.IsCloseError(err, 1000, 1001) {
			t.Errorf("dropped with %v", err)
		}
		p = e.dial(t)
		if _, err := p.next(); err == nil {
			t.Error("the second connection is not cut")
		}
		p = e.dial(t)
		p.say("a")
		p.hear("a")
		if seen := e.Seen(); len(seen.Connects) != 3 {
			t.Errorf("%d handshakes, want 3", len(seen.Connects))
		}
	})
	t.Run("refuse", func(t *testing.T) {
		e := newEcho(t)
		e.have(t, control.Order{Fault: control.Refuse, Status: 429, Header: map[string]string{"Retry-After": "9"}, Body: "no"})
		_, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(e.url, "http")+"/ws", nil)
		if err == nil || resp == nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "9" {
			t.Errorf("refused with %v, %v", resp, err)
		}
		e.dial(t)
	})
	t.Run("slow", func(t *testing.T) {
		e := newEcho(t)
		p := e.dial(t)
		e.have(t, control.Order{Fault: control.Slow, Delay: control.Duration(60 * time.Millisecond)})
		begin := time.Now()
		p.say("a")
		p.hear("a")
		if took := time.Since(begin); took < 60*time.Millisecond {
			t.Errorf("a slow server answers after %s", took)
		}
	})
	t.Run("skew", func(t *testing.T) {
		e := newEcho(t)
		e.have(t, control.Order{Fault: control.Skew, By: control.Duration(-3 * time.Hour)})
		if off := time.Since(e.clock.Now()); off < 3*time.Hour || off > 3*time.Hour+time.Minute {
			t.Errorf("the clock is off by %s", off)
		}
		if err := e.Clear(""); err != nil || time.Since(e.clock.Now()) > time.Minute {
			t.Errorf("the clock is still off, %v", err)
		}
	})
}

func TestHTTPFaults(t *testing.T) {
	e := newEcho(t)
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	get := func(ctx context.Context) (int, string, http.Header, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), resp.Header, err
	}
	want := func(name string, ok func(status int, body string, h http.Header, err error) bool) {
		t.Helper()
		status, body, h, err := get(t.Context())
		if !ok(status, body, h, err) {
			t.Errorf("%s: %d %.100q %v %v", name, status, body, h, err)
		}
	}
	sound := func(status int, body string, _ http.Header, err error) bool {
		return status == 200 && body == `{"answer":"true"}` && err == nil
	}
	for _, c := range []struct {
		o  control.Order
		ok func(status int, body string, h http.Header, err error) bool
	}{
		{control.Order{Fault: control.Status, Status: 418, Body: "tea", Header: map[string]string{"x-kind": "pot"}}, func(s int, b string, h http.Header, _ error) bool {
			return s == 418 && b == "tea" && h.Get("X-Kind") == "pot"
		}},
		{control.Order{Fault: control.Status}, func(s int, _ string, _ http.Header, _ error) bool { return s == 500 }},
		{control.Order{Fault: control.HTML}, func(s int, b string, _ http.Header, _ error) bool { return s == 200 && strings.Contains(b, "<html>") }},
		{control.Order{Fault: control.ErrorBody}, func(s int, b string, _ http.Header, _ error) bool { return s == 200 && b == `{"code":7}` }},
		{control.Order{Fault: control.Body, Body: "null"}, func(s int, b string, _ http.Header, _ error) bool { return s == 200 && b == "null" }},
		{control.Order{Fault: control.Truncate}, func(_ int, b string, _ http.Header, err error) bool {
			return err != nil && strings.HasPrefix(b, `{"answer`)
		}},
		{control.Order{Fault: control.HugeBody}, func(_ int, b string, _ http.Header, _ error) bool { return len(b) == 64<<20 }},
		{control.Order{Fault: control.Nested}, func(_ int, b string, _ http.Header, _ error) bool { return strings.HasPrefix(b, "[[[[") }},
		{control.Order{Fault: control.GzipBomb}, func(_ int, b string, h http.Header, _ error) bool {
			z, err := gzip.NewReader(strings.NewReader(b))
			if err != nil {
				return false
			}
			n, _ := io.CopyN(io.Discard, z, 40<<20) // over a member's end
			return n == 40<<20 && h.Get("Content-Encoding") == "gzip" && len(b) < 4<<20
		}},
		{control.Order{Fault: control.SlowBody, Delay: control.Duration(5 * time.Millisecond)}, sound},
	} {
		e.have(t, c.o)
		want(c.o.Fault, c.ok)
		want("after "+c.o.Fault, sound)
	}
	e.have(t, control.Order{Fault: control.Stall, Times: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, _, err := get(ctx); err == nil {
		t.Error("a stalled request is answered")
	}
	e.have(t, control.Order{Fault: control.Status, Status: 503, For: control.Duration(100 * time.Millisecond)})
	_ = e.Clear(control.Stall)
	want("for a while", func(s int, _ string, _ http.Header, _ error) bool { return s == 503 })
	for begin := time.Now(); ; {
		if s, _, _, _ := get(t.Context()); s == 200 {
			break
		}
		if time.Since(begin) > 5*time.Second {
			t.Fatal("a fault for 100 ms does not end")
		}
	}
	e.have(t, control.Order{Fault: control.PageLoop, Times: 1})
	if loop, flood := e.faults.Paging(); !loop || flood {
		t.Error("a page loop was not told")
	}
	if seen := e.Seen(); len(seen.Requests) != e.faults.Hits() || len(seen.Requests) < 20 {
		t.Errorf("%d requests seen, %d hits", len(seen.Requests), e.faults.Hits())
	}
}

func TestBadOrdersAreNamed(t *testing.T) {
	e := newEcho(t)
	for _, c := range []struct {
		o    control.Order
		want string
	}{
		{control.Order{Fault: "explode"}, "known are body, close"},
		{control.Order{}, "known are"},
		{control.Order{Fault: "drop:1"}, "unknown"},
		{control.Order{Fault: control.Mute, Times: -1}, "below 0"},
		{control.Order{Fault: control.Mute, Times: 1, For: 1}, "not both"},
		{control.Order{Fault: control.Status, Status: 99}, "from 200 to 599"},
		{control.Order{Fault: control.Skew}, "by is missing"},
		{control.Order{Fault: control.Garbage}, "no client is connected"},
	} {
		if err := e.Order(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.want)
		}
	}
	e.have(t, control.Order{Fault: "error:406"})
	if len(e.own) != 1 || e.own[0] != "error:406" {
		t.Errorf("own faults %v", e.own)
	}
	if err := e.Clear("explode"); err == nil {
		t.Error("a fault that there is none of is cleared")
	}
}
