// Package hashprice streams the bitcoin network (blocks, difficulty, fee rates) from mempool.space and from a Bitcoin Core node of one's own
// and BTC-USD from Coinbase and Kraken, and computes the hashprice from them: live on each block and price ("tip144"), and one a day for
// years of history ("daily"). What others publish (Luxor, Braiins, Coin Metrics) is stored beside it, with the difference.
package hashprice

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// Config of the service.
type Config struct {
	Mempool     MempoolConfig     `koanf:"mempool"`
	Bitcoind    BitcoindConfig    `koanf:"bitcoind"`
	Coinbase    CoinbaseConfig    `koanf:"coinbase"`
	Kraken      KrakenConfig      `koanf:"kraken"`
	Luxor       LuxorConfig       `koanf:"luxor"`
	Braiins     BraiinsConfig     `koanf:"braiins"`
	CoinMetrics CoinMetricsConfig `koanf:"coinmetrics"`
	Calculator  CalculatorConfig  `koanf:"calculator"`
	// HistoryFrom is the first UTC day of the daily history, YYYY-MM-DD; empty: no history is fetched.
	HistoryFrom string `koanf:"history_from"`
	// HistoryEvery is how often the history is looked at again for days that have ended.
	HistoryEvery time.Duration `koanf:"history_every"`
	// StopAtEnd makes Run return once the upstreams have said that there is no more and the history is read (recordings).
	StopAtEnd bool `koanf:"stop_at_end"`
}

// MempoolConfig is the mempool.space upstream.
type MempoolConfig struct {
	Enabled   bool   `koanf:"enabled"`
	Source    string `koanf:"source"`
	StreamURL string `koanf:"stream_url"` // websocket
	RESTURL   string `koanf:"rest_url"`   // up to and with /api
	// RefillBlocks bounds how many blocks are fetched after an absence; what is older becomes a gap that is given up.
	RefillBlocks int `koanf:"refill_blocks"`
	// FeesEvery is how often unchanged fee rates are published again; changed ones are at once.
	FeesEvery time.Duration `koanf:"fees_every"`
	// CallEvery is the least time between two REST calls: the public host bans clients in a hurry.
	CallEvery time.Duration `koanf:"call_every"`
	// StaleAfter is the longest silence of the websocket, which tells its mempool's state every few seconds.
	StaleAfter time.Duration `koanf:"stale_after"`
}

// BitcoindConfig is a Bitcoin Core node of one's own. It is on when RPCURL is set.
type BitcoindConfig struct {
	Source string `koanf:"source"`
	RPCURL string `koanf:"rpc_url"` // http://127.0.0.1:8332; no user in it
	// CookieFile is bitcoind's .cookie; without it User and Password are used.
	CookieFile string     `koanf:"cookie_file"`
	User       string     `koanf:"user"`
	Password   run.Secret `koanf:"password"`
	// ZMQURL is the endpoint of zmqpubhashblock, tcp://host:port; empty: new blocks are found by polling alone.
	ZMQURL    string        `koanf:"zmq_url"`
	PollEvery time.Duration `koanf:"poll_every"`
	// RefillBlocks bounds how many blocks are fetched after an absence.
	RefillBlocks int           `koanf:"refill_blocks"`
	StaleAfter   time.Duration `koanf:"stale_after"`
	Timeout      time.Duration `koanf:"timeout"` // of one call
}

// CoinbaseConfig is the Coinbase upstream: Advanced Trade for the ticker, Exchange for the daily candles.
type CoinbaseConfig struct {
	Enabled   bool   `koanf:"enabled"`
	Source    string `koanf:"source"`
	StreamURL string `koanf:"stream_url"`
	RESTURL   string `koanf:"rest_url"`
	Product   string `koanf:"product"`
	// StaleAfter is the longest silence; heartbeats come each second.
	StaleAfter time.Duration `koanf:"stale_after"`
	CallEvery  time.Duration `koanf:"call_every"`
}

