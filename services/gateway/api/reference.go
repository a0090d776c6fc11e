package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

type gapsAnswer struct {
	Gaps []json.RawMessage `json:"gaps"`
	// Next is the before of the next page; null: there are no more.
	Next *string `json:"next"`
}

// gaps answers the ledger, the last state of each gap, newest first: by when JetStream stored it, since the sequences of a stream that was made again begin anew.
func (h *handler) gaps(r *http.Request, p *params) (answer, error) {
	if err := p.only("source", "symbol", "state", "from", "to", "limit", "before"); err != nil {
		return answer{}, err
	}
	sources, err := p.patterns("source")
	if err != nil {
		return answer{}, err
	}
	symbols, err := p.patterns("symbol")
	if err != nil {
		return answer{}, err
	}
	limit, err := p.limit()
	if err != nil {
		return answer{}, err
	}
	from, err := p.time("from")
	if err != nil {
		return answer{}, err
	}
	to, err := p.time("to")
	if err != nil {
		return answer{}, err
	}
	if err := h.Authorize(r, live.Feeds, sources); err != nil {
		return answer{}, err
	}
	where := []string{matchAny("source", sources), matchAny("symbol", symbols)}
	if s := p.text("state"); s != "" {
		where = append(where, "state = "+store.QuoteText(s))
	}
	if !from.IsZero() {
		where = append(where, "(to_time IS NULL OR to_time >= "+store.QuoteTime(from)+")")
	}
	if !to.IsZero() {
		where = append(where, "(from_time IS NULL OR from_time < "+store.QuoteTime(to)+")")
	}
	if b := p.text("before"); b != "" {
		when, place, _ := strings.Cut(b, "/")
		at, terr := live.ParseFrom(when)
		c, err := live.ParseCursor(place)
		if err != nil || terr != nil || at.Kind != live.FromTime || c.Stream != market.Feeds {
			return answer{}, live.Errorf(live.CodeBadCursor, "before %.80q is not the next of a page of gaps", b)
		}
		where = append(where, fmt.Sprintf("(stream_time, stream_seq, idx) < (%s, %d, %d)", store.QuoteTime(at.Time), c.Seq, c.Idx))
	}
	rows, err := h.rows(r.Context(), "SELECT 'feed_gap' AS type, concat('FEEDS:', toString(stream_seq), ':', toString(idx)) AS cursor, stream_time, event_time, recv_time, source, rev, backfill,"+
		" gap_id, symbol, from_time, to_time, reason, state, recovered FROM feed_gaps_now WHERE "+strings.Join(where, " AND ")+
		fmt.Sprintf(" ORDER BY stream_time DESC, stream_seq DESC, idx DESC LIMIT %d", limit+1))
	if err != nil {
		return answer{}, err
	}
	a := gapsAnswer{Gaps: rows}
	if len(rows) > limit {
		a.Gaps = rows[:limit]
		var last struct {
			StreamTime string `json:"stream_time"`
			Cursor     string `json:"cursor"`
		}
		if err := json.Unmarshal(a.Gaps[limit-1], &last); err != nil {
			return answer{}, err
		}
		next := last.StreamTime + "/" + last.Cursor
		a.Next = &next
	}
	return answer{a, cacheNo}, nil
}

// instruments answers the list of instruments over time.
func (h *handler) instruments(r *http.Request, p *params) (answer, error) {
	if err := p.only("symbols"); err != nil {
		return answer{}, err
	}
	symbols, err := p.patterns("symbols")
	if err != nil {
		return answer{}, err
	}
	if err := h.anyGrant(r); err != nil {
		return answer{}, err
	}
	rows, err := h.rows(r.Context(), fmt.Sprintf("SELECT id, symbol, name, listing, tape, from_date, nullIf(to_date, toDate('2149-06-06')) AS until_date, exact, source FROM instruments_now WHERE %s"+
		" ORDER BY symbol, from_date LIMIT %d", matchAny("symbol", symbols), maxRows))
	if err != nil {
		return answer{}, err
	}
	return answer{struct {
		Instruments []json.RawMessage `json:"instruments"`
	}{rows}, cacheMinute}, nil
}

// events answers what a chart should mark, and the contracts with AI behind it.
func (h *handler) events(r *http.Request, p *params) (answer, error) {
	if err := p.only("symbols", "from", "to"); err != nil {
		return answer{}, err
	}
	symbols, err := p.patterns("symbols")
	if err != nil {
		return answer{}, err
	}
	from, err := p.time("from")
	if err != nil {
		return answer{}, err
	}
	to, err := p.time("to")
	if err != nil {
		return answer{}, err
	}
	if err := h.anyGrant(r); err != nil {
		return answer{}, err
	}
	within := func(column string) string {
		s := ""
		if !from.IsZero() {
			s += " AND " + column + " >= toDate('" + from.UTC().Format(time.DateOnly) + "')"
		}
		if !to.IsZero() {
			s += " AND " + column + " <= toDate('" + to.UTC().Format(time.DateOnly) + "')"
		}
		return s
	}
	match := matchAny("symbol", symbols)
	events, err := h.rows(r.Context(), fmt.Sprintf("SELECT date, symbol, kind, exact, title, at, confirmed, source FROM market_events_now WHERE (symbol = '' OR %s)%s ORDER BY date, symbol LIMIT %d",
		match, within("date"), maxRows))
	if err != nil {
		return answer{}, err
	}
	contracts, err := h.rows(r.Context(), fmt.Sprintf("SELECT symbol, counterparty, kind, signed, exact, mw, gpus, value_usd, years, title, at, confirmed, source FROM ai_contracts_now WHERE %s%s"+
		" ORDER BY signed, symbol LIMIT %d", match, within("signed"), maxRows))
	if err != nil {
		return answer{}, err
	}
	return answer{struct {
		Events    []json.RawMessage `json:"events"`
		Contracts []json.RawMessage `json:"contracts"`
	}{events, contracts}, cacheMinute}, nil
}
