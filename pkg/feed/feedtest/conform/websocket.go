package conform

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

// a case of the suite.
type namedCase struct {
	name string
	run  func(t *testing.T, a Adapter)
}

// alone are the cases that count goroutines and memory: they run first, and nothing beside them.
var alone = []string{"connects and stops", "slow sink", "huge", "gzip bomb"}

func runCases(t *testing.T, a Adapter, cases []namedCase) {
	t.Helper()
	if a.Stale == 0 {
		a.Stale = 800 * time.Millisecond
	}
	if a.PagesAtMost == 0 {
		a.PagesAtMost = 2000
	}
	known := map[string]bool{}
	for _, beside := range []bool{false, true} {
		if beside && a.Parallel {
			t.Parallel() // from here on beside the cases of other adapters too
		}
		for _, c := range cases {
			if beside == slices.Contains(alone, c.name) {
				continue
			}
			known[c.name] = true
			t.Run(c.name, func(t *testing.T) {
				if why, skip := a.Skip[c.name]; skip {
					t.Log("does not apply: " + why)
					return
				}
				if beside && a.Parallel {
					t.Parallel()
				}
				c.run(t, a)
			})
		}
	}
	for name := range a.Skip {
		if !known[name] {
			t.Errorf("Skip names %q, which is no case of the suite", name)
		}
	}
}

// Websocket runs the suite for an adapter of a websocket.
func Websocket(t *testing.T, w WebsocketAdapter) {
	t.Helper()
	runCases(t, w.Adapter, []namedCase{
		{"connects and stops", connectsAndStops},
		{"bad key", badKey},
		{"errors", protocolErrors},
		{"drop", drop},
		{"mute", mute},
		{"half-open", halfOpen},
		{"slow sink", slowSink},
		{"duplicate", duplicate},
		{"reorder", reorder},
		{"garbage", badFrame(control.Order{Fault: control.Garbage})},
		{"types", badFrame(control.Order{Fault: control.Types})},
		{"html", badFrame(control.Order{Fault: control.Frame, Body: "<!DOCTYPE html><html><body>Just a moment...</body></html>"})},
		{"huge", badFrame(control.Order{Fault: control.HugeFrame})},
		{"clock off", clockOff},
		{"close frame", closeFrame},
		{"handshake", handshake},
		{"rate limit", handshakeRateLimit},
		{"history", historyFaults},
		{"page loop", pageFault(control.PageLoop)},
		{"page flood", pageFault(control.PageFlood)},
		{"certificate", expiredCertificate},
		{"accept and drop", acceptAndDrop},
		{"restart", restart},
	})
}

func drop(t *testing.T, a Adapter) {
	r := live(t, a)
	from := time.Now()
	r.loses(control.Order{Fault: control.Drop})
	r.isTrue(from)
}

func mute(t *testing.T, a Adapter) {
	r := live(t, a)
	from, before := time.Now(), r.mem.Len()
	n := r.states(r.mem.Events(), market.FeedConnected)
	r.order(control.Order{Fault: control.Mute})
	r.until("the end of the mute session", func(evs []market.Event) bool { return r.states(evs, market.FeedStale) > 0 })
	if took := time.Since(from); took > a.Stale+5*time.Second {
		t.Errorf("the mute session was torn down after %s, allowed is a silence of %s", took, a.Stale)
	}
	r.clear(control.Mute)
	r.comesAgain(n)
	r.settled(before, string(market.FeedStale))
	r.isTrue(from)
}

func halfOpen(t *testing.T, a Adapter) {
	r := live(t, a)
	from, before := time.Now(), r.mem.Len()
	n := r.states(r.mem.Events(), market.FeedConnected)
	r.order(control.Order{Fault: control.HalfOpen})
	r.comesAgain(n)
	r.settled(before, string(market.FeedStale), string(market.FeedLost))
	r.isTrue(from)
}

func duplicate(t *testing.T, a Adapter) {
	r := live(t, a)
	from := time.Now()
	r.order(control.Order{Fault: control.Duplicate, Times: 15})
	r.flows("told twice")
	r.flows("told twice")
	r.clear(control.Duplicate)
	r.flows("after the doubles")
	r.isTrue(from)
}

func reorder(t *testing.T, a Adapter) {
	r := live(t, a)
	from := time.Now()
	r.order(control.Order{Fault: control.Reorder, Times: 10})
	r.flows("out of order")
	r.flows("out of order")
	r.clear(control.Reorder)
	r.flows("in order again")
	r.isTrue(from)
}

// badFrame sends a frame that cannot be used: it is kept with a reason, and the feed goes on or comes again.
func badFrame(o control.Order) func(t *testing.T, a Adapter) {
	return func(t *testing.T, a Adapter) {
		r := live(t, a)
		from, n := time.Now(), r.letters(r.mem.Events())
		r.order(o)
		r.until("the dead letter", func(evs []market.Event) bool { return r.letters(evs) > n })
		for _, ev := range r.mem.Events() {
			if d, ok := ev.(*market.DeadLetter); ok && (d.Reason == "" || d.Detail == "") {
				t.Errorf("dead letter %q %q lacks its reason", d.Reason, d.Detail)
			}
		}
		r.flows("after the bad frame")
		r.isTrue(from)
	}
}