// KrakenConfig is the Kraken upstream, websocket v2.
type KrakenConfig struct {
	Enabled   bool   `koanf:"enabled"`
	Source    string `koanf:"source"`
	StreamURL string `koanf:"stream_url"`
	Symbol    string `koanf:"symbol"`
	// Channel is ticker, or trade for each print with its id.
	Channel string `koanf:"channel"`
	// StaleAfter is the longest silence; heartbeats come each second.
	StaleAfter time.Duration `koanf:"stale_after"`
}

// LuxorConfig is Luxor's published hashprice index. It is on when Key is set.
type LuxorConfig struct {
	Source string        `koanf:"source"`
	URL    string        `koanf:"url"`
	Key    run.Secret    `koanf:"key"`
	Every  time.Duration `koanf:"every"`
	// CallEvery is the rate at which Luxor gives calls back.
	CallEvery time.Duration `koanf:"call_every"`
	Timeout   time.Duration `koanf:"timeout"` // of one call
}

// BraiinsConfig is Braiins' published hashprice.
type BraiinsConfig struct {
	Enabled bool          `koanf:"enabled"`
	Source  string        `koanf:"source"`
	URL     string        `koanf:"url"`
	Every   time.Duration `koanf:"every"`
	Timeout time.Duration `koanf:"timeout"` // of one call
}

// CoinMetricsConfig is the daily community data of Coin Metrics (CC BY-NC: not for commercial use).
type CoinMetricsConfig struct {
	Enabled bool   `koanf:"enabled"`
	Source  string `koanf:"source"`
	URL     string `koanf:"url"`
	// From is the first day that is fetched, YYYY-MM-DD.
	From      string        `koanf:"from"`
	Every     time.Duration `koanf:"every"`
	CallEvery time.Duration `koanf:"call_every"`
	Timeout   time.Duration `koanf:"timeout"` // of one call
}

// CalculatorConfig is the hashprice itself.
type CalculatorConfig struct {
	Source string `koanf:"source"`
	// WindowBlocks is over how many blocks fees are averaged.
	WindowBlocks int `koanf:"window_blocks"`
	// MinEvery bounds the rate of publishing; MaxEvery is the longest time without a value while there is a fresh price.
	MinEvery time.Duration `koanf:"min_every"`
	MaxEvery time.Duration `koanf:"max_every"`
	// MaxPriceAge is when a price is too old to compute with. The fresh ones are mixed: their median, of two their mean.
	MaxPriceAge time.Duration `koanf:"max_price_age"`
	// MaxSpreadPercent is how far two prices may lie apart and still be believed; 0: any.
	MaxSpreadPercent float64 `koanf:"max_spread_percent"`
	// ChainOrder lists the sources of blocks (bitcoind, mempool), the preferred one first. The first one is used that has spoken within
	// MaxChainAge and is not more than MaxBehindBlocks behind the other.
	ChainOrder      []string      `koanf:"chain_order"`
	MaxBehindBlocks uint64        `koanf:"max_behind_blocks"`
	MaxChainAge     time.Duration `koanf:"max_chain_age"`
}

