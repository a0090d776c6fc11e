package massive

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

const limitBody = `{"status":"ERROR","request_id":"simulated","error":"You've exceeded the maximum requests per minute, please wait or upgrade your subscription to continue. https://massive.com/pricing"}`

// requestID of every answer: the simulator's answers are a function of the time alone.
const requestID = "simulated"

// apiError is an answer that is none.
type apiError struct {
	status int
	body   map[string]string
}

func (e *apiError) write(w http.ResponseWriter) {
	e.body["request_id"] = requestID
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(e.body) // the client may be gone
}

func badRequest(format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, map[string]string{"status": "ERROR", "error": fmt.Sprintf(format, args...)}}
}

// row is a record of an answer.
type row struct {
	at, seq int64
	json    []byte
}

// rest wraps an endpoint: rate limit and key.
func (s *Server) rest(serve func(r *http.Request, q url.Values) ([]byte, *apiError)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		q := r.URL.Query()
		key, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !bearer {
			key = q.Get("apiKey")
		}
		switch {
		case key == "" || s.cfg.Key != "" && key != s.cfg.Key:
			(&apiError{http.StatusUnauthorized, map[string]string{"status": "ERROR", "error": "Unknown API Key"}}).write(w)
			return
		case !s.allow(s.cfg.Now()):
			status := http.StatusTooManyRequests
			if s.cfg.LimitWith200 {
				status = http.StatusOK
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(limitBody))
			return
		}
		body, bad := serve(r, q)
		if bad != nil {
			bad.write(w)
			return
		}
		_, _ = w.Write(body)
	}
}

func (s *Server) allow(now time.Time) bool {
	if s.cfg.RequestsPerMinute == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = slices.DeleteFunc(s.calls, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if len(s.calls) >= s.cfg.RequestsPerMinute {
		return false
	}
	s.calls = append(s.calls, now)
	return true
}

// inPlan refuses what the plan does not have.
func (s *Server) inPlan(topic string) *apiError {
	if !slices.Contains(s.cfg.NotInPlan, topic) {
		return nil
	}
	return &apiError{http.StatusForbidden, map[string]string{
		"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data. Please upgrade your plan at https://massive.com/pricing",
	}}
}

// span is what a query of prints or quotes asks for: from <= time < to, in ns. A cursor carries it and where the page before it ended.
type span struct {
	from, to int64
	desc     bool
	limit    int
	after    *row
}

func (s *Server) span(q url.Values) (span, *apiError) {
	if c := q.Get("cursor"); c != "" {
		x, err := parseCursor(c)
		if err != nil {
			return span{}, badRequest("Could not parse the cursor")
		}
		return x, nil
	}
	x := span{from: 0, to: s.cfg.Now().UnixNano() + 1, limit: 1000, desc: q.Get("order") != "asc"}
	for name, set := range map[string]func(t, end int64){
		"timestamp":     func(t, end int64) { x.from, x.to = t, end },
		"timestamp.gte": func(t, _ int64) { x.from = t },
		"timestamp.gt":  func(t, _ int64) { x.from = t + 1 },
		"timestamp.lt":  func(t, _ int64) { x.to = t },
		"timestamp.lte": func(t, end int64) { x.to = end },
	} {
		if text := q.Get(name); text != "" {
			t, end, err := s.timestamp(text)
			if err != nil {
				return span{}, badRequest("Could not parse the parameter %s", name)
			}
			set(t, end)
		}
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 50_000 {
			return span{}, badRequest("The limit must be between 1 and 50000")
		}
		x.limit = n
	}
	return x, nil
}

// timestamp reads ns or a date, and where it ends.
func (s *Server) timestamp(text string) (at, end int64, err error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, n + 1, nil
	}
	d, err := session.ParseDate(text)
	if err != nil {
		return 0, 0, err
	}
	return s.cal.Midnight(d).UnixNano(), s.cal.Midnight(d.AddDays(1)).UnixNano(), nil
}

func (x span) cursor(last row) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d|%d|%t|%d|%d|%d", x.from, x.to, x.desc, x.limit, last.at, last.seq))
}

func parseCursor(text string) (x span, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return x, err
	}
	x.after = &row{}
	_, err = fmt.Sscanf(strings.ReplaceAll(string(raw), "|", " "), "%d %d %t %d %d %d", &x.from, &x.to, &x.desc, &x.limit, &x.after.at, &x.after.seq)
	return x, err
}

