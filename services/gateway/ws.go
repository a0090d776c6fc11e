package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
	"github.com/hashpivot/hashpivot/services/gateway/limit"
)

// noWrites is the write buffer of the websocket library, which writes nothing but control frames: those need none.
var noWrites sync.Pool

// readBuffer is small: requests are, and a connection should cost little.
const readBuffer = 512

func (g *Gateway) upgrader() *websocket.Upgrader {
	return &websocket.Upgrader{
		HandshakeTimeout: 10 * time.Second, ReadBufferSize: readBuffer, WriteBufferPool: &noWrites, WriteBufferSize: readBuffer, Subprotocols: []string{live.JSONProtocol, live.ProtoProtocol},
		EnableCompression: g.cfg.Compress, CheckOrigin: func(r *http.Request) bool { return g.auth.Load().Origin(r) },
		Error: func(w http.ResponseWriter, r *http.Request, status int, reason error) {
			g.metrics.refused.WithLabelValues("handshake").Inc()
			g.refuse(w, status, live.Errorf(live.CodeBadRequest, "no websocket: %s", reason))
		},
	}
}

// serveWS takes a connection over.
func (g *Gateway) serveWS(w http.ResponseWriter, r *http.Request) {
	grant, place, ok := g.admit(w, r)
	if !ok {
		return
	}
	ws, err := g.upgrade.Upgrade(w, r, nil)
	if err != nil {
		place.Close()
		return // the upgrader has answered
	}
	raw, ok := ws.NetConn().(*conn)
	if !ok { // another listener than ours
		place.Close()
		_ = ws.Close()
		g.log.Error("a connection is of another listener", "type", ws.NetConn())
		return
	}
	v := variant{enc: encJSON, deflate: g.cfg.Compress && offersDeflate(r.Header)}
	if ws.Subprotocol() == live.ProtoProtocol {
		v.enc = encProto
	}
	c := g.newClient(raw, v, grant, place, r, nil)
	if c == nil {
		_ = ws.WriteControl(websocket.CloseMessage, closeFrame(live.CloseShutdown, "the gateway ends")[2:], time.Now().Add(time.Second))
		_ = ws.Close()
		return
	}
	// A goroutine of its own: the server's holds buffers that nobody needs any more.
	go func() {
		defer g.reading.Done()
		c.read(ws)
		g.remove(c)
	}()
}

// offersDeflate reports whether the upgrader has agreed on permessage-deflate: it does whenever the client offers it.
func offersDeflate(h http.Header) bool {
	for _, v := range h.Values("Sec-WebSocket-Extensions") {
		for ext := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(ext, ";")
			if strings.TrimSpace(name) == "permessage-deflate" {
				return true
			}
		}
	}
	return false
}

// read answers requests until the connection ends.
func (c *client) read(ws *websocket.Conn) {
	ws.SetReadLimit(live.MaxRequestBytes)
	c.alive()
	ws.SetPongHandler(func(string) error { c.alive(); return nil })
	ws.SetPingHandler(func(data string) error {
		c.enqueue(appendWS(nil, opPong, []byte(data)))
		c.alive()
		return nil
	})
	ws.SetCloseHandler(func(code int, text string) error {
		c.close(websocket.CloseNormalClosure, "")
		return nil
	})
	for {
		kind, data, err := readMessage(ws)
		if err != nil {
			c.ended(err)
			return
		}
		if kind != websocket.TextMessage {
			c.close(live.CloseMalformed, "requests are JSON in text frames")
			c.drain()
			return
		}
		c.alive()
		err = c.request(data)
		if limit.Flood(err) {
			c.close(live.CloseTooMany, "too many requests that were refused; slow down")
		} else if code := live.Malformed(err); code != 0 {
			c.close(code, live.AsError(err).Message)
		}
		if c.ctx.Err() != nil {
			c.drain()
			return
		}
	}
}

