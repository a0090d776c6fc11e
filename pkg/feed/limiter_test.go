package feed_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

func TestLimiterLearnsFromHeaders(t *testing.T) {
	unix := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	for name, c := range map[string]struct {
		status int
		header func() http.Header
		want   time.Duration // until the next call may be made
	}{
		"nothing":            {200, func() http.Header { return nil }, 0},
		"429 alone":          {429, func() http.Header { return nil }, 5 * time.Second},
		"retry-after":        {429, func() http.Header { return http.Header{"Retry-After": {"30"}} }, 30 * time.Second},
		"retry-after of 503": {503, func() http.Header { return http.Header{"Retry-After": {"30"}} }, 30 * time.Second},
		"retry-after of 200": {200, func() http.Header { return http.Header{"Retry-After": {"30"}} }, 0},
		"retry-after, a date": {429, func() http.Header {
			return http.Header{"Retry-After": {time.Now().Add(40 * time.Second).UTC().Format(http.TimeFormat)}}
		}, 40 * time.Second},
		"retry-after, years":  {429, func() http.Header { return http.Header{"Retry-After": {"315360000"}} }, 15 * time.Minute},
		"retry-after, junk":   {429, func() http.Header { return http.Header{"Retry-After": {"later"}} }, 5 * time.Second},
		"retry-after below 0": {429, func() http.Header { return http.Header{"Retry-After": {"-9"}} }, 0},
		"used up, unix": {200, func() http.Header {
			return http.Header{"X-Ratelimit-Limit": {"200"}, "X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {unix(20 * time.Second)}}
		}, 20 * time.Second},
		"used up, milliseconds": {200, func() http.Header {
			return http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {strconv.FormatInt(time.Now().Add(20*time.Second).UnixMilli(), 10)}}
		}, 20 * time.Second},
		"used up, seconds": {200, func() http.Header {
			return http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"12"}}
		}, 12 * time.Second},
		"used up, draft 06": {200, func() http.Header {
			return http.Header{"Ratelimit-Limit": {"100"}, "Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"9"}}
		}, 9 * time.Second},
		"used up, draft 07": {200, func() http.Header { return http.Header{"Ratelimit": {"limit=100, remaining=0, reset=8"}} }, 8 * time.Second},
		"used up, draft 10": {200, func() http.Header {
			return http.Header{"Ratelimit": {`"default";r=0;t=7`}, "Ratelimit-Policy": {`"default";q=100;w=60`}}
		}, 7 * time.Second},
		"plenty": {200, func() http.Header {
			return http.Header{"X-Ratelimit-Limit": {"200"}, "X-Ratelimit-Remaining": {"199"}, "X-Ratelimit-Reset": {unix(60 * time.Second)}}
		}, 0},
		"junk":    {200, func() http.Header { return http.Header{"X-Ratelimit-Remaining": {"none"}, "Ratelimit": {`;;=,"`}} }, 0},
		"below 0": {200, func() http.Header { return http.Header{"X-Ratelimit-Remaining": {"-1"}, "X-Ratelimit-Reset": {"-1"}} }, 0},
		"far reset": {200, func() http.Header {
			return http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"9999999999"}}
		}, 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(26 * 365 * 24 * time.Hour) // the bubble's clock begins in 2000
				l := feed.NewLimiter(0, nil)
				l.Note(c.status, c.header())
				begin := time.Now()
				if err := l.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took != c.want {
					t.Errorf("waits for %s, want %s", took, c.want)
				}
			})
		})
	}
}

func TestLimiterSpreadsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := feed.NewLimiter(0, nil)
		l.Note(200, http.Header{"Ratelimit": {`"a";r=6;t=60`}, "Ratelimit-Policy": {"100;w=60"}})
		begin := time.Now()
		for range 7 {
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("the six that are left and the next one take %s, want 1m", took)
		}
	})
}

func TestLimiterIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := feed.NewLimiter(time.Second, nil)
		begin := time.Now()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := l.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("five callers at one a second take %s, want 4 s", took)
		}
		l.Note(429, http.Header{"Retry-After": {"600"}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wait that is called off ends with %v", err)
		}
	})
}

func TestLimiterSurvivesAClockThatIsSetBack(t *testing.T) {
	now := time.Now()
	l := feed.NewLimiter(time.Second, func() time.Time { return now })
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Note(429, http.Header{"Retry-After": {"600"}})
	now = now.Add(-24 * time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.Wait(ctx); err != nil {
		t.Errorf("after the clock went back by a day: %v", err)
	}
}

func FuzzLimiterHeaders(f *testing.F) {
	f.Add(429, "30", "200", "0", "1764099999", `"default";r=0;t=7`, `"default";q=100;w=60`)
	f.Add(200, "", "", "-1", "9223372036854775807", "limit=100, remaining=0, reset=8", "100;w=60")
	f.Fuzz(func(t *testing.T, status int, retry, limit, remaining, reset, draft, policy string) {
		synctest.Test(t, func(t *testing.T) {
			l := feed.NewLimiter(0, nil)
			l.Note(status, http.Header{
				"Retry-After": {retry}, "X-Ratelimit-Limit": {limit}, "X-Ratelimit-Remaining": {remaining}, "X-Ratelimit-Reset": {reset},
				"Ratelimit": {draft}, "Ratelimit-Policy": {policy},
			})
			begin := time.Now()
			if err := l.Wait(t.Context()); err != nil || time.Since(begin) > 16*time.Minute {
				t.Fatalf("waited for %s, %v", time.Since(begin), err)
			}
		})
	})
}
