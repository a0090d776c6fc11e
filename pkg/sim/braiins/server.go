// Package braiins speaks Braiins Insights' hashrate-stats, its redirect to another host's path included, from the world.
package braiins

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Config of the simulator.
type Config struct {
	World *world.World
	Chain *chain.Chain
	Now   func() time.Time
}

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg    Config
	faults wire.Faults
	clock  *wire.Clock
}

// New makes the simulator; it listens nowhere by itself and has nothing to close.
func New(cfg Config) (*Server, error) {
	if cfg.World == nil || cfg.Chain == nil {
		return nil, errors.New("make braiins simulator: no world and chain to generate from")
	}
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	return &Server{cfg: cfg, clock: clock}, nil
}

// Faults are the HTTP faults to order.
func (s *Server) Faults() *wire.Faults { return &s.faults }

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{HTTP: &s.faults, Clock: s.clock, Error: `{"detail":"internal error"}`}
}

// Handler serves /api/v1.0/hashrate-stats by way of a redirect. Faults strike behind it.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1.0/hashrate-stats", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/learn/api/v1.0/hashrate-stats", http.StatusFound)
	})
	mux.Handle("GET /learn/api/v1.0/hashrate-stats", s.faults.Wrap(http.HandlerFunc(s.stats)))
	return mux
}

func digits(f float64, scale float64) float64 { return math.Round(f*scale) / scale }

// stats are rounded hard, as the real ones: hash_price to a tenth of a cent per TH/s, hash_value to one digit.
func (s *Server) stats(w http.ResponseWriter, _ *http.Request) {
	now := s.cfg.Now().UTC()
	l := s.cfg.World.At(now)
	d, subsidy := s.cfg.Chain.Network(now)
	ehs := d * (1 << 32) / 600 / 1e18
	perTH := 86400 * 1e12 / (d * (1 << 32)) * (subsidy + l.FeesBTCPerBlock)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"avg_fees_per_block": digits(l.FeesBTCPerBlock, 1e3), "current_hashrate": digits(ehs, 1e2), "current_hashrate_estimated": digits(ehs*1.02, 1e2),
		"fees_percent": digits(100*l.FeesBTCPerBlock/(subsidy+l.FeesBTCPerBlock), 10), "hash_price": digits(perTH*l.BTCUSD, 1e3),
		"hash_rate_30": digits(ehs*0.99, 1e2), "hash_value": digits(perTH, 1e7),
		"monthly_avg_hashrate_change_1_year": map[string]float64{"relative": 0.03, "absolute": 29.47665536}, "rev_usd": digits(perTH*l.BTCUSD*ehs*1e6, 10),
	})
}
