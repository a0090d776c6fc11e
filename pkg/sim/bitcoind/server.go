// Package bitcoind speaks Bitcoin Core's JSON-RPC over HTTP and its ZMQ push of new blocks, over the chain that the simulators share.
package bitcoind

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
)

// Config of the simulator.
type Config struct {
	Chain *chain.Chain
	// User and Password that are asked for; both empty: any.
	User, Password string
	// ZMQ is the endpoint of the hashblock push, tcp://host:port; empty: none.
	ZMQ string
	Now func() time.Time
}

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg    Config
	faults wire.Faults
	clock  *wire.Clock
	pub    *publisher // nil: no ZMQ
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	known   map[string]chain.Block // what was told by hash, so that a block that lost can still be asked for
	warming bool
	ibd     bool
	lag     int64
	auth    [2]string
}

// New starts the simulator; HTTP is served by its Handler.
func New(cfg Config) (*Server, error) {
	if cfg.Chain == nil {
		return nil, errors.New("make bitcoind simulator: no chain to tell of")
	}
	s := &Server{cfg: cfg, clock: wire.NewClock(cfg.Now), known: map[string]chain.Block{}, auth: [2]string{cfg.User, cfg.Password}}
	s.cfg.Now = s.clock.Now
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	if cfg.ZMQ != "" {
		pub, err := newPublisher(cfg.ZMQ)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("make bitcoind simulator: %w", err)
		}
		s.pub = pub
		s.done.Go(func() { s.push(ctx) })
	}
	return s, nil
}

// Close ends the push and waits for the simulator's goroutines.
func (s *Server) Close() {
	s.stop()
	s.done.Wait()
	if s.pub != nil {
		s.pub.close()
	}
}

// ZMQ is the endpoint of the push, as a subscriber dials it.
func (s *Server) ZMQ() string {
	if s.pub == nil {
		return ""
	}
	return s.pub.endpoint()
}

// WarmUp answers every call with -28, as a node that is loading its index does.
func (s *Server) WarmUp(on bool) { s.with(func() { s.warming = on }) }

// InitialDownload makes the node say that it is still catching up.
func (s *Server) InitialDownload(on bool) { s.with(func() { s.ibd = on }) }

// Lag keeps the node n blocks behind the chain.
func (s *Server) Lag(n int64) { s.with(func() { s.lag = n }) }

// Credentials that are asked for from now on: a node that was started again has written a new cookie.
func (s *Server) Credentials(user, password string) {
	s.with(func() { s.auth = [2]string{user, password} })
}

// MuteZMQ stops the push without closing it.
func (s *Server) MuteZMQ(on bool) {
	if s.pub != nil {
		s.pub.mute.Store(on)
	}
}

// DropZMQ cuts the subscribers.
func (s *Server) DropZMQ() {
	if s.pub != nil {
		s.pub.dropAll()
	}
}

// InjectZMQ sends bytes as they are to all subscribers.
func (s *Server) InjectZMQ(data []byte) { s.pub.inject(data) }

// Subscribers counts who gets the push.
func (s *Server) Subscribers() int { return s.pub.subscribers() }

// Notify pushes the present tip, as after a reorganisation that left the height as it was.
func (s *Server) Notify() {
	if s.pub != nil {
		s.pub.send(s.block(s.tip()).Hash)
	}
}

func (s *Server) with(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

func (s *Server) tip() int64 {
	s.mu.Lock()
	lag := s.lag
	s.mu.Unlock()
	return s.cfg.Chain.Tip(s.cfg.Now()) - lag
}

func (s *Server) block(height int64) chain.Block {
	b := s.cfg.Chain.Block(height)
	s.with(func() { s.known[b.Hash] = b })
	return b
}

// push tells each new tip once.
func (s *Server) push(ctx context.Context) {
	tick := time.NewTicker(max(min(s.cfg.Chain.Every()/20, time.Second), time.Millisecond))
	defer tick.Stop()
	told := s.tip()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for tip := s.tip(); told < tip; {
				told++
				s.pub.send(s.block(told).Hash)
			}
		}
	}
}

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{
		HTTP: &s.faults, Clock: s.clock, Error: `{"result":null,"error":{"code":-32603,"message":"Internal error"},"id":"hashpivot"}`,
		Own: []wire.Own{
			{Name: "warming-up", Does: "answers every call with -28", Order: func(control.Order) error { s.WarmUp(true); return nil }, Clear: func() { s.WarmUp(false) }},
			{Name: "initial-download", Does: "says that it is still catching up", Order: func(control.Order) error { s.InitialDownload(true); return nil },
				Clear: func() { s.InitialDownload(false) }},
			{Name: "lag", Does: "stays times (1) blocks behind the chain", Order: func(o control.Order) error { s.Lag(int64(max(o.Times, 1))); return nil },
				Clear: func() { s.Lag(0) }},
			{Name: "reorg", Does: "replaces the newest times (1) blocks by others", Order: func(o control.Order) error {
				s.cfg.Chain.Reorg(s.cfg.Now(), max(o.Times, 1))
				s.Notify()
				return nil
			}},
			{Name: "zmq-mute", Does: "pushes no blocks", Order: func(control.Order) error { s.MuteZMQ(true); return nil }, Clear: func() { s.MuteZMQ(false) }},
			{Name: "zmq-drop", Does: "cuts the subscribers of the push", Order: func(control.Order) error { s.DropZMQ(); return nil }},
		},
	}
}

// Handler serves JSON-RPC at /.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", s.serve)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "JSONRPC server handles only POST requests", http.StatusMethodNotAllowed)
	})
	return s.faults.Wrap(mux)
}

type request struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

// rpcError as Core writes it.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	auth, warming := s.auth, s.warming
	s.mu.Unlock()
	if auth != [2]string{} {
		user, password, _ := r.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(user+":"+password), []byte(auth[0]+":"+auth[1])) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="jsonrpc"`)
			w.WriteHeader(http.StatusUnauthorized) // without a body, as Core does
			return
		}
	}
	var q request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&q); err != nil {
		reply(w, nil, nil, &rpcError{-32700, "Parse error"})
		return
	}
	if warming {
		reply(w, q.ID, nil, &rpcError{-28, "Loading block index…"})
		return
	}
	result, err := s.call(q)
	reply(w, q.ID, result, err)
}

// reply answers as JSON-RPC 1.0 does: an error is HTTP 500 (404 for an unknown method, 400 for a bad request) with a JSON body.
func reply(w http.ResponseWriter, id json.RawMessage, result any, e *rpcError) {
	if id == nil {
		id = json.RawMessage("null")
	}
	w.Header().Set("Content-Type", "application/json")
	status := http.StatusOK
	if e != nil {
		result, status = nil, http.StatusInternalServerError
		switch e.Code {
		case -32601:
			status = http.StatusNotFound
		case -32600:
			status = http.StatusBadRequest
		}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Result any             `json:"result"`
		Error  *rpcError       `json:"error"`
		ID     json.RawMessage `json:"id"`
	}{result, e, id})
}
