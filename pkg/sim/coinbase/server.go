// Package coinbase speaks the Coinbase Advanced Trade websocket (ticker and heartbeats) and the Exchange's candles, for BTC-USD: generated
// from the world or from a recording.
package coinbase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Config of the simulator. Either World (generated) or Dir (recorded) is set.
type Config struct {
	World *world.World
	Seed  uint64
	// Dir holds network/btc_usd_daily_ohlcv.csv.
	Dir string
	// TickEvery is the mean time between ticks at normal activity; 0: 300 ms. HeartbeatEvery; 0: 1 s.
	TickEvery, HeartbeatEvery time.Duration
	// HistoryFrom is the first day with candles of a generated history; zero: 60 days before the start.
	HistoryFrom time.Time
	Now         func() time.Time
}

const product = "BTC-USD"

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg     Config
	candles []candle // recorded, oldest first
	hub     *wire.Hub
	faults  wire.Faults
	clock   *wire.Clock
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// New starts the simulator; it listens nowhere by itself.
func New(cfg Config) (*Server, error) {
	if cfg.TickEvery == 0 {
		cfg.TickEvery = 300 * time.Millisecond
	}
	if cfg.HeartbeatEvery == 0 {
		cfg.HeartbeatEvery = time.Second
	}
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	if cfg.HistoryFrom.IsZero() {
		cfg.HistoryFrom = cfg.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -60)
	}
	s := &Server{cfg: cfg, clock: clock, hub: wire.NewHub()}
	switch {
	case cfg.Dir != "":
		var err error
		if s.candles, err = load(cfg.Dir); err != nil {
			return nil, fmt.Errorf("make coinbase simulator from recordings in %s: %w", cfg.Dir, err)
		}
	case cfg.World == nil:
		return nil, errors.New("make coinbase simulator: neither a world to generate from nor a directory of recordings")
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	if cfg.Dir == "" {
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			s.push(ctx)
		}()
	}
	return s, nil
}

// Close drops the clients and waits for the simulator's goroutines.
func (s *Server) Close() {
	s.stop()
	s.hub.Close()
	s.done.Wait()
}

// Inject sends a frame as it is to all websocket clients.
func (s *Server) Inject(frame []byte, binary bool) { s.hub.Inject(frame, binary) }

// Mute makes the websocket silent without closing it. Its sequence numbers go on: unmuted, it shows a gap.
func (s *Server) Mute(on bool) { s.hub.Mute(on) }

// Faults are the HTTP faults to order.
func (s *Server) Faults() *wire.Faults { return &s.faults }

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{
		Hub: s.hub, HTTP: &s.faults, Clock: s.clock, Error: `{"message":"NotFound"}`,
		Wrong: `{"channel":"ticker","timestamp":5,"sequence_num":"x","events":[{"type":1,"tickers":{"price":67000.5}}]}`,
		Own: []wire.Own{
			{Name: "sequence-gap", Does: "uses a sequence number that is never sent", Order: func(control.Order) error { s.SkipSequence(); return nil }},
			{Name: "error", Does: "sends the venue's error message with body as its text", Order: func(o control.Order) error {
				text, err := json.Marshal(map[string]string{"type": "error", "message": o.Body})
				if err == nil {
					s.hub.Inject(text, false)
				}
				return err
			}},
		},
	}
}

// SkipSequence loses one message of each client: its number is used and never sent.
func (s *Server) SkipSequence() {
	s.hub.Each(func(c *wire.Client) { c.State.(*session).number() })
}

// Handler serves the websocket at / and at /ws, and REST below /products.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{product}/candles", s.serveCandles)
	faulty := s.faults.Wrap(mux)
	root := http.NewServeMux()
	root.HandleFunc("/{$}", s.websocket)
	root.HandleFunc("/ws", s.websocket)
	root.Handle("/products/", faulty)
	return root
}

// session is the state of one connection.
type session struct {
	sending    sync.Mutex // held from taking a number to queueing the message: numbers must arrive in order
	mu         sync.Mutex
	seq        uint64 // of the next message; counts over all channels
	ticker     bool
	heartbeats bool
	beats      uint64
}

func (x *session) number() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.seq++
	return x.seq - 1
}

func (x *session) subscribed() (ticker, heartbeats bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ticker, x.heartbeats
}

func (s *Server) websocket(w http.ResponseWriter, r *http.Request) {
	s.hub.Serve(w, r, func(c *wire.Client) { c.State = &session{} }, s.message, nil)
}

