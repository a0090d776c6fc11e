package gpurates

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/sim/vast"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const recordings = "../../../shared/data"

// clock goes on by a minute each time the simulator looks at it, so that polls that follow at once are a minute apart for it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func (c *clock) peek() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(time.Minute)
	return c.at
}

// only is the default configuration with one upstream and no index. Clocks of tests are not looked at: simulators make minutes pass in a moment.
func only(key string) Config {
	cfg := DefaultConfig()
	cfg.Vast.Enabled, cfg.RunPod.Enabled, cfg.Lambda.Enabled, cfg.Shadeform.Enabled = key == "vast", key == "runpod", key == "lambda", key == "shadeform"
	cfg.PrimeIntellect.Enabled, cfg.Akash.Enabled, cfg.Azure.Enabled = key == "prime_intellect", key == "akash", key == "azure"
	cfg.Index.Enabled, cfg.ClockSkew = false, 0
	return cfg
}

func start(t *testing.T, vc vast.Config) (*vast.Server, Config) {
	t.Helper()
	if vc.Dir == "" {
		w, err := world.New(world.Config{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		vc.World, vc.Seed = w, 1
		if vc.Now == nil {
			vc.Now = (&clock{at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}).now
		}
	}
	s, err := vast.New(vc)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		srv.Close()
		s.Close()
	})
	cfg := only("vast")
	cfg.Vast.Source, cfg.Vast.URL, cfg.Vast.PollEvery, cfg.Vast.MetricsCallEvery = "sim-vast", srv.URL, 5*time.Millisecond, 0
	cfg.Vast.HistoryFrom = ""
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

func serve(t *testing.T, cfg Config, deps feed.Deps) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	deps.Logger = log
	go func() { done <- Run(ctx, cfg, deps) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-done
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

func over(mem *feedtest.Memory) feed.Deps { return feed.Deps{Sink: mem, History: mem} }

func wait(t *testing.T, mem *feedtest.Memory, what string, ok func([]market.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if !mem.Wait(ctx, ok) {
		t.Fatalf("waited in vain for %s; %d events", what, mem.Len())
	}
}

func count[T market.Event](events []market.Event, ok func(T) bool) int {
	n := 0
	for _, ev := range events {
		if x, is := ev.(T); is && (ok == nil || ok(x)) {
			n++
		}
	}
	return n
}

func action(a market.OfferAction) func(*market.Offer) bool {
	return func(o *market.Offer) bool { return o.Action == a }
}

// checkOffers checks that each offer's life makes sense: opened, changed, closed, and so on; never twice the same.
func checkOffers(t *testing.T, mem *feedtest.Memory) {
	t.Helper()
	last := map[string]*market.Offer{}
	for _, o := range feedtest.Of[*market.Offer](mem) {
		key := o.OfferID + "|" + string(o.Class)
		old, known := last[key]
		open := known && old.Action != market.OfferClosed
		if (o.Action == market.OfferOpened) == open {
			t.Fatalf("offer %s is %s after %+v", key, o.Action, old)
		}
		if o.Action == market.OfferChanged && sameOffer(old, o) {
			t.Fatalf("offer %s changed, and is the same: %+v", key, o)
		}
		last[key] = o
	}
}

func TestTellsOffersAndRates(t *testing.T) {
	t.Parallel()
	_, cfg := start(t, vast.Config{SearchesPerMinute: -1})
	cfg.Vast.Classes = append(cfg.Vast.Classes, market.Reserved)
	cfg.Vast.HistoryFrom = "2026-09-01"
	mem := feedtest.NewMemory()
	stop := serve(t, cfg, over(mem))
	wait(t, mem, "offers of every fate and rates", func(evs []market.Event) bool {
		return count(evs, action(market.OfferOpened)) > 300 && count(evs, action(market.OfferChanged)) > 20 && count(evs, action(market.OfferClosed)) > 5 &&
			count(evs, func(r *market.Rate) bool { return r.Method == methodVast && r.Class == market.Interruptible }) > 20 &&
			count(evs, func(r *market.Rate) bool { return r.Method == methodVast && r.Class == market.Reserved }) > 20 &&
			count(evs, func(r *market.Rate) bool { return r.Method == methodAvailable }) > 100 &&
			count(evs, func(r *market.Rate) bool { return r.Method == methodRented }) > 100
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	checkOffers(t, mem)
	if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) > 0 {
		t.Errorf("%d dead letters, the first: %s %s", len(dead), dead[0].Reason, dead[0].Detail)
	}
	for _, r := range feedtest.Of[*market.Rate](mem) {
		if r.GPU == "h100-sxm" && r.Class == market.OnDemand {
			if f, _ := r.USDPerGPUHour.Float64(); f < 1.5 || f > 4 {
				t.Errorf("an unlikely H100: %+v", r)
			}
		}
	}
}

func TestAFailedPollClosesNothingAndStaysInTheLedger(t *testing.T) {
	t.Parallel()
	s, cfg := start(t, vast.Config{SearchesPerMinute: -1})
	cfg.Vast.Classes = []market.Class{market.OnDemand}
	mem := feedtest.NewMemory()
	stop := serve(t, cfg, over(mem))
	wait(t, mem, "offers", func(evs []market.Event) bool { return count(evs, action(market.OfferOpened)) > 100 })
	for _, f := range []vast.Fault{
		{Status: 429, Header: http.Header{"Retry-After": {"0"}}, Body: "API requests too frequent"}, {Status: 502, Body: "Bad Gateway"}, {Body: `{"offers":[{"id":1`},
		{Body: `{"offers":[`, Truncate: true}, {Body: `{"success":false}`},
	} {
		n := mem.Len()
		s.Faults().Order(1, f)
		wait(t, mem, "a gap given up after "+f.Body, func(evs []market.Event) bool {
			return count(evs[n:], func(g *market.FeedGap) bool { return g.State == market.GapOpen }) == 1 &&
				count(evs[n:], func(g *market.FeedGap) bool {
					return g.State == market.GapGivenUp && !g.To.IsZero() && g.Symbol == "on-demand"
				}) == 1
		})
		if closed := count(mem.Events()[n:], action(market.OfferClosed)); closed > 60 {
			t.Errorf("%d offers closed about a failed poll", closed)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	checkOffers(t, mem)
}

func TestAnAnswerAtTheLimitClosesNothing(t *testing.T) {
	t.Parallel()
	_, cfg := start(t, vast.Config{SearchesPerMinute: -1})
	cfg.Vast.Classes, cfg.Vast.Limit = []market.Class{market.OnDemand}, 20
	mem := feedtest.NewMemory()
	stop := serve(t, cfg, over(mem))
	wait(t, mem, "changes", func(evs []market.Event) bool { return count(evs, action(market.OfferOpened)) > 25 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := count(mem.Events(), action(market.OfferClosed)); n > 0 {
		t.Errorf("%d offers closed by answers that were cut short", n)
	}
	if n := count(mem.Events(), func(g *market.FeedGap) bool { return g.State == market.GapOpen }); n != 1 {
		t.Errorf("%d gaps opened, want 1", n)
	}
}

func TestABadOfferIsADeadLetterAndNotAClosing(t *testing.T) {
	t.Parallel()
	s, cfg := start(t, vast.Config{SearchesPerMinute: -1})
	cfg.Vast.Classes = []market.Class{market.OnDemand}
	mem := feedtest.NewMemory()
	// Each answer is a minute later than all that the simulator itself says.
	at := time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC)
	body := func(second string) vast.Fault {
		at = at.Add(time.Minute)
		return vast.Fault{Header: http.Header{"Date": {at.Format(http.TimeFormat)}}, Body: `{"offers":[{"id":1,"gpu_name":"H200","num_gpus":1,"dph_total":3},` + second + `]}`}
	}
	s.Faults().Order(1, body(`{"id":2,"gpu_name":"H200","num_gpus":1,"dph_total":3}`))
	serve(t, cfg, over(mem))
	wait(t, mem, "two offers", func(evs []market.Event) bool { return count(evs, action(market.OfferOpened)) >= 2 })
	s.Faults().Order(1, body(`{"id":2,"gpu_name":"H200","num_gpus":1,"dph_total":-3}`))
	wait(t, mem, "a dead letter", func(evs []market.Event) bool {
		return count(evs, func(d *market.DeadLetter) bool { return d.Reason == market.ReasonPrice }) == 1
	})
	s.Faults().Order(1, body(`{"gpu_name":"H200"}`))
	wait(t, mem, "another", func(evs []market.Event) bool { return count[*market.DeadLetter](evs, nil) == 2 })
	s.Faults().Order(1, body(`{"id":3,"gpu_name":"H200","num_gpus":1,"dph_total":3}`))
	wait(t, mem, "the closing", func(evs []market.Event) bool {
		return count(evs, func(o *market.Offer) bool { return o.OfferID == "2" && o.Action == market.OfferClosed }) == 1
	})
	if n := count(mem.Events(), action(market.OfferClosed)); n != 1 {
		t.Errorf("%d closings, want that of offer 2 alone", n)
	}
}

func TestABadKeyIsRefused(t *testing.T) {
	t.Parallel()
	_, cfg := start(t, vast.Config{SearchesPerMinute: -1, APIKey: "right"})
	cfg.Vast.APIKey = run.Secret("wrong-key")
	mem := feedtest.NewMemory()
	err := Run(t.Context(), cfg, feed.Deps{Sink: mem, History: mem})
	if !feed.IsRefused(err) || !strings.Contains(err.Error(), "gpurates.vast.api_key") || strings.Contains(err.Error(), "wrong-key") {
		t.Errorf("error %v", err)
	}
	cfg.Vast.APIKey = run.Secret("right")
	stop := serve(t, cfg, over(mem))
	wait(t, mem, "offers with the right key", func(evs []market.Event) bool { return count[*market.Offer](evs, nil) > 100 })
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestKeepsWithinTheRate(t *testing.T) {
	t.Parallel()
	s, cfg := start(t, vast.Config{Now: time.Now}) // ten searches a minute
	mem := feedtest.NewMemory()
	stop := serve(t, cfg, over(mem))
	wait(t, mem, "a 429 in the ledger", func(evs []market.Event) bool {
		return count(evs, func(g *market.FeedGap) bool { return strings.Contains(g.Reason, "429") }) > 0
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if n := s.Faults().Hits(); n < 10 {
		t.Errorf("limited after %d searches", n)
	}
}

func TestRestartClosesWhatWentAndDoublesNothing(t *testing.T) {
	t.Parallel()
	ck := &clock{at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	_, cfg := start(t, vast.Config{SearchesPerMinute: -1, Now: ck.now})
	cfg.Vast.HistoryFrom = "2026-09-01"
	mem := feedtest.NewMemory()
	stop := serve(t, cfg, feed.Deps{Sink: mem, History: mem, Now: ck.peek})
	wait(t, mem, "offers", func(evs []market.Event) bool {
		return count(evs, action(market.OfferOpened)) > 300 && count(evs, func(r *market.Rate) bool { return r.Method == methodRented }) > 100 &&
			count(evs, func(r *market.Rate) bool { return r.Method == methodVast && r.Class == market.Interruptible }) > 0
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	ck.mu.Lock()
	ck.at = ck.at.Add(6 * time.Hour)
	ck.mu.Unlock()
	n := mem.Len()
	stop = serve(t, cfg, feed.Deps{Sink: mem, History: mem, Now: ck.peek})
	wait(t, mem, "what closed meanwhile, and the absence in the ledger of each class", func(evs []market.Event) bool {
		return count(evs[n:], action(market.OfferClosed)) > 50 && count(evs[n:], func(g *market.FeedGap) bool {
			return g.State == market.GapGivenUp && g.Reason == "not running" && g.To.Sub(g.From) > 5*time.Hour
		}) == len(cfg.Vast.Classes)
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	checkOffers(t, mem)
	seen := map[string]bool{}
	for _, r := range feedtest.Of[*market.Rate](mem) {
		if seen[r.Identity()] || r.Rev > 0 {
			t.Fatalf("told twice: %s", r.Identity())
		}
		seen[r.Identity()] = true
	}
}

func TestOffersAsAnObjectFromTheSimulator(t *testing.T) {
	t.Parallel()
	s, cfg := start(t, vast.Config{SearchesPerMinute: -1})
	s.Single(true)
	mem := feedtest.NewMemory()
	serve(t, cfg, over(mem))
	wait(t, mem, "an offer of each class", func(evs []market.Event) bool { return count(evs, action(market.OfferOpened)) >= 2 })
}

func TestRecordedPollsAndMedians(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skipf("no recordings at %s: this test compares with real answers that are not part of the project", recordings)
	}
	_, cfg := start(t, vast.Config{Dir: recordings})
	cfg.StopAtEnd, cfg.Vast.HistoryFrom = true, "2026-01-01"
	cfg.Vast.Source = "rec-vast"
	mem := feedtest.NewMemory()
	deps := feed.Deps{Sink: mem, History: mem}
	if err := Run(t.Context(), cfg, deps); err != nil {
		t.Fatal(err)
	}
	checkOffers(t, mem)
	if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) > 0 {
		t.Errorf("%d dead letters, the first: %s %s %s", len(dead), dead[0].Reason, dead[0].Detail, dead[0].Payload)
	}
	// The offers open after each poll are as many as its file has.
	want := map[string]int{"2026-02-27": 248, "2026-02-28": 234, "2026-03-01": 239, "2026-03-02": 233, "2026-03-03": 226}
	open, got := map[string]bool{}, map[string]int{}
	for _, o := range feedtest.Of[*market.Offer](mem) {
		if o.Action == market.OfferClosed {
			delete(open, o.OfferID)
		} else {
			open[o.OfferID] = true
		}
		got[o.EventTime.Format(time.DateOnly)] = len(open)
	}
	for d, n := range want {
		if got[d] != n {
			t.Errorf("%s: %d offers open after the poll, the file has %d", d, got[d], n)
		}
	}
	index, medians := map[string]bool{}, map[string]int{}
	for _, r := range feedtest.Of[*market.Rate](mem) {
		switch r.Method {
		case methodVast:
			index[r.EventTime.Format(time.DateOnly)] = true
		case methodAvailable:
			medians[r.EventTime.Format(time.DateOnly)]++
		}
	}
	if len(index) != 5 {
		t.Errorf("an index on %d of 5 days: %v", len(index), index)
	}
	if n := len(medians); n != 69 || medians["2026-06-13"] != 8 || medians["2026-08-06"] != 0 || medians["2026-08-13"] != 0 {
		t.Errorf("medians on %d days; two runs on 13 June: %d rows; the missing days: %d, %d", n, medians["2026-06-13"], medians["2026-08-06"], medians["2026-08-13"])
	}
	total := 0
	for _, n := range medians {
		total += n
	}
	if total != 275 {
		t.Errorf("%d medians, the table has 275 rows of Vast", total)
	}
	t.Logf("%d offers events, %d indices, %d medians", len(feedtest.Of[*market.Offer](mem)), count(mem.Events(), func(r *market.Rate) bool { return r.Method == methodVast }), total)

	// Again, from the start, over the same streams.
	n := mem.Len()
	if err := Run(t.Context(), cfg, deps); err != nil {
		t.Fatal(err)
	}
	for _, ev := range mem.Events()[n:] {
		if _, ok := ev.(*market.FeedEvent); !ok {
			t.Fatalf("published again: %T %s", ev, ev.Identity())
		}
	}
}

func TestConfigNamesTheKey(t *testing.T) {
	for key, spoil := range map[string]func(*Config){
		"gpurates.vast.url":          func(c *Config) { c.Vast.URL = "vast" },
		"gpurates.vast.source":       func(c *Config) { c.Vast.Source = " " },
		"gpurates.vast.poll_every":   func(c *Config) { c.Vast.PollEvery = 0 },
		"gpurates.vast.classes":      func(c *Config) { c.Vast.Classes = []market.Class{"spot"} },
		"gpurates.vast.gpus":         func(c *Config) { c.Vast.GPUs = nil },
		"gpurates.vast.limit":        func(c *Config) { c.Vast.Limit = 0 },
		"gpurates.vast.history_from": func(c *Config) { c.Vast.HistoryFrom = "1 May" },
	} {
		c := DefaultConfig()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}
