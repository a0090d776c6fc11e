package bus

import (
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

func tick(n int) *market.Trade {
	at := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	return &market.Trade{
		Meta: market.Meta{Source: "test", EventTime: at.Add(time.Duration(n)), RecvTime: at}, Action: market.TradeNew, Symbol: "IREN", ID: strconv.Itoa(n), Exchange: "V",
		PriceUSD: market.MustDecimal("49.25"), SizeShares: market.MustDecimal("100"),
	}
}

// values are the samples of a metric by their labels, as text.
func values(t testing.TB, reg prometheus.Gatherer, name string) map[string]*dto.Metric {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.Metric{}
	for _, f := range families {
		if f.GetName() != "hashpivot_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			var key []string
			for _, l := range m.GetLabel() {
				key = append(key, l.GetValue())
			}
			out[strings.Join(key, " ")] = m
		}
	}
	return out
}

// TestPublisherTells: what was stored, how long it took, what waits, and what hinders it, against a real server that goes away and comes back.
func TestPublisherTells(t *testing.T) {
	cfg := DefaultServerConfig()
	cfg.Addr, cfg.DataDir = "127.0.0.1:0", t.TempDir()
	log := slog.New(slog.DiscardHandler)
	srv, err := StartServer(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Addr = strings.TrimPrefix(srv.URL(), "nats://")
	client := DefaultConfig()
	client.URL = srv.URL()
	b, err := Connect(client, nil, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	b.Instrument(NewMetrics(reg), nil)
	p := b.NewPublisher(PublisherConfig{})
	for n := range 1000 {
		if err := p.Publish(t.Context(), tick(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := p.Stats()
	for name, want := range map[string]uint64{"events": 1000, "messages": st.Messages, "bytes": st.Bytes} {
		if got := values(t, reg, "publisher_"+name+"_total")["TRADES"].GetCounter().GetValue(); got != float64(want) {
			t.Errorf("%s: %v, want %d", name, got, want)
		}
	}
	h := values(t, reg, "publisher_latency_seconds")["TRADES"].GetHistogram()
	if h.GetSampleCount() != st.Messages || h.GetSampleSum() <= 0 || h.GetSampleSum() > 60*float64(st.Messages) {
		t.Errorf("latency %v", h)
	}
	if s := p.Stand(t.Context()); !s.OK || !strings.Contains(s.Why, "nothing waits") {
		t.Errorf("%+v", s)
	}
	if values(t, reg, "nats_connected")[""].GetGauge().GetValue() != 1 {
		t.Error("not connected")
	}

	srv.Close()
	if err := p.Publish(t.Context(), tick(1000)); err != nil {
		t.Fatal(err)
	}
	until(t, "a retry, and the loss of the connection", func() bool {
		retried := 0.0
		for key, m := range values(t, reg, "publisher_retries_total") {
			if !strings.HasPrefix(key, "no_stream") && !strings.HasPrefix(key, "timeout") && !strings.HasPrefix(key, "other") {
				t.Fatalf("cause %q", key)
			}
			retried += m.GetCounter().GetValue()
		}
		return retried > 0 && values(t, reg, "nats_connected")[""].GetGauge().GetValue() == 0 && values(t, reg, "nats_disconnects_total")[""].GetCounter().GetValue() == 1
	})
	if got := values(t, reg, "publisher_queued_events")[""].GetGauge().GetValue(); got != 1 {
		t.Errorf("%v events wait, want 1", got)
	}
	if s := p.Stand(t.Context()); !s.OK || !strings.Contains(s.Why, "the oldest event that waits") {
		t.Errorf("%+v: it does not wait for long yet", s)
	}
	p.mu.Lock()
	for _, l := range p.lanes {
		l.flying = time.Now().Add(-storedWithin - time.Second)
	}
	p.mu.Unlock()
	if s := p.Stand(t.Context()); s.OK || !strings.Contains(s.Why, "events wait for JetStream to store them in TRADES for 31") {
		t.Errorf("%+v after half a minute", s)
	}
	if srv, err = StartServer(cfg, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := values(t, reg, "publisher_events_total")["TRADES"].GetCounter().GetValue(); got != 1001 {
		t.Errorf("%v events stored, want 1001", got)
	}
	if values(t, reg, "nats_connected")[""].GetGauge().GetValue() != 1 || values(t, reg, "publisher_queued_events")[""].GetGauge().GetValue() != 0 {
		t.Error("not as before")
	}
}

func until(t testing.TB, what string, yes func() bool) {
	t.Helper()
	late, tick := time.After(2*time.Minute), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestWhatHindersIsNamed(t *testing.T) {
	f := func(err error, word string, ours bool) {
		t.Helper()
		if got := cause(err); got != word {
			t.Errorf("%v: %s, want %s", err, got, word)
		}
		if IsNATS(err) != ours {
			t.Errorf("%v: of NATS: %v", err, !ours)
		}
	}
	f(&jetstream.APIError{ErrorCode: errFull}, "full", true)
	f(&jetstream.APIError{ErrorCode: errNoStorage}, "no_room", true)
	f(&jetstream.APIError{ErrorCode: 10060}, "refused", true)
	f(nats.ErrNoResponders, "no_stream", true)
	f(jetstream.ErrNoStreamResponse, "no_stream", true)
	f(nats.ErrTimeout, "timeout", true)
	f(nats.ErrConnectionClosed, "other", true)
	f(ErrConflict, "other", true)
	f(io.ErrUnexpectedEOF, "other", false)
	f(errors.New("nats: it only says so"), "other", false)
}

// TestTracingOffCostsNothing: what a message costs more for the spans that it could have, while it has none, is less than a hundredth of encoding it; both are taken in one run.
func TestTracingOffCostsNothing(t *testing.T) {
	batch := make([]market.Event, 64)
	for i := range batch {
		batch[i] = tick(i)
	}
	p, l, msg := &Publisher{ctx: t.Context()}, &lane{}, &nats.Msg{}
	off := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			span := p.traced(l, msg, len(batch))
			if span.IsRecording() {
				b.Fatal("it records")
			}
			span.End()
		}
	})
	encode := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := wire.Encode(nil, batch); err != nil {
				b.Fatal(err)
			}
		}
	})
	ratio := float64(off.T) / float64(off.N) / (float64(encode.T) / float64(encode.N))
	t.Logf("off %s, encoding 64 events %s: ratio %.5f", off, encode, ratio)
	if ratio > 0.01 || off.AllocsPerOp() > 0 {
		t.Errorf("ratio %.4f, %d allocations", ratio, off.AllocsPerOp())
	}
}
