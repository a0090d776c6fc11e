package gateway_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/gateway"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

// noTables is a history that cannot be asked: what hostile clients want of it must be refused before.
type noTables struct{}

func (noTables) Events(context.Context, store.EventQuery, func(market.Event, market.Place) error) error {
	return errors.New("no tables here")
}

func (noTables) SeqBetween(context.Context, market.Stream, time.Time, time.Time) (uint64, error) {
	return 0, errors.New("no tables here")
}

const hostileSecret = "a secret of the hostile tests, long enough"

// arena is a gateway over a real nats-server, with a healthy client that must not notice what the others do.
type arena struct {
	t     *testing.T
	raw   *bus.Server
	pub   *bus.Publisher
	gw    *gateway.Gateway
	reg   *prometheus.Registry
	token *auth.Verifier // signs
	// The healthy client's.
	healthy   *websocket.Conn
	published int
	got       chan string
}

func newArena(t *testing.T, change func(*gateway.Config)) *arena {
	t.Helper()
	raw, b := bustest.Start(t)
	a := &arena{t: t, raw: raw, pub: b.NewPublisher(bus.PublisherConfig{}), reg: prometheus.NewRegistry(), got: make(chan string, 10_000)}
	t.Cleanup(func() { _ = a.pub.Close(context.Background()) })
	// The first two are purged below: a cursor before them has nothing behind it.
	a.publish(3)
	bustest.DeleteMessage(t, raw, market.Trades, 1)
	cfg := gateway.DefaultConfig()
	cfg.Addr = "127.0.0.1:0"
	cfg.Auth.Keys = map[string]auth.Key{"main": {Algorithm: auth.HS256, Secret: hostileSecret}}
	if change != nil {
		change(&cfg)
	}
	var err error
	if a.token, err = auth.New(cfg.Auth, nil, time.Now); err != nil {
		t.Fatal(err)
	}
	a.gw, err = gateway.New(cfg, gateway.Deps{
		Log: gateway.JetStream(b), History: noTables{}, Mode: "sim", Once: b, Logger: slog.New(slog.DiscardHandler), Metrics: gateway.NewMetrics(a.reg),
		Intervals: []market.Interval{"1m", "5m"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.gw.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with: %v", err)
		}
	})
	<-a.gw.Ready()
	a.published = 0
	a.watch()
	return a
}

func (a *arena) publish(n int) {
	a.t.Helper()
	for range n {
		at := time.Date(2026, 11, 20, 14, 30, 0, a.published*1000, time.UTC)
		err := a.pub.Publish(a.t.Context(), &market.Trade{
			Meta: market.Meta{Source: "sim-test", EventTime: at, RecvTime: at}, Action: market.TradeNew, Symbol: "IREN", ID: strconv.Itoa(a.published),
			Exchange: "V", Tape: "C", PriceUSD: market.MustDecimal("49.25"), SizeShares: market.MustDecimal("100"),
		})
		if err != nil {
			a.t.Fatal(err)
		}
		a.published++
		if err := a.pub.Flush(a.t.Context()); err != nil {
			a.t.Fatal(err)
		}
	}
}

// watch subscribes the healthy client to everything.
func (a *arena) watch() {
	a.t.Helper()
	ws := a.dial(nil)
	a.healthy = ws
	a.subscribed(ws, `{"op":"subscribe","id":"s","channel":"trades","symbols":["*"]}`)
	ended := make(chan struct{})
	a.t.Cleanup(func() { _ = ws.Close(); <-ended })
	go func() {
		defer close(ended)
		defer close(a.got)
		for {
			_, data, err := ws.ReadMessage()
			if err != nil {
				return
			}
			var f struct {
				Messages []struct {
					ID string `json:"trade_id"`
				}
			}
			if json.Unmarshal(data, &f) == nil {
				for _, m := range f.Messages {
					a.got <- m.ID
				}
			}
		}
	}()
}

