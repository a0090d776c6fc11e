package gateway

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
)

// traced tells, below the publication of a message that is sampled, that it was handed to the topics and when. How long clients take to be written to is in the metrics: a span
// for each would be one for each message and client.
func (s *stream) traced(m bus.Msg, begun time.Time, events int) {
	if s.tracer == nil || m.Trace == "" {
		return
	}
	sc, ok := bus.SpanOf(m)
	if !ok {
		return
	}
	_, sp := s.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), sc), "serve", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(begun),
		trace.WithAttributes(attribute.String("hashpivot.stream", string(s.name)), attribute.Int64("hashpivot.seq", int64(m.Seq)), attribute.Int("hashpivot.events", events)))
	sp.End()
}
