package hashprice

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/braiins"
	simchain "github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/coinmetrics"
	"github.com/hashpivot/hashpivot/pkg/sim/luxor"
)

// publishers are the simulators of the references.
type publishers struct {
	luxor       *luxor.Server
	braiins     *braiins.Server
	coinmetrics *coinmetrics.Server
}

func (o *observers) publish(t *testing.T) *publishers {
	t.Helper()
	var (
		p   publishers
		err error
	)
	if p.luxor, err = luxor.New(luxor.Config{World: o.world, Chain: o.chain, Seed: 1, Key: "right", Burst: -1}); err != nil {
		t.Fatal(err)
	}
	if p.braiins, err = braiins.New(braiins.Config{World: o.world, Chain: o.chain}); err != nil {
		t.Fatal(err)
	}
	if p.coinmetrics, err = coinmetrics.New(coinmetrics.Config{World: o.world, Chain: o.chain, Calls: -1}); err != nil {
		t.Fatal(err)
	}
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	c := &o.cfg
	c.Luxor.Source, c.Luxor.URL, c.Luxor.Key = "sim-luxor", serve(p.luxor.Handler())+"/v1/hashrateindex", "right"
	c.Luxor.Every, c.Luxor.CallEvery = 50*time.Millisecond, 0
	c.Braiins.Enabled, c.Braiins.Source, c.Braiins.URL, c.Braiins.Every = true, "sim-braiins", serve(p.braiins.Handler())+"/api/v1.0", 50*time.Millisecond
	c.CoinMetrics.Enabled, c.CoinMetrics.Source, c.CoinMetrics.URL = true, "sim-coinmetrics", serve(p.coinmetrics.Handler())+"/v4"
	c.CoinMetrics.Every, c.CoinMetrics.CallEvery = 50*time.Millisecond, 0
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return &p
}

func from(source string) func(*market.Hashprice) bool {
	return func(p *market.Hashprice) bool { return p.Source == source }
}

// What others publish stands beside ours, marked as theirs, with the difference.
func TestPublishedHashpricesStandBesideOurs(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{Every: 40 * time.Second, Origin: time.Now().Add(-24 * time.Hour)})
	o.publish(t)
	o.cfg.HistoryFrom = time.Now().UTC().AddDate(0, 0, -6).Format(time.DateOnly)
	mem := feedtest.NewMemory()
	stop := runService(t, o.cfg, mem)
	wait(t, mem, "all three, and their differences", func(evs []market.Event) bool {
		signal := func(symbol string) bool {
			return count(evs, func(s *market.Signal) bool { return s.Symbol == symbol && s.Source == "sim-hashpivot" }) > 0
		}
		return count(evs, from("sim-luxor")) > 200 && count(evs, from("sim-braiins")) > 0 && count(evs, from("sim-coinmetrics")) >= 59 &&
			signal("braiins") && signal("coinmetrics")
	})
	stop()
	methods := map[string]string{"sim-luxor": methodLuxor, "sim-braiins": methodBraiins, "sim-coinmetrics": methodCoinMetrics}
	for _, p := range feedtest.Of[*market.Hashprice](mem) {
		want, theirs := methods[p.Source]
		if p.Published != theirs || theirs && p.Method != want {
			t.Fatalf("%s of %s is published: %v", p.Method, p.Source, p.Published)
		}
		if usd, _ := p.HashpriceUSD.Float64(); theirs && (usd < 10 || usd > 100) {
			t.Fatalf("%s tells %s USD per PH/s and day: a unit was mistaken", p.Source, p.HashpriceUSD)
		}
	}
	for _, s := range feedtest.Of[*market.Signal](mem) {
		if v, _ := s.Value.Float64(); s.Name != "hashprice-difference" || s.Unit != "percent" || v < -12 || v > 12 || s.Inputs["ours"] == "" || s.Inputs["theirs"] == "" ||
			s.Inputs["ours.at"] == "" || s.Inputs["theirs.at"] == "" {
			t.Fatalf("%+v", s)
		}
	}
	if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) > 0 {
		t.Errorf("dead letter of %s: %s", dead[0].Source, dead[0].Detail)
	}
	// Again over the same streams: nothing of what has a time of its own is told twice.
	runService(t, o.cfg, mem)
	n := mem.Len()
	wait(t, mem, "the second run", func(evs []market.Event) bool {
		return count(evs[n:], from("sim-braiins")) > 0 && count(evs[n:], live) > 3
	})
	if _, _, twice := feedtest.Diff(mem, mem); len(twice) > 0 {
		t.Errorf("%d facts twice, the first %s", len(twice), twice[0])
	}
}

