package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// clockEvery is how often a running service compares clocks.
const clockEvery = time.Minute

// errClock says that our clock and that of NATS do not agree.
var errClock = errors.New("clocks differ")

// clock compares our clock with that of NATS. What feeds receive is stamped by ours, and stored by NATS's: with a difference receive times, delays and the calendar
// are wrong for ever.
func (b *backends) clock(ctx context.Context) error {
	if b.maxSkew == 0 || b.nats != nil { // the embedded one has our clock
		return nil
	}
	offset, within, err := b.bus.Clock(ctx)
	if err != nil {
		return err
	}
	if offset.Abs()-within <= b.maxSkew {
		return nil
	}
	way := "ahead of"
	if offset > 0 {
		way = "behind"
	}
	return fmt.Errorf("%w: this machine's is %s %s that of NATS, more than max_clock_skew (%s): one of the two is wrong; look at date -u on both, and keep both by NTP",
		errClock, offset.Abs().Round(time.Millisecond), way, b.maxSkew)
}

// tellClock says in the log when clocks differ, and does not stop anybody who does not stamp data by them.
func (b *backends) tellClock(ctx context.Context) {
	if err := b.clock(ctx); errors.Is(err, errClock) {
		b.log.Error("the clock of this machine or of NATS is wrong", "err", err)
	}
}

// watchClock compares now and then until it is stopped: a clock may be set wrong any time.
func (b *backends) watchClock() {
	if b.stopClock != nil || b.nats != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(clockEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				b.tellClock(ctx)
			}
		}
	})
	b.stopClock = func() {
		cancel()
		wg.Wait()
	}
}