func closeFrame(t *testing.T, a Adapter) {
	r := live(t, a)
	logged := r.log.len()
	r.loses(control.Order{Fault: control.Close, Code: 1012, Reason: "service restart"})
	if !r.says(logged, "service restart") {
		t.Errorf("nothing tells the reason of the close frame%s", r.story())
	}
	r.once()
}

func handshake(t *testing.T, a Adapter) {
	t.Run("401", func(t *testing.T) {
		r := fresh(t, a)
		r.order(control.Order{Fault: control.Refuse, Status: 401, Body: "who are you", For: control.Duration(time.Minute)})
		r.run(nil)
		r.refused("401")
	})
	t.Run("500", func(t *testing.T) {
		r := fresh(t, a)
		r.order(control.Order{Fault: control.Refuse, Status: 500, Times: 3})
		r.run(nil)
		r.flows("after three refused handshakes")
		r.eventually("four handshakes", func() bool { return len(r.up.Target.Seen().Connects) >= 4 })
	})
}

// handshakeRateLimit holds that nobody knocks before Retry-After.
func handshakeRateLimit(t *testing.T, a Adapter) {
	r := fresh(t, a)
	r.order(control.Order{Fault: control.Refuse, Status: 429, Header: map[string]string{"Retry-After": "2"}})
	r.run(nil)
	r.flows("after the rate limit")
	at := r.up.Target.Seen().Connects
	if len(at) < 2 || at[1].Sub(at[0]) < 2*time.Second {
		t.Errorf("%d handshakes, the second %s after the 429 that asked for 2 s", len(at), at[min(1, len(at)-1)].Sub(at[0]))
	}
}

func clockOff(t *testing.T, a Adapter) {
	r := live(t, a)
	n := r.letters(r.mem.Events())
	r.order(control.Order{Fault: control.Skew, By: control.Duration(3 * time.Hour)})
	r.until("a dead letter from the future, or the feed's word on the clock", func(evs []market.Event) bool {
		return r.letters(evs) > n || r.says(0, "clock")
	})
	r.clear(control.Skew)
	r.flows("by the right clock")
	r.once()
	limit := time.Now().Add(time.Minute)
	for _, ev := range r.mem.Events() {
		if r.isData(ev) && ev.GetMeta().EventTime.After(limit) {
			t.Fatalf("a fact from the future was published: %s", ev.Identity())
		}
	}
}

func acceptAndDrop(t *testing.T, a Adapter) {
	r := live(t, a)
	n := r.states(r.mem.Events(), market.FeedConnected)
	const window = 3 * time.Second
	at := len(r.up.Target.Seen().Connects)
	r.order(control.Order{Fault: control.Drop, For: control.Duration(window), Delay: control.Duration(30 * time.Millisecond)})
	during(window)
	// 20 ms doubling to 300 ms: some 12 sessions; a back-off that each session resets would make 60.
	if got := len(r.up.Target.Seen().Connects) - at; got < 2 || got > 20 {
		t.Errorf("%d connections in %s to an upstream that accepts and drops", got, window)
	}
	r.clear(control.Drop)
	r.comesAgain(n)
	r.once()
}

func (r *rig) refused(names string) {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatalf("a refusal does not end the feed%s", r.story())
	}
	if !feed.IsRefused(r.err) {
		r.t.Fatalf("the service ended with %v, want a refusal", r.err)
	}
	if names != "" && !contains(r.err.Error(), names) {
		r.t.Errorf("the refusal %q does not name %s", r.err, names)
	}
	if r.states(r.mem.Events(), market.FeedRefused) == 0 {
		r.t.Error("the refusal was not published")
	}
}

func protocolErrors(t *testing.T, a Adapter) {
	for _, name := range slices.Sorted(maps.Keys(a.Errors)) {
		e := a.Errors[name]
		t.Run(name, func(t *testing.T) {
			r := live(t, a)
			n := r.states(r.mem.Events(), market.FeedConnected)
			before := r.mem.Len()
			logged := r.log.len()
			r.order(e.Order)
			switch e.Want {
			case Refused:
				r.refused(e.Says)
				return
			case Retried:
				r.until("the error's effect", func(evs []market.Event) bool {
					return r.states(evs, market.FeedConnected) > n || r.states(evs[before:], market.FeedLost) > 0 || r.gaps(evs[before:]) > 0
				})
				r.flows("after the error")
			case Ignored:
				r.flows("after the error")
				if got := r.states(r.mem.Events()[before:], market.FeedLost); got > 0 {
					t.Errorf("the feed was lost %d times over an error to ignore%s", got, r.story())
				}
			default:
				t.Fatalf("the outcome of error %s is %q; it is refused, retried or ignored", name, e.Want)
			}
			if e.Says != "" && !r.says(logged, e.Says) {
				t.Errorf("nothing says %q%s", e.Says, r.story())
			}
			r.once()
		})
	}
}

func (r *rig) gaps(events []market.Event) (n int) {
	for _, ev := range events {
		if g, ok := ev.(*market.FeedGap); ok && g.Source == r.a.Source && g.State == market.GapOpen {
			n++
		}
	}
	return n
}
