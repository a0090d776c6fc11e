package lander

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// lag is how far our units are behind their streams, as of the last look.
type lag struct {
	mu      sync.Mutex
	at      time.Time // of the last look; zero: none yet
	trouble string    // why it could not be made
	streams map[market.Stream]behind
}

// behind is how far landing is behind one stream.
type behind struct {
	info     bus.Info
	messages uint64
	// oldest is when the oldest message that waits was stored; zero: none waits.
	oldest time.Time
}

// measure looks again and again how far we are behind. It asks the streams' leaders, so it sees also what cannot be fetched.
func (l *Lander) measure(ctx context.Context) {
	tick := time.NewTicker(l.deps.watch())
	defer tick.Stop()
	for {
		seen, err := l.lookBehind(ctx)
		if ctx.Err() != nil {
			return
		}
		l.lag.mu.Lock()
		l.lag.at, l.lag.streams, l.lag.trouble = time.Now(), seen, ""
		if err != nil {
			l.lag.trouble = err.Error()
		}
		l.lag.mu.Unlock()
		l.deps.Metrics.behind(seen)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lookBehind measures the streams of which some unit is ours. What cannot be asked is left out: no figure is better than one of before.
func (l *Lander) lookBehind(ctx context.Context) (map[market.Stream]behind, error) {
	l.mu.Lock()
	ours := map[market.Stream][]unit{}
	places := map[unit]*progress{}
	for u, r := range l.run {
		ours[u.stream] = append(ours[u.stream], u)
		places[u] = &r.landed
	}
	l.mu.Unlock()
	out := map[market.Stream]behind{}
	var failed error
	for st, units := range ours {
		b, err := l.behindOf(ctx, st, units, places)
		if err != nil {
			failed = err
			continue
		}
		out[st] = b
	}
	return out, failed
}

func (l *Lander) behindOf(ctx context.Context, st market.Stream, units []unit, places map[unit]*progress) (behind, error) {
	info, err := l.deps.Bus.Info(ctx, st)
	if err != nil {
		return behind{}, err
	}
	b := behind{info: info}
	for _, u := range units {
		life, through := places[u].get()
		if !life.Equal(info.Created) {
			through = 0
		}
		if through >= info.LastSeq {
			continue
		}
		first, ok, err := l.deps.Bus.NextStored(ctx, st, u.shard, through+1)
		if err != nil {
			return behind{}, err
		}
		if !ok { // what came since is other shards'
			continue
		}
		b.messages = max(b.messages, info.LastSeq-through)
		if b.oldest.IsZero() || first.Time.Before(b.oldest) {
			b.oldest = first.Time
		}
	}
	return b, nil
}

// Stand tells whether what is stored lands: nothing of our units waits for longer than Config.ReadyWithin, and none of them stands still.
func (l *Lander) Stand(context.Context) run.Standing {
	l.mu.Lock()
	listed, refused := l.listed, make([]string, 0, len(l.still))
	for name, why := range l.still {
		refused = append(refused, name+" stands still: "+why)
	}
	l.mu.Unlock()
	l.lag.mu.Lock()
	defer l.lag.mu.Unlock()
	late := 3*l.deps.watch() + 10*time.Second
	switch {
	case len(refused) > 0:
		slices.Sort(refused)
		return run.Standing{Why: strings.Join(refused, "; ")}
	case !listed:
		return run.Standing{Why: "we are not in the list of landers: is NATS reachable?"}
	case l.lag.trouble != "":
		return run.Standing{Why: "how far landing is behind is not known: " + l.lag.trouble}
	case l.lag.at.IsZero() || time.Since(l.lag.at) > late:
		return run.Standing{Why: "how far landing is behind is not known yet"}
	case len(l.lag.streams) == 0:
		return run.Standing{OK: true, Why: "no unit is ours: other landers have them"}
	}
	var worst market.Stream
	for st, b := range l.lag.streams {
		if !b.oldest.IsZero() && (worst == "" || b.oldest.Before(l.lag.streams[worst].oldest)) {
			worst = st
		}
	}
	if worst == "" {
		return run.Standing{OK: true, Why: "all that is stored has landed"}
	}
	b := l.lag.streams[worst]
	why := fmt.Sprintf("the oldest message that waits is of %s, for %s; %d wait there", worst, time.Since(b.oldest).Round(time.Millisecond), b.messages)
	if time.Since(b.oldest) > l.cfg.ReadyWithin {
		return run.Standing{Why: why + "; allowed are " + l.cfg.ReadyWithin.String() + " (lander.ready_within)"}
	}
	return run.Standing{OK: true, Why: why}
}
