// Package wire is what the simulators of websocket and HTTP upstreams share: clients with bounded queues, and faults to order.
package wire

import (
	"net/http"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
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
	wg      sync.WaitGroup
	sockets Sockets
}

// Client is one connection. Its methods may be called from any goroutine.
type Client struct {
	hub  *Hub
	line *Line
	out  chan frame
	gone chan struct{}
	once sync.Once
	// State is the protocol's own, touched only by the handler's callbacks.
	State any
}

type frame struct {
	data   []byte
	binary bool
	raw    bool // injected: as it is
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
	if h.sockets.Refused(w) {
		return
	}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	c := &Client{hub: h, line: h.sockets.Open(ws), out: make(chan frame, queued), gone: make(chan struct{})}
	ws.SetReadLimit(h.ReadLimit)
	opened(c) // before anyone else can see the client: it sets State
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		c.line.Close()
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
		data, err := c.line.Read()
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
	defer c.line.Close()
	for {
		select {
		case <-c.gone:
			return
		case f := <-c.out:
			if f.drop {
				c.Drop()
				return
			}
			if f.close != 0 {
				_ = c.line.WriteRaw(websocket.CloseMessage, websocket.FormatCloseMessage(f.close, string(f.data)))
				continue // the client answers with its own close frame, which ends the reader
			}
			typ := websocket.TextMessage
			if f.binary {
				typ = websocket.BinaryMessage
			}
			write := c.line.Write
			if f.raw {
				write = c.line.WriteRaw
			}
			if err := write(typ, f.data); err != nil {
				c.Drop()
				return
			}
		}
	}
}

// Send queues a message; the client is dropped when its queue is full. A muted hub sends nothing.
func (c *Client) Send(data []byte) {
	if c.hub.sockets.Muted() {
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
		c.line.Close()
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
		case c.out <- frame{data: data, binary: binary, raw: true}:
		case <-c.gone:
		}
	}
}

// DropAll cuts every connection.
func (h *Hub) DropAll() { h.Each((*Client).Drop) }

// Mute makes all clients connected but unserved.
func (h *Hub) Mute(on bool) {
	if on {
		h.sockets.set(control.Mute, standing(control.Order{}))
	} else {
		h.sockets.clear(control.Mute)
	}
}

// Close drops the clients, refuses new ones and waits for the goroutines of all.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.DropAll()
	h.wg.Wait()
	h.sockets.Wait()
}
