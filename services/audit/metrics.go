package audit

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the scheduled audit, by stream: what the last one found.
type Metrics struct {
	last, clean, lost, doubled, altered, unverified *prometheus.GaugeVec
	seconds                                         *prometheus.HistogramVec
	failed                                          prometheus.Counter
}

// NewMetrics makes the metrics and registers them with reg, if there is one.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "hashpivot", Subsystem: "audit", Name: name, Help: help}, []string{"stream", "kind"})
	}
	m := &Metrics{
		last:       gauge("last_timestamp_seconds", "When the last audit of the stream ended, Unix time."),
		clean:      gauge("clean", "1: the last audit found nothing lost, doubled or altered."),
		lost:       gauge("lost_events", "Events that the last audit found neither landed nor dead."),
		doubled:    gauge("doubled_rows", "Rows that stand twice, or that no message explains, in the last audit."),
		altered:    gauge("altered_rows", "Rows that were not what their message says in the last audit."),
		unverified: gauge("unverified_rows", "Rows that the last audit could not compare."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "hashpivot", Subsystem: "audit", Name: "duration_seconds", Help: "Time of an audit of all streams.", Buckets: prometheus.ExponentialBuckets(0.1, 2, 16),
		}, []string{"kind"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "audit", Name: "failed_total", Help: "Audits that could not be made."}),
	}
	if reg != nil {
		reg.MustRegister(m.last, m.clean, m.lost, m.doubled, m.altered, m.unverified, m.seconds, m.failed)
	}
	return m
}

func (m *Metrics) told(kind string, r Result, seconds float64, at float64) {
	for st, s := range r.Streams {
		l := string(st)
		clean := 0.0
		if s.clean() {
			clean = 1
		}
		m.last.WithLabelValues(l, kind).Set(at)
		m.clean.WithLabelValues(l, kind).Set(clean)
		m.lost.WithLabelValues(l, kind).Set(float64(s.Lost))
		m.doubled.WithLabelValues(l, kind).Set(float64(s.Doubled))
		m.altered.WithLabelValues(l, kind).Set(float64(s.Altered))
		m.unverified.WithLabelValues(l, kind).Set(float64(s.Unverified))
	}
	m.seconds.WithLabelValues(kind).Observe(seconds)
}
