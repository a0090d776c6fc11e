package equities

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/equities/alpaca"
	"github.com/hashpivot/hashpivot/services/equities/engine"
	"github.com/hashpivot/hashpivot/services/equities/files"
	"github.com/hashpivot/hashpivot/services/equities/finnhub"
	"github.com/hashpivot/hashpivot/services/equities/massive"
)

// upstream is one that is switched on.
type upstream struct {
	source  string
	symbols []string
	up      engine.Upstream
	night   bool // it trades by the night's calendar
	// heartbeat is how far apart its own signs of life may be: silence up to there is in order, whatever equities.stale says.
	heartbeat time.Duration
}

// upstreams lists what is switched on, each with the symbols that it serves.
func (c Config) upstreams() (out []upstream) {
	add := func(source string, symbols []string, up engine.Upstream, night bool) {
		if len(symbols) == 0 {
			symbols = c.Symbols
		}
		out = append(out, upstream{source: source, symbols: symbols, up: up, night: night})
	}
	if c.Alpaca.Key != "" {
		add(c.Alpaca.Source, c.Alpaca.Symbols, alpaca.New(c.Alpaca), false)
		if night, on := c.Alpaca.Night(); on {
			add(night.Source, night.Symbols, alpaca.New(night), true)
		}
	}
	if c.Massive.Key != "" {
		add(c.Massive.Source, c.Massive.Symbols, massive.New(c.Massive), false)
	}
	if c.Finnhub.Key != "" {
		add(c.Finnhub.Source, c.Finnhub.Symbols, finnhub.New(c.Finnhub), false)
		out[len(out)-1].heartbeat = c.Finnhub.MuteAfter
	}
	return out
}

// engine of one upstream.
func (c Config) engine(u upstream, deps feed.Deps) (*engine.Engine, error) {
	cal, err := c.calendar()
	if err == nil && u.night && c.Calendar != "always" {
		cal, err = session.USOvernight()
	}
	if err != nil {
		return nil, err
	}
	stale := c.Stale
	for _, d := range []*time.Duration{&stale.Regular, &stale.Extended, &stale.Overnight} {
		if *d > 0 {
			*d = max(*d, u.heartbeat)
		}
	}
	return engine.New(engine.Config{
		Source: u.source, Symbols: u.symbols, Calendar: cal, StopAtEnd: c.StopAtEnd, Backfill: c.Backfill, Stale: stale,
	}, u.up, deps)
}

// Service is every upstream that is switched on.
type Service struct {
	cfg     Config
	deps    feed.Deps
	engines map[string]*engine.Engine // by source
	order   []string
}

// New makes the service; it starts nothing.
func New(cfg Config, deps feed.Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, deps: deps, engines: map[string]*engine.Engine{}}
	for _, u := range cfg.upstreams() {
		if s.engines[u.source] != nil {
			return nil, fmt.Errorf("start equities: two upstreams are named %s; give each a source of its own", u.source)
		}
		e, err := cfg.engine(u, deps)
		if err != nil {
			return nil, fmt.Errorf("start equities: %w", err)
		}
		s.engines[u.source], s.order = e, append(s.order, u.source)
	}
	return s, nil
}

// Run streams until ctx ends (nil), the recordings end (nil, with StopAtEnd), or nothing can cure what is wrong. Call it once.
func (s *Service) Run(ctx context.Context) error {
	var parts []feed.Part
	for _, source := range s.order {
		parts = append(parts, feed.Part{Name: source, Run: s.engines[source].Run})
	}
	if s.cfg.Files.Dir != "" && !s.cfg.StopAtEnd {
		cfg := s.cfg.Files
		parts = append(parts, feed.Part{Name: cfg.Source, Run: func(ctx context.Context) error { return files.Run(ctx, cfg, s.deps) }})
	}
	return feed.Together(ctx, s.deps.Logger, parts...)
}

// WithSymbols is c with the lists of symbols of another configuration: what Apply can change.
func (c Config) WithSymbols(of Config) Config {
	c.Symbols, c.Alpaca.Symbols, c.Massive.Symbols, c.Finnhub.Symbols = of.Symbols, of.Alpaca.Symbols, of.Massive.Symbols, of.Finnhub.Symbols
	return c
}

// ErrRestart is the error of a change that takes a restart.
var ErrRestart = errors.New("this change needs a restart")

// Apply changes the lists of symbols while the service runs: what was added is subscribed to on the open connection and gets its history and its
// line of the ledger, what was removed is unsubscribed. Any other change is refused whole, with ErrRestart and the key. One Apply at a time.
func (s *Service) Apply(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if key := differs("equities", reflect.ValueOf(s.cfg), reflect.ValueOf(cfg)); key != "" {
		return fmt.Errorf("%s: %w", key, ErrRestart)
	}
	for _, u := range cfg.upstreams() {
		if err := s.engines[u.source].SetSymbols(ctx, u.symbols); err != nil {
			return err
		}
	}
	s.cfg = cfg
	return nil
}

// differs names the first key, lists of symbols aside, that is not the same in both.
func differs(prefix string, a, b reflect.Value) string {
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("koanf"), ",")
		key := prefix + "." + name
		if name == "" { // squashed
			key = prefix
		}
		switch {
		case name == "symbols":
		case a.Field(i).Kind() == reflect.Struct:
			if key := differs(key, a.Field(i), b.Field(i)); key != "" {
				return key
			}
		case !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
			return key
		}
	}
	return ""
}

// Run makes the service and runs it.
func Run(ctx context.Context, cfg Config, deps feed.Deps) error {
	s, err := New(cfg, deps)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// BackfillRequest is a backfill on demand.
type BackfillRequest struct {
	engine.Request
	// Upstream by its source; empty: every one that is switched on and has a history.
	Upstream string
}

// Backfill reads history on demand, one upstream after the other. It is safe beside a running service; see engine.Backfill.
func Backfill(ctx context.Context, cfg Config, deps feed.Deps, req BackfillRequest, progress func(engine.Progress)) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	var sources []string
	found := false
	for _, u := range cfg.upstreams() {
		sources = append(sources, u.source)
		if req.Upstream != "" && req.Upstream != u.source || req.Upstream == "" && len(u.up.History().Kinds) == 0 {
			continue
		}
		found = true
		e, err := cfg.engine(u, deps)
		if err != nil {
			return fmt.Errorf("backfill: %w", err)
		}
		if err := e.Backfill(ctx, req.Request, progress); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("backfill: no upstream %q with a history is switched on; there are: %s", req.Upstream, strings.Join(sources, ", "))
	}
	return nil
}
