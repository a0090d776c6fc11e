package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Standing is how a thing stands, and why: in words for people, also where it stands well and that is not plain ("the market is closed until ...").
type Standing struct {
	OK  bool
	Why string
}

// Check is one thing that readiness is made of.
type Check struct {
	Name string
	// Group, if any, names a kind of data of which one source is enough: readiness fails only when all of the group do.
	Group string
	// Aside checks are shown and decide nothing.
	Aside bool
	Stand func(ctx context.Context) Standing
}

// Health is what a process tells of itself: checks, which say whether it is ready, and pulses, which say whether its loops still turn. A nil Health takes
// everything and tells nobody.
type Health struct {
	root *Health // nil: this is it

	mu     sync.Mutex
	n      int
	checks []*registered
	pulses []*Pulse
	flight singleflight.Group
}

type registered struct {
	Check
	id    int
	owner *Health
}

// Scope is a view of h: what is added through it goes with Close.
func (h *Health) Scope() *Health {
	if h == nil {
		return nil
	}
	return &Health{root: h.top()}
}

// Close takes out what was added through a scope.
func (h *Health) Close() {
	if h == nil {
		return
	}
	top := h.top()
	top.mu.Lock()
	defer top.mu.Unlock()
	top.checks = slices.DeleteFunc(top.checks, func(c *registered) bool { return c.owner == h })
	top.pulses = slices.DeleteFunc(top.pulses, func(p *Pulse) bool { return p.owner == h })
}

func (h *Health) top() *Health {
	if h.root != nil {
		return h.root
	}
	return h
}

// Add adds a check.
func (h *Health) Add(c Check) {
	if h == nil {
		return
	}
	top := h.top()
	top.mu.Lock()
	defer top.mu.Unlock()
	top.n++
	top.checks = append(top.checks, &registered{c, top.n, h})
}

// Check adds a check that is an error or none.
func (h *Health) Check(name string, f func(context.Context) error) {
	h.Add(Check{Name: name, Stand: StandingOf(f)})
}

// StandingOf makes a standing of an error or none.
func StandingOf(f func(context.Context) error) func(context.Context) Standing {
	return func(ctx context.Context) Standing {
		if err := f(ctx); err != nil {
			return Standing{Why: err.Error()}
		}
		return Standing{OK: true}
	}
}

// Pulse is the sign of life of a loop: a loop that has not turned within its time is hung, and the process with it. A nil Pulse may be used.
type Pulse struct {
	name   string
	within time.Duration
	owner  *Health
	start  time.Time
	// beat is when the loop turned last, ns after start; resting where it waits for something that may take for ever.
	beat atomic.Int64
}

// resting is no time.
const resting = -1

// Pulse adds the pulse of a loop that turns at least once within the time, which begins now.
func (h *Health) Pulse(name string, within time.Duration) *Pulse {
	if h == nil {
		return nil
	}
	top := h.top()
	p := &Pulse{name: name, within: within, owner: h, start: time.Now()}
	top.mu.Lock()
	defer top.mu.Unlock()
	top.pulses = append(top.pulses, p)
	return p
}

// Beat says that the loop turns.
func (p *Pulse) Beat() {
	if p != nil {
		p.beat.Store(int64(time.Since(p.start)))
	}
}

// Rest says that the loop waits for something outside, such as a server that is away. It is not judged until it beats again.
func (p *Pulse) Rest() {
	if p != nil {
		p.beat.Store(resting)
	}
}

// End takes the pulse out: the loop has ended.
func (p *Pulse) End() {
	if p == nil {
		return
	}
	top := p.owner.top()
	top.mu.Lock()
	defer top.mu.Unlock()
	top.pulses = slices.DeleteFunc(top.pulses, func(q *Pulse) bool { return q == p })
}

func (p *Pulse) stand() Standing {
	at := p.beat.Load()
	if at == resting {
		return Standing{true, "waits for something outside"}
	}
	age := time.Since(p.start) - time.Duration(at)
	if age > p.within {
		return Standing{false, fmt.Sprintf("has not turned for %s; allowed are %s", age.Round(time.Second), p.within)}
	}
	return Standing{true, fmt.Sprintf("turned %s ago", age.Round(time.Millisecond))}
}

