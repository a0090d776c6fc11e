package bus

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BareMessage is a message as it is stored.
type BareMessage struct {
	Subject string
	Data    []byte
}

// BarePublish stores messages as fast as JetStream takes them, with ids and inFlight at a time, and nothing else: the limit that a publisher is
// measured against.
func (b *Bus) BarePublish(ctx context.Context, messages []BareMessage, inFlight int) (time.Duration, error) {
	js, err := jetstream.New(b.nc, jetstream.WithPublishAsyncMaxPending(inFlight))
	if err != nil {
		return 0, fmt.Errorf("publish bare: %w", err)
	}
	start := time.Now()
	for i, m := range messages {
		msg := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: nats.Header{nats.MsgIdHdr: {"bare-" + strconv.Itoa(i)}, headerEvents: {"1"}}}
		if _, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(time.Minute)); err != nil {
			return 0, fmt.Errorf("publish bare to %s: %w", m.Subject, err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return time.Since(start), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("publish bare: %w", context.Cause(ctx))
	}
}
