package alpaca

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
)

// The channels of the stream and the message kinds that they carry. Corrections and cancels follow trades.
var channels = []struct {
	name  string
	kinds string
}{
	{"trades", "txc"},
	{"quotes", "q"},
	{"bars", "b"},
	{"updatedBars", "u"},
	{"dailyBars", "d"},
	{"statuses", "s"},
	{"lulds", "l"},
	{"imbalances", "i"},
}

// subscriptions by channel name; never changed once made, so that readers need no lock.
type subscriptions map[string][]string

func (s subscriptions) has(kind byte, symbol string) bool {
	for _, ch := range channels {
		if strings.IndexByte(ch.kinds, kind) >= 0 {
			list := s[ch.name]
			return slices.Contains(list, symbol) || slices.Contains(list, "*")
		}
	}
	return false
}

// with returns s after adding (or removing) symbols.
func (s subscriptions) with(change map[string][]string, add bool) subscriptions {
	out := subscriptions{}
	for _, ch := range channels {
		list := slices.Clone(s[ch.name])
		for _, symbol := range change[ch.name] {
			at := slices.Index(list, symbol)
			switch {
			case add && at < 0:
				list = append(list, symbol)
			case !add && at >= 0:
				list = slices.Delete(list, at, at+1)
			}
		}
		slices.Sort(list)
		out[ch.name] = list
	}
	return out
}

type outFrame struct {
	data   []byte
	binary bool
}

func (f outFrame) kind() int {
	if f.binary {
		return websocket.BinaryMessage
	}
	return websocket.TextMessage
}

// client is one stream.
type client struct {
	s      *Server
	ws     *websocket.Conn
	line   *wire.Line
	binary bool
	path   string
	authed bool // guarded by s.mu
	out    chan outFrame

	mu   sync.Mutex
	subs subscriptions
	slow bool
}

// queued bounds the frames that wait for a client; a client that is further behind is told 407 and cut off.
const queued = 1024

func (c *client) wants(kind byte, symbol string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs.has(kind, symbol)
}

// send queues a frame. A client whose queue is full gets nothing more but the error 407, as soon as its socket takes it.
func (c *client) send(f outFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slow {
		return
	}
	select {
	case c.out <- f:
	default:
		c.slow = true
	}
}

func (c *client) isSlow() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slow
}

func (s *Server) serveStream(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v2/iex", "/v2/sip", "/v2/delayed_sip", "/v2/test", "/v1beta1/boats", "/v1beta1/overnight":
	default:
		http.NotFound(w, r)
		return
	}
	if s.sockets.Refused(w) {
		return
	}
	up := websocket.Upgrader{EnableCompression: true, WriteBufferSize: 32 << 10, CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	c := &client{s: s, path: r.URL.Path, ws: ws, line: s.sockets.Open(ws), binary: r.Header.Get("Content-Type") == "application/msgpack", out: make(chan outFrame, queued), subs: subscriptions{}}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		c.line.Close()
		return
	}
	s.clients[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	defer func() {
		s.mu.Lock()
		delete(s.clients, c)
		s.mu.Unlock()
		c.line.Close()
	}()

	quit := make(chan struct{})
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write(quit)
	}()
	bye := c.read(r)
	if bye != nil {
		c.send(outFrame{data: bye})
	}
	close(quit)
	<-written
}

// write sends the queue; after quit what is queued still goes out, within a second.
func (c *client) write(quit chan struct{}) {
	send := func(f outFrame) bool {
		if c.isSlow() {
			f = c.encode(map[string]any{"T": "error", "code": 407, "msg": "slow client"})
			_ = c.line.WriteRaw(f.kind(), f.data)
			return false
		}
		if len(f.data) > len(closing) && string(f.data[:len(closing)]) == closing {
			_ = c.line.WriteRaw(websocket.CloseMessage, f.data[len(closing):])
			return false
		}
		return c.line.Write(f.kind(), f.data) == nil
	}
	for {
		select {
		case f := <-c.out:
			if !send(f) {
				_ = c.ws.NetConn().Close() // ends the reader too
				return
			}
		case <-quit:
			for {
				select {
				case f := <-c.out:
					if !send(f) {
						return
					}
				default:
					return
				}
			}
		}
	}
}

// closing marks a frame that is a close frame instead of a message.
const closing = "\x00close\x00"

// command of a client.
type command struct {
	Action      string   `json:"action" msgpack:"action"`
	Key         string   `json:"key" msgpack:"key"`
	Secret      string   `json:"secret" msgpack:"secret"`
	Trades      []string `json:"trades" msgpack:"trades"`
	Quotes      []string `json:"quotes" msgpack:"quotes"`
	Bars        []string `json:"bars" msgpack:"bars"`
	UpdatedBars []string `json:"updatedBars" msgpack:"updatedBars"`
	DailyBars   []string `json:"dailyBars" msgpack:"dailyBars"`
	Statuses    []string `json:"statuses" msgpack:"statuses"`
	LULDs       []string `json:"lulds" msgpack:"lulds"`
	Imbalances  []string `json:"imbalances" msgpack:"imbalances"`
}