func (s *Server) message(c *wire.Client, data []byte) {
	var m struct {
		Type     string   `json:"type"`
		Products []string `json:"product_ids"`
		Channel  string   `json:"channel"`
	}
	x := c.State.(*session)
	switch err := json.Unmarshal(data, &m); {
	case err != nil || m.Type != "subscribe" && m.Type != "unsubscribe":
		c.Send([]byte(`{"type":"error","message":"invalid message"}`))
		return
	case m.Channel == "ticker" && !slices.Contains(m.Products, product):
		c.Send([]byte(`{"type":"error","message":"invalid product_ids"}`))
		return
	case m.Channel != "ticker" && m.Channel != "heartbeats":
		c.Send([]byte(`{"type":"error","message":"invalid channel"}`))
		return
	}
	on := m.Type == "subscribe"
	x.mu.Lock()
	if m.Channel == "ticker" {
		x.ticker = on
	} else {
		x.heartbeats = on
	}
	subs := map[string][]string{}
	if x.ticker {
		subs["ticker"] = []string{product}
	}
	if x.heartbeats {
		subs["heartbeats"] = []string{"heartbeats"}
	}
	x.mu.Unlock()
	now := s.cfg.Now()
	s.send(c, "subscriptions", now, []any{map[string]any{"subscriptions": subs}})
	switch {
	case s.cfg.Dir != "":
		if m.Channel == "heartbeats" {
			c.CloseWith(1000, "end of recording") // ticks were not recorded
		}
	case m.Channel == "ticker" && on:
		s.send(c, "ticker", now, []any{map[string]any{"type": "snapshot", "tickers": []any{s.tick(now)}}})
	}
}

func (s *Server) send(c *wire.Client, channel string, now time.Time, events []any) {
	x := c.State.(*session)
	x.sending.Lock()
	defer x.sending.Unlock()
	data, err := json.Marshal(map[string]any{
		"channel": channel, "client_id": "", "timestamp": now.UTC().Format("2006-01-02T15:04:05.000000Z"),
		"sequence_num": x.number(), "events": events,
	})
	if err == nil {
		c.Send(data)
	}
}

func cents(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

// tick is the ticker of a moment; all numbers are strings.
func (s *Server) tick(now time.Time) map[string]string {
	p := s.cfg.World.BTCUSDAt(now)
	dayAgo := s.cfg.World.BTCUSDAt(now.Add(-24 * time.Hour))
	half := 0.005 + p*2e-6
	volume := 9000 + 4000*wire.Uniform(s.cfg.Seed, "volume", now.Unix()/3600)
	return map[string]string{
		"type": "ticker", "product_id": product, "price": cents(p), "volume_24_h": strconv.FormatFloat(volume, 'f', 8, 64),
		"low_24_h": cents(min(p, dayAgo) * 0.99), "high_24_h": cents(max(p, dayAgo) * 1.01), "low_52_w": cents(p * 0.6), "high_52_w": cents(p * 1.6),
		"price_percent_chg_24_h": strconv.FormatFloat((p/dayAgo-1)*100, 'f', 8, 64),
		"best_bid":               cents(p - half), "best_bid_quantity": "0.50000000", "best_ask": cents(p + half + 0.005), "best_ask_quantity": "0.75000000",
	}
}

// push sends ticks, faster in bursts, and heartbeats.
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
			now := s.cfg.Now()
			s.hub.Each(func(c *wire.Client) {
				x := c.State.(*session)
				if _, on := x.subscribed(); on {
					x.mu.Lock()
					x.beats++
					n := x.beats
					x.mu.Unlock()
					// Not RFC 3339: a space, and an offset.
					s.send(c, "heartbeats", now, []any{map[string]any{"current_time": now.UTC().Format("2006-01-02 15:04:05.000000000") + "+00:00", "heartbeat_counter": n}})
				}
			})
		case <-tick.C:
			now := s.cfg.Now()
			t := s.tick(now)
			s.hub.Each(func(c *wire.Client) {
				if on, _ := c.State.(*session).subscribed(); on {
					s.send(c, "ticker", now, []any{map[string]any{"type": "update", "tickers": []any{t}}})
				}
			})
			wait := float64(s.cfg.TickEvery) * math.Min(rand.ExpFloat64(), 5) / min(s.cfg.World.ActivityAt(now), 5)
			tick.Reset(max(time.Duration(wait), time.Millisecond))
		}
	}
}
