// Package massive speaks the websocket and the REST history of Massive (formerly Polygon.io) for US stocks, from the tape of a generated market.
package massive

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Config of the simulator. Zero values mean the defaults in the comments.
type Config struct {
	World *world.World
	// Tape is the market's; with the same one other simulators tell the same prints.
	Tape tape.Config
	// TickHistory is how far back prints, quotes and second and minute bars are told; 2 h.
	TickHistory time.Duration
	// DailyHistory is how far back daily bars go; 90 days.
	DailyHistory time.Duration

	Key            string        // that a client must show; empty: any
	MaxConnections int           // 1, as measured for every plan
	AuthTimeout    time.Duration // 10 s
	// NoWebsocket is a plan without websocket access, NotInPlan lists topics (T, Q, A, AM, LULD, NOI) that neither side serves.
	NoWebsocket bool
	NotInPlan   []string
	// RequestsPerMinute over REST; 0: no limit. The free plan has 5.
	RequestsPerMinute int
	// LimitWith200 answers what is over the limit with HTTP 200 and an error in the body instead of HTTP 429.
	LimitWith200 bool
	Now          func() time.Time
}

// Fault is an HTTP answer that goes wrong.
type Fault = wire.Fault

// Server is the simulator.
type Server struct {
	cfg    Config
	tape   *tape.Generator
	cal    session.Always
	hub    *wire.Hub
	faults wire.Faults
	stop   context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64 // the newest bucket that was sent
	clock  *wire.Clock
	flood  atomic.Int64 // pages without end that were made

	mu     sync.Mutex
	authed int         // connections that count for MaxConnections
	calls  []time.Time // of the last minute
}

// New makes the simulator and starts its tape; it listens nowhere by itself.
func New(cfg Config) (*Server, error) {
	if cfg.World == nil {
		return nil, errors.New("make massive simulator: no world to generate from")
	}
	def(&cfg.TickHistory, 2*time.Hour)
	def(&cfg.DailyHistory, 90*24*time.Hour)
	def(&cfg.MaxConnections, 1)
	def(&cfg.AuthTimeout, 10*time.Second)
	clock := wire.NewClock(cfg.Now)
	cfg.Now = clock.Now
	g, err := tape.New(cfg.World, cfg.Tape)
	if err != nil {
		return nil, fmt.Errorf("make massive simulator: %w", err)
	}
	cal, err := session.NewAlways()
	if err != nil {
		return nil, fmt.Errorf("make massive simulator: %w", err)
	}
	s := &Server{cfg: cfg, tape: g, cal: cal, hub: wire.NewHub(), clock: clock}
	s.done.Store(tape.BucketOf(cfg.Now()) - 1)
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.wg.Go(func() { s.run(ctx) })
	return s, nil
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Close drops all clients and waits for the simulator's goroutines.
func (s *Server) Close() {
	s.stop()
	s.hub.Close()
	s.wg.Wait()
}

// Handler serves the websocket at /stocks and REST below /v2 and /v3.
func (s *Server) Handler() http.Handler {
	rest := http.NewServeMux()
	rest.HandleFunc("GET /v3/trades/{ticker}", s.rest(s.serveTrades))
	rest.HandleFunc("GET /v3/quotes/{ticker}", s.rest(s.serveQuotes))
	rest.HandleFunc("GET /v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}", s.rest(s.serveAggs))
	root := http.NewServeMux()
	root.HandleFunc("/stocks", s.websocket)
	root.Handle("/", s.faults.Wrap(rest))
	return root
}

// DropAll cuts all websocket connections without a close frame.
func (s *Server) DropAll() { s.hub.DropAll() }

// Faults are the HTTP faults to order.
func (s *Server) Faults() *wire.Faults { return &s.faults }

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{
		Hub: s.hub, HTTP: &s.faults, Clock: s.clock, Pages: true, Error: limitBody,
		Wrong: `[{"ev":"T","sym":5,"i":[],"p":"x","s":"y","t":"then"}]`,
		Own: []wire.Own{{Name: "event", Does: "event:max_connections sends a status event with body as its message, and cuts the connection, with 1008 where reason is given",
			Order: s.orderStatus}},
	}
}

// orderStatus sends a status event to all clients and ends their connections.
func (s *Server) orderStatus(o control.Order) error {
	_, name, ok := strings.Cut(o.Fault, ":")
	if !ok || name == "" {
		return errors.New("name the status, such as event:max_connections")
	}
	s.hub.Each(func(c *wire.Client) {
		c.Send(status(name, o.Body))
		if o.Reason != "" {
			c.CloseWith(1008, o.Reason)
		} else {
			c.DropBehind()
		}
	})
	return nil
}

// LimitExceeded is the answer to one request too many, with HTTP 429 or, as some clients met it, with HTTP 200.
func LimitExceeded(status int) Fault {
	return Fault{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: limitBody}
}
