package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	prog "github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/equities"
	"github.com/hashpivot/hashpivot/services/equities/alpaca"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

const (
	ingestEvents = 2_000_000
	// Symbols and events of the second part. All symbols are as busy as each other, which is the worst: messages are small.
	ingestSymbols    = 10_000
	ingestManyEvents = 1_000_000
)

// ingest measures the whole way from Alpaca's frames to JetStream, every message synced: a venue that tells as much as is read, the real adapter, the
// real nats-server, all on this machine's cores. It is held against the parser alone over the same frames, and against JetStream alone with
// the same messages.
func ingest(ctx context.Context, print func(figure)) error {
	few := []string{"WGMI", "CORZ", "BTBT", "IREN"}
	parsed, err := parseBare(few, ingestEvents)
	if err != nil {
		return err
	}
	print(figure{Name: "alpaca_parser_bare", Value: parsed, Unit: "events/s"})
	got, messages, err := ingestOnce(ctx, few, ingestEvents, nil)
	if err != nil {
		return err
	}
	bare, err := jetstreamBare(ctx, messages, ingestEvents)
	if err != nil {
		return err
	}
	print(figure{Name: "jetstream_bare", Value: bare, Unit: "events/s"})
	print(figure{Name: "ingest", Value: got, Unit: "events/s", Ratio: got / bare, RatioTo: "jetstream_bare"})
	print(figure{Name: "ingest_to_parser", Value: got, Unit: "events/s", Ratio: got / parsed, RatioTo: "alpaca_parser_bare"})
	return nil
}

// ingestMany is ingest with many symbols, where the memory must not grow with what has passed.
func ingestMany(ctx context.Context, print func(figure)) error {
	var early, late float64
	many, _, err := ingestOnce(ctx, manySymbols(ingestSymbols), ingestManyEvents, func(share float64, heap float64) {
		switch {
		case share < 0.5:
			early = max(early, heap)
		default:
			late = max(late, heap)
		}
	})
	if err != nil {
		return err
	}
	print(figure{Name: "ingest_" + strconv.Itoa(ingestSymbols) + "_symbols", Value: many, Unit: "events/s"})
	print(figure{Name: "ingest_heap_first_half", Value: early, Unit: "MiB"})
	print(figure{Name: "ingest_heap_second_half", Value: late, Unit: "MiB", Ratio: late / early, RatioTo: "ingest_heap_first_half"})
	return nil
}

func parseBare(symbols []string, events int) (float64, error) {
	v, err := newVenue(symbols, events)
	if err != nil {
		return 0, err
	}
	defer v.close()
	dec := alpaca.NewFrames()
	n := 0
	start := time.Now()
	for i := range events / frameEvents {
		// The real decoder's events may share memory with a frame that is theirs alone.
		frame := append([]byte(nil), v.frame(i)...)
		if err := dec.Decode(frame, false, func(market.Event) { n++ }); err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	if want := events / frameEvents * frameEvents; n != want {
		return 0, fmt.Errorf("the parser gave %d events of %d", n, want)
	}
	return rate(n, took), nil
}

// ingestOnce returns the events a second, and, without a look, the messages that were stored.
func ingestOnce(ctx context.Context, symbols []string, events int, look func(share, heapMiB float64)) (float64, []bus.BareMessage, error) {
	fail := func(err error) (float64, []bus.BareMessage, error) { return 0, nil, err }
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := openStream(ctx, dir)
	if err != nil {
		return fail(err)
	}
	defer s.close()
	v, err := newVenue(symbols, events)
	if err != nil {
		return fail(err)
	}
	defer v.close()
	cfg := equities.DefaultConfig()
	cfg.Symbols, cfg.Calendar, cfg.Backfill = symbols, "always", engine.Backfill{MaxHole: time.Hour, Restore: time.Hour}
	cfg.Alpaca.Source, cfg.Alpaca.Key, cfg.Alpaca.Secret = "sim-alpaca", prog.Secret("any"), prog.Secret("any")
	cfg.Alpaca.StreamURL, cfg.Alpaca.RESTURL = "ws://"+v.addr+"/v2/iex", "http://"+v.addr
	runtime.GC()
	pub := s.bus.NewPublisher(bus.PublisherConfig{})
	run, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- equities.Run(run, cfg, feed.Deps{Sink: pub, History: s.bus, Logger: quiet()}) }()
	var start time.Time
	select {
	case start = <-v.started:
	case err := <-done:
		return fail(errors.Join(errors.New("the adapter ended before the first frame"), err))
	}
	want := uint64(events / frameEvents * frameEvents)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var looked time.Time
	for pub.Stats().Events < want { // and the feed's own states beside them
		select {
		case <-tick.C:
		case err := <-done:
			return fail(errors.Join(errors.New("the adapter ended before the last frame"), v.failed(), err))
		}
		if look != nil && time.Since(looked) > 100*time.Millisecond {
			looked = time.Now()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			look(float64(pub.Stats().Events)/float64(want), float64(m.HeapAlloc)/(1<<20))
		}
	}
	took := time.Since(start)
	stop()
	if err := errors.Join(<-done, pub.Close(ctx), v.failed()); err != nil {
		return fail(err)
	}
	stored := uint64(0)
	var messages []bus.BareMessage
	for _, stream := range []market.Stream{market.Trades, market.Quotes} {
		err := s.bus.ScanAll(ctx, stream, func(m bus.Msg) error {
			stored += uint64(m.Events)
			if look == nil {
				messages = append(messages, bus.BareMessage{Subject: m.Subject, Data: append([]byte(nil), m.Data...)})
			}
			return nil
		})
		if err != nil {
			return fail(err)
		}
	}
	if stored != want {
		return fail(fmt.Errorf("%d events were stored, not %d", stored, want))
	}
	return rate(int(want), took), messages, nil
}

// jetstreamBare stores the same messages in a server of their own.
func jetstreamBare(ctx context.Context, messages []bus.BareMessage, events int) (float64, error) {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := openStream(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer s.close()
	took, err := s.bus.BarePublish(ctx, messages, 256)
	if err != nil {
		return 0, err
	}
	return rate(events, took), nil
}