// Status is the word for how something stands.
type Status string

// The statuses. Degraded is what fails and decides nothing: another of its group stands, or it is aside.
const (
	StatusOK       Status = "ok"
	StatusDegraded Status = "degraded"
	StatusFailed   Status = "failed"
)

// Result is what a check came to.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Group  string `json:"group,omitempty"`
	Why    string `json:"why,omitempty"`
}

// Report is what all checks came to. OK is what /readyz, or /livez, answers by.
type Report struct {
	OK     bool      `json:"ok"`
	Status Status    `json:"status"`
	Time   time.Time `json:"time"`
	Checks []Result  `json:"checks"`
}

// lookWithin bounds a look at one check: a check that hangs must not hang who asks.
const lookWithin = 4 * time.Second

// Live tells whether the loops turn.
func (h *Health) Live() Report {
	top := h.top()
	top.mu.Lock()
	pulses := slices.Clone(top.pulses)
	top.mu.Unlock()
	r := Report{Checks: []Result{}}
	for _, p := range pulses {
		s := p.stand()
		r.Checks = append(r.Checks, Result{Name: p.name, Status: statusOf(s.OK, false), Why: s.Why})
	}
	return r.judged()
}

// Ready tells whether the process does what it is for: each check stands, or another of its group does, and every loop turns.
func (h *Health) Ready(ctx context.Context) Report {
	top := h.top()
	top.mu.Lock()
	checks := slices.Clone(top.checks)
	top.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	stands := make([]<-chan singleflight.Result, len(checks))
	for i, c := range checks {
		// One look at a time: those who ask meanwhile share its answer.
		stands[i] = top.flight.DoChan(fmt.Sprint(c.id), func() (any, error) {
			look, done := context.WithTimeout(context.WithoutCancel(ctx), lookWithin)
			defer done()
			return c.Stand(look), nil
		})
	}
	all := make([]Standing, len(checks))
	one := map[string]bool{} // groups of which one stands
	for i, c := range checks {
		all[i] = await(ctx, stands[i])
		if all[i].OK && !c.Aside && c.Group != "" {
			one[c.Group] = true
		}
	}
	r := Report{Checks: []Result{}}
	for i, c := range checks {
		r.Checks = append(r.Checks, Result{Name: c.Name, Status: statusOf(all[i].OK, c.Aside || one[c.Group]), Group: c.Group, Why: all[i].Why})
	}
	for _, l := range h.Live().Checks {
		if l.Status != StatusOK {
			r.Checks = append(r.Checks, l)
		}
	}
	return r.judged()
}

// await is the answer of a look. One that is there counts, however late it is.
func await(ctx context.Context, look <-chan singleflight.Result) Standing {
	select {
	case r := <-look:
		s, _ := r.Val.(Standing)
		return s
	case <-ctx.Done():
	}
	select {
	case r := <-look:
		s, _ := r.Val.(Standing)
		return s
	default:
		return Standing{Why: "no answer within " + lookWithin.String()}
	}
}

func statusOf(ok, forgiven bool) Status {
	switch {
	case ok:
		return StatusOK
	case forgiven:
		return StatusDegraded
	}
	return StatusFailed
}

// judged draws the sum.
func (r Report) judged() Report {
	slices.SortFunc(r.Checks, func(a, b Result) int { return strings.Compare(a.Name, b.Name) })
	r.Status, r.Time = StatusOK, time.Now().UTC()
	for _, c := range r.Checks {
		switch c.Status {
		case StatusFailed:
			r.Status = StatusFailed
		case StatusDegraded:
			if r.Status == StatusOK {
				r.Status = StatusDegraded
			}
		case StatusOK:
		}
	}
	r.OK = r.Status != StatusFailed
	return r
}

// brief is a word for each check: ok, or what is wrong.
func (r Report) brief() map[string]string {
	out := make(map[string]string, len(r.Checks))
	for _, c := range r.Checks {
		switch c.Status {
		case StatusOK:
			if _, told := out[c.Name]; !told {
				out[c.Name] = "ok"
			}
		case StatusDegraded:
			out[c.Name] = "degraded: " + c.Why
		case StatusFailed:
			out[c.Name] = c.Why
		}
	}
	return out
}
