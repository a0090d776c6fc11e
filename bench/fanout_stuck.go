package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/bench/child"
	"github.com/hashpivot/hashpivot/bench/load"
)

const (
	stuckClients = 1000
	stuckPairs   = 4
	stuckFlood   = 2000 // messages a second of the one client's own channel
)

// fanoutStuck holds the clients' p99 while one more client reads all, and while that one reads nothing: in turns, at equal load. A stuck client that
// the server closes is back at once.
func fanoutStuck(ctx context.Context, peers []fanoutPeer, print func(figure)) error {
	for _, p := range peers {
		if p.name != "gateway" && p.name != "centrifuge" {
			continue
		}
		with, without, ratio, closed, err := p.stuck(ctx)
		if err != nil {
			return fmt.Errorf("%s with a stuck client: %w", p.name, err)
		}
		name := fmt.Sprintf("fanout_%s_%d_", p.name, stuckClients)
		print(figure{Name: name + "none_stuck_p99", Value: without, Unit: "ms"})
		print(figure{Name: name + "one_stuck_p99", Value: with, Unit: "ms", Ratio: ratio, RatioTo: name + "none_stuck_p99"})
		print(figure{Name: name + "stuck_closed", Value: float64(closed), Unit: "closed"})
	}
	return nil
}

func (p fanoutPeer) stuck(ctx context.Context) (with, without, ratio float64, closed int, err error) {
	fail := func(err error) (float64, float64, float64, int, error) { return 0, 0, 0, 0, err }
	s, err := p.start(ctx)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	g, err := load.NewGroup(s.addr, p.protocol)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := g.Connect(ctx, stuckClients); err != nil {
		return fail(err)
	}
	if err := g.Subscribe(ctx, p.common, 0); err != nil {
		return fail(err)
	}
	t := &traffic{s: s, g: g, clients: stuckClients}
	if err := errors.Join(s.order(child.OrderPace, fanoutEqual/stuckClients), s.order(child.OrderFlood, stuckFlood)); err != nil {
		return fail(err)
	}
	var withs, withouts, ratios []float64
	for range stuckPairs {
		a, err := t.besideReader(ctx, p)
		if err != nil {
			return fail(err)
		}
		b, n, err := t.besideStuck(ctx, p)
		if err != nil {
			return fail(err)
		}
		withouts, withs, ratios, closed = append(withouts, a), append(withs, b), append(ratios, b/a), closed+n
	}
	if err := s.order(child.OrderFlood, 0); err != nil {
		return fail(err)
	}
	if _, err := t.stop(ctx); err != nil {
		return fail(err)
	}
	return median(withs), median(withouts), median(ratios), closed, nil
}

// besideReader is the others' p99 beside one that reads.
func (t *traffic) besideReader(ctx context.Context, p fanoutPeer) (p99 float64, err error) {
	one, err := load.NewGroup(t.s.addr, p.protocol)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, one.Close()) }()
	if err := errors.Join(one.Connect(ctx, 1), one.Subscribe(ctx, p.common, 0), one.Subscribe(ctx, p.flood, 1)); err != nil {
		return 0, err
	}
	h, err := t.latencies(ctx, fanoutWarm, fanoutSpan)
	return h.Quantile(0.99), err
}

// besideStuck is the others' p99 beside one that reads nothing, and how many times that one was closed.
func (t *traffic) besideStuck(ctx context.Context, p fanoutPeer) (p99 float64, closed int, err error) {
	one, err := t.g.Stick(p.common, p.flood)
	if err != nil {
		return 0, 0, err
	}
	watch, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for {
			if pause(watch, 20*time.Millisecond) != nil {
				done <- nil
				return
			}
			if !one.Gone() {
				continue
			}
			one.Close()
			closed++
			var err error
			if one, err = t.g.Stick(p.common, p.flood); err != nil {
				one = nil
				done <- err
				return
			}
		}
	}()
	h, err := t.latencies(ctx, fanoutWarm, fanoutSpan)
	end()
	err = errors.Join(err, <-done)
	if one != nil {
		one.Close()
	}
	return h.Quantile(0.99), closed, err
}
