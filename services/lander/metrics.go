package lander

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// Metrics of the lander.
type Metrics struct {
	rows, ranges, dead, retries, gone, fences *prometheus.CounterVec
	seq, still                                *prometheus.GaugeVec
	held                                      prometheus.Gauge
	seconds, latency                          *prometheus.HistogramVec

	// Set when they are scraped, from the last look at the streams.
	lagMessages, lagEvents, lagSeconds        *prometheus.GaugeVec
	streamSeq, streamBytes, streamMax, stored *prometheus.GaugeVec
	mu                                        sync.Mutex
	seen                                      map[market.Stream]behind
	density                                   map[market.Stream]float64 // events a message, of the last range
}

// NewMetrics makes the metrics and registers them with reg, if there is one.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "lander", Name: name, Help: help}, labels)
	}
	gauge := func(subsystem, name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "hashpivot", Subsystem: subsystem, Name: name, Help: help}, []string{"stream"})
	}
	m := &Metrics{
		rows:    counter("rows_total", "Rows landed.", "stream"),
		ranges:  counter("ranges_total", "Ranges landed.", "stream"),
		dead:    counter("dead_letters_total", "Messages and events that can never land.", "stream", "reason"),
		retries: counter("retries_total", "Steps tried again, by what hindered them: NATS (nats), ClickHouse (overload, full, replication, schema, refused, or any other error of its: clickhouse), timeout, connection, place (we may be out of the list of landers), token (used up by a failure of ClickHouse before the rows stood), other.", "stream", "step", "cause"),
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
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "hashpivot", Subsystem: "lander", Name: "latency_seconds", Help: "From when JetStream stored a range's first message until the range could be queried; by two clocks, NATS's and ours.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 16),
		}, []string{"stream"}),
		lagMessages: gauge("lander", "lag_messages", "Sequences of the stream behind what has landed of it, as of the last look some seconds ago."),
		lagEvents:   gauge("lander", "lag_events", "Events behind what has landed: an estimate, lag_messages times the events a message of the last range landed."),
		lagSeconds:  gauge("lander", "lag_seconds", "Age of the oldest message that has not landed; 0: all has."),
		streamSeq:   gauge("stream", "last_sequence", "Sequence of the stream's last message."),
		streamBytes: gauge("stream", "bytes", "Bytes that the stream holds."),
		streamMax:   gauge("stream", "max_bytes", "Bytes that the stream may hold; a full stream refuses."),
		stored:      gauge("stream", "last_timestamp_seconds", "When the stream's last message was stored, Unix time."),
		seen:        map[market.Stream]behind{}, density: map[market.Stream]float64{},
	}
	if reg != nil {
		reg.MustRegister(m.rows, m.ranges, m.dead, m.retries, m.gone, m.fences, m.held, m.still, m.seq, m.seconds, m.latency,
			&run.Fresh{Set: m.look, Gauges: []*prometheus.GaugeVec{m.lagMessages, m.lagEvents, m.lagSeconds, m.streamSeq, m.streamBytes, m.streamMax, m.stored}})
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
	if s.messages == 0 {
		return
	}
	m.latency.WithLabelValues(l).Observe(max(time.Since(s.firstTime), 0).Seconds())
	m.mu.Lock()
	m.density[stream] = float64(s.events) / float64(s.messages)
	m.mu.Unlock()
}

// takes begins to tell of a stream. Its counters begin at nought, so that the first of anything is a rise.
func (m *Metrics) takes(stream market.Stream) {
	l := string(stream)
	m.rows.WithLabelValues(l)
	m.gone.WithLabelValues(l)
	m.fences.WithLabelValues(l)
	m.still.WithLabelValues(l)
}

// behind keeps what the last look saw.
func (m *Metrics) behind(seen map[market.Stream]behind) {
	m.mu.Lock()
	m.seen = seen
	m.mu.Unlock()
}

// look sets what the last look saw.
func (m *Metrics) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for st, b := range m.seen {
		l := string(st)
		seconds := 0.0
		if !b.oldest.IsZero() {
			seconds = max(time.Since(b.oldest), 0).Seconds()
		}
		events := float64(b.messages)
		if d := m.density[st]; d > 0 {
			events *= d
		}
		m.lagMessages.WithLabelValues(l).Set(float64(b.messages))
		m.lagEvents.WithLabelValues(l).Set(events)
		m.lagSeconds.WithLabelValues(l).Set(seconds)
		m.streamSeq.WithLabelValues(l).Set(float64(b.info.LastSeq))
		m.streamBytes.WithLabelValues(l).Set(float64(b.info.Bytes))
		m.streamMax.WithLabelValues(l).Set(float64(b.info.MaxBytes))
		if b.info.LastSeq > 0 {
			m.stored.WithLabelValues(l).Set(float64(b.info.LastTime.UnixMilli()) / 1e3)
		}
	}
}

func (m *Metrics) retry(stream market.Stream, step, cause string) {
	m.retries.WithLabelValues(string(stream), step, cause).Inc()
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
