package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// SubjectHealth is where whoever wants to know asks, and every process of hashpivot answers who it is and how it does. Nothing is sent unasked.
const SubjectHealth = "hashpivot.health"

// AnswerHealth lets answer reply to everyone who asks, until stop is called. The answers are made one by one.
func (b *Bus) AnswerHealth(answer func(ctx context.Context) ([]byte, error)) (stop func(), _ error) {
	asked := make(chan *nats.Msg, 16) // more at once than that go without an answer
	sub, err := b.nc.ChanSubscribe(SubjectHealth, asked)
	if err != nil {
		return nil, fmt.Errorf("answer on %s: %w", SubjectHealth, err)
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

// AskHealth asks all processes, and hands over what has come within the time. Nobody there is no error.
func (b *Bus) AskHealth(ctx context.Context, within time.Duration) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	inbox := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("ask on %s: %w", SubjectHealth, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be gone
	if err := b.nc.PublishRequest(SubjectHealth, inbox, nil); err != nil {
		return nil, fmt.Errorf("ask on %s: %w", SubjectHealth, err)
	}
	var out [][]byte
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return out, nil
		case err != nil:
			return out, fmt.Errorf("ask on %s: %w", SubjectHealth, err)
		case m.Header.Get("Status") != "": // the server's own word that nobody is there
			return out, nil
		}
		out = append(out, m.Data)
	}
}
