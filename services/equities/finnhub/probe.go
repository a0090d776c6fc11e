package finnhub

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// Probes ask the stream's host, and for one quote, which every plan has, with the key.
func (c Config) Probes(symbol string) []feed.Probe {
	return []feed.Probe{
		{Source: c.Source, Request: feed.Request{URL: c.StreamURL}},
		{Source: c.Source, Key: "equities.finnhub.key", Request: feed.Request{
			URL: strings.TrimSuffix(c.RESTURL, "/") + "/quote?symbol=" + url.QueryEscape(symbol), Header: http.Header{"X-Finnhub-Token": {c.Key.Reveal()}},
		}},
	}
}
