package client_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/hashpivot/hashpivot/pkg/client"
	"github.com/hashpivot/hashpivot/pkg/live"
	livev1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/live/v1"
	mdv1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/md/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway speaks docs/live.md as a test tells it to, over pipes, so that a bubble's clock rules both ends.
type gateway struct {
	t       *testing.T
	dials   chan net.Conn
	closed  chan struct{}
	peers   chan *peer
	welcome live.Welcome
	token   string // the one that is good; others are refused
}

// run calls f in a bubble with a gateway.
func run(t *testing.T, f func(t *testing.T, g *gateway)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{
			t: t, dials: make(chan net.Conn), closed: make(chan struct{}), peers: make(chan *peer, 8),
			welcome: live.Welcome{Type: live.FrameWelcome, Version: live.Version, Mode: "sim", Gateway: "test", HeartbeatS: 10},
		}
		srv := &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = srv.Serve(g)
		}()
		f(t, g)
		close(g.closed)
		_ = srv.Close()
		<-served
	})
}

func (g *gateway) Accept() (net.Conn, error) {
	select {
	case c := <-g.dials:
		return c, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

func (g *gateway) Close() error   { return nil }
func (g *gateway) Addr() net.Addr { return &net.TCPAddr{} }

func (g *gateway) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case g.dials <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// peer is the gateway's end of one connection.
type peer struct {
	t        *testing.T
	ws       *websocket.Conn
	requests chan live.Request // without pings
	pings    chan struct{}
	gone     chan struct{} // the client has closed, or we have
	deaf     atomic.Bool   // answers no pings
	writing  chan struct{} // a mutex that a bubble counts as waiting
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{Subprotocols: []string{live.ProtoProtocol}, EnableCompression: true, HandshakeTimeout: time.Second}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	p := &peer{t: g.t, ws: ws, requests: make(chan live.Request, 64), pings: make(chan struct{}, 1024), gone: make(chan struct{}), writing: make(chan struct{}, 1)}
	p.send(g.welcome)
	g.peers <- p
	defer close(p.gone)
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		q, err := live.ParseRequest(data)
		switch {
		case err != nil:
			g.t.Errorf("request %s: %v", data, err)
		case q.Op == live.OpPing:
			p.pings <- struct{}{}
			if !p.deaf.Load() {
				p.send(live.Ack{Type: live.FrameAck, Op: live.OpPing})
			}
		case q.Op == live.OpAuthenticate && q.Token == g.token:
			p.send(live.Ack{Type: live.FrameAck, ID: q.ID, Op: q.Op})
		case q.Op == live.OpAuthenticate:
			p.refuse(*q, live.CodeUnauthorised)
		default:
			p.requests <- *q
		}
	}
}

func (p *peer) send(frame any) {
	data, err := json.Marshal(frame)
	if err != nil {
		p.t.Error(err)
	}
	p.write(websocket.TextMessage, data)
}

func (p *peer) write(kind int, data []byte) {
	p.writing <- struct{}{}
	defer func() { <-p.writing }()
	_ = p.ws.WriteMessage(kind, data) // what the client closes, it closes
}

// ask waits for a request of the operation.
func (p *peer) ask(op string) live.Request {
	p.t.Helper()
	select {
	case q := <-p.requests:
		if q.Op != op {
			p.t.Fatalf("asked for %+v, want op %s", q, op)
		}
		return q
	case <-time.After(time.Minute):
		p.t.Fatalf("was not asked for %s", op)
	}
	panic("unreachable")
}

// accept acknowledges a subscription.
func (p *peer) accept(q live.Request, start, epoch string) string {
	p.t.Helper()
	spec := q.Spec()
	if err := spec.Normalize(); err != nil {
		p.t.Fatal(err)
	}
	name := spec.ID()
	p.send(live.Ack{Type: live.FrameAck, ID: q.ID, Op: q.Op, Sub: name, Subscriptions: []live.Subscription{
		{Sub: "quotes/other"}, {Sub: name, Spec: spec, Epoch: epoch, Start: start},
	}})
	return name
}

func (p *peer) refuse(q live.Request, code string) {
	p.send(live.ErrorFrame{Type: live.FrameError, ID: q.ID, Error: live.Error{Code: code, Message: "because"}})
}

func (p *peer) frame(f *livev1.DataFrame) {
	data, err := proto.Marshal(f)
	if err != nil {
		p.t.Error(err)
	}
	p.write(websocket.BinaryMessage, data)
}

// data sends trades of these sequences.
func (p *peer) data(sub string, seqs ...uint64) {
	f := &livev1.DataFrame{Sub: sub}
	for _, s := range seqs {
		f.Messages = append(f.Messages, trade(s))
	}
	p.frame(f)
}

func (p *peer) close(code int) {
	_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, "as told"), time.Now().Add(time.Second))
	_ = p.ws.Close()
}

// trade has a price and a time that tell its sequence.
func trade(seq uint64) *livev1.Message {
	at := int64(seq) * 1e9
	return &livev1.Message{Seq: seq, StreamTimeNs: at, Batch: &livev1.Message_Trades{Trades: &mdv1.TradeBatch{Source: "sim-alpaca", Symbol: "CORZ", Trades: []*mdv1.Trade{{
		Meta: &mdv1.Meta{EventTimeNs: at, RecvTimeNs: at}, Action: mdv1.TradeAction_TRADE_ACTION_NEW, PriceUsd: "16.42", SizeShares: "100",
	}}}}}
}

func (g *gateway) next() *peer {
	g.t.Helper()
	select {
	case p := <-g.peers:
		return p
	case <-time.After(time.Hour):
		g.t.Fatal("nobody connected")
	}
	panic("unreachable")
}

// connect is a client and the gateway's end of its connection. The client is closed at the test's end.
func (g *gateway) connect(cfg client.Config) (*client.Client, *peer) {
	g.t.Helper()
	cfg.URL, cfg.NetDial = "http://127.0.0.1", g.dial
	c, err := client.Dial(g.t.Context(), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(c.Close)
	return c, g.next()
}

var trades = client.Spec{Channel: live.Trades, Symbols: []string{"CORZ"}}

// subscribe subscribes and has it acknowledged.
func (p *peer) subscribe(c *client.Client, spec client.Spec, start, epoch string) *client.Subscription {
	p.t.Helper()
	var s *client.Subscription
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if s, err = c.Subscribe(p.t.Context(), spec); err != nil {
			p.t.Error(err)
		}
	}()
	p.accept(p.ask(live.OpSubscribe), start, epoch)
	<-done
	if s == nil {
		p.t.FailNow()
	}
	return s
}

// take reads n messages and tells their sequences.
func take(t *testing.T, s *client.Subscription, n int) []uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var seqs []uint64
	if n == 0 {
		return nil
	}
	for m, err := range s.Messages(ctx) {
		if err != nil {
			t.Fatalf("behind %v: %v", seqs, err)
		}
		if seqs = append(seqs, m.Place.Seq); len(seqs) == n {
			break
		}
	}
	return seqs
}

// failure is what the subscription ends with.
func failure(t *testing.T, s *client.Subscription) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for m, err := range s.Messages(ctx) {
		if err != nil {
			return err
		}
		t.Errorf("message %s", m.Cursor())
	}
	return nil
}
