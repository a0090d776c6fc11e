package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of a gateway.
type Metrics struct {
	clients       prometheus.Gauge
	subscriptions prometheus.Gauge
	dispatched    prometheus.Counter
	deliveries    prometheus.Counter
	sentBytes     prometheus.Counter
	skipped       prometheus.Counter
	undecoded     prometheus.Counter
	errors        *prometheus.CounterVec
	closed        *prometheus.CounterVec
	refused       *prometheus.CounterVec
	limited       *prometheus.CounterVec
	latency       *prometheus.HistogramVec
	lag           *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "hashpivot_gateway_" + name, Help: help})
	}
	by := func(name, help, label string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "hashpivot_gateway_" + name, Help: help}, []string{label})
	}
	return &Metrics{
		clients:       f.NewGauge(prometheus.GaugeOpts{Name: "hashpivot_gateway_clients", Help: "Connections now."}),
		subscriptions: f.NewGauge(prometheus.GaugeOpts{Name: "hashpivot_gateway_subscriptions", Help: "Subscriptions of all connections now."}),
		dispatched:    counter("dispatched_total", "Messages handed to the topics that want them, once a topic."),
		deliveries:    counter("deliveries_total", "Messages of the live streams handed to clients, once a client; history and replays are not counted."),
		sentBytes:     counter("sent_bytes_total", "Bytes written to clients."),
		skipped:       counter("skipped_total", "Messages that slow clients were told they missed."),
		undecoded:     counter("undecoded_total", "Messages of streams that were not understood and left out."),
		errors:        by("errors_total", "Errors told to clients, by code.", "code"),
		closed:        by("closed_total", "Connections that the gateway closed, by close code.", "code"),
		refused:       by("refused_total", "Connections that were refused before they began, by reason.", "reason"),
		limited:       f.NewCounterVec(prometheus.CounterOpts{Name: "hashpivot_gateway_limited_total", Help: "What limits refused, by whose and of what."}, []string{"whose", "what"}),
		latency: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hashpivot_gateway_latency_seconds", Help: "From when JetStream stored a message until it was handed to those who want it; by two clocks, NATS's and ours.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"stream"}),
		lag: f.NewGaugeVec(prometheus.GaugeOpts{Name: "hashpivot_gateway_lag_messages", Help: "Messages of the stream that were stored behind the one handed out last."}, []string{"stream"}),
	}
}

func closeLabel(code int) string { return strconv.Itoa(code) }
