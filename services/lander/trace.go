package lander

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
)

// maxLinks bounds the messages of a range that its span links to.
const maxLinks = 32

// off is the span of what is not traced.
var off = trace.SpanFromContext(context.Background())

// trace begins the span of landing a range: below the first message of it that is sampled, linked to the others.
func (w *worker) trace(ctx context.Context, s *span, rec Record, again bool) (context.Context, trace.Span) {
	if w.deps.Tracer == nil {
		return ctx, off
	}
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	for i, m := range s.traced {
		sc, ok := bus.SpanOf(m)
		switch {
		case !ok:
		case i == 0:
			ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
		default:
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: sc, Attributes: []attribute.KeyValue{attribute.Int64("hashpivot.seq", int64(m.Seq))}}))
		}
	}
	ctx, sp := w.deps.Tracer.Start(ctx, "land", opts...)
	if sp.IsRecording() {
		sp.SetAttributes(attribute.String("hashpivot.stream", w.name()), attribute.Int64("hashpivot.first", int64(rec.First)), attribute.Int64("hashpivot.last", int64(rec.Last)),
			attribute.Int("hashpivot.messages", s.messages), attribute.Int("hashpivot.rows", s.batch.Rows()), attribute.Int("hashpivot.dead", len(s.dead)), attribute.Bool("hashpivot.again", again))
	}
	return ctx, sp
}

// step runs a step of landing in a span of its own.
func (w *worker) step(ctx context.Context, name string, do func(context.Context) error) error {
	if w.deps.Tracer == nil {
		return do(ctx)
	}
	ctx, sp := w.deps.Tracer.Start(ctx, name)
	defer sp.End()
	err := do(ctx)
	mark(sp, err)
	return err
}

// mark writes an error into a span.
func mark(sp trace.Span, err error) {
	if err != nil {
		sp.RecordError(err)
		sp.SetStatus(codes.Error, "")
	}
}