// The difference is to what was ours at their time, not to what is now; without any of about that time there is none.
func TestTheDifferenceIsToOursOfTheSameTime(t *testing.T) {
	mem := feedtest.NewMemory()
	f, err := feed.New(feed.Config{Source: "hashpivot", Sink: mem})
	if err != nil {
		t.Fatal(err)
	}
	c := newCalculator(DefaultConfig().Calculator, nil, f)
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for i, usd := range []string{"40", "41", "42"} {
		c.keep(&market.Hashprice{Meta: market.Meta{EventTime: noon.Add(time.Duration(i) * time.Minute)}, Method: methodLive, HashpriceUSD: market.MustDecimal(usd)})
	}
	r := &reference{name: "luxor", f: f, calc: f, ours: c.at}
	for _, x := range []struct {
		at   time.Time
		want string // empty: none
	}{{noon.Add(-time.Second), ""}, {noon.Add(90 * time.Second), "2.500000"}, {noon.Add(11 * time.Minute), "5.000000"}, {noon.Add(13 * time.Minute), ""}} {
		n := mem.Len()
		theirs := &market.Hashprice{Meta: market.Meta{EventTime: x.at, RecvTime: x.at}, Method: methodLuxor, HashpriceUSD: market.MustDecimal("40"), Published: true}
		if err := r.compare(t.Context(), theirs); err != nil {
			t.Fatal(err)
		}
		got := ""
		if evs := mem.Events(); len(evs) > n {
			got = evs[n].(*market.Signal).Value.String()
		}
		if got != x.want {
			t.Errorf("%s: difference %q, want %q", x.at.Format(time.TimeOnly), got, x.want)
		}
	}
}

// A value that its publisher computed again is a revision, whatever restarts lie between.
func TestACorrectedReferenceIsARevision(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{})
	p := o.publish(t)
	o.cfg.Braiins.Enabled, o.cfg.CoinMetrics.Enabled = false, false
	mem := feedtest.NewMemory()
	stop := runService(t, o.cfg, mem)
	wait(t, mem, "the index", func(evs []market.Event) bool { return count(evs, from("sim-luxor")) >= 287 })
	stop()
	n := mem.Len()
	p.luxor.Correct(0.01)
	runService(t, o.cfg, mem)
	wait(t, mem, "its revision", func(evs []market.Event) bool {
		return count(evs[n:], func(h *market.Hashprice) bool { return h.Source == "sim-luxor" && h.Rev == 1 }) >= 286
	})
	wait(t, mem, "the absence settled", func(evs []market.Event) bool {
		return count(evs[n:], func(g *market.FeedGap) bool { return g.Source == "sim-luxor" && g.State == market.GapFilled }) == 1
	})
}

