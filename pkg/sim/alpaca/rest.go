package alpaca

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

// query of the history, its common parameters parsed.
type query struct {
	symbols    []string
	start, end time.Time
	limit      int
	timeframe  string
	after      *position // from the page token
	// loop and flood are faults: the next page is this one; there is always another page.
	loop, flood bool
}

// position is where a page ended.
type position struct {
	symbol string
	at     int64
	id     uint64
}

// row is one record of an answer, encoded.
type row struct {
	at   int64
	id   uint64
	json []byte
}

func (p position) token() string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s|%s|P|%020d", p.symbol, stamp(p.at).Format("2006-01-02T15:04:05.000000000Z"), p.id))
}

func parseToken(text string) (*position, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(string(raw), "|")
	if len(parts) != 4 {
		return nil, fmt.Errorf("%d parts", len(parts))
	}
	at, err := time.Parse(time.RFC3339Nano, parts[1])
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseUint(parts[3], 10, 64)
	return &position{parts[0], at.UnixNano(), id}, err
}

type apiError struct {
	status, code int
	message      string
}

func (e *apiError) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"code": e.code, "message": e.message}) // the client may be gone
}

// rest wraps a history endpoint: faults, rate limit, keys, parameters.
func (s *Server) rest(serve func(q query) ([]byte, *apiError)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f := s.nextFault(); f != nil && (f.Status != 0 || f.Body != "") {
			w.WriteHeader(max(f.Status, http.StatusOK))
			_, _ = w.Write([]byte(f.Body))
			return
		} else if f != nil && f.Truncate {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write([]byte(`{"trades":{"`))
			panic(http.ErrAbortHandler)
		}
		if !s.allow(w, s.clock.Now()) {
			(&apiError{http.StatusTooManyRequests, 42910000, "rate limit exceeded"}).write(w)
			return
		}
		key, secret := r.Header.Get("APCA-API-KEY-ID"), r.Header.Get("APCA-API-SECRET-KEY")
		if key == "" || s.cfg.Key != "" && (key != s.cfg.Key || secret != s.cfg.Secret) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"message": "forbidden."}` + "\n"))
			return
		}
		q, bad := s.parse(r)
		q.loop, q.flood = s.http.Paging()
		var body []byte
		if bad == nil {
			body, bad = serve(q)
		}
		if bad != nil {
			bad.write(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if s.rec != nil {
			// The recording's own clock: a day that was not over when it was made must not pass for a closed one.
			w.Header().Set("Date", s.rec.madeAt.Format(http.TimeFormat))
			if strings.Contains(string(body[:min(len(body), 64)]), `"next_page_token":null`) {
				w.Header().Set("Hashpivot-Recording", "end")
			}
		}
		_, _ = w.Write(body)
	}
}

func (s *Server) nextFault() *Fault {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	if len(s.faults) == 0 {
		return nil
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return &f
}

// allow keeps the rate limit, over the last minute, and writes its headers.
func (s *Server) allow(w http.ResponseWriter, now time.Time) bool {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	s.calls = slices.DeleteFunc(s.calls, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	ok := len(s.calls) < s.cfg.RequestsPerMinute
	if ok {
		s.calls = append(s.calls, now)
	}
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(s.cfg.RequestsPerMinute))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(s.cfg.RequestsPerMinute-len(s.calls)))
	reset := now.Add(time.Minute)
	if len(s.calls) > 0 {
		reset = s.calls[0].Add(time.Minute)
	}
	h.Set("X-RateLimit-Reset", strconv.FormatInt(reset.Add(time.Second-1).Unix(), 10))
	return ok
}

func (s *Server) parse(r *http.Request) (query, *apiError) {
	v := r.URL.Query()
	bad := func(format string, args ...any) (query, *apiError) {
		return query{}, &apiError{http.StatusBadRequest, 40010001, fmt.Sprintf(format, args...)}
	}
	now := s.clock.Now()
	q := query{limit: 1000, end: now, start: now.Truncate(24 * time.Hour), timeframe: v.Get("timeframe")}
	for _, symbol := range strings.Split(v.Get("symbols"), ",") {
		if symbol != "" {
			q.symbols = append(q.symbols, symbol)
		}
	}
	if len(q.symbols) == 0 {
		return bad("symbols is required")
	}
	slices.Sort(q.symbols)
	q.symbols = slices.Compact(q.symbols)
	for name, to := range map[string]*time.Time{"start": &q.start, "end": &q.end} {
		text := v.Get(name)
		if text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			if t, err = time.Parse(time.DateOnly, text); err != nil {
				return bad("invalid %s", name)
			}
		}
		*to = t
	}
	if q.end.Before(q.start) {
		return bad("end should not be before start")
	}
	if text := v.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 10_000 {
			return bad("limit must be between 1 and 10000")
		}
		q.limit = n
	}
	if text := v.Get("page_token"); text != "" {
		p, err := parseToken(text)
		if err != nil {
			return bad("invalid page_token")
		}
		q.after = p
	}
	if s.cfg.RecentBarred && (v.Get("feed") == "" || v.Get("feed") == "sip") && v.Get("end") != "" && now.Sub(q.end) < 15*time.Minute {
		return query{}, &apiError{http.StatusForbidden, 42210000, "subscription does not permit querying recent SIP data"}
	}
	return q, nil
}

// page fills an answer: symbol after symbol, until the limit.
func page(name string, q query, rows func(symbol string, from position, limit int) []row) []byte {
	records := make(map[string][]row, len(q.symbols))
	var order []string
	left := q.limit
	next := ""
	for _, symbol := range q.symbols {
		from := position{symbol: symbol, at: q.start.UnixNano()}
		if q.after != nil {
			if symbol < q.after.symbol {
				continue
			}
			if symbol == q.after.symbol {
				from.at, from.id = q.after.at, q.after.id+1
			}
		}
		got := rows(symbol, from, left)
		if len(got) > 0 {
			records[symbol] = got
			order = append(order, symbol)
			left -= len(got)
		}
		if left == 0 {
			// There may be no more: then the next page is empty, as the venue's is.
			last := got[len(got)-1]
			next = position{symbol, last.at, last.id}.token()
			break
		}
	}
	switch {
	case q.loop && q.after != nil:
		next = q.after.token()
	case q.loop:
		next = position{q.symbols[0], q.start.UnixNano(), 0}.token()
	case q.flood && next == "":
		next = position{"~", time.Now().UnixNano(), 0}.token() // behind all symbols
	}
	b := []byte(`{"next_page_token":null,"`)
	if next != "" {
		b = append([]byte(`{"next_page_token":"`), next...)
		b = append(b, `","`...)
	}
	b = append(append(b, name...), `":{`...)
	for i, symbol := range order {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), symbol...), `":[`...)
		for j, r := range records[symbol] {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(b, r.json...)
		}
		b = append(b, ']')
	}
	return append(b, `}}`...)
}

