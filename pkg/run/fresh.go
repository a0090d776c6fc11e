package run

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Fresh are gauges that are set when they are scraped, so that they never show what was true once.
type Fresh struct {
	// Set sets them anew; what it does not set is not told.
	Set func()
	// Gauges that Set sets.
	Gauges []*prometheus.GaugeVec

	mu sync.Mutex
}

// Describe implements prometheus.Collector.
func (f *Fresh) Describe(out chan<- *prometheus.Desc) {
	for _, g := range f.Gauges {
		g.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (f *Fresh) Collect(out chan<- prometheus.Metric) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.Gauges {
		g.Reset()
	}
	f.Set()
	for _, g := range f.Gauges {
		g.Collect(out)
	}
}
