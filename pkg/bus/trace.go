package bus

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// headerTrace carries the span of a message that is sampled, as W3C's trace context has it. What is not sampled has none, so it costs nothing there.
const headerTrace = "traceparent"

// carrier is a message's header as a propagator sees it.
type carrier nats.Header

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }

// Set implements propagation.TextMapCarrier.
func (c carrier) Set(key, value string) { nats.Header(c).Set(key, value) }

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

// traced begins the span of a message, if there is a tracer, and writes it into its header where it is sampled.
func (p *Publisher) traced(l *lane, msg *nats.Msg, events int) trace.Span {
	if p.tracer == nil {
		return noSpan
	}
	ctx, span := p.tracer.Start(p.ctx, "publish", trace.WithSpanKind(trace.SpanKindProducer))
	if !span.IsRecording() {
		return span
	}
	span.SetAttributes(attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", l.key.subject), attribute.String("hashpivot.stream", string(l.stream)),
		attribute.String("hashpivot.source", l.key.source), attribute.Int("hashpivot.events", events), attribute.Int("messaging.message.body.size", len(msg.Data)))
	propagation.TraceContext{}.Inject(ctx, carrier(msg.Header))
	return span
}

// noSpan is the span of what is not traced.
var noSpan = trace.SpanFromContext(context.Background())

// failed marks a span.
func failed(span trace.Span, err error) {
	span.RecordError(err)
	span.SetStatus(codes.Error, "")
}

// SpanOf is the span under which a message was published; false if it was not sampled.
func SpanOf(m Msg) (trace.SpanContext, bool) {
	if m.Trace == "" {
		return trace.SpanContext{}, false
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{headerTrace: m.Trace})
	sc := trace.SpanContextFromContext(ctx)
	return sc, sc.IsValid()
}
