// Package luxor speaks Luxor's Hashrate Index REST: the hashprice by span and bucket, with its key, its plans and its rate limit, from the
// world.
package luxor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
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
	Seed  uint64
	Key   string // that is asked for; empty: any but none
	// Burst of calls, then one each Refill; 0: 20 and 15 s; Burst below 0: no limit.
	Burst  int
	Refill time.Duration
	Now    func() time.Time
}

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg    Config
	faults wire.Faults
	clock  *wire.Clock

	mu     sync.Mutex
	tokens float64
	at     time.Time
	shift  float64
}

// New makes the simulator; it listens nowhere by itself and has nothing to close.
func New(cfg Config) (*Server, error) {
	if cfg.World == nil || cfg.Chain == nil {
		return nil, errors.New("make luxor simulator: no world and chain to generate from")
	}
	if cfg.Burst == 0 {
		cfg.Burst = 20
	}
	if cfg.Refill == 0 {
		cfg.Refill = 15 * time.Second
	}
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	return &Server{cfg: cfg, clock: clock, tokens: float64(cfg.Burst), at: cfg.Now()}, nil
}

// Correct changes every value by a factor of 1 + by: a history that was computed again.
func (s *Server) Correct(by float64) {
	s.mu.Lock()
	s.shift = by
	s.mu.Unlock()
}

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{HTTP: &s.faults, Clock: s.clock, Error: `{"title":"Internal Server Error","status":500,"detail":"internal error"}`}
}

// Handler serves what Luxor serves below /v1/hashrateindex.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/hashrateindex/hashprice", s.hashprice)
	mux.HandleFunc("GET /v1/hashrateindex/hashprice/current", s.current)
	return s.faults.Wrap(s.guard(mux))
}

func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

// guard asks for the key and counts calls.
func (s *Server) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("X-Hi-Api-Key")
		if key == "" || s.cfg.Key != "" && key != s.cfg.Key {
			refuse(w, http.StatusUnauthorized, "invalid API key")
			return
		}
		if s.cfg.Burst > 0 && !s.take() {
			w.Header().Set("Retry-After", strconv.Itoa(max(int(s.cfg.Refill/time.Second), 1)))
			refuse(w, http.StatusTooManyRequests, "rate limit exceeded")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *Server) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	s.tokens = min(s.tokens+float64(now.Sub(s.at))/float64(s.cfg.Refill), float64(s.cfg.Burst))
	s.at = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// usd per PH/s and day: the formula on the world's state, a little off ours as any other price mix is.
func (s *Server) usd(t time.Time) (usd, btc float64) {
	l := s.cfg.World.At(t)
	s.mu.Lock()
	shift := s.shift
	s.mu.Unlock()
	d, subsidy := s.cfg.Chain.Network(t)
	btc = 86400 * 1e15 / (d * (1 << 32)) * (subsidy + l.FeesBTCPerBlock)
	apart := 1 + 0.004*(wire.Uniform(s.cfg.Seed, "luxor", t.Unix()/300)-0.5)
	return btc * l.BTCUSD * apart * (1 + shift), btc * apart * (1 + shift)
}

var spans = map[string]struct {
	length  time.Duration
	buckets []string // the default first
}{
	"1D": {24 * time.Hour, []string{"5m", "15s", "15m"}},
	"7D": {7 * 24 * time.Hour, []string{"1H"}},
	"1M": {30 * 24 * time.Hour, []string{"1H", "2H"}},
	"3M": {90 * 24 * time.Hour, []string{"1H", "6H"}},
	"1Y": {365 * 24 * time.Hour, []string{"6H"}},
	"5Y": {5 * 365 * 24 * time.Hour, []string{"6H", "1D"}},
}

var buckets = map[string]time.Duration{
	"15s": 15 * time.Second, "5m": 5 * time.Minute, "15m": 15 * time.Minute, "1H": time.Hour, "2H": 2 * time.Hour, "6H": 6 * time.Hour, "1D": 24 * time.Hour,
}

func (s *Server) hashprice(w http.ResponseWriter, r *http.Request) {
	span, ok := spans[r.FormValue("span")]
	bucket := r.FormValue("bucket")
	if ok && bucket == "" {
		bucket = span.buckets[0]
	}
	valid := false
	for _, b := range span.buckets {
		valid = valid || b == bucket
	}
	switch {
	case !ok || !valid:
		refuse(w, http.StatusBadRequest, "invalid span or bucket")
		return
	case bucket == "15s":
		refuse(w, http.StatusForbidden, "this bucket needs the Diamond plan")
		return
	}
	currency, unit := r.FormValue("currency"), r.FormValue("hashunit")
	if currency != "USD" && currency != "BTC" || unit != "PHS" && unit != "THS" {
		refuse(w, http.StatusBadRequest, "invalid currency or hashunit")
		return
	}
	step := buckets[bucket]
	now := s.cfg.Now().UTC()
	data := []map[string]any{}
	for at := now.Add(-span.length).Truncate(step).Add(step); !at.After(now); at = at.Add(step) {
		usd, btc := s.usd(at)
		if currency == "BTC" {
			usd = btc
		}
		if unit == "THS" {
			usd /= 1000
		}
		data = append(data, map[string]any{"price": usd, "timestamp": at.Format(time.RFC3339)}) // with all the noise of a float
	}
	answer(w, map[string]any{"$schema": fmt.Sprintf("http://%s/schemas/Hashprice.json", r.Host), "data": data})
}

func (s *Server) current(w http.ResponseWriter, r *http.Request) {
	at := s.cfg.Now().UTC().Truncate(time.Minute)
	usd, btc := s.usd(at)
	if r.FormValue("hashunit") == "THS" {
		usd, btc = usd/1000, btc/1000
	}
	answer(w, map[string]any{"data": map[string]any{"priceBTC": btc, "priceUSD": usd, "timestamp": at.Format(time.RFC3339)}})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
