// Package coinmetrics speaks Coin Metrics' community timeseries of daily asset metrics, with pages and the rate limit: from the world, or a
// recording.
package coinmetrics

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Config of the simulator. Either World (generated) or Dir (recorded) is set.
type Config struct {
	World *world.World
	Chain *chain.Chain // with World
	// Dir holds network/btc_coinmetrics_daily.csv.
	Dir string
	// HistoryFrom is the first day of a generated history; zero: 60 days before the start.
	HistoryFrom time.Time
	// Calls that are allowed in Per; 0: 10 in 6 s; below 0: no limit.
	Calls int
	Per   time.Duration
	Now   func() time.Time
}

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg    Config
	faults wire.Faults
	clock  *wire.Clock
	rows   []map[string]string // recorded

	mu    sync.Mutex
	calls []time.Time
}

// New makes the simulator; it listens nowhere by itself and has nothing to close.
func New(cfg Config) (*Server, error) {
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	if cfg.Calls == 0 {
		cfg.Calls = 10
	}
	if cfg.Per == 0 {
		cfg.Per = 6 * time.Second
	}
	if cfg.HistoryFrom.IsZero() {
		cfg.HistoryFrom = cfg.Now().UTC().Truncate(day).AddDate(0, 0, -60)
	}
	s := &Server{cfg: cfg, clock: clock}
	switch {
	case cfg.Dir != "":
		var err error
		s.rows, err = wire.ReadCSV(filepath.Join(cfg.Dir, "network", "btc_coinmetrics_daily.csv"), "time", "asset", "PriceUSD", "HashRate", "IssTotUSD", "FeeTotNtv")
		if err != nil {
			return nil, fmt.Errorf("make coinmetrics simulator from recordings in %s: %w", cfg.Dir, err)
		}
	case cfg.World == nil || cfg.Chain == nil:
		return nil, errors.New("make coinmetrics simulator: neither a world to generate from nor a directory of recordings")
	}
	return s, nil
}

const day = 24 * time.Hour

// Faults are the HTTP faults to order.
func (s *Server) Faults() *wire.Faults { return &s.faults }

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{HTTP: &s.faults, Clock: s.clock, Pages: true, Error: `{"error":{"type":"internal_error","message":"Internal error"}}`}
}

// Handler serves /v4/timeseries/asset-metrics.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v4/timeseries/asset-metrics", s.serve)
	return s.faults.Wrap(mux)
}

func refuse(w http.ResponseWriter, status int, typ, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"type": typ, "message": message}})
}

// limited counts a call; it answers 429 where there were too many.
func (s *Server) limited(w http.ResponseWriter) bool {
	if s.cfg.Calls < 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	for len(s.calls) > 0 && now.Sub(s.calls[0]) >= s.cfg.Per {
		s.calls = s.calls[1:]
	}
	w.Header().Set("X-RateLimit-Limit", strconv.Itoa(s.cfg.Calls))
	if len(s.calls) >= s.cfg.Calls {
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(s.calls[0].Add(s.cfg.Per).Unix()+1, 10))
		refuse(w, http.StatusTooManyRequests, "too_many_requests", "Too many requests, please try again later.")
		return true
	}
	s.calls = append(s.calls, now)
	return false
}

var metrics = map[string]bool{"PriceUSD": true, "HashRate": true, "IssTotUSD": true, "FeeTotNtv": true}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if s.limited(w) {
		return
	}
	q := r.URL.Query()
	names := strings.Split(q.Get("metrics"), ",")
	for _, n := range names {
		if !metrics[n] {
			refuse(w, http.StatusBadRequest, "bad_parameter", fmt.Sprintf("Bad parameter 'metrics'. Value '%s' is not supported.", n))
			return
		}
	}
	if q.Get("assets") != "btc" || q.Get("frequency") != "1d" {
		refuse(w, http.StatusBadRequest, "bad_parameter", "Bad parameter 'assets' or 'frequency'.")
		return
	}
	size := 100
	if v := q.Get("page_size"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 10000 {
			refuse(w, http.StatusBadRequest, "bad_parameter", "Bad parameter 'page_size'.")
			return
		}
		size = n
	}
	start, err := time.Parse(time.DateOnly, q.Get("start_time"))
	if err != nil && q.Get("start_time") != "" {
		refuse(w, http.StatusBadRequest, "bad_parameter", "Bad parameter 'start_time'.")
		return
	}
	if token := q.Get("next_page_token"); token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err == nil {
			start, err = time.Parse(time.DateOnly, string(raw))
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, "bad_parameter", "Bad parameter 'next_page_token'.")
			return
		}
	}
	s.page(w, r, q, names, start, size)
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, q url.Values, names []string, start time.Time, size int) {
	token := func(day string) string { return base64.RawURLEncoding.EncodeToString([]byte(day)) }
	all := s.days(start)
	next := ""
	if len(all) > size {
		next = token(all[size]["time"])
		all = all[:size]
	}
	if loop, flood := s.faults.Paging(); loop {
		next = token(start.Format(time.DateOnly))
	} else if flood {
		next = token(start.AddDate(0, 0, -1).Format(time.DateOnly))
	}
	data := []map[string]string{}
	for _, row := range all {
		out := map[string]string{"asset": "btc", "time": row["time"] + "T00:00:00.000000000Z"}
		for _, n := range names {
			if v := row[n]; v != "" {
				out[n] = v
			}
		}
		data = append(data, out)
	}
	body := map[string]any{"data": data}
	if next != "" {
		q.Set("next_page_token", next)
		body["next_page_token"], body["next_page_url"] = next, "http://"+r.Host+r.URL.Path+"?"+q.Encode()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// days from start on, whole ones only, oldest first.
func (s *Server) days(start time.Time) []map[string]string {
	var out []map[string]string
	if s.rows != nil {
		for _, row := range s.rows {
			if row["time"] >= start.Format(time.DateOnly) {
				out = append(out, row)
			}
		}
		return out
	}
	if start.Before(s.cfg.HistoryFrom) {
		start = s.cfg.HistoryFrom
	}
	num := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	for d := start.UTC().Truncate(day); !d.Add(day).After(s.cfg.Now()); d = d.Add(day) {
		l := s.cfg.World.At(d.Add(day))
		difficulty, subsidy := s.cfg.Chain.Network(d.Add(day / 2))
		const blocks = 144
		out = append(out, map[string]string{
			"time": d.Format(time.DateOnly), "PriceUSD": num(l.BTCUSD), "HashRate": num(difficulty * (1 << 32) / 600 / 1e12),
			"IssTotUSD": num(blocks * subsidy * l.BTCUSD), "FeeTotNtv": num(blocks * l.FeesBTCPerBlock),
		})
	}
	return out
}
