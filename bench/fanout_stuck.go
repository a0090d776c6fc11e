package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashpivot/hashpivot/bench/child"
	"github.com/hashpivot/hashpivot/bench/load"
)

const (
	stuckClients = 1000
	stuckPairs   = 8
	stuckFlood   = 2000 // messages a second of the one client's own channel
)

// fanoutStuck holds the clients' p99 beside one more client that reads all, and beside one that reads nothing: in turns, at equal load. The turns are
// shorter than the gateway's patience, so that the stuck client is there all the time. Centrifuge's is a second: it is not measured.
func fanoutStuck(ctx context.Context, peers []fanoutPeer, print func(figure)) error {
	for _, p := range peers {
		if p.name != "gateway" {
			continue
		}
		with, without, ratio, err := p.stuck(ctx)
		if err != nil {
			return fmt.Errorf("%s with a stuck client: %w", p.name, err)
		}
		name := fmt.Sprintf("fanout_%s_%d_", p.name, stuckClients)
		print(figure{Name: name + "none_stuck_p99", Value: without, Unit: "ms"})
		print(figure{Name: name + "one_stuck_p99", Value: with, Unit: "ms", Ratio: ratio, RatioTo: name + "none_stuck_p99"})
	}
	return nil
}

func (p fanoutPeer) stuck(ctx context.Context) (with, without, ratio float64, err error) {
	fail := func(err error) (float64, float64, float64, error) { return 0, 0, 0, err }
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
		b, err := t.besideStuck(ctx, p)
		if err != nil {
			return fail(err)
		}
		withouts, withs, ratios = append(withouts, a), append(withs, b), append(ratios, b/a)
	}
	if err := s.order(child.OrderFlood, 0); err != nil {
		return fail(err)
	}
	if _, err := t.stop(ctx); err != nil {
		return fail(err)
	}
	return median(withs), median(withouts), median(ratios), nil
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

// besideStuck is the others' p99 beside one that reads nothing.
func (t *traffic) besideStuck(ctx context.Context, p fanoutPeer) (float64, error) {
	one, err := t.g.Stick(p.common, p.flood)
	if err != nil {
		return 0, err
	}
	defer one.Close()
	h, err := t.latencies(ctx, fanoutWarm, fanoutSpan)
	return h.Quantile(0.99), err
}
