package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Msg is a stored message.
type Msg struct {
	Seq     uint64
	Subject string
	Time    time.Time // when JetStream stored it, to the nanosecond; see StreamTime
	// Micros says that it is of a publisher whose times count in whole microseconds.
	Micros bool
	// Events is how many events the publisher says are in Data; 0 where the header is missing.
	Events int
	// ID is the message id that its publisher gave it.
	ID string
	// Pending is how many messages of the reader's selection were stored behind this one when it was sent.
	Pending uint64
	// Trace is the span under which it was published, as W3C's trace context writes it; empty: it was not sampled.
	Trace string
	Data  []byte
}

// StreamTime is when JetStream stored the message, as it is told of its events and landed: in whole microseconds, never later than it was. Of messages of publishers
// that counted in nanoseconds it is to the nanosecond, as they have landed.
func (m *Msg) StreamTime() time.Time {
	if m.Micros {
		return m.Time.Truncate(time.Microsecond)
	}
	return m.Time
}

// Reader reads a stream in order of sequence, without acknowledgements: the position is the caller's (design, section 4), so no consumer's
// state can disagree with the data. When its consumer is lost it ends with an error: the caller looks what became of the stream and reads on.
type Reader struct {
	stream  market.Stream
	decl    declaration
	iter    jetstream.MessagesContext
	pending uint64
}

// readBytes bounds what a reader has requested ahead of its caller.
const readBytes = 4 << 20

type scanFrom struct {
	seq     uint64
	since   time.Time
	filter  []string
	headers bool // headers only
	newOnly bool
	latest  bool // the last message of each subject
	shard   *Shard
}

// Read opens a reader of stream at the sequence (1 is the beginning).
func (b *Bus) Read(ctx context.Context, stream market.Stream, seq uint64) (*Reader, error) {
	return b.reader(ctx, stream, scanFrom{seq: max(seq, 1)})
}

// ReadShard opens a reader of a stream's shard at the sequence.
func (b *Bus) ReadShard(ctx context.Context, stream market.Stream, shard Shard, seq uint64) (*Reader, error) {
	return b.reader(ctx, stream, scanFrom{seq: max(seq, 1), shard: &shard})
}

// Since opens a reader of what was stored from the time on; zero is the beginning. It goes on live behind that.
func (b *Bus) Since(ctx context.Context, stream market.Stream, since time.Time) (*Reader, error) {
	return b.reader(ctx, stream, scanFrom{since: since})
}

// Tail opens a reader of what is stored from now on under the subject filters.
func (b *Bus) Tail(ctx context.Context, stream market.Stream, filter ...string) (*Reader, error) {
	return b.reader(ctx, stream, scanFrom{newOnly: true, filter: filter})
}

func (b *Bus) reader(ctx context.Context, stream market.Stream, from scanFrom) (*Reader, error) {
	decl, ok := declarationOf(stream)
	if !ok {
		return nil, fmt.Errorf("read stream %s: %w", stream, ErrNoStream)
	}
	cfg := jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubjects: decl.stored(from.filter), HeadersOnly: from.headers, InactiveThreshold: 30 * time.Second,
		// Its own resets wait without looking at a context, for ever if they are let, and one that is stopped meanwhile panics (nats.go 1.55, orderedConsumer.reset).
		MaxResetAttempts: 1,
	}
	if from.shard != nil {
		cfg.FilterSubjects = []string{decl.filter(*from.shard)}
	}
	switch {
	case from.latest:
		latestOf(&cfg)
	case from.newOnly:
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	case from.seq > 1:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from.seq
	case !from.since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &from.since
	}
	var cons jetstream.Consumer
	err := b.asking(ctx, func(ctx context.Context) (err error) {
		cons, err = b.js.OrderedConsumer(ctx, string(stream), cfg)
		return err
	}, api+"CONSUMER.CREATE."+string(stream)+".")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("read stream %s: %w", stream, ErrNoStream)
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	info := cons.CachedInfo()
	if info == nil {
		if info, err = cons.Info(ctx); err != nil {
			return nil, fmt.Errorf("read stream %s: %w", stream, err)
		}
	}
	iter, err := cons.Messages(jetstream.PullMaxBytes(readBytes))
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	return &Reader{stream: stream, decl: decl, iter: iter, pending: info.NumPending}, nil
}

