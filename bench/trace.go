package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	prog "github.com/hashpivot/hashpivot/pkg/run"
)

// Rounds of the trace benchmark, and events of each.
const (
	traceRounds = 7
	traceEvents = 500_000
)

// dropped takes spans and forgets them: what a collector costs is not ours.
type dropped struct{}

func (dropped) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (dropped) Shutdown(context.Context) error                             { return nil }

// tracing measures what spans over batches cost the publisher: processor time an event, in turns with tracing off, of a batch in a hundred, and of every batch.
func tracing(ctx context.Context, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := openStream(ctx, dir)
	if err != nil {
		return err
	}
	defer s.close()
	some, all := prog.NewTracing(dropped{}, 0.01, "bench", ""), prog.NewTracing(dropped{}, 1, "bench", "")
	defer some.Close()
	defer all.Close()
	kinds := []struct {
		name    string
		tracing *prog.Tracing
	}{{"publish_untraced", nil}, {"publish_traced_0.01", some}, {"publish_traced_1", all}}
	t := newTape()
	if _, err := s.fill(ctx, t, traceEvents); err != nil { // warm
		return err
	}
	used := make([][]float64, len(kinds))
	for range traceRounds {
		for i, k := range kinds {
			s.bus.Instrument(bus.NewMetrics(nil), k.tracing.Tracer())
			before := cpuSeconds()
			if _, err := s.fill(ctx, t, traceEvents); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			used[i] = append(used[i], (cpuSeconds()-before)*1e6/traceEvents)
		}
	}
	off := 0.0
	for i, k := range kinds {
		slices.Sort(used[i])
		f := figure{Name: k.name, Value: used[i][traceRounds/2], Unit: "us/event"} // the generator and nats-server, which are embedded, included
		if i == 0 {
			off = f.Value
		} else {
			f.Ratio, f.RatioTo = f.Value/off, kinds[0].name
		}
		print(f)
	}
	return nil
}
