package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/lander"
)

const (
	capacityEvents = 500_000
	// capacityAliveRate events a second for capacityAliveTime are a stream that is alive: it is landed every lander.min_interval.
	capacityAliveRate = 100
	capacityAliveTime = 20 * time.Second
)

// capacity measures what hashpivot size computes with: what an event costs in JetStream and on its way into ClickHouse when its messages are full and when they
// are small, and what a stream costs that is alive and not busy.
func capacity(ctx context.Context, print func(figure)) error {
	for _, n := range []int{4, 1000, 10_000} {
		if err := capacityOf(ctx, n, print); err != nil {
			return fmt.Errorf("%d symbols: %w", n, err)
		}
	}
	return capacityAlive(ctx, print)
}

func capacityOf(ctx context.Context, symbols int, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := openStream(ctx, filepath.Join(dir, "stream"))
	if err != nil {
		return err
	}
	defer s.close()
	took, used, err := publishTape(ctx, s, symbols)
	if err != nil {
		return err
	}
	info, err := s.bus.Info(ctx, market.Trades)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("capacity_%d_symbols_", symbols)
	print(figure{Name: name + "message", Value: capacityEvents / float64(info.Messages), Unit: "events/message"})
	print(figure{Name: name + "stream", Value: float64(info.Bytes) / capacityEvents, Unit: "bytes/event"})
	print(figure{Name: name + "published", Value: rate(capacityEvents, took), Unit: "events/s"})
	print(figure{Name: name + "messages", Value: rate(int(info.Messages), took), Unit: "messages/s"})
	print(figure{Name: name + "publish_cpu", Value: used * 1e6 / capacityEvents, Unit: "us/event"}) // with nats-server, which is embedded
	broker, err := brokerCPU(ctx, s, dir)
	if err != nil {
		return err
	}
	print(figure{Name: name + "broker_cpu", Value: broker * 1e6 / capacityEvents, Unit: "us/event"})
	runtime.GC()
	l, err := land(ctx, s, dir, capacityEvents, nil)
	if err != nil {
		return err
	}
	print(figure{Name: name + "lander_cpu", Value: l.cpu * 1e6 / capacityEvents, Unit: "us/row"}) // with nats-server
	print(figure{Name: name + "engine_cpu", Value: l.engineCPU * 1e6 / capacityEvents, Unit: "us/row"})
	return nil
}

// publishTape publishes capacityEvents of so many symbols and returns the time and the seconds of processor time that it took.
func publishTape(ctx context.Context, s *stream, symbols int) (took time.Duration, cpu float64, err error) {
	names := make([]string, symbols)
	for i := range names {
		names[i] = fmt.Sprintf("S%05d", i)
	}
	t := newTapeOf(names, 1)
	trades := make([]*market.Trade, capacityEvents)
	for i := range trades { // outside of what is measured
		if trades[i], err = t.next(); err != nil {
			return 0, 0, err
		}
	}
	p := s.bus.NewPublisher(bus.PublisherConfig{})
	start, before := time.Now(), cpuSeconds()
	for _, tr := range trades {
		if err := p.Publish(ctx, tr); err != nil {
			return 0, 0, err
		}
	}
	if err := p.Close(ctx); err != nil {
		return 0, 0, err
	}
	return time.Since(start), cpuSeconds() - before, nil
}

// brokerCPU stores the stream's messages once more, in a server of their own, and returns the seconds of processor time that this and the thinnest client took.
func brokerCPU(ctx context.Context, s *stream, dir string) (float64, error) {
	var messages []bus.BareMessage
	err := s.bus.ScanAll(ctx, market.Trades, func(m bus.Msg) error {
		messages = append(messages, bus.BareMessage{Subject: m.Subject, Data: append([]byte(nil), m.Data...)})
		return nil
	})
	if err != nil {
		return 0, err
	}
	other, err := openStream(ctx, filepath.Join(dir, "bare"))
	if err != nil {
		return 0, err
	}
	defer other.close()
	cpu := cpuSeconds()
	if _, err := other.bus.BarePublish(ctx, messages, 256); err != nil {
		return 0, err
	}
	return cpuSeconds() - cpu, nil
}

// capacityAlive measures the cores that a stream takes which is never quiet and never busy, beside those of an engine that nobody uses.
func capacityAlive(ctx context.Context, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := openStream(ctx, filepath.Join(dir, "stream"))
	if err != nil {
		return err
	}
	defer s.close()
	tab, err := openTables(ctx, filepath.Join(dir, "clickhouse"))
	if err != nil {
		return err
	}
	defer tab.close(ctx)
	l, err := lander.New(lander.DefaultConfig(), lander.Deps{Bus: s.bus, Store: tab.store, Logger: quiet()})
	if err != nil {
		return err
	}
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- l.Run(lctx) }()

	t, p := newTape(), s.bus.NewPublisher(bus.PublisherConfig{})
	measure := func(name string, every func() error) error {
		tick, end := time.NewTicker(time.Second/capacityAliveRate), time.After(capacityAliveTime)
		defer tick.Stop()
		start, cpu, engineCPU := time.Now(), cpuSeconds(), cpuSecondsOf(tab.engine.Pid())
		for {
			select {
			case <-tick.C:
				if err := every(); err != nil {
					return err
				}
			case err := <-done:
				return errors.Join(errors.New("the lander ended"), err)
			case <-end:
				took := time.Since(start).Seconds()
				print(figure{Name: name + "_lander", Value: (cpuSeconds() - cpu) / took, Unit: "cores"}) // with nats-server and publisher
				print(figure{Name: name + "_engine", Value: (cpuSecondsOf(tab.engine.Pid()) - engineCPU) / took, Unit: "cores"})
				return nil
			}
		}
	}
	if err := measure("capacity_quiet", func() error { return nil }); err != nil {
		return err
	}
	err = measure("capacity_alive", func() error {
		tr, err := t.next()
		if err != nil {
			return err
		}
		return p.Publish(ctx, tr)
	})
	err = errors.Join(err, p.Close(ctx))
	stop()
	return errors.Join(err, <-done)
}
