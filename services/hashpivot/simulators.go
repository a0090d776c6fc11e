package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/sim"
	"github.com/hashpivot/hashpivot/services/equities"
	"github.com/hashpivot/hashpivot/services/gpurates"
	"github.com/hashpivot/hashpivot/services/hashprice"
)

// simulators stand in for the upstreams: generated, or replaying recordings.
type simulators struct {
	sim  *sim.Sim
	mode mode
	dir  string
}

func startSimulators(ctx context.Context, cfg *config, m mode, dir string, log *slog.Logger) (*simulators, error) {
	c := sim.Config{Mode: sim.Generated, Seed: cfg.Sim.Seed, Rate: cfg.Sim.Rate, Steady: cfg.Sim.Steady, Logger: log.With("component", "sim")}
	// The usual symbols are on the tape whatever is subscribed to, so that one can be added while it runs.
	c.Symbols = slices.Clone(cfg.Equities.Symbols)
	for _, symbol := range defaultConfig().Equities.Symbols {
		if !slices.Contains(c.Symbols, symbol) {
			c.Symbols = append(c.Symbols, symbol)
		}
	}
	if m == modeRecorded {
		c.Mode, c.Dir = sim.Recorded, dir
	}
	// The simulators end by close, after the feeds: a context would end them first and look like an outage.
	s, err := sim.Start(context.WithoutCancel(ctx), c)
	if err != nil {
		if m == modeRecorded {
			return nil, run.Usage(fmt.Errorf("--recorded %s: %w", dir, err))
		}
		return nil, err
	}
	return &simulators{sim: s, mode: m, dir: dir}, nil
}

func (s *simulators) close() { s.sim.Close() }

// point turns every upstream of the configuration to the simulators, and marks every source.
func (s *simulators) point(cfg *config) error { return pointAt(cfg, s.sim.URLs(), s.mode, s.dir) }

// pointAt turns every upstream of the configuration to simulators at the addresses; dir has the recordings that they replay, if they do.
func pointAt(cfg *config, u sim.URLs, m mode, dir string) error {
	prefix := m.prefix()
	recorded := m == modeRecorded

	e := &cfg.Equities
	e.Alpaca.Source, e.Calendar, e.StopAtEnd = prefix+"alpaca", "always", recorded
	e.Alpaca.StreamURL, e.Alpaca.RESTURL, e.Alpaca.Key, e.Alpaca.Secret = u.AlpacaStream, u.AlpacaREST, "simulated", "simulated"
	pointEquities(e, u, prefix, recorded)
	if recorded {
		symbols, err := sim.RecordedSymbols(dir)
		if err != nil {
			return run.Usage(fmt.Errorf("--recorded %s: %w", dir, err))
		}
		// Everything that was recorded is history.
		e.Symbols = symbols
		e.Backfill.DailyFrom, e.Backfill.MinuteFrom, e.Backfill.TicksFrom = "1990-01-01", "1990-01-01", ""
	}

	cfg.Signals.Calendar, cfg.Nightly.Calendar = "always", "always"
	pointNetwork(&cfg.Hashprice, u, prefix, recorded)

	g := &cfg.GPURates
	g.Vast.Source, g.Vast.URL, g.StopAtEnd = prefix+"vast", u.Vast, recorded
	g.Vast.PollEvery, g.Vast.MetricsCallEvery = 5*time.Second, time.Millisecond
	if recorded {
		g.Vast.PollEvery = 10 * time.Millisecond
	}
	pointGPUClouds(g, u, prefix, recorded)
	return run.Usage(cfg.validate())
}

// pointEquities turns the other upstreams of equities to the simulators; in the formats of Massive and Finnhub nothing was recorded.
func pointEquities(e *equities.Config, u sim.URLs, prefix string, recorded bool) {
	e.Massive.Source, e.Massive.StreamURL, e.Massive.RESTURL, e.Massive.Key = prefix+"massive", u.MassiveWS, u.MassiveREST, "simulated"
	e.Finnhub.Source, e.Finnhub.StreamURL, e.Finnhub.RESTURL, e.Finnhub.Key = prefix+"finnhub", u.FinnhubWS, u.FinnhubREST, "simulated"
	e.Finnhub.CallEvery = time.Millisecond
	e.Files.Dir = "" // what an operator's files hold is not simulated
	if recorded {
		e.Massive.Key, e.Finnhub.Key = "", ""
	}
}