// Pending is how many messages were stored ahead of the reader when it was opened.
func (r *Reader) Pending() uint64 { return r.pending }

// Next waits for the next message until ctx ends.
func (r *Reader) Next(ctx context.Context) (Msg, error) {
	m, err := r.iter.Next(jetstream.NextContext(ctx))
	if err != nil {
		if ctx.Err() != nil {
			return Msg{}, ctx.Err()
		}
		return Msg{}, fmt.Errorf("read stream %s: %w", r.stream, err)
	}
	meta, err := m.Metadata()
	if err != nil {
		return Msg{}, fmt.Errorf("read stream %s: message without its place: %w", r.stream, err)
	}
	out := Msg{Seq: meta.Sequence.Stream, Subject: r.decl.published(m.Subject()), Time: meta.Timestamp.UTC(), Pending: meta.NumPending, Data: m.Data()}
	out.ID, out.Trace = m.Headers().Get(nats.MsgIdHdr), m.Headers().Get(headerTrace)
	out.Micros = m.Headers().Get(headerClock) == clockMicros
	if n, err := strconv.Atoi(m.Headers().Get(headerEvents)); err == nil && n > 0 {
		out.Events = n
	}
	return out, nil
}

// Close ends the reader and discards what it had requested ahead.
func (r *Reader) Close() { r.iter.Stop() }

// scan calls fn for every message selected, up to the end of the stream as it stands now.
func (b *Bus) scan(ctx context.Context, stream market.Stream, from scanFrom, fn func(Msg) error) error {
	r, err := b.reader(ctx, stream, from)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Pending() == 0 {
		return nil
	}
	for left := r.Pending(); left > 0; left-- {
		m, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := fn(m); err != nil {
			return err
		}
		if m.Pending == 0 {
			return nil
		}
	}
	return nil
}

// ScanCounts calls fn for every message of stream from the sequence on with its header, but not its data.
func (b *Bus) ScanCounts(ctx context.Context, stream market.Stream, seq uint64, fn func(Msg) error) error {
	return b.scan(ctx, stream, scanFrom{seq: seq, headers: true}, fn)
}

// ScanAll calls fn for every message that the stream holds now.
func (b *Bus) ScanAll(ctx context.Context, stream market.Stream, fn func(Msg) error) error {
	return b.scan(ctx, stream, scanFrom{}, fn)
}

// Get reads one message.
func (b *Bus) Get(ctx context.Context, stream market.Stream, seq uint64) (Msg, error) {
	s, err := b.js.Stream(ctx, string(stream))
	if err != nil {
		return Msg{}, fmt.Errorf("get message %d of %s: %w", seq, stream, err)
	}
	m, err := s.GetMsg(ctx, seq)
	if err != nil {
		return Msg{}, fmt.Errorf("get message %d of %s: %w", seq, stream, err)
	}
	return fromRaw(stream, m), nil
}

func fromRaw(stream market.Stream, m *jetstream.RawStreamMsg) Msg {
	decl, _ := declarationOf(stream)
	out := Msg{Seq: m.Sequence, Subject: decl.published(m.Subject), Time: m.Time.UTC(), Micros: m.Header.Get(headerClock) == clockMicros, Data: m.Data}
	if n, err := strconv.Atoi(m.Header.Get(headerEvents)); err == nil && n > 0 {
		out.Events = n
	}
	return out
}

// storedUnder reports whether the newest message of the subject is the one with this id.
func (b *Bus) storedUnder(ctx context.Context, stream market.Stream, subject, id string) (bool, error) {
	s, err := b.js.Stream(ctx, string(stream))
	if err != nil {
		return false, err
	}
	decl, _ := declarationOf(stream)
	for _, under := range decl.stored([]string{subject}) {
		m, err := s.GetLastMsgForSubject(ctx, under)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if m.Header.Get(nats.MsgIdHdr) == id {
			return true, nil
		}
	}
	return false, nil
}
