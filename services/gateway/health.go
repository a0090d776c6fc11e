package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

const (
	// hungAfter is for how long whoever writes for the clients may not turn before the process counts as hung; it never waits for a socket.
	hungAfter = time.Minute
	// followedWithin is how old the last message handed out may be while others are stored behind it.
	followedWithin = 30 * time.Second
)

// waiting is what a message said of those that were stored behind it.
type waiting struct {
	messages uint64
	stored   time.Time // the message itself
}

// Stand tells whether the streams are followed up to their ends.
func (g *Gateway) Stand(context.Context) run.Standing {
	for _, name := range slices.Sorted(maps.Keys(g.streams)) {
		st := g.streams[name]
		if why := st.trouble.Load(); why != nil {
			return run.Standing{Why: fmt.Sprintf("stream %s cannot be followed: %s", name, *why)}
		}
		select {
		case <-st.ready:
		default:
			return run.Standing{Why: fmt.Sprintf("stream %s is not followed yet", name)}
		}
		if b := st.behind.Load(); b != nil && b.messages > 0 && time.Since(b.stored) > followedWithin {
			return run.Standing{Why: fmt.Sprintf("stream %s is followed with a delay: %d messages are stored behind the last one that was handed out, which is %s old", name, b.messages,
				time.Since(b.stored).Round(time.Second))}
		}
	}
	return run.Standing{OK: true, Why: fmt.Sprintf("all %d streams are followed; %d clients", len(g.streams), g.Clients())}
}
