// Package finnhub speaks the websocket of Finnhub and its REST quote and candles, for US stocks, from the tape of a generated market.
package finnhub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Config of the simulator. Zero values mean the defaults in the comments.
type Config struct {
	World *world.World
	// Tape is the market's; with the same one other simulators tell the same prints.
	Tape tape.Config
	// History is how far back minute candles are told; 2 h.
	History time.Duration

	Key         string        // that a client must show; empty: any
	PingEvery   time.Duration // 60 s
	SymbolLimit int           // of one connection; 50, as on the free plan
	// Candles are in the plan; the free one has none.
	Candles bool
	// RequestsPerMinute over REST; 60. Below 0: no limit.
	RequestsPerMinute int
	Now               func() time.Time
}

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg    Config
	tape   *tape.Generator
	cal    session.Always
	hub    *wire.Hub
	faults wire.Faults
	stop   context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64 // the newest bucket that was sent
	clock  *wire.Clock

	mu    sync.Mutex
	calls []time.Time // of the last minute
}

// New makes the simulator and starts its tape; it listens nowhere by itself.
func New(cfg Config) (*Server, error) {
	if cfg.World == nil {
		return nil, errors.New("make finnhub simulator: no world to generate from")
	}
	if cfg.History == 0 {
		cfg.History = 2 * time.Hour
	}
	if cfg.PingEvery == 0 {
		cfg.PingEvery = time.Minute
	}
	if cfg.SymbolLimit == 0 {
		cfg.SymbolLimit = 50
	}
	if cfg.RequestsPerMinute == 0 {
		cfg.RequestsPerMinute = 60
	}
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	g, err := tape.New(cfg.World, cfg.Tape)
	if err != nil {
		return nil, fmt.Errorf("make finnhub simulator: %w", err)
	}
	cal, err := session.NewAlways()
	if err != nil {
		return nil, fmt.Errorf("make finnhub simulator: %w", err)
	}
	s := &Server{cfg: cfg, tape: g, cal: cal, hub: wire.NewHub(), clock: clock}
	s.done.Store(tape.BucketOf(cfg.Now()) - 1)
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.wg.Go(func() { s.run(ctx) })
	return s, nil
}

// Close drops all clients and waits for the simulator's goroutines.
func (s *Server) Close() {
	s.stop()
	s.hub.Close()
	s.wg.Wait()
}

// Handler serves the websocket at / and REST below /api/v1.
func (s *Server) Handler() http.Handler {
	rest := http.NewServeMux()
	rest.HandleFunc("GET /api/v1/quote", s.rest(s.serveQuote))
	rest.HandleFunc("GET /api/v1/stock/candle", s.rest(s.serveCandles))
	root := http.NewServeMux()
	root.HandleFunc("/{$}", s.websocket)
	root.Handle("/api/", s.faults.Wrap(rest))
	return root
}

// DropAll cuts all websocket connections without a close frame.
func (s *Server) DropAll() { s.hub.DropAll() }

// Mute keeps websockets connected but silent, pings included, as the free plan's do after hours. What would have been sent is lost to them.
func (s *Server) Mute(on bool) { s.hub.Mute(on) }

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{
		Hub: s.hub, HTTP: &s.faults, Clock: s.clock, Error: `{"error":"API limit reached. Please try again later. Remaining Limit: 0"}`,
		Wrong: `{"data":[{"c":7,"p":"x","s":5,"t":"then","v":[]}],"type":"trade"}`,
		Own: []wire.Own{{Name: "error", Does: "sends the venue's error with body as its text", Order: func(o control.Order) error {
			text, err := json.Marshal(map[string]string{"type": "error", "msg": o.Body})
			if err == nil {
				s.hub.Inject(text, false)
			}
			return err
		}}},
	}
}

// client is the state of one connection.
type client struct {
	mu   sync.Mutex
	subs map[string]bool
}

func (s *Server) websocket(w http.ResponseWriter, r *http.Request) {
	key := r.URL.Query().Get("token")
	bad := key == "" || s.cfg.Key != "" && key != s.cfg.Key
	s.hub.Serve(w, r, func(c *wire.Client) {
		c.State = &client{subs: map[string]bool{}}
		if bad {
			c.Send([]byte(`{"type":"error","msg":"Invalid API key"}`))
			c.DropBehind()
		}
	}, s.message, nil)
}

