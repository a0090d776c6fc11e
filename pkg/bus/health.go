package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// AnswerHealth lets answer reply to everyone who asks, until stop is called. The answers are made one by one.
func (b *Bus) AnswerHealth(answer func(ctx context.Context) ([]byte, error)) (stop func(), _ error) {
	asked := make(chan *nats.Msg, 16) // more at once than that go without an answer
	sub, err := b.nc.ChanSubscribe(subjectHealth, asked)
	if err != nil {
		return nil, fmt.Errorf("answer on %s: %w", subjectHealth, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case m := <-asked:
				data, err := answer(ctx)
				if err == nil {
					err = m.Respond(data)
				}
				if err != nil && ctx.Err() == nil {
					b.log.Warn("a question on our health was not answered", "err", err)
				}
			}
		}
	}()
	return func() {
		_ = sub.Unsubscribe() // the connection may be gone
		cancel()
		<-done
	}, nil
}

// AskHealth asks all processes and hands over what has come: within the least time where that is enough, else within the most. Nobody there is no error.
func (b *Bus) AskHealth(ctx context.Context, least, most time.Duration, enough func(answers [][]byte) bool) ([][]byte, error) {
	inbox := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask on %s: %w", subjectHealth, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone
	asked := time.Now()
	if err := b.nc.PublishRequest(subjectHealth, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask on %s: %w", subjectHealth, err)
	}
	var out [][]byte
	for {
		until := asked.Add(most)
		if enough(out) {
			until = asked.Add(least)
		}
		m, err := next(ctx, sub, until)
		switch {
		case ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrNoResponders)):
			return out, nil
		case err != nil:
			return out, fmt.Errorf("ask on %s: %w", subjectHealth, err)
		}
		out = append(out, m.Data)
	}
}

func next(ctx context.Context, sub *nats.Subscription, until time.Time) (*nats.Msg, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}