// tickSpan is the buckets of a query, cut to what the simulator tells.
func (s *Server) tickSpan(from position, end time.Time) (first, last, now int64) {
	now = s.done.Load()
	first = max(from.at/int64(tape.Bucket), now-int64(s.cfg.TickHistory/tape.Bucket))
	return first, min(tape.BucketOf(end), now), now
}

func (s *Server) serveTrades(q query) ([]byte, *apiError) {
	return page("trades", q, func(symbol string, from position, limit int) (out []row) {
		if s.rec != nil {
			return nil // no prints were recorded
		}
		sec := s.gen.Security(symbol)
		if sec == nil {
			return nil
		}
		var scratch []tape.Tick
		var prints []tape.Told
		end := q.end.UnixNano()
		first, last, now := s.tickSpan(from, q.end)
		for b := first; b <= last; b++ {
			scratch, prints = s.gen.Prints(sec, b, now, scratch, prints[:0])
			for i := range prints {
				p := &prints[i]
				if p.At < from.at || p.At == from.at && p.ID < from.id || p.At > end {
					continue
				}
				out = append(out, row{p.At, p.ID, appendTold(nil, p)})
				if len(out) == limit {
					return out
				}
			}
		}
		return out
	}), nil
}

func (s *Server) serveQuotes(q query) ([]byte, *apiError) {
	return page("quotes", q, func(symbol string, from position, limit int) (out []row) {
		if s.rec != nil {
			return nil
		}
		sec := s.gen.Security(symbol)
		if sec == nil {
			return nil
		}
		var scratch []tape.Tick
		end := q.end.UnixNano()
		first, last, _ := s.tickSpan(from, q.end)
		for b := first; b <= last; b++ {
			scratch = s.gen.Made(sec, b, scratch[:0])
			for i := range scratch {
				// A quote has no id; two of one symbol never share a time.
				if x := &scratch[i]; x.Kind == 'q' && x.At <= end && (x.At > from.at || x.At == from.at && from.id == 0) {
					out = append(out, row{x.At, 0, appendToldQuote(nil, x)})
					if len(out) == limit {
						return out
					}
				}
			}
		}
		return out
	}), nil
}