// After three days away the hole is filled with the hourly index, and no hour's mean passes for a revision of five minutes.
func TestLuxorsLongHoleIsFilledInHours(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{})
	o.publish(t)
	ago := 3 * 24 * time.Hour
	now := func() time.Time { return time.Now().Add(-ago) }
	s, err := luxor.New(luxor.Config{World: o.world, Chain: o.chain, Seed: 1, Burst: -1, Now: func() time.Time { return now() }})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	o.cfg.Luxor.URL = srv.URL + "/v1/hashrateindex"
	mem := feedtest.NewMemory()
	f, err := feed.New(feed.Config{Source: "sim-luxor", Sink: mem, History: mem})
	if err != nil {
		t.Fatal(err)
	}
	r := &reference{name: "luxor", f: f, client: httpClient(t), keep: time.Hour, calc: f, history: true, ours: func(time.Time) *market.Hashprice { return nil }}
	r.poll = pollLuxor(o.cfg.Luxor, r)
	if err := r.restore(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	session := func() {
		t.Helper()
		err := f.Run(t.Context(), feed.DefaultPolicy(), func(ctx context.Context, s *feed.Session) error {
			if err := r.once(ctx, s); err != nil {
				t.Error(err)
			}
			return feed.ErrEndOfInput
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	session()
	first := count(mem.Events(), from("sim-luxor"))
	ago = 0
	session()
	buckets := map[string]int{}
	for _, p := range feedtest.Of[*market.Hashprice](mem) {
		if p.Rev != 0 {
			t.Fatalf("%s of bucket %s counts as a revision", p.EventTime, p.Inputs["bucket"])
		}
		buckets[p.Inputs["bucket"]]++
	}
	if first != 288 || buckets["5m"] != 576 || buckets["1H"] < 47 || buckets["1H"] > 49 {
		t.Errorf("%d at first, then %v", first, buckets)
	}
}

func TestAReferencesFaultsCostItselfOnly(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{})
	p := o.publish(t)
	o.cfg.Luxor.Key = "wrong"
	p.braiins.Faults().Order(1, braiins.Fault{Status: 302, Header: http.Header{"Location": {"/nowhere"}}})
	p.braiins.Faults().Order(1, braiins.Fault{Body: "<html>maintenance</html>"})
	p.coinmetrics.Faults().Order(1, coinmetrics.Fault{Body: `{"error":{"type":"bad_parameter","message":"not today"}}`})
	p.coinmetrics.Faults().Order(1, coinmetrics.Fault{Status: 429, Header: http.Header{"X-RateLimit-Reset": {fmt.Sprint(time.Now().Unix() + 1)}}})
	mem := feedtest.NewMemory()
	runService2(t, o.cfg, mem)
	wait(t, mem, "Luxor's refusal and the others' figures", func(evs []market.Event) bool {
		return count(evs, func(f *market.FeedEvent) bool { return f.Source == "sim-luxor" && f.State == market.FeedRefused }) == 1 &&
			count(evs, from("sim-braiins")) > 0 && count(evs, from("sim-coinmetrics")) > 30 && count(evs, live) > 3
	})
	dead := map[string]market.Reason{}
	for _, d := range feedtest.Of[*market.DeadLetter](mem) {
		dead[d.Source] = d.Reason
	}
	if dead["sim-braiins"] != feed.ReasonMalformed || dead["sim-coinmetrics"] != feed.ReasonProtocol || len(dead) != 2 {
		t.Errorf("dead letters %v", dead)
	}
	for _, ev := range mem.Events() {
		if f, ok := ev.(*market.FeedEvent); ok && strings.Contains(f.Detail, "wrong") {
			t.Errorf("a key in %q", f.Detail)
		}
	}
}

// runService2 is runService for a service that ends with a refusal once it is stopped by us.
func runService2(t *testing.T, cfg Config, mem *feedtest.Memory) {
	t.Helper()
	ctx, cancel := newCancel(t)
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, feed.Deps{Sink: mem, History: mem}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCoinMetricsPagesAreReadToTheirEnd(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{})
	p := o.publish(t)
	f, err := feed.New(feed.Config{Source: "sim-coinmetrics", Sink: feedtest.NewMemory()})
	if err != nil {
		t.Fatal(err)
	}
	client := httpClient(t)
	poll := pollCoinMetrics(o.cfg.CoinMetrics, &reference{name: "coinmetrics", f: f, client: client})
	all, err := poll(t.Context(), time.Now().AddDate(-1, 0, 0))
	if err != nil || len(all) < 59 {
		t.Fatalf("%d days, %v", len(all), err)
	}
	if err := p.coinmetrics.Target().Order(pageLoop()); err != nil {
		t.Fatal(err)
	}
	if _, err := poll(t.Context(), time.Now().AddDate(-1, 0, 0)); err == nil || !strings.Contains(err.Error(), "page") {
		t.Errorf("a loop of pages: %v", err)
	}
}

func TestDecodeReferences(t *testing.T) {
	at := time.Date(2025, 12, 14, 3, 28, 43, 0, time.UTC)
	body := func(s string) *feed.Response { return &feed.Response{Body: []byte(s), Recv: at, Date: at} }
	got, err := decodeBraiins(body(`{"avg_fees_per_block":0.016,"current_hashrate":1001.23,"current_hashrate_estimated":1146.5,"fees_percent":0.5,"hash_price":0.039,"hash_rate_30":1074.37,"hash_value":4E-7,"rev_usd":40872449.1}`))
	if err != nil || got[0].HashpriceUSD.Cmp(market.MustDecimal("39")) != 0 || got[0].HashpriceBTC.Cmp(market.MustDecimal("0.0004")) != 0 ||
		got[0].NetworkEHs.Cmp(market.MustDecimal("1001.23")) != 0 || !got[0].EventTime.Equal(at) {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = decodeLuxor(body(`{"$schema":"x","data":[{"price":38.41200000000000045,"timestamp":"2019-08-24T14:15:22Z"}]}`))
	if err != nil || got[0].HashpriceUSD.String() != "38.412000" || !got[0].EventTime.Equal(time.Date(2019, 8, 24, 14, 15, 22, 0, time.UTC)) {
		t.Errorf("%+v, %v", got, err)
	}
	// A recorded day: (issued + fees) over the hashrate.
	page, err := decodeCoinMetrics(body(`{"data":[{"asset":"btc","time":"2020-01-01T00:00:00.000000000Z","PriceUSD":"7170.63186879018","HashRate":"112929774.50430365","IssTotUSD":"15596124.314618642","FeeTotNtv":"9.88624584"},{"asset":"btc","time":"2020-01-02T00:00:00.000000000Z","PriceUSD":"7000"}],"next_page_token":"abc"}`))
	if err != nil || len(page.days) != 1 || page.next != "abc" || page.days[0].HashpriceUSD.String() != "138.732367" || page.days[0].Published != true {
		t.Errorf("%+v, %v", page, err)
	}
	for _, x := range []struct {
		body   string
		reason market.Reason
		decode func(*feed.Response) error
	}{
		{`{"data":[{"price":38412,"timestamp":"yesterday"}]}`, feed.ReasonType, luxorErr}, {`{}`, market.ReasonMissing, luxorErr}, {`null`, market.ReasonMissing, luxorErr},
		{`{"data":[{"price":1e300,"timestamp":"2019-08-24T14:15:22Z"}]}`, feed.ReasonType, luxorErr}, {`{"data":[{"price":1e-999999999,"timestamp":"2019-08-24T14:15:22Z"}]}`, feed.ReasonType, luxorErr},
		{`{"data":[{"price":38412000,"timestamp":"2019-08-24T14:15:22Z"}]}`, market.ReasonPrice, luxorErr},
		{`{"hash_price":"a"}`, feed.ReasonMalformed, braiinsErr}, {`[]`, feed.ReasonType, braiinsErr}, {`{"current_hashrate":5}`, market.ReasonMissing, braiinsErr},
		{`{"data":[{"asset":"btc","time":"2020-01-01T00:00:00Z","PriceUSD":"-1","HashRate":"1","IssTotUSD":"1","FeeTotNtv":"1"}]}`, market.ReasonValue, coinErr},
		{`{"error":{"type":"bad_parameter","message":"x"}}`, feed.ReasonProtocol, coinErr}, {`<html>`, feed.ReasonMalformed, coinErr},
	} {
		if err := x.decode(body(x.body)); feed.ReasonOf(err, "none") != x.reason {
			t.Errorf("%s: %v, want %s", x.body, err, x.reason)
		}
	}
}

func luxorErr(r *feed.Response) error   { _, err := decodeLuxor(r); return err }
func braiinsErr(r *feed.Response) error { _, err := decodeBraiins(r); return err }
func coinErr(r *feed.Response) error    { _, err := decodeCoinMetrics(r); return err }
