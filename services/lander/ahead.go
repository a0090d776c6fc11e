package lander

import (
	"context"

	"golang.org/x/sync/semaphore"

	"github.com/hashpivot/hashpivot/pkg/bus"
)

// ahead is what has been fetched and not decoded yet, bounded in messages and in bytes.
type ahead struct {
	msgs chan bus.Msg
	room *semaphore.Weighted
}

const (
	aheadMessages = 64
	aheadBytes    = 4 << 20 // some messages of the greatest size; beside it there is what the reader has requested
)

func newAhead() *ahead {
	return &ahead{make(chan bus.Msg, aheadMessages), semaphore.NewWeighted(aheadBytes)}
}

func weight(m bus.Msg) int64 { return min(int64(len(m.Data)), aheadBytes) }

// put waits for room. Only ctx can fail it.
func (a *ahead) put(ctx context.Context, m bus.Msg) error {
	if err := a.room.Acquire(ctx, weight(m)); err != nil {
		return err
	}
	select {
	case a.msgs <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decoded gives back the room of a message that came out of msgs.
func (a *ahead) decoded(m bus.Msg) { a.room.Release(weight(m)) }
