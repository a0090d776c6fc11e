package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Landing is the range of a stream, or of a shard of one, that is being landed in ClickHouse, or was landed last. What lies before First has landed. The
// lander alone writes it.
type Landing struct {
	// Created is when the stream was created, Unix ns: sequences of another life of it mean other messages.
	Created int64  `json:"created"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	// Cuts say into how many shards the stream was ever cut, and behind which sequence; only the record of what is not cut has them.
	Cuts []Cut `json:"cuts,omitempty"`
}

// Cut is one way in which a stream was cut into shards.
type Cut struct {
	Of int `json:"of"`
	// From is a sequence before all that was stored cut so.
	From uint64 `json:"from"`
}

// LandingKey is the key of the cell with the Landing of a stream's shard.
func LandingKey(stream market.Stream, shard Shard) string {
	if shard.Of == 0 {
		return "lander." + string(stream)
	}
	return fmt.Sprintf("lander.%s.%d.%d", stream, shard.Of, shard.Index)
}

// Landing reads up to where a stream has landed, in all of its shards: what lies before First has, and nothing behind Last is under way. ok is false if
// no lander ever wrote it down.
func (b *Bus) Landing(ctx context.Context, stream market.Stream) (l Landing, ok bool, _ error) {
	l, ok, err := b.landing(ctx, stream, Shard{})
	if err != nil || !ok {
		return Landing{}, false, err
	}
	for _, cut := range l.Cuts {
		for i := range cut.Of {
			part, ok, err := b.landing(ctx, stream, Shard{cut.Of, i})
			if err != nil {
				return Landing{}, false, err
			}
			if !ok || part.Created != l.Created {
				part.First, part.Last = cut.From, cut.From-1
			}
			l.First, l.Last = min(l.First, part.First), max(l.Last, part.Last)
		}
	}
	return l, true, nil
}

func (b *Bus) landing(ctx context.Context, stream market.Stream, shard Shard) (l Landing, ok bool, _ error) {
	data, rev, err := b.Cell(LandingKey(stream, shard)).Get(ctx)
	if err != nil || rev == 0 {
		return Landing{}, false, err
	}
	if err := json.Unmarshal(data, &l); err != nil {
		return Landing{}, false, fmt.Errorf("read the landing of %s %s: %w", stream, shard, err)
	}
	return l, true, nil
}

// errOtherLife says that a record is of a stream that was deleted and made again since.
var errOtherLife = errors.New("its lander's record is of another life of it")

// noteCut writes down that a stream is about to be cut into n shards, before it is: from then on nobody takes what the record of the whole says for all.
func (b *Bus) noteCut(ctx context.Context, info Info, n int) error {
	cell := b.Cell(LandingKey(info.Stream, Shard{}))
	for {
		data, rev, err := cell.Get(ctx)
		if err != nil {
			return err
		}
		rec := map[string]json.RawMessage{}
		l := Landing{Created: info.Created.UnixNano(), First: max(info.FirstSeq, 1), Last: max(info.FirstSeq, 1) - 1}
		if rev != 0 {
			if err := errors.Join(json.Unmarshal(data, &rec), json.Unmarshal(data, &l)); err != nil {
				return fmt.Errorf("cut stream %s into %d shards: its lander's record cannot be read: %w; start a lander first, which rebuilds it", info.Stream, n, err)
			}
		}
		if l.Created != info.Created.UnixNano() {
			return fmt.Errorf("cut stream %s into %d shards: %w", info.Stream, n, errOtherLife)
		}
		for _, c := range l.Cuts {
			if c.Of == n {
				return nil // cut so before, perhaps by another at this moment
			}
		}
		l.Cuts = append(l.Cuts, Cut{Of: n, From: info.LastSeq + 1})
		fields, err := json.Marshal(l)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(fields, &rec); err != nil {
			return err
		}
		// Compare-and-swap knows a value of ours by its being unique.
		rec["cut_at"], _ = json.Marshal(time.Now().UTC())
		if data, err = json.Marshal(rec); err != nil {
			return err
		}
		if _, err = cell.Swap(ctx, data, rev); !errors.Is(err, ErrConflict) {
			return err
		}
	}
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
	seq = info.LastSeq
	for left := r.Pending(); left > 0; left-- {
		m, err := r.Next(ctx)
		if err != nil {
			return 0, false, err
		}
		if !m.StreamTime().Before(t) { // JetStream's own time is not before t, but within its microsecond
			return m.Seq - 1, m.Seq <= info.FirstSeq, nil
		}
		seq = max(seq, m.Seq)
	}
	return seq, false, nil
}

// latestOf is the delivery policy of Latest, which JetStream wants a filter for.
func latestOf(cfg *jetstream.OrderedConsumerConfig) {
	cfg.DeliverPolicy, cfg.FilterSubjects = jetstream.DeliverLastPerSubjectPolicy, []string{Prefix + ">"}
}

// Cuts are the ways in which a stream was ever cut, as its lander's record has them.
func (b *Bus) Cuts(ctx context.Context, stream market.Stream) ([]Cut, error) {
	l, _, err := b.landing(ctx, stream, Shard{})
	return l.Cuts, err
}

// ShardsKnown are the numbers of shards that a stream is cut into now or that landers have records of.
func (b *Bus) ShardsKnown(ctx context.Context, stream market.Stream) ([]int, error) {
	if !Cuttable(stream) {
		return nil, nil
	}
	info, err := b.Info(ctx, stream)
	if err != nil {
		return nil, err
	}
	kv, err := b.bucket(ctx)
	if err != nil {
		return nil, err
	}
	prefix := LandingKey(stream, Shard{}) + "."
	keys, err := kv.ListKeysFiltered(ctx, prefix+"*.*")
	if err != nil {
		return nil, fmt.Errorf("list the landers' records of %s: %w", stream, err)
	}
	defer func() { _ = keys.Stop() }()
	var out []int
	if info.Shards > 0 {
		out = append(out, info.Shards)
	}
	for key := range keys.Keys() {
		of, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), ".")
		if n, err := strconv.Atoi(of); err == nil && n > 1 && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}
