package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

var peerSeed = flag.Uint64("seed", 1, "seed of the faults of landing_peer")

const (
	peerEvents = 2_000_000 // of the full stream
	// peerAway is longer than the peer's deliveries last: ten, five seconds apart.
	peerAway = 75 * time.Second
	// peerPatience is for how long the peer may add nothing before it is taken to be done: its unacknowledged messages come again after 30 s.
	peerPatience = 45 * time.Second
)

// contestant is a consumer of the stream with a database and a proxy of its own.
type contestant struct {
	name     string
	database string
	px       *proxy
	p        *process
	// what stood in its database before a stage
	rows, distinct uint64
}

// landingPeer runs the lander beside a consumer written as most are, both as processes, on the same stream and into the same kind of table: first one after the
// other over a full stream, then at once under the same faults (-seed, -minutes, -rate), then through an outage that lasts longer than the peer tries.
func landingPeer(ctx context.Context, print func(figure)) (err error) {
	all := []*contestant{{name: "peer", database: "hashpivot_peer"}, {name: "lander", database: "hashpivot_sim"}}
	s, err := openScene(ctx, all[0].database, all[1].database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, c := range all {
		if c.px, err = startProxy(ctx, s.engine.Native); err != nil {
			return err
		}
		defer c.px.close()
	}
	if all[0].p, err = s.process("peer", *peersBinary, "consumer", s.stream.srv.URL(), all[0].px.addr(), all[0].database); err != nil {
		return err
	}
	if all[1].p, err = s.lander(all[1].px.addr(), all[1].database); err != nil {
		return err
	}
	defer func() {
		for _, c := range all {
			c.p.kill()
		}
	}()
	if _, err := s.stream.fill(ctx, newTape(), peerEvents); err != nil {
		return err
	}
	if err := peerSpeed(ctx, s, all, print); err != nil {
		return fmt.Errorf("full stream: %w", err)
	}
	stages := []struct {
		name string
		do   func(context.Context, *scene, []*contestant, func(figure)) error
	}{{"faults", peerFaults}, {"outage", peerOutage}}
	for _, stage := range stages {
		if err := peerStage(ctx, s, all, stage.name, stage.do, print); err != nil {
			return fmt.Errorf("%s: %w", stage.name, err)
		}
	}
	audit, err := s.audit(ctx, all[1].database)
	if err != nil {
		return err
	}
	print(figure{Name: "landing_lander_audit_lost", Value: float64(audit.Lost), Unit: "rows"})
	print(figure{Name: "landing_lander_audit_doubled", Value: float64(audit.Duplicates), Unit: "rows"})
	return nil
}

// peerSpeed lets each land the full stream alone.
func peerSpeed(ctx context.Context, s *scene, all []*contestant, print func(figure)) error {
	var first [3]figure
	for i, c := range all {
		engine := cpuSecondsOf(s.engine.PID)
		begin := time.Now()
		if err := c.p.start(ctx); err != nil {
			return err
		}
		for n := uint64(0); n < peerEvents; {
			var err error
			if n, err = s.counted(ctx, c.database); err != nil {
				return err
			}
			if err := errors.Join(c.p.alive(), pause(ctx, 50*time.Millisecond)); err != nil {
				return err
			}
		}
		took := time.Since(begin)
		figures := [3]figure{
			{Name: "landing_" + c.name, Value: rate(peerEvents, took), Unit: "rows/s"},
			{Name: "landing_" + c.name + "_cpu", Value: c.p.cpuSeconds() * 1e6 / peerEvents, Unit: "us/row"},
			{Name: "landing_" + c.name + "_engine_cpu", Value: (cpuSecondsOf(s.engine.PID) - engine) * 1e6 / peerEvents, Unit: "us/row"},
		}
		for j, f := range figures {
			if i > 0 {
				f.Ratio, f.RatioTo = f.Value/first[j].Value, first[j].Name
			}
			print(f)
		}
		if i == 0 {
			first = figures
		}
		if err := pause(ctx, 2*time.Second); err != nil { // its last acks
			return err
		}
		c.p.kill()
	}
	return nil
}

// peerStage publishes while the stage does its worst, waits until both are done, and prints what each lost and doubled in it.
func peerStage(ctx context.Context, s *scene, all []*contestant, name string, do func(context.Context, *scene, []*contestant, func(figure)) error, print func(figure)) error {
	before := uint64(0)
	for _, c := range all {
		var err error
		if c.rows, c.distinct, err = s.stored(ctx, c.database); err != nil {
			return err
		}
		before = max(before, c.distinct) // ours has all
		if err := c.p.start(ctx); err != nil {
			return err
		}
	}
	g := startGenerator(ctx, s.stream, newTape(), *outageRate)
	defer g.stop()
	if err := do(ctx, s, all, print); err != nil {
		return err
	}
	published, err := g.end()
	if err != nil {
		return err
	}
	print(figure{Name: "landing_" + name + "_published", Value: float64(published), Unit: "rows"})
	for _, c := range all {
		rows, distinct, err := s.untilStored(ctx, c.database, before+published, peerPatience, c.p.alive)
		if err != nil {
			return err
		}
		// What was lost in the stage before stays lost; what came late in this one counts for it.
		print(figure{Name: "landing_" + name + "_" + c.name + "_lost", Value: float64(published) - float64(distinct-c.distinct), Unit: "rows"})
		print(figure{Name: "landing_" + name + "_" + c.name + "_doubled", Value: float64(rows-distinct) - float64(c.rows-c.distinct), Unit: "rows"})
	}
	for _, c := range all {
		if err := c.p.alive(); err != nil {
			return err
		}
		c.p.kill()
	}
	return nil
}

// peerFaults kills both consumers at the same moments, kills the engine, and loses its answers.
func peerFaults(ctx context.Context, s *scene, all []*contestant, print func(figure)) error {
	rnd := rand.New(rand.NewPCG(*peerSeed, 0))
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(rnd.Int64N(int64(to-from))) }
	end := time.Now().Add(time.Duration(*soakMinutes * float64(time.Minute)))
	var kills, engines, lost int
	for time.Now().Before(end) {
		if err := pause(ctx, between(500*time.Millisecond, 4*time.Second)); err != nil {
			return err
		}
		switch n := rnd.IntN(10); {
		case n < 5:
			kills++
			var both sync.WaitGroup
			for _, c := range all {
				both.Go(c.p.kill)
			}
			both.Wait()
			for _, c := range all {
				if err := c.p.start(ctx); err != nil {
					return err
				}
			}
		case n < 9:
			lost++
			for _, c := range all {
				c.px.lose(true)
			}
			if err := pause(ctx, between(300*time.Millisecond, 2*time.Second)); err != nil {
				return err
			}
			for _, c := range all {
				c.px.lose(false)
			}
		default:
			engines++
			s.engine.kill()
			if err := pause(ctx, between(0, 2*time.Second)); err != nil {
				return err
			}
			if err := s.engine.start(ctx); err != nil {
				return err
			}
		}
	}
	print(figure{Name: "landing_faults_consumer_kills", Value: float64(kills), Unit: "kills"})
	print(figure{Name: "landing_faults_engine_kills", Value: float64(engines), Unit: "kills"})
	print(figure{Name: "landing_faults_answers_lost", Value: float64(lost), Unit: "times"})
	return nil
}

// peerOutage turns both away for peerAway.
func peerOutage(ctx context.Context, s *scene, all []*contestant, print func(figure)) error {
	if err := pause(ctx, outageSteady); err != nil {
		return err
	}
	for _, c := range all {
		c.px.refuse(true)
	}
	if err := pause(ctx, peerAway); err != nil {
		return err
	}
	for _, c := range all {
		c.px.refuse(false)
	}
	print(figure{Name: "landing_outage", Value: peerAway.Seconds(), Unit: "s"})
	return pause(ctx, outageSteady)
}
