// Package gpurates watches the offers of GPU clouds and marketplaces, tells what opened, changed and closed, and computes rental rate indices
// per model and class: of Vast.ai alone, and across providers.
//
// An upstream is its lists' fetch functions (vast.go, runpod.go, ...) over one poll engine (poll.go); docs/gpu-index.md has the index.
package gpurates

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// Config of the service.
type Config struct {
	Vast           VastConfig     `koanf:"vast"`
	RunPod         RunPodConfig   `koanf:"runpod"`
	Lambda         UpstreamConfig `koanf:"lambda"`
	Shadeform      UpstreamConfig `koanf:"shadeform"`
	PrimeIntellect UpstreamConfig `koanf:"prime_intellect"`
	Akash          UpstreamConfig `koanf:"akash"`
	Azure          AzureConfig    `koanf:"azure"`
	Index          IndexConfig    `koanf:"index"`
	// ClockSkew is how far an upstream's clock may be from ours; an answer from further away is refused. 0: it is not looked at.
	ClockSkew time.Duration `koanf:"clock_skew"`
	// StopAtEnd makes Run return once the upstream has said that there is no more (recordings).
	StopAtEnd bool `koanf:"stop_at_end"`
}

// UpstreamConfig is what all upstreams have.
type UpstreamConfig struct {
	// Enabled upstreams run; one that needs a key runs when it has one.
	Enabled   bool          `koanf:"enabled"`
	Source    string        `koanf:"source"`
	URL       string        `koanf:"url"`
	APIKey    run.Secret    `koanf:"api_key"`
	PollEvery time.Duration `koanf:"poll_every"`
}

// VastConfig is the Vast.ai upstream. Its key may be empty: the search has worked without. Two rounds of searches, one a class, are PollEvery
// apart; ten searches a minute are allowed.
type VastConfig struct {
	UpstreamConfig `koanf:",squash"`
	Classes        []market.Class `koanf:"classes"`
	// GPUs are Vast's own names of the models.
	GPUs []string `koanf:"gpus"`
	// Limit of offers in an answer; there are no pages, so an answer as long as this is taken for cut short.
	Limit int `koanf:"limit"`
	// HistoryFrom is the first UTC day of daily medians, YYYY-MM-DD; empty: none are fetched. HistoryEvery is how often for days that ended.
	HistoryFrom  string        `koanf:"history_from"`
	HistoryEvery time.Duration `koanf:"history_every"`
	// MetricsCallEvery is the least time between two calls for history; the venue asks for 3 s.
	MetricsCallEvery time.Duration `koanf:"metrics_call_every"`
}

// RunPodConfig is the RunPod upstream. URL is that of GraphQL, which needs no key; with one, on-demand offers are read from REST v2.
type RunPodConfig struct {
	UpstreamConfig `koanf:",squash"`
	RESTURL        string `koanf:"rest_url"`
}

// AzureConfig is the Azure retail price list, which needs no key.
type AzureConfig struct {
	UpstreamConfig `koanf:",squash"`
	// Regions are armRegionNames; empty: all.
	Regions []string `koanf:"regions"`
}

// IndexConfig is the index across providers.
type IndexConfig struct {
	Enabled bool          `koanf:"enabled"`
	Source  string        `koanf:"source"`
	Every   time.Duration `koanf:"every"`
	// MinProviders below which there is no value.
	MinProviders int `koanf:"min_providers"`
	// StaleAfter is for how many of its poll intervals an upstream's last good poll counts.
	StaleAfter int `koanf:"stale_after"`
}

// DefaultConfig needs no key.
func DefaultConfig() Config {
	up := func(source, url string, every time.Duration) UpstreamConfig {
		return UpstreamConfig{Enabled: true, Source: source, URL: url, PollEvery: every}
	}
	return Config{
		Vast: VastConfig{
			UpstreamConfig: up("vast", "https://console.vast.ai", time.Minute),
			Classes:        []market.Class{market.OnDemand, market.Interruptible},
			GPUs: []string{
				"B200", "H200", "H200 NVL", "H100 SXM", "H100 NVL", "H100 PCIE", "A100 SXM4", "A100 PCIE", "L40S", "RTX 5090", "RTX 4090", "Tesla V100",
			},
			Limit: 5000, HistoryFrom: "2026-01-01", HistoryEvery: time.Hour, MetricsCallEvery: 3 * time.Second,
		},
		RunPod:         RunPodConfig{UpstreamConfig: up("runpod", "https://api.runpod.io/graphql", time.Minute), RESTURL: "https://api.runpod.io"},
		Lambda:         up("lambda", "https://cloud.lambda.ai", time.Minute),
		Shadeform:      up("shadeform", "https://api.shadeform.ai", 2*time.Minute),
		PrimeIntellect: up("prime-intellect", "https://api.primeintellect.ai", 2*time.Minute),
		Akash:          up("akash", "https://console-api.akash.network", 15*time.Minute), // cached so long
		Azure:          AzureConfig{UpstreamConfig: up("azure", "https://prices.azure.com", time.Hour)},
		Index:          IndexConfig{Enabled: true, Source: "hashpivot", Every: time.Minute, MinProviders: 3, StaleAfter: 3},
		ClockSkew:      5 * time.Minute,
	}
}

