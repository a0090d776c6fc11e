// Package kraken speaks Kraken's websocket v2 (ticker, trade, heartbeats, status) and the REST candles and time, for BTC/USD, from the
// world.
package kraken

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Config of the simulator.
type Config struct {
	World *world.World
	Seed  uint64
	// TickEvery is the mean time between trades at normal activity; 0: 400 ms. HeartbeatEvery; 0: 1 s.
	TickEvery, HeartbeatEvery time.Duration
	Now                       func() time.Time
}

const symbol = "BTC/USD"

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg    Config
	hub    *wire.Hub
	faults wire.Faults
	clock  *wire.Clock
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu          sync.Mutex
	trade       int64 // id of the newest
	connections uint64
	system      string
	noTime      bool
	offset      float64
}

// New starts the simulator; it listens nowhere by itself.
func New(cfg Config) (*Server, error) {
	if cfg.World == nil {
		return nil, errors.New("make kraken simulator: no world to generate from")
	}
	if cfg.TickEvery == 0 {
		cfg.TickEvery = 400 * time.Millisecond
	}
	if cfg.HeartbeatEvery == 0 {
		cfg.HeartbeatEvery = time.Second
	}
	s := &Server{cfg: cfg, hub: wire.NewHub(), clock: wire.NewClock(cfg.Now), system: "online"}
	s.cfg.Now = s.clock.Now
	// Ids rise over restarts too: a thousand a second are more than are ever made.
	s.trade = s.cfg.Now().UnixMilli()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.done.Go(func() { s.push(ctx) })
	return s, nil
}

// Close drops the clients and waits for the simulator's goroutines.
func (s *Server) Close() {
	s.stop()
	s.hub.Close()
	s.done.Wait()
}

// DropAll cuts all websocket connections.
func (s *Server) DropAll() { s.hub.DropAll() }

// Mute makes the websocket silent, heartbeats too, without closing it.
func (s *Server) Mute(on bool) { s.hub.Mute(on) }

// SkipSequence loses a trade: its id is used and never sent.
func (s *Server) SkipSequence() { s.with(func() { s.trade++ }) }

// Status changes the state of the venue and tells it: online, maintenance, cancel_only, post_only.
func (s *Server) Status(system string) {
	s.with(func() { s.system = system })
	s.hub.Each(s.status)
}

// WithoutTime leaves the ticker's timestamp out, as Kraken did for years.
func (s *Server) WithoutTime(on bool) { s.with(func() { s.noTime = on }) }

// Offset moves the venue's price away from the world's by a factor of 1 + by.
func (s *Server) Offset(by float64) { s.with(func() { s.offset = by }) }

func (s *Server) with(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{
		Hub: s.hub, HTTP: &s.faults, Clock: s.clock, Error: `{"error":["EGeneral:Internal error"]}`,
		Wrong: `{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","last":"105899.40","bid":[],"timestamp":7}]}`,
		Own: []wire.Own{
			{Name: "sequence-gap", Does: "uses a trade id that is never sent", Order: func(control.Order) error { s.SkipSequence(); return nil }},
			{Name: "status", Does: "tells a state of the venue, body, such as maintenance", Order: func(o control.Order) error {
				s.Status(o.Body)
				return nil
			}, Clear: func() { s.Status("online") }},
			{Name: "error", Does: "answers a subscription with the error in body", Order: func(o control.Order) error {
				s.hub.Each(func(c *wire.Client) {
					send(c, map[string]any{"method": "subscribe", "success": false, "error": o.Body, "symbol": symbol})
				})
				return nil
			}},
		},
	}
}

// Handler serves the websocket at /v2 and REST below /0/public.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /0/public/Time", s.serveTime)
	mux.HandleFunc("GET /0/public/OHLC", s.serveCandles)
	root := http.NewServeMux()
	root.HandleFunc("/v2", s.websocket)
	root.Handle("/0/public/", s.faults.Wrap(mux))
	return root
}

// session is the state of one connection.
type session struct {
	id uint64

	mu             sync.Mutex
	ticker, trades bool
}

func (x *session) subscribed() (ticker, trades bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ticker, x.trades
}

func (s *Server) websocket(w http.ResponseWriter, r *http.Request) {
	s.hub.Serve(w, r, func(c *wire.Client) {
		x := &session{}
		s.with(func() { s.connections++; x.id = s.connections })
		c.State = x
		s.status(c) // the first message of a connection
	}, s.message, nil)
}

func (s *Server) status(c *wire.Client) {
	system := ""
	s.with(func() { system = s.system })
	send(c, map[string]any{"channel": "status", "type": "update", "data": []any{map[string]any{
		"version": "2.0.10", "system": system, "api_version": "v2", "connection_id": c.State.(*session).id,
	}}})
}

func send(c *wire.Client, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		return // unreachable: our own types
	}
	c.Send(data)
}

const stamp = "2006-01-02T15:04:05.000000Z"

