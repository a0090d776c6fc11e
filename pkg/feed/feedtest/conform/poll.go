package conform

import (
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

// Poll runs the suite for an adapter that polls. Its Run must poll every 50 ms or so and give up on an answer after some seconds.
func Poll(t *testing.T, p PollAdapter) {
	t.Helper()
	cases := []namedCase{
		{"connects and stops", connectsAndStops},
		{"bad key", badKey},
		{"errors", protocolErrors},
		{"slow sink", slowSink},
		{"rate limit", pollRateLimit},
		{"back-off", pollBackOff},
		{"clock off", clockOff},
		{"page loop", pollPages(control.PageLoop)},
		{"page flood", pollPages(control.PageFlood)},
		{"certificate", expiredCertificate},
		{"restart", restart},
	}
	for name, o := range map[string]control.Order{
		"status 500": {Fault: control.Status, Status: 500, Times: 2},
		"status 502": {Fault: control.Status, Status: 502, Body: "<html>bad gateway</html>"},
		"html":       {Fault: control.HTML},
		"error body": {Fault: control.ErrorBody},
		"wrong type": {Fault: control.Body, Body: `[[[7]]]`},
		"null":       {Fault: control.Body, Body: `null`},
		"empty":      {Fault: control.Body},
		"garbage":    {Fault: control.Body, Body: "\xff\xfe{"},
		"truncate":   {Fault: control.Truncate},
		"huge":       {Fault: control.HugeBody},
		"gzip bomb":  {Fault: control.GzipBomb},
		"nested":     {Fault: control.Nested},
		"slow":       {Fault: control.SlowBody},
		"stall":      {Fault: control.Stall},
	} {
		cases = append(cases, namedCase{name, badPoll(o)})
	}
	runCases(t, p.Adapter, cases)
}

// badPoll lets a poll fail: the ledger says so, and the next one goes on. Nothing is taken from the bad answer.
func badPoll(o control.Order) func(t *testing.T, a Adapter) {
	return func(t *testing.T, a Adapter) {
		r := live(t, a)
		from, before := time.Now(), r.mem.Len()
		heap := heapInUse()
		// The fault may have hit a call beside the poll, such as one block's, which is asked again without a word: then it is ordered again.
		r.again("the failed poll in the ledger", func() { r.order(o) }, func(evs []market.Event) bool { return r.gaps(evs[before:]) > 0 })
		if grown := int64(heapInUse()) - int64(heap); grown > 128<<20 {
			t.Errorf("the heap grew by %d MiB over one answer", grown>>20)
		}
		r.flows("after the bad answer")
		r.until("the gap settled", func(evs []market.Event) bool { return r.unsettled(evs[before:]) == 0 })
		if r.states(r.mem.Events(), market.FeedRefused) > 0 {
			t.Error("a failed poll counts as a refusal")
		}
		r.isTrue(from)
	}
}

// unsettled counts the gaps whose last word is not the last.
func (r *rig) unsettled(events []market.Event) int {
	open := map[string]bool{}
	for _, ev := range events {
		if g, ok := ev.(*market.FeedGap); ok && g.Source == r.a.Source {
			open[g.GapID] = g.State == market.GapOpen
		}
	}
	n := 0
	for _, still := range open {
		if still {
			n++
		}
	}
	return n
}

// pollRateLimit holds that nobody asks before Retry-After.
func pollRateLimit(t *testing.T, a Adapter) {
	r := live(t, a)
	r.order(control.Order{Fault: control.Status, Status: 429, Header: map[string]string{"Retry-After": "2"}, Body: "slow down"})
	r.eventually("the 429", func() bool { return r.quiet(1900 * time.Millisecond) })
	r.flows("after the rate limit")
}

// quiet reports whether some pause between requests was at least so long.
func (r *rig) quiet(d time.Duration) bool {
	at := r.up.Target.Seen().Requests
	for i := 1; i < len(at); i++ {
		if at[i].Sub(at[i-1]) >= d {
			return true
		}
	}
	return false
}

// pollBackOff holds that an upstream that is down is asked less and less often.
func pollBackOff(t *testing.T, a Adapter) {
	r := live(t, a)
	from := time.Now()
	r.order(control.Order{Fault: control.Status, Status: 503, For: control.Duration(2 * time.Second)})
	during(2 * time.Second)
	n, span := 0, time.Duration(0)
	at := r.up.Target.Seen().Requests
	for i := 1; i < len(at); i++ {
		if at[i].After(from) {
			n++
			span = max(span, at[i].Sub(at[i-1]))
		}
	}
	if n > 60 {
		t.Errorf("%d requests in 2 s to an upstream that is down, the longest pause %s", n, span)
	}
	r.flows("after the outage")
	r.once()
}

func pollPages(fault string) func(t *testing.T, a Adapter) {
	return func(t *testing.T, a Adapter) {
		if !a.Pages {
			t.Log("does not apply: " + "the answers have no pages")
			return
		}
		a.ready = readyPages
		r := live(t, a)
		asked := len(r.up.Target.Seen().Requests)
		logged := r.log.len()
		r.order(control.Order{Fault: fault})
		r.eventually("a word on the pages", func() bool {
			if got := len(r.up.Target.Seen().Requests) - asked; got > a.PagesAtMost {
				t.Fatalf("%d pages were read of an answer without end", got)
			}
			return r.says(logged, "page")
		})
		r.clear(fault)
		r.flows("after the pages")
		r.once()
	}
}
