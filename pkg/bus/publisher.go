package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/semaphore"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// PublisherConfig bounds a publisher. Zero values mean the defaults in the comments.
type PublisherConfig struct {
	MaxQueued int // events that wait or are in flight, over all subjects; 131,072. Publish blocks above it
	MaxBatch  int // events of one message; 512
	MaxBytes  int // of one message; 768 KiB
	InFlight  int // messages in flight, over all subjects; 256
	// Gate, if any, is asked right before each message is sent, a retry too. Once it has refused, the publisher sends nothing any more:
	// what its feeds take for told was not, so they must begin anew with a new publisher. See Lease.Gate.
	Gate func() error
}

// Publisher batches events by subject and publishes them in order. It clocks itself, as group commit does: while a subject's message is
// on its way to the disk, that subject's events gather, and they all go with the next one. So a quiet market is published at once and a
// burst in large messages, without a timer.
//
// Order: the events of one subject and source are stored in the order of Publish, retries included, since each has one message in flight.
// Once: a retry carries the message id of the first try. JetStream forgets ids after two minutes, so a later retry first looks whether
// the subject's newest message is its own.
type Publisher struct {
	b    *Bus
	cfg  PublisherConfig
	log  *slog.Logger
	id   string
	room *semaphore.Weighted // events
	send *semaphore.Weighted // messages

	metrics *Metrics
	tracer  trace.Tracer // nil: off

	ctx  context.Context // ends when Close gives up
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	lanes    map[laneKey]*lane
	subjects map[ticker]string
	counted  map[market.Stream]*published
	n        uint64
	closed   bool
	shut     error // what the gate said
	stats    PublisherStats
}

// PublisherStats counts what a publisher did.
type PublisherStats struct{ Events, Messages, Bytes, Retries uint64 }

type laneKey struct{ subject, source string }

type lane struct {
	key    laneKey
	stream market.Stream
	open   []market.Event
	busy   bool
	told   *published
	// since is when the first of open was handed over, flying the same of what is on its way; zero: nothing.
	since, flying time.Time
}

// ErrClosed is returned by a publisher that was closed.
var ErrClosed = errors.New("publisher is closed")

// NewPublisher makes a publisher; Close it.
func (b *Bus) NewPublisher(cfg PublisherConfig) *Publisher {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.MaxQueued, 131072)
	def(&cfg.MaxBatch, 512)
	def(&cfg.MaxBytes, 768<<10)
	def(&cfg.InFlight, 256)
	ctx, stop := context.WithCancel(context.Background())
	by := b.watched.Load()
	return &Publisher{
		b: b, cfg: cfg, log: b.log, id: nuid.Next(), metrics: by.metrics, tracer: by.tracer, counted: map[market.Stream]*published{}, room: semaphore.NewWeighted(int64(cfg.MaxQueued)), send: semaphore.NewWeighted(int64(cfg.InFlight)),
		ctx: ctx, stop: stop, lanes: map[laneKey]*lane{}, subjects: map[ticker]string{},
	}
}

// Publish implements feed.Sink.
func (p *Publisher) Publish(ctx context.Context, ev market.Event) error {
	if err := p.room.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for room in the publisher (%d events): %w", p.cfg.MaxQueued, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.room.Release(1)
		return ErrClosed
	}
	if p.shut != nil {
		p.room.Release(1)
		return p.shut
	}
	key := laneKey{p.subject(ev), ev.GetMeta().Source}
	l := p.lanes[key]
	if l == nil {
		l = &lane{key: key, stream: ev.Stream(), told: p.counted[ev.Stream()]}
		if l.told == nil {
			l.told = p.metrics.of(l.stream)
			p.counted[l.stream] = l.told
		}
		p.lanes[key] = l
	}
	if len(l.open) == 0 {
		l.since = time.Now()
	}
	l.open = append(l.open, ev)
	p.metrics.queued.Add(1)
	if !l.busy {
		l.busy = true
		p.wg.Add(1)
		go p.drain(l)
	}
	return nil
}

// subject of an event; those that come in masses have theirs remembered. p.mu is held.
func (p *Publisher) subject(ev market.Event) string {
	k := ticker{stream: ev.Stream(), source: ev.GetMeta().Source}
	switch e := ev.(type) {
	case *market.Trade:
		k.symbol = e.Symbol
	case *market.Quote:
		k.symbol = e.Symbol
	default:
		return Subject(ev)
	}
	s, ok := p.subjects[k]
	if !ok {
		if len(p.subjects) >= maxSubjects {
			clear(p.subjects)
		}
		s = Subject(ev)
		p.subjects[ticker{k.stream, strings.Clone(k.source), strings.Clone(k.symbol)}] = s
	}
	return s
}

