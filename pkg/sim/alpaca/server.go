// Package alpaca speaks Alpaca's market data v2 protocol as a server: the stock stream (JSON and MsgPack) and the history over REST, from a
// generated market or from recordings. Faults can be had to order.
package alpaca

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Config of the simulator. Zero values mean the defaults in the comments.
type Config struct {
	// World is the market to generate; nil with Dir set.
	World *world.World
	// Dir holds recordings, laid out as equities/daily_close/*.csv, equities/daily_ohlcv/*.csv, equities/minute_*/*.csv.
	Dir string

	Seed    uint64
	Symbols []string // those of the world's facts
	// Rate is the mean of events a second over all symbols, prints and quotes together; 100.
	Rate float64
	// Steady keeps the rate constant: no bursts, no quiet spells.
	Steady bool
	// FaultEvery: one print in so many is cancelled later, another corrected, another told late; 2000.
	FaultEvery int
	// LateBy is how late a late print is told, 5 s; FateBy how long after its time a print is cancelled or corrected, 3 s. Together below 30 s.
	LateBy, FateBy time.Duration
	// Calendar gives the tape sessions; nil: a regular session without end.
	Calendar session.Calendar
	// Script is what is ordered to happen on the tape; nil: one of its own.
	Script *tape.Script
	// TickHistory is how far back prints, quotes and minute bars are told; 2 h. A time before that never happened: the simulated market
	// runs only when someone looks.
	TickHistory time.Duration
	// DailyHistory is how far back daily bars go; 90 days.
	DailyHistory time.Duration

	// Key and Secret that a client must show; empty: any.
	Key, Secret    string
	MaxConnections int           // of authenticated streams; 1, as on every plan
	SymbolLimit    int           // of trades and quotes; 30, below 0 none
	NotInPlan      []string      // channels that answer 409
	AuthTimeout    time.Duration // 10 s
	// RequestsPerMinute over REST; 10,000.
	RequestsPerMinute int
	// RecentBarred refuses history of the last 15 minutes with 403, as a plan without SIP does.
	RecentBarred bool

	Logger *slog.Logger
	Now    func() time.Time
}

// Server is the simulator. It listens nowhere: Handler goes into an http.Server.
type Server struct {
	cfg  Config
	log  *slog.Logger
	gen  *tape.Generator // nil with recordings
	rec  *recording      // nil with a generated market
	cal  session.Always
	mux  *http.ServeMux
	stop chan struct{}
	wg   sync.WaitGroup

	done    atomic.Int64 // the newest bucket that was sent
	muted   atomic.Bool
	sockets wire.Sockets
	http    wire.Faults
	clock   *wire.Clock

	mu      sync.Mutex
	closed  bool
	clients map[*client]struct{}

	faultMu sync.Mutex
	faults  []Fault
	calls   []time.Time // of the last minute, for the rate limit

	barMu  sync.Mutex
	minute map[barKey]cachedBar
	daily  map[barKey]tape.Bar
}

