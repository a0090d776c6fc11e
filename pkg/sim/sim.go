// Package sim starts the simulators of all upstreams on local ports: servers that speak the venues' wire protocols, from a generated market
// (package world) or from recordings.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
	"github.com/hashpivot/hashpivot/pkg/sim/bitcoind"
	"github.com/hashpivot/hashpivot/pkg/sim/braiins"
	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/coinbase"
	"github.com/hashpivot/hashpivot/pkg/sim/coinmetrics"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/finnhub"
	"github.com/hashpivot/hashpivot/pkg/sim/gpu"
	"github.com/hashpivot/hashpivot/pkg/sim/kraken"
	"github.com/hashpivot/hashpivot/pkg/sim/luxor"
	"github.com/hashpivot/hashpivot/pkg/sim/massive"
	"github.com/hashpivot/hashpivot/pkg/sim/mempool"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/vast"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// Mode says where the simulated data comes from.
type Mode string

// The modes.
const (
	Generated Mode = "generated" // endless, seeded, about the real levels
	Recorded  Mode = "recorded"  // the rows of a directory of recordings, then the end
)

// Config of the simulators. Zero values mean the defaults in the comments.
type Config struct {
	Mode Mode   // Generated
	Dir  string // of the recordings
	Seed uint64
	Host string // 127.0.0.1; simulators have no business elsewhere
	// Ports by upstream: alpaca, massive, finnhub, mempool, coinbase, vast, and control; 0 or absent: any
	// free one.
	Ports   map[string]int
	Symbols []string // generated equities; empty: all that have a level
	Rate    float64  // mean equity events a second; 0: 100
	Steady  bool     // no bursts, no quiet spells
	// FaultEvery, LateBy, FateBy and Calendar are those of the tape of equities; zero values are its defaults.
	FaultEvery     int
	LateBy, FateBy time.Duration
	Calendar       session.Calendar
	Logger         *slog.Logger
	// Now is the clock of all simulators; nil: time.Now.
	Now func() time.Time
}

// URLs of the simulators, each as the configuration of the live upstream takes it.
type URLs struct {
	AlpacaStream, AlpacaREST string
	// Massive and Finnhub are of a generated market only: nothing was recorded in their formats.
	MassiveWS, MassiveREST   string
	FinnhubWS, FinnhubREST   string
	MempoolREST, MempoolWS   string
	CoinbaseWS, CoinbaseREST string
	// Of these a recording has Coin Metrics alone; the others are empty then.
	BitcoinRPC, BitcoinZMQ string
	KrakenWS, KrakenREST   string
	LuxorREST, BraiinsREST string
	CoinMetricsREST        string
	Vast                   string
	// The price lists of GPU clouds are of a generated market only.
	RunPodGraphQL, RunPodREST         string
	Lambda, Shadeform, PrimeIntellect string
	Akash, Azure                      string
	// Control takes orders of faults: see package control.
	Control string
}

// Sim is a set of running simulators.
type Sim struct {
	// The simulators, for faults to order.
	Alpaca   *alpaca.Server
	Massive  *massive.Server // nil with recordings
	Finnhub  *finnhub.Server // nil with recordings
	Mempool  *mempool.Server
	Coinbase *coinbase.Server
	// The chain that mempool, Bitcoind and the references tell of, nil for a recording; as are Bitcoind, Kraken, Luxor and Braiins.
	Chain       *chain.Chain
	Bitcoind    *bitcoind.Server
	Kraken      *kraken.Server
	Luxor       *luxor.Server
	Braiins     *braiins.Server
	CoinMetrics *coinmetrics.Server
	Vast        *vast.Server
	GPUs        map[string]*gpu.Server // the price lists of GPU clouds by name: runpod, lambda, ...; empty with recordings

	urls    URLs
	script  *tape.Script
	desk    control.Desk
	servers []*http.Server
	closers []func()
	wg      sync.WaitGroup
	once    sync.Once
	log     *slog.Logger
}

// RecordedSymbols lists the equities of a directory of recordings.
func RecordedSymbols(dir string) ([]string, error) {
	symbols, err := alpaca.RecordedSymbols(dir)
	if err != nil {
		return nil, fmt.Errorf("list recorded symbols: %w", err)
	}
	return symbols, nil
}

