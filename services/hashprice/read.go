package hashprice

import (
	"context"
	"errors"
	"sync"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// framesAhead bounds what is read ahead while a session is busy catching up. When it is full the reader waits, and the upstream with it:
// mempool.space drops a client with 10 MB unread, and then we come again.
const framesAhead = 256

// endOfRecording is the reason of the close frame (1000) that ends a recording.
const endOfRecording = "end of recording"

// reader reads a connection in a goroutine of its own, so that pongs are answered and staleness is judged by what arrives, however long
// the session works on a frame.
type reader struct {
	frames chan feed.Frame
	err    error // valid once frames is closed
	done   sync.WaitGroup
}

func read(ctx context.Context, conn *feed.Conn, s *feed.Session) *reader {
	r := &reader{frames: make(chan feed.Frame, framesAhead)}
	r.done.Add(1)
	go func() {
		defer r.done.Done()
		defer close(r.frames)
		for {
			f, err := conn.Read(ctx)
			if err != nil {
				r.err = err
				return
			}
			s.Alive(f.Recv)
			select {
			case r.frames <- f:
			case <-ctx.Done():
				r.err = context.Cause(ctx)
				return
			}
		}
	}()
	return r
}

// end turns the reader's error into the session's: a recording's end into ErrEndOfInput where we are to stop there, a message over the
// limit into a dead letter beside it.
func (r *reader) end(ctx context.Context, f *feed.Feed, from string, stopAtEnd bool) error {
	if ce, ok := errors.AsType[*feed.CloseError](r.err); ok && stopAtEnd && ce.Code == 1000 && ce.Text == endOfRecording {
		return feed.ErrEndOfInput
	}
	if m, ok := errors.AsType[*feed.Malformed](r.err); ok {
		if err := f.Reject(ctx, from, m.Reason, m, nil); err != nil {
			return err
		}
	}
	return r.err
}
