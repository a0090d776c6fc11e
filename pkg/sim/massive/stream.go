package massive

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

// topics that the stream knows. What else a client asks for is dropped without a reply.
var topics = []string{"T", "Q", "A", "AM", "LULD", "NOI"}

// client is the state of one connection.
type client struct {
	mu      sync.Mutex
	authed  bool
	counted bool // against MaxConnections
	over    bool // one too many
	timer   *time.Timer
	subs    map[string]bool // "T.IREN", "T.*"
}

func (c *client) wants(topic, symbol string) bool {
	return c.subs[topic+"."+symbol] || c.subs[topic+".*"]
}

func (s *Server) websocket(w http.ResponseWriter, r *http.Request) {
	s.hub.Serve(w, r, func(c *wire.Client) {
		x := &client{subs: map[string]bool{}}
		c.State = x
		c.Send(status("connected", "Connected Successfully"))
		x.timer = time.AfterFunc(s.cfg.AuthTimeout, func() {
			c.Send(status("auth_timeout", "No authentication request received."))
			c.DropBehind()
		})
	}, s.message, func(c *wire.Client) {
		x := c.State.(*client)
		x.timer.Stop()
		s.mu.Lock()
		if x.counted {
			s.authed--
		}
		s.mu.Unlock()
	})
}

// status is a frame with one status event.
func status(status, message string) []byte {
	return slices.Concat([]byte("["), event(status, message), []byte("]"))
}

func event(status, message string) []byte {
	return fmt.Appendf(nil, `{"ev":"status","status":%q,"message":%q}`, status, message)
}

const (
	planMessage = "Your plan doesn't include websocket access."
	maxMessage  = "Maximum number of websocket connections exceeded. You have reached the connection limit for your account. Please contact support at massive.com to increase your connection limit."
)

func (s *Server) message(c *wire.Client, data []byte) {
	var m struct{ Action, Params string }
	x := c.State.(*client)
	switch err := json.Unmarshal(data, &m); {
	case err != nil:
		c.Send(status("error", "invalid message"))
	case m.Action == "auth":
		s.auth(c, x, m.Params)
	case !x.authed:
		c.Send(status("auth_failed", "authentication failed"))
		c.DropBehind()
	case m.Action == "subscribe", m.Action == "unsubscribe":
		s.subscribe(c, x, m.Action, m.Params)
	default:
		c.Send(status("error", "unknown action"))
	}
}

func (s *Server) auth(c *wire.Client, x *client, key string) {
	x.timer.Stop()
	failed := ""
	switch {
	case key == "", s.cfg.Key != "" && key != s.cfg.Key:
		failed = "authentication failed"
	case s.cfg.NoWebsocket:
		failed = planMessage
	}
	if failed != "" {
		c.Send(status("auth_failed", failed))
		c.DropBehind()
		return
	}
	s.mu.Lock()
	if !x.counted {
		x.counted = true
		s.authed++
		x.over = s.authed > s.cfg.MaxConnections
	}
	s.mu.Unlock()
	x.mu.Lock()
	x.authed = true
	x.mu.Unlock()
	c.Send(status("auth_success", "authenticated"))
}

// subscribe answers with an event a pair, all in one frame.
func (s *Server) subscribe(c *wire.Client, x *client, action, params string) {
	var events [][]byte
	x.mu.Lock()
	for _, pair := range strings.Split(params, ",") {
		topic, symbol, ok := strings.Cut(strings.TrimSpace(pair), ".")
		if !ok || symbol == "" || !slices.Contains(topics, topic) {
			continue
		}
		pair = topic + "." + symbol
		switch {
		case slices.Contains(s.cfg.NotInPlan, topic):
			events = append(events, event("error", "You are not authorized to subscribe to: "+pair))
		case action == "subscribe":
			x.subs[pair] = !x.over
			events = append(events, event("success", "subscribed to: "+pair))
		default:
			delete(x.subs, pair)
			events = append(events, event("success", "unsubscribed to: "+pair))
		}
	}
	x.mu.Unlock()
	sendFrames(c, events)
	if x.over {
		c.Send(status("max_connections", maxMessage))
		c.CloseWith(1008, "max connections")
	}
}

// perFrame bounds the events of one frame.
const perFrame = 100

