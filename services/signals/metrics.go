package signals

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Metrics of the service.
type Metrics struct {
	prints, refusals, loads *prometheus.CounterVec
	bars, comparisons       *prometheus.CounterVec
	books, heldPrints       prometheus.Gauge
	unknown                 *prometheus.GaugeVec
	pivots, pivotless       *prometheus.CounterVec
	exposures, exposureless *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them with reg, if there is one.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "signals", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "hashpivot", Subsystem: "signals", Name: name, Help: help})
	}
	m := &Metrics{
		prints:      counter("prints_total", "Prints, corrections and cancels read.", "source"),
		refusals:    counter("bars_refused_total", "Bars that cannot be: their values do not fit or do not agree.", "source"),
		loads:       counter("dates_read_again_total", "Trade dates of a symbol that were read again from the stream.", "source"),
		bars:        counter("bars_total", "Bars published, first tellings and revisions.", "source", "interval", "telling"),
		comparisons: counter("comparisons_total", "Bars held against the venue's own.", "source", "result"),
		pivots:      counter("pivot_values_total", "Values of the pivot published, first tellings and revisions.", "name", "telling"),
		pivotless:   counter("pivot_without_value_total", "Times at which a series of the pivot had no value: an input is missing or stale.", "name", "reason"),
		exposures:   counter("exposure_values_total", "Exposures published, first tellings and revisions.", "name", "telling"),
		exposureless: counter("exposure_without_value_total",
			"Trade days of a symbol of which an exposure had no value when it was first computed.", "name", "reason"),
		books:      gauge("dates_held", "Trade dates of symbols in memory."),
		heldPrints: gauge("prints_held", "Prints in memory."),
		unknown: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "hashpivot", Subsystem: "signals", Name: "unknown_conditions", Help: "Sale conditions read that the rule table does not have.",
		}, []string{"source"}),
	}
	if reg != nil {
		reg.MustRegister(m.prints, m.refusals, m.loads, m.bars, m.comparisons, m.books, m.heldPrints, m.unknown, m.pivots, m.pivotless, m.exposures, m.exposureless)
	}
	return m
}

func (m *Metrics) print(source string)   { m.prints.WithLabelValues(source).Inc() }
func (m *Metrics) refused(source string) { m.refusals.WithLabelValues(source).Inc() }
func (m *Metrics) loaded(source string)  { m.loads.WithLabelValues(source).Inc() }

func (m *Metrics) bar(source string, i market.Interval, again bool) {
	m.bars.WithLabelValues(source, string(i), telling(again)).Inc()
}

func (m *Metrics) pivot(name string, again bool) {
	m.pivots.WithLabelValues(name, telling(again)).Inc()
}
func (m *Metrics) withoutPivot(name string, reason string) {
	m.pivotless.WithLabelValues(name, reason).Inc()
}

func (m *Metrics) exposure(name string, again bool) {
	m.exposures.WithLabelValues(name, telling(again)).Inc()
}

func (m *Metrics) withoutExposure(name, reason string) {
	m.exposureless.WithLabelValues(name, reason).Inc()
}

func telling(again bool) string {
	if again {
		return "revision"
	}
	return "first"
}

func (m *Metrics) compared(source string, differs bool) {
	result := "equal"
	if differs {
		result = "different"
	}
	m.comparisons.WithLabelValues(source, result).Inc()
}

func (m *Metrics) held(books, prints int) {
	m.books.Set(float64(books))
	m.heldPrints.Set(float64(prints))
}

func (m *Metrics) conditions(source string, unknown uint64) {
	m.unknown.WithLabelValues(source).Set(float64(unknown))
}
