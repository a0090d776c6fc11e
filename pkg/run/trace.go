package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceConfig of spans over batches: of what is published, landed, audited and computed, never of single events.
type TraceConfig struct {
	// Endpoint takes OTLP over HTTP, such as http://127.0.0.1:4318; empty: nothing is traced.
	Endpoint string `koanf:"endpoint"`
	// Ratio of batches that are traced.
	Ratio float64 `koanf:"ratio"`
}

// DefaultTraceConfig traces nothing; with an endpoint, a batch in a hundred.
func DefaultTraceConfig() TraceConfig { return TraceConfig{Ratio: 0.01} }

// Validate names the key that is wrong.
func (c TraceConfig) Validate() error {
	if !(c.Ratio >= 0 && c.Ratio <= 1) {
		return fmt.Errorf("trace.ratio: %v is not from 0 to 1", c.Ratio)
	}
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("trace.endpoint: is not a URL such as http://127.0.0.1:4318 (it is not repeated here, it may hold a password)")
	}
	if u.User != nil {
		return errors.New("trace.endpoint: has a user or a password in it; give what the collector asks for as headers, by OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// Tracing sends spans to a collector. A nil Tracing traces nothing.
type Tracing struct{ provider *sdktrace.TracerProvider }

// StartTracing begins to send; nil where the configuration has no endpoint. A collector that is away costs spans and nothing else.
func StartTracing(ctx context.Context, cfg TraceConfig, service, version string, log *slog.Logger) (*Tracing, error) {
	if err := cfg.Validate(); err != nil {
		return nil, Usage(err)
	}
	if cfg.Endpoint == "" {
		return nil, nil //nolint:nilnil // a nil Tracing traces nothing
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(tracesURL(cfg.Endpoint)))
	if err != nil {
		return nil, Usage(fmt.Errorf("trace.endpoint: %w", err))
	}
	otel.SetErrorHandler(complaints(log))
	log.Info("batches are traced", "ratio", cfg.Ratio)
	return NewTracing(exporter, cfg.Ratio, service, version), nil
}

// tracesURL is where a collector takes spans: at the path that OTLP names, where the endpoint has none.
func tracesURL(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err == nil && (u.Path == "" || u.Path == "/") {
		u.Path = "/v1/traces"
		return u.String()
	}
	return endpoint
}

// NewTracing sends spans to the exporter.
func NewTracing(exporter sdktrace.SpanExporter, ratio float64, service, version string) *Tracing {
	return &Tracing{sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		// What belongs to a batch that is traced is traced; of what begins by itself the ratio is.
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.namespace", "hashpivot"), attribute.String("service.name", service), attribute.String("service.version", version))),
	)}
}

// Tracer of the program; nil where nothing is traced.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer("github.com/hashpivot/hashpivot")
}

// Flush sends the spans that have ended.
func (t *Tracing) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.ForceFlush(ctx)
}

// Close sends what is left, for a moment.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what could not be sent was told to the log
}

// complaints tells the log what the exporter could not do, seldom: a collector that is away would fill it.
func complaints(log *slog.Logger) otel.ErrorHandlerFunc {
	every := time.Minute
	told := make(chan time.Time, 1)
	told <- time.Time{}
	return func(err error) {
		last := <-told
		now := time.Now()
		if now.Sub(last) >= every {
			last = now
			log.Warn("spans are not sent, and lost", "err", err, "hint", "is the collector at trace.endpoint reachable?")
		}
		told <- last
	}
}
