package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
)

type declaration struct {
	stream   market.Stream
	subjects []string
	// heavy streams are bounded in age, because a tape never ends; the others are the memory of what was published (a feed restores
	// its identities from them) and are kept.
	heavy bool
}

// declared is the one place where a stream and its subjects are named.
var declared = []declaration{
	{market.Trades, []string{Prefix + "trade.*.*"}, true},
	{market.Quotes, []string{Prefix + "quote.*.*"}, true},
	{market.Bars, []string{Prefix + "bar.*.*"}, false},
	{market.Halts, []string{Prefix + "halt.*.*", Prefix + "imbalance.*.*"}, false},
	{market.Network, []string{Prefix + "network.*.*"}, false},
	{market.Hashprices, []string{Prefix + "hashprice.*"}, false},
	{market.Offers, []string{Prefix + "gpu.offer.*.*"}, false},
	{market.Rates, []string{Prefix + "gpu.rate.*.*"}, false},
	{market.Signals, []string{Prefix + "signal.*.*"}, false},
	{market.Feeds, []string{Prefix + "feed.*"}, false},
	{market.Dead, []string{Prefix + "dead.>"}, false},
}

// duplicateWindow is for how long JetStream itself refuses a second message with the same id. Longer outages are the publisher's to
// resolve: see Publisher.
const duplicateWindow = 2 * time.Minute

// Ensure looks whether the streams, none given: all, and the buckets are there as they are declared, creates those that are not and updates those that differ. It is
// idempotent, and asks for no right to declare where there is nothing to.
func (b *Bus) Ensure(ctx context.Context, streams ...market.Stream) error {
	for _, d := range declared {
		if len(streams) > 0 && !slices.Contains(streams, d.stream) {
			continue
		}
		if err := b.declare(ctx, d, b.declaration(d)); err != nil {
			return fmt.Errorf("declare stream %s: %w (if it is storage that is short: nats.max_bytes is for each of %d streams)", d.stream, err, len(declared))
		}
	}
	if err := b.ensureBucket(ctx, b.recordsBucket()); err != nil {
		return err
	}
	if len(streams) > 0 {
		return nil
	}
	return b.ensureBucket(ctx, b.onceBucket())
}

// declaration is the configuration of a stream, but for how it is cut.
func (b *Bus) declaration(d declaration) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name: string(d.stream), Subjects: d.subjects, Description: "hashpivot " + string(d.stream),
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: b.cfg.Replicas,
		// Full means refused, never silently forgotten: DiscardOld would drop what may not have landed yet.
		Discard: jetstream.DiscardNew, MaxBytes: b.cfg.MaxBytes, Duplicates: duplicateWindow, AllowDirect: true,
	}
	if d.heavy {
		cfg.MaxAge = b.cfg.MaxAge
	}
	if age, ok := b.cfg.Retention[d.stream]; ok {
		cfg.MaxAge = age
	}
	return cfg
}

// declare creates or updates one stream, unless it is there as it should be. That one is to be cut into shards is written down before.
func (b *Bus) declare(ctx context.Context, d declaration, cfg jetstream.StreamConfig) error {
	shards := b.cfg.Shards[d.stream]
	cfg.SubjectTransform = d.transform(shards)
	s, err := b.stream(ctx, string(d.stream))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return b.declareAs(ctx, cfg, "it is not there")
	case err != nil:
		return err
	}
	is := s.CachedInfo().Config
	cfg.Metadata = restored(s.CachedInfo())
	if cfg.SubjectTransform != nil && shardsOf(is.SubjectTransform) != shards {
		info, err := b.Info(ctx, d.stream)
		if err != nil {
			return err
		}
		if err := b.noteCut(ctx, info, shards); errors.Is(err, errOtherLife) {
			b.log.Warn("the stream is not cut before a lander has taken it over; it will be at the next start", "stream", d.stream, "err", err)
			cfg.SubjectTransform = nil
		} else if err != nil {
			return err
		}
	}
	if what := differences(is, cfg); len(what) > 0 {
		return b.declareAs(ctx, cfg, "it is declared otherwise: "+tell(what))
	}
	return nil
}

