package lander

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Metrics of the lander.
type Metrics struct {
	rows, ranges, dead, retries, gone, fences *prometheus.CounterVec
	seq, still                                *prometheus.GaugeVec
	held                                      prometheus.Gauge
	seconds                                   *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them with reg, if there is one.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "lander", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		rows:    counter("rows_total", "Rows landed.", "stream"),
		ranges:  counter("ranges_total", "Ranges landed.", "stream"),
		dead:    counter("dead_total", "Messages and events that can never land.", "stream", "reason"),
		retries: counter("retries_total", "Steps tried again.", "stream", "step"),
		gone:    counter("lost_sequences_total", "Sequences that were gone from the stream before they landed; the gap ledger lists them. Alarm on any.", "stream"),
		fences:  counter("fenced_total", "Times that another lander took a unit of ours over.", "stream"),
		held:    prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "hashpivot", Subsystem: "lander", Name: "units", Help: "Streams and shards that this process lands."}),
		still: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "hashpivot", Subsystem: "lander", Name: "refused", Help: "1 while a stream stands still because it, its record and the database do not belong together. Alarm on any.",
		}, []string{"stream"}),
		seq: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "hashpivot", Subsystem: "lander", Name: "landed_sequence", Help: "Sequence up to which the stream has landed.",
		}, []string{"stream"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "hashpivot", Subsystem: "lander", Name: "range_seconds", Help: "Time to land one range.",
			Buckets: prometheus.ExponentialBuckets(0.002, 2, 14),
		}, []string{"stream"}),
	}
	if reg != nil {
		reg.MustRegister(m.rows, m.ranges, m.dead, m.retries, m.gone, m.fences, m.held, m.still, m.seq, m.seconds)
	}
	return m
}

func (m *Metrics) landed(stream market.Stream, s *span, seconds float64) {
	l := string(stream)
	m.rows.WithLabelValues(l).Add(float64(s.batch.Rows()))
	m.ranges.WithLabelValues(l).Inc()
	for _, d := range s.dead {
		m.dead.WithLabelValues(l, string(d.Reason)).Inc()
	}
	m.seq.WithLabelValues(l).Set(float64(s.last))
	m.seconds.WithLabelValues(l).Observe(seconds)
}

func (m *Metrics) retry(stream market.Stream, step string) {
	m.retries.WithLabelValues(string(stream), step).Inc()
}

func (m *Metrics) lost(stream market.Stream, sequences uint64) {
	m.gone.WithLabelValues(string(stream)).Add(float64(sequences))
}

func (m *Metrics) fenced(stream market.Stream) { m.fences.WithLabelValues(string(stream)).Inc() }

func (m *Metrics) units(n int) { m.held.Set(float64(n)) }

func (m *Metrics) refused(stream market.Stream, yes bool) {
	v := 0.0
	if yes {
		v = 1
	}
	m.still.WithLabelValues(string(stream)).Set(v)
}