func (s *Server) message(c *wire.Client, data []byte) {
	var m struct {
		Method string `json:"method"`
		ReqID  *int64 `json:"req_id"`
		Params struct {
			Channel  string   `json:"channel"`
			Symbol   []string `json:"symbol"`
			Snapshot *bool    `json:"snapshot"`
		} `json:"params"`
	}
	now := s.cfg.Now().UTC()
	ack := func(v map[string]any) {
		v["time_in"], v["time_out"] = now.Format(stamp), now.Add(50*time.Microsecond).Format(stamp)
		if m.ReqID != nil {
			v["req_id"] = *m.ReqID
		}
		send(c, v)
	}
	if json.Unmarshal(data, &m) != nil {
		send(c, map[string]any{"error": "Unknown request", "method": "", "success": false})
		return
	}
	switch m.Method {
	case "ping":
		ack(map[string]any{"method": "pong"})
		return
	case "subscribe", "unsubscribe":
	default:
		ack(map[string]any{"method": m.Method, "success": false, "error": "Method is invalid"})
		return
	}
	x := c.State.(*session)
	for _, name := range m.Params.Symbol { // an answer for each symbol
		switch {
		case m.Params.Channel != "ticker" && m.Params.Channel != "trade":
			ack(map[string]any{"method": m.Method, "success": false, "error": "Channel is invalid", "symbol": name})
			continue
		case name != symbol:
			ack(map[string]any{"method": m.Method, "success": false, "error": "Currency pair not supported " + name, "symbol": name})
			continue
		}
		on := m.Method == "subscribe"
		x.mu.Lock()
		if m.Params.Channel == "ticker" {
			x.ticker = on
		} else {
			x.trades = on
		}
		x.mu.Unlock()
		snapshot := m.Params.Channel == "ticker"
		if m.Params.Snapshot != nil {
			snapshot = *m.Params.Snapshot
		}
		ack(map[string]any{"method": m.Method, "success": true, "result": map[string]any{"channel": m.Params.Channel, "symbol": name, "snapshot": snapshot}})
		if on && snapshot && m.Params.Channel == "ticker" {
			send(c, map[string]any{"channel": "ticker", "type": "snapshot", "data": []any{s.ticker(now)}})
		}
	}
}

// tenths is a price at Kraken's tick of BTC/USD; a JSON number.
func tenths(f float64) json.Number { return json.Number(strconv.FormatFloat(f, 'f', 1, 64)) }

func coins(f float64) json.Number { return json.Number(strconv.FormatFloat(f, 'f', 8, 64)) }

func (s *Server) price(now time.Time) float64 {
	offset := 0.0
	s.with(func() { offset = s.offset })
	// A few dollars from the others, as venues are.
	apart := 1 + 1e-4*(wire.Uniform(s.cfg.Seed, "kraken", now.Unix()/20)-0.5)
	return s.cfg.World.BTCUSDAt(now) * apart * (1 + offset)
}

func (s *Server) ticker(now time.Time) map[string]any {
	p, ago := s.price(now), s.cfg.World.BTCUSDAt(now.Add(-24*time.Hour))
	t := map[string]any{
		"symbol": symbol, "bid": tenths(p - 0.1), "bid_qty": coins(2.5), "ask": tenths(p + 0.1), "ask_qty": coins(3.2), "last": tenths(p),
		"volume": coins(1500 + 900*wire.Uniform(s.cfg.Seed, "kraken volume", now.Unix()/3600)), "vwap": tenths((p + ago) / 2),
		"low": tenths(math.Min(p, ago) * 0.99), "high": tenths(math.Max(p, ago) * 1.01), "change": tenths(p - ago),
		"change_pct": json.Number(strconv.FormatFloat((p/ago-1)*100, 'f', 2, 64)),
	}
	s.with(func() {
		if !s.noTime {
			t["timestamp"] = now.UTC().Format(stamp)
		}
	})
	return t
}

// push makes trades, each of which moves the ticker, and heartbeats when nothing else is sent.
func (s *Server) push(ctx context.Context) {
	beat := time.NewTicker(s.cfg.HeartbeatEvery)
	defer beat.Stop()
	tick := time.NewTimer(s.cfg.TickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			s.hub.Each(func(c *wire.Client) {
				if ticker, trades := c.State.(*session).subscribed(); ticker || trades {
					send(c, map[string]string{"channel": "heartbeat"})
				}
			})
		case <-tick.C:
			now := s.cfg.Now().UTC()
			var id int64
			s.with(func() { s.trade++; id = s.trade })
			side := "buy"
			if id%2 == 0 {
				side = "sell"
			}
			t := s.ticker(now)
			trade := map[string]any{
				"symbol": symbol, "side": side, "price": t["last"], "qty": coins(0.0002 + 0.3*wire.Uniform(s.cfg.Seed, "kraken qty", id)), "ord_type": "limit",
				"trade_id": id, "timestamp": now.Format(stamp),
			}
			s.hub.Each(func(c *wire.Client) {
				ticker, trades := c.State.(*session).subscribed()
				if trades {
					send(c, map[string]any{"channel": "trade", "type": "update", "data": []any{trade}})
				}
				if ticker {
					send(c, map[string]any{"channel": "ticker", "type": "update", "data": []any{t}})
				}
			})
			wait := float64(s.cfg.TickEvery) * math.Min(rand.ExpFloat64(), 5) / min(s.cfg.World.ActivityAt(now), 5)
			tick.Reset(max(time.Duration(wait), time.Millisecond))
		}
	}
}
