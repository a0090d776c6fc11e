package wire

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/hashpivot/hashpivot/pkg/market"
	mdv1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/md/v1"
)

// JSON writes a stored batch for people, one line, with the field names of the contract.
func JSON(stream market.Stream, data []byte) ([]byte, error) {
	m := newBatch(stream)
	if m == nil {
		return nil, fmt.Errorf("write batch as JSON: stream %q is unknown", stream)
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("write batch of %s as JSON: %w", stream, err)
	}
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
}

func newBatch(stream market.Stream) proto.Message {
	switch stream {
	case market.Trades:
		return &mdv1.TradeBatch{}
	case market.Quotes:
		return &mdv1.QuoteBatch{}
	case market.Bars:
		return &mdv1.BarBatch{}
	case market.Halts:
		return &mdv1.HaltBatch{}
	case market.Network:
		return &mdv1.NetworkBatch{}
	case market.Hashprices:
		return &mdv1.HashpriceBatch{}
	case market.Offers:
		return &mdv1.OfferBatch{}
	case market.Rates:
		return &mdv1.RateBatch{}
	case market.Signals:
		return &mdv1.SignalBatch{}
	case market.Feeds:
		return &mdv1.FeedBatch{}
	case market.Dead:
		return &mdv1.DeadLetterBatch{}
	}
	return nil
}
