package live

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// Fields of hashpivot.live.v1.Message.
const (
	fieldSeq        = 1
	fieldIdx        = 2
	fieldStreamTime = 3
)

// batchFields are the fields of Message by stream.
var batchFields = map[market.Stream]protowire.Number{
	market.Trades: 10, market.Quotes: 11, market.Bars: 12, market.Halts: 13, market.Network: 14, market.Hashprices: 15, market.Offers: 16, market.Rates: 17,
	market.Signals: 18, market.Feeds: 19,
}

// AppendProto appends the event as a hashpivot.live.v1.Message.
func AppendProto(b []byte, ev market.Event, at market.Place) ([]byte, error) {
	field, ok := batchFields[at.Stream]
	if !ok {
		return b, fmt.Errorf("write message of stream %q: it has no channel", at.Stream)
	}
	batch, err := wire.Encode(nil, []market.Event{ev})
	if err != nil {
		return b, fmt.Errorf("write message: %w", err)
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldSeq, protowire.VarintType), at.Seq)
	b = protowire.AppendVarint(protowire.AppendTag(b, fieldIdx, protowire.VarintType), uint64(at.Idx))
	b = protowire.AppendTag(b, fieldStreamTime, protowire.Fixed64Type)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.StreamTime.UnixNano()))
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), batch), nil
}