// DefaultConfig needs no key.
func DefaultConfig() Config {
	return Config{
		Mempool: MempoolConfig{
			Enabled: true, Source: "mempool", StreamURL: "wss://mempool.space/api/v1/ws", RESTURL: "https://mempool.space/api",
			RefillBlocks: 4320, FeesEvery: time.Minute, CallEvery: 500 * time.Millisecond, StaleAfter: time.Minute,
		},
		Bitcoind: BitcoindConfig{Source: "bitcoind", PollEvery: 5 * time.Second, RefillBlocks: 4320, StaleAfter: time.Minute, Timeout: 30 * time.Second},
		Coinbase: CoinbaseConfig{
			Enabled: true, Source: "coinbase", StreamURL: "wss://advanced-trade-ws.coinbase.com", RESTURL: "https://api.exchange.coinbase.com",
			Product: "BTC-USD", StaleAfter: 15 * time.Second, CallEvery: 250 * time.Millisecond,
		},
		Kraken: KrakenConfig{
			Enabled: true, Source: "kraken", StreamURL: "wss://ws.kraken.com/v2", Symbol: "BTC/USD", Channel: krakenTicker, StaleAfter: 15 * time.Second,
		},
		Luxor: LuxorConfig{
			Source: "luxor", URL: "https://api.hashrateindex.com/v1/hashrateindex", Every: 5 * time.Minute, CallEvery: 15 * time.Second,
			Timeout: time.Minute,
		},
		Braiins: BraiinsConfig{Enabled: true, Source: "braiins", URL: "https://insights.braiins.com/api/v1.0", Every: 10 * time.Minute, Timeout: time.Minute},
		CoinMetrics: CoinMetricsConfig{
			Enabled: true, Source: "coinmetrics", URL: "https://community-api.coinmetrics.io/v4", From: "2020-01-01", Every: time.Hour,
			CallEvery: 600 * time.Millisecond, Timeout: time.Minute,
		},
		Calculator: CalculatorConfig{
			Source: "hashpivot", WindowBlocks: 144, MinEvery: time.Second, MaxEvery: time.Minute, MaxPriceAge: time.Minute, MaxSpreadPercent: 5,
			ChainOrder: []string{chainBitcoind, chainMempool}, MaxBehindBlocks: 1, MaxChainAge: 15 * time.Minute,
		},
		HistoryFrom: "2016-07-01", HistoryEvery: time.Hour,
	}
}

// Names of the chain sources in the configuration.
const (
	chainBitcoind = "bitcoind"
	chainMempool  = "mempool"
)

func (c BitcoindConfig) on() bool { return c.RPCURL != "" }
func (c LuxorConfig) on() bool    { return c.Key != "" }

// chainSources are the names on the events of the chain sources, in the configured order.
func (c Config) chainSources() []string {
	var out []string
	for _, name := range c.Calculator.ChainOrder {
		switch {
		case name == chainBitcoind && c.Bitcoind.on():
			out = append(out, c.Bitcoind.Source)
		case name == chainMempool && c.Mempool.Enabled:
			out = append(out, c.Mempool.Source)
		}
	}
	return out
}

// Sources are the names on the events of what is on, by configuration key.
func (c Config) Sources() map[string]string {
	out := map[string]string{"hashprice.calculator.source": c.Calculator.Source}
	for key, x := range map[string]struct {
		on     bool
		source string
	}{
		"mempool": {c.Mempool.Enabled, c.Mempool.Source}, "bitcoind": {c.Bitcoind.on(), c.Bitcoind.Source}, "coinbase": {c.Coinbase.Enabled, c.Coinbase.Source},
		"kraken": {c.Kraken.Enabled, c.Kraken.Source}, "luxor": {c.Luxor.on(), c.Luxor.Source}, "braiins": {c.Braiins.Enabled, c.Braiins.Source},
		"coinmetrics": {c.CoinMetrics.Enabled, c.CoinMetrics.Source},
	} {
		if x.on {
			out["hashprice."+key+".source"] = x.source
		}
	}
	return out
}

// historyFrom is the first day of history; zero for none.
func (c Config) historyFrom() (time.Time, error) {
	if c.HistoryFrom == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, c.HistoryFrom)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a date; write YYYY-MM-DD, or leave it empty for no history", c.HistoryFrom)
	}
	return t, nil
}

func checkURL(raw string, schemes ...string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return fmt.Errorf("it is not a URL; write %s://host/path", schemes[len(schemes)-1])
	}
	if u.User != nil {
		return fmt.Errorf("it has a user in it; set user and password of their own, which are never logged")
	}
	for _, s := range schemes {
		if u.Scheme == s {
			return nil
		}
	}
	return fmt.Errorf("%q has the scheme %q; it must be %s", raw, u.Scheme, strings.Join(schemes, " or "))
}
