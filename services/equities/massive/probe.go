package massive

import (
	"net/http"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// Probes ask the stream's host, and the history for one old daily bar, with the key.
func (c Config) Probes(symbol string) []feed.Probe {
	day := time.Now().UTC().AddDate(0, 0, -7)
	path := "/v2/aggs/ticker/" + symbol + "/range/1/day/" + day.Format(time.DateOnly) + "/" + day.AddDate(0, 0, 3).Format(time.DateOnly) + "?limit=1"
	return []feed.Probe{
		{Source: c.Source, Request: feed.Request{URL: c.StreamURL}},
		{Source: c.Source, Key: "equities.massive.key", Request: feed.Request{
			URL: strings.TrimSuffix(c.RESTURL, "/") + path, Header: http.Header{"Authorization": {"Bearer " + c.Key.Reveal()}},
		}},
	}
}
