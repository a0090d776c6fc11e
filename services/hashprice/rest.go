package hashprice

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// caller makes REST calls to one upstream, spaced.
type caller struct {
	f      *feed.Feed
	client *http.Client
	every  time.Duration

	mu   sync.Mutex // held over the wait: one call at a time
	next time.Time
}

func newCaller(f *feed.Feed, every time.Duration) *caller {
	return &caller{f: f, client: &http.Client{Timeout: time.Minute}, every: every}
}

func (c *caller) close() { c.client.CloseIdleConnections() }

// get calls patiently (see feed.CallPatiently), not sooner than every after the call before.
func (c *caller) get(ctx context.Context, url string) (*feed.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := time.Until(c.next); wait > 0 {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
	resp, err := c.f.CallPatiently(ctx, c.client, feed.Request{URL: url})
	c.next = time.Now().Add(c.every)
	return resp, err
}