type barKey struct {
	symbol string
	at     int64
}

type cachedBar struct {
	tape.Bar
	ok bool
}

func (s *Server) serveBars(q query) ([]byte, *apiError) {
	var rows func(symbol string, from position, limit int) []row
	switch {
	case q.timeframe != "1Min" && q.timeframe != "1Day":
		return nil, &apiError{http.StatusBadRequest, 40010001, fmt.Sprintf("invalid timeframe: %.32q; this simulator has 1Min and 1Day", q.timeframe)}
	case s.rec != nil:
		rows = func(symbol string, from position, limit int) []row {
			return s.rec.rows(q.timeframe, symbol, from, q.end, limit)
		}
	case q.timeframe == "1Min":
		rows = func(symbol string, from position, limit int) []row { return s.minuteRows(symbol, from, q.end, limit) }
	default:
		rows = func(symbol string, from position, limit int) []row { return s.dailyRows(symbol, from, q.end, limit) }
	}
	return page("bars", q, rows), nil
}

func barRow(x *tape.Bar) row {
	b := stamp(x.At).AppendFormat([]byte(`{"t":"`), time.RFC3339Nano)
	return row{x.At, 0, append(appendBarFields(append(b, '"'), x), '}')}
}

func (s *Server) minuteRows(symbol string, from position, end time.Time, limit int) (out []row) {
	sec := s.gen.Security(symbol)
	if sec == nil {
		return nil
	}
	first, last, now := s.tickSpan(from, end)
	first = (first + tape.PerMinute - 1) / tape.PerMinute * tape.PerMinute
	for b := first; b <= last && b+tape.PerMinute <= now+1; b += tape.PerMinute {
		at := b * int64(tape.Bucket)
		if at < from.at || at == from.at && from.id > 0 {
			continue
		}
		if x, ok := s.cachedMinute(sec, b, now); ok {
			if out = append(out, barRow(&x)); len(out) == limit {
				break
			}
		}
	}
	return out
}

// cacheBars bounds each cache of bars; a full one is emptied.
const cacheBars = 50_000

func (s *Server) cachedMinute(sec *tape.Security, first, now int64) (tape.Bar, bool) {
	key := barKey{sec.Symbol, first}
	s.barMu.Lock()
	c, ok := s.minute[key]
	s.barMu.Unlock()
	if ok {
		return c.Bar, c.ok
	}
	b, ok := s.gen.MinuteBar(sec, first, now)
	if now > first+tape.PerMinute+s.gen.Settled() { // nothing can change it any more
		s.barMu.Lock()
		if len(s.minute) >= cacheBars {
			clear(s.minute)
		}
		s.minute[key] = cachedBar{b, ok}
		s.barMu.Unlock()
	}
	return b, ok
}

func (s *Server) dailyRows(symbol string, from position, end time.Time, limit int) (out []row) {
	sec := s.gen.Security(symbol)
	if sec == nil {
		return nil
	}
	now := tape.BucketTime(s.done.Load() + 1)
	oldest := now.Add(-s.cfg.DailyHistory)
	start := stamp(max(from.at, oldest.UnixNano()))
	for d := s.cal.DateOf(start); ; d = d.AddDays(1) {
		at := s.cal.Midnight(d)
		if at.After(end) || !at.Before(now) {
			return out
		}
		if at.UnixNano() < from.at || at.UnixNano() == from.at && from.id > 0 {
			continue
		}
		key := barKey{symbol, at.UnixNano()}
		s.barMu.Lock()
		x, ok := s.daily[key]
		s.barMu.Unlock()
		if !ok {
			if x, ok = s.gen.DailyBar(s.cal, sec, d, now); !ok {
				continue
			}
			if !s.cal.TradeDateEnd(d).After(now) {
				s.barMu.Lock()
				if len(s.daily) >= cacheBars {
					clear(s.daily)
				}
				s.daily[key] = x
				s.barMu.Unlock()
			}
		}
		if out = append(out, barRow(&x)); len(out) == limit {
			return out
		}
	}
}
