package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

type historyAnswer struct {
	Epoch    string            `json:"epoch"`
	Messages []json.RawMessage `json:"messages"`
	// Next is the from of the next page; null: there is no more now.
	Next *string `json:"next"`
	// Through is the cursor up to which the tables have everything.
	Through string `json:"through,omitempty"`
}

// errFull ends a page that is large enough.
var errFull = errors.New("page is full")

// orderEventTime is the order by the venues' time; without it history comes by place.
const orderEventTime = "event_time"

// history answers messages as they were sent live, page by page.
func (h *handler) history(r *http.Request, p *params) (answer, error) {
	if err := p.only("channel", "symbols", "source", "interval", "from", "to", "limit", "order", "epoch"); err != nil {
		return answer{}, err
	}
	spec, err := p.spec()
	if err != nil {
		return answer{}, err
	}
	limit, err := p.limit()
	if err != nil {
		return answer{}, err
	}
	order := p.text("order")
	if order != "" && order != "place" && order != orderEventTime {
		return answer{}, live.Errorf(live.CodeBadRequest, "order %.16q is neither place nor event_time", order)
	}
	if err := h.Authorize(r, spec.Channel, spec.Symbols); err != nil {
		return answer{}, err
	}
	stream := spec.Stream()
	epoch, through, err := h.landed(r, stream)
	if err != nil {
		return answer{}, err
	}
	if asked := p.text("epoch"); asked != "" && asked != strconv.FormatInt(epoch, 10) {
		return answer{}, live.Errorf(live.CodeOtherEpoch, "stream %s was made again since: its epoch is %d, yours %.32s; begin anew", stream, epoch, asked)
	}
	q := store.EventQuery{
		Stream: stream, Keys: spec.Symbols, Source: spec.Source, Interval: spec.Interval, ThroughSeq: through, StoredSince: time.Unix(0, epoch), Limit: limit + 1,
		ByEventTime: order == orderEventTime,
	}
	lastIdx := uint32(live.Whole)
	if q.ByEventTime {
		err = p.eventTimes(&q)
	} else {
		lastIdx, err = h.places(r, p, &q)
	}
	if err != nil {
		return answer{}, err
	}
	a := historyAnswer{Epoch: strconv.FormatInt(epoch, 10), Messages: []json.RawMessage{}, Through: live.Cursor{Stream: stream, Seq: through, Idx: live.Whole}.String()}
	if q.ThroughSeq == 0 { // nothing of it has landed: no bound would be everything
		return answer{a, cacheNo}, nil
	}
	size, next := 0, ""
	err = h.Store.Events(r.Context(), q, func(ev market.Event, at market.Place) error {
		if at.Seq == q.ThroughSeq && at.Idx > lastIdx {
			return nil
		}
		if len(a.Messages) == limit || size > maxBytes {
			a.Next = &next
			return errFull
		}
		m := live.AppendJSON(nil, ev, at)
		size += len(m)
		a.Messages = append(a.Messages, m)
		next = live.At(at).String()
		if q.ByEventTime {
			next = ev.GetMeta().EventTime.UTC().Format(time.RFC3339Nano) + "/" + next
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return answer{}, err
	}
	cache := cacheNo
	if a.Next != nil && !q.ByEventTime && p.text("epoch") != "" && p.text("from") != "" {
		// Nothing comes between places that have landed.
		a.Through = ""
		cache = cacheForever
	}
	return answer{a, cache}, nil
}

// landed is the life of the stream and up to where the tables have it whole.
func (h *handler) landed(r *http.Request, stream market.Stream) (epoch int64, through uint64, _ error) {
	epoch = h.Epoch(stream)
	if epoch == 0 {
		return 0, 0, live.Errorf(live.CodeUnavailable, "stream %s is not followed yet; try again", stream)
	}
	through, created, err := h.Landed(r.Context(), stream)
	if err != nil {
		return 0, 0, err
	}
	if created != epoch {
		through = 0
	}
	return epoch, through, nil
}

// places reads from and to in the order of place: cursors, or the times at which JetStream stored.
func (h *handler) places(r *http.Request, p *params, q *store.EventQuery) (lastIdx uint32, _ error) {
	from, to, err := p.ends()
	if err != nil {
		return 0, err
	}
	seq := func(f live.From) (live.Cursor, error) {
		if f.Kind == live.FromCursor {
			if f.Cursor.Stream != q.Stream {
				return f.Cursor, live.Errorf(live.CodeBadCursor, "cursor %s is of another stream; those of this channel begin with %s", f.Cursor, q.Stream)
			}
			return f.Cursor, nil
		}
		n, err := h.Store.SeqBetween(r.Context(), q.Stream, q.StoredSince, f.Time)
		return live.Cursor{Stream: q.Stream, Seq: n, Idx: live.Whole}, err
	}
	if from != nil {
		c, err := seq(*from)
		if err != nil {
			return 0, err
		}
		q.AfterSeq, q.AfterIdx = c.Seq, c.Idx
	}
	lastIdx = live.Whole
	if to != nil {
		c, err := seq(*to)
		if err != nil {
			return 0, err
		}
		if c.Seq <= q.ThroughSeq {
			q.ThroughSeq, lastIdx = c.Seq, c.Idx
		}
	}
	return lastIdx, nil
}

// ends reads from and to as times or cursors; nil where they are not given.
func (p *params) ends() (from, to *live.From, _ error) {
	for name, dst := range map[string]**live.From{"from": &from, "to": &to} {
		if p.text(name) == "" {
			continue
		}
		f, err := live.ParseFrom(p.text(name))
		if err != nil || f.Kind != live.FromTime && f.Kind != live.FromCursor {
			return nil, nil, live.Errorf(live.CodeBadFrom, "%s %.64q is neither a time nor a cursor", name, p.text(name))
		}
		*dst = &f
	}
	return from, to, nil
}

// eventTimes reads from and to in the order of event time: times, or the next of a page, which is a time and a cursor.
func (p *params) eventTimes(q *store.EventQuery) (err error) {
	when, place, ok := strings.Cut(p.text("from"), "/")
	if !ok {
		if q.From, err = p.time("from"); err != nil {
			return err
		}
		q.To, err = p.time("to")
		return err
	}
	f, err := live.ParseFrom(when)
	c, cerr := live.ParseCursor(place)
	if err != nil || cerr != nil || f.Kind != live.FromTime || c.Stream != q.Stream {
		return live.Errorf(live.CodeBadFrom, "from %.80q is neither a time nor the next of a page in this order", p.text("from"))
	}
	q.AfterTime, q.AfterSeq, q.AfterIdx = f.Time, c.Seq, c.Idx
	q.To, err = p.time("to")
	return err
}

type snapshotAnswer struct {
	Epoch    string            `json:"epoch"`
	Position string            `json:"position"`
	Messages []json.RawMessage `json:"messages"`
}

// snapshot answers the last value of each thing.
func (h *handler) snapshot(r *http.Request, p *params) (answer, error) {
	if err := p.only("channel", "symbols", "source", "interval"); err != nil {
		return answer{}, err
	}
	spec, err := p.spec()
	if err != nil {
		return answer{}, err
	}
	if err := h.Authorize(r, spec.Channel, spec.Symbols); err != nil {
		return answer{}, err
	}
	messages, at, err := h.Snapshot(r.Context(), spec)
	if err != nil {
		return answer{}, err
	}
	return answer{snapshotAnswer{strconv.FormatInt(h.Epoch(spec.Stream()), 10), at.String(), messages}, cacheNo}, nil
}
