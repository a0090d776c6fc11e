package lander

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// Lander lands streams, together with all other landers at the same NATS: they share the streams and shards out by a list in which each has a lease on its place.
type Lander struct {
	cfg  Config
	deps Deps

	mu    sync.Mutex
	units map[market.Stream][]unit // as far as they are known
	run   map[unit]*running        // ours
	still map[string]string        // units that stand still, by name, and why
	// listed says that we were in the list of landers at the last look.
	listed bool
	lag    lag
}

// progress is how far a unit has landed, and in which life of the stream.
type progress struct {
	mu      sync.Mutex
	life    time.Time
	through uint64
}

func (p *progress) set(life time.Time, through uint64) {
	p.mu.Lock()
	p.life, p.through = life, through
	p.mu.Unlock()
}

func (p *progress) get() (life time.Time, through uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life, p.through
}

// running is a unit that we land.
type running struct {
	landed progress
	quit   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// New checks the configuration; Run does the work.
func New(cfg Config, deps Deps) (*Lander, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.Streams) == 0 {
		cfg.Streams = market.Streams()
	}
	if deps.Metrics == nil {
		deps.Metrics = NewMetrics(nil)
	}
	l := &Lander{cfg: cfg, deps: deps, units: map[market.Stream][]unit{}, run: map[unit]*running{}, still: map[string]string{}}
	deps.Health.Add(run.Check{Name: "landing", Stand: l.Stand})
	return l, nil
}