// stream asks for a stream.
func (b *Bus) stream(ctx context.Context, name string) (s jetstream.Stream, _ error) {
	err := b.asking(ctx, func(ctx context.Context) (err error) {
		s, err = b.js.Stream(ctx, name)
		return err
	}, api+"STREAM.INFO."+name)
	return s, err
}

// declareAs creates or updates a stream; why is told where we may not.
func (b *Bus) declareAs(ctx context.Context, cfg jetstream.StreamConfig, why string) error {
	err := b.asking(ctx, func(ctx context.Context) error {
		_, err := b.js.CreateOrUpdateStream(ctx, cfg)
		return err
	}, api+"STREAM.CREATE."+cfg.Name, api+"STREAM.UPDATE."+cfg.Name)
	if _, ok := errors.AsType[*DeniedError](err); ok {
		return fmt.Errorf("%s, and we may not declare it: run hashpivot migrate as a user that may, with the same nats.replicas, max_bytes, max_age and shards: %w", why, err)
	}
	return err
}

// Info is the state of a stream.
type Info struct {
	Stream market.Stream `json:"stream"`
	// Created identifies this life of the stream: one that is deleted and made again begins a new one.
	Created  time.Time `json:"created"`
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	FirstSeq uint64    `json:"first_seq"`
	LastSeq  uint64    `json:"last_seq"`
	LastTime time.Time `json:"last_time,omitzero"`
	MaxBytes int64     `json:"max_bytes"`
	// Shards into which the stream is cut now; 0: it is not.
	Shards int `json:"shards,omitempty"`
}

// metaCreated is the key of a restored stream's metadata under which stands when it was first made. nats-server makes it anew, with the old sequences and times.
const metaCreated = "hashpivot_created"

// restored is the metadata that must be kept when the stream is declared again.
func restored(i *jetstream.StreamInfo) map[string]string {
	if at, ok := i.Config.Metadata[metaCreated]; ok {
		return map[string]string{metaCreated: at}
	}
	return nil
}

// createdOf is when a stream's life began.
func createdOf(i *jetstream.StreamInfo) time.Time {
	if at, err := time.Parse(time.RFC3339Nano, i.Config.Metadata[metaCreated]); err == nil {
		return at.UTC()
	}
	return i.Created.UTC()
}

// ErrNoStream says that a stream does not exist (yet).
var ErrNoStream = errors.New("stream does not exist")

// Info asks for the state of a stream.
func (b *Bus) Info(ctx context.Context, stream market.Stream) (Info, error) {
	s, err := b.stream(ctx, string(stream))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Info{}, fmt.Errorf("ask for stream %s: %w", stream, ErrNoStream)
	}
	if err != nil {
		return Info{}, fmt.Errorf("ask for stream %s: %w", stream, err)
	}
	return infoOf(stream, s.CachedInfo()), nil
}

func infoOf(stream market.Stream, i *jetstream.StreamInfo) Info {
	return Info{
		Stream: stream, Created: createdOf(i), Messages: i.State.Msgs, Bytes: i.State.Bytes, FirstSeq: i.State.FirstSeq,
		LastSeq: i.State.LastSeq, LastTime: i.State.LastTime.UTC(), MaxBytes: i.Config.MaxBytes, Shards: shardsOf(i.Config.SubjectTransform),
	}
}

// StreamsOf lists the streams that a subject filter with wildcards can match.
func StreamsOf(filter string) []market.Stream {
	var out []market.Stream
	for _, d := range declared {
		for _, s := range d.subjects {
			if overlap(s, filter) {
				out = append(out, d.stream)
				break
			}
		}
	}
	return out
}
