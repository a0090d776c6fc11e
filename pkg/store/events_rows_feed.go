package store

import (
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// feedEventRow is a row of feed_events.
type feedEventRow struct {
	state, detail string
}

func (r *feedEventRow) dest() []any {
	return []any{
		&r.state, &r.detail,
	}
}

func (r *feedEventRow) event(m market.Meta) (market.Event, error) {
	return &market.FeedEvent{
		Meta: m, State: market.FeedState(r.state), Detail: r.detail,
	}, nil
}

// feedGapRow is a row of feed_gaps.
type feedGapRow struct {
	gapID, symbol    string
	fromTime, toTime *time.Time
	reason, state    string
	recovered        uint64
}

func feedGapColumns() []string {
	return []string{
		"gap_id", "symbol", "from_time", "to_time", "reason", "state", "recovered",
	}
}

func (r *feedGapRow) dest() []any {
	return []any{
		&r.gapID, &r.symbol, &r.fromTime, &r.toTime, &r.reason, &r.state, &r.recovered,
	}
}

func (r *feedGapRow) event(m market.Meta) (market.Event, error) {
	return &market.FeedGap{
		Meta: m, GapID: r.gapID, Symbol: r.symbol, From: orZero(r.fromTime), To: orZero(r.toTime), Reason: r.reason,
		State: market.GapState(r.state), Recovered: r.recovered,
	}, nil
}

// deadLetterRow is a row of dead_letters.
type deadLetterRow struct {
	deadStream                       string
	deadCreatedS                     int64
	deadSeq                          uint64
	deadIdx                          int32
	subject, reason, detail, payload string
	payloadBytes                     uint64
}

func deadLetterColumns() []string {
	return []string{
		"dead_stream", "dead_created_s", "dead_seq", "dead_idx", "subject", "reason", "detail", "payload", "payload_bytes",
	}
}

func (r *deadLetterRow) dest() []any {
	return []any{
		&r.deadStream, &r.deadCreatedS, &r.deadSeq, &r.deadIdx, &r.subject, &r.reason, &r.detail, &r.payload, &r.payloadBytes,
	}
}

func (r *deadLetterRow) event(m market.Meta) (market.Event, error) {
	return &market.DeadLetter{
		Meta: m, Of: r.deadStream, Created: r.deadCreatedS, Seq: r.deadSeq, Idx: r.deadIdx, Subject: r.subject,
		Reason: market.Reason(r.reason), Detail: r.detail, Payload: append([]byte(nil), r.payload...), PayloadBytes: r.payloadBytes,
	}, nil
}
