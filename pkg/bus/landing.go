package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Landing is the range of a stream that is being landed in ClickHouse, or was landed last. What lies before First has landed. The lander alone writes it.
type Landing struct {
	// Created is when the stream was created, Unix ns: sequences of another life of it mean other messages.
	Created int64  `json:"created"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
}

// LandingKey is the key of a stream's cell with its Landing.
func LandingKey(stream market.Stream) string { return "lander." + string(stream) }

// Landing reads up to where a stream has landed; ok is false if no lander ever wrote it down.
func (b *Bus) Landing(ctx context.Context, stream market.Stream) (l Landing, ok bool, _ error) {
	data, rev, err := b.Cell(LandingKey(stream)).Get(ctx)
	if err != nil || rev == 0 {
		return Landing{}, false, err
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return Landing{}, false, fmt.Errorf("read the landing of %s: %w", stream, err)
	}
	return l, true, nil
}

// Latest calls fn for the last message of each subject of the stream, in the order of their sequences.
func (b *Bus) Latest(ctx context.Context, stream market.Stream, fn func(Msg) error) error {
	return b.scan(ctx, stream, scanFrom{latest: true}, fn)
}

// SeqBefore is the last message that was stored before t. all tells that every message which the stream holds is as young as t or younger.
func (b *Bus) SeqBefore(ctx context.Context, stream market.Stream, t time.Time) (seq uint64, all bool, _ error) {
	info, err := b.Info(ctx, stream)
	if err != nil {
		return 0, false, err
	}
	r, err := b.Since(ctx, stream, t)
	if err != nil {
		return 0, false, err
	}
	defer r.Close()
	if r.Pending() == 0 {
		return info.LastSeq, false, nil
	}
	m, err := r.Next(ctx)
	if err != nil {
		return 0, false, err
	}
	return m.Seq - 1, m.Seq <= info.FirstSeq, nil
}

// latestOf is the delivery policy of Latest, which JetStream wants a filter for.
func latestOf(cfg *jetstream.OrderedConsumerConfig) {
	cfg.DeliverPolicy, cfg.FilterSubjects = jetstream.DeliverLastPerSubjectPolicy, []string{Prefix + ">"}
}
