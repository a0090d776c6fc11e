package feed

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// Metrics of all feeds of a process.
type Metrics struct {
	frames, bytes                                              *prometheus.CounterVec
	events, duplicates, rejects, unkept, states, gaps, ignored *prometheus.CounterVec
	lastEvent                                                  *prometheus.GaugeVec
	delay                                                      *prometheus.HistogramVec

	// Set when they are scraped, of the feeds that run.
	connected, alive, silence, open *prometheus.GaugeVec
	mu                              sync.Mutex
	feeds                           map[*Feed]struct{}
}

// NewMetrics makes the metrics and registers them with reg, if there is one.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hashpivot", Subsystem: "feed", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "hashpivot", Subsystem: "feed", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		frames:     counter("frames_total", "Websocket messages and HTTP answers received.", "source"),
		bytes:      counter("received_bytes_total", "Bytes of the websocket messages and HTTP answers received, decompressed.", "source"),
		events:     counter("events_total", "Events published.", "source", "stream"),
		duplicates: counter("duplicates_total", "Events that the upstream told again and that were dropped.", "source", "stream"),
		rejects:    counter("rejects_total", "Frames and events refused.", "source", "reason"),
		unkept:     counter("rejects_unkept_total", "Refused frames over the bound of dead letters, counted but not kept.", "source", "reason"),
		states:     counter("states_total", "Changes of the feed's state: connected, lost, stale, stopped, refused.", "source", "state"),
		gaps:       counter("gap_changes_total", "Changes in the gap ledger: open, filled, partly, given_up.", "source", "state"),
		ignored:    counter("ignored_total", "Messages of a known type that nobody wants.", "source", "type"),
		lastEvent:  gauge("last_event_timestamp_seconds", "Receive time of the newest event, Unix time.", "source", "stream"),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "hashpivot", Subsystem: "feed", Name: "delay_seconds", Help: "Receive time less event time of live events.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, []string{"source", "stream"}),
		connected: gauge("connected", "1 while the upstream has accepted us.", "source"),
		alive:     gauge("last_alive_timestamp_seconds", "The upstream's last sign of life (a frame, a heartbeat, a good poll), Unix time; 0: none yet.", "source"),
		silence:   gauge("allowed_silence_seconds", "Within which time a sign of life is due now; 0: nothing is due, such as while a market is closed.", "source"),
		open:      gauge("open_gaps", "Lines of the gap ledger that are not settled.", "source"),
		feeds:     map[*Feed]struct{}{},
	}
	if reg != nil {
		reg.MustRegister(m.frames, m.bytes, m.events, m.duplicates, m.rejects, m.unkept, m.states, m.gaps, m.ignored, m.lastEvent, m.delay,
			&run.Fresh{Set: m.look, Gauges: []*prometheus.GaugeVec{m.connected, m.alive, m.silence, m.open}})
	}
	return m
}

// add begins to tell of a feed that runs. Its counters begin at nought, so that the first loss is a rise.
func (m *Metrics) add(f *Feed) {
	for _, s := range []market.FeedState{market.FeedConnected, market.FeedLost, market.FeedStale, market.FeedStopped, market.FeedRefused} {
		m.states.WithLabelValues(f.cfg.Source, string(s))
	}
	for _, s := range []market.GapState{market.GapOpen, market.GapFilled, market.GapPartly, market.GapGivenUp} {
		m.gaps.WithLabelValues(f.cfg.Source, string(s))
	}
	m.mu.Lock()
	m.feeds[f] = struct{}{}
	m.mu.Unlock()
}

func (m *Metrics) remove(f *Feed) {
	m.mu.Lock()
	delete(m.feeds, f)
	m.mu.Unlock()
}

// look sets what is true now.
func (m *Metrics) look() {
	m.mu.Lock()
	feeds := make([]*Feed, 0, len(m.feeds))
	for f := range m.feeds {
		feeds = append(feeds, f)
	}
	m.mu.Unlock()
	for _, f := range feeds {
		f.life.mu.Lock()
		connected, alive := f.life.connected()
		within, _ := f.life.due(f.Now())
		f.life.mu.Unlock()
		value := 0.0
		if connected {
			value = 1
		}
		m.connected.WithLabelValues(f.cfg.Source).Set(value)
		seconds := 0.0
		if !alive.IsZero() {
			seconds = float64(alive.UnixMilli()) / 1e3
		}
		m.alive.WithLabelValues(f.cfg.Source).Set(seconds)
		m.silence.WithLabelValues(f.cfg.Source).Set(within.Seconds())
		m.open.WithLabelValues(f.cfg.Source).Set(float64(f.ledger.opened()))
	}
}

// received counts what a connection, or a call, brings.
type received struct{ frames, bytes prometheus.Counter }

func (m *Metrics) received(source string) *received {
	return &received{m.frames.WithLabelValues(source), m.bytes.WithLabelValues(source)}
}

func (r *received) count(bytes int) {
	if r != nil {
		r.frames.Inc()
		r.bytes.Add(float64(bytes))
	}
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
