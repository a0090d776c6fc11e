package run_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// TestSpansReachACollector: over real HTTP, at the path that OTLP names, with the service's name; and a collector that is away costs nothing but the spans.
func TestSpansReachACollector(t *testing.T) {
	got := make(chan string, 8)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		data, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		got <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(data)
	}))
	defer srv.Close()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	tr, err := run.StartTracing(t.Context(), run.TraceConfig{Endpoint: srv.URL, Ratio: 1}, "lander", "v1.2.3", logger)
	if err != nil {
		t.Fatal(err)
	}
	_, span := tr.Tracer().Start(t.Context(), "land")
	span.End()
	if err := tr.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr.Close()
	select {
	case text := <-got:
		for _, want := range []string{"POST /v1/traces application/x-protobuf", "land", "lander", "v1.2.3"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in %q", want, text)
			}
		}
	default:
		t.Fatal("nothing came")
	}
	srv.Close()

	away, err := run.StartTracing(t.Context(), run.TraceConfig{Endpoint: srv.URL, Ratio: 1}, "lander", "v1", logger)
	if err != nil {
		t.Fatal(err)
	}
	_, span = away.Tracer().Start(t.Context(), "land")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := away.Flush(ctx); err == nil {
		t.Error("spans were sent to nobody")
	}
	start := time.Now()
	away.Close()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("closing took %s", took)
	}
}