// ticker is what the subject of a print or quote is made of.
type ticker struct {
	stream         market.Stream
	source, symbol string
}

// maxSubjects bounds the subjects that are remembered.
const maxSubjects = 1 << 16

// drain publishes a lane's events until none are left, then ends; the next Publish starts it again.
func (p *Publisher) drain(l *lane) {
	defer p.wg.Done()
	for {
		p.mu.Lock()
		l.flying = time.Time{}
		if len(l.open) == 0 || p.ctx.Err() != nil {
			p.metrics.queued.Add(-int64(len(l.open)))
			l.told.abandoned.Add(float64(len(l.open)))
			l.busy = false
			// Subjects of dead letters are used once; keeping their lanes would grow without bound.
			delete(p.lanes, l.key)
			p.mu.Unlock()
			return
		}
		n := min(len(l.open), p.cfg.MaxBatch)
		batch := l.open[:n:n]
		l.open = l.open[n:]
		since := l.since
		l.flying, l.since = since, time.Now() // of what is left it is not known
		p.mu.Unlock()

		if err := p.publish(l, batch, since); err != nil {
			l.told.abandoned.Add(float64(n))
			// Only Close and the gate give up, and then the events are lost to this process; a feed finds them again after its restart.
			p.log.Error("publisher ended with events that were not stored", "subject", l.key.subject, "events", n, "err", err)
		}
		p.metrics.queued.Add(-int64(n))
		p.room.Release(int64(n))
	}
}

// publish sends one batch, whose first event was handed over at since, in halves where it is too large for a message.
func (p *Publisher) publish(l *lane, batch []market.Event, since time.Time) error {
	data, err := wire.Encode(nil, batch)
	if err != nil {
		return err // a bug: the lane's key holds together what belongs together
	}
	if len(data) > p.cfg.MaxBytes && len(batch) > 1 {
		h := len(batch) / 2
		if err := p.publish(l, batch[:h], since); err != nil {
			return err
		}
		return p.publish(l, batch[h:], since)
	}
	if err := p.send.Acquire(p.ctx, 1); err != nil {
		return err
	}
	defer p.send.Release(1)

	p.mu.Lock()
	p.n++
	id := p.id + "-" + strconv.FormatUint(p.n, 10)
	p.mu.Unlock()
	msg := &nats.Msg{Subject: l.key.subject, Data: data, Header: nats.Header{
		nats.MsgIdHdr: {id}, headerEvents: {strconv.Itoa(len(batch))}, headerContent: {wire.ContentType}, headerClock: {clockMicros},
	}}
	span := p.traced(l, msg, len(batch))
	defer span.End()
	retries, err := p.store(l, msg, id, span)
	if err != nil {
		failed(span, err)
	} else {
		l.told.latency.Observe(time.Since(since).Seconds())
		l.told.messages.Inc()
		l.told.events.Add(float64(len(batch)))
		l.told.bytes.Add(float64(len(data)))
	}
	p.mu.Lock()
	p.stats.Retries += retries
	if err == nil {
		p.stats.Messages++
		p.stats.Events += uint64(len(batch))
		p.stats.Bytes += uint64(len(data))
	}
	p.mu.Unlock()
	return err
}

// store publishes until JetStream has acknowledged. It gives up only when the publisher is closed.
func (p *Publisher) store(l *lane, msg *nats.Msg, id string, span trace.Span) (retries uint64, _ error) {
	bo := &backoff.ExponentialBackOff{InitialInterval: 50 * time.Millisecond, MaxInterval: 5 * time.Second, RandomizationFactor: 0.5, Multiplier: 2}
	bo.Reset()
	first := time.Now()
	warned := time.Time{}
	for {
		if err := p.gate(); err != nil {
			return retries, fmt.Errorf("publish to %s: %w", l.key.subject, err)
		}
		// Short: an answer that a server's restart has swallowed never comes, and a retry is safe.
		ctx, cancel := context.WithTimeout(p.ctx, 3*time.Second)
		ack, err := p.b.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(string(l.stream)))
		cancel()
		if err == nil {
			if span.IsRecording() {
				span.SetAttributes(attribute.Int64("hashpivot.seq", int64(ack.Sequence)), attribute.Int64("hashpivot.retries", int64(retries)))
			}
			return retries, nil
		}
		if p.ctx.Err() != nil {
			return retries, fmt.Errorf("publish to %s: %w", l.key.subject, err)
		}
		if denied := p.b.denied.of(l.key.subject); denied != nil {
			err = denied // a refusal comes beside the answer, which never does
		}
		if time.Since(warned) > 5*time.Second {
			warned = time.Now()
			p.log.Warn("publish will be retried", "subject", l.key.subject, "err", err, "hint", hint(err))
		}
		retries++
		why := cause(err)
		p.metrics.retries.WithLabelValues(string(l.stream), why).Inc()
		span.AddEvent("retry", trace.WithAttributes(attribute.String("cause", why)))
		select {
		case <-p.ctx.Done():
			return retries, fmt.Errorf("publish to %s: %w", l.key.subject, err)
		case <-time.After(bo.NextBackOff()):
		}
		if time.Since(first) > duplicateWindow/2 {
			ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
			stored, err := p.b.storedUnder(ctx, l.stream, l.key.subject, id)
			cancel()
			if err == nil && stored {
				return retries, nil
			}
		}
	}
}

