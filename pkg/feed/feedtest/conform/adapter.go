// Package conform holds every adapter to the same behaviour against a hostile upstream. An adapter's test says how to start its simulator and
// how to run the service against it; the cases are here:
//
//	func TestConforms(t *testing.T) {
//		conform.Websocket(t, conform.WebsocketAdapter{Adapter: conform.Adapter{
//			Source: "sim-coinbase",
//			Start: func(t testing.TB) conform.Upstream {
//				s, err := coinbase.New(coinbase.Config{World: w, TickEvery: 10 * time.Millisecond, HeartbeatEvery: 50 * time.Millisecond})
//				...
//				return conform.Upstream{Handler: s.Handler(), Target: s.Target(), Close: s.Close}
//			},
//			Run: func(ctx context.Context, at conform.Endpoint, deps feed.Deps) error {
//				cfg := DefaultConfig()
//				cfg.StreamURL, cfg.RESTURL = at.WS, at.HTTP
//				return Run(ctx, cfg, deps)
//			},
//		}})
//	}
//
// Times are short through feed.Deps.Policy; what an adapter times by its own configuration (a poll's interval, a pause between calls) its
// Run makes short. A case that does not apply is named in Skip with the reason, which the test prints.
package conform

import (
	"cmp"
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

// Upstream is a fresh simulator. The suite serves its handler.
type Upstream struct {
	Handler http.Handler
	Target  control.Target
	Close   func()
	// Sim is given back as Endpoint.Sim, for Run and Check.
	Sim any
}

// Endpoint is where the simulator listens: HTTP is http(s)://host:port, WS ws(s)://host:port, both without a path.
type Endpoint struct {
	HTTP, WS string
	// BadKey asks for a run with a key that the simulator turns away.
	BadKey bool
	// Sim is Upstream.Sim.
	Sim any
}

// Outcome is what an adapter makes of an upstream's error.
type Outcome string

// The outcomes.
const (
	Refused Outcome = "refused" // Run returns an error marked feed.Refused, and the state is published
	Retried Outcome = "retried" // the feed is lost, or its poll fails, and comes again
	Ignored Outcome = "ignored" // the feed goes on
)

// Error is an error of the protocol and its outcome.
type Error struct {
	Order control.Order
	Want  Outcome
	// Says must be in the refusal, in the state's detail or in the log; empty: anything.
	Says string
}

// Adapter is what the suite has to know of an adapter.
type Adapter struct {
	// Source on its events, states and ledger.
	Source string
	// Start makes a fresh simulator that tells data often: some twenty events a second.
	Start func(t testing.TB) Upstream
	// Run runs the service until ctx ends.
	Run func(ctx context.Context, at Endpoint, deps feed.Deps) error
	// Data selects the events that count as data; nil: all of the source but its states, its ledger and dead letters.
	Data func(market.Event) bool
	// BadKey is what the refusal of a bad key must name, such as "equities.alpaca.key"; empty: the upstream needs no key.
	BadKey string
	// Errors are the errors that the protocol lists, by name.
	Errors map[string]Error
	// Fills says that holes are filled from the upstream's history; without, they are given up.
	Fills bool
	// Pages says that the history comes in pages, and that the simulator understands page-loop and page-flood.
	Pages bool
	// PagesAtMost bounds the pages that the adapter reads of one answer that never ends; 0: 2,000.
	PagesAtMost int
	// Check, if any, compares what was published of a span with what the simulator says is true; the span has passed some seconds ago
	// where Settle is set. Nothing twice is checked without it.
	Check  func(t *testing.T, at Endpoint, mem *feedtest.Memory, from, to time.Time)
	Settle time.Duration
	// Stale is the silence that the suite allows; 0: 800 ms. It must be longer than the simulator's longest silence.
	Stale time.Duration
	// Parallel runs cases side by side, and beside those of the package's other adapters, which saves most of the time: they mostly wait. Start, Run and
	// Check must share nothing then (see Upstream.Sim).
	Parallel bool
	// Skip names the cases that do not apply, with the reason.
	Skip map[string]string

	ready time.Duration // how long a session may take to be accepted; 0: readyWithin
}

const (
	readyWithin = 1500 * time.Millisecond
	// readyPages is for answers of all the pages that an adapter reads, which a machine that others use too does not read in readyWithin: each session would
	// begin anew, and none come to the word on them.
	readyPages = 20 * time.Second
)

// WebsocketAdapter is an adapter whose live data come over a websocket.
type WebsocketAdapter struct{ Adapter }

// PollAdapter is an adapter that asks again and again over HTTP.
type PollAdapter struct{ Adapter }

// policy shortens a policy to what a test can wait for.
func (a Adapter) policy(p feed.Policy) feed.Policy {
	stale := p.Stale
	p.FirstWait, p.MaxWait, p.Jitter = 20*time.Millisecond, 300*time.Millisecond, 0
	p.StableAfter, p.CallWithin = time.Second, 2*time.Second
	if p.ReadyWithin > 0 {
		p.ReadyWithin = cmp.Or(a.ready, readyWithin)
	}
	p.Stale = func(now time.Time) time.Duration {
		limit := time.Minute
		if stale != nil {
			limit = stale(now)
		}
		if limit <= 0 {
			return limit
		}
		return min(limit, a.Stale)
	}
	return p
}
