package mempool

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
)

// wants is what a client asked for.
type wants struct {
	mu   sync.Mutex
	list []string
	play context.CancelFunc // of a recording
}

func (w *wants) has(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.list, key)
}

func (s *Server) websocket(w http.ResponseWriter, r *http.Request) {
	s.hub.Serve(w, r, func(c *wire.Client) { c.State = &wants{} }, s.message, func(c *wire.Client) {
		st := c.State.(*wants)
		if st.play != nil {
			st.play()
		}
	})
}

func (s *Server) message(c *wire.Client, data []byte) {
	var m struct {
		Action  string   `json:"action"`
		Data    []string `json:"data"`
		Refresh bool     `json:"refresh-blocks"`
	}
	if json.Unmarshal(data, &m) != nil {
		return // the real server ignores what it cannot read
	}
	st := c.State.(*wants)
	switch {
	case m.Action == "init" && s.rec != nil:
		if st.play == nil {
			ctx, cancel := context.WithCancel(context.Background())
			st.play = cancel
			s.done.Add(1)
			go func() {
				defer s.done.Done()
				s.rec.play(ctx, c)
			}()
		}
	case m.Action == "init":
		c.Send(s.snapshot(s.cfg.Now()))
	case m.Action == "want":
		st.mu.Lock()
		st.list = m.Data // replaces the earlier list
		st.mu.Unlock()
	case m.Action == "ping":
		c.Send([]byte(`{"pong":true}`))
	case m.Refresh:
		tip, _ := s.src.tip(s.cfg.Now())
		c.Send(encode(map[string]any{"blocks": ascending(s.src.blocks(tip, 8))}))
	}
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		return []byte(`{}`) // unreachable: our own types
	}
	return data
}

// stats is what "stats" pushes, mempool figures included.
func (s *Server) stats(now time.Time) map[string]any {
	f := s.src.fees(now)
	m := map[string]any{
		"mempoolInfo": map[string]any{"loaded": true, "size": 40000 + 5000*f.Hour, "bytes": 30_000_000, "usage": 200_000_000, "total_fee": 1.25 * float64(f.Hour),
			"maxmempool": 300000000, "mempoolminfee": 0.00001, "minrelaytxfee": 0.00001},
		"vBytesPerSecond": 1500 + 100*f.Hour, "fees": f,
	}
	if a, ok := s.src.adjustment(now); ok {
		m["da"] = a
	}
	return m
}

func (s *Server) snapshot(now time.Time) []byte {
	m := s.stats(now)
	tip, _ := s.src.tip(now)
	m["blocks"] = ascending(s.src.blocks(tip, 8))
	m["backendInfo"] = map[string]any{"hostname": "simulator", "version": "3.2.0", "gitCommit": "simulated", "lightning": false}
	m["loadingIndicators"] = map[string]any{}
	if usd, ok := s.src.usd(now); ok {
		m["conversions"] = conversions(now.Unix(), usd)
	}
	return encode(m)
}

func (s *Server) toAll(want string, v map[string]any) {
	data := encode(v)
	s.hub.Each(func(c *wire.Client) {
		if st, ok := c.State.(*wants); ok && (want == "" || st.has(want)) {
			c.Send(data)
		}
	})
}

// push tells new blocks as they are found, statistics and prices at their intervals.
func (s *Server) push(ctx context.Context) {
	stats := time.NewTicker(s.cfg.StatsEvery)
	defer stats.Stop()
	prices := time.NewTicker(s.cfg.ConversionsEvery)
	defer prices.Stop()
	blocks := time.NewTicker(max(min(s.cfg.Chain.Every()/20, time.Second), time.Millisecond))
	defer blocks.Stop()
	last, _ := s.src.tip(s.cfg.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case <-stats.C:
			s.toAll("stats", s.stats(s.cfg.Now()))
		case <-prices.C:
			now := s.cfg.Now()
			if usd, ok := s.src.usd(now); ok {
				s.toAll("", map[string]any{"conversions": conversions(now.Unix(), usd)})
			}
		case <-blocks.C:
			now := s.cfg.Now()
			tip, _ := s.src.tip(now)
			for ; last < tip; last++ {
				m := s.stats(now)
				m["block"] = s.src.blocks(last+1, 1)[0]
				s.toAll("blocks", m)
			}
		}
	}
}
