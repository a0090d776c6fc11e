package massive

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

// serveAggs answers with the bars of a range whose start lies in it. from and to are dates or ms, both inclusive.
func (s *Server) serveAggs(r *http.Request, q url.Values) ([]byte, *apiError) {
	topic, seconds := "AM", int64(60)
	switch r.PathValue("timespan") {
	case "second":
		topic, seconds = "A", 1
	case "minute":
	case "day":
		seconds = 0
	default:
		return nil, badRequest("this simulator has the timespans second, minute and day")
	}
	if r.PathValue("multiplier") != "1" {
		return nil, badRequest("this simulator has the multiplier 1")
	}
	if bad := s.inPlan(topic); bad != nil {
		return nil, bad
	}
	from, _, err := s.aggTime(r.PathValue("from"))
	if err != nil {
		return nil, badRequest("Could not parse the time stamp from")
	}
	_, to, err := s.aggTime(r.PathValue("to"))
	if err != nil {
		return nil, badRequest("Could not parse the time stamp to")
	}
	if to.Before(from) {
		return nil, badRequest("The parameter 'to' cannot be a time that occurs before 'from'")
	}
	limit := 5000
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > 50_000 {
			return nil, badRequest("The limit must be between 1 and 50000")
		}
	}
	ticker := r.PathValue("ticker")
	var rows []row
	if sec := s.tape.Security(ticker); sec != nil && seconds > 0 {
		rows = s.spans(sec, from, to, seconds*perSecond, limit)
	} else if sec != nil {
		rows = s.days(sec, from, to, limit)
	}
	body := fmt.Appendf(nil, `{"ticker":%q,"adjusted":%t,"queryCount":%d,"resultsCount":%d,"count":%d,"status":"OK","request_id":%q`,
		ticker, q.Get("adjusted") != "false", len(rows), len(rows), len(rows), requestID)
	if len(rows) == limit {
		next := rows[len(rows)-1].at/millisecond + 1
		body = fmt.Appendf(body, `,"next_url":"http://%s/v2/aggs/ticker/%s/range/1/%s/%d/%d?adjusted=%s&limit=%d&sort=asc"`,
			r.Host, url.PathEscape(ticker), r.PathValue("timespan"), next, to.UnixMilli(), url.QueryEscape(q.Get("adjusted")), limit)
	}
	if len(rows) == 0 {
		return append(body, '}'), nil // no window: no results at all
	}
	return appendResults(body, rows), nil
}

// aggTime reads ms or a date, and the last moment that it means.
func (s *Server) aggTime(text string) (first, last time.Time, err error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		t := time.UnixMilli(n)
		return t, t, nil
	}
	d, err := session.ParseDate(text)
	if err != nil {
		return first, last, err
	}
	return s.cal.Midnight(d), s.cal.Midnight(d.AddDays(1)).Add(-time.Millisecond), nil
}

func aggregate(x *tape.Bar) row {
	return row{x.At, 0, fmt.Appendf(nil, `{"v":%d,"vw":%s,"o":%s,"c":%s,"h":%s,"l":%s,"t":%d,"n":%d}`,
		x.V, price(x.VW, 6), usd(x.O), usd(x.C), usd(x.H), usd(x.L), x.At/millisecond, x.N)}
}

// spans are the bars of n buckets each.
func (s *Server) spans(sec *tape.Security, from, to time.Time, n int64, limit int) (out []row) {
	now := s.done.Load()
	first := max(tape.BucketOf(from.Add(tape.Bucket-1)), now-int64(s.cfg.TickHistory/tape.Bucket))
	first = (first + n - 1) / n * n
	for b := first; b <= tape.BucketOf(to) && b+n <= now+1 && len(out) < limit; b += n {
		if x, ok := s.tape.SpanBar(sec, b, n, now); ok {
			out = append(out, aggregate(&x))
		}
	}
	return out
}

func (s *Server) days(sec *tape.Security, from, to time.Time, limit int) (out []row) {
	now := tape.BucketTime(s.done.Load() + 1)
	if oldest := now.Add(-s.cfg.DailyHistory); from.Before(oldest) {
		from = oldest
	}
	for d := s.cal.DateOf(from); len(out) < limit; d = d.AddDays(1) {
		at := s.cal.Midnight(d)
		if at.After(to) || !at.Before(now) {
			return out
		}
		if at.Before(from) {
			continue
		}
		if x, ok := s.tape.DailyBar(s.cal, sec, d, now); ok {
			out = append(out, aggregate(&x))
		}
	}
	return out
}
