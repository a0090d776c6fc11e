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
		of := "landing_symbols"
		if run > 1 {
			of = "landing_symbols_in_runs"
		}
		var first [4]figure
		for i, n := range []int{1, 10, 100, 1000, 10_000} {
			c, err := landSymbols(ctx, n, run)
			if err != nil {
				return fmt.Errorf("%d symbols: %w", n, err)
			}
			name := fmt.Sprintf("%s_%d", of, n)
			each := func(seconds float64) float64 { return seconds * 1e6 / symbolEvents }
			figures := [4]figure{
				{Name: name, Value: each(c.took.Seconds()), Unit: "us/row"},
				// Processor time, which noise on the machine changes less.
				{Name: name + "_cpu", Value: each(c.cpu + c.engineCPU), Unit: "us/row"},
				{Name: name + "_lander_cpu", Value: each(c.cpu), Unit: "us/row"}, // with nats-server, which is embedded
				{Name: name + "_engine_cpu", Value: each(c.engineCPU), Unit: "us/row"},
			}
			for j, f := range figures {
				if i > 0 {
					f.Ratio, f.RatioTo = f.Value/first[j].Value, first[j].Name
				}
				print(f)
			}
			if i == 0 {
				first = figures
			}
			print(figure{Name: name + "_message", Value: symbolEvents / float64(c.messages), Unit: "events/message"})
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
