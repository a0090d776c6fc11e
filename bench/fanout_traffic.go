package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/bench/child"
	"github.com/hashpivot/hashpivot/bench/load"
)

// traffic drives a server and counts at the clients that every one of them got every message once.
type traffic struct {
	s       *fanoutServer
	g       *load.Group
	clients int
	sent    uint64 // messages that every client has
}

type saturation struct {
	perSecond    float64
	serverCPU    float64 // seconds a delivery
	loadCores    float64 // of the clients
	messageBytes float64 // a delivery with its share of the framing
	perFrame     float64
}

// saturate publishes for a span as fast as the slowest client follows. The time is counted from the first message until the last client has the
// last one, so that what waits in queues when the publishing ends counts with the time it takes. The order is OrderAhead or OrderSingly.
func (t *traffic) saturate(ctx context.Context, order string, window uint64, span time.Duration) (saturation, error) {
	var r saturation
	server, err := t.s.ask(child.OrderLook)
	if err != nil {
		return r, err
	}
	from, cpu, start := t.g.Counts(), cpuSeconds(), time.Now()
	if err := t.s.order(order, window); err != nil {
		return r, err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for seen := uint64(0); time.Since(start) < span; {
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-tick.C:
		}
		c := t.g.Counts()
		if c.Lost > 0 {
			return r, fmt.Errorf("%d clients were closed, code %d", c.Lost, c.Code)
		}
		if n := c.Least - t.sent; n > seen {
			seen = n
			if err := t.s.order(child.OrderSeen, n); err != nil {
				return r, err
			}
		}
	}
	if _, err := t.stop(ctx); err != nil {
		return r, err
	}
	took, to := time.Since(start).Seconds(), t.g.Counts()
	n := float64(to.All - from.All)
	r.perSecond, r.loadCores = n/took, (cpuSeconds()-cpu)/took
	after, err := t.s.ask(child.OrderLook)
	if err != nil {
		return r, err
	}
	r.serverCPU = (after.CPUSeconds - server.CPUSeconds) / n
	r.messageBytes, r.perFrame = float64(to.Bytes-from.Bytes)/n, n/float64(to.Frames-from.Frames)
	return r, nil
}

// pace publishes perSecond messages a second and returns how late they came.
func (t *traffic) pace(ctx context.Context, perSecond uint64, span time.Duration) (*load.Histogram, error) {
	if err := t.s.order(child.OrderPace, perSecond); err != nil {
		return nil, err
	}
	h, err := t.latencies(ctx, fanoutWarm, span)
	if err != nil {
		return nil, err
	}
	_, err = t.stop(ctx)
	return h, err
}

// latencies are those of a span that begins after warm.
func (t *traffic) latencies(ctx context.Context, warm, span time.Duration) (*load.Histogram, error) {
	if err := pause(ctx, warm); err != nil {
		return &load.Histogram{}, err
	}
	t.g.Measure()
	err := pause(ctx, span)
	return t.g.Measured(), err
}

// stop ends the publishing and waits until each client has what was published: no message more or less.
func (t *traffic) stop(ctx context.Context) (child.Report, error) {
	rep, err := t.s.ask(child.OrderStop)
	if err != nil {
		return rep, err
	}
	t.sent += rep.Published
	ctx, end := context.WithTimeout(ctx, 20*time.Second)
	defer end()
	for {
		c := t.g.Counts()
		switch all := t.sent * uint64(t.clients); {
		case c.Lost > 0:
			return rep, fmt.Errorf("%d clients were closed, code %d", c.Lost, c.Code)
		case c.All > all:
			return rep, fmt.Errorf("%d messages came of %d", c.All, all)
		case c.All == all && c.Least == t.sent:
			return rep, nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return rep, fmt.Errorf("wait for the last message: the slowest client has %d of %d: %w", c.Least, t.sent, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// cpuSeconds is what this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
