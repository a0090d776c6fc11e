package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/bench/child"
	"github.com/hashpivot/hashpivot/bench/load"
)

var (
	peersBinary  = flag.String("peers", "bin/bench-peers", "the built command bench/peers")
	fanoutRounds = flag.Int("rounds", 3, "rounds of fanout at 1,000 clients, two thirds of them at 5,000; figures are medians")
	fanoutOnly   = flag.String("servers", "gateway,centrifuge,centrifuge-delay,nats", "servers that fanout measures")
)

const (
	// Saturated: so many deliveries may be under way at most, as many messages for each client. That is below every server's bound of what may wait for
	// a client, so that nobody is dropped or put forward, and enough that each always has work.
	fanoutWindow = 500_000
	fanoutEqual  = 100_000 // deliveries a second at which latencies are compared
	fanoutWarm   = time.Second
	fanoutSpan   = 4 * time.Second // of one measurement
	// Clients before the first look at the memory, so that what is loaded once is not counted as theirs.
	fanoutFirst         = 50
	fanoutSubscriptions = 10 // a client, to see what one costs
)

// fanoutPeers are the named servers in the order in which each round runs them.
func fanoutPeers(names string) ([]fanoutPeer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the benchmark's own binary: %w", err)
	}
	all := []fanoutPeer{
		{"gateway", []string{self, "-serve", "gateway"}, load.Gateway("/v1/ws"), gatewayCommon, gatewayFlood},
		{"centrifuge", []string{*peersBinary, "centrifuge"}, load.Centrifuge(child.Marker), child.Common, child.Flood},
		{"centrifuge-delay", []string{*peersBinary, "centrifuge-delay"}, load.Centrifuge(child.Marker), child.Common, child.Flood},
		{"nats", []string{*peersBinary, "nats"}, load.NATS(child.Marker), child.Common, child.Flood},
	}
	wanted := strings.Split(names, ",")
	all = slices.DeleteFunc(all, func(p fanoutPeer) bool { return !slices.Contains(wanted, p.name) })
	if len(all) != len(wanted) {
		return nil, fmt.Errorf("not every one of %q is a server", wanted)
	}
	return all, nil
}

// fanout measures how many messages a gateway gives how many clients, and how late, beside centrifuge and nats-server's websocket: the same
// clients, the same publisher, the same two cores, in turns.
func fanout(ctx context.Context, print func(figure)) error {
	if _, err := load.RaiseFileLimit(); err != nil {
		return err
	}
	peers, err := fanoutPeers(*fanoutOnly)
	if err != nil {
		return err
	}
	for _, size := range []struct{ clients, rounds int }{{1000, *fanoutRounds}, {5000, max(1, *fanoutRounds*2/3)}} {
		rounds := make([]fanoutRound, size.rounds)
		for i := range rounds {
			rounds[i] = fanoutRound{}
			for _, p := range peers {
				if rounds[i][p.name], err = p.measure(ctx, size.clients); err != nil {
					return fmt.Errorf("%s with %d clients: %w", p.name, size.clients, err)
				}
			}
		}
		printRounds(print, peers, rounds, fmt.Sprintf("_%d_", size.clients))
	}
	return fanoutStuck(ctx, peers, print)
}

// fanoutRound has figures by server and name.
type fanoutRound map[string]map[string]figure

// printRounds prints the median of each figure over the rounds, and that of its ratio to centrifuge's in the same round; then how the first server
// compares with each other one.
func printRounds(print func(figure), peers []fanoutPeer, rounds []fanoutRound, clients string) {
	line := func(peer, what, name, to string) {
		var values, ratios []float64
		for _, r := range rounds {
			v, base := r[peer][what].Value, r[to][what].Value
			if values = append(values, v); base != 0 {
				ratios = append(ratios, v/base)
			}
		}
		f := figure{Name: name, Value: median(values), Unit: rounds[0][peer][what].Unit}
		if len(ratios) == len(rounds) {
			f.Ratio, f.RatioTo = median(ratios), "fanout_"+to+clients+what
		}
		print(f)
	}
	for _, p := range peers {
		to := "centrifuge"
		if p.name == to {
			to = ""
		}
		for _, what := range slices.Sorted(maps.Keys(rounds[0][p.name])) {
			line(p.name, what, "fanout_"+p.name+clients+what, to)
		}
	}
	first := peers[0].name
	for _, p := range peers[1:] {
		if p.name == "centrifuge" {
			continue // above
		}
		for _, what := range []string{"saturated", "saturated_cpu", "p50", "p99"} {
			line(first, what, "fanout_"+first+clients+what+"_to_"+p.name, p.name)
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// measure runs the server once and returns its figures by name.
func (p fanoutPeer) measure(ctx context.Context, clients int) (figures map[string]figure, err error) {
	s, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	g, err := load.NewGroup(s.addr, p.protocol)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	figures = map[string]figure{}
	add := func(name string, value float64, unit string) {
		figures[name] = figure{Name: name, Value: value, Unit: unit}
	}
	t := &traffic{s: s, g: g, clients: clients}

	// Memory.
	if err := g.Connect(ctx, fanoutFirst); err != nil {
		return nil, err
	}
	before, err := s.ask(child.OrderMemory)
	if err != nil {
		return nil, err
	}
	if err := g.Connect(ctx, clients-fanoutFirst); err != nil {
		return nil, err
	}
	idle, err := s.ask(child.OrderMemory)
	if err != nil {
		return nil, err
	}
	for i := range fanoutSubscriptions {
		if err := g.Subscribe(ctx, "S"+strconv.Itoa(i), i+1); err != nil {
			return nil, err
		}
	}
	subscribed, err := s.ask(child.OrderMemory)
	if err != nil {
		return nil, err
	}
	add("connection", float64(idle.RSS-before.RSS)/float64(clients-fanoutFirst), "bytes")
	add("subscription", float64(subscribed.RSS-idle.RSS)/float64(clients*fanoutSubscriptions), "bytes")

	// Throughput.
	if err := g.Subscribe(ctx, p.common, 0); err != nil {
		return nil, err
	}
	sat, err := t.saturate(ctx, child.OrderAhead, uint64(fanoutWindow/clients), fanoutSpan)
	if err != nil {
		return nil, fmt.Errorf("saturate: %w", err)
	}
	add("saturated", sat.perSecond, "deliveries/s")
	add("saturated_cpu", sat.serverCPU*1e6, "µs/delivery")
	add("saturated_load", sat.loadCores, "cores")
	add("message", sat.messageBytes, "bytes")
	add("frame", sat.perFrame, "messages")

	// Latency.
	h, err := t.pace(ctx, fanoutEqual/uint64(clients), fanoutSpan)
	if err != nil {
		return nil, fmt.Errorf("pace: %w", err)
	}
	add("p50", h.Quantile(0.5), "ms")
	add("p99", h.Quantile(0.99), "ms")
	after, err := s.ask(child.OrderMemory)
	if err != nil {
		return nil, err
	}
	add("rss_after", float64(after.RSS)/(1<<20), "MiB")
	return figures, nil
}
