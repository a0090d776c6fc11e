package gpurates

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/gpu"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// cloud is an upstream that is a price list, with its simulator.
type cloud struct {
	key   string
	make  func(gpu.Config) (*gpu.Server, error)
	keyed bool
	set   func(c *Config, url string, key run.Secret) *UpstreamConfig
}

var clouds = []cloud{
	{"runpod", gpu.NewRunPod, false, func(c *Config, url string, key run.Secret) *UpstreamConfig {
		c.RunPod.URL, c.RunPod.RESTURL = url+"/graphql", url
		c.RunPod.APIKey = key
		return &c.RunPod.UpstreamConfig
	}},
	{"lambda", gpu.NewLambda, true, func(c *Config, url string, key run.Secret) *UpstreamConfig {
		c.Lambda.URL, c.Lambda.APIKey = url, key
		return &c.Lambda
	}},
	{"shadeform", gpu.NewShadeform, true, func(c *Config, url string, key run.Secret) *UpstreamConfig {
		c.Shadeform.URL, c.Shadeform.APIKey = url, key
		return &c.Shadeform
	}},
	{"prime_intellect", gpu.NewPrimeIntellect, true, func(c *Config, url string, key run.Secret) *UpstreamConfig {
		c.PrimeIntellect.URL, c.PrimeIntellect.APIKey = url, key
		return &c.PrimeIntellect
	}},
	{"akash", gpu.NewAkash, false, func(c *Config, url string, key run.Secret) *UpstreamConfig {
		c.Akash.URL = url
		return &c.Akash
	}},
	{"azure", gpu.NewAzure, false, func(c *Config, url string, key run.Secret) *UpstreamConfig {
		c.Azure.URL = url
		return &c.Azure.UpstreamConfig
	}},
}

func cloudNamed(t *testing.T, key string) cloud {
	t.Helper()
	for _, c := range clouds {
		if c.key == key {
			return c
		}
	}
	t.Fatalf("no cloud %s", key)
	return cloud{}
}