// Start makes the simulators and listens. They run until Close, or until ctx ends.
func Start(ctx context.Context, cfg Config) (_ *Sim, err error) {
	switch cfg.Mode {
	case "":
		cfg.Mode = Generated
	case Generated, Recorded:
	default:
		return nil, fmt.Errorf("start simulators: mode %q is none of generated, recorded", cfg.Mode)
	}
	if cfg.Mode == Recorded && cfg.Dir == "" {
		return nil, errors.New("start simulators: recorded mode needs the directory of the recordings")
	}
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sim{log: cfg.Logger, script: &tape.Script{}}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	var w *world.World
	if cfg.Mode == Generated {
		cfg.Dir = ""
		if w, err = world.New(world.Config{Seed: cfg.Seed}); err != nil {
			return nil, fmt.Errorf("start simulators: %w", err)
		}
	}
	if err = s.alpaca(ctx, cfg, w); err != nil {
		return nil, err
	}
	if err = s.otherEquities(ctx, cfg, w); err != nil {
		return nil, err
	}
	if w != nil {
		if s.Chain, err = chain.New(chain.Config{World: w, Seed: cfg.Seed}); err != nil {
			return nil, fmt.Errorf("start simulators: %w", err)
		}
	}
	if err = s.mempool(ctx, cfg, w); err != nil {
		return nil, err
	}
	if err = s.network(ctx, cfg, w); err != nil {
		return nil, err
	}
	if err = s.coinbase(ctx, cfg, w); err != nil {
		return nil, err
	}
	if err = s.vast(ctx, cfg, w); err != nil {
		return nil, err
	}
	host, err := s.serve(ctx, cfg, "control", s.desk.Handler())
	if err != nil {
		return nil, err
	}
	s.urls.Control = "http://" + host
	if err = s.gpuClouds(ctx, cfg, w); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, s.Close)
	return s, nil
}

func (s *Sim) alpaca(ctx context.Context, cfg Config, w *world.World) (err error) {
	s.Alpaca, err = alpaca.New(alpaca.Config{
		World: w, Dir: cfg.Dir, Seed: cfg.Seed, Symbols: cfg.Symbols, Rate: cfg.Rate, Steady: cfg.Steady, Logger: cfg.Logger,
		FaultEvery: cfg.FaultEvery, LateBy: cfg.LateBy, FateBy: cfg.FateBy, Calendar: cfg.Calendar, Script: s.script, Now: cfg.Now,
	})
	if err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	s.closers = append(s.closers, s.Alpaca.Close)
	host, err := s.serve(ctx, cfg, "alpaca", s.Alpaca.Handler())
	s.urls.AlpacaStream, s.urls.AlpacaREST = "ws://"+host+"/v2/iex", "http://"+host
	s.desk.Register("alpaca", s.Alpaca.Target(), s.urls.AlpacaStream, s.urls.AlpacaREST)
	return err
}

// otherEquities tell the same tape as Alpaca's simulator.
func (s *Sim) otherEquities(ctx context.Context, cfg Config, w *world.World) (err error) {
	if w == nil {
		return nil
	}
	t := tape.Config{
		Seed: cfg.Seed, Symbols: cfg.Symbols, Rate: cfg.Rate, Steady: cfg.Steady, FaultEvery: cfg.FaultEvery, LateBy: cfg.LateBy, FateBy: cfg.FateBy,
		Calendar: cfg.Calendar, Script: s.script,
	}
	s.Massive, err = massive.New(massive.Config{World: w, Tape: t, Now: cfg.Now})
	if err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	s.closers = append(s.closers, s.Massive.Close)
	host, err := s.serve(ctx, cfg, "massive", s.Massive.Handler())
	if err != nil {
		return err
	}
	s.urls.MassiveWS, s.urls.MassiveREST = "ws://"+host+"/stocks", "http://"+host
	s.desk.Register("massive", s.Massive.Target(), s.urls.MassiveWS, s.urls.MassiveREST)
	s.Finnhub, err = finnhub.New(finnhub.Config{World: w, Tape: t, Candles: true, RequestsPerMinute: -1, Now: cfg.Now})
	if err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	s.closers = append(s.closers, s.Finnhub.Close)
	host, err = s.serve(ctx, cfg, "finnhub", s.Finnhub.Handler())
	s.urls.FinnhubWS, s.urls.FinnhubREST = "ws://"+host, "http://"+host+"/api/v1"
	s.desk.Register("finnhub", s.Finnhub.Target(), s.urls.FinnhubWS, s.urls.FinnhubREST)
	return err
}

