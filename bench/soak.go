package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/hashpivot/hashpivot/bench/child"
	"github.com/hashpivot/hashpivot/bench/load"
)

var soakMinutes = flag.Float64("minutes", 1, "how long soak takes; 30 to be sure")

const (
	soakClients = 1000
	soakShare   = 0.6 // of what saturates
	// What saturates is measured of the soak's own traffic, one event a message, and for long: a burst of seconds of full messages is no measure of it.
	soakSaturate = 30 * time.Second
)

// soak loads the gateway for long and holds its memory and goroutines of the last quarter against those of the second.
func soak(ctx context.Context, print func(figure)) (err error) {
	if _, err := load.RaiseFileLimit(); err != nil {
		return err
	}
	peers, err := fanoutPeers("gateway")
	if err != nil {
		return err
	}
	p := peers[0]
	s, err := p.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	g, err := load.NewGroup(s.addr, p.protocol)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := errors.Join(g.Connect(ctx, soakClients), g.Subscribe(ctx, p.common, 0)); err != nil {
		return err
	}
	t := &traffic{s: s, g: g, clients: soakClients}
	sat, err := t.saturate(ctx, child.OrderSingly, fanoutWindow/soakClients, soakSaturate)
	if err != nil {
		return fmt.Errorf("saturate: %w", err)
	}
	fmt.Fprintf(os.Stderr, "saturated: %.0f deliveries/s\n", sat.perSecond)
	begin, err := s.ask(child.OrderMemory)
	if err != nil {
		return err
	}
	before := g.Counts().All
	perSecond := uint64(soakShare * sat.perSecond / soakClients)
	if err := s.order(child.OrderPace, perSecond); err != nil {
		return err
	}
	g.Measure()
	span := time.Duration(*soakMinutes * float64(time.Minute))
	start := time.Now()
	told := time.Duration(0)
	var quarters [4]struct{ rss, goroutines float64 }
	for {
		since := time.Since(start)
		if since >= span {
			break
		}
		if err := pause(ctx, min(time.Second, span-since)); err != nil {
			return err
		}
		now, err := s.ask(child.OrderLook)
		if err != nil {
			return err
		}
		if since >= told {
			told += 10 * time.Second
			counts := g.Counts()
			if counts.Lost > 0 {
				return fmt.Errorf("%d clients were closed within %s, code %d", counts.Lost, since.Round(time.Second), counts.Code)
			}
			got := counts.All - before
			behind := since.Seconds()*float64(perSecond) - float64(got)/soakClients
			fmt.Fprintf(os.Stderr, "%s: %d deliveries, %.0f messages behind, %d MiB, %d goroutines\n", since.Round(time.Second), got, behind, now.RSS>>20, now.Goroutines)
		}
		q := &quarters[min(int(4*since/span), 3)]
		q.rss, q.goroutines = max(q.rss, float64(now.RSS)/(1<<20)), max(q.goroutines, float64(now.Goroutines))
	}
	h := g.Measured()
	if _, err := t.stop(ctx); err != nil {
		return err
	}
	took := time.Since(start)
	end, err := s.ask(child.OrderMemory)
	if err != nil {
		return err
	}
	print(figure{Name: "soak", Value: took.Minutes(), Unit: "min"})
	print(figure{Name: "soak_saturated", Value: sat.perSecond, Unit: "deliveries/s"})
	got := float64(g.Counts().All-before) / took.Seconds()
	print(figure{Name: "soak_load", Value: got, Unit: "deliveries/s", Ratio: got / sat.perSecond, RatioTo: "soak_saturated"})
	print(figure{Name: "soak_p99", Value: h.Quantile(0.99), Unit: "ms"})
	pair := func(what, unit string, early, late float64) {
		print(figure{Name: "soak_" + what + "_early", Value: early, Unit: unit})
		print(figure{Name: "soak_" + what + "_late", Value: late, Unit: unit, Ratio: late / early, RatioTo: "soak_" + what + "_early"})
	}
	pair("rss", "MiB", quarters[1].rss, quarters[3].rss)
	pair("goroutines", "goroutines", quarters[1].goroutines, quarters[3].goroutines)
	pair("rss_collected", "MiB", float64(begin.RSS)/(1<<20), float64(end.RSS)/(1<<20))
	return nil
}
