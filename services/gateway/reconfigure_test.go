package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/gateway"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

// TestReconfigure: limits, origins and keys change under clients that stay; when a key is withdrawn its clients are sent away with what they need to go on with
// another, and miss nothing.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	const old, next = "the key of the first day, long enough", "the key of the second day, as long"
	w := newWorld(t, false)
	var cfg gateway.Config
	g, _ := w.gateway(func(c *gateway.Config) {
		c.Auth.Anonymous = auth.AnonymousNobody
		c.Auth.Keys = map[string]auth.Key{"old": {Algorithm: auth.HS256, Secret: old}}
		c.Limits.Subscriptions = 1
		cfg = *c
	})
	mint := func(id string, secret run.Secret) http.Header {
		t.Helper()
		c := auth.DefaultConfig()
		c.Keys = map[string]auth.Key{id: {Algorithm: auth.HS256, Secret: secret}}
		v, err := auth.New(c, nil, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := v.Mint(auth.Order{Subject: "desk", Scope: []string{"*:*"}, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return http.Header{"Authorization": {"Bearer " + token}}
	}
	refused := func(header http.Header) bool {
		ws, resp, err := websocket.DefaultDialer.Dial("ws://"+g.Addr()+"/v1/ws", header)
		if err == nil {
			_ = ws.Close()
			return false
		}
		return resp != nil && (resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden)
	}
	p := dial(t, g, mint("old", old))
	p.subscribe(live.Request{Channel: live.Trades, Symbols: []string{"*"}})
	p.send(live.Request{Op: live.OpSubscribe, ID: "2", Channel: live.Quotes, Symbols: []string{"*"}})
	f := p.next()
	for ; f.Type == live.FrameLive || f.Type == live.FrameHeartbeat; f = p.next() {
	}
	if f.Code != live.CodeTooMany {
		t.Fatalf("a second subscription under a limit of one: %+v", f)
	}
	if !refused(mint("new", next)) || !refused(http.Header{"Origin": {"https://desk.example.com"}, "Authorization": mint("old", old)["Authorization"]}) {
		t.Fatal("a key or an origin that is not configured is taken")
	}

	// What is wrong changes nothing.
	bad := cfg
	bad.Limits.Requests = 0
	if err := g.Reconfigure(bad.Limits, bad.Auth); err == nil || !strings.Contains(err.Error(), "gateway.limits.requests") {
		t.Errorf("a bad limit: %v", err)
	}
	bad = cfg
	bad.Auth.Keys = map[string]auth.Key{"file": {Algorithm: auth.HS256, File: "/nonexistent"}}
	if err := g.Reconfigure(cfg.Limits, bad.Auth); err == nil || !strings.Contains(err.Error(), "gateway.auth.keys") {
		t.Errorf("a key that cannot be read: %v", err)
	}

	// More is allowed: nobody is disturbed.
	cfg.Limits.Subscriptions = 2
	cfg.Auth.Origins = []string{"https://desk.example.com"}
	cfg.Auth.Keys = map[string]auth.Key{"old": {Algorithm: auth.HS256, Secret: old}, "new": {Algorithm: auth.HS256, Secret: next}}
	cfg.Auth.SignWith = "new"
	if err := g.Reconfigure(cfg.Limits, cfg.Auth); err != nil {
		t.Fatal(err)
	}
	p.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}})
	w.publish(trade("IREN", 1))
	if f := p.until(live.FrameData, nil); len(f.Messages) != 1 {
		t.Fatalf("after the change came %+v", f)
	}
	if refused(mint("new", next)) || refused(http.Header{"Origin": {"https://desk.example.com"}, "Authorization": mint("old", old)["Authorization"]}) {
		t.Error("the new key or origin is refused")
	}

	// The old key is withdrawn.
	cfg.Auth.Keys = map[string]auth.Key{"new": {Algorithm: auth.HS256, Secret: next}}
	if err := g.Reconfigure(cfg.Limits, cfg.Auth); err != nil {
		t.Fatal(err)
	}
	f = p.until(live.FrameShutdown, nil)
	if _, err := p.read(); !websocket.IsCloseError(err, live.CloseShutdown) || f.Resume == "" {
		t.Errorf("sent away with %v, token %q", err, f.Resume)
	}
	if !refused(mint("old", old)) {
		t.Error("the withdrawn key is taken")
	}
	w.publish(trade("IREN", 2))
	q := dial(t, g, mint("new", next))
	q.send(live.Request{Op: live.OpResume, ID: "r", Resume: f.Resume})
	if f := q.until(live.FrameData, nil); len(f.Messages) != 1 || f.Messages[0].Symbol != "IREN" {
		t.Errorf("after the resume came %+v", f)
	}
}
