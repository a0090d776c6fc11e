package backup

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashpivot/hashpivot/pkg/store"
)

// Restore makes the streams and the tables of a backup, in a NATS and a ClickHouse that hold nothing of hashpivot's. The backup is checked whole before anything is
// made. No record of landing is restored: the lander finds out from the tables, message by message, what has landed, and lands the rest.
//
// Interrupted, it leaves streams or tables behind, and is refused when it is run again: begin with empty ones.
func Restore(ctx context.Context, deps Deps, dir string) (Manifest, error) {
	m, err := Check(ctx, dir)
	if err != nil {
		return m, err
	}
	bad := func(err error) (Manifest, error) { return m, fmt.Errorf("restore %s: %w", dir, err) }
	_, ours, err := deps.Store.Schema(ctx)
	if err != nil {
		return bad(err)
	}
	if m.Schema > ours {
		return bad(fmt.Errorf("%w: it is at migration %d, and this version knows up to %d; use version %s or a newer one", store.ErrNewer, m.Schema, ours, m.Version))
	}
	begin := time.Now()
	destination := inDir(dir)
	if m.Tables != "" {
		destination = m.Tables
	}
	if err := deps.Store.Restore(ctx, destination); err != nil {
		return bad(err)
	}
	deps.Logger.Info("the tables are restored", "took", time.Since(begin).Round(time.Millisecond))
	for _, want := range m.Streams {
		got, err := deps.Bus.RestoreSnapshot(ctx, want.Stream, want.Created, filepath.Join(dir, streamsDir, string(want.Stream)))
		if err != nil {
			return bad(err)
		}
		if got.LastSeq != want.LastSeq || got.Messages != want.Messages || !got.Created.Equal(want.Created) {
			return bad(fmt.Errorf("stream %s has %d messages up to %d, made at %s; the backup has %d up to %d, made at %s",
				want.Stream, got.Messages, got.LastSeq, got.Created.Format(time.RFC3339Nano), want.Messages, want.LastSeq, want.Created.Format(time.RFC3339Nano)))
		}
	}
	deps.Logger.Info("the streams are restored", "took", time.Since(begin).Round(time.Millisecond))
	return m, nil
}
