package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// symbols are what is wanted, what the venue acknowledged, and how the open connection is told of a change.
type symbols struct {
	mu      sync.RWMutex
	wanted  []string
	want    map[string]bool
	served  map[string]bool
	change  func(add, drop []string) error
	setting sync.Mutex // one SetSymbols at a time, and none during the restore
	// restored is set once the ledger and what was published are known; guarded by setting.
	restored bool
}

func (s *symbols) set(list []string) {
	want := make(map[string]bool, len(list))
	for _, x := range list {
		want[x] = true
	}
	s.mu.Lock()
	s.wanted, s.want = slices.Clone(list), want
	s.mu.Unlock()
}

func (s *symbols) list() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.wanted
}

func (s *symbols) wants(symbol string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.want[symbol]
}

func (s *symbols) serve(list []string) {
	served := make(map[string]bool, len(list))
	for _, x := range list {
		served[x] = true
	}
	s.mu.Lock()
	s.served = served
	s.mu.Unlock()
}

func (s *symbols) isServed(symbol string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.served[symbol]
}

func (s *symbols) disconnected() {
	s.mu.Lock()
	s.change = nil
	s.mu.Unlock()
}

// Symbols are what the upstream shall stream now. The list must not be changed.
func (e *Engine) Symbols() []string { return e.symbols.list() }

// Wants reports whether a symbol shall be streamed.
func (e *Engine) Wants(symbol string) bool { return e.symbols.wants(symbol) }

// OnChange registers how the open connection is told of added and removed symbols, from another goroutine; it holds until Stream returns. The
// venue's answer is told to the engine by Acknowledged.
func (e *Engine) OnChange(fn func(add, drop []string) error) {
	e.symbols.mu.Lock()
	e.symbols.change = fn
	e.symbols.mu.Unlock()
}

// SetSymbols changes what is streamed without a reconnect: added symbols get their line of the ledger (history of one that was never
// published, the time since it was removed of another), removed ones are unsubscribed and their open lines given up.
func (e *Engine) SetSymbols(ctx context.Context, list []string) error {
	if err := CheckSymbols(list); err != nil {
		return fmt.Errorf("set symbols of %s: %w", e.cfg.Source, err)
	}
	e.symbols.setting.Lock()
	defer e.symbols.setting.Unlock()
	if !e.symbols.restored {
		e.symbols.set(list) // the start opens what it owes
		return nil
	}
	old := e.symbols.list()
	var add, drop []string
	for _, x := range list {
		if !slices.Contains(old, x) {
			add = append(add, x)
		}
	}
	for _, x := range old {
		if !slices.Contains(list, x) {
			drop = append(drop, x)
		}
	}
	if len(add)+len(drop) == 0 {
		return nil
	}
	for _, x := range add {
		if err := e.openAdded(ctx, x); err != nil {
			return fmt.Errorf("set symbols of %s: %w", e.cfg.Source, err)
		}
	}
	if err := e.f.Flush(ctx); err != nil {
		return fmt.Errorf("set symbols of %s: store the ledger: %w", e.cfg.Source, err)
	}
	e.symbols.set(list)
	e.f.Logger().Info("symbols changed", "added", add, "removed", drop)
	now := e.f.Now()
	e.mu.Lock()
	for _, x := range drop {
		e.told[x] = now
	}
	e.mu.Unlock()
	e.symbols.mu.RLock()
	change := e.symbols.change
	e.symbols.mu.RUnlock()
	if change == nil {
		return nil // the next connection subscribes to the list
	}
	if err := change(add, drop); err != nil {
		// The connection is lost, then; the next one subscribes to the list.
		e.f.Logger().Warn("the open connection could not be told of the symbols", "err", err)
	}
	return nil
}

func (e *Engine) openAdded(ctx context.Context, symbol string) error {
	for _, g := range e.f.OpenGaps() {
		if g.Symbol == symbol && g.State == market.GapOpen && g.Reason != reasonBackfill {
			return nil // it is owed already
		}
	}
	e.mu.Lock()
	from := e.told[symbol]
	e.mu.Unlock()
	reason := reasonAdded
	if from.IsZero() {
		reason, from = reasonHistory, e.cfg.Backfill.oldest(e.f.Now())
	}
	_, err := e.f.OpenGap(ctx, symbol, from, time.Time{}, reason)
	return err
}

// Acknowledged tells the engine that the venue now streams these symbols: what of the wanted is not among them has a line of the ledger
// with the reason why, what came new is filled.
func (e *Engine) Acknowledged(ctx context.Context, served []string, why string) error {
	if err := e.notServed(ctx, served, why); err != nil {
		return err
	}
	if err := e.f.Flush(ctx); err != nil {
		return fmt.Errorf("store the ledger: %w", err)
	}
	e.symbols.serve(served)
	e.queue()
	return nil
}

// notServed opens a line for each wanted symbol that the venue does not stream and that has none yet.
func (e *Engine) notServed(ctx context.Context, served []string, why string) error {
	open := map[string]bool{}
	for _, g := range e.f.OpenGaps() {
		if g.State == market.GapOpen && g.Reason != reasonBackfill {
			open[g.Symbol] = true
		}
	}
	for _, x := range e.symbols.list() {
		if slices.Contains(served, x) || open[x] {
			continue
		}
		e.f.Logger().Warn("symbol is not streamed", "symbol", x, "why", why)
		if _, err := e.f.OpenGap(ctx, x, e.f.Now(), time.Time{}, reasonUnserved+": "+why); err != nil {
			return err
		}
	}
	return nil
}