// alive notes a sign of life: something came from the client, or its full socket took something. A client that has seconds of data before it sees the next
// ping, and reads them, is not silent.
func (c *client) alive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed && c.variant.enc != encSSE { // who is closed has another deadline, and an event stream answers nothing
		_ = c.conn.SetReadDeadline(time.Now().Add(c.gw.cfg.Heartbeat * 5 / 2))
	}
}

// errTooBig is a request above the limit once it is inflated.
var errTooBig = errors.New("request is too large")

// readMessage is ReadMessage with a bound on what compression can blow up.
func readMessage(ws *websocket.Conn) (int, []byte, error) {
	kind, r, err := ws.NextReader()
	if err != nil {
		return 0, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, live.MaxRequestBytes+1))
	if err == nil && len(data) > live.MaxRequestBytes {
		err = errTooBig
	}
	return kind, data, err
}

// ended closes for what reading ended with.
func (c *client) ended(err error) {
	var ne net.Error
	switch {
	case errors.Is(err, errTooBig), errors.Is(err, websocket.ErrReadLimit):
		c.close(websocket.CloseMessageTooBig, "a request has at most 65536 bytes")
	case errors.As(err, &ne) && ne.Timeout():
		c.close(live.CloseSilent, "no sign of life")
	default:
		c.close(websocket.CloseProtocolError, "")
	}
	c.drain()
	select {
	case <-c.flushed:
	case <-time.After(c.gw.cfg.Linger):
	}
}

// drain lets a close frame reach the client: what it sends meanwhile is read and thrown away, for a socket with unread data resets.
func (c *client) drain() {
	_ = c.conn.SetReadDeadline(time.Now().Add(c.gw.cfg.Linger))
	_, _ = io.Copy(io.Discard, io.LimitReader(c.conn, 1<<20))
}

func (c *client) welcome() live.Welcome {
	g := c.gw
	grant := c.granted()
	return live.Welcome{
		Type: live.FrameWelcome, Version: live.Version, Mode: g.deps.Mode, Gateway: g.name, Time: time.Now().UTC(), HeartbeatS: g.cfg.Heartbeat.Seconds(),
		Authenticated: grant.Authenticated(), Limits: g.limitsOf(grant),
	}
}

// newClient makes a client of a connection, which it takes over; nil if the gateway ends. Before the client is known to anyone, the head and the welcome stand in
// its queue: a heartbeat or a shutdown comes behind them. Whoever reads from it calls g.reading.Done at the end.
func (g *Gateway) newClient(raw *conn, v variant, grant *auth.Grant, place *limit.Lease, r *http.Request, head []byte) *client {
	ctx, cancel := context.WithCancelCause(g.ctx)
	c := &client{
		gw: g, conn: raw, variant: v, ctx: ctx, cancel: cancel, place: place, grant: grant, subs: map[string]*subscription{}, replays: map[string]*replay{},
		flushed: make(chan struct{}), log: g.log.With("remote", r.RemoteAddr),
	}
	c.room = sync.NewCond(&c.mu)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending {
		cancel(nil)
		place.Close()
		return nil
	}
	g.reading.Add(1) // here, so that a shutdown that has begun to wait gets no more to wait for
	g.serial++
	c.slot = int(g.serial % heartbeatSlots)
	c.shard = g.shards[g.serial%uint64(len(g.shards))]
	raw.take(c)
	c.enqueue(head, v.control(live.FrameWelcome, c.welcome()))
	c.shard.add(c, c.slot)
	g.clients[c] = struct{}{}
	g.metrics.clients.Inc()
	c.expireWith(grant)
	return c
}

// remove gives back what a connection had.
func (g *Gateway) remove(c *client) {
	c.gone()
	c.shard.remove(c, c.slot)
	g.mu.Lock()
	delete(g.clients, c)
	g.mu.Unlock()
	c.place.Close()
	_ = c.conn.Close()
	g.metrics.clients.Dec()
}
