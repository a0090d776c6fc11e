package feed

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limiter keeps the rate limit of one host, for all who call it: give it to each Request. It begins with the pace that the documentation
// allows and learns from each answer's headers:
//
//	Retry-After                                    nobody calls before it
//	X-RateLimit-Limit, -Remaining, -Reset          used up: nobody calls before the reset; nearly so: the rest is spread over the time to it
//	RateLimit-Limit, -Remaining, -Reset            the same (IETF draft to 06)
//	RateLimit: limit=100, remaining=3, reset=7     the same (draft 07)
//	RateLimit: "default";r=3;t=7                   the same (draft 08 on); RateLimit-Policy: "default";q=100;w=60 gives the limit
//
// No header makes it wait for longer than a quarter of an hour.
type Limiter struct {
	every time.Duration
	now   func() time.Time

	mu    sync.Mutex
	next  time.Time     // of the next call
	pause time.Time     // nobody calls before it
	pace  time.Duration // between calls until paced; 0: every
	paced time.Time
}

// NewLimiter makes a limiter with a least time between two calls, which may be 0. now nil means time.Now.
func NewLimiter(every time.Duration, now func() time.Time) *Limiter {
	if now == nil {
		now = time.Now
	}
	return &Limiter{every: max(every, 0), now: now}
}

// Wait returns when a call may be made, and takes that place.
func (l *Limiter) Wait(ctx context.Context) error {
	for {
		at, taken := l.take()
		if taken {
			return nil
		}
		t := time.NewTimer(at)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

// take takes the place that is free now, or says how long to wait before asking again.
func (l *Limiter) take() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	// A clock that was set back must not make us wait for what it has gone back by.
	if far := now.Add(longestRetryAfter); l.next.After(far) || l.pause.After(far) {
		l.next, l.pause, l.paced = now, now, now
	}
	if wait := max(l.next.Sub(now), l.pause.Sub(now)); wait > 0 {
		return wait, false
	}
	every := l.every
	if now.Before(l.paced) {
		every = max(every, l.pace)
	}
	l.next = now.Add(every)
	return 0, true
}

// Note learns from an answer.
func (l *Limiter) Note(status int, h http.Header) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	hold := func(d time.Duration) {
		if until := now.Add(min(max(d, 0), longestRetryAfter)); until.After(l.pause) {
			l.pause = until
		}
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		if d, ok := retryAfter(h, now); ok {
			hold(d)
		} else if status == http.StatusTooManyRequests {
			hold(5 * time.Second)
		}
	}
	q, ok := quotaOf(h, now)
	if !ok {
		return
	}
	if q.reset <= 0 {
		return
	}
	reset := min(q.reset, longestRetryAfter)
	switch {
	case q.remaining <= 0:
		hold(reset)
	case q.remaining <= q.limit/10:
		l.pace, l.paced = reset/time.Duration(q.remaining), now.Add(reset)
	}
}

// quota is what the headers say is left until the reset.
type quota struct {
	limit, remaining int64
	reset            time.Duration
}

// quotaOf reads the headers; false where they say nothing that can be understood.
func quotaOf(h http.Header, now time.Time) (quota, bool) {
	if q, ok := draftQuota(h); ok {
		return q, true
	}
	for _, prefix := range []string{"X-Ratelimit-", "Ratelimit-"} {
		remaining, ok1 := whole(h.Get(prefix + "Remaining"))
		reset, ok2 := resetIn(h.Get(prefix+"Reset"), now)
		if !ok1 || !ok2 {
			continue
		}
		limit, _ := whole(h.Get(prefix + "Limit"))
		return quota{limit, remaining, reset}, true
	}
	return quota{}, false
}

// draftQuota reads the single header of the IETF's draft, in both of its forms.
func draftQuota(h http.Header) (quota, bool) {
	text := h.Get("Ratelimit")
	if text == "" {
		return quota{}, false
	}
	v := params(text)
	remaining, ok := whole(first(v["r"], v["remaining"]))
	if !ok {
		return quota{}, false
	}
	reset, ok := whole(first(v["t"], v["reset"]))
	if !ok {
		return quota{}, false
	}
	limit, ok := whole(first(v["limit"], params(h.Get("Ratelimit-Policy"))["q"]))
	if !ok {
		text, _, _ := strings.Cut(h.Get("Ratelimit-Policy"), ";") // 100;w=60
		limit, _ = whole(text)
	}
	return quota{limit, remaining, seconds(reset)}, true
}

// params are the key=value pairs of a header, whatever separates them.
func params(text string) map[string]string {
	out := map[string]string{}
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == ',' }) {
		if k, v, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
			if _, twice := out[k]; !twice { // the first policy is the nearest
				out[k] = strings.TrimSpace(v)
			}
		}
	}
	return out
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func whole(text string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return n, err == nil && n >= 0
}

// seconds is n seconds without overflow.
func seconds(n int64) time.Duration {
	return time.Duration(min(max(n, 0), int64(24*time.Hour/time.Second))) * time.Second
}

// resetIn reads a reset: seconds from now, or a Unix time in seconds or milliseconds, which are told apart by their size.
func resetIn(text string, now time.Time) (time.Duration, bool) {
	n, ok := whole(text)
	switch {
	case !ok:
		return 0, false
	case n > 1e12:
		return time.UnixMilli(n).Sub(now), true
	case n > 1e9:
		return time.Unix(n, 0).Sub(now), true
	}
	return seconds(n), true
}

// retryAfter reads Retry-After (seconds or a date), else the reset of X-RateLimit; false without either. What is negative, in the past or of
// years to come is cut to what can be meant.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	cut := func(d time.Duration) (time.Duration, bool) { return min(max(d, 0), longestRetryAfter), true }
	if v := strings.TrimSpace(h.Get("Retry-After")); v != "" {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return cut(seconds(n))
		}
		if t, err := http.ParseTime(v); err == nil {
			return cut(t.Sub(now))
		}
		if n := len(v); strings.Trim(v, "0123456789") == "" && n > 18 { // more seconds than a number holds
			return longestRetryAfter, true
		}
	}
	if d, ok := resetIn(h.Get("X-Ratelimit-Reset"), now); ok {
		return cut(d)
	}
	return 0, false
}
