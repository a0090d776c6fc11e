package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

const (
	// pageTries is how often a page that does not parse is asked for.
	pageTries = 4
	// emptyPages in a row end a history: a page may be empty and have a successor, but not without end.
	emptyPages = 100
	// maxPages of one query; at 10,000 records a page it is more than any symbol has.
	maxPages = 100_000
)

// ErrEndlessHistory is the error of a venue that has always another page: the same token again, or one empty page after the other.
var ErrEndlessHistory = errors.New("the venue's pages have no end")

// ReadPage decodes a page: it hands the records over and returns how many there were and the token of the next page ("" ends). A
// *feed.Malformed makes the page be asked for again; any other error ends the query.
type ReadPage func(body []byte, p Page) (records int, next string, err error)

// Pages reads a history page by page. request makes the call for a page's token, "" for the first. It waits as the venue's rate headers and
// History.CallEvery want, asks again for what may pass, and does not follow pages without end.
func (e *Engine) Pages(ctx context.Context, request func(token string) feed.Request, read ReadPage) error {
	tokens := map[string]bool{}
	token, empty := "", 0
	for n := 1; ; n++ {
		records, next, err := e.page(ctx, request(token), read)
		if err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
		if next == "" {
			return nil
		}
		if empty++; records > 0 {
			empty = 0
		}
		switch {
		case next == token || tokens[next]:
			return fmt.Errorf("page %d: %w: the same page token again", n, ErrEndlessHistory)
		case empty == emptyPages:
			return fmt.Errorf("page %d: %w: %d empty pages, each with a next one", n, ErrEndlessHistory, empty)
		case n == maxPages:
			return fmt.Errorf("page %d: %w: more than %d pages", n, ErrEndlessHistory, maxPages)
		}
		tokens[next] = true
		token = next
	}
}

func (e *Engine) page(ctx context.Context, req feed.Request, read ReadPage) (records int, next string, err error) {
	path := "history"
	if u, err := url.Parse(req.URL); err == nil {
		path = u.Path
	}
	for try := 1; ; try++ {
		if err := e.pace.wait(ctx, e.up.History().CallEvery); err != nil {
			return 0, "", err
		}
		asOf := e.f.Now()
		resp, err := e.f.CallPatiently(ctx, e.http, req)
		if err != nil {
			return 0, "", err
		}
		p := Page{Path: path, AsOf: asOf, Recv: resp.Recv, Now: resp.Recv}
		if !resp.Date.IsZero() {
			p.Now = resp.Date // whether a day is over is for the venue's clock to say
		}
		records, next, err := read(resp.Body, p)
		if err == nil {
			return records, next, e.keepRate(ctx, resp.Header)
		}
		if _, ok := errors.AsType[*feed.Malformed](err); !ok {
			return 0, "", err
		}
		if rerr := e.f.Reject(ctx, path, feed.ReasonOf(err, feed.ReasonMalformed), err, resp.Body); rerr != nil {
			return 0, "", rerr
		}
		if try == pageTries {
			return 0, "", err
		}
		if err := wait(ctx, time.Duration(try)*250*time.Millisecond); err != nil {
			return 0, "", err
		}
	}
}

// keepRate waits when the venue says that the minute's requests are used up.
func (e *Engine) keepRate(ctx context.Context, h http.Header) error {
	if h.Get("X-RateLimit-Remaining") != "0" {
		return nil
	}
	reset, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		return nil
	}
	return wait(ctx, min(time.Unix(reset, 0).Sub(e.f.Now()), time.Minute))
}

// pacer keeps a least pause between calls.
type pacer struct {
	mu   sync.Mutex
	next time.Time
}

func (p *pacer) wait(ctx context.Context, every time.Duration) error {
	if every <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	at := p.next
	if at.Before(now) {
		at = now
	}
	p.next = at.Add(every)
	p.mu.Unlock()
	return wait(ctx, at.Sub(now))
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
