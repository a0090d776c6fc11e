package gateway_test

import (
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// TestTraceOfAMessageServed: a message that was sampled when it was published has one span here too, below that of its publication, however many clients there are; another has none.
func TestTraceOfAMessageServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	spans := tracetest.NewInMemoryExporter()
	tracing := run.NewTracing(spans, 1, "test", "v1")
	t.Cleanup(tracing.Close)
	w.tracer = tracing.Tracer()
	g, stop := w.gateway(nil)
	peers := []*peer{dial(t, g, nil), dial(t, g, nil)}
	for _, p := range peers {
		p.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}})
	}
	w.publish(quote("CORZ", 1)) // by a publisher of before: not sampled
	w.bus.Instrument(bus.NewMetrics(nil), tracing.Tracer())
	w.pub = w.bus.NewPublisher(bus.PublisherConfig{})
	w.publish(quote("IREN", 2))
	for _, p := range peers {
		for seen := 0; seen < 2; {
			seen += len(p.until(live.FrameData, nil).Messages)
		}
	}
	if err := w.pub.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := tracing.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var published, served []trace.SpanContext
	for _, s := range spans.GetSpans() {
		switch s.Name {
		case "publish":
			published = append(published, s.SpanContext)
		case "serve":
			served = append(served, s.Parent)
		}
	}
	if len(published) != 1 || len(served) != 1 || served[0].SpanID() != published[0].SpanID() || served[0].TraceID() != published[0].TraceID() {
		t.Errorf("published %v, served below %v", published, served)
	}
}
