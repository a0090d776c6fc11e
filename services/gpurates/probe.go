package gpurates

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// Probes are questions to the upstreams that are switched on; off names the keys that would switch the others on.
func (c Config) Probes() (on []feed.Probe, off []string) {
	for _, u := range c.upstreams() {
		key := "gpurates." + u.key + ".api_key"
		if !u.on {
			if u.cfg.Enabled {
				off = append(off, key)
			}
			continue
		}
		if u.cfg.APIKey == "" {
			key = ""
		}
		p := feed.Probe{Source: u.cfg.Source, Key: key, Request: feed.Request{URL: u.cfg.URL, Header: bearer(u.cfg)}}
		base := strings.TrimSuffix(u.cfg.URL, "/")
		switch u.key {
		case "vast":
			now := time.Now()
			q := url.Values{
				"gpu_name": {"H100_SXM"}, "start": {strconv.FormatInt(now.Add(-time.Hour).Unix(), 10)}, "end": {strconv.FormatInt(now.Unix(), 10)}, "step": {"3600"},
			}
			p.Request.URL, p.Request.Header = base+"/api/v0/metrics/gpu/history/?"+q.Encode(), vastHeader(c.Vast)
		case "runpod":
			if key != "" {
				p.Request.URL = strings.TrimSuffix(c.RunPod.RESTURL, "/") + "/v2/catalog/gpus"
			}
		case "lambda":
			p.Request.URL = base + "/api/v1/instance-types"
		case "shadeform":
			p.Request.URL = base + "/v1/instances/types"
			p.Request.Header = http.Header{"Accept": {"application/json"}, "X-Api-Key": {u.cfg.APIKey.Reveal()}}
		case "prime_intellect":
			p.Request.URL = base + "/api/v1/availability/gpus?page_size=1"
		case "akash":
			p.Request.URL = base + "/v1/gpu-prices"
		case "azure":
			p.Key = "" // a price list for everybody
		}
		on = append(on, p)
	}
	return on, off
}