// equitiesText is the configuration of the upstreams of equities.
func equitiesText(u sim.URLs, prefix string, recorded bool) string {
	text := fmt.Sprintf("equities: {calendar: always, alpaca: {source: %salpaca, stream_url: %s, rest_url: %s, key: any, secret: any}", prefix, u.AlpacaStream, u.AlpacaREST)
	if recorded {
		return text + "}"
	}
	return text + fmt.Sprintf(", massive: {source: %[1]smassive, stream_url: %[2]s, rest_url: %[3]s, key: any}, finnhub: {source: %[1]sfinnhub, stream_url: %[4]s, rest_url: %[5]s, key: any}}",
		prefix, u.MassiveWS, u.MassiveREST, u.FinnhubWS, u.FinnhubREST)
}

// pointNetwork turns the observers of the bitcoin network and its price to the simulators; of a recording there are mempool.space, Coinbase's
// candles and Coin Metrics.
func pointNetwork(h *hashprice.Config, u sim.URLs, prefix string, recorded bool) {
	h.StopAtEnd, h.Calculator.Source = recorded, prefix+"hashpivot"
	h.Mempool.Enabled, h.Mempool.Source, h.Mempool.StreamURL, h.Mempool.RESTURL = true, prefix+"mempool", u.MempoolWS, u.MempoolREST
	h.Coinbase.Enabled, h.Coinbase.Source, h.Coinbase.StreamURL, h.Coinbase.RESTURL = true, prefix+"coinbase", u.CoinbaseWS, u.CoinbaseREST
	h.CoinMetrics.Enabled, h.CoinMetrics.Source, h.CoinMetrics.URL = true, prefix+"coinmetrics", u.CoinMetricsREST
	// Nobody bans a client of one's own simulator.
	h.Mempool.CallEvery, h.Coinbase.CallEvery, h.CoinMetrics.CallEvery = time.Millisecond, time.Millisecond, time.Millisecond

	h.Bitcoind.Source, h.Bitcoind.RPCURL, h.Bitcoind.ZMQURL = prefix+"bitcoind", u.BitcoinRPC, u.BitcoinZMQ
	h.Bitcoind.User, h.Bitcoind.Password, h.Bitcoind.CookieFile = "simulated", "simulated", ""
	h.Kraken.Enabled, h.Kraken.Source, h.Kraken.StreamURL = !recorded, prefix+"kraken", u.KrakenWS
	h.Braiins.Enabled, h.Braiins.Source, h.Braiins.URL, h.Braiins.Every = !recorded, prefix+"braiins", u.BraiinsREST, time.Minute
	h.Luxor.Source, h.Luxor.URL, h.Luxor.Key, h.Luxor.Every, h.Luxor.CallEvery = prefix+"luxor", u.LuxorREST, "simulated", time.Minute, time.Millisecond
	if recorded {
		h.Luxor.Key = ""
	}
}

// networkText is the configuration of the observers of the network.
func networkText(u sim.URLs, prefix string, recorded bool) string {
	text := fmt.Sprintf("hashprice: {calculator: {source: %[1]shashpivot}, mempool: {source: %[1]smempool, stream_url: %[2]s, rest_url: %[3]s}, "+
		"coinbase: {source: %[1]scoinbase, stream_url: %[4]s, rest_url: %[5]s}, coinmetrics: {source: %[1]scoinmetrics, url: %[6]s}, ",
		prefix, u.MempoolWS, u.MempoolREST, u.CoinbaseWS, u.CoinbaseREST, u.CoinMetricsREST)
	if recorded {
		return text + "kraken: {enabled: false}, braiins: {enabled: false}}"
	}
	return text + fmt.Sprintf("bitcoind: {source: %[1]sbitcoind, rpc_url: %[2]s, zmq_url: \"%[3]s\", user: any}, kraken: {source: %[1]skraken, stream_url: %[4]s}, "+
		"braiins: {source: %[1]sbraiins, url: %[5]s}, luxor: {source: %[1]sluxor, url: %[6]s, key: any}}",
		prefix, u.BitcoinRPC, u.BitcoinZMQ, u.KrakenWS, u.BraiinsREST, u.LuxorREST)
}

