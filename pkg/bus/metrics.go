package bus

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Metrics of a process's connection to NATS and of its publishers.
type Metrics struct {
	events, messages, bytes, retries, abandoned *prometheus.CounterVec
	latency                                     *prometheus.HistogramVec
	queued                                      atomic.Int64
	connected                                   prometheus.Gauge
	disconnects                                 prometheus.Counter
	leases                                      *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them with reg, if there is one.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "publisher", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		events:    counter("events_total", "Events that JetStream has stored.", "stream"),
		messages:  counter("messages_total", "Messages that JetStream has stored.", "stream"),
		bytes:     counter("bytes_total", "Bytes of the messages that JetStream has stored.", "stream"),
		retries:   counter("retries_total", "Messages sent again: the stream is full, there is no room on the disk, no stream takes them, no answer came in time, or other.", "stream", "cause"),
		abandoned: counter("abandoned_events_total", "Events that were not stored before their publisher ended; the feed finds them again.", "stream"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "hashpivot", Subsystem: "publisher", Name: "latency_seconds", Help: "From when a message's first event was handed over until JetStream had stored it, retries included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"stream"}),
		connected:   prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "hashpivot", Subsystem: "nats", Name: "connected", Help: "1 while the connection to NATS is up."}),
		disconnects: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "nats", Name: "disconnects_total", Help: "Times that the connection to NATS was lost."}),
		leases: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "hashpivot", Subsystem: "lease", Name: "held", Help: "1 while this process is the active one of those that share the lease, 0 while it stands by.",
		}, []string{"lease"}),
	}
	if reg != nil {
		reg.MustRegister(m.events, m.messages, m.bytes, m.retries, m.abandoned, m.latency, m.connected, m.disconnects, m.leases,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Namespace: "hashpivot", Subsystem: "publisher", Name: "queued_events", Help: "Events that wait or are on their way to JetStream.",
			}, func() float64 { return float64(m.queued.Load()) }))
	}
	return m
}

func (m *Metrics) link(up bool) {
	if up {
		m.connected.Set(1)
		return
	}
	m.connected.Set(0)
}

func (m *Metrics) lease(name string, held bool) {
	value := 0.0
	if held {
		value = 1
	}
	m.leases.WithLabelValues(name).Set(value)
}

// published are the metrics of one stream, looked up once.
type published struct {
	events, messages, bytes, abandoned prometheus.Counter
	latency                            prometheus.Observer
}

func (m *Metrics) of(st market.Stream) *published {
	l := string(st)
	return &published{
		m.events.WithLabelValues(l), m.messages.WithLabelValues(l), m.bytes.WithLabelValues(l), m.abandoned.WithLabelValues(l), m.latency.WithLabelValues(l),
	}
}

// cause is a word for why a publish did not succeed.
func cause(err error) string {
	if ae, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch ae.ErrorCode {
		case errFull:
			return "full"
		case errNoResources, errNoStorage:
			return "no_room"
		}
		return "refused"
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		return "no_stream"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return "timeout"
	}
	return "other"
}

// IsNATS reports whether err comes of NATS: its client or its server said it.
func IsNATS(err error) bool {
	if _, ok := errors.AsType[jetstream.JetStreamError](err); ok {
		return true
	}
	for _, e := range []error{
		nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrConnectionReconnecting, nats.ErrDisconnected, nats.ErrInvalidConnection, nats.ErrNoResponders,
		nats.ErrNoServers, nats.ErrTimeout, nats.ErrMaxPayload, nats.ErrSlowConsumer, nats.ErrStaleConnection, nats.ErrAuthorization, nats.ErrPermissionViolation,
		ErrNoStream, ErrConflict,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
