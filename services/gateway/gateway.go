// Package gateway serves what JetStream and ClickHouse hold to dashboards: the live feed over websocket and Server-Sent Events, history over HTTP, and the page.
// docs/live.md is the protocol. A gateway holds no state but caches; run as many as are needed.
package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nuid"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/gateway/api"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
	"github.com/hashpivot/hashpivot/services/gateway/limit"
)

// Log is JetStream as the gateway reads it.
type Log interface {
	Info(ctx context.Context, stream market.Stream) (bus.Info, error)
	// Latest calls fn for the last message of each subject, Scan for every message, in order.
	Latest(ctx context.Context, stream market.Stream, fn func(bus.Msg) error) error
	Scan(ctx context.Context, stream market.Stream, fn func(bus.Msg) error) error
	// Read opens a reader that goes on live.
	Read(ctx context.Context, stream market.Stream, seq uint64) (Reader, error)
	// Landed is up to where the tables have everything, and when that life of the stream began, Unix ns.
	Landed(ctx context.Context, stream market.Stream) (through uint64, created int64, err error)
	// SeqBefore is the last message before t; all tells that the stream holds nothing older.
	SeqBefore(ctx context.Context, stream market.Stream, t time.Time) (seq uint64, all bool, err error)
}

// Reader reads a stream in order.
type Reader interface {
	Next(ctx context.Context) (bus.Msg, error)
	Close()
}

// History is ClickHouse as the gateway reads it.
type History interface {
	Events(ctx context.Context, q store.EventQuery, fn func(market.Event, market.Place) error) error
	SeqBetween(ctx context.Context, stream market.Stream, since, t time.Time) (uint64, error)
}

// Deps are what a gateway works with.
type Deps struct {
	Log     Log
	History History
	// Mode is live, sim or recorded, and shown.
	Mode string
	// Once makes tickets valid once on all gateways.
	Once    auth.Once
	Logger  *slog.Logger
	Metrics *Metrics
	Tracer  trace.Tracer // nil: nothing is traced
	Health  *run.Health  // nil: nobody asks
	// Tables answer the HTTP endpoints; nil: there are none.
	Tables api.Store
	// Intervals of bars that are made besides those that always are; others are refused instead of being silent.
	Intervals []market.Interval
}

// Gateway is one gateway.
type Gateway struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *Metrics
	name    string
	auth    atomic.Pointer[auth.Verifier]
	limits  *limit.Limiter
	upgrade *websocket.Upgrader
	streams map[market.Stream]*stream
	shards  []*shard
	ln      net.Listener
	ready   chan struct{}

	ctx     context.Context // of the connections
	cancel  context.CancelFunc
	reading sync.WaitGroup
	blocked sync.WaitGroup

	mu      sync.Mutex
	clients map[*client]struct{}
	serial  uint64
	ending  bool
}

// New opens the gateway's address; Run serves it.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var secret *tls.Config
	if s := cfg.secure(); s.On() {
		var err error
		if secret, err = s.Config(deps.Logger); err != nil {
			return nil, err
		}
		secret.NextProtos = []string{"http/1.1"} // connections are taken over, which HTTP/2 has none of
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen at gateway.addr %s: %w", cfg.Addr, err)
	}
	g := &Gateway{
		cfg: cfg, deps: deps, log: deps.Logger, metrics: deps.Metrics, name: nuid.Next()[:8], ln: listener{ln, secret}, clients: map[*client]struct{}{},
		streams: map[market.Stream]*stream{}, ready: make(chan struct{}),
	}
	cfg.Auth.Listen = ln.Addr().String()
	verifier, err := auth.New(cfg.Auth, deps.Once, time.Now)
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	g.auth.Store(verifier)
	if g.limits, err = limit.New(cfg.Limits, func(whose, what string) { g.metrics.limited.WithLabelValues(whose, what).Inc() }); err != nil {
		_ = ln.Close()
		return nil, err
	}
	g.upgrade = g.upgrader()
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for i := range max(2, runtime.GOMAXPROCS(0)) {
		g.shards = append(g.shards, newShard(i, g))
	}
	for _, c := range live.Channels() {
		g.streams[c.Stream()] = newStream(c.Stream(), g)
	}
	deps.Health.Add(run.Check{Name: "gateway", Stand: g.Stand})
	return g, nil
}

// Addr is where the gateway listens.
func (g *Gateway) Addr() string { return g.ln.Addr().String() }

// Secure reports whether it speaks TLS.
func (g *Gateway) Secure() bool { return g.cfg.secure().On() }

// Ready is closed when all streams are followed.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// Clients is how many connections are open.
func (g *Gateway) Clients() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.clients)
}

// Close gives the address back of a gateway that is not run.
func (g *Gateway) Close() {
	g.cancel()
	_ = g.ln.Close()
}

