package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Spot is where a message stands in its stream.
type Spot struct {
	Seq  uint64
	Time time.Time
}

// NextStored asks the stream's leader for the first message of the shard at the sequence or behind it; ok is false if there is none.
//
// Consumers and direct gets are answered by any replica, which may lag: that it knows of no message is no proof that there is none. The leader's answer is.
func (b *Bus) NextStored(ctx context.Context, stream market.Stream, shard Shard, seq uint64) (at Spot, ok bool, _ error) {
	d, _ := declarationOf(stream)
	return b.ask(ctx, stream, msgGet{Seq: max(seq, 1), NextFor: d.filter(shard)})
}

// LastStored asks the stream's leader for the last message of the shard.
func (b *Bus) LastStored(ctx context.Context, stream market.Stream, shard Shard) (at Spot, ok bool, _ error) {
	d, _ := declarationOf(stream)
	return b.ask(ctx, stream, msgGet{LastFor: d.filter(shard)})
}

// StoredAt asks the stream's leader for the message with the sequence.
func (b *Bus) StoredAt(ctx context.Context, stream market.Stream, seq uint64) (at Spot, ok bool, _ error) {
	return b.ask(ctx, stream, msgGet{Seq: seq})
}

// msgGet is the request of $JS.API.STREAM.MSG.GET, see JSApiMsgGetRequest in nats-server's server/jetstream_api.go.
type msgGet struct {
	Seq     uint64 `json:"seq,omitempty"`
	LastFor string `json:"last_by_subj,omitempty"`
	NextFor string `json:"next_by_subj,omitempty"`
}

// codeNoMessage is JSNoMessageFoundErr.
const codeNoMessage = 10037

func (b *Bus) ask(ctx context.Context, stream market.Stream, req msgGet) (Spot, bool, error) {
	data, err := json.Marshal(req)
	if err != nil {
		return Spot{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	subject := api + "STREAM.MSG.GET." + string(stream)
	var resp *nats.Msg
	err = b.asking(ctx, func(ctx context.Context) (err error) {
		resp, err = b.nc.RequestWithContext(ctx, subject, data)
		return err
	}, subject)
	if err != nil {
		return Spot{}, false, fmt.Errorf("ask the leader of stream %s: %w", stream, err)
	}
	var ans struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Seq  uint64    `json:"seq"`
			Time time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(resp.Data, &ans); err != nil {
		return Spot{}, false, fmt.Errorf("ask the leader of stream %s: %w", stream, err)
	}
	switch {
	case ans.Error == nil && ans.Message.Seq == 0:
		return Spot{}, false, fmt.Errorf("ask the leader of stream %s: %w", stream, errors.New("the answer has no sequence"))
	case ans.Error == nil:
		return Spot{ans.Message.Seq, ans.Message.Time.UTC()}, true, nil
	case ans.Error.ErrorCode == codeNoMessage:
		return Spot{}, false, nil
	}
	return Spot{}, false, fmt.Errorf("ask the leader of stream %s: %w", stream, ans.Error)
}
