package gpurates

import (
	"context"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest/conform"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/gpu"
	"github.com/hashpivot/hashpivot/pkg/sim/vast"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

const conformEvery = 50 * time.Millisecond

func TestCloudsConform(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes")
	}
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clouds {
		t.Run(c.key, func(t *testing.T) {
			a := conform.Adapter{
				Source:   "sim-" + c.key,
				Parallel: true,
				Start: func(t testing.TB) conform.Upstream {
					key := ""
					if c.keyed {
						key = "right"
					}
					s, err := c.make(gpu.Config{World: w, Seed: 1, APIKey: key, Every: conformEvery})
					if err != nil {
						t.Fatal(err)
					}
					return conform.Upstream{Handler: s.Handler(), Target: s.Target()}
				},
				Run: func(ctx context.Context, at conform.Endpoint, deps feed.Deps) error {
					cfg := only(c.key)
					cfg.ClockSkew = 5 * time.Minute
					key := run.Secret("")
					if c.keyed {
						key = "right"
					}
					if at.BadKey {
						key = "wrong"
					}
					u := c.set(&cfg, at.HTTP, key)
					u.Source, u.PollEvery = "sim-"+c.key, conformEvery
					return Run(ctx, cfg, deps)
				},
				Pages: c.key == "prime_intellect" || c.key == "azure", PagesAtMost: 2 * maxPages,
				Errors: map[string]conform.Error{
					"500":              {Order: control.Order{Fault: control.Status, Status: 500, Body: "internal"}, Want: conform.Retried, Says: "500"},
					"400":              {Order: control.Order{Fault: control.Status, Status: 400, Body: `{"error":"bad request"}`}, Want: conform.Retried, Says: "400"},
					"error with a 200": {Order: control.Order{Fault: control.ErrorBody}, Want: conform.Retried},
				},
			}
			denied := conform.Error{Order: control.Order{Fault: control.Status, Status: 403, Body: "denied"}, Want: conform.Retried, Says: "403"}
			if c.keyed {
				a.BadKey = "gpurates." + c.key + ".api_key"
				denied.Want, denied.Says = conform.Refused, a.BadKey
			}
			a.Errors["403"] = denied
			conform.Poll(t, conform.PollAdapter{Adapter: a})
		})
	}
}

func TestVastConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	conform.Poll(t, conform.PollAdapter{Adapter: conform.Adapter{
		Source:   "sim-vast",
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			s, err := vast.New(vast.Config{World: w, Seed: 1, APIKey: "right", SearchesPerMinute: -1})
			if err != nil {
				t.Fatal(err)
			}
			return conform.Upstream{Handler: s.Handler(), Target: s.Target(), Close: s.Close}
		},
		Run: func(ctx context.Context, at conform.Endpoint, deps feed.Deps) error {
			cfg := only("vast")
			cfg.ClockSkew = 5 * time.Minute
			v := &cfg.Vast
			v.Source, v.URL, v.PollEvery, v.APIKey, v.HistoryFrom = "sim-vast", at.HTTP, conformEvery, "right", ""
			v.Classes = []market.Class{market.OnDemand}
			if at.BadKey {
				v.APIKey = "wrong"
			}
			return Run(ctx, cfg, deps)
		},
		BadKey: "gpurates.vast.api_key",
		Errors: map[string]conform.Error{
			"404 for a bad key": {Order: control.Order{Fault: control.Status, Status: 404, Body: "404 page not found"}, Want: conform.Refused, Says: "gpurates.vast.api_key"},
			"400":               {Order: control.Order{Fault: control.Status, Status: 400, Body: `{"error":"invalid_request","msg":"Invalid json body"}`}, Want: conform.Retried, Says: "400"},
			"429 in plain text": {Order: control.Order{Fault: control.Status, Status: 429, Body: "API requests too frequent"}, Want: conform.Retried, Says: "429"},
		},
	}})
}
