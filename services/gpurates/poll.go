package gpurates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// endHeader is how a recording says that there are no more polls: the answer repeats the last.
const (
	endHeader = "Hashpivot-Recording"
	endValue  = "end"
)

// searcher polls Vast.ai's offer search.
type searcher struct {
	cfg       VastConfig
	stopAtEnd bool
	f         *feed.Feed
	client    *http.Client
	classes   []*class
}

// class is the state of one class of offers.
type class struct {
	name market.Class
	book *book
	// restored is the time of the newest event of this class that an earlier run published, done that of the newest poll of this run. A poll
	// from before either is an old story: the upstream's clock went back, or a recording plays again.
	restored, done time.Time
	fails          int
	ended          bool
}

func newSearcher(cfg VastConfig, stopAtEnd bool, f *feed.Feed, client *http.Client) *searcher {
	s := &searcher{cfg: cfg, stopAtEnd: stopAtEnd, f: f, client: client}
	for _, c := range cfg.Classes {
		s.classes = append(s.classes, &class{name: c, book: newBook()})
	}
	return s
}

func (s *searcher) class(name market.Class) *class {
	for _, c := range s.classes {
		if c.name == name {
			return c
		}
	}
	return nil
}

// restore takes an event that an earlier run published.
func (s *searcher) restore(ev market.Event) {
	switch x := ev.(type) {
	case *market.Offer:
		if c := s.class(x.Class); c != nil {
			c.book.apply(x)
			c.note(x.EventTime)
		}
	case *market.Rate:
		if c := s.class(x.Class); c != nil && x.Method == methodIndex {
			c.note(x.EventTime)
		}
	}
}

func (c *class) note(t time.Time) {
	if t.After(c.restored) {
		c.restored = t
	}
}

func (s *searcher) run(ctx context.Context) error {
	p := feed.DefaultPolicy()
	p.ReadyWithin = 0                                    // a poll that fails is tried again here, not by a new session
	p.Stale = func(time.Time) time.Duration { return 0 } // a poll is never mute: it fails
	if err := s.f.Run(ctx, p, s.session); err != nil {
		return fmt.Errorf("run feed %s: %w", s.f.Source(), err)
	}
	return nil
}