// Run follows the streams and serves until ctx ends. Then it tells the clients, lets what waits be written, and closes.
func (g *Gateway) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler: withHeaders(g.routes()), ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	eg, gctx := errgroup.WithContext(work)
	for _, s := range g.shards {
		eg.Go(func() error { s.run(gctx); return nil })
	}
	for _, st := range g.streams {
		eg.Go(func() error { return g.followStream(gctx, st) })
	}
	eg.Go(func() error {
		for _, st := range g.streams {
			select {
			case <-st.ready:
			case <-gctx.Done():
				return nil
			}
		}
		close(g.ready)
		return nil
	})
	eg.Go(func() error {
		if err := srv.Serve(g.ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", g.Addr(), err)
		}
		return nil
	})
	select {
	case <-ctx.Done():
	case <-gctx.Done(): // something cannot go on
	}
	g.shutdown(srv)
	stopWork()
	err := eg.Wait()
	g.blocked.Wait()
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || err == nil) {
		return nil
	}
	return err
}

// shutdown tells the clients and waits for them.
func (g *Gateway) shutdown(srv *http.Server) {
	g.mu.Lock()
	g.ending = true
	g.mu.Unlock()
	clients := g.list()
	end, cancel := context.WithTimeout(context.Background(), g.cfg.Linger)
	defer cancel()
	for _, c := range clients {
		c.shutdown()
	}
	if err := srv.Shutdown(end); err != nil {
		_ = srv.Close()
	}
	gone := make(chan struct{})
	go func() {
		g.reading.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-end.Done():
		for _, c := range clients {
			c.drop(context.DeadlineExceeded)
		}
		<-gone
	}
	g.cancel()
}

// shutdown says that the gateway ends.
func (c *client) shutdown() { c.leave(live.CloseShutdown, "the gateway ends; connect again") }

// leave sends the client away with what is needed to go on elsewhere. What was not written yet it gets there.
func (c *client) leave(code int, why string) {
	c.mu.Lock()
	subs := slices.Collect(maps.Values(c.subs))
	c.mu.Unlock()
	for _, s := range subs {
		if r := s.reader.Load(); r != nil {
			r.topic.detach(r) // what is written after the token would be sent again
		}
	}
	c.mu.Lock()
	f := live.Shutdown{Type: live.FrameShutdown, Time: time.Now().UTC(), Resume: c.resumeToken()}
	c.mu.Unlock()
	c.send(live.FrameShutdown, f)
	c.close(code, why)
}

// followStream reads a stream and hands it to the topics until ctx ends. It goes on where it was after every trouble.
func (g *Gateway) followStream(ctx context.Context, st *stream) error {
	wait := 100 * time.Millisecond
	for {
		err := g.readStream(ctx, st)
		if ctx.Err() != nil {
			return nil
		}
		why := err.Error()
		st.trouble.Store(&why)
		g.log.Warn("a stream cannot be followed; trying again", "stream", string(st.name), "err", err, "in", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			wait = min(2*wait, 5*time.Second)
		}
	}
}

func (g *Gateway) readStream(ctx context.Context, st *stream) error {
	info, err := g.deps.Log.Info(ctx, st.name)
	if err != nil {
		return err
	}
	if old := st.epoch.Load(); old != 0 && old != info.Created.UnixNano() {
		g.otherLife(st, info)
	}
	if st.epoch.Load() == 0 {
		if err := g.loadLast(ctx, st, info); err != nil {
			return err
		}
		st.head.Store(info.LastSeq)
		st.epoch.Store(info.Created.UnixNano())
		close(st.ready)
	}
	r, err := g.deps.Log.Read(ctx, st.name, st.head.Load()+1)
	if err != nil {
		return err
	}
	defer r.Close()
	st.trouble.Store(nil)
	for {
		m, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if m.Seq > st.head.Load() {
			st.take(m)
		}
	}
}

// loadLast finds the last value of each thing. A subject's last message has it, but for things that share a subject.
func (g *Gateway) loadLast(ctx context.Context, st *stream, info bus.Info) error {
	read := g.deps.Log.Latest
	if st.name == market.Offers || st.name == market.Feeds {
		read = g.deps.Log.Scan
	}
	return read(ctx, st.name, func(m bus.Msg) error {
		if m.Seq > info.LastSeq {
			return nil
		}
		items, err := st.decode(m)
		if err != nil {
			return nil // as live
		}
		st.mu.Lock()
		st.remember(items)
		st.unpin(items)
		st.mu.Unlock()
		return nil
	})
}

// otherLife closes the clients of a stream that was deleted and made again: their cursors mean other messages now.
func (g *Gateway) otherLife(st *stream, info bus.Info) {
	g.log.Error("a stream was made again; its clients begin anew", "stream", string(st.name), "created", info.Created)
	st.mu.Lock()
	st.last, st.recent = map[string]*item{}, recent{maxBytes: g.cfg.Recent}
	st.mu.Unlock()
	st.head.Store(0)
	st.epoch.Store(info.Created.UnixNano())
	for _, c := range g.list() {
		if c.reads(st.name) {
			c.close(live.CloseShutdown, "stream "+string(st.name)+" was made again; begin anew")
		}
	}
}

// list is the clients of now.
func (g *Gateway) list() []*client {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.clients))
}

// reads reports whether the client has a subscription to the stream.
func (c *client) reads(name market.Stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		if s.spec.Stream() == name {
			return true
		}
	}
	return false
}

// refuse answers an HTTP request with an error.
func (g *Gateway) refuse(w http.ResponseWriter, status int, e *live.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e)
}
