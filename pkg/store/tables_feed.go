package store

import "github.com/hashpivot/hashpivot/pkg/market"

// feedEventRows are rows of feed_events.
type feedEventRows struct {
	common
	state  dict
	detail text
}

func newFeedEventRows() rows[*market.FeedEvent] {
	return &feedEventRows{common: newCommon(), state: newDict("state"), detail: newText("detail")}
}

func (r *feedEventRows) columns() []col { return r.cols(&r.state, &r.detail) }

func (r *feedEventRows) add(e *market.FeedEvent, at market.Place) error {
	c := check{table: tableFeedEvents}
	p := c.place(&e.Meta, at)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.state.add(string(e.State))
	r.detail.add(e.Detail)
	return nil
}

// feedGapRows are rows of feed_gaps.
type feedGapRows struct {
	common
	gap       text
	symbol    dict
	from, to  nullable
	reason    text
	state     dict
	recovered fixed
}

func newFeedGapRows() rows[*market.FeedGap] {
	return &feedGapRows{
		common:    newCommon(),
		gap:       newText("gap_id"),
		symbol:    newDict("symbol"),
		from:      newNullable("from_time", timeType),
		to:        newNullable("to_time", timeType),
		reason:    newText("reason"),
		state:     newDict("state"),
		recovered: newFixed("recovered", "UInt64", 8),
	}
}

func (r *feedGapRows) columns() []col {
	return r.cols(&r.gap, &r.symbol, &r.from, &r.to, &r.reason, &r.state, &r.recovered)
}

func (r *feedGapRows) add(e *market.FeedGap, at market.Place) error {
	c := check{table: tableFeedGaps}
	p := c.place(&e.Meta, at)
	c.timeOrNone("from_time", e.From)
	c.timeOrNone("to_time", e.To)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.gap.add(e.GapID)
	r.symbol.add(e.Symbol)
	r.from.time(e.From)
	r.to.time(e.To)
	r.reason.add(e.Reason)
	r.state.add(string(e.State))
	r.recovered.u64(e.Recovered)
	return nil
}

// deadLetterRows are rows of dead_letters.
type deadLetterRows struct {
	common
	of           dict
	created      fixed
	seq, index   fixed
	subject      text
	reason       dict
	detail       text
	payload      text
	payloadBytes fixed
}

func newDeadLetterRows() rows[*market.DeadLetter] {
	return &deadLetterRows{
		common:       newCommon(),
		of:           newDict("dead_stream"),
		created:      newFixed("dead_created_s", "Int64", 8),
		seq:          newFixed("dead_seq", "UInt64", 8),
		index:        newFixed("dead_idx", "Int32", 4),
		subject:      newText("subject"),
		reason:       newDict("reason"),
		detail:       newText("detail"),
		payload:      newText("payload"),
		payloadBytes: newFixed("payload_bytes", "UInt64", 8),
	}
}

func (r *deadLetterRows) columns() []col {
	return r.cols(&r.of, &r.created, &r.seq, &r.index, &r.subject, &r.reason, &r.detail, &r.payload, &r.payloadBytes)
}

func (r *deadLetterRows) add(e *market.DeadLetter, at market.Place) error {
	c := check{table: tableDeadLetters}
	p := c.place(&e.Meta, at)
	if err := c.failed(); err != nil {
		return err
	}
	r.common.add(p)
	r.of.add(e.Of)
	r.created.i64(e.Created)
	r.seq.u64(e.Seq)
	r.index.u32(uint32(e.Idx))
	r.subject.add(e.Subject)
	r.reason.add(string(e.Reason))
	r.detail.add(e.Detail)
	r.payload.add(string(e.Payload))
	r.payloadBytes.u64(e.PayloadBytes)
	return nil
}
