package wire

import (
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/market"
	mdv1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/md/v1"
)

func feedBatch(events []market.Event) (*mdv1.FeedBatch, error) {
	source := events[0].GetMeta().Source
	out := make([]*mdv1.FeedRecord, len(events))
	for i, ev := range events {
		if err := sameSource(ev, source); err != nil {
			return nil, err
		}
		switch e := ev.(type) {
		case *market.FeedEvent:
			out[i] = &mdv1.FeedRecord{Record: &mdv1.FeedRecord_Event{Event: &mdv1.FeedEvent{
				Meta: metaOf(&e.Meta), State: string(e.State), Detail: e.Detail,
			}}}
		case *market.FeedGap:
			out[i] = &mdv1.FeedRecord{Record: &mdv1.FeedRecord_Gap{Gap: &mdv1.FeedGap{
				Meta: metaOf(&e.Meta), GapId: e.GapID, Symbol: e.Symbol, FromNs: timeNs(e.From), ToNs: timeNs(e.To), Reason: e.Reason,
				State: string(e.State), Recovered: e.Recovered,
			}}}
		default:
			return nil, fmt.Errorf("event %d is a %T", i, ev)
		}
	}
	return &mdv1.FeedBatch{Source: source, Records: out}, nil
}

func decodeFeeds(data []byte) ([]market.Event, error) {
	var b mdv1.FeedBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	out := make([]market.Event, len(b.Records))
	for i, rec := range b.Records {
		switch e := rec.GetRecord().(type) {
		case *mdv1.FeedRecord_Event:
			out[i] = &market.FeedEvent{Meta: toMeta(b.Source, e.Event.Meta), State: market.FeedState(e.Event.State), Detail: e.Event.Detail}
		case *mdv1.FeedRecord_Gap:
			p := e.Gap
			out[i] = &market.FeedGap{
				Meta: toMeta(b.Source, p.Meta), GapID: p.GapId, Symbol: p.Symbol, From: nsTime(p.FromNs), To: nsTime(p.ToNs), Reason: p.Reason,
				State: market.GapState(p.State), Recovered: p.Recovered,
			}
		default:
			return nil, fmt.Errorf("event %d: %w", i, errUnknownKind)
		}
	}
	return out, nil
}

func deadBatch(events []market.Event) (*mdv1.DeadLetterBatch, error) {
	letters, err := gather(events, func(d *market.DeadLetter) string { _, t := d.Tokens(); return t[0] + " " + t[1] }, func(d *market.DeadLetter) *mdv1.DeadLetter {
		return &mdv1.DeadLetter{
			Meta: metaOf(&d.Meta), Of: d.Of, Created: d.Created, Seq: d.Seq, Idx: d.Idx, Subject: d.Subject, Reason: string(d.Reason),
			Detail: d.Detail, Payload: d.Payload, PayloadBytes: d.PayloadBytes,
		}
	})
	if err != nil {
		return nil, err
	}
	return &mdv1.DeadLetterBatch{Source: events[0].GetMeta().Source, Letters: letters}, nil
}

func decodeDead(data []byte) ([]market.Event, error) {
	var b mdv1.DeadLetterBatch
	if err := b.UnmarshalVTUnsafe(data); err != nil {
		return nil, err
	}
	return spread(b.Letters, func(p *mdv1.DeadLetter, d *market.DeadLetter) error {
		*d = market.DeadLetter{
			Meta: toMeta(b.Source, p.Meta), Of: p.Of, Created: p.Created, Seq: p.Seq, Idx: p.Idx, Subject: p.Subject,
			Reason: market.Reason(p.Reason), Detail: p.Detail, Payload: p.Payload, PayloadBytes: p.PayloadBytes,
		}
		return nil
	})
}
