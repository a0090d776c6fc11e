package feed

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Metrics of all feeds of a process.
type Metrics struct {
	events, duplicates, rejects, unkept, states, gaps, ignored *prometheus.CounterVec
	lastEvent                                                  *prometheus.GaugeVec
	delay                                                      *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them with reg, if there is one.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "feed", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		events:     counter("events_total", "Events published.", "source", "stream"),
		duplicates: counter("duplicates_total", "Events that the upstream told again and that were dropped.", "source", "stream"),
		rejects:    counter("rejects_total", "Frames and events refused.", "source", "reason"),
		unkept:     counter("rejects_unkept_total", "Refused frames over the bound of dead letters, counted but not kept.", "source", "reason"),
		states:     counter("states_total", "Changes of the feed's state.", "source", "state"),
		gaps:       counter("gap_changes_total", "Changes in the gap ledger.", "source", "state"),
		ignored:    counter("ignored_total", "Messages of a known type that nobody wants.", "source", "type"),
		lastEvent: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "hashpivot", Subsystem: "feed", Name: "last_event_timestamp_seconds", Help: "Receive time of the newest event.",
		}, []string{"source", "stream"}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "hashpivot", Subsystem: "feed", Name: "delay_seconds", Help: "Receive time less event time of live events.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"source", "stream"}),
	}
	if reg != nil {
		reg.MustRegister(m.events, m.duplicates, m.rejects, m.unkept, m.states, m.gaps, m.ignored, m.lastEvent, m.delay)
	}
	return m
}

// counted are the metrics of the events of one source and stream, looked up once: each event counts.
type counted struct {
	events    prometheus.Counter
	lastEvent prometheus.Gauge
	delay     prometheus.Observer
}

func (m *Metrics) of(source string, st market.Stream) *counted {
	return &counted{
		m.events.WithLabelValues(source, string(st)), m.lastEvent.WithLabelValues(source, string(st)), m.delay.WithLabelValues(source, string(st)),
	}
}

func (c *counted) event(meta *market.Meta) {
	c.events.Inc()
	c.lastEvent.Set(float64(meta.RecvTime.UnixMilli()) / 1e3)
	if !meta.Backfill {
		c.delay.Observe(meta.RecvTime.Sub(meta.EventTime).Seconds())
	}
}

func (m *Metrics) duplicate(source string, st market.Stream) {
	m.duplicates.WithLabelValues(source, string(st)).Inc()
}
func (m *Metrics) reject(source string, r market.Reason) {
	m.rejects.WithLabelValues(source, string(r)).Inc()
}
func (m *Metrics) rejectUnkept(source string, r market.Reason) {
	m.unkept.WithLabelValues(source, string(r)).Inc()
}
func (m *Metrics) state(source string, s market.FeedState) {
	m.states.WithLabelValues(source, string(s)).Inc()
}
func (m *Metrics) gap(source string, s market.GapState) {
	m.gaps.WithLabelValues(source, string(s)).Inc()
}