// page answers with the rows of a span, in its order. rows gives those of a bucket, oldest first.
func (s *Server) page(r *http.Request, x span, rows func(b int64) []row) []byte {
	newest := s.done.Load()
	first := max(x.from/int64(tape.Bucket), newest-int64(s.cfg.TickHistory/tape.Bucket))
	last := min((x.to-1)/int64(tape.Bucket), newest)
	var out []row
	take := func(list []row) (full bool) {
		order := func(a, b row) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq)) }
		slices.SortFunc(list, order)
		if x.desc {
			slices.Reverse(list)
		}
		for _, y := range list {
			if y.at < x.from || y.at >= x.to {
				continue
			}
			if x.after != nil {
				if c := order(y, *x.after); c == 0 || c < 0 != x.desc {
					continue
				}
			}
			if out = append(out, y); len(out) == x.limit {
				return true
			}
		}
		return false
	}
	full := false
	if x.desc {
		if x.after != nil {
			last = min(last, x.after.at/int64(tape.Bucket))
		}
		for b := last; b >= first && !full; b-- {
			full = take(rows(b))
		}
	} else {
		if x.after != nil {
			first = max(first, x.after.at/int64(tape.Bucket))
		}
		for b := first; b <= last && !full; b++ {
			full = take(rows(b))
		}
	}
	body := fmt.Appendf(nil, `{"status":"OK","request_id":%q`, requestID)
	loop, flood := s.faults.Paging()
	switch {
	case loop:
		body = fmt.Appendf(body, `,"next_url":"http://%s%s"`, r.Host, r.URL.RequestURI())
	case flood:
		body = fmt.Appendf(body, `,"next_url":"http://%s%s?cursor=%s"`, r.Host, r.URL.EscapedPath(), x.cursor(row{at: x.to, seq: s.flood.Add(1)}))
	case full:
		// The key is not in it: the client adds it again. There may be no more: then the next page is empty.
		body = fmt.Appendf(body, `,"next_url":"http://%s%s?cursor=%s"`, r.Host, r.URL.EscapedPath(), x.cursor(out[len(out)-1]))
	}
	return appendResults(body, out)
}

func appendResults(body []byte, rows []row) []byte {
	body = append(body, `,"results":[`...)
	for i, y := range rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, y.json...)
	}
	return append(body, `]}`...)
}

// corrections by the fate of a print, as the SIPs code them.
var corrections = map[string]int{"": 0, "incorrect": 1, "canceled": 8, "corrected": 12}

func (s *Server) serveTrades(r *http.Request, q url.Values) ([]byte, *apiError) {
	if bad := s.inPlan("T"); bad != nil {
		return nil, bad
	}
	x, bad := s.span(q)
	if bad != nil {
		return nil, bad
	}
	sec := s.tape.Security(r.PathValue("ticker"))
	now := s.done.Load()
	var scratch []tape.Tick
	var prints []tape.Told
	return s.page(r, x, func(b int64) (out []row) {
		if sec == nil {
			return nil
		}
		scratch, prints = s.tape.Prints(sec, b, now, scratch, prints[:0])
		for i := range prints {
			p := &prints[i]
			out = append(out, row{p.At, int64(p.Sequence), appendPrint(nil, p)})
		}
		return out
	}), nil
}

// participantLag is how much earlier than the SIP's the exchange's time is.
const participantLag = int64(300 * time.Microsecond)

func appendPrint(b []byte, p *tape.Told) []byte {
	b = append(b, '{')
	if c := conditions(p.Security.Tape, p.Conditions); len(c) > 0 {
		b = append(ints(append(b, `"conditions":`...), c), ',')
	}
	id, at := 0, int64(0)
	if p.Exchange == 'D' {
		id, at = trf, p.At-participantLag/2
	}
	return fmt.Appendf(b, `"correction":%d,"decimal_size":"%d","exchange":%d,"id":"%d","participant_timestamp":%d,"price":%s,"sequence_number":%d,"sip_timestamp":%d,"size":%d,"tape":%d,"trf_id":%d,"trf_timestamp":%d}`,
		corrections[p.Update], p.Size, exchangeIDs[p.Exchange], p.ID, p.At-participantLag, usd(p.Price), p.Sequence, p.At, p.Size,
		tapeIDs[p.Security.Tape], id, at)
}

func (s *Server) serveQuotes(r *http.Request, q url.Values) ([]byte, *apiError) {
	if bad := s.inPlan("Q"); bad != nil {
		return nil, bad
	}
	x, bad := s.span(q)
	if bad != nil {
		return nil, bad
	}
	sec := s.tape.Security(r.PathValue("ticker"))
	var scratch []tape.Tick
	return s.page(r, x, func(b int64) (out []row) {
		if sec == nil {
			return nil
		}
		scratch = s.tape.Made(sec, b, scratch[:0])
		for i := range scratch {
			if t := &scratch[i]; t.Kind == 'q' {
				out = append(out, row{t.At, int64(t.Sequence), fmt.Appendf(nil,
					`{"ask_exchange":%d,"ask_price":%s,"ask_size":%d,"bid_exchange":%d,"bid_price":%s,"bid_size":%d,"conditions":[1],"indicators":[604],"participant_timestamp":%d,"sequence_number":%d,"sip_timestamp":%d,"tape":%d}`,
					exchangeIDs[t.AskExchange], usd(t.Ask), t.AskSize/lot, exchangeIDs[t.Exchange], usd(t.Price), t.Size/lot,
					t.At-participantLag, t.Sequence, t.At, tapeIDs[sec.Tape])})
			}
		}
		return out
	}), nil
}