func (s *searcher) session(ctx context.Context, fs *feed.Session) error {
	for {
		wait, ended := s.cfg.PollEvery, 0
		for _, c := range s.classes {
			if c.ended {
				ended++
				continue
			}
			ok, err := s.poll(ctx, fs, c)
			if err != nil {
				return err
			}
			if ok {
				c.fails = 0
				continue
			}
			c.fails = min(c.fails+1, 4)
			wait = max(wait, s.cfg.PollEvery<<c.fails/2)
		}
		if ended == len(s.classes) {
			return feed.ErrEndOfInput
		}
		if s.stopAtEnd && !s.failing() {
			continue // a recording waits for nobody
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (s *searcher) failing() bool {
	return slices.ContainsFunc(s.classes, func(c *class) bool { return c.fails > 0 })
}

// poll makes one search and publishes what it tells. false without error: the poll failed and is in the ledger.
func (s *searcher) poll(ctx context.Context, fs *feed.Session, c *class) (bool, error) {
	resp, err := feed.Call(ctx, s.client, s.request(c.name))
	if err != nil {
		return false, s.failed(ctx, c, err)
	}
	if s.stopAtEnd && resp.Header.Get(endHeader) == endValue {
		c.ended = true
		return true, fs.Ready(ctx)
	}
	// A poll happened when the venue says so: its clock dates recorded polls too.
	at := resp.Date
	if at.IsZero() {
		at = resp.Recv
	}
	from := "bundles " + string(c.name)
	answer, err := decodeBundles(resp.Body, c.name, at, resp.Recv)
	if err != nil {
		if err := s.f.Reject(ctx, from, feed.ReasonOf(err, feed.ReasonMalformed), err, resp.Body); err != nil {
			return false, err
		}
		return false, s.failed(ctx, c, err)
	}
	if err := fs.Ready(ctx); err != nil {
		return false, err
	}
	fs.Alive(resp.Recv)
	if at.Before(c.restored) || !c.done.IsZero() && !at.After(c.done) {
		s.f.Logger().Debug("a poll from before the last was left out", "class", string(c.name), "at", at)
		return true, nil
	}
	complete, keep, err := s.rejectBad(ctx, from, &answer)
	if err != nil {
		return false, err
	}
	truncated := answer.Count >= s.cfg.Limit
	if err := s.publish(ctx, c, answer, keep, complete && !truncated, at, resp.Recv, from); err != nil {
		return false, err
	}
	if err := s.noteAbsence(ctx, c, at); err != nil {
		return false, err
	}
	c.done = at
	if truncated {
		// Not a failure to be slowed down for, but a hole in what we know.
		return true, s.openGap(ctx, c, fmt.Sprintf("the answer has %d offers, the limit: it may be cut short", answer.Count))
	}
	return true, s.settle(ctx, c, at)
}

// rejectBad makes dead letters of what could not be read. complete is false where an offer has not even an id, so that nothing may be taken
// for closed.
func (s *searcher) rejectBad(ctx context.Context, from string, a *pollAnswer) (complete bool, keep map[string]bool, _ error) {
	complete, keep = true, map[string]bool{}
	for _, b := range a.Bad {
		if b.ID == "" {
			complete = false
		}
		keep[b.ID] = true
		if err := s.f.Reject(ctx, from, feed.ReasonOf(b.Err, feed.ReasonMalformed), b.Err, b.Raw); err != nil {
			return false, nil, err
		}
	}
	good := a.Offers[:0]
	for _, o := range a.Offers {
		o.Source, o.Action = s.f.Source(), market.OfferOpened
		if err := o.Validate(); err != nil {
			keep[o.OfferID] = true
			raw, _ := json.Marshal(map[string]string{"id": o.OfferID, "gpu_name": o.GPUName, "raw_price": o.RawPrice.String(), "unit": o.RawUnit})
			if err := s.f.Reject(ctx, from, feed.ReasonOf(err, feed.ReasonMalformed), err, raw); err != nil {
				return false, nil, err
			}
			continue
		}
		good = append(good, o)
	}
	a.Offers = good
	return complete, keep, nil
}

// publish tells the differences and then the indices, and waits until all is stored: the next poll must not be told before this one is safe,
// or a restart could not tell what it had.
func (s *searcher) publish(ctx context.Context, c *class, a pollAnswer, keep map[string]bool, complete bool, at, recv time.Time, from string) error {
	for _, o := range c.book.diff(a.Offers, keep, complete, market.Meta{EventTime: at, RecvTime: recv}) {
		if _, err := s.f.Emit(ctx, o, from, nil); err != nil {
			return err
		}
		c.book.apply(o)
	}
	groups := map[string][]*market.Offer{}
	for _, o := range a.Offers {
		groups[o.GPU] = append(groups[o.GPU], o)
	}
	names := make([]string, 0, len(groups))
	for gpu := range groups {
		names = append(names, gpu)
	}
	slices.Sort(names)
	for _, gpu := range names {
		r, ok, err := Index(groups[gpu])
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		r.Meta = market.Meta{EventTime: at, RecvTime: recv}
		if _, err := s.f.Emit(ctx, r, from, nil); err != nil {
			return err
		}
	}
	return s.f.Flush(ctx)
}

// failed writes a poll that brought nothing into the ledger. A poll has no history: what it would have told is lost for ever.
func (s *searcher) failed(ctx context.Context, c *class, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if feed.IsRefused(cause) {
		return cause
	}
	if se, ok := errors.AsType[*feed.StatusError](cause); ok && se.Status == http.StatusNotFound {
		return feed.Refused(fmt.Errorf("search offers: the venue answers 404, its answer to a bad key: check gpurates.vast.api_key and .url: %w", cause))
	}
	s.f.Logger().Warn("poll failed", "class", string(c.name), "err", cause)
	return s.openGap(ctx, c, cause.Error())
}

// noteAbsence writes at the first poll of a run that none were made since the last one of the run before; what came and went meanwhile was
// never seen. The caller settles it.
func (s *searcher) noteAbsence(ctx context.Context, c *class, at time.Time) error {
	if s.stopAtEnd || !c.done.IsZero() || c.restored.IsZero() || at.Sub(c.restored) < 2*s.cfg.PollEvery {
		return nil
	}
	return s.openGap(ctx, c, "not running")
}

func (s *searcher) openGap(ctx context.Context, c *class, reason string) error {
	if _, open := s.gap(c); open {
		return nil
	}
	from := c.done
	if from.IsZero() {
		from = c.restored
	}
	if from.IsZero() {
		from = s.f.Now()
	}
	if len(reason) > 256 {
		reason = strings.ToValidUTF8(reason[:256], "")
	}
	_, err := s.f.OpenGap(ctx, string(c.name), from, time.Time{}, reason)
	return err
}

func (s *searcher) gap(c *class) (market.FeedGap, bool) {
	for _, g := range s.f.OpenGaps() {
		if g.Symbol == string(c.name) {
			return g, true
		}
	}
	return market.FeedGap{}, false
}

// settle ends the class's gaps at the first good poll, given up.
func (s *searcher) settle(ctx context.Context, c *class, at time.Time) error {
	for {
		g, open := s.gap(c)
		if !open {
			return nil
		}
		if at.Before(g.From) {
			at = g.From
		}
		if err := s.f.SettleGap(ctx, g, at, market.GapGivenUp, 0); err != nil {
			return err
		}
	}
}

// request is one search. The allocated storage of 8 GB is the venue's own default, said openly so that dph_total means the same tomorrow.
func (s *searcher) request(c market.Class) feed.Request {
	typ := "ondemand"
	switch c {
	case market.Interruptible:
		typ = "bid"
	case market.Reserved:
		typ = "reserved"
	}
	body, _ := json.Marshal(map[string]any{ // strings and numbers: cannot fail
		"limit": s.cfg.Limit, "type": typ, "rentable": map[string]bool{"eq": true}, "rented": map[string]bool{"eq": false},
		"gpu_name": map[string][]string{"in": s.cfg.GPUs}, "order": [][2]string{{"dph_total", "asc"}}, "allocated_storage": 8,
	})
	return feed.Request{Method: http.MethodPost, URL: s.cfg.URL + "/api/v0/bundles/", Header: s.header(), Body: body}
}

func (s *searcher) header() http.Header { return header(s.cfg) }

func header(cfg VastConfig) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	if k := cfg.APIKey.Reveal(); k != "" {
		h.Set("Authorization", "Bearer "+k)
	}
	return h
}
