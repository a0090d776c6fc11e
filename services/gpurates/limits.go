package gpurates

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// limits is a transport that keeps what an upstream says about its rate limit in the headers of its answers.
type limits struct {
	base http.RoundTripper

	mu    sync.Mutex
	until time.Time
}

// maxLimitWait bounds what an upstream may ask for: a wrong header must not silence a feed.
const maxLimitWait = 5 * time.Minute

// RoundTrip implements http.RoundTripper.
func (l *limits) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if d := limitWait(resp.StatusCode, resp.Header, now); d > 0 {
		l.mu.Lock()
		if t := now.Add(min(d, maxLimitWait)); t.After(l.until) {
			l.until = t
		}
		l.mu.Unlock()
	}
	return resp, nil
}

// wait is how long the upstream wants to be left alone.
func (l *limits) wait(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until.Sub(now)
}

// limitWait reads Retry-After, X-RateLimit-Remaining and -Reset (Unix seconds, or seconds from now), RateLimit-Remaining and -Reset (seconds),
// and RateLimit in both of its forms: "limit=10, remaining=0, reset=30" and "\"default\";r=0;t=30".
func limitWait(status int, h http.Header, now time.Time) time.Duration {
	seconds := func(s string) time.Duration {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		switch {
		case err != nil || n <= 0:
			return 0
		case n > 1e9:
			return time.Unix(n, 0).Sub(now)
		}
		return time.Duration(min(n, 3600)) * time.Second
	}
	if v := h.Get("Retry-After"); v != "" && (status == http.StatusTooManyRequests || status >= 500) {
		if t, err := http.ParseTime(v); err == nil {
			return t.Sub(now)
		}
		return seconds(v)
	}
	for _, prefix := range []string{"X-RateLimit-", "RateLimit-"} {
		if strings.TrimSpace(h.Get(prefix+"Remaining")) == "0" {
			return seconds(h.Get(prefix + "Reset"))
		}
	}
	left, reset := "", ""
	for _, part := range strings.FieldsFunc(h.Get("RateLimit"), func(r rune) bool { return r == ';' || r == ',' }) {
		switch k, v, _ := strings.Cut(strings.TrimSpace(part), "="); k {
		case "r", "remaining":
			left = v
		case "t", "reset":
			reset = v
		}
	}
	if left == "0" {
		return seconds(reset)
	}
	return 0
}
