package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// WebsocketConfig says how to dial an upstream. Zero values mean the defaults in the comments.
type WebsocketConfig struct {
	URL          string
	Header       http.Header
	Subprotocols []string
	ReadLimit    int64         // bytes of one message; 4 MiB
	PingEvery    time.Duration // websocket pings from us; 10 s, below 0 none
	PongWithin   time.Duration // 5 s
	WriteWithin  time.Duration // 5 s
	DialWithin   time.Duration // 10 s
	Compress     bool          // offer permessage-deflate
	// OnPong is called for each pong with its time; may be nil. Session.Alive suits where pings are the only heartbeat.
	OnPong func(time.Time)
	Now    func() time.Time // what frames are stamped with; time.Now, or the feed's clock
}

// Frame is one websocket message.
type Frame struct {
	Data   []byte
	Binary bool
	Recv   time.Time // when the whole message was in hand, UTC
}

// Conn is a websocket client connection: one reader, any number of writers, pings by itself.
type Conn struct {
	ws   *websocket.Conn
	cfg  WebsocketConfig
	wmu  sync.Mutex
	stop context.CancelFunc
	done sync.WaitGroup
	last int // bytes of the message before
	now  func() time.Time

	received *received // nil: not counted
}

// Dial connects. A handshake answered with 401, 402 or 403 is Refused; a 429 is RetryAfter.
func Dial(ctx context.Context, cfg WebsocketConfig) (*Conn, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&cfg.PingEvery, 10*time.Second)
	def(&cfg.PongWithin, 5*time.Second)
	def(&cfg.WriteWithin, 5*time.Second)
	def(&cfg.DialWithin, 10*time.Second)
	if cfg.ReadLimit == 0 {
		cfg.ReadLimit = 4 << 20
	}
	d := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, HandshakeTimeout: cfg.DialWithin, EnableCompression: cfg.Compress, Subprotocols: cfg.Subprotocols,
		ReadBufferSize: 64 << 10, WriteBufferSize: 4 << 10,
	}
	ws, resp, err := d.DialContext(ctx, cfg.URL, cfg.Header)
	if err != nil {
		err = fmt.Errorf("dial %s: %w", redact(cfg.URL), nameTLS(err))
		if resp != nil {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
			_ = resp.Body.Close()
			return nil, statusError(fmt.Errorf("%w: HTTP %d %.200q", err, resp.StatusCode, body), resp.StatusCode, resp.Header)
		}
		return nil, err
	}
	pctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &Conn{ws: ws, cfg: cfg, stop: stop, now: cfg.Now}
	if c.now == nil {
		c.now = time.Now
	}
	ws.SetReadLimit(cfg.ReadLimit)
	// A read deadline by pongs: a peer whose host is gone sends nothing, and TCP alone would tell us much later.
	extend := func() {
		if cfg.PingEvery > 0 {
			_ = ws.SetReadDeadline(time.Now().Add(cfg.PingEvery + cfg.PongWithin))
		}
	}
	extend()
	ws.SetPongHandler(func(string) error {
		extend()
		if cfg.OnPong != nil {
			cfg.OnPong(c.now().UTC())
		}
		return nil
	})
	if cfg.PingEvery > 0 {
		c.done.Add(1)
		go c.pings(pctx)
	}
	// Reads do not know ctx: closing the socket is what ends them.
	c.done.Add(1)
	go func() {
		defer c.done.Done()
		select {
		case <-ctx.Done():
			_ = ws.Close()
		case <-pctx.Done():
		}
	}()
	return c, nil
}

// Dial connects on behalf of the feed, which counts what it receives.
func (f *Feed) Dial(ctx context.Context, cfg WebsocketConfig) (*Conn, error) {
	if cfg.Now == nil {
		cfg.Now = f.cfg.Now
	}
	c, err := Dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c.received = f.calls
	return c, nil
}

func (c *Conn) pings(ctx context.Context) {
	defer c.done.Done()
	t := time.NewTicker(c.cfg.PingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := c.ws.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.cfg.WriteWithin)); err != nil && !errors.Is(err, websocket.ErrCloseSent) {
				_ = c.ws.Close()
				return
			}
		}
	}
}

// Read waits for the next message. The error is of type *CloseError where the peer closed in good order, and carries ReasonTooLarge where
// a message was over the limit. Read must not be called again after an error.
func (c *Conn) Read(ctx context.Context) (Frame, error) {
	typ, data, err := c.next()
	if err == nil {
		c.received.count(len(data))
		return Frame{Data: data, Binary: typ == websocket.BinaryMessage, Recv: c.now().UTC()}, nil
	}
	if ctx.Err() != nil {
		return Frame{}, fmt.Errorf("read from %s: %w", redact(c.cfg.URL), context.Cause(ctx))
	}
	if errors.Is(err, websocket.ErrReadLimit) {
		return Frame{}, &Malformed{Reason: ReasonTooLarge, Err: fmt.Errorf("read from %s: a message is over %d bytes", redact(c.cfg.URL), c.cfg.ReadLimit)}
	}
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		return Frame{}, &CloseError{Code: ce.Code, Text: ce.Text}
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return Frame{}, fmt.Errorf("read from %s: no pong within %s: %w", redact(c.cfg.URL), c.cfg.PingEvery+c.cfg.PongWithin, err)
	}
	return Frame{}, fmt.Errorf("read from %s: %w", redact(c.cfg.URL), err)
}

// next reads a message. gorilla's own limit counts bytes as they come, so that a compressed message could grow without bound behind it.
func (c *Conn) next() (int, []byte, error) {
	typ, r, err := c.ws.NextReader()
	if err != nil {
		return typ, nil, err
	}
	// Messages are mostly about as long as the one before.
	data := make([]byte, 0, min(c.last+c.last/4+512, 64<<10))
	for limit := int(c.cfg.ReadLimit); ; {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := r.Read(data[len(data):min(cap(data), limit+1)])
		data = data[:len(data)+n]
		switch {
		case len(data) > limit:
			return typ, nil, websocket.ErrReadLimit
		case errors.Is(err, io.EOF):
			c.last = len(data)
			return typ, data, nil
		case err != nil:
			return typ, nil, err
		}
	}
}

// CloseError is the peer's close frame.
type CloseError struct {
	Code int
	Text string
}

func (e *CloseError) Error() string { return fmt.Sprintf("closed by peer: %d %s", e.Code, e.Text) }

// Write sends one message.
func (c *Conn) Write(data []byte, binary bool) error {
	typ := websocket.TextMessage
	if binary {
		typ = websocket.BinaryMessage
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_ = c.ws.SetWriteDeadline(time.Now().Add(c.cfg.WriteWithin))
	if err := c.ws.WriteMessage(typ, data); err != nil {
		return fmt.Errorf("write to %s: %w", redact(c.cfg.URL), err)
	}
	return nil
}

// Close says goodbye, closes the socket and waits for the connection's goroutines. It may be called more than once.
func (c *Conn) Close() {
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	c.stop()
	_ = c.ws.Close()
	c.done.Wait()
}

// redact keeps secrets that some venues want in the URL out of errors and logs.
func redact(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "unparsable URL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
