package feed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// Due tells within which time an upstream must give a sign of life at a moment. 0 and a reason: nothing is due, such as while a market is closed. 0 and
// none: there is no bound, and to be connected is all that can be asked.
type Due func(now time.Time) (within time.Duration, why string)

// due is the policy's, or what its silence allows.
func (p Policy) due() Due {
	if p.Due != nil {
		return p.Due
	}
	return func(now time.Time) (time.Duration, string) {
		if p.Stale == nil {
			return time.Minute, ""
		}
		return max(p.Stale(now), 0), ""
	}
}

// life is how a feed fares, for who asks whether it is ready.
type life struct {
	mu      sync.Mutex
	due     Due       // nil: Run has not begun
	session *Session  // the newest; nil: none now
	alive   time.Time // the last sign of life of the sessions before
	trouble string    // of the last session
	ended   string    // how Run ended; empty: it did not
	refused bool
}

func (f *Feed) begins(p Policy) {
	f.life.mu.Lock()
	f.life.due = p.due()
	f.life.mu.Unlock()
	f.cfg.Metrics.add(f)
}

func (f *Feed) sessionBegins(s *Session) {
	f.life.mu.Lock()
	f.life.session = s
	f.life.mu.Unlock()
}

func (f *Feed) sessionEnded(err error) {
	f.life.mu.Lock()
	defer f.life.mu.Unlock()
	_, f.life.alive = f.life.connected()
	f.life.session = nil
	if err != nil {
		f.life.trouble = err.Error()
	}
}

func (f *Feed) ends(how string, refused bool) {
	f.cfg.Metrics.remove(f)
	f.life.mu.Lock()
	f.life.ended, f.life.refused = how, refused
	f.life.mu.Unlock()
}

// connected tells whether the upstream has accepted us, and when it gave its last sign of life; zero: never. l.mu is held.
func (l *life) connected() (yes bool, alive time.Time) {
	alive = l.alive
	if l.session != nil {
		_, ready, at := l.session.snapshot()
		if yes = !ready.IsZero(); yes && at.After(alive) {
			alive = at
		}
	}
	return yes, alive
}

// stand tells whether data moves, or why none is due.
func (f *Feed) stand(context.Context) run.Standing {
	l := &f.life
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended != "":
		return run.Standing{OK: !l.refused, Why: l.ended}
	case l.due == nil:
		return run.Standing{Why: "reads back what it published before"}
	}
	now := f.Now()
	connected, alive := l.connected()
	within, why := l.due(now)
	trouble := ""
	if !connected && l.trouble != "" {
		trouble = ": " + l.trouble
	}
	age := now.Sub(alive).Round(time.Millisecond)
	switch {
	case within <= 0 && why != "":
		return run.Standing{OK: true, Why: why}
	case within <= 0 && connected:
		return run.Standing{OK: true, Why: "connected; silence is in order for any time"}
	case within <= 0 || alive.IsZero():
		return run.Standing{Why: "not connected" + trouble}
	case age <= within:
		return run.Standing{OK: true, Why: fmt.Sprintf("a sign of life %s ago; one is due within %s", age, within)}
	}
	return run.Standing{Why: fmt.Sprintf("no sign of life for %s; one is due within %s%s", age, within, trouble)}
}