// New makes the simulator and, with a generated market, starts its tape.
func New(cfg Config) (*Server, error) {
	if (cfg.World == nil) == (cfg.Dir == "") {
		return nil, fmt.Errorf("make alpaca simulator: give either a world or a directory of recordings")
	}
	if cfg.Script == nil {
		cfg.Script = &tape.Script{}
	}
	def(&cfg.TickHistory, 2*time.Hour)
	def(&cfg.DailyHistory, 90*24*time.Hour)
	def(&cfg.MaxConnections, 1)
	def(&cfg.SymbolLimit, 30)
	def(&cfg.AuthTimeout, 10*time.Second)
	def(&cfg.RequestsPerMinute, 10_000)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cal, err := session.NewAlways()
	if err != nil {
		return nil, fmt.Errorf("make alpaca simulator: %w", err)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, cal: cal, clock: wire.NewClock(cfg.Now), stop: make(chan struct{}), clients: map[*client]struct{}{},
		minute: map[barKey]cachedBar{}, daily: map[barKey]tape.Bar{},
	}
	if cfg.Dir != "" {
		if s.rec, err = loadRecording(cfg.Dir); err != nil {
			return nil, fmt.Errorf("make alpaca simulator: %w", err)
		}
	} else {
		s.gen, err = tape.New(cfg.World, tape.Config{
			Seed: cfg.Seed, Symbols: cfg.Symbols, Rate: cfg.Rate, Steady: cfg.Steady, FaultEvery: cfg.FaultEvery, LateBy: cfg.LateBy, FateBy: cfg.FateBy,
			Calendar: cfg.Calendar, Script: cfg.Script,
		})
		if err != nil {
			return nil, fmt.Errorf("make alpaca simulator: %w", err)
		}
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /v2/{feed}", s.serveStream)
	s.mux.HandleFunc("GET /v1beta1/{feed}", s.serveStream)
	s.mux.Handle("GET /v2/stocks/trades", s.http.Wrap(s.rest(s.serveTrades)))
	s.mux.Handle("GET /v2/stocks/quotes", s.http.Wrap(s.rest(s.serveQuotes)))
	s.mux.Handle("GET /v2/stocks/bars", s.http.Wrap(s.rest(s.serveBars)))
	if s.gen != nil {
		s.done.Store(tape.BucketOf(s.clock.Now()) - 1)
		s.wg.Add(1)
		go s.run()
	}
	return s, nil
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Symbols that the simulator has prints or bars of.
func (s *Server) Symbols() []string {
	if s.rec != nil {
		return s.rec.symbols()
	}
	var out []string
	for _, x := range s.gen.Securities {
		out = append(out, x.Symbol)
	}
	return out
}

// Handler serves /v2/{feed} and /v1beta1/{feed} (websocket) and /v2/stocks/{trades,quotes,bars}.
func (s *Server) Handler() http.Handler { return s.mux }

// Close drops all clients and waits for the simulator's goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.wg.Wait()
		return
	}
	s.closed = true
	close(s.stop)
	s.mu.Unlock()
	s.DropAll()
	s.wg.Wait()
	s.sockets.Wait()
}

// DropAll cuts every stream without a goodbye.
func (s *Server) DropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		_ = c.ws.NetConn().Close()
	}
}

// Mute keeps streams connected, pongs included, but silent. What would have been sent is lost to them, not kept.
func (s *Server) Mute(on bool) { s.muted.Store(on) }

// Inject sends a frame to every authenticated stream, whatever its bytes are.
func (s *Server) Inject(frame []byte, binary bool) {
	for _, c := range s.snapshot() {
		c.send(outFrame{slices.Clone(frame), binary})
	}
}

func (s *Server) snapshot() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*client, 0, len(s.clients))
	for c := range s.clients {
		if c.authed {
			out = append(out, c)
		}
	}
	return out
}

// Target takes orders of faults.
func (s *Server) Target() control.Target {
	return &wire.Target{
		Sockets: &s.sockets, HTTP: &s.http, Clock: s.clock, Pages: true,
		Wrong: `[{"T":"t","S":5,"p":"x","s":[],"t":7}]`, Error: `{"code":50010000,"message":"internal server error"}`,
		Own: []wire.Own{
			{Name: "error", Does: "error:406 sends the venue's error of that code, with body as its text, and closes", Order: s.orderError},
			{Name: "halt", Does: "halt:IREN halts the symbol for its time on every simulator of the tape (30s)", Order: s.orderHalt},
		},
	}
}

func (s *Server) orderHalt(o control.Order) error {
	_, symbol, _ := strings.Cut(o.Fault, ":")
	if s.gen == nil || s.gen.Security(symbol) == nil {
		return fmt.Errorf("%q is not on the tape; write halt:%s", symbol, strings.Join(s.Symbols(), ", halt:"))
	}
	lasts := time.Duration(o.For)
	def(&lasts, 30*time.Second)
	s.cfg.Script.Halt(symbol, s.clock.Now(), lasts)
	return nil
}

func (s *Server) orderError(o control.Order) error {
	_, arg, _ := strings.Cut(o.Fault, ":")
	code, err := strconv.Atoi(arg)
	if err != nil {
		return fmt.Errorf("%q is not a code; write error:406", arg)
	}
	for _, c := range s.snapshot() {
		c.fail(code, o.Body)
		c.send(outFrame{data: append([]byte(closing), websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")...)})
	}
	return nil
}

// Fault is one bad answer over REST.
type Fault struct {
	Status   int    // 0: 200
	Body     string // "" with Status 0: the true answer
	Truncate bool   // the body ends before the length that the header says
}

// FailHTTP makes the next REST answers bad, one fault each.
func (s *Server) FailHTTP(faults ...Fault) {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	s.faults = append(s.faults, faults...)
}