// pointGPUClouds turns the price lists of GPU clouds to the simulators; of a recording there are none.
func pointGPUClouds(g *gpurates.Config, u sim.URLs, prefix string, recorded bool) {
	g.RunPod.URL, g.RunPod.RESTURL, g.Akash.URL, g.Azure.URL = u.RunPodGraphQL, u.RunPodREST, u.Akash, u.Azure
	g.Lambda.URL, g.Shadeform.URL, g.PrimeIntellect.URL = u.Lambda, u.Shadeform, u.PrimeIntellect
	for source, up := range map[string]*gpurates.UpstreamConfig{
		"runpod": &g.RunPod.UpstreamConfig, "lambda": &g.Lambda, "shadeform": &g.Shadeform, "prime-intellect": &g.PrimeIntellect,
		"akash": &g.Akash, "azure": &g.Azure.UpstreamConfig,
	} {
		up.Enabled, up.Source, up.APIKey, up.PollEvery = !recorded, prefix+source, "simulated", 5*time.Second
	}
	g.Index.Source, g.Index.Every = prefix+"hashpivot", 5*time.Second
}

// gpuCloudsText is the configuration of the price lists of GPU clouds.
func gpuCloudsText(u sim.URLs, prefix string, recorded bool) string {
	if recorded {
		return "runpod: {enabled: false}, akash: {enabled: false}, azure: {enabled: false}, index: {enabled: false}"
	}
	return fmt.Sprintf("runpod: {source: %[1]srunpod, url: %[2]s, rest_url: %[3]s}, lambda: {source: %[1]slambda, url: %[4]s, api_key: any}, "+
		"shadeform: {source: %[1]sshadeform, url: %[5]s, api_key: any}, prime_intellect: {source: %[1]sprime-intellect, url: %[6]s, api_key: any}, "+
		"akash: {source: %[1]sakash, url: %[7]s}, azure: {source: %[1]sazure, url: %[8]s}, index: {source: %[1]shashpivot}",
		prefix, u.RunPodGraphQL, u.RunPodREST, u.Lambda, u.Shadeform, u.PrimeIntellect, u.Akash, u.Azure)
}

type simCmd struct {
	Recorded string `help:"Serve the recordings in DIR instead of a generated market." placeholder:"DIR"`
}

// Run serves the simulated upstreams until a signal.
func (c *simCmd) Run(a *app) error {
	m := modeSim
	if c.Recorded != "" {
		m = modeRecorded
	}
	cfg, err := a.load(m)
	if err != nil {
		return err
	}
	if err := a.logger(cfg); err != nil {
		return err
	}
	s, err := startSimulators(a.ctx, cfg, m, c.Recorded, a.log)
	if err != nil {
		return err
	}
	defer s.close()
	u := s.sim.URLs()
	if a.cli.JSON {
		line, err := json.Marshal(u)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
	} else {
		a.printf("# simulated upstreams (%s); a configuration that points at them:\nmode: %s\n", m, m)
		prefix := m.prefix()
		a.printf("%s\n", equitiesText(u, prefix, m == modeRecorded))
		a.printf("%s\n", networkText(u, prefix, m == modeRecorded))
		a.printf("gpurates: {vast: {source: "+prefix+"vast, url: %s}, %s}\n", u.Vast, gpuCloudsText(u, prefix, m == modeRecorded))
		a.printf("# faults are ordered at %s/simulators; docs/simulators.md lists them\n", u.Control)
	}
	<-a.ctx.Done()
	return nil
}