// unharmed holds that the healthy client has been sent everything, in order.
func (a *arena) unharmed() {
	a.t.Helper()
	a.publish(1)
	timeout := time.After(60 * time.Second)
	for want := range a.published {
		select {
		case id, ok := <-a.got:
			if !ok || id != strconv.Itoa(want) {
				a.t.Fatalf("the healthy client got trade %q (open: %v), want %d", id, ok, want)
			}
		case <-timeout:
			a.t.Fatalf("the healthy client was not sent trade %d of %d", want, a.published)
		}
	}
}

// frame is what a frame from the server may hold.
type frame struct {
	Type    string
	ID      string
	Code    string
	Message string
	Sub     string
}

func (a *arena) url(query string) string { return "ws://" + a.gw.Addr() + "/v1/ws" + query }

// dial opens a connection and reads the welcome.
func (a *arena) dial(header http.Header) *websocket.Conn {
	a.t.Helper()
	ws := a.open(header)
	if f := a.read(ws); f.Type != live.FrameWelcome {
		a.t.Fatalf("got %+v, want welcome", f)
	}
	return ws
}

// open opens a connection and reads nothing.
func (a *arena) open(header http.Header) *websocket.Conn {
	a.t.Helper()
	d := websocket.Dialer{EnableCompression: true, HandshakeTimeout: 10 * time.Second}
	ws, resp, err := d.DialContext(a.t.Context(), a.url(""), header)
	if err != nil {
		if resp != nil {
			body, _ := io.ReadAll(resp.Body)
			a.t.Fatalf("dial: %v: %s", err, body)
		}
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// read is the next frame that is no heartbeat.
func (a *arena) read(ws *websocket.Conn) frame {
	a.t.Helper()
	for {
		_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, data, err := ws.ReadMessage()
		if err != nil {
			a.t.Fatalf("read: %v", err)
		}
		_ = ws.SetReadDeadline(time.Time{})
		var f frame
		if err := json.Unmarshal(data, &f); err != nil {
			a.t.Fatalf("%s: %v", data, err)
		}
		if f.Type != live.FrameHeartbeat {
			return f
		}
	}
}

// answer sends a request and reads the answer to it.
func (a *arena) answer(ws *websocket.Conn, request string) frame {
	a.t.Helper()
	if err := ws.WriteMessage(websocket.TextMessage, []byte(request)); err != nil {
		a.t.Fatal(err)
	}
	for {
		if f := a.read(ws); f.Type == live.FrameAck || f.Type == live.FrameError {
			return f
		}
	}
}

// subscribed sends a request that must succeed.
func (a *arena) subscribed(ws *websocket.Conn, request string) {
	a.t.Helper()
	if f := a.answer(ws, request); f.Type != live.FrameAck {
		a.t.Fatalf("%.120s: got %+v", request, f)
	}
}

// refused holds that a request is answered by an error and the connection goes on.
func (a *arena) refused(ws *websocket.Conn, code, request string) {
	a.t.Helper()
	f := a.answer(ws, request)
	if f.Type != live.FrameError || f.Code != code || len(f.Message) < 15 || f.ID != "7" {
		a.t.Errorf("%.120s: got %+v, want %s to id 7", request, f, code)
	}
	if f := a.answer(ws, `{"op":"ping","id":"p"}`); f.Type != live.FrameAck || f.ID != "p" {
		a.t.Errorf("%.120s: after it a ping got %+v", request, f)
	}
}

// closed reads until the connection ends and holds that it does with the code; it returns the errors told before.
func (a *arena) closed(ws *websocket.Conn, what string, code int) (told []frame) {
	a.t.Helper()
	// A ping may stand before the close frame; its pong finds nobody any more.
	ws.SetPingHandler(func(string) error { return nil })
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			if !websocket.IsCloseError(err, code) {
				a.t.Errorf("%s: got %v, want close %d", what, err, code)
			}
			return told
		}
		var f frame
		if json.Unmarshal(data, &f) == nil && f.Type == live.FrameError {
			told = append(told, f)
		}
	}
}

