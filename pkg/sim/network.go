package sim

import (
	"context"
	"fmt"
	"net"

	"github.com/hashpivot/hashpivot/pkg/sim/bitcoind"
	"github.com/hashpivot/hashpivot/pkg/sim/braiins"
	"github.com/hashpivot/hashpivot/pkg/sim/coinmetrics"
	"github.com/hashpivot/hashpivot/pkg/sim/kraken"
	"github.com/hashpivot/hashpivot/pkg/sim/luxor"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// network starts the other observers of the chain and of bitcoin's price.
func (s *Sim) network(ctx context.Context, cfg Config, w *world.World) (err error) {
	// A demo and its restarts are no reason to be limited: the limits are for tests to order.
	if s.CoinMetrics, err = coinmetrics.New(coinmetrics.Config{World: w, Chain: s.Chain, Dir: cfg.Dir, Calls: -1, Now: cfg.Now}); err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	host, err := s.serve(ctx, cfg, "coinmetrics", s.CoinMetrics.Handler())
	if err != nil {
		return err
	}
	s.urls.CoinMetricsREST = "http://" + host + "/v4"
	s.desk.Register("coinmetrics", s.CoinMetrics.Target(), s.urls.CoinMetricsREST)
	if w == nil {
		return nil
	}
	if s.Bitcoind, err = bitcoind.New(bitcoind.Config{Chain: s.Chain, ZMQ: "tcp://" + net.JoinHostPort(cfg.Host, "0"), Now: cfg.Now}); err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	s.closers = append(s.closers, s.Bitcoind.Close)
	if host, err = s.serve(ctx, cfg, "bitcoind", s.Bitcoind.Handler()); err != nil {
		return err
	}
	s.urls.BitcoinRPC, s.urls.BitcoinZMQ = "http://"+host, s.Bitcoind.ZMQ()
	s.desk.Register("bitcoind", s.Bitcoind.Target(), s.urls.BitcoinRPC, s.urls.BitcoinZMQ)
	if s.Kraken, err = kraken.New(kraken.Config{World: w, Seed: cfg.Seed, Now: cfg.Now}); err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	s.closers = append(s.closers, s.Kraken.Close)
	if host, err = s.serve(ctx, cfg, "kraken", s.Kraken.Handler()); err != nil {
		return err
	}
	s.urls.KrakenWS, s.urls.KrakenREST = "ws://"+host+"/v2", "http://"+host
	s.desk.Register("kraken", s.Kraken.Target(), s.urls.KrakenWS, s.urls.KrakenREST)
	if s.Luxor, err = luxor.New(luxor.Config{World: w, Chain: s.Chain, Seed: cfg.Seed, Burst: -1, Now: cfg.Now}); err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	if host, err = s.serve(ctx, cfg, "luxor", s.Luxor.Handler()); err != nil {
		return err
	}
	s.urls.LuxorREST = "http://" + host + "/v1/hashrateindex"
	s.desk.Register("luxor", s.Luxor.Target(), s.urls.LuxorREST)
	if s.Braiins, err = braiins.New(braiins.Config{World: w, Chain: s.Chain, Now: cfg.Now}); err != nil {
		return fmt.Errorf("start simulators: %w", err)
	}
	if host, err = s.serve(ctx, cfg, "braiins", s.Braiins.Handler()); err != nil {
		return err
	}
	s.urls.BraiinsREST = "http://" + host + "/api/v1.0"
	s.desk.Register("braiins", s.Braiins.Target(), s.urls.BraiinsREST)
	return nil
}