// Sources are the source names of all that runs, by configuration key.
func (c Config) Sources() map[string]string {
	out := map[string]string{}
	for _, u := range c.upstreams() {
		if u.on {
			out["gpurates."+u.key+".source"] = u.cfg.Source
		}
	}
	if c.Index.Enabled && !c.StopAtEnd {
		out["gpurates.index.source"] = c.Index.Source
	}
	return out
}

// OfferSources are the source names of all upstreams, whether they run or not.
func (c Config) OfferSources() []string {
	var out []string
	for _, u := range c.upstreams() {
		out = append(out, u.cfg.Source)
	}
	return out
}

type configured struct {
	key string
	cfg UpstreamConfig
	on  bool
}

func (c Config) upstreams() []configured {
	keyed := func(key string, u UpstreamConfig) configured { return configured{key, u, u.Enabled && u.APIKey != ""} }
	free := func(key string, u UpstreamConfig) configured { return configured{key, u, u.Enabled} }
	return []configured{
		free("vast", c.Vast.UpstreamConfig), free("runpod", c.RunPod.UpstreamConfig), keyed("lambda", c.Lambda), keyed("shadeform", c.Shadeform),
		keyed("prime_intellect", c.PrimeIntellect), free("akash", c.Akash), free("azure", c.Azure.UpstreamConfig),
	}
}

// Validate names the key that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("gpurates."+key+": "+format, args...))
	}
	badURL := func(key, text string) {
		if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			bad(key, "%q is not a URL; write https://host", text)
		}
	}
	used := map[string]string{}
	source := func(key, name string) {
		if strings.TrimSpace(name) == "" {
			bad(key, "is empty; set it")
		} else if other, twice := used[name]; twice {
			bad(key, "is %q, as is gpurates.%s; each upstream needs a name of its own", name, other)
		}
		used[name] = key
	}
	for _, u := range c.upstreams() {
		if !u.on {
			continue
		}
		source(u.key+".source", u.cfg.Source)
		badURL(u.key+".url", u.cfg.URL)
		if u.cfg.PollEvery <= 0 {
			bad(u.key+".poll_every", "is %s; it must be above 0", u.cfg.PollEvery)
		}
	}
	if c.Vast.Enabled {
		c.Vast.validate(bad)
	}
	if c.RunPod.Enabled && c.RunPod.APIKey != "" {
		badURL("runpod.rest_url", c.RunPod.RESTURL)
	}
	if x := c.Index; x.Enabled {
		source("index.source", x.Source)
		if x.Every <= 0 {
			bad("index.every", "is %s; it must be above 0", x.Every)
		}
		if x.MinProviders < 1 {
			bad("index.min_providers", "is %d; it must be above 0", x.MinProviders)
		}
		if x.StaleAfter < 1 {
			bad("index.stale_after", "is %d poll intervals; it must be above 0", x.StaleAfter)
		}
	}
	if c.ClockSkew < 0 {
		bad("clock_skew", "is %s; it must not be below 0", c.ClockSkew)
	}
	return errors.Join(errs...)
}

func (v VastConfig) validate(bad func(key, format string, args ...any)) {
	if v.HistoryEvery <= 0 || v.MetricsCallEvery < 0 {
		bad("vast.history_every", "is %s and metrics_call_every %s; they must be above 0", v.HistoryEvery, v.MetricsCallEvery)
	}
	if v.Limit < 1 {
		bad("vast.limit", "is %d; it must be above 0", v.Limit)
	}
	if len(v.Classes) == 0 {
		bad("vast.classes", "is empty; name on-demand, interruptible or reserved")
	}
	seen := map[market.Class]bool{}
	for _, cl := range v.Classes {
		if !cl.Valid() || seen[cl] {
			bad("vast.classes", "%q is unknown or named twice; known are on-demand, interruptible and reserved", string(cl))
		}
		seen[cl] = true
	}
	if len(v.GPUs) == 0 {
		bad("vast.gpus", "is empty; name models as Vast does, such as \"H100 SXM\"")
	}
	if _, err := v.historyFrom(); err != nil {
		bad("vast.history_from", "%v", err)
	}
}

func (v VastConfig) historyFrom() (time.Time, error) {
	if v.HistoryFrom == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, v.HistoryFrom)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a date; write YYYY-MM-DD, or leave it empty for no history", v.HistoryFrom)
	}
	return t, nil
}
