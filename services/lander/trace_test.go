package lander_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/audit"
)

func number(s tracetest.SpanStub, key string) int64 {
	for _, a := range s.Attributes {
		if a.Key == attribute.Key(key) {
			return a.Value.AsInt64()
		}
	}
	return -1
}

// TestTracesOfBatches: a message that is sampled is followed from the publisher into its range and the range's insert, on a real nats-server and engine; an audit has a span a stream; there is
// no span for a single event; and what is not sampled leaves nothing in the streams.
func TestTracesOfBatches(t *testing.T) {
	w := newWorld(t)
	spans := tracetest.NewInMemoryExporter()
	tracing := run.NewTracing(spans, 1, "test", "v1")
	t.Cleanup(tracing.Close)
	w.bus.Instrument(bus.NewMetrics(nil), tracing.Tracer())
	pub := w.pub
	w.pub = w.bus.NewPublisher(bus.PublisherConfig{MaxBatch: 256})
	t.Cleanup(func() { _ = w.pub.Close(context.Background()) })
	const events = 3000
	w.publish(0, events)
	deps := w.deps()
	deps.Tracer = tracing.Tracer()
	cfg := small()
	cfg.MaxRows = 1000
	l, r := w.startWith(cfg, deps)
	w.drained(l)
	r.stop(t)
	if _, err := audit.Run(t.Context(), audit.Deps{Bus: w.bus, Store: w.store, Tracer: tracing.Tracer()}, audit.Order{Streams: []market.Stream{market.Trades}}); err != nil {
		t.Fatal(err)
	}
	if err := tracing.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	byName := map[string]tracetest.SpanStubs{}
	byID := map[trace.SpanID]tracetest.SpanStub{}
	for _, s := range spans.GetSpans() {
		byName[s.Name] = append(byName[s.Name], s)
		byID[s.SpanContext.SpanID()] = s
	}
	info, err := w.bus.Info(t.Context(), market.Trades)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(byName["publish"]); n != int(info.LastSeq) || n >= events/10 {
		t.Errorf("%d spans of %d messages with %d events", n, info.LastSeq, events)
	}
	// Where each message is in the ranges that were landed.
	of := map[trace.SpanID]tracetest.SpanStub{}
	told, rows := int64(0), int64(0)
	for _, land := range byName["land"] {
		rows += number(land, "hashpivot.rows")
		of[land.Parent.SpanID()] = land
		for _, link := range land.Links {
			of[link.SpanContext.SpanID()] = land
		}
	}
	for _, p := range byName["publish"] {
		told += number(p, "hashpivot.events")
		seq := number(p, "hashpivot.seq")
		land, ok := of[p.SpanContext.SpanID()]
		if !ok || seq < number(land, "hashpivot.first") || seq > number(land, "hashpivot.last") {
			t.Errorf("message %d is in no range, or in the wrong one: %v", seq, land.Attributes)
		}
	}
	if told != events || rows != events {
		t.Errorf("spans tell of %d events published and %d rows landed, want %d", told, rows, events)
	}
	if len(byName["insert"]) != len(byName["land"]) || len(byName["write the record"]) != len(byName["land"]) || len(byName["land"]) < 3 {
		t.Errorf("%d ranges, %d records, %d inserts", len(byName["land"]), len(byName["write the record"]), len(byName["insert"]))
	}
	for _, ins := range append(byName["insert"], byName["write the record"]...) {
		land := byID[ins.Parent.SpanID()]
		if land.Name != "land" || byID[land.Parent.SpanID()].Name != "publish" || ins.SpanContext.TraceID() != byID[land.Parent.SpanID()].SpanContext.TraceID() {
			t.Errorf("%s below %q below %q", ins.Name, land.Name, byID[land.Parent.SpanID()].Name)
		}
	}
	if a := byName["audit stream"]; len(a) != 1 || byID[a[0].Parent.SpanID()].Name != "audit" || number(a[0], "hashpivot.landed") != events {
		t.Errorf("audits: %v", a)
	}

	// A publisher of before tracing was on writes no header, and what is sampled never writes none either.
	if err := pub.Publish(t.Context(), trade(events)); err != nil {
		t.Fatal(err)
	}
	if err := pub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	never := run.NewTracing(spans, 0, "test", "v1")
	t.Cleanup(never.Close)
	w.bus.Instrument(bus.NewMetrics(nil), never.Tracer())
	none := w.bus.NewPublisher(bus.PublisherConfig{})
	t.Cleanup(func() { _ = none.Close(context.Background()) })
	if err := none.Publish(t.Context(), trade(events+1)); err != nil {
		t.Fatal(err)
	}
	if err := none.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader, err := w.bus.Read(t.Context(), market.Trades, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for seq := uint64(1); seq <= info.LastSeq+2; seq++ {
		m, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, sampled := bus.SpanOf(m); sampled != (seq <= info.LastSeq) || sampled != (m.Trace != "") {
			t.Errorf("message %d: sampled %v, header %q", m.Seq, sampled, m.Trace)
		}
	}
}
