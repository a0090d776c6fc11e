package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// Again is a message that is to be stored once more, under an id of its own.
type Again struct {
	Stream  market.Stream
	Subject string
	ID      string
	Data    []byte
	Events  int
	// After is a sequence up to which no message can have the id: what it is a repetition of.
	After uint64
}

// PublishAgain stores the message unless the stream holds one with its id, and returns its sequence; there tells that it was found. However often, at
// whatever distance and by however many at once it is called, it stores one message: the subject is read for the id, and JetStream takes the message only
// if nothing has come on the subject since. A message that has aged out of the stream is not found.
func (b *Bus) PublishAgain(ctx context.Context, a Again) (seq uint64, there bool, _ error) {
	if s, ok := StreamOf(a.Subject); !ok || s != a.Stream {
		return 0, false, fmt.Errorf("publish again to %s: the subject is none of stream %s", a.Subject, a.Stream)
	}
	msg := &nats.Msg{Subject: a.Subject, Data: a.Data, Header: nats.Header{
		nats.MsgIdHdr: {a.ID}, headerEvents: {strconv.Itoa(a.Events)}, headerContent: {wire.ContentType}, headerClock: {clockMicros},
	}}
	read, last := a.After, uint64(0) // up to where the subject was read; its last message
	const tries = 100                // on a busy subject others come in between
	var failed error
	for range tries {
		err := b.scan(ctx, a.Stream, scanFrom{seq: read + 1, filter: []string{a.Subject}, headers: true}, func(m Msg) error {
			read, last = max(read, m.Seq), m.Seq
			if m.ID == a.ID {
				seq, there = m.Seq, true
				return errFound
			}
			return nil
		})
		if there {
			return seq, true, nil
		}
		if err != nil {
			return 0, false, err
		}
		expect := last
		for {
			ack, err := b.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(string(a.Stream)), jetstream.WithExpectLastSequencePerSubject(expect))
			if err == nil {
				return ack.Sequence, ack.Duplicate, nil
			}
			failed = err
			now, ok := wrongLast(err)
			if !ok || now > read {
				break
			}
			// What was read last is not what JetStream counts as the subject's last: it has aged out, or the stream was cut into shards since. All up to
			// it was read without finding the id.
			if now == expect {
				break
			}
			expect = now
		}
		if _, ok := wrongLast(failed); !ok { // the answer may be lost and the message stored: look again
			select {
			case <-ctx.Done():
				return 0, false, fmt.Errorf("publish again to %s: %w", a.Subject, failed)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return 0, false, fmt.Errorf("publish again to %s: %w; %s", a.Subject, failed, hint(failed))
}

var errFound = errors.New("found")

// wrongLast is the sequence that JetStream says is the subject's last, where it refused for that.
func wrongLast(err error) (uint64, bool) {
	ae, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || ae.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, false
	}
	n, perr := strconv.ParseUint(ae.Description[strings.LastIndexByte(ae.Description, ' ')+1:], 10, 64)
	return n, perr == nil
}
