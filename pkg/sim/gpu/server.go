// Package gpu speaks the price lists of GPU clouds: RunPod (GraphQL and REST), Lambda, Shadeform, Prime Intellect, Akash and the Azure retail
// prices, each a server of its own with the faults of its kind. The prices are those of a world, so that the lists fit together; Vast.ai, a
// marketplace of hosts and not a list, has a package of its own.
package gpu

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Config of a simulator.
type Config struct {
	World *world.World
	Seed  uint64
	// APIKey that callers must send; empty: any, or none where the upstream needs none.
	APIKey string
	// PerMinute is the number of calls before 429; 0: any.
	PerMinute int
	// PageSize of Azure, and the most of Prime Intellect; 0: as the real ones, 1000 and 100.
	PageSize int
	// Every is how often prices and stocks change; 0: prices each hour, stocks each half hour, as a quiet market does.
	Every time.Duration
	Now   func() time.Time
}

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is one simulator. It has no goroutines of its own.
type Server struct {
	cfg     Config
	name    string
	faults  wire.Faults
	clock   *wire.Clock
	errBody string // what it answers, with status 200, when something is wrong
	pages   bool
	handler http.Handler

	mu    sync.Mutex
	calls []time.Time // of the last minute
}

func newServer(name string, cfg Config, routes func(s *Server, mux *http.ServeMux)) (*Server, error) {
	if cfg.World == nil {
		return nil, errors.New("make " + name + " simulator: no world to generate from")
	}
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	s := &Server{cfg: cfg, name: name, clock: clock, errBody: `{"error":"internal error"}`}
	mux := http.NewServeMux()
	routes(s, mux)
	s.handler = s.faults.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := cfg.Now().UTC()
		w.Header().Set("Date", now.Format(http.TimeFormat))
		if s.tooMany(now) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = w.Write([]byte("Too Many Requests"))
			return
		}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), nowKey{}, now)))
	}))
	return s, nil
}

// Handler serves what the upstream serves below its root.
func (s *Server) Handler() http.Handler { return s.handler }

// Faults are the HTTP faults to order.
func (s *Server) Faults() *wire.Faults { return &s.faults }

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{HTTP: &s.faults, Clock: s.clock, Error: s.errBody, Pages: s.pages}
}

func (s *Server) tooMany(now time.Time) bool {
	if s.cfg.PerMinute == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = slices.DeleteFunc(s.calls, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if len(s.calls) >= s.cfg.PerMinute {
		return true
	}
	s.calls = append(s.calls, now)
	return false
}

func (s *Server) bearer(r *http.Request) bool {
	return s.cfg.APIKey == "" || r.Header.Get("Authorization") == "Bearer "+s.cfg.APIKey
}

type nowKey struct{}

// now is the server's time of the request.
func now(r *http.Request) time.Time {
	t, _ := r.Context().Value(nowKey{}).(time.Time)
	return t
}

func (s *Server) uniform(name string, n int64) float64 {
	return wire.Uniform(s.cfg.Seed, s.name+" "+name, n)
}

// usd is the price of one GPU for an hour: the world's level of the model, times the seller's premium.
func (s *Server) usd(l levels, key string, premium float64) float64 {
	if s.cfg.Every > 0 {
		premium *= 1 + 0.02*s.uniform("wobble "+key, l.step)
	}
	return l.GPUUSDPerHour[key] * premium
}

// levels are those of a step.
type levels struct {
	world.Levels
	step int64
}

func (s *Server) step(t time.Time, usual time.Duration) int64 {
	if s.cfg.Every > 0 {
		usual = s.cfg.Every
	}
	return t.UnixNano() / int64(usual)
}

func (s *Server) levels(t time.Time) levels {
	return levels{s.cfg.World.At(t.Truncate(time.Hour)), s.step(t, time.Hour)}
}

// stock is 0 (sold out) to 3 (plenty), anew every half hour.
func (s *Server) stock(sku string, t time.Time) int {
	switch u := s.uniform("stock "+sku, s.step(t, 30*time.Minute)); {
	case u < 0.15:
		return 0
	case u < 0.45:
		return 1
	case u < 0.75:
		return 2
	}
	return 3
}

func cents(usd float64) float64 { return math.Round(usd*100) / 100 }

func answer(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

type object = map[string]any
