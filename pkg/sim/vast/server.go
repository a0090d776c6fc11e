// Package vast speaks Vast.ai's offer search and its history of medians: a generated marketplace, or recorded answers of the real one.
package vast

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
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
	// Dir holds gpu/vast_bundles/*.json and gpu/vast_runpod_daily_*.csv.
	Dir string
	// APIKey that callers must send; empty: none is needed.
	APIKey string
	// SearchesPerMinute before 429; 0: 10, as the real server; below 0: any number.
	SearchesPerMinute int
	Now               func() time.Time
}

// SinceHeader of a search asks a recording for its first answer from that time (RFC 3339) on. Whoever replays it says so what it still wants: an answer that was
// asked for and lost on the way, or with who asked, would be skipped else.
const SinceHeader = "Hashpivot-Recording-Since"

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator. It has no goroutines of its own.
type Server struct {
	cfg    Config
	market *generated
	rec    *recording // nil: generated
	faults wire.Faults
	clock  *wire.Clock

	mu       sync.Mutex
	searches []time.Time // of the last minute
	single   bool
}

// New makes the simulator; it listens nowhere by itself.
func New(cfg Config) (*Server, error) {
	if cfg.SearchesPerMinute == 0 {
		cfg.SearchesPerMinute = 10
	}
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	s := &Server{cfg: cfg, clock: clock}
	switch {
	case cfg.Dir != "":
		rec, err := load(cfg.Dir)
		if err != nil {
			return nil, fmt.Errorf("make vast simulator from recordings in %s: %w", cfg.Dir, err)
		}
		s.rec = rec
		if cfg.SearchesPerMinute == 10 {
			s.cfg.SearchesPerMinute = -1 // days of recording pass in a moment
		}
	case cfg.World != nil:
		s.market = newGenerated(cfg)
	default:
		return nil, errors.New("make vast simulator: neither a world to generate from nor a directory of recordings")
	}
	return s, nil
}

// Close is there for symmetry with the simulators that have goroutines.
func (s *Server) Close() {}

// Faults are the HTTP faults to order.
func (s *Server) Faults() *wire.Faults { return &s.faults }

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{
		HTTP: &s.faults, Clock: s.clock, Error: `{"success":false,"error":"internal","msg":"try again"}`,
		Own: []wire.Own{{
			Name: "single", Does: "answers searches with one offer as an object instead of an array",
			Order: func(control.Order) error { s.Single(true); return nil }, Clear: func() { s.Single(false) },
		}},
	}
}

// Single makes searches answer with one offer as an object instead of an array, as the documentation's sample does.
func (s *Server) Single(on bool) {
	s.mu.Lock()
	s.single = on
	s.mu.Unlock()
}

// Handler serves what console.vast.ai serves below its root.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v0/bundles/", s.bundles)
	mux.HandleFunc("GET /api/v0/metrics/gpu/history/", s.history)
	return s.faults.Wrap(mux)
}

func (s *Server) authorized(r *http.Request) bool {
	return s.cfg.APIKey == "" || r.Header.Get("Authorization") == "Bearer "+s.cfg.APIKey
}

func (s *Server) tooMany(now time.Time) bool {
	if s.cfg.SearchesPerMinute < 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.searches = slices.DeleteFunc(s.searches, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if len(s.searches) >= s.cfg.SearchesPerMinute {
		return true
	}
	s.searches = append(s.searches, now)
	return false
}

// query is the search as far as the simulator knows it.
type query struct {
	Limit   int    `json:"limit"`
	Type    string `json:"type"`
	GPUName struct {
		In []string `json:"in"`
		Eq string   `json:"eq"`
	} `json:"gpu_name"`
	Verified struct {
		Eq *bool `json:"eq"`
	} `json:"verified"`
}

func (q query) names(gpu string) bool {
	if q.GPUName.Eq == "" && len(q.GPUName.In) == 0 {
		return true
	}
	same := func(n string) bool { return strings.ReplaceAll(n, "_", " ") == gpu }
	return same(q.GPUName.Eq) || slices.ContainsFunc(q.GPUName.In, same)
}

func (s *Server) bundles(w http.ResponseWriter, r *http.Request) {
	now := s.cfg.Now().UTC()
	if s.tooMany(now) {
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte("API requests too frequent")) // plain text, and no Retry-After
		return
	}
	if !s.authorized(r) {
		http.Error(w, "404 page not found", http.StatusNotFound) // that is its answer to a bad key
		return
	}
	q := query{Limit: 64, Type: "ondemand"}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&q); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_request","msg":"Invalid json body"}`))
		return
	}
	var offers []any
	if s.rec != nil {
		var since *time.Time
		if v := r.Header.Get(SinceHeader); v != "" {
			at, err := time.Parse(time.RFC3339, v)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":"invalid_request","msg":"` + SinceHeader + ` is no time by RFC 3339"}`))
				return
			}
			since = &at
		}
		at, list, end := s.rec.poll(q.Type, since)
		if end {
			w.Header().Set("Hashpivot-Recording", "end")
		}
		now = at
		for _, o := range list {
			offers = append(offers, o)
		}
	} else {
		for _, o := range s.market.offers(now, q) {
			offers = append(offers, o)
		}
	}
	if offers == nil {
		offers = []any{}
	}
	w.Header().Set("Date", now.Format(http.TimeFormat))
	s.mu.Lock()
	single := s.single
	s.mu.Unlock()
	if single && len(offers) > 0 {
		answer(w, map[string]any{"offers": offers[0]})
		return
	}
	answer(w, map[string]any{"offers": offers})
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	if !s.authorized(r) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"success":false,"error":"unauthorized"}`))
		return
	}
	now := s.cfg.Now().UTC()
	whole := func(key string, def int64) int64 {
		if n, err := strconv.ParseInt(r.FormValue(key), 10, 64); err == nil {
			return n
		}
		return def
	}
	start, end, step := whole("start", now.Unix()-86400), whole("end", now.Unix()), whole("step", 3600)
	if step < 60 || end-start > 5*366*86400 {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"success":false,"error":"invalid_args"}`))
		return
	}
	names := []string{"RTX 5090", "RTX 4090", "RTX 3090"}
	if v := r.FormValue("gpu_name"); v != "" {
		names = strings.Split(strings.ReplaceAll(v, "_", " "), ",")
	}
	gpus := map[string]any{}
	if s.rec != nil {
		for name, points := range s.rec.medians {
			gpus[name] = recordedModel(points, start, end)
		}
	} else {
		for _, name := range names {
			if m, ok := s.market.medians(name, start, min(end, now.Unix()), step); ok {
				gpus[name] = m
			}
		}
	}
	answer(w, map[string]any{"success": true, "gpus": gpus})
}

func answer(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data)
}
