package client

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"github.com/hashpivot/hashpivot/pkg/live"
)

const writeWithin = 10 * time.Second

// answer receives what the gateway answers to a request: an acknowledgement, a *live.Error, or errLost. It is called once, where the connection
// is read.
type answer func(ack *live.Ack, err error)

// conn is one connection. What is read from it is handled in one goroutine, serve's.
type conn struct {
	c       *Client
	ws      *websocket.Conn
	welcome live.Welcome
	mute    time.Duration
	ctx     context.Context // ends with the connection
	end     context.CancelFunc
	retries chan *Subscription

	writing sync.Mutex

	mu      sync.Mutex
	pending map[string]answer
	lastID  uint64
	ended   bool

	// Of serve alone.
	names map[string]*Subscription
	told  *live.Error
}

// connect dials, hears the welcome and authenticates.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialWithin)
	defer cancel()
	token, err := c.cfg.token(ctx)
	if err != nil {
		return nil, err
	}
	d := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, Subprotocols: []string{live.ProtoProtocol}, EnableCompression: true,
		ReadBufferSize: 64 << 10, WriteBufferSize: 4 << 10, NetDialContext: c.cfg.NetDial,
	}
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token.Reveal())
	}
	ws, resp, err := d.DialContext(ctx, c.cfg.URL, header)
	if resp != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		return nil, dialError(err, resp)
	}
	k := &conn{c: c, ws: ws, pending: map[string]answer{}, names: map[string]*Subscription{}, retries: make(chan *Subscription, 1)}
	// Reads know no context: the socket's end is what ends them.
	stop := context.AfterFunc(ctx, func() { _ = ws.Close() })
	err = k.handshake(token.Reveal())
	if !stop() {
		err = fmt.Errorf("wait for the gateway's welcome: %w", ctx.Err())
	}
	if err != nil {
		_ = ws.Close()
		return nil, err
	}
	return k, nil
}

func (k *conn) handshake(token string) error {
	if k.ws.Subprotocol() != live.ProtoProtocol {
		return &fatalError{fmt.Errorf("the server does not speak %s; is it a hashpivot gateway?", live.ProtoProtocol)}
	}
	k.ws.SetReadLimit(k.c.cfg.ReadLimit)
	if err := k.expect(live.FrameWelcome, &k.welcome); err != nil {
		return err
	}
	if k.welcome.Version != live.Version {
		return &fatalError{fmt.Errorf("the gateway speaks version %.16q of the protocol, this client %q", k.welcome.Version, live.Version)}
	}
	k.mute = k.c.cfg.MuteAfter
	if k.mute == 0 {
		k.mute = time.Duration(2.5 * float64(k.heartbeat()))
	}
	if token == "" || k.welcome.Authenticated {
		return nil
	}
	// What stands between took the header away.
	if err := k.write(live.Request{Op: live.OpAuthenticate, ID: "token", Token: token}); err != nil {
		return err
	}
	return k.expect(live.FrameAck, nil)
}

// heartbeat is how often the gateway gives a sign of life, and we do.
func (k *conn) heartbeat() time.Duration {
	if s := k.welcome.HeartbeatS; s >= 0.001 && s <= 3600 {
		return time.Duration(s * float64(time.Second))
	}
	return 10 * time.Second
}

// expect reads frames until one of the type comes. An error frame is an error.
func (k *conn) expect(kind string, into any) error {
	for {
		messageType, data, err := k.ws.ReadMessage()
		if err != nil {
			return k.c.cfg.readError(err, nil)
		}
		var f struct {
			Type string `json:"type"`
			live.Error
		}
		if err := json.Unmarshal(data, &f); messageType != websocket.TextMessage || err != nil {
			return fmt.Errorf("wait for %s: got what is no frame of the protocol", kind)
		}
		switch {
		case f.Type == live.FrameError && (f.Code == live.CodeUnauthorised || f.Code == live.CodeForbidden):
			return &fatalError{&f.Error}
		case f.Type == live.FrameError:
			return &f.Error
		case f.Type == kind && into != nil:
			return json.Unmarshal(data, into)
		case f.Type == kind:
			return nil
		case f.Type != live.FrameHeartbeat:
			return fmt.Errorf("wait for %s: got %.32q", kind, f.Type)
		}
	}
}

// serve reads until the connection ends, and says why. It waits for all that belongs to the connection.
func (k *conn) serve(ctx context.Context) error {
	k.ctx, k.end = context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { // what ends a read is the end of the socket
		<-k.ctx.Done()
		_ = k.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		_ = k.ws.Close()
	})
	subs := k.c.adopt(k)
	wg.Go(func() { k.tend(subs) })
	err := k.read()
	k.end()
	wg.Wait()
	k.mu.Lock()
	pending := k.pending
	k.pending, k.ended = nil, true
	k.mu.Unlock()
	for _, s := range k.names {
		if s != nil {
			s.unbind()
		}
	}
	for _, a := range pending {
		a(nil, errLost)
	}
	return err
}

// tend subscribes what there is, gives signs of life, and subscribes again what was refused for a while.
func (k *conn) tend(subs []*Subscription) {
	// Half of what is allowed leaves room for what is asked meanwhile.
	pace := rate.NewLimiter(rate.Inf, 0)
	if perSecond := k.welcome.Limits.RequestsPerSecond; perSecond > 0 {
		pace = rate.NewLimiter(rate.Limit(perSecond/2), max(1, int(perSecond)))
	}
	for _, s := range subs {
		if pace.Wait(k.ctx) != nil {
			return
		}
		k.subscribe(s)
	}
	alive := time.NewTicker(k.heartbeat())
	defer alive.Stop()
	due := map[*Subscription]time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-alive.C:
			// Without an id: nobody waits for the answer.
			if err := k.write(live.Request{Op: live.OpPing}); err != nil {
				_ = k.ws.Close()
			}
		case s := <-k.retries:
			due[s] = time.Now().Add(s.nextWait())
		case now := <-timer.C:
			for s, at := range due {
				if !at.After(now) {
					delete(due, s)
					k.subscribe(s)
				}
			}
		}
		if len(due) > 0 {
			timer.Reset(time.Until(slices.MinFunc(slices.Collect(maps.Values(due)), time.Time.Compare)))
		}
	}
}

// retry has s subscribed again after its back-off.
func (k *conn) retry(s *Subscription) {
	select {
	case k.retries <- s:
	case <-k.ctx.Done():
	}
}

// send asks for something. A connection that cannot be written to ends, and the answer is errLost.
func (k *conn) send(r live.Request, a answer) {
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		a(nil, errLost)
		return
	}
	k.lastID++
	r.ID = strconv.FormatUint(k.lastID, 10)
	k.pending[r.ID] = a
	k.mu.Unlock()
	// A reader that waits for room must read on now: the answer lies behind what it holds.
	k.c.wakeReaders()
	if err := k.write(r); err != nil {
		_ = k.ws.Close()
	}
}

func (k *conn) write(r live.Request) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	k.writing.Lock()
	defer k.writing.Unlock()
	_ = k.ws.SetWriteDeadline(time.Now().Add(writeWithin))
	if err := k.ws.WriteMessage(websocket.TextMessage, data); err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	return nil
}

// take removes the pending answer.
func (k *conn) take(id string) answer {
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.pending[id]
	delete(k.pending, id)
	return a
}

// awaits reports whether an answer is due.
func (k *conn) awaits() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.pending) > 0
}