func (c command) channels() map[string][]string {
	return map[string][]string{
		"trades": c.Trades, "quotes": c.Quotes, "bars": c.Bars, "updatedBars": c.UpdatedBars, "dailyBars": c.DailyBars,
		"statuses": c.Statuses, "lulds": c.LULDs, "imbalances": c.Imbalances,
	}
}

// read lives through the client's commands. What it returns is sent last.
func (c *client) read(r *http.Request) []byte {
	s := c.s
	c.control(map[string]any{"T": "success", "msg": "connected"})
	authed := false
	if key := r.Header.Get("APCA-API-KEY-ID"); key != "" {
		if bad := c.login(key, r.Header.Get("APCA-API-SECRET-KEY")); bad {
			return nil
		}
		authed = true
	}
	c.ws.SetReadLimit(1 << 20)
	_ = c.ws.SetReadDeadline(time.Now().Add(s.cfg.AuthTimeout))
	for {
		if authed {
			_ = c.ws.SetReadDeadline(time.Time{})
		}
		data, err := c.line.Read()
		if err != nil {
			if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() && !authed {
				c.fail(404, "auth timeout")
			}
			return nil
		}
		var cmd command
		if c.binary {
			err = msgpack.Unmarshal(data, &cmd)
		} else {
			err = json.Unmarshal(data, &cmd)
		}
		switch {
		case err != nil:
			c.fail(400, "invalid syntax")
		case cmd.Action == "auth" && authed:
			c.fail(403, "already authenticated")
		case cmd.Action == "auth":
			if bad := c.login(cmd.Key, cmd.Secret); bad {
				return nil
			}
			authed = true
		case !authed:
			c.fail(401, "not authenticated")
		case cmd.Action == "subscribe" || cmd.Action == "unsubscribe":
			if c.subscribe(cmd) && s.rec != nil {
				return append([]byte(closing), websocket.FormatCloseMessage(websocket.CloseNormalClosure, endOfRecording)...)
			}
		default:
			c.fail(400, "invalid syntax")
		}
	}
}

const endOfRecording = "end of recording"

// login reports whether the client was turned away.
func (c *client) login(key, secret string) (bad bool) {
	s := c.s
	if s.cfg.Key != "" && (key != s.cfg.Key || secret != s.cfg.Secret) || key == "" {
		c.fail(402, "auth failed")
		return true
	}
	s.mu.Lock()
	n := 0
	for other := range s.clients {
		if other.authed && other.path == c.path { // the limit is an endpoint's
			n++
		}
	}
	if n < s.cfg.MaxConnections {
		c.authed = true
	}
	ok := c.authed
	s.mu.Unlock()
	if !ok {
		c.fail(406, "connection limit exceeded")
		return true
	}
	c.control(map[string]any{"T": "success", "msg": "authenticated"})
	return false
}

// subscribe reports whether the command was taken.
func (c *client) subscribe(cmd command) bool {
	s := c.s
	change := cmd.channels()
	for _, name := range s.cfg.NotInPlan {
		if len(change[name]) > 0 {
			c.fail(409, "insufficient subscription")
			return false
		}
	}
	c.mu.Lock()
	next := c.subs.with(change, cmd.Action == "subscribe")
	if s.cfg.SymbolLimit > 0 {
		symbols := map[string]bool{}
		for _, x := range append(slices.Clone(next["trades"]), next["quotes"]...) {
			symbols[x] = true
		}
		if len(symbols) > s.cfg.SymbolLimit || symbols["*"] {
			c.mu.Unlock()
			c.fail(405, "symbol limit exceeded")
			return false
		}
	}
	c.subs = next
	c.mu.Unlock()
	answer := map[string]any{"T": "subscription", "corrections": next["trades"], "cancelErrors": next["trades"]}
	for _, ch := range channels {
		answer[ch.name] = next[ch.name]
	}
	c.control(answer)
	return true
}

func (c *client) fail(code int, msg string) {
	c.control(map[string]any{"T": "error", "code": code, "msg": msg})
}

// control sends a control message.
func (c *client) control(m map[string]any) { c.send(c.encode(m)) }

// encode makes a control frame: an array of one, T first.
func (c *client) encode(m map[string]any) outFrame {
	if c.binary {
		p := newPacker()
		pairs := []any{"T", m["T"]}
		for k, v := range m {
			if k != "T" {
				pairs = append(pairs, k, v)
			}
		}
		return outFrame{append([]byte{0x91}, p.pack(pairs...)...), true}
	}
	for k, v := range m {
		if list, ok := v.([]string); ok && list == nil {
			m[k] = []string{}
		}
	}
	text, err := json.Marshal([]any{m})
	if err != nil {
		panic("marshal a control message: " + err.Error()) // strings, numbers and lists of our own
	}
	return outFrame{data: text}
}
