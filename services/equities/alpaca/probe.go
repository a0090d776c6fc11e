package alpaca

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// Probes ask the stream's host, and the history for one old daily bar, with the key.
func (c Config) Probes(symbol string) []feed.Probe {
	day := time.Now().UTC().AddDate(0, 0, -7)
	q := url.Values{
		"symbols": {symbol}, "timeframe": {"1Day"}, "limit": {"1"}, "feed": {c.Feed},
		"start": {day.Format(time.RFC3339)}, "end": {day.AddDate(0, 0, 3).Format(time.RFC3339)},
	}
	out := []feed.Probe{
		{Source: c.Source, Request: feed.Request{URL: c.StreamURL}},
		{Source: c.Source, Key: "equities.alpaca.key", Request: feed.Request{
			URL:    strings.TrimSuffix(c.RESTURL, "/") + "/v2/stocks/bars?" + q.Encode(),
			Header: http.Header{"Apca-Api-Key-Id": {c.Key.Reveal()}, "Apca-Api-Secret-Key": {c.Secret.Reveal()}},
		}},
	}
	if night, on := c.Night(); on {
		out = append(out, feed.Probe{Source: night.Source, Request: feed.Request{URL: night.StreamURL}})
	}
	return out
}
