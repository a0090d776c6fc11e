package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/jsm.go"
	jsapi "github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// ErrNotEmpty says that a stream which shall be restored has messages.
var ErrNotEmpty = errors.New("stream is not empty")

// Snapshot writes a stream with its messages, sequences and times into dir, which it makes, and returns the stream's state in it. Publishing goes on meanwhile:
// what comes after the beginning is not in it. Consumers are not either, ours are made when they are needed.
func (b *Bus) Snapshot(ctx context.Context, stream market.Stream, dir string) (Info, error) {
	bad := func(err error) (Info, error) {
		return Info{}, fmt.Errorf("back up stream %s to %s: %w", stream, dir, err)
	}
	m, err := jsm.New(b.nc)
	if err != nil {
		return bad(err)
	}
	s, err := m.LoadStream(string(stream))
	if err != nil {
		return bad(err)
	}
	if _, err := s.SnapshotToDirectory(ctx, dir, jsm.SnapshotHealthCheck()); err != nil {
		return bad(err)
	}
	var meta struct {
		State jsapi.StreamState `json:"state"`
	}
	text, err := os.ReadFile(filepath.Join(dir, jsm.SnapshotMetaFile))
	if err == nil {
		err = json.Unmarshal(text, &meta)
	}
	if err != nil {
		return bad(fmt.Errorf("read what was written: %w", err))
	}
	now, err := b.Info(ctx, stream)
	if err != nil {
		return bad(err)
	}
	return Info{
		Stream: stream, Created: now.Created, Messages: meta.State.Msgs, Bytes: meta.State.Bytes, FirstSeq: meta.State.FirstSeq, LastSeq: meta.State.LastSeq,
		LastTime: meta.State.LastTime.UTC(), MaxBytes: now.MaxBytes, Shards: now.Shards,
	}, nil
}

// RestoreSnapshot makes a stream of what Snapshot wrote, whose life began at created, with this connection's number of replicas. An empty one that stands in the
// way is deleted; ErrNotEmpty if it has had messages.
func (b *Bus) RestoreSnapshot(ctx context.Context, stream market.Stream, created time.Time, dir string) (Info, error) {
	bad := func(err error) (Info, error) {
		return Info{}, fmt.Errorf("restore stream %s of %s: %w", stream, dir, err)
	}
	var req jsapi.JSApiStreamRestoreRequest
	text, err := os.ReadFile(filepath.Join(dir, jsm.SnapshotMetaFile))
	if err == nil {
		err = json.Unmarshal(text, &req)
	}
	if err != nil {
		return bad(err)
	}
	req.Config.Replicas = b.cfg.Replicas
	if req.Config.Metadata == nil {
		req.Config.Metadata = map[string]string{}
	}
	req.Config.Metadata[metaCreated] = created.UTC().Format(time.RFC3339Nano)
	old, err := b.Info(ctx, stream)
	switch {
	case errors.Is(err, ErrNoStream):
	case err != nil:
		return bad(err)
	case old.LastSeq > 0:
		return bad(fmt.Errorf("%w: it has had %d messages; restore into a NATS that holds nothing of hashpivot's", ErrNotEmpty, old.LastSeq))
	default:
		if err := b.js.DeleteStream(ctx, string(stream)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return bad(fmt.Errorf("delete the empty stream in its place: %w", err))
		}
	}
	m, err := jsm.New(b.nc)
	if err != nil {
		return bad(err)
	}
	if _, _, err := m.RestoreSnapshotFromDirectory(ctx, string(stream), dir, jsm.RestoreConfiguration(req.Config)); err != nil {
		return bad(err)
	}
	return b.Info(ctx, stream)
}