func (s *Sim) mempool(ctx context.Context, cfg Config, w *world.World) (err error) {
	s.Mempool, err = mempool.New(mempool.Config{World: w, Chain: s.Chain, Dir: cfg.Dir, Seed: cfg.Seed, Now: cfg.Now})
	if err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	s.closers = append(s.closers, s.Mempool.Close)
	host, err := s.serve(ctx, cfg, "mempool", s.Mempool.Handler())
	s.urls.MempoolWS, s.urls.MempoolREST = "ws://"+host+"/api/v1/ws", "http://"+host+"/api"
	s.desk.Register("mempool", s.Mempool.Target(), s.urls.MempoolWS, s.urls.MempoolREST)
	return err
}

func (s *Sim) coinbase(ctx context.Context, cfg Config, w *world.World) (err error) {
	s.Coinbase, err = coinbase.New(coinbase.Config{World: w, Dir: cfg.Dir, Seed: cfg.Seed, Now: cfg.Now})
	if err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	s.closers = append(s.closers, s.Coinbase.Close)
	host, err := s.serve(ctx, cfg, "coinbase", s.Coinbase.Handler())
	s.urls.CoinbaseWS, s.urls.CoinbaseREST = "ws://"+host, "http://"+host
	s.desk.Register("coinbase", s.Coinbase.Target(), s.urls.CoinbaseWS, s.urls.CoinbaseREST)
	return err
}

func (s *Sim) vast(ctx context.Context, cfg Config, w *world.World) (err error) {
	// No limit of searches a minute: a demo polls faster than the venue allows, to have something to show.
	s.Vast, err = vast.New(vast.Config{World: w, Dir: cfg.Dir, Seed: cfg.Seed, SearchesPerMinute: -1, Now: cfg.Now})
	if err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	s.closers = append(s.closers, s.Vast.Close)
	host, err := s.serve(ctx, cfg, "vast", s.Vast.Handler())
	s.urls.Vast = "http://" + host
	s.desk.Register("vast", s.Vast.Target(), s.urls.Vast)
	return err
}

func (s *Sim) gpuClouds(ctx context.Context, cfg Config, w *world.World) error {
	if cfg.Mode == Recorded {
		return nil
	}
	s.GPUs = map[string]*gpu.Server{}
	for _, c := range []struct {
		name string
		make func(gpu.Config) (*gpu.Server, error)
		url  *string
	}{
		{"runpod", gpu.NewRunPod, &s.urls.RunPodREST}, {"lambda", gpu.NewLambda, &s.urls.Lambda}, {"shadeform", gpu.NewShadeform, &s.urls.Shadeform},
		{"prime-intellect", gpu.NewPrimeIntellect, &s.urls.PrimeIntellect}, {"akash", gpu.NewAkash, &s.urls.Akash}, {"azure", gpu.NewAzure, &s.urls.Azure},
	} {
		x, err := c.make(gpu.Config{World: w, Seed: cfg.Seed, Now: cfg.Now})
		if err != nil {
			return fmt.Errorf("start simulators: %w", err)
		}
		host, err := s.serve(ctx, cfg, c.name, x.Handler())
		if err != nil {
			return err
		}
		s.GPUs[c.name], *c.url = x, "http://"+host
		s.desk.Register(c.name, x.Target(), *c.url)
	}
	s.urls.RunPodGraphQL = s.urls.RunPodREST + "/graphql"
	return nil
}

// serve listens for one simulator and returns host:port.
func (s *Sim) serve(ctx context.Context, cfg Config, name string, h http.Handler) (string, error) {
	addr := net.JoinHostPort(cfg.Host, strconv.Itoa(cfg.Ports[name]))
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listen for the %s simulator on %s: %w; choose another port, or 0 for any free one", name, addr, err)
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.servers = append(s.servers, srv)
	s.wg.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("simulator stopped serving", "simulator", name, "err", err)
		}
	})
	return ln.Addr().String(), nil
}

// URLs of the simulators.
func (s *Sim) URLs() URLs { return s.urls }

// Close ends all simulators and waits for them. It may be called more than once.
func (s *Sim) Close() {
	s.once.Do(func() {
		for i := len(s.closers) - 1; i >= 0; i-- {
			s.closers[i]()
		}
		for _, srv := range s.servers {
			_ = srv.Close() // the listeners' errors tell nothing that matters now
		}
	})
	s.wg.Wait()
}