// gate asks the gate; once it is shut it stays so.
func (p *Publisher) gate() error {
	if p.cfg.Gate == nil {
		return nil
	}
	err := p.cfg.Gate()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut == nil && err != nil {
		p.shut = err
	}
	return p.shut
}

// PublishOnce stores an event under a subject of its own unless that subject holds a message already: a permanent once, whatever the
// duplicate window. It is for dead letters.
func (b *Bus) PublishOnce(ctx context.Context, ev market.Event) error {
	data, err := wire.Encode(nil, []market.Event{ev})
	if err != nil {
		return err
	}
	subject := Subject(ev)
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{headerEvents: {"1"}, headerContent: {wire.ContentType}, headerClock: {clockMicros}}}
	_, err = b.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(string(ev.Stream())), jetstream.WithExpectLastSequencePerSubject(0))
	if err == nil {
		return nil
	}
	if ae, ok := errors.AsType[*jetstream.APIError](err); ok && ae.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil
	}
	if denied := b.denied.of(subject); denied != nil {
		return denied
	}
	return fmt.Errorf("publish to %s: %w", subject, err)
}

// Codes of JetStream that nats.go does not name.
const (
	errNoResources jetstream.ErrorCode = 10023
	errNoStorage   jetstream.ErrorCode = 10047
	errFull        jetstream.ErrorCode = 10077 // the stream's maximum of bytes is exceeded
)

// hint says what an operator can do about a publish error.
func hint(err error) string {
	if _, ok := errors.AsType[*DeniedError](err); ok {
		return "give the user its rights, or connect as another by nats.user"
	}
	if ae, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch ae.ErrorCode {
		case errFull:
			return "the stream is full and refuses: raise nats.max_bytes, or shorten nats.max_age once all has landed"
		case errNoResources, errNoStorage:
			return "JetStream has no room on its disk"
		}
	}
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return "no stream takes this subject; is JetStream up and are the streams declared?"
	}
	return "is NATS reachable?"
}

// Flush implements feed.Sink: it waits until everything published before the call is stored.
func (p *Publisher) Flush(ctx context.Context) error {
	// The semaphore is fair: all room is free only when all that went before has been stored.
	if err := p.room.Acquire(ctx, int64(p.cfg.MaxQueued)); err != nil {
		return fmt.Errorf("flush the publisher: %w", err)
	}
	p.room.Release(int64(p.cfg.MaxQueued))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut != nil {
		return fmt.Errorf("flush the publisher: %w", p.shut)
	}
	return nil
}

// storedWithin is how long an event may wait for JetStream before the publisher does not do what it is for.
const storedWithin = 30 * time.Second

// Stand tells whether JetStream stores what is handed over.
func (p *Publisher) Stand(context.Context) run.Standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut != nil {
		return run.Standing{Why: p.shut.Error()}
	}
	var oldest *lane
	for _, l := range p.lanes {
		if !l.flying.IsZero() && (oldest == nil || l.flying.Before(oldest.flying)) {
			oldest = l
		}
	}
	if oldest == nil {
		return run.Standing{OK: true, Why: "nothing waits for JetStream"}
	}
	age := time.Since(oldest.flying).Round(time.Millisecond)
	if age > storedWithin {
		return run.Standing{Why: fmt.Sprintf("events wait for JetStream to store them in %s for %s; allowed are %s: is NATS reachable, and the stream not full?", oldest.stream, age, storedWithin)}
	}
	return run.Standing{OK: true, Why: fmt.Sprintf("the oldest event that waits for JetStream does so for %s", age)}
}

// Stats returns the counts so far.
func (p *Publisher) Stats() PublisherStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Close flushes until ctx ends, then gives up on what is left, and waits for the publisher's goroutines.
func (p *Publisher) Close(ctx context.Context) error {
	err := p.Flush(ctx)
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.wg.Wait()
	return err
}
