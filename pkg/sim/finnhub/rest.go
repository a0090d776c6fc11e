package finnhub

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client may be gone
}

// rest wraps an endpoint: key and rate limit.
func (s *Server) rest(serve func(w http.ResponseWriter, q url.Values)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		key := q.Get("token")
		if key == "" {
			key = r.Header.Get("X-Finnhub-Token")
		}
		switch {
		case key == "" || s.cfg.Key != "" && key != s.cfg.Key:
			answer(w, http.StatusUnauthorized, `{"error":"Invalid API key"}`)
		case !s.allow(s.cfg.Now()):
			answer(w, http.StatusTooManyRequests, `{"error":"API limit reached. Please try again later. Remaining Limit: 0"}`)
		default:
			serve(w, q)
		}
	}
}

func (s *Server) allow(now time.Time) bool {
	if s.cfg.RequestsPerMinute < 0 {
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

// serveQuote answers for one symbol; an unknown one gets zeros, not an error.
func (s *Server) serveQuote(w http.ResponseWriter, q url.Values) {
	now := tape.BucketTime(s.done.Load() + 1)
	d := s.cal.DateOf(now)
	sec := s.tape.Security(q.Get("symbol"))
	if sec == nil {
		answer(w, http.StatusOK, `{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}`)
		return
	}
	day, ok := s.tape.DailyBar(s.cal, sec, d, now)
	before, was := s.tape.DailyBar(s.cal, sec, d.AddDays(-1), now)
	if !ok || !was {
		answer(w, http.StatusOK, `{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}`)
		return
	}
	change := day.C - before.C
	answer(w, http.StatusOK, fmt.Sprintf(`{"c":%s,"d":%.4f,"dp":%.4f,"h":%s,"l":%s,"o":%s,"pc":%s,"t":%d}`,
		usd(day.C), float64(change)/tape.Unit, float64(change)/float64(before.C)*100, usd(day.H), usd(day.L), usd(day.O), usd(before.C), now.Unix()))
}

// serveCandles answers with minute candles in parallel arrays.
func (s *Server) serveCandles(w http.ResponseWriter, q url.Values) {
	if !s.cfg.Candles {
		answer(w, http.StatusForbidden, `{"error":"You don't have access to this resource."}`)
		return
	}
	from, err1 := strconv.ParseInt(q.Get("from"), 10, 64)
	to, err2 := strconv.ParseInt(q.Get("to"), 10, 64)
	if err1 != nil || err2 != nil || q.Get("resolution") != "1" {
		answer(w, http.StatusUnprocessableEntity, `{"error":"Wrong resolution, from or to."}`)
		return
	}
	var o, h, l, c, v, t []string
	if sec := s.tape.Security(q.Get("symbol")); sec != nil {
		now := s.done.Load()
		first := max(tape.BucketOf(time.Unix(from, 0)), now-int64(s.cfg.History/tape.Bucket))
		first = (first + tape.PerMinute - 1) / tape.PerMinute * tape.PerMinute
		for b := first; b <= tape.BucketOf(time.Unix(to, 0)) && b+tape.PerMinute <= now+1; b += tape.PerMinute {
			x, ok := s.tape.MinuteBar(sec, b, now)
			if !ok {
				continue
			}
			o, h, l, c = append(o, usd(x.O)), append(h, usd(x.H)), append(l, usd(x.L)), append(c, usd(x.C))
			v, t = append(v, strconv.FormatInt(x.V, 10)), append(t, strconv.FormatInt(x.At/int64(time.Second), 10))
		}
	}
	if len(t) == 0 {
		answer(w, http.StatusOK, `{"s":"no_data"}`)
		return
	}
	list := func(x []string) string { return "[" + strings.Join(x, ",") + "]" }
	answer(w, http.StatusOK, fmt.Sprintf(`{"c":%s,"h":%s,"l":%s,"o":%s,"s":"ok","t":%s,"v":%s}`, list(c), list(h), list(l), list(o), list(t), list(v)))
}
