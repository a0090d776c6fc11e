// Package wire converts between the domain (package market) and the protobuf batches of schemas/proto.
//
// Encoding is deterministic and decoding is too: the lander decodes a message again after a crash and must get the same rows. A decoded
// event may share memory with the bytes it came from; neither may be changed afterwards.
package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	mdv1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/md/v1"
)

// ContentType names the format in a message's header.
const ContentType = "application/x-protobuf; schema=hashpivot.md.v1"

// ErrEmpty is for a batch without events: nobody publishes one, so it is a sign of foreign or damaged bytes.
var ErrEmpty = errors.New("batch has no events")

// Encode appends the batch of events to dst. All events must be of the same stream, source and subject; Encode refuses a mixture,
// because a batch tells those once.
func Encode(dst []byte, events []market.Event) ([]byte, error) {
	if len(events) == 0 {
		return nil, ErrEmpty
	}
	if len(events) > MaxEvents {
		return nil, ErrTooMany
	}
	switch events[0].(type) {
	case *market.Trade:
		return encode(dst, events, tradeBatch)
	case *market.Quote:
		return encode(dst, events, quoteBatch)
	case *market.Bar:
		return encode(dst, events, barBatch)
	case *market.Halt:
		return encode(dst, events, haltBatch)
	case *market.Imbalance:
		return encode(dst, events, imbalanceBatch)
	case *market.Block, *market.Difficulty, *market.Fees, *market.BTCPrice:
		return encode(dst, events, networkBatch)
	case *market.Hashprice:
		return encode(dst, events, hashpriceBatch)
	case *market.Offer:
		return encode(dst, events, offerBatch)
	case *market.Rate:
		return encode(dst, events, rateBatch)
	case *market.Signal:
		return encode(dst, events, signalBatch)
	case *market.FeedEvent, *market.FeedGap:
		return encode(dst, events, feedBatch)
	case *market.DeadLetter:
		return encode(dst, events, deadBatch)
	}
	return nil, fmt.Errorf("encode %T: not an event of any stream", events[0])
}

type vtMessage interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
}

func encode[M vtMessage](dst []byte, events []market.Event, build func([]market.Event) (M, error)) ([]byte, error) {
	m, err := build(events)
	if err != nil {
		return nil, fmt.Errorf("encode batch of %s: %w", events[0].Stream(), err)
	}
	n := m.SizeVT()
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	if _, err := m.MarshalToSizedBufferVT(dst[at:]); err != nil {
		return nil, fmt.Errorf("encode batch of %s: %w", events[0].Stream(), err)
	}
	return dst, nil
}

// Decode reads a batch of the stream. The events may alias data. An error means that the whole message is not understood; single
// impossible values are Validate's business.
func Decode(stream market.Stream, data []byte) ([]market.Event, error) {
	if err := checkCount(data); err != nil {
		return nil, fmt.Errorf("decode batch of %s: %w", stream, err)
	}
	var (
		evs []market.Event
		err error
	)
	switch stream {
	case market.Trades:
		evs, err = decodeTrades(data)
	case market.Quotes:
		evs, err = decodeQuotes(data)
	case market.Bars:
		evs, err = decodeBars(data)
	case market.Halts:
		evs, err = decodeHalts(data)
	case market.Network:
		evs, err = decodeNetwork(data)
	case market.Hashprices:
		evs, err = decodeHashprices(data)
	case market.Offers:
		evs, err = decodeOffers(data)
	case market.Rates:
		evs, err = decodeRates(data)
	case market.Signals:
		evs, err = decodeSignals(data)
	case market.Feeds:
		evs, err = decodeFeeds(data)
	case market.Dead:
		evs, err = decodeDead(data)
	default:
		return nil, fmt.Errorf("decode batch: stream %q is unknown", stream)
	}
	if err == nil && len(evs) == 0 {
		err = ErrEmpty
	}
	if err != nil {
		return nil, fmt.Errorf("decode batch of %s: %w", stream, err)
	}
	return evs, nil
}

func metaOf(m *market.Meta) *mdv1.Meta {
	return &mdv1.Meta{
		EventTimeNs: m.EventTime.UnixNano(), RecvTimeNs: m.RecvTime.UnixNano(), Rev: m.Rev, Backfill: m.Backfill,
	}
}

func toMeta(source string, m *mdv1.Meta) market.Meta {
	if m == nil {
		return market.Meta{Source: source}
	}
	return market.Meta{
		Source: source, EventTime: time.Unix(0, m.EventTimeNs).UTC(), RecvTime: time.Unix(0, m.RecvTimeNs).UTC(), Rev: m.Rev, Backfill: m.Backfill,
	}
}

func timeNs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func nsTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// decText writes zero as nothing: most optional numbers are absent, and absent is zero.
func decText(d market.Decimal) string {
	if d.IsZero() {
		return ""
	}
	return d.String()
}

// reader parses the decimals of one message and keeps the first error with its field.
type reader struct{ err error }

func (r *reader) dec(field, s string) market.Decimal {
	if s == "" || r.err != nil {
		return market.Decimal{}
	}
	d, err := market.ParseDecimal(s)
	if err != nil {
		r.err = fmt.Errorf("field %s: %w", field, err)
	}
	return d
}

func mixed(what, a, b string) error {
	return fmt.Errorf("events of %s %q and %q do not belong in one batch", what, a, b)
}

func sameSource(ev market.Event, source string) error {
	if s := ev.GetMeta().Source; s != source {
		return mixed("source", source, s)
	}
	return nil
}
