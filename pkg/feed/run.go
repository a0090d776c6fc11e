package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// Policy is how a feed comes again after a loss and when it is taken for dead.
type Policy struct {
	// FirstWait, MaxWait and Jitter (0 to 1) shape the exponential back-off between sessions.
	FirstWait, MaxWait time.Duration
	Jitter             float64
	// StableAfter is how long a session must live, once ready, before the back-off starts from the beginning again. An upstream that
	// accepts and drops at once must not be able to reset it.
	StableAfter time.Duration
	// ReadyWithin bounds connecting and logging in.
	ReadyWithin time.Duration
	// CallWithin bounds one HTTP call of Feed.Call and CallPatiently; 0: a minute.
	CallWithin time.Duration
	// Stale returns for how long silence is in order at the time; 0 or less means for ever. Mute is not quiet: a session that is
	// silent for longer is torn down and the feed comes again. nil means a minute at all times.
	Stale func(now time.Time) time.Duration
	// Due is what readiness is judged by; nil: what Stale allows.
	Due Due
}

// DefaultPolicy suits a websocket with heartbeats.
func DefaultPolicy() Policy {
	return Policy{
		FirstWait: 250 * time.Millisecond, MaxWait: 30 * time.Second, Jitter: 0.5,
		StableAfter: 10 * time.Second, ReadyWithin: 20 * time.Second,
		Stale: func(time.Time) time.Duration { return time.Minute },
	}
}

// ErrEndOfInput is returned by a session when the upstream has said, in its protocol, that there is no more (a recording's end). Run then
// returns nil.
var ErrEndOfInput = errors.New("end of input")

// errStale is the cause of a session that was torn down for silence.
var errStale = errors.New("feed is mute")

// errNotReady is the cause of a session that did not log in in time.
var errNotReady = errors.New("not accepted in time")

// Refused marks an error that no retry cures (wrong key, plan without the feed). Run publishes it and returns it.
func Refused(err error) error { return &refusedError{err} }

type refusedError struct{ err error }