// start runs the cloud's simulator, whose clock goes on by five minutes a call, and configures the service for it alone.
func (c cloud) start(t *testing.T, gc gpu.Config) (*gpu.Server, Config) {
	t.Helper()
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	gc.World, gc.Seed = w, 1
	if gc.Now == nil {
		ck := &clock{at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
		gc.Now = func() time.Time {
			for range 4 {
				ck.now()
			}
			return ck.now()
		}
	}
	s, err := c.make(gc)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	cfg := only(c.key)
	key := run.Secret("")
	if c.keyed {
		key = "right"
	}
	u := c.set(&cfg, srv.URL, key)
	u.Source, u.PollEvery = "sim-"+c.key, 5*time.Millisecond
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

// first are the offers of the first poll.
func first(t *testing.T, mem *feedtest.Memory) map[string]*market.Offer {
	t.Helper()
	out := map[string]*market.Offer{}
	all := feedtest.Of[*market.Offer](mem)
	for _, o := range all {
		if o.EventTime.Equal(all[0].EventTime) {
			out[offerKey(o)] = o
		}
	}
	return out
}

func TestEachCloudTellsItsOffers(t *testing.T) {
	t.Parallel()
	for _, c := range clouds {
		t.Run(c.key, func(t *testing.T) {
			t.Parallel()
			_, cfg := c.start(t, gpu.Config{APIKey: map[bool]string{true: "right"}[c.keyed]})
			mem := feedtest.NewMemory()
			stop := serve(t, cfg, over(mem))
			wait(t, mem, "offers, and that they change", func(evs []market.Event) bool {
				return count(evs, action(market.OfferOpened)) > 5 && count(evs, action(market.OfferChanged)) > 5
			})
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			checkOffers(t, mem)
			if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) > 0 {
				t.Errorf("%d dead letters, the first: %s %s %s", len(dead), dead[0].Reason, dead[0].Detail, dead[0].Payload)
			}
			if gaps := feedtest.Of[*market.FeedGap](mem); len(gaps) > 0 {
				t.Errorf("a hole is claimed that was not there: %+v", gaps[0])
			}
			classes := map[market.Class]int{}
			for _, o := range first(t, mem) {
				usd, _ := o.USDPerGPUHour.Float64()
				classes[o.Class]++
				if m, ok := models.ByID(o.GPU); ok && m.Model == "H100" && o.Class == market.OnDemand && (usd < 1 || usd > 15) {
					t.Errorf("an unlikely H100: %+v", o)
				}
			}
			t.Logf("%d offers at the first poll: %v", len(first(t, mem)), classes)
			if want := map[string][]market.Class{"runpod": {market.OnDemand, market.Interruptible}, "azure": {market.OnDemand, market.Interruptible, market.Reserved}}[c.key]; len(want) > 0 {
				for _, cl := range want {
					if classes[cl] == 0 {
						t.Errorf("no offer of class %s", cl)
					}
				}
			}
		})
	}
}

// Each way of a poll to fail is a named error, a line in the ledger from the last good poll to the next, and closes nothing.
func TestEachCloudOutlivesEachFault(t *testing.T) {
	t.Parallel()
	for _, c := range clouds {
		t.Run(c.key, func(t *testing.T) {
			t.Parallel()
			s, cfg := c.start(t, gpu.Config{})
			mem := feedtest.NewMemory()
			stop := serve(t, cfg, over(mem))
			wait(t, mem, "offers", func(evs []market.Event) bool { return count(evs, action(market.OfferOpened)) > 5 })
			for _, f := range []struct {
				fault gpu.Fault
				says  string
			}{
				{gpu.Fault{Status: 429, Header: http.Header{"Retry-After": {"0"}}, Body: "API requests too frequent"}, "429"},
				{gpu.Fault{Status: 502, Body: "Bad Gateway"}, "502"},
				{gpu.Fault{Body: "<!DOCTYPE html><html><body>Just a moment...</body></html>"}, "malformed"},
				{gpu.Fault{Body: `{"errors":[{"message":"Something went wrong"}]}`}, ""},
				{gpu.Fault{Body: `{"error":{"code":"global/internal","message":"no"}}`}, ""},
				{gpu.Fault{Body: `{}`}, ""},
				{gpu.Fault{Body: `[]`}, "type"},
				{gpu.Fault{Body: `{"data":7,"gpus":7,"instance_types":7,"items":7,"models":7,"Items":7}`}, "type"},
				{gpu.Fault{Body: `{"data":{},"gpus":[],"instance_types":[],"items":[],"models":[],"Items":[]}`}, ""},
				{gpu.Fault{Body: `{"data":` + strings.Repeat(" ", 1<<16), Truncate: true}, "EOF"},
			} {
				n := mem.Len()
				s.Faults().Order(1, f.fault)
				wait(t, mem, "a gap given up after "+strings.TrimSpace(f.fault.Body), func(evs []market.Event) bool {
					return count(evs[n:], func(g *market.FeedGap) bool { return g.State == market.GapOpen && strings.Contains(g.Reason, f.says) }) == 1 &&
						count(evs[n:], func(g *market.FeedGap) bool {
							return g.State == market.GapGivenUp && g.Symbol == "*" && g.To.After(g.From)
						}) == 1
				})
				for _, o := range feedtest.Of[*market.Offer](mem) {
					// RunPod quotes no bid for what is sold out: that is a closing of its own.
					if o.Action == market.OfferClosed && o.Class != market.Interruptible {
						t.Fatalf("%s: closed %+v", f.fault.Body, o)
					}
				}
			}
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			checkOffers(t, mem)
		})
	}
}

// A bad key ends its own upstream, and the error names the key and not its value.
func TestABadKeyEndsItsUpstreamOnly(t *testing.T) {
	t.Parallel()
	for _, c := range clouds {
		if !c.keyed && c.key != "runpod" {
			continue
		}
		t.Run(c.key, func(t *testing.T) {
			_, cfg := c.start(t, gpu.Config{APIKey: "another"})
			cfg.setKey(c.key, "wrong-key")
			mem := feedtest.NewMemory()
			err := Run(t.Context(), cfg, over(mem))
			if !feed.IsRefused(err) || !strings.Contains(err.Error(), "gpurates."+c.key+".api_key") || strings.Contains(err.Error(), "wrong-key") {
				t.Errorf("error %v", err)
			}
		})
	}
	// Beside one that is well.
	a, cfg := cloudNamed(t, "akash").start(t, gpu.Config{})
	_, other := cloudNamed(t, "lambda").start(t, gpu.Config{APIKey: "another"})
	cfg.Lambda = other.Lambda
	mem := feedtest.NewMemory()
	stop := serve(t, cfg, over(mem))
	wait(t, mem, "the refusal", func(evs []market.Event) bool {
		return count(evs, func(e *market.FeedEvent) bool { return e.State == market.FeedRefused && e.Source == "sim-lambda" }) == 1
	})
	n, hits := mem.Len(), a.Faults().Hits()
	wait(t, mem, "Akash going on", func(evs []market.Event) bool { return count[*market.Offer](evs[n:], nil) > 20 })
	if a.Faults().Hits() <= hits {
		t.Error("Akash is not polled any more")
	}
	if err := stop(); !feed.IsRefused(err) {
		t.Errorf("the refusal is forgotten: %v", err)
	}
}

func (c *Config) setKey(key string, k run.Secret) {
	switch key {
	case "runpod":
		c.RunPod.APIKey = k
	case "lambda":
		c.Lambda.APIKey = k
	case "shadeform":
		c.Shadeform.APIKey = k
	case "prime_intellect":
		c.PrimeIntellect.APIKey = k
	}
}

func TestRunPodWithAKeyReadsTheRESTCatalogue(t *testing.T) {
	t.Parallel()
	c := cloudNamed(t, "runpod")
	_, free := c.start(t, gpu.Config{APIKey: "right"})
	_, keyed := c.start(t, gpu.Config{APIKey: "right"})
	keyed.RunPod.APIKey = "right"
	var polls [2]map[string]*market.Offer
	for i, cfg := range []Config{free, keyed} {
		mem := feedtest.NewMemory()
		stop := serve(t, cfg, over(mem))
		wait(t, mem, "offers", func(evs []market.Event) bool { return count(evs, action(market.OfferChanged)) > 0 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		polls[i] = first(t, mem)
	}
	n := 0
	for key, o := range polls[0] {
		x := polls[1][key]
		if o.Class == market.OnDemand && x == nil {
			t.Errorf("%s is not in the REST catalogue", key)
		}
		if x != nil && strings.ToUpper(x.Stock) == x.Stock && x.Stock != "" {
			n++
		}
	}
	if n < 8 {
		t.Errorf("%d offers have the stock of REST", n)
	}
}

func TestSoldOutIsListedAndNotRentable(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"runpod", "lambda", "shadeform", "prime_intellect", "akash"} {
		c := cloudNamed(t, key)
		_, cfg := c.start(t, gpu.Config{})
		mem := feedtest.NewMemory()
		stop := serve(t, cfg, over(mem))
		wait(t, mem, key+" selling out", func(evs []market.Event) bool {
			return count(evs, func(o *market.Offer) bool {
				return !o.Rentable && o.Action != market.OfferClosed && o.USDPerGPUHour.IsPos()
			}) > 0 &&
				count(evs, func(o *market.Offer) bool { return o.Rentable && o.Stock != "" }) > 0
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPagesAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"prime_intellect", "azure"} {
		c := cloudNamed(t, key)
		n := map[int]int{}
		for _, size := range []int{0, 5} {
			_, cfg := c.start(t, gpu.Config{PageSize: size})
			mem := feedtest.NewMemory()
			stop := serve(t, cfg, over(mem))
			wait(t, mem, "offers", func(evs []market.Event) bool { return count(evs, action(market.OfferChanged)) > 0 })
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			n[size] = len(first(t, mem))
		}
		if n[0] != n[5] || n[0] < 6 {
			t.Errorf("%s: %d offers on one page, %d on pages of five", key, n[0], n[5])
		}
	}
}

func TestEndlessPagesAreAFailedPoll(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"prime_intellect", "azure"} {
		s, cfg := cloudNamed(t, key).start(t, gpu.Config{PageSize: 5})
		if err := s.Target().Order(control.Order{Fault: control.PageLoop}); err != nil {
			t.Fatal(err)
		}
		mem := feedtest.NewMemory()
		stop := serve(t, cfg, over(mem))
		wait(t, mem, "a loop in the ledger", func(evs []market.Event) bool {
			return count(evs, func(g *market.FeedGap) bool { return strings.Contains(g.Reason, errEndless.Error()) }) > 0
		})
		if n := s.Faults().Hits(); n > 2*maxPages {
			t.Errorf("%s: %d calls", key, n)
		}
		if err := s.Target().Clear(""); err != nil {
			t.Fatal(err)
		}
		wait(t, mem, "offers after it", func(evs []market.Event) bool { return count[*market.Offer](evs, nil) > 5 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
}

// The real service's clock was an hour off once; offers at the wrong time are worse than none.
func TestAClockHoursOffIsAFailedPoll(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		_, cfg := cloudNamed(t, "akash").start(t, gpu.Config{Now: func() time.Time { return time.Now().Add(off) }})
		cfg.ClockSkew = 5 * time.Minute
		mem := feedtest.NewMemory()
		stop := serve(t, cfg, over(mem))
		wait(t, mem, "the skew in the ledger", func(evs []market.Event) bool {
			return count(evs, func(g *market.FeedGap) bool { return strings.Contains(g.Reason, "apart, allowed are 5m0s") }) == 1
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if n := count[*market.Offer](mem.Events(), nil); n > 0 {
			t.Errorf("%d offers at the wrong time", n)
		}
	}
}

// A restart neither tells again nor claims a hole: the lists change rarely, and the last event may be long ago.
func TestARestartOfAQuietListClaimsNoHole(t *testing.T) {
	t.Parallel()
	ck := &clock{at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	_, cfg := cloudNamed(t, "azure").start(t, gpu.Config{Now: ck.peek})
	cfg.Azure.PollEvery = time.Hour
	deps := feed.Deps{Now: ck.peek}
	mem := feedtest.NewMemory()
	deps.Sink, deps.History = mem, mem
	stop := serve(t, cfg, deps)
	wait(t, mem, "offers", func(evs []market.Event) bool { return count(evs, action(market.OfferOpened)) > 20 })
	ck.add(20 * time.Hour) // nothing changed in all these hours, and then it was stopped
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	ck.add(time.Minute)
	n := mem.Len()
	stop = serve(t, cfg, deps)
	wait(t, mem, "the next poll", func(evs []market.Event) bool {
		return count(evs[n:], func(e *market.FeedEvent) bool { return e.State == market.FeedConnected }) == 1
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, ev := range mem.Events()[n:] {
		if g, ok := ev.(*market.FeedGap); ok {
			t.Errorf("a hole is claimed that was not there: %+v", g)
		}
	}
	checkOffers(t, mem)
}
