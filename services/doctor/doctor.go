// Package doctor looks at a deployment and says what is wrong with it and what to do about it. It changes nothing: it declares no stream, migrates no table,
// publishes no message and leaves no file.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// State is what a check found.
type State string

// The states. Only Fail makes the whole fail.
const (
	OK   State = "ok"
	Warn State = "warn" // it works, and will not for ever, or not as it is meant
	Fail State = "fail"
	Skip State = "skip" // it could not be looked at
)

// Finding is what a check found, in one line, and what to do about it.
type Finding struct {
	Check   string  `json:"check"`
	State   State   `json:"state"`
	Detail  string  `json:"detail"`
	Fix     string  `json:"fix,omitempty"`
	Seconds float64 `json:"seconds"`
}

func okay(format string, args ...any) Finding {
	return Finding{State: OK, Detail: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) Finding {
	return Finding{State: Skip, Detail: fmt.Sprintf(format, args...)}
}

func warn(fix, format string, args ...any) Finding {
	return Finding{State: Warn, Detail: fmt.Sprintf(format, args...), Fix: fix}
}

func fail(fix, format string, args ...any) Finding {
	return Finding{State: Fail, Detail: fmt.Sprintf(format, args...), Fix: fix}
}

// Check looks at one thing.
type Check struct {
	Name string
	Look func(ctx context.Context) []Finding
}

// Simple is a check with one finding.
func Simple(name string, look func(ctx context.Context) Finding) Check {
	return Check{name, func(ctx context.Context) []Finding { return []Finding{look(ctx)} }}
}

// Run makes all checks at once, each within the time, and returns what they found in the order of the checks. One that is not done in time fails, and hides no
// other; what it still does is left behind.
func Run(ctx context.Context, checks []Check, within time.Duration) []Finding {
	found := make([][]Finding, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { found[i] = c.run(ctx, within) })
	}
	wg.Wait()
	return slices.Concat(found...)
}

func (c Check) run(ctx context.Context, within time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	start := time.Now()
	done := make(chan []Finding, 1)
	go func() { done <- c.Look(ctx) }()
	var out []Finding
	select {
	case out = <-done:
	case <-ctx.Done():
		// It may have seen the same end and be about to say more.
		grace := time.NewTimer(within / 20)
		defer grace.Stop()
		select {
		case out = <-done:
		case <-grace.C:
			out = []Finding{fail("see to what answers so slowly; --within gives it longer", "no answer within %s", within)}
		}
	}
	seconds := time.Since(start).Round(time.Microsecond).Seconds()
	for i := range out {
		out[i].Check, out[i].Seconds = c.Name, seconds
		out[i].Detail = strings.Join(strings.Fields(out[i].Detail), " ") // a line each, whatever an error says
	}
	return out
}

// Failed reports whether any check has failed.
func Failed(found []Finding) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return f.State == Fail })
}

// lazily makes a value once, for all checks that need it.
type lazily[T any] struct {
	make func(ctx context.Context) (T, error)

	once  sync.Once
	ready chan struct{}
	value T
	err   error
}

func newLazily[T any](make_ func(ctx context.Context) (T, error)) *lazily[T] {
	return &lazily[T]{make: make_, ready: make(chan struct{})}
}

// get waits for the value until ctx ends. The making itself goes on: others may wait for longer.
func (l *lazily[T]) get(ctx context.Context) (T, error) {
	l.once.Do(func() {
		go func() {
			defer close(l.ready)
			l.value, l.err = l.make(context.WithoutCancel(ctx))
		}()
	})
	select {
	case <-l.ready:
		return l.value, l.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("it is waited for: %w", context.Cause(ctx))
	}
}

// done waits until nothing is being made any more; what nobody has asked for is not made.
func (l *lazily[T]) done() {
	l.once.Do(func() { close(l.ready) })
	<-l.ready
}

// clockWarn and clockMost are how far another clock may be off. Receive times are ours, stream times are JetStream's, event times are the venue's: with more than some
// seconds between them delays and orders tell nothing, tokens are refused, and with more than a minute feeds refuse what they hear.
const (
	clockWarn = 2 * time.Second
	clockMost = time.Minute
)

// clock judges the offset of another clock to ours, which may be most; 0: clockMost.
func clock(whose string, offset, within, most time.Duration) Finding {
	off := max(offset.Abs()-within, 0)
	said := offset.Round(time.Millisecond)
	how := fmt.Sprintf("%s's clock is %s ahead of ours", whose, said)
	if said < 0 {
		how = fmt.Sprintf("%s's clock is %s behind ours", whose, -said)
	}
	how += fmt.Sprintf(" (known to %s)", within.Round(100*time.Microsecond))
	fix := "set the clock that is wrong, and keep it with NTP: if others agree with each other, it is this machine's"
	switch {
	case off > cmp.Or(most, clockMost):
		return fail(fix, "%s", how)
	case off >= clockWarn:
		return warn(fix, "%s", how)
	}
	return okay("%s", how)
}