func (e *refusedError) Error() string { return "refused: " + e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// IsRefused reports whether err was marked by Refused.
func IsRefused(err error) bool {
	_, ok := errors.AsType[*refusedError](err)
	return ok
}

// RetryAfter marks an error after which the upstream wants to be left alone for at least d.
func RetryAfter(err error, d time.Duration) error { return &retryAfterError{err, d} }

type retryAfterError struct {
	err error
	d   time.Duration
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// Session is one connection's life, watched.
type Session struct {
	f *Feed

	mu      sync.Mutex
	readyAt time.Time
	aliveAt time.Time
	startAt time.Time
}

// Ready says that the upstream accepted us and our subscriptions. It publishes the state "connected" once.
func (s *Session) Ready(ctx context.Context) error {
	now := s.f.Now()
	s.mu.Lock()
	again := !s.readyAt.IsZero()
	if !again {
		s.readyAt, s.aliveAt = now, now
	}
	s.mu.Unlock()
	if again {
		return nil
	}
	s.f.log.Info("feed connected")
	return s.f.State(ctx, market.FeedConnected, "")
}

// Alive says that the upstream gave a sign of life (a frame, a pong, a heartbeat) at t.
func (s *Session) Alive(t time.Time) {
	s.mu.Lock()
	if t.After(s.aliveAt) {
		s.aliveAt = t
	}
	s.mu.Unlock()
}

func (s *Session) snapshot() (start, ready, alive time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startAt, s.readyAt, s.aliveAt
}

// Run lives through sessions until ctx ends (nil), the input ends (nil), the upstream refuses us for good, or the sink fails. A session is
// one call of connect, which must return when its context ends. When a session that was ready is lost, a gap is opened in the ledger from
// the last sign of life on; the adapter's backfill settles it.
func (f *Feed) Run(ctx context.Context, p Policy, connect func(ctx context.Context, s *Session) error) error {
	p = f.policy(p)
	f.begins(p)
	how, refused := "stopped", false
	defer func() { f.ends(how, refused) }()
	pulse := f.cfg.Health.Pulse("feed "+f.cfg.Source, hungAfter)
	defer pulse.End()
	bo := newBackoff(p)
	told := map[string]bool{} // of this outage
	for {
		s := &Session{f: f, startAt: f.Now()}
		f.sessionBegins(s)
		err := f.session(ctx, p, s, pulse, connect)
		_, ready, alive := s.snapshot()
		f.sessionEnded(err)
		pulse.Rest() // the ledger waits for the sink, the back-off for the upstream

		// What is published from here on must go out even though ctx has ended: the ledger is the promise.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		if !ready.IsZero() {
			told = map[string]bool{nameUnreachable: true} // a loss says so itself
		}
		done, perr := f.afterSession(last, ctx.Err() != nil, err, ready, alive, told)
		cancel()
		if perr != nil {
			return perr
		}
		if done {
			switch {
			case IsRefused(err):
				how, refused = err.Error(), true
				return err
			case errors.Is(err, ErrEndOfInput):
				how = "at the end of its input"
			}
			return nil
		}
		if !ready.IsZero() && f.Now().Sub(ready) >= p.StableAfter {
			bo.Reset()
		}
		wait := waitFor(bo, err)
		f.log.Warn("feed lost, coming again", "err", err, "wait", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// hungAfter is how long a session may take to end after it was told to, before the process counts as hung.
const hungAfter = time.Minute

// policy is p as the configuration wants it.
func (f *Feed) policy(p Policy) Policy {
	if f.cfg.Policy != nil {
		return f.cfg.Policy(p)
	}
	return p
}

func (f *Feed) afterSession(ctx context.Context, stopping bool, err error, ready, alive time.Time, told map[string]bool) (done bool, _ error) {
	detail := ""
	if err != nil {
		detail = err.Error()
	}
	switch {
	case stopping:
		return true, f.State(ctx, market.FeedStopped, "")
	case errors.Is(err, ErrEndOfInput):
		return true, f.State(ctx, market.FeedStopped, "end of input")
	case IsRefused(err):
		f.log.Error("feed refused", "err", err)
		return true, f.State(ctx, market.FeedRefused, detail)
	}
	state := market.FeedLost
	if errors.Is(err, errStale) {
		state = market.FeedStale
	}
	if ready.IsZero() {
		// Never accepted: the gap of the session before is still open, this try adds nothing to it. What is wrong is told once an outage.
		if name := nameOf(err); !told[name] {
			told[name] = true
			return false, f.State(ctx, state, detail)
		}
		f.cfg.Metrics.state(f.cfg.Source, state)
		return false, nil
	}
	if err := f.State(ctx, state, detail); err != nil {
		return false, err
	}
	_, err = f.OpenGap(ctx, "*", alive, time.Time{}, string(state))
	return false, err
}

func (f *Feed) session(ctx context.Context, p Policy, s *Session, pulse *run.Pulse, connect func(ctx context.Context, s *Session) error) error {
	pulse.Beat()
	sctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		f.watch(sctx, p, s, pulse, cancel)
	}()
	err := connect(sctx, s)
	cause := context.Cause(sctx)
	cancel(nil)
	<-watched
	if cause != nil && ctx.Err() == nil && (errors.Is(cause, errStale) || errors.Is(cause, errNotReady)) {
		return cause
	}
	if err == nil {
		err = errors.New("upstream ended the session")
	}
	return err
}

// watch tears the session down when it is mute for too long.
func (f *Feed) watch(ctx context.Context, p Policy, s *Session, pulse *run.Pulse, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(watchEvery(p))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pulse.Beat()
		now := f.Now()
		start, ready, alive := s.snapshot()
		if ready.IsZero() {
			if p.ReadyWithin > 0 && now.Sub(start) > p.ReadyWithin {
				cancel(fmt.Errorf("%w: %s without being ready", errNotReady, p.ReadyWithin))
				return
			}
			continue
		}
		limit := time.Minute
		if p.Stale != nil {
			limit = p.Stale(now)
		}
		if limit > 0 && now.Sub(alive) > limit {
			cancel(fmt.Errorf("%w: no frame for %s, allowed are %s", errStale, now.Sub(alive).Round(time.Millisecond), limit))
			return
		}
	}
}

func watchEvery(p Policy) time.Duration {
	every := time.Second
	if p.ReadyWithin > 0 {
		every = min(every, p.ReadyWithin/4)
	}
	return max(every, 5*time.Millisecond)
}

func newBackoff(p Policy) *backoff.ExponentialBackOff {
	bo := &backoff.ExponentialBackOff{InitialInterval: p.FirstWait, MaxInterval: p.MaxWait, RandomizationFactor: p.Jitter, Multiplier: 2}
	bo.Reset()
	return bo
}

// longestRetryAfter bounds what an upstream can ask for: a wrong header must not silence a feed for years.
const longestRetryAfter = 15 * time.Minute

// waitFor is the next back-off, or what the upstream asked for if that is longer.
func waitFor(bo *backoff.ExponentialBackOff, err error) time.Duration {
	wait := bo.NextBackOff()
	if ra, ok := errors.AsType[*retryAfterError](err); ok && ra.d > wait {
		wait = min(ra.d, max(wait, longestRetryAfter))
	}
	return wait
}

// passing reports whether what went wrong may be cured by trying again.
func passing(err error) bool {
	if IsRefused(err) {
		return false
	}
	if _, ok := errors.AsType[*Malformed](err); ok {
		return false
	}
	if se, ok := errors.AsType[*StatusError](err); ok {
		return se.Status >= 500 || se.Status == 408 || se.Status == 429
	}
	return true
}
