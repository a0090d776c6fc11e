// Package gpurates watches the offers of GPU marketplaces, tells what opened, changed and closed, and computes rental rate indices per model
// and class.
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
	Vast VastConfig `koanf:"vast"`
	// StopAtEnd makes Run return once the upstream has said that there is no more (recordings).
	StopAtEnd bool `koanf:"stop_at_end"`
}

// VastConfig is the Vast.ai upstream.
type VastConfig struct {
	Source string     `koanf:"source"`
	URL    string     `koanf:"url"`
	APIKey run.Secret `koanf:"api_key"` // may be empty: the search has worked without
	// PollEvery is the time between two rounds of searches, one a class; ten searches a minute are allowed.
	PollEvery time.Duration  `koanf:"poll_every"`
	Classes   []market.Class `koanf:"classes"`
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

// DefaultConfig needs no key.
func DefaultConfig() Config {
	return Config{Vast: VastConfig{
		Source: "vast", URL: "https://console.vast.ai", PollEvery: time.Minute,
		Classes: []market.Class{market.OnDemand, market.Interruptible},
		GPUs: []string{
			"B200", "H200", "H200 NVL", "H100 SXM", "H100 NVL", "H100 PCIE", "A100 SXM4", "A100 PCIE", "L40S", "RTX 5090", "RTX 4090", "Tesla V100",
		},
		Limit: 5000, HistoryFrom: "2026-01-01", HistoryEvery: time.Hour, MetricsCallEvery: 3 * time.Second,
	}}
}

// Validate names the key that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("gpurates.vast."+key+": "+format, args...))
	}
	v := c.Vast
	if strings.TrimSpace(v.Source) == "" {
		bad("source", "is empty; set it")
	}
	if u, err := url.Parse(v.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		bad("url", "%q is not a URL; write https://host", v.URL)
	}
	if v.PollEvery <= 0 {
		bad("poll_every", "is %s; it must be above 0", v.PollEvery)
	}
	if v.HistoryEvery <= 0 || v.MetricsCallEvery < 0 {
		bad("history_every", "is %s and metrics_call_every %s; they must be above 0", v.HistoryEvery, v.MetricsCallEvery)
	}
	if v.Limit < 1 {
		bad("limit", "is %d; it must be above 0", v.Limit)
	}
	if len(v.Classes) == 0 {
		bad("classes", "is empty; name on-demand, interruptible or reserved")
	}
	seen := map[market.Class]bool{}
	for _, cl := range v.Classes {
		if !cl.Valid() || seen[cl] {
			bad("classes", "%q is unknown or named twice; known are on-demand, interruptible and reserved", string(cl))
		}
		seen[cl] = true
	}
	if len(v.GPUs) == 0 {
		bad("gpus", "is empty; name models as Vast does, such as \"H100 SXM\"")
	}
	if _, err := v.historyFrom(); err != nil {
		bad("history_from", "%v", err)
	}
	return errors.Join(errs...)
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
