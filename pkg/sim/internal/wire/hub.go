// Package wire is what the simulators of websocket and HTTP upstreams share: clients with bounded queues, and faults to order.
package wire

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// queued bounds the frames that wait for a slow client; when they are too many the client is dropped, as real upstreams do.
const queued = 1024

// Hub is the set of connected websocket clients.
type Hub struct {
	// ReadLimit is the most bytes that a client may send in one message; set it before the first Serve.
	ReadLimit int64

	mu      sync.Mutex
	clients map[*Client]struct{}
	closed  bool
	muted   atomic.Bool
	wg      sync.WaitGroup
}

// Client is one connection. Its methods may be called from any goroutine.
type Client struct {
	hub  *Hub
	ws   *websocket.Conn
	out  chan frame
	gone chan struct{}
	once sync.Once
	// State is the protocol's own, touched only by the handler's callbacks.
	State any
}

type frame struct {
	data   []byte
	binary bool
	close  int  // close code; data is its reason
	drop   bool // no message: the connection is cut here
}

// NewHub makes an empty hub.
func NewHub() *Hub {
	return &Hub{ReadLimit: 64 << 10, clients: map[*Client]struct{}{}}
}

// Serve upgrades the request and lives with the client until it goes. opened is called first, message for each of its messages, both in this
// goroutine; gone, if not nil, last.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, opened func(*Client), message func(*Client, []byte), gone func(*Client)) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	c := &Client{hub: h, ws: ws, out: make(chan frame, queued), gone: make(chan struct{})}
	ws.SetReadLimit(h.ReadLimit)
	opened(c) // before anyone else can see the client: it sets State
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		_ = ws.Close()
		return
	}
	h.clients[c] = struct{}{}
	h.wg.Add(2)
	h.mu.Unlock()
	defer h.wg.Done()
	go func() {
		defer h.wg.Done()
		c.write()
	}()
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			break
		}
		message(c, data)
	}
	c.Drop()
	h.mu.Lock()
	delete(h.clients, c)
	h.mu.Unlock()
	if gone != nil {
		gone(c)
	}
}

func (c *Client) write() {
	defer func() { _ = c.ws.Close() }()
	for {
		select {
		case <-c.gone:
			return
		case f := <-c.out:
			if f.drop {
				c.Drop()
				return
			}
			_ = c.ws.SetWriteDeadline(time.Now().Add(5 * time.Second))
			if f.close != 0 {
				_ = c.ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(f.close, string(f.data)))
				continue // the client answers with its own close frame, which ends the reader
			}
			typ := websocket.TextMessage
			if f.binary {
				typ = websocket.BinaryMessage
			}
			if err := c.ws.WriteMessage(typ, f.data); err != nil {
				c.Drop()
				return
			}
		}
	}
}

// Send queues a message; the client is dropped when its queue is full. A muted hub sends nothing.
func (c *Client) Send(data []byte) {
	if c.hub.muted.Load() {
		return
	}
	select {
	case c.out <- frame{data: data}:
	default:
		c.Drop()
	}
}

// SendWait queues a message and waits for room; false when the client is gone. Recordings use it: nothing of them may be lost.
func (c *Client) SendWait(data []byte) bool {
	select {
	case c.out <- frame{data: data}:
		return true
	case <-c.gone:
		return false
	}
}

// CloseWith queues a close frame behind what was sent.
func (c *Client) CloseWith(code int, reason string) {
	select {
	case c.out <- frame{data: []byte(reason), close: code}:
	case <-c.gone:
	}
}

// DropBehind cuts the connection without a close frame behind what was sent.
func (c *Client) DropBehind() {
	select {
	case c.out <- frame{drop: true}:
	case <-c.gone:
	}
}

// Drop cuts the connection without a close frame.
func (c *Client) Drop() {
	c.once.Do(func() {
		close(c.gone)
		_ = c.ws.Close()
	})
}

// Each calls fn for every client.
func (h *Hub) Each(fn func(*Client)) {
	for _, c := range h.all() {
		fn(c)
	}
}

func (h *Hub) all() []*Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*Client, 0, len(h.clients))
	for c := range h.clients {
		out = append(out, c)
	}
	return out
}

// Inject sends a frame as it is to all clients, muted or not.
func (h *Hub) Inject(data []byte, binary bool) {
	for _, c := range h.all() {
		select {
		case c.out <- frame{data: data, binary: binary}:
		case <-c.gone:
		}
	}
}

// DropAll cuts every connection.
func (h *Hub) DropAll() { h.Each((*Client).Drop) }

// Mute makes all clients connected but unserved.
func (h *Hub) Mute(on bool) { h.muted.Store(on) }

// Close drops the clients, refuses new ones and waits for the goroutines of all.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.DropAll()
	h.wg.Wait()
}