// counted is the sum of a counter's values whose label has the value.
func (a *arena) counted(name, value string) float64 {
	a.t.Helper()
	families, err := a.reg.Gather()
	if err != nil {
		a.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "hashpivot_gateway_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == value {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// wsFrame is a masked frame as a client sends it; the mask is zero, which changes nothing.
func wsFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

func write(t *testing.T, ws *websocket.Conn, b []byte) {
	t.Helper()
	if _, err := ws.NetConn().Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestHostileFrames(t *testing.T) {
	t.Parallel()
	a := newArena(t, nil)
	f := func(what string, code int, send func(*websocket.Conn)) {
		t.Helper()
		before := a.counted("closed_total", strconv.Itoa(code))
		ws := a.dial(nil)
		send(ws)
		a.publish(1)
		a.closed(ws, what, code)
		if got := a.counted("closed_total", strconv.Itoa(code)); got != before+1 {
			t.Errorf("%s: close %d was counted %v times, want once", what, code, got-before)
		}
	}
	text := func(s string) func(*websocket.Conn) {
		return func(ws *websocket.Conn) { write(t, ws, wsFrame(0x81, []byte(s))) }
	}
	f("oversized", live.CloseTooBig, text(`{"op":"ping","id":"`+strings.Repeat("x", live.MaxRequestBytes)+`"}`))
	f("a length beyond all memory", live.CloseTooBig, func(ws *websocket.Conn) {
		write(t, ws, append(binary.BigEndian.AppendUint64([]byte{0x81, 0x80 | 127}, 1<<62), 0, 0, 0, 0))
	})
	f("fragments without end", live.CloseTooBig, func(ws *websocket.Conn) {
		part := []byte(strings.Repeat(" ", 8<<10))
		write(t, ws, wsFrame(0x01, part))
		for range live.MaxRequestBytes/len(part) + 1 {
			if _, err := ws.NetConn().Write(wsFrame(0x00, part)); err != nil {
				return // closed already, which is right
			}
		}
	})
	f("a compressed bomb", live.CloseTooBig, func(ws *websocket.Conn) {
		ws.EnableWriteCompression(true)
		_ = ws.WriteMessage(websocket.TextMessage, []byte(strings.Repeat(" ", 16<<20))) // it may be closed before the end
	})
	f("no UTF-8", live.CloseNotUTF8, text("{\"op\":\"pi\xffng\"}"))
	f("no JSON", live.CloseMalformed, text("ping"))
	f("no object", live.CloseMalformed, text("[]"))
	f("empty", live.CloseMalformed, text(""))
	f("deep", live.CloseMalformed, text(strings.Repeat(`{"a":`, 5000)))
	f("binary", live.CloseMalformed, func(ws *websocket.Conn) { write(t, ws, wsFrame(0x82, []byte(`{"op":"ping"}`))) })
	f("an opcode that is none", websocket.CloseProtocolError, func(ws *websocket.Conn) { write(t, ws, wsFrame(0x83, nil)) })
	f("no mask", websocket.CloseProtocolError, func(ws *websocket.Conn) { write(t, ws, []byte{0x81, 0x02, '{', '}'}) })
	f("a continuation of nothing", websocket.CloseProtocolError, func(ws *websocket.Conn) { write(t, ws, wsFrame(0x80, []byte("x"))) })
	f("a fragmented ping", websocket.CloseProtocolError, func(ws *websocket.Conn) { write(t, ws, wsFrame(0x09, []byte("x"))) })

	// Fragments by themselves are no crime, with a ping in between.
	ws := a.dial(nil)
	write(t, ws, wsFrame(0x01, []byte(`{"op":"pi`)))
	write(t, ws, wsFrame(0x89, []byte("x")))
	write(t, ws, wsFrame(0x00, []byte(`ng","id":`)))
	write(t, ws, wsFrame(0x80, []byte(`"7"}`)))
	if f := a.read(ws); f.Type != live.FrameAck || f.ID != "7" {
		t.Errorf("in fragments: got %+v, want an acknowledgement", f)
	}
	// Who is gone in the middle of a frame.
	gone := a.dial(nil)
	write(t, gone, []byte{0x81, 0xfe, 0x10})
	_ = gone.Close()
	a.unharmed()
}

func TestHostileRequests(t *testing.T) {
	t.Parallel()
	a := newArena(t, nil)
	ws := a.dial(nil)
	a.refused(ws, live.CodeUnknownOp, `{"op":"drop","id":"7"}`)
	a.refused(ws, live.CodeBadRequest, `{"op":"ping","id":"7","id":"7"}`)
	a.refused(ws, live.CodeBadRequest, `{"op":"ping","id":"7","admin":true}`)
	sub := func(rest string) string { return `{"op":"subscribe","id":"7",` + rest + `}` }
	trades := func(rest string) string { return sub(`"channel":"trades","symbols":["*"],` + rest) }
	a.refused(ws, live.CodeBadChannel, sub(`"channel":"orders","symbols":["*"]`))
	a.refused(ws, live.CodeBadInterval, sub(`"channel":"bars","symbols":["*"]`))
	a.refused(ws, live.CodeBadInterval, sub(`"channel":"bars","symbols":["*"],"interval":"7m"`))
	a.refused(ws, live.CodeBadInterval, sub(`"channel":"bars","symbols":["*"],"interval":"60s"`))
	a.refused(ws, live.CodeBadInterval, sub(`"channel":"bars","symbols":["*"],"interval":"2h"`)) // nobody makes them here
	a.subscribed(ws, sub(`"channel":"bars","symbols":["*"],"interval":"5m"`))
	a.refused(ws, live.CodeBadRate, trades(`"max_rate":-1`))
	a.refused(ws, live.CodeBadRate, trades(`"max_rate":1e300`))
	a.refused(ws, live.CodeBadSymbol, sub(`"channel":"trades","symbols":[]`))
	a.refused(ws, live.CodeBadSymbol, sub(`"channel":"trades","symbols":["**"]`))
	a.refused(ws, live.CodeBadSymbol, sub(`"channel":"trades","symbols":["*a*b*c*"]`))
	a.refused(ws, live.CodeBadSymbol, sub(`"channel":"trades","symbols":["`+strings.Repeat("A", 65)+`"]`))
	a.refused(ws, live.CodeBadSymbol, sub(`"channel":"trades","symbols":["CORZ\u0000"]`))
	a.refused(ws, live.CodeTooMany, sub(`"channel":"trades","symbols":[`+strings.Repeat(`"A",`, live.MaxSymbols)+`"A"]`))
	a.refused(ws, live.CodeNotSubscribed, `{"op":"unsubscribe","id":"7","sub":"trades/*"}`)
	a.refused(ws, live.CodeNotSubscribed, `{"op":"control","id":"7","sub":"replay/1","action":"pause"}`)

	a.refused(ws, live.CodeBadFrom, trades(`"from":"yesterday"`))
	a.refused(ws, live.CodeBadFrom, trades(`"from":"TRADES:-1"`))
	a.refused(ws, live.CodeBadCursor, trades(`"from":"QUOTES:1"`))
	a.refused(ws, live.CodeBadCursor, trades(`"from":"TRADES:18446744073709551615"`))
	a.refused(ws, live.CodeOtherEpoch, trades(`"from":"TRADES:3","epoch":"1"`))
	a.refused(ws, live.CodeBadRequest, `{"op":"resume","id":"7","resume":"x"}`)
	a.refused(ws, live.CodeBadRequest, `{"op":"resume","id":"7","resume":"bnVsbA"}`)

	// What lies before all that is kept is told when it is looked for: behind the acknowledgement.
	if f := a.answer(ws, `{"op":"subscribe","id":"8","channel":"trades","symbols":["*"],"from":"TRADES:0"}`); f.Type == live.FrameAck {
		for f = a.read(ws); f.Type != live.FrameError; f = a.read(ws) {
		}
		if f.Code != live.CodePurged || f.Sub == "" {
			t.Errorf("a purged cursor: got %+v, want %s", f, live.CodePurged)
		}
	} else if f.Code != live.CodePurged {
		t.Errorf("a purged cursor: got %+v, want %s", f, live.CodePurged)
	}
	for _, code := range []string{live.CodeUnknownOp, live.CodeBadCursor, live.CodeOtherEpoch, live.CodePurged, live.CodeBadSymbol} {
		if a.counted("errors_total", code) == 0 {
			t.Errorf("error %s was not counted", code)
		}
	}
	a.unharmed()
}

func TestHostileResume(t *testing.T) {
	t.Parallel()
	a := newArena(t, func(c *gateway.Config) { c.Heartbeat = 2 * time.Second })
	ws := a.dial(nil)
	a.subscribed(ws, `{"op":"subscribe","id":"s","channel":"trades","symbols":["IREN"]}`)
	var beat live.Heartbeat
	for beat.Resume == "" {
		_, data, err := ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal(data, &beat)
	}
	other := a.dial(nil)
	resume := func(position string) string {
		return fmt.Sprintf(`{"op":"resume","id":"7","resume":%q,"positions":{"trades/IREN":%q}}`, beat.Resume, position)
	}
	// A resume goes on from a cursor; what else from may be would begin somewhere else in silence.
	for _, position := range []string{"live", "snapshot", "2026-11-20T14:30:00Z", "QUOTES:1", "TRADES:99999", "x"} {
		f := a.answer(other, resume(position))
		if f.Type != live.FrameError || f.ID != "7" || f.Code != live.CodeBadCursor && f.Code != live.CodeBadFrom {
			t.Errorf("a resume from %s: got %+v, want a refusal", position, f)
		}
	}
	a.subscribed(other, resume("TRADES:3"))
	a.unharmed()
}

func TestFloods(t *testing.T) {
	t.Parallel()
	a := newArena(t, func(c *gateway.Config) {
		c.Limits.Requests, c.Limits.RequestBurst, c.Limits.Strikes = 1, 40, 5
		c.Limits.Subscribes, c.Limits.SubscribeBurst, c.Limits.Subscriptions = 1, 20, 10
		c.Limits.AddressConnections, c.Limits.AddressSubscriptions = 5, 14
	})
	// The healthy client has one connection and one subscription of the same address.
	ws := a.dial(nil)
	for range 60 {
		if ws.WriteMessage(websocket.TextMessage, []byte(`{"op":"ping"}`)) != nil {
			break
		}
	}
	a.publish(3)
	told := a.closed(ws, "a flood of requests", live.CloseTooMany)
	if len(told) < 5 || told[0].Code != live.CodeTooMany {
		t.Errorf("a flood of requests was told %+v", told)
	}

	ws = a.dial(nil)
	for i := range 10 {
		a.subscribed(ws, fmt.Sprintf(`{"op":"subscribe","id":"s","channel":"trades","symbols":["A%d"]}`, i))
	}
	a.refused(ws, live.CodeTooMany, `{"op":"subscribe","id":"7","channel":"trades","symbols":["B"]}`)
	second := a.dial(nil)
	for i := range 3 {
		a.subscribed(second, fmt.Sprintf(`{"op":"subscribe","id":"s","channel":"trades","symbols":["C%d"]}`, i))
	}
	a.refused(second, live.CodeTooMany, `{"op":"subscribe","id":"7","channel":"trades","symbols":["D"]}`)
	if a.counted("limited_total", "address") == 0 || a.counted("limited_total", "connection") == 0 {
		t.Error("what limits refused was not counted")
	}

	for range 6 {
		c, resp, err := websocket.DefaultDialer.DialContext(t.Context(), a.url(""), nil)
		if err == nil {
			defer func() { _ = c.Close() }()
			continue
		}
		if resp == nil || resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("one connection too many: got %v, %v", resp, err)
		}
		break
	}
	if a.counted("refused_total", "limit") == 0 {
		t.Error("no connection was one too many")
	}
	a.unharmed()
}

// upgrade tries a websocket and returns the refusal.
func (a *arena) upgrade(what string, status int, code, query string, header http.Header) {
	a.t.Helper()
	ws, resp, err := websocket.DefaultDialer.DialContext(a.t.Context(), a.url(query), header)
	if err == nil {
		_ = ws.Close()
	}
	if resp == nil {
		a.t.Fatalf("%s: %v", what, err)
	}
	var e live.Error
	body, _ := io.ReadAll(resp.Body)
	if _ = json.Unmarshal(body, &e); resp.StatusCode != status || e.Code != code || status != http.StatusSwitchingProtocols && len(e.Message) < 15 {
		a.t.Errorf("%s: got %d %s, want %d %s", what, resp.StatusCode, body, status, code)
	}
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestHostileTokens(t *testing.T) {
	t.Parallel()
	a := newArena(t, nil)
	mint := func(scope string, ttl time.Duration) string {
		s, _, err := a.token.Mint(auth.Order{Subject: "desk", Scope: []string{scope}, TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	claims := func(exp time.Duration) jwt.MapClaims {
		now := time.Now()
		return jwt.MapClaims{"sub": "desk", "aud": "hashpivot", "iat": now.Add(-time.Hour).Unix(), "exp": now.Add(exp).Unix(), "scope": "*:*"}
	}
	sign := func(m jwt.SigningMethod, key any, exp time.Duration) string {
		s, err := jwt.NewWithClaims(m, claims(exp)).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := mint("*:*", time.Hour)
	bad := map[string]string{
		"alg none": sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, time.Hour),
		"expired":  sign(jwt.SigningMethodHS256, []byte(hostileSecret), -time.Minute),
		"forged":   sign(jwt.SigningMethodHS256, []byte("another secret, of the same length and all"), time.Hour),
		"changed":  good[:len(good)-4] + "AAAA",
		"nonsense": "hunter2",
		"huge":     strings.Repeat("x", 9000),
	}
	ws := a.dial(nil)
	for what, token := range bad {
		a.upgrade(what, http.StatusUnauthorized, live.CodeUnauthorised, "", bearer(token))
		f := a.answer(ws, fmt.Sprintf(`{"op":"authenticate","id":"7","token":%q}`, token))
		if f.Code != live.CodeUnauthorised || f.ID != "7" || strings.Contains(f.Message, token) {
			t.Errorf("authenticate, %s: got %+v", what, f)
		}
	}
	a.upgrade("basic", http.StatusUnauthorized, live.CodeUnauthorised, "", http.Header{"Authorization": {"Basic eDp5"}})
	a.upgrade("no ticket", http.StatusUnauthorized, live.CodeUnauthorised, "?ticket=x", nil)
	a.upgrade("a token as a ticket", http.StatusUnauthorized, live.CodeUnauthorised, "?ticket="+good, nil)
	if a.counted("refused_total", "token") == 0 {
		t.Error("refused tokens were not counted")
	}

	// A ticket is good once.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+a.gw.Addr()+"/v1/ticket", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearer(good)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var ticket struct{ Ticket string }
	err = json.NewDecoder(resp.Body).Decode(&ticket)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("ticket: %v, %s", err, resp.Status)
	}
	a.upgrade("a ticket", http.StatusSwitchingProtocols, "", "?ticket="+ticket.Ticket, nil)
	a.upgrade("the same ticket", http.StatusUnauthorized, live.CodeUnauthorised, "?ticket="+ticket.Ticket, nil)

	// A scope covers what it says, whichever way it is asked for.
	narrow := a.dial(bearer(mint("trades:CORZ,I*", time.Hour)))
	for _, rest := range []string{
		`"channel":"trades","symbols":["*"]`, `"channel":"trades","symbols":["CORZ","WULF"]`, `"channel":"trades","symbols":["*REN"]`,
		`"channel":"quotes","symbols":["CORZ"]`, `"channel":"bars","interval":"1m","symbols":["CORZ"]`,
	} {
		a.refused(narrow, live.CodeForbidden, `{"op":"subscribe","id":"7",`+rest+`}`)
	}
	a.refused(narrow, live.CodeForbidden,
		`{"op":"replay","id":"7","subscriptions":[{"channel":"trades","symbols":["*"]}],"start":"2026-11-20T14:30:00Z","end":"2026-11-20T15:30:00Z"}`)
	a.subscribed(narrow, `{"op":"subscribe","id":"s","channel":"trades","symbols":["CORZ","IR*"]}`)

	// On a busy machine it may have ended before the welcome is written.
	a.closed(a.open(bearer(mint("*:*", 2*time.Second))), "a token that ends", live.CloseExpired)
	a.unharmed()
}

func TestForeignPages(t *testing.T) {
	t.Parallel()
	a := newArena(t, func(c *gateway.Config) { c.Auth.Origins = []string{"https://desk.example.com"} })
	origin := func(o string) http.Header { return http.Header{"Origin": {o}} }
	for _, o := range []string{"https://evil.example.com", "null", "http://" + a.gw.Addr() + ".evil.example.com", "https://desk.example.com.evil.com", "file://"} {
		a.upgrade(o, http.StatusForbidden, live.CodeForbidden, "", origin(o))
	}
	if a.counted("refused_total", "origin") != 5 {
		t.Errorf("foreign pages were counted %v times, want 5", a.counted("refused_total", "origin"))
	}
	a.upgrade("its own", http.StatusSwitchingProtocols, "", "", origin("http://"+a.gw.Addr()))
	a.upgrade("a listed one", http.StatusSwitchingProtocols, "", "", origin("https://desk.example.com"))

	// A name that somebody pointed at this machine is the page's own, but not this machine's: its reader is nobody.
	host := origin("http://rebound.example.com")
	host.Set("Host", "rebound.example.com")
	ws := a.dial(host)
	a.refused(ws, live.CodeUnauthorised, `{"op":"subscribe","id":"7","channel":"trades","symbols":["*"]}`)
	a.unharmed()
}

func TestSlowLoris(t *testing.T) {
	t.Parallel()
	a := newArena(t, func(c *gateway.Config) { c.Heartbeat, c.Limits.AddressConnections = 2*time.Second, 10 })
	// Many who never end their handshake, beyond what one address may have open.
	var slow []net.Conn
	for range 50 {
		c, err := net.Dial("tcp", a.gw.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("GET /v1/ws HTTP/1.1\r\nHost: x\r\nX-Slow: ")); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	// A frame that comes a byte at a time is no sign of life.
	ws := a.dial(nil)
	ws.SetPingHandler(func(string) error { return nil }) // a pong would be one
	dripping := make(chan struct{})
	go func() {
		defer close(dripping)
		for _, b := range wsFrame(0x81, []byte(strings.Repeat(" ", 10_000))) {
			if _, err := ws.NetConn().Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond) // the attack itself
		}
	}()
	a.closed(ws, "a frame in drops", live.CloseSilent)
	_ = ws.Close()
	<-dripping
	a.unharmed()
	for _, c := range slow {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Fatalf("a handshake that never ends was kept: %v", err)
		}
	}
}
