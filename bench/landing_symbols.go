package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// symbolEvents are the trades of each step of landing_symbols.
const symbolEvents = 1_000_000

// landingSymbols measures what a row costs with 1 to 10,000 symbols. A subject is a symbol, so that with more symbols the messages of an even tape hold
// fewer events; the steps in runs have equally full messages, and tell what the symbols alone cost.
func landingSymbols(ctx context.Context, print func(figure)) error {
	for _, run := range []int{1, 200} {
		first, of := figure{}, "landing_symbols"
		if run > 1 {
			of = "landing_symbols_in_runs"
		}
		for _, n := range []int{1, 10, 100, 1000, 10_000} {
			c, err := landSymbols(ctx, n, run)
			if err != nil {
				return fmt.Errorf("%d symbols: %w", n, err)
			}
			f := figure{Name: fmt.Sprintf("%s_%d", of, n), Value: c.took.Seconds() * 1e6 / symbolEvents, Unit: "us/row"}
			if first.Name == "" {
				first = f
			} else {
				f.Ratio, f.RatioTo = f.Value/first.Value, first.Name
			}
			print(f)
			print(figure{Name: f.Name + "_message", Value: symbolEvents / float64(c.messages), Unit: "events/message"})
		}
	}
	return nil
}

func landSymbols(ctx context.Context, symbols, run int) (landing, error) {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return landing{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := openStream(ctx, filepath.Join(dir, "stream"))
	if err != nil {
		return landing{}, err
	}
	defer s.close()
	names := make([]string, symbols)
	for i := range names {
		names[i] = fmt.Sprintf("S%05d", i)
	}
	if _, err := s.fill(ctx, newTapeOf(names, run), symbolEvents); err != nil {
		return landing{}, err
	}
	runtime.GC() // what was published is garbage now
	return land(ctx, s, dir, symbolEvents, nil)
}
