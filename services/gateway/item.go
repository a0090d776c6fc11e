package gateway

import (
	"encoding/binary"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// item is one event on its way to subscribers. Its texts are made once for all of them, by whoever hands it to a topic: under the lock of its
// stream, or alone with it.
type item struct {
	ev    market.Event
	at    market.Place
	key   string
	json  []byte
	proto []byte // of a DataFrame's field messages, with its tag
}

func newItem(ev market.Event, at market.Place) *item { return &item{ev: ev, at: at, key: live.Key(ev)} }

func (it *item) cursor() live.Cursor { return live.At(it.at) }

// encode makes the text that the encoding needs, once.
func (it *item) encode(e encoding) error {
	if e == encProto {
		if it.proto != nil {
			return nil
		}
		m, err := live.AppendProto(nil, it.ev, it.at)
		if err != nil {
			return err
		}
		it.proto = binary.AppendUvarint(make([]byte, 0, len(m)+4), protoMessages)
		it.proto = append(binary.AppendUvarint(it.proto, uint64(len(m))), m...)
		return nil
	}
	if it.json == nil {
		it.json = live.AppendJSON(make([]byte, 0, 384), it.ev, it.at)
	}
	return nil
}

func (it *item) text(e encoding) []byte {
	if e == encProto {
		return it.proto
	}
	return it.json
}