// message takes a command. None is acknowledged.
func (s *Server) message(c *wire.Client, data []byte) {
	var m struct{ Type, Symbol string }
	x := c.State.(*client)
	if err := json.Unmarshal(data, &m); err != nil || m.Symbol == "" || m.Type != "subscribe" && m.Type != "unsubscribe" {
		c.Send([]byte(`{"type":"error","msg":"Invalid message"}`))
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case m.Type == "unsubscribe":
		delete(x.subs, m.Symbol)
	case len(x.subs) >= s.cfg.SymbolLimit && !x.subs[m.Symbol]:
		c.Send([]byte(`{"msg":"Subscribing to too many symbols","type":"error"}`))
	default:
		x.subs[m.Symbol] = true
	}
}

// catchUp is how many buckets are made up for after a hold-up; beyond that streams are dropped.
const catchUp = int64(time.Minute / tape.Bucket)

func (s *Server) run(ctx context.Context) {
	tick := time.NewTicker(tape.Bucket)
	defer tick.Stop()
	ping := time.NewTicker(s.cfg.PingEvery)
	defer ping.Stop()
	var scratch, ticks []tape.Tick
	for {
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
			s.hub.Each(func(c *wire.Client) { c.Send([]byte(`{"type":"ping"}`)) })
		case <-tick.C:
			newest := tape.BucketOf(s.cfg.Now()) - 1
			b := s.done.Load() + 1
			if newest-b > catchUp || b-newest > catchUp { // the clock was set, or the machine slept
				s.DropAll()
				b = newest
			}
			for ; b <= newest; b++ {
				scratch, ticks = s.bucket(b, scratch, ticks)
				s.done.Store(b)
			}
		}
	}
}

// bucket sends the prints of a bucket, those of all symbols in one message.
func (s *Server) bucket(b int64, scratch, ticks []tape.Tick) ([]tape.Tick, []tape.Tick) {
	wanted := map[string]bool{}
	s.hub.Each(func(c *wire.Client) {
		x := c.State.(*client)
		x.mu.Lock()
		for symbol := range x.subs {
			wanted[symbol] = true
		}
		x.mu.Unlock()
	})
	type print struct {
		symbol string
		json   []byte
	}
	var prints []print
	for _, sec := range s.tape.Securities {
		if !wanted[sec.Symbol] {
			continue
		}
		scratch, ticks = s.tape.Delivered(sec, b, scratch, ticks[:0])
		for i := range ticks {
			if ticks[i].Kind == 't' { // nothing else is told, cancels and corrections neither
				prints = append(prints, print{sec.Symbol, appendTrade(nil, &ticks[i])})
			}
		}
	}
	if len(prints) == 0 {
		return scratch, ticks
	}
	s.hub.Each(func(c *wire.Client) {
		x := c.State.(*client)
		data := []byte(`{"data":[`)
		n := 0
		x.mu.Lock()
		for i := range prints {
			if x.subs[prints[i].symbol] {
				if n++; n > 1 {
					data = append(data, ',')
				}
				data = append(data, prints[i].json...)
			}
		}
		x.mu.Unlock()
		if n > 0 {
			c.Send(append(data, `],"type":"trade"}`...))
		}
	})
	return scratch, ticks
}

// conditionIDs are Finnhub's codes of what the tape has.
var conditionIDs = map[string]string{"@": "1", " ": "1", "F": "8", "I": "12", "T": "24"}

// appendTrade writes a print: no id, no exchange, milliseconds. c is null at times, and absent at others.
func appendTrade(b []byte, t *tape.Tick) []byte {
	var codes []string
	for _, c := range t.Conditions {
		if id, ok := conditionIDs[c]; ok {
			codes = append(codes, `"`+id+`"`)
		}
	}
	list := `"c":[` + strings.Join(codes, ",") + `],`
	switch t.ID % 8 {
	case 0:
		list = `"c":null,`
	case 1:
		list = ""
	}
	return fmt.Appendf(b, `{%s"p":%s,"s":%q,"t":%d,"v":%d}`, list, usd(t.Price), t.Security.Symbol, t.At/int64(time.Millisecond), t.Size)
}

// usd writes a price as a JSON number without trailing zeros.
func usd(units int64) string {
	text := fmt.Sprintf("%d.%04d", units/tape.Unit, units%tape.Unit)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}
