package nightly

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the service.
type Metrics struct {
	tries, runs, webhooks       *prometheus.CounterVec
	seconds                     *prometheus.HistogramVec
	lastDate, lastComplete      prometheus.Gauge
	differing, unmet, lastCheck prometheus.Gauge
}

// NewMetrics makes the metrics and registers them with reg, if there is one.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "nightly", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "hashpivot", Subsystem: "nightly", Name: name, Help: help})
	}
	m := &Metrics{
		tries:    counter("notebooks_total", "Tries of notebooks.", "notebook", "state"),
		runs:     counter("runs_total", "Runs that ended: ok, failed (a notebook did) or differs.", "state"),
		webhooks: counter("webhooks_total", "Notices to the webhook: told or failed.", "result"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "hashpivot", Subsystem: "nightly", Name: "notebook_duration_seconds", Help: "Time of a try of a notebook.", Buckets: prometheus.ExponentialBuckets(0.5, 2, 12),
		}, []string{"notebook"}),
		lastDate:     gauge("last_date_timestamp_seconds", "Latest trade date that was run, as the Unix time of its UTC midnight."),
		lastComplete: gauge("last_complete_date_timestamp_seconds", "Latest trade date that was run complete and without a failure, as the Unix time of its UTC midnight."),
		differing:    gauge("differing_figures", "Figures of the last run that differ from those stored for the same date and moment."),
		unmet:        gauge("unmet_checks", "Checks that hinder the oldest trade date that waits; 0: none waits."),
		lastCheck:    gauge("last_check_timestamp_seconds", "When the dates that wait were last looked at, Unix time."),
	}
	for _, s := range []string{StateOK, StateFailed, StateDiffers} { // from nought on, so that the first failure is a rise
		m.runs.WithLabelValues(s)
	}
	if reg != nil {
		reg.MustRegister(m.tries, m.runs, m.webhooks, m.seconds, m.lastDate, m.lastComplete, m.differing, m.unmet, m.lastCheck)
	}
	return m
}

// peak is a gauge that only grows.
type peak struct {
	gauge prometheus.Gauge
	value float64
}

func (p *peak) raise(v float64) {
	if v > p.value {
		p.value = v
		p.gauge.Set(v)
	}
}
