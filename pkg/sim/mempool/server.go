// Package mempool speaks mempool.space's REST and websocket protocol: a generated bitcoin network that grows while one looks, or recorded
// figures of the real one.
package mempool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
	Seed  uint64
	// Dir holds recordings: network/btc_coinmetrics_daily.csv, difficulty_retargets.csv and mempool_snapshots_*.csv.
	Dir string

	// Chain is what is told of the generated world, shared with the simulators of other observers; nil: one of its own, made of BlockEvery
	// and Origin (see chain.Config).
	Chain      *chain.Chain
	BlockEvery time.Duration
	Origin     time.Time
	// StatsEvery is the time between pushes of fees and difficulty state; 0: 2 s. ConversionsEvery that of prices; 0: 5 min.
	StatsEvery, ConversionsEvery time.Duration
	// HistoryDays of daily figures before Origin; 0: 60.
	HistoryDays int
	Now         func() time.Time
}

// source is where the simulator's figures come from.
type source interface {
	// tip is the height of the newest block; ok is false where there are no blocks.
	tip(now time.Time) (height int64, ok bool)
	// blocks are n blocks from the height down.
	blocks(height int64, n int) []block
	retargets(now time.Time) []retarget // oldest first
	days(now time.Time) []dayRow        // oldest first
	prices(now time.Time) []price       // oldest first
	adjustment(now time.Time) (adjustment, bool)
	fees(now time.Time) fees
	usd(now time.Time) (int64, bool)
}

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg    Config
	src    source
	rec    *recording // nil: generated
	hub    *wire.Hub
	faults wire.Faults
	clock  *wire.Clock

	stop context.CancelFunc
	done sync.WaitGroup
}

// New starts the simulator; it listens nowhere by itself.
func New(cfg Config) (*Server, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&cfg.StatsEvery, 2*time.Second)
	def(&cfg.ConversionsEvery, 5*time.Minute)
	if cfg.HistoryDays == 0 {
		cfg.HistoryDays = 60
	}
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	s := &Server{cfg: cfg, clock: clock, hub: wire.NewHub()}
	s.hub.ReadLimit = 50_000
	switch {
	case cfg.Dir != "":
		rec, err := load(cfg.Dir)
		if err != nil {
			return nil, fmt.Errorf("make mempool simulator from recordings in %s: %w", cfg.Dir, err)
		}
		s.src, s.rec = rec, rec
	case cfg.World != nil:
		if cfg.Chain == nil {
			var err error
			if cfg.Chain, err = chain.New(chain.Config{World: cfg.World, Seed: cfg.Seed, Every: cfg.BlockEvery, Origin: cfg.Origin}); err != nil {
				return nil, fmt.Errorf("make mempool simulator: %w", err)
			}
		}
		s.cfg.Chain = cfg.Chain
		s.src = &generated{Chain: cfg.Chain, world: cfg.World, seed: cfg.Seed, days0: cfg.HistoryDays}
	default:
		return nil, errors.New("make mempool simulator: neither a world to generate from nor a directory of recordings")
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	if s.rec == nil {
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

// DropAll cuts all websocket connections.
func (s *Server) DropAll() { s.hub.DropAll() }

// Mute makes the websocket silent without closing it.
func (s *Server) Mute(on bool) { s.hub.Mute(on) }

// Faults are the HTTP faults to order.
func (s *Server) Faults() *wire.Faults { return &s.faults }

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{
		Hub: s.hub, HTTP: &s.faults, Clock: s.clock, Wrong: `{"block":{"height":"x","difficulty":[]},"conversions":7}`, Error: "Block not found",
		Own: []wire.Own{{Name: "reorg", Does: "replaces the newest times (1) blocks by others", Order: func(o control.Order) error {
			s.Reorg(max(o.Times, 1))
			return nil
		}}},
	}
}

// Reorg replaces the newest depth blocks by others and tells so as the real server does: with "blocks". It does nothing on a recording.
func (s *Server) Reorg(depth int) {
	gen, ok := s.src.(*generated)
	if !ok {
		return
	}
	gen.reorg(s.cfg.Now(), depth)
	s.TellBlocks()
}

// TellBlocks pushes "blocks", the newest eight, as the real server does after a reorganisation; the chain is shared, and who ordered it elsewhere
// has it told here with this.
func (s *Server) TellBlocks() {
	if tip, ok := s.src.tip(s.cfg.Now()); ok {
		s.toAll("blocks", map[string]any{"blocks": ascending(s.src.blocks(tip, 8))})
	}
}

// Handler serves what mempool.space serves below its root: /api/... and /api/v1/ws.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.routes(mux)
	faulty := s.faults.Wrap(mux)
	root := http.NewServeMux()
	root.HandleFunc("/api/v1/ws", s.websocket)
	root.Handle("/", faulty)
	return root
}

func answer(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(data)
}