func sendFrames(c *wire.Client, events [][]byte) {
	for part := range slices.Chunk(events, perFrame) {
		frame := []byte{'['}
		for i, e := range part {
			if i > 0 {
				frame = append(frame, ',')
			}
			frame = append(frame, e...)
		}
		c.Send(append(frame, ']'))
	}
}

// catchUp is how many buckets are made up for after a hold-up; beyond that streams are dropped, so that clients fetch what they missed.
const catchUp = int64(time.Minute / tape.Bucket)

func (s *Server) run(ctx context.Context) {
	tick := time.NewTicker(tape.Bucket)
	defer tick.Stop()
	t := &teller{s: s, days: map[string]day{}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		newest := tape.BucketOf(s.cfg.Now()) - 1
		b := s.done.Load() + 1
		if newest-b > catchUp || b-newest > catchUp { // the clock was set, or the machine slept
			s.DropAll()
			b = newest
		}
		for ; b <= newest; b++ {
			t.bucket(b)
		}
	}
}

// teller is the state of the sending goroutine.
type teller struct {
	s       *Server
	scratch []tape.Tick
	ticks   []tape.Tick
	out     []message
	days    map[string]day
}

// message of a bucket, encoded once for all clients.
type message struct {
	topic, symbol string
	json          []byte
}

// day is what an aggregate tells of its day, as of a minute.
type day struct {
	minute int64
	bar    tape.Bar
}

func (t *teller) bucket(b int64) {
	s := t.s
	defer s.done.Store(b)
	wanted := map[string]bool{}
	s.hub.Each(func(c *wire.Client) {
		x := c.State.(*client)
		x.mu.Lock()
		for pair, on := range x.subs {
			topic, _, _ := strings.Cut(pair, ".")
			wanted[topic] = wanted[topic] || on
		}
		x.mu.Unlock()
	})
	if len(wanted) == 0 {
		return
	}
	t.out = t.out[:0]
	for _, sec := range s.tape.Securities {
		t.scratch, t.ticks = s.tape.Delivered(sec, b, t.scratch, t.ticks[:0])
		for i := range t.ticks {
			x := &t.ticks[i]
			switch x.Kind { // cancels, corrections and statuses are not streamed
			case 't':
				t.out = append(t.out, message{"T", sec.Symbol, appendTrade(nil, x)})
			case 'q':
				t.out = append(t.out, message{"Q", sec.Symbol, appendQuote(nil, x)})
			case 'l':
				t.out = append(t.out, message{"LULD", sec.Symbol, appendLULD(nil, x)})
			}
		}
		if wanted["A"] && b%perSecond == perSecond-1 {
			t.aggregate("A", sec, b, perSecond)
		}
		if wanted["AM"] && b%tape.PerMinute == tape.PerMinute-1 {
			t.aggregate("AM", sec, b, tape.PerMinute)
		}
		if wanted["NOI"] && b%imbalanceEvery == 0 {
			if x := s.imbalance(sec, b); x != nil {
				t.out = append(t.out, message{"NOI", sec.Symbol, x})
			}
		}
	}
	if len(t.out) == 0 {
		return
	}
	s.hub.Each(func(c *wire.Client) {
		x := c.State.(*client)
		var events [][]byte
		x.mu.Lock()
		for i := range t.out {
			if m := &t.out[i]; x.wants(m.topic, m.symbol) {
				events = append(events, m.json)
			}
		}
		x.mu.Unlock()
		sendFrames(c, events)
	})
}

const perSecond = int64(time.Second / tape.Bucket)

// aggregate adds the bar of the n buckets that end with b, from what is known by then: late prints never amend it.
func (t *teller) aggregate(topic string, sec *tape.Security, b, n int64) {
	bar, ok := t.s.tape.SpanBar(sec, b-n+1, n, b)
	if !ok {
		return
	}
	d, known := t.days[sec.Symbol]
	if minute := b / tape.PerMinute; !known || d.minute != minute {
		now := tape.BucketTime(b + 1)
		d.minute = minute
		d.bar, _ = t.s.tape.DailyBar(t.s.cal, sec, t.s.cal.DateOf(now.Add(-time.Nanosecond)), now)
		t.days[sec.Symbol] = d
	}
	t.out = append(t.out, message{topic, sec.Symbol, appendAggregate(nil, topic, sec.Symbol, &bar, &d.bar, n*int64(tape.Bucket))})
}
