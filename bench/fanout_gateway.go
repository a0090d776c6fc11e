package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/bench/child"
	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
	"github.com/hashpivot/hashpivot/services/gateway"
)

// Symbols of the trades channel.
const (
	gatewayCommon = "CORZ"
	gatewayFlood  = "FLOOD"
)

// serveGateway serves the real gateway with a stream that is made here: what JetStream would give is put into its reader as protobuf.
func serveGateway() error {
	cfg := gateway.DefaultConfig()
	cfg.Addr = "127.0.0.1:0"
	// All clients have one address here.
	l, much := &cfg.Limits, 1_000_000
	l.Connections, l.AddressConnections, l.AddressConnectBurst, l.AddressSubscriptions, l.AddressRequestBurst = much, much, much, much, much
	l.AddressConnects, l.AddressRequests = float64(much), float64(much)
	l.SubjectConnections, l.SubjectSubscriptions, l.SubjectRequestBurst, l.SubjectRequests = much, much, much, float64(much)
	log := &madeLog{created: time.Now(), messages: make(chan bus.Msg, 64)}
	gw, err := gateway.New(cfg, gateway.Deps{
		Log: log, History: noHistory{}, Mode: "sim", Logger: quiet(), Metrics: gateway.NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- gw.Run(ctx) }()
	return child.Main(gw.Addr(), log.publish, func() error {
		stop()
		return <-done
	})
}

// madeLog is a TRADES stream of what is published into it, and other streams that are empty.
type madeLog struct {
	created  time.Time
	messages chan bus.Msg
	trades   atomic.Uint64
}

func (l *madeLog) publish(ctx context.Context, flood bool, stamp time.Time, n int) (int, error) {
	symbol := gatewayCommon
	if flood {
		symbol = gatewayFlood
	}
	for sent := 0; sent < n; {
		some := min(n-sent, frameEvents)
		m, err := l.message(symbol, stamp, some)
		if err != nil {
			return sent, err
		}
		select {
		case <-ctx.Done():
			return sent, nil
		case l.messages <- m:
			sent += some
		}
	}
	return n, nil
}

var benchPrice, benchSize = market.MustDecimal("14.23"), market.MustDecimal("100")

// message is a batch as the publisher makes it, of at most as many events as come in one frame of a venue.
func (l *madeLog) message(symbol string, stamp time.Time, n int) (bus.Msg, error) {
	events := make([]market.Event, n)
	for i := range events {
		events[i] = &market.Trade{
			Meta:   market.Meta{Source: "sim-bench", EventTime: stamp, RecvTime: stamp},
			Action: market.TradeNew, Symbol: symbol, ID: strconv.FormatUint(50_000_000_000+l.trades.Add(1), 10), PriceUSD: benchPrice, SizeShares: benchSize,
		}
	}
	data, err := wire.Encode(nil, events)
	if err != nil {
		return bus.Msg{}, fmt.Errorf("encode trades: %w", err)
	}
	return bus.Msg{Subject: "md.v1.trade.sim-bench." + symbol, Time: stamp, Events: n, Data: data}, nil
}

func (l *madeLog) Info(_ context.Context, stream market.Stream) (bus.Info, error) {
	return bus.Info{Stream: stream, Created: l.created}, nil
}

func (l *madeLog) Latest(context.Context, market.Stream, func(bus.Msg) error) error { return nil }

func (l *madeLog) Scan(context.Context, market.Stream, func(bus.Msg) error) error { return nil }

func (l *madeLog) Landed(context.Context, market.Stream) (uint64, int64, error) {
	return 0, l.created.UnixNano(), nil
}

func (l *madeLog) SeqBefore(context.Context, market.Stream, time.Time) (uint64, bool, error) {
	return 0, true, nil
}

func (l *madeLog) Read(_ context.Context, stream market.Stream, _ uint64) (gateway.Reader, error) {
	if stream != market.Trades {
		return &madeReader{}, nil
	}
	return &madeReader{messages: l.messages}, nil
}

// madeReader numbers the messages as it hands them out.
type madeReader struct {
	messages <-chan bus.Msg
	seq      uint64
}

func (r *madeReader) Next(ctx context.Context) (bus.Msg, error) {
	select {
	case <-ctx.Done():
		return bus.Msg{}, ctx.Err()
	case m := <-r.messages:
		r.seq++
		m.Seq = r.seq
		return m, nil
	}
}

func (r *madeReader) Close() {}

type noHistory struct{}

func (noHistory) Events(context.Context, store.EventQuery, func(market.Event, market.Place) error) error {
	return nil
}

func (noHistory) SeqBetween(context.Context, market.Stream, time.Time, time.Time) (uint64, error) {
	return 0, nil
}
