package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
)

const (
	memoryDatabase = "hashpivot_sim"
	// memoryAhead is by how many trades the publisher is ahead of the lander: so many that the lander always has full ranges to land.
	memoryAhead = 4_000_000
	// rowOnDisk is what a trade takes in the stream and in the table together, with what merges hold twice for a while.
	rowOnDisk = 220
)

// landingMemory lands many trades (-rows) by a lander in a process of its own that always has more to land, and holds its memory of the last quarter
// against that of the second.
func landingMemory(ctx context.Context, print func(figure)) (err error) {
	total := *queryRows
	s, err := openScene(ctx, memoryDatabase)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := room(s.dir, uint64(total)*rowOnDisk); err != nil {
		return err
	}
	p, err := s.lander(s.engine.Native, memoryDatabase)
	if err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	defer p.kill()

	pub := s.stream.bus.NewPublisher(bus.PublisherConfig{})
	t := newTape()
	start := time.Now()
	var quarters [4]float64
	published, landed := 0, uint64(0)
	for landed < uint64(total) {
		if landed, err = s.counted(ctx, memoryDatabase); err != nil {
			return err
		}
		q := &quarters[min(4*int(landed)/total, 3)]
		*q = max(*q, p.rss())
		if err := p.alive(); err != nil {
			return err
		}
		upTo := min(int(landed)+memoryAhead, total, published+200_000)
		if upTo == published {
			if err := errors.Join(pub.Flush(ctx), pause(ctx, 100*time.Millisecond)); err != nil {
				return err
			}
			continue
		}
		for ; published < upTo; published++ {
			trade, err := t.next()
			if err != nil {
				return err
			}
			if err := pub.Publish(ctx, trade); err != nil {
				return err
			}
		}
	}
	took := time.Since(start)
	if err := pub.Close(ctx); err != nil {
		return err
	}
	rows, distinct, err := s.stored(ctx, memoryDatabase)
	if err != nil {
		return err
	}
	if rows != uint64(total) || distinct != rows {
		return fmt.Errorf("%d rows landed, %d different, of %d", rows, distinct, total)
	}
	print(figure{Name: "landing_memory_rows", Value: float64(rows), Unit: "rows"})
	print(figure{Name: "landing_memory_rate", Value: rate(total, took), Unit: "rows/s"}) // with the publisher on the same cores
	for i, rss := range quarters {
		f := figure{Name: fmt.Sprintf("landing_memory_rss_q%d", i+1), Value: rss, Unit: "MiB"}
		if i == 3 {
			f.Ratio, f.RatioTo = rss/quarters[1], "landing_memory_rss_q2"
		}
		print(f)
	}
	print(figure{Name: "landing_memory_cpu", Value: p.cpuSeconds() * 1e6 / float64(total), Unit: "us/row"})
	return nil
}