// Run lands until ctx ends. What is in flight then is either finished or found again by the next lander; nothing is lost either way. A stream that is refused at
// the start ends Run; one that is refused later stands still with an alarm, and the others go on.
func (l *Lander) Run(ctx context.Context) error {
	names := make([]string, len(l.cfg.Streams))
	for i, s := range l.cfg.Streams {
		names[i] = string(s)
	}
	roster := l.deps.Bus.Roster("lander", l.deps.Holder, strings.Join(names, ","), l.deps.TTL, l.deps.Dead)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { l.renew(ctx, roster) })
	wg.Go(func() { l.measure(ctx) })
	l.share(ctx, roster, cancel)
	l.stop()
	wg.Wait()
	end, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if err := roster.Leave(end); err != nil {
		l.deps.Logger.Warn("our place among the landers was not given up; the others follow after its time", "err", err)
	}
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// renew keeps our place in the list.
func (l *Lander) renew(ctx context.Context, roster *bus.Roster) {
	tick := time.NewTicker(roster.TTL() / 4)
	defer tick.Stop()
	for {
		if err := roster.Renew(ctx); err != nil && ctx.Err() == nil && !roster.Valid() {
			l.deps.Logger.Warn("we are not in the list of landers and send nothing", "err", err, "hint", "is NATS reachable?")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// share starts and stops units as the list of landers says, until ctx ends.
func (l *Lander) share(ctx context.Context, roster *bus.Roster, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(roster.TTL() / 8)
	defer tick.Stop()
	pulse := l.deps.Health.Pulse("lander: sharing", hungAfter)
	defer pulse.End()
	var next time.Time // when the shards are to be looked at
	looked, first := false, true
	for {
		valid := roster.Valid()
		l.mu.Lock()
		l.listed = valid
		l.mu.Unlock()
		if valid {
			pulse.Rest() // NATS is asked
			if !time.Now().Before(next) {
				if all, err := l.look(ctx); err == nil {
					looked = true
					if all {
						next = time.Now().Add(l.deps.watch())
					}
				} else if ctx.Err() == nil {
					l.deps.Logger.Warn("the streams' shards cannot be read", "err", err)
				}
			}
			members, err := roster.Members(ctx)
			switch {
			case err == nil && looked:
				pulse.Beat() // what follows asks nobody
				l.take(ctx, roster, members, first, cancel)
				first = false
			case err != nil && ctx.Err() == nil:
				l.deps.Logger.Warn("the list of landers cannot be read", "err", err)
			}
		}
		pulse.Beat()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look reads how the streams are cut. all is false if one is cut in a way that its record does not have yet: who lands the whole of it is about to write that down.
func (l *Lander) look(ctx context.Context) (all bool, _ error) {
	all = true
	for _, st := range l.cfg.Streams {
		cuts, err := l.deps.Bus.Cuts(ctx, st)
		if err != nil {
			// A damaged record says nothing about cuts; the lander of the whole stream rebuilds it.
			l.deps.Logger.Warn("the record of landing cannot be read", "stream", st, "err", err)
		}
		l.mu.Lock()
		if u := unitsOf(st, cuts); err == nil || len(l.units[st]) == 0 {
			l.units[st] = u
		}
		l.mu.Unlock()
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if bus.Cuttable(st) {
			// A stream that is not there, or cannot be asked for now, is its worker's matter.
			if info, err := l.deps.Bus.Info(ctx, st); err == nil && !hasCut(cuts, info.Shards) {
				all = false
			}
		}
	}
	return all, nil
}

// hasCut reports whether a stream that is cut into n shards now was noted to be; n below 2: it is not cut.
func hasCut(cuts []bus.Cut, n int) bool {
	return n < 2 || slices.ContainsFunc(cuts, func(c bus.Cut) bool { return c.Of == n })
}

// take starts the units that are ours and stops those that are not.
func (l *Lander) take(ctx context.Context, roster *bus.Roster, list []bus.Member, first bool, cancel context.CancelCauseFunc) {
	members := make([]member, len(list))
	for i, m := range list {
		members[i].id = m.ID
		for s := range strings.SplitSeq(m.Note, ",") {
			members[i].streams = append(members[i].streams, market.Stream(s))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var units []unit
	for _, st := range market.Streams() {
		units = append(units, l.units[st]...)
	}
	owner := assign(units, members)
	for u, r := range l.run {
		select {
		case <-r.done: // refused, or it could not go on
			delete(l.run, u)
			continue
		default:
		}
		if owner[u] != roster.ID() {
			select {
			case <-r.quit:
			default:
				l.deps.Logger.Info("giving a unit to another lander", "stream", u.stream, "shard", u.shard.String())
				close(r.quit)
			}
		}
	}
	for _, u := range units {
		if owner[u] == roster.ID() && l.run[u] == nil {
			l.start(ctx, u, roster, first, cancel)
		}
	}
	l.deps.Metrics.units(len(l.run))
}

// start lands a unit. l.mu is held.
func (l *Lander) start(ctx context.Context, u unit, roster *bus.Roster, first bool, fail context.CancelCauseFunc) {
	uctx, cancel := context.WithCancel(ctx)
	r := &running{quit: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	l.run[u] = r
	log := l.deps.Logger.With("stream", string(u.stream))
	if u.shard.Of > 0 {
		log = log.With("shard", u.shard.String())
	}
	w := &worker{
		stream: u.stream, shard: u.shard, cfg: l.cfg, deps: l.deps, log: log, valid: roster.Valid, quit: r.quit, zombies: l.deps.zombies(), landed: &r.landed,
	}
	l.deps.Metrics.takes(u.stream)
	w.pulse = l.deps.Health.Pulse("lander: "+w.name(), hungAfter)
	go func() {
		defer close(r.done)
		defer cancel()
		defer w.pulse.End()
		err := w.run(uctx)
		if err == nil || ctx.Err() != nil || uctx.Err() != nil {
			return
		}
		err = fmt.Errorf("land stream %s: %w", w.name(), err)
		if first {
			fail(err)
			return
		}
		l.deps.Metrics.refused(u.stream, true)
		l.stands(w.name(), err)
		w.pulse.Rest()
		log.Error("the stream stands still; the others go on", "err", err, "again_in", refusedFor)
		select {
		case <-uctx.Done():
		case <-r.quit:
		case <-time.After(refusedFor):
		}
		l.deps.Metrics.refused(u.stream, false)
		l.stands(w.name(), nil)
	}()
}

// stands notes that a unit stands still, and why, or that it does no more.
func (l *Lander) stands(name string, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if why == nil {
		delete(l.still, name)
		return
	}
	l.still[name] = why.Error()
}

// hungAfter is for how long a loop may not turn, its waits for NATS and ClickHouse aside, before the process counts as hung.
const hungAfter = time.Minute

// refusedFor is how long a stream that was refused stands still before it is looked at again.
const refusedFor = 30 * time.Second

// stop ends all units and waits for them.
func (l *Lander) stop() {
	l.mu.Lock()
	all := make([]*running, 0, len(l.run))
	for _, r := range l.run {
		r.cancel()
		all = append(all, r)
	}
	l.mu.Unlock()
	for _, r := range all {
		<-r.done
	}
}

// Drained waits until everything stored in the streams has landed, here or by another lander. Events published meanwhile are waited for too.
func (l *Lander) Drained(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		behind, err := l.behind(ctx)
		if err != nil {
			return err
		}
		if behind == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for stream %s to land: %w", behind, ctx.Err())
		case <-tick.C:
		}
	}
}

// behind names a stream that has not landed. DEAD goes last: landing another stream can write to it.
func (l *Lander) behind(ctx context.Context) (market.Stream, error) {
	streams := slices.Clone(l.cfg.Streams)
	slices.SortStableFunc(streams, func(a, b market.Stream) int {
		switch {
		case a == b:
			return 0
		case a == market.Dead:
			return 1
		case b == market.Dead:
			return -1
		}
		return 0
	})
	for _, st := range streams {
		info, err := l.deps.Bus.Info(ctx, st)
		if err != nil {
			return st, err
		}
		through, err := l.through(ctx, info)
		if err != nil {
			return st, err
		}
		if through < info.LastSeq {
			return st, nil
		}
	}
	return "", nil
}

// through is the sequence up to which a stream has landed: as we know where all of it is ours, else as the records say.
func (l *Lander) through(ctx context.Context, info bus.Info) (uint64, error) {
	st := info.Stream
	l.mu.Lock()
	ours, through := len(l.units[st]) > 0, uint64(1<<63)
	if info.Shards > 1 && !slices.Contains(l.units[st], unit{st, bus.Shard{Of: info.Shards}}) {
		l.mu.Unlock()
		return 0, nil // it was born cut, and nobody has written that down yet: of what is stored nothing is known to have landed
	}
	for _, u := range l.units[st] {
		r := l.run[u]
		if r == nil {
			ours = false
			break
		}
		life, at := r.landed.get()
		if !life.Equal(info.Created) {
			at = 0
		}
		through = min(through, at)
	}
	l.mu.Unlock()
	if ours {
		return through, nil
	}
	at, ok, err := l.deps.Bus.Landing(ctx, st)
	if err != nil || !ok || at.First == 0 || at.Created != info.Created.UnixNano() {
		return 0, err
	}
	return at.First - 1, nil
}
