package hashprice

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// Probes are questions to the upstreams that are switched on; off names the keys that would switch the others on.
func (c Config) Probes() (on []feed.Probe, off []string) {
	reach := func(source string, urls ...string) {
		for _, u := range urls {
			on = append(on, feed.Probe{Source: source, Request: feed.Request{URL: u}})
		}
	}
	if c.Mempool.Enabled {
		reach(c.Mempool.Source, c.Mempool.StreamURL, strings.TrimSuffix(c.Mempool.RESTURL, "/")+"/blocks/tip/height")
	}
	if c.Coinbase.Enabled {
		reach(c.Coinbase.Source, c.Coinbase.StreamURL, c.Coinbase.RESTURL)
	}
	if c.Kraken.Enabled {
		reach(c.Kraken.Source, c.Kraken.StreamURL)
	}
	if c.Braiins.Enabled {
		reach(c.Braiins.Source, c.Braiins.URL)
	}
	if c.CoinMetrics.Enabled {
		reach(c.CoinMetrics.Source, c.CoinMetrics.URL)
	}
	if c.Luxor.on() {
		q := url.Values{"currency": {"USD"}, "hashunit": {"PHS"}, "span": {"1D"}, "bucket": {"5m"}}
		on = append(on, feed.Probe{Source: c.Luxor.Source, Key: "hashprice.luxor.key", Request: feed.Request{
			URL: strings.TrimSuffix(c.Luxor.URL, "/") + "/hashprice?" + q.Encode(), Header: http.Header{"X-Hi-Api-Key": {c.Luxor.Key.Reveal()}},
		}})
	} else {
		off = append(off, "hashprice.luxor.key")
	}
	if !c.Bitcoind.on() {
		return on, append(off, "hashprice.bitcoind.rpc_url")
	}
	key := "hashprice.bitcoind.user and hashprice.bitcoind.password"
	if c.Bitcoind.CookieFile != "" {
		key = "hashprice.bitcoind.cookie_file"
	}
	header := http.Header{"Content-Type": {"application/json"}}
	// A cookie that cannot be read is refused by the node, which is what is to be told.
	if auth, err := (&coreRPC{cfg: c.Bitcoind}).authorization(); err == nil {
		header.Set("Authorization", auth)
	}
	on = append(on, feed.Probe{Source: c.Bitcoind.Source, Key: key, Request: feed.Request{
		Method: http.MethodPost, URL: c.Bitcoind.RPCURL, Header: header, Body: []byte(`{"jsonrpc":"1.0","id":"hashpivot","method":"getblockchaininfo","params":[]}`),
	}})
	if u, err := url.Parse(c.Bitcoind.ZMQURL); err == nil && u.Host != "" {
		on = append(on, feed.Probe{Source: c.Bitcoind.Source, Dial: u.Host})
	}
	return on, off
}
