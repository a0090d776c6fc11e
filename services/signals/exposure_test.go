package signals

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// Golden values, of numpy 2.4.6 over the same returns: np.cov(x, y)[0, 1] / np.var(x, ddof=1), np.corrcoef(x, y)[0, 1], its square, and
// np.tanh(np.arctanh(r) -+ 1.959963984540054 / np.sqrt(n - 3)) with x = (37 i^2 + 11 i) % 101 - 50 and y = (53 i^2 + 7 i) % 97 - 48 + 2 x, both
// times 10^-3, for i = 1 ... n. They were compared at 8 and 6 decimals.
func TestExposureGoldenVectors(t *testing.T) {
	pairs := func(n int) (out []pair) {
		for i := range n {
			i++
			x := (37*i*i+11*i)%101 - 50
			y := (53*i*i+7*i)%97 - 48 + 2*x
			out = append(out, pair{big.NewInt(int64(x) * 10_000_000), big.NewInt(int64(y) * 10_000_000)})
		}
		return out
	}
	for n, want := range map[int]string{
		20:  "1.87213913 0.84109708 0.7074443 0.634881 0.935443 0.403074 0.875054",
		60:  "2.01943932 0.88694272 0.78666739 0.817026 0.931156 0.667531 0.867051",
		250: "1.95977312 0.88957847 0.79134986 0.86048 0.912892 0.740426 0.833372",
	} {
		r := regress(pairs(n))
		got := strings.Join([]string{
			scaled(r.beta, 8), scaled(r.r, 8), scaled(r.share, 8), scaled(r.low, 6), scaled(r.high, 6), scaled(r.shareLow, 6), scaled(r.shareH, 6),
		}, " ")
		if got != want || r.n != n || r.why != "" {
			t.Errorf("%d pairs: %s, want %s (%d, %q)", n, got, want, r.n, r.why)
		}
	}
	// By hand: y = -3 x. The share is whole, and the bounds of a certainty are the certainty.
	var line []pair
	for i := range 20 {
		line = append(line, pair{big.NewInt(int64(i)), big.NewInt(int64(-3 * i))})
	}
	r := regress(line)
	if got := fmt.Sprint(scaled(r.beta, 8), scaled(r.r, 8), scaled(r.share, 8), scaled(r.low, 6), scaled(r.high, 6), scaled(r.shareLow, 6)); got != "-3-11-1-11" {
		t.Errorf("a line: %s", got)
	}
	// By hand: ten x of 0 and ten of 1, y differing in one of each. 20 Sxy - Sx Sy = 20 * 9 - 10 * 10 = 80, both variances 20 * 10 - 10 * 10 = 100.
	var box []pair
	for i := range 20 {
		x := int64(i / 10)
		y := x
		if i == 0 || i == 19 {
			y = 1 - x
		}
		box = append(box, pair{big.NewInt(x), big.NewInt(y)})
	}
	if r := regress(box); scaled(r.r, 8) != "0.8" || scaled(r.share, 8) != "0.64" || scaled(r.beta, 8) != "0.8" {
		t.Errorf("the box: %s %s %s", scaled(r.r, 8), scaled(r.share, 8), scaled(r.beta, 8))
	}
	// The interval of correlation by Fisher's transformation itself, in floats.
	for n := exposurePairs; n <= 1000; n += 7 {
		for _, rho := range []float64{-0.99, -0.3, 0, 0.123456, 0.8} {
			x := regression{n: n, r: big.NewInt(int64(math.Round(rho * 1e8)))}
			x.bound()
			low := math.Tanh(math.Atanh(rho) - 1.959963984540054/math.Sqrt(float64(n-3)))
			if got := scaled(x.low, 6); got != scaled(big.NewInt(int64(math.Round(low*1e6))), 6) {
				t.Errorf("n %d, r %v: low %s, by floats %.8f", n, rho, got, low)
			}
		}
	}
	for in, want := range map[string]*big.Int{"-0.000001": big.NewInt(-1), "12.5": big.NewInt(12_500_000), "0": new(big.Int), "-3": big.NewInt(-3_000_000)} {
		if got := scaled(want, 6); got != in {
			t.Errorf("%s is told as %s", in, got)
		}
	}
}

func TestExposureWithoutValue(t *testing.T) {
	n := func(x, y int64) pair { return pair{big.NewInt(x), big.NewInt(y)} }
	var few, still, flat, faint []pair
	for i := range int64(20) {
		if i < 19 {
			few = append(few, n(i, i))
		}
		still, flat = append(still, n(5, i)), append(flat, n(i, 5))
		faint = append(faint, n(i%2, 4e11*(i%2)))
	}
	for why, pairs := range map[string][]pair{whyPairs: few, whyFactorStill: still, whyPriceStill: flat, whyFactorFaint: faint} {
		r := regress(pairs)
		if r.why != why {
			t.Errorf("%q, want %q", r.why, why)
		}
		if has := r.beta != nil; has != (why == whyPriceStill) {
			t.Errorf("%s: beta %v", why, r.beta)
		}
		if has := r.r != nil; has != (why == whyFactorFaint) {
			t.Errorf("%s: correlation %v", why, r.r)
		}
	}
	for _, c := range []struct {
		before, after int64
		want          string
	}{{3, 4, "0.3333333333"}, {4, 3, "-0.25"}, {1, 99, "98"}, {1, 100, "-"}, {100, 1, "-"}, {0, 1, "-"}} {
		got := "-"
		if r := returnOf(big.NewInt(c.before), big.NewInt(c.after)); r != nil {
			got = scaled(r, 10)
		}
		if got != c.want {
			t.Errorf("from %d to %d: %s, want %s", c.before, c.after, got, c.want)
		}
	}
}

// exposureHarness is an engine with what it told.
type exposureHarness struct {
	*exposureEngine
	t    testing.TB
	told []*market.Signal // since the last tick
	all  []*market.Signal
	seq  uint64
}

func newExposureHarness(t testing.TB, cfg Exposure, actions ...reference.Action) *exposureHarness {
	h := &exposureHarness{t: t}
	cal, err := session.US()
	if err != nil {
		t.Fatal(err)
	}
	h.exposureEngine, err = newExposureEngine(cfg, cal, actions, NewMetrics(nil), func(_ context.Context, ev market.Event) error {
		h.told, h.all = append(h.told, ev.(*market.Signal)), append(h.all, ev.(*market.Signal))
		return ev.Validate()
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *exposureHarness) feed(events ...market.Event) {
	for _, ev := range events {
		h.seq++
		h.take(ev, orderOf(h.seq, 0))
	}
}

func (h *exposureHarness) tick(now time.Time) []*market.Signal {
	h.t.Helper()
	h.told = nil
	if err := h.flush(context.Background(), now); err != nil {
		h.t.Fatal(err)
	}
	return h.told
}

func of(list []*market.Signal, name string) (out []*market.Signal) {
	for _, s := range list {
		if s.Name == name {
			out = append(out, s)
		}
	}
	return out
}

func exposureConfig() Exposure {
	return Exposure{Enabled: true, Symbols: []string{"IREN"}, Window: 20, Every: time.Minute}
}

// dailyBar of a day, by the stamp of its New York midnight.
func dailyBar(source, symbol string, day time.Time, usd string, final bool, rev uint32) *market.Bar {
	p := market.MustDecimal(usd)
	at := day.Add(5 * time.Hour)
	if m := day.Month(); m > time.March && m < time.November {
		at = day.Add(4 * time.Hour)
	}
	return &market.Bar{
		Meta:   market.Meta{EventTime: at, RecvTime: day.Add(22 * time.Hour), Source: source, Rev: rev},
		Symbol: symbol, Interval: market.Interval1d, OpenUSD: p, HighUSD: p, LowUSD: p, CloseUSD: p, Volume: market.MustDecimal("1"), TradeCount: 1, Final: final,
	}
}

var today = noon.Truncate(24 * time.Hour)

// exposureHistory is so many days of IREN up to yesterday, each with its levels: the price moves twice as much as the hashprice.
func exposureHistory(days int) (out []market.Event) {
	for n := days; n > 0; n-- {
		day, up := today.AddDate(0, 0, -n), n%3
		h := dailyHashprice(day, fmt.Sprint(40+up), 0)
		h.BTCUSD = market.MustDecimal(fmt.Sprint(90000 + 100*(n%4)))
		out = append(out, h, dailyBar("sim-alpaca", "IREN", day, fmt.Sprint(50+2*up), true, 0))
	}
	return out
}

func TestExposureIsTold(t *testing.T) {
	h := newExposureHarness(t, exposureConfig())
	h.feed(exposureHistory(22)...)
	if got := h.tick(noon); len(got) != 0 {
		t.Errorf("told %d values before the inputs stood still", len(got))
	}
	got := h.tick(noon.Add(exposureQuiet))
	// 21 returns, of which the last two days have 20 and 21 before them, in a window of 20.
	beta := of(got, "exposure-beta-hashprice-1d")
	if len(beta) != 2 || len(of(got, "exposure-r2-btc-1d")) != 2 || len(of(got, "exposure-beta-gpu-1d")) != 0 {
		t.Fatalf("told %d of beta, %d in all", len(beta), len(got))
	}
	last := of(got, "exposure-correlation-hashprice-1d")[1]
	yesterday := today.AddDate(0, 0, -1)
	if !last.EventTime.Equal(yesterday) || last.Symbol != "IREN" || last.Source != "sim-hashpivot-exposure" || last.Unit != "ratio" || !last.Backfill {
		t.Errorf("%+v", last)
	}
	want := map[string]string{
		inputMethod: "exposure/1", inputWindow: "20", inputPairs: "20", inputFrom: "2026-10-30",
		"close.usd": "52", "close.at": "2026-11-19T05:00:00Z", "close.source": "sim-alpaca", "close.rev": "0", inputFinal: "true",
		"prev_close.usd": "54", "prev_close.at": "2026-11-18T05:00:00Z", "prev_close.source": "sim-alpaca", "prev_close.rev": "0",
		"level.usd": "41", "level.at": "2026-11-19T00:00:00Z", "level.source": "sim-hashpivot", "level.rev": "0", inputLevelMethod: "daily",
		"prev_level.usd": "42", "prev_level.at": "2026-11-18T00:00:00Z", "prev_level.source": "sim-hashpivot", "prev_level.rev": "0",
		inputLow: last.Inputs[inputLow], inputHigh: last.Inputs[inputHigh],
	}
	if fmt.Sprint(last.Inputs) != fmt.Sprint(want) || last.Inputs[inputLow] == "" {
		t.Errorf("inputs\n%v\nwant\n%v", last.Inputs, want)
	}

	// The day goes on: a provisional bar, and the live hashprice of yesterday and of today.
	h.feed(dailyBar("sim-alpaca", "IREN", today, "56", false, 0))
	for _, at := range []time.Time{yesterday.Add(23 * time.Hour), noon} {
		x := hashpriceAt(at, fmt.Sprint(40+at.Hour()))
		x.BTCUSD = market.MustDecimal("90000")
		h.feed(x)
	}
	now := noon.Add(time.Minute)
	h.tick(now)
	now = now.Add(exposureQuiet)
	got = h.tick(now)
	beta = of(got, "exposure-beta-hashprice-1d")
	if len(beta) != 1 || !beta[0].EventTime.Equal(today) || beta[0].Rev != 0 || beta[0].Inputs[inputProvisional] != "true" ||
		beta[0].Inputs[inputLevelMethod] != levelLive || beta[0].Inputs["prev_level.usd"] != "63" || beta[0].Inputs["level.usd"] != "52" {
		t.Errorf("during the day: %+v", beta)
	}
	for i := range 10 {
		h.feed(dailyBar("sim-alpaca", "IREN", today, fmt.Sprint(57+i), false, uint32(1+i)))
		if got := h.tick(now.Add(time.Duration(i+1) * 5 * time.Second)); len(got) > 0 {
			t.Errorf("told %d values within the minute", len(got))
		}
	}
	if got = of(h.tick(now.Add(time.Minute)), "exposure-beta-hashprice-1d"); len(got) != 1 || got[0].Rev != 1 || got[0].Inputs["close.usd"] != "66" {
		t.Errorf("after a minute: %+v", got)
	}
	// The day ends: its bar is final, and its hashprice comes.
	h.feed(dailyBar("sim-alpaca", "IREN", today, "66", true, 11), dailyHashprice(today, "43", 0))
	now = now.Add(12 * time.Hour)
	h.tick(now)
	if got = of(h.tick(now.Add(exposureQuiet)), "exposure-r2-hashprice-1d"); len(got) != 1 || got[0].Rev != 2 || got[0].Inputs[inputProvisional] != "" ||
		got[0].Inputs[inputLevelMethod] != levelDaily || got[0].Inputs[inputFinal] != "true" {
		t.Errorf("after the day: %+v", got)
	}
	// A late revision of a day within the windows revises all of them, and a restart tells nothing twice.
	h.feed(dailyBar("sim-alpaca", "IREN", today.AddDate(0, 0, -9), "51.5", true, 1))
	now = now.Add(time.Hour)
	h.tick(now)
	revised := h.tick(now.Add(exposureQuiet))
	if got := of(revised, "exposure-beta-hashprice-1d"); len(got) != 3 || got[0].Rev != 1 || got[2].Rev != 3 {
		t.Errorf("after a late revision: %d values", len(got))
	}
	if got := h.tick(now.Add(time.Hour)); len(got) > 0 {
		t.Errorf("%d values told for nothing", len(got))
	}
	again := newExposureHarness(t, exposureConfig())
	again.boards = h.boards
	again.touch("sim-", []string{"IREN"}, exposureFactors, true)
	for _, s := range h.all {
		again.restore(s)
	}
	again.restore(&market.Signal{Meta: h.all[0].Meta, Name: "somebody-elses", Symbol: "IREN"})
	again.tick(now)
	for _, s := range again.tick(now.Add(exposureQuiet)) {
		t.Errorf("told twice: %s of %s, revision %d", s.Name, s.EventTime, s.Rev)
	}
}

// A history that is read is told once, at its end, or after a while where it has none.
func TestExposureWaitsForHistory(t *testing.T) {
	h := newExposureHarness(t, exposureConfig())
	now := noon
	for i, ev := range exposureHistory(60) {
		h.feed(ev)
		if got := h.tick(now); len(got) > 0 && now.Sub(noon) < exposureConfig().Every {
			t.Fatalf("%d values told behind input %d", len(got), i)
		}
		now = now.Add(400 * time.Millisecond)
	}
	if got := h.tick(now.Add(exposureQuiet)); len(of(got, "exposure-beta-btc-1d")) != exposureTail {
		t.Errorf("%d values told at the end", len(got))
	}
	live := newExposureHarness(t, exposureConfig())
	live.feed(exposureHistory(60)...)
	live.tick(noon)
	told := 0
	for i := range 40 { // live levels of each second hold nothing up
		at := noon.Add(time.Duration(i) * time.Second)
		live.feed(hashpriceAt(at, fmt.Sprint(40+i%2)))
		told += len(live.tick(at))
	}
	if told == 0 {
		t.Error("told nothing while live levels came")
	}
}

// Which close and which level of a day counts.
func TestExposureInputs(t *testing.T) {
	h := newExposureHarness(t, exposureConfig(), reference.Action{
		Symbol: "IREN", Kind: reference.Split, ExDate: today.AddDate(0, 0, -1), SharesNew: "3", SharesOld: "1",
	}, reference.Action{
		Symbol: "IREN", Kind: reference.Distribution, ExDate: today.AddDate(0, 0, -1), AmountUSD: "3", PriorCloseUSD: "30",
	})
	day := func(n int) time.Time { return today.AddDate(0, 0, -n) }
	h.feed(
		dailyBar("sim-alpaca", "IREN", day(4), "10", false, 0), // never final, and not the newest
		dailyBar("sim-massive", "IREN", day(3), "20", true, 0),
		dailyBar("sim-alpaca", "IREN", day(3), "21", false, 5), // a final one is preferred
		dailyBar("sim-files", "IREN", day(2), "31", true, 0),
		dailyBar("sim-alpaca", "IREN", day(2), "29", true, 0), dailyBar("sim-alpaca", "IREN", day(2), "30", true, 1), dailyBar("sim-massive", "IREN", day(2), "32", true, 9),
		dailyBar("sim-alpaca-prints", "IREN", day(1), "7", true, 0), // ours are none
		dailyBar("sim-alpaca", "IREN", day(1), "9", true, 0),
		dailyBar("sim-alpaca", "IREN", day(0), "9.5", false, 0),
		dailyBar("sim-alpaca", "CORZ", day(0), "9.5", false, 0), // not asked for
	)
	board := h.boards["sim-"]
	show := func() string {
		var b strings.Builder
		for _, s := range board.closes["IREN"].spans(h.actions["IREN"], board.adjusted) {
			y := s.why
			if s.y != nil {
				y = scaled(s.y, 10)
			}
			fmt.Fprintf(&b, "%s-%s %s-%s %s\n", s.prev.String()[8:], s.day.String()[8:], s.before.usd, s.close.usd, y)
		}
		return b.String()
	}
	// A third of a split and nine tenths of a distribution: 30 is as 9.
	if got, want := show(), "17-18 20-30 0.5\n18-19 30-9 0\n19-20 9-9.5 0.0555555556\n"; got != want {
		t.Errorf("spans\n%swant\n%s", got, want)
	}
	// An import that is adjusted for splits already gets the distribution alone, and no return with what is not.
	h.feed(&market.FeedGap{Meta: market.Meta{EventTime: noon, Source: "sim-yahoo"}, Reason: "import a.csv 1f; adjusted (yahoo-csv)"})
	board.closes["IREN"] = &exposureCloses{days: map[exposureDay]map[string]exposureInput{}}
	h.feed(dailyBar("sim-yahoo", "IREN", day(2), "10", true, 0), dailyBar("sim-yahoo", "IREN", day(1), "9", true, 0), dailyBar("sim-alpaca", "IREN", day(0), "9", true, 0))
	if got, want := show(), "18-19 10-9 0\n19-20 9-9 "+whyAdjusted+"\n"; got != want {
		t.Errorf("spans of an import\n%swant\n%s", got, want)
	}

	move := func(prev, day time.Time, factor string) string {
		x, _, level, why := board.of(factor, exposureSpan{prev: dayOf(prev), day: dayOf(day)})
		if x == nil {
			return why
		}
		return level.method + " " + scaled(x, 10)
	}
	h.feed(dailyHashprice(day(3), "40", 0), dailyHashprice(day(2), "41", 0), dailyHashprice(day(2), "44", 1), dailyHashprice(day(2), "43", 0))
	for n := range 4 {
		h.feed(hashpriceAt(day(n).Add(20*time.Hour), fmt.Sprint(60-n)), hashpriceAt(day(n).Add(19*time.Hour), "1"))
	}
	h.feed(rateBy("vast-wmedian", day(3), exposureGPU, "2"), rateBy("vast-wmedian", day(2).Add(time.Hour), exposureGPU, "3"), rateBy("vast-wmedian", day(2), exposureGPU, "9"),
		rateAt(day(2), exposureGPU, "5"), rateAt(day(1), exposureGPU, "6"), rateBy("vast-metrics-median", day(0), exposureGPU, "6"), rateAt(day(3), "h200", "4"))
	for _, c := range []struct {
		prev, day int
		factor    string
		want      string
	}{
		{4, 3, "hashprice", whyNoLevelPrev}, {3, 2, "hashprice", "daily 0.1"},
		{2, 1, "hashprice", "tip144 0.0172413793"}, // live values count from the newest daily one on
		{1, 0, "hashprice", "tip144 0.0169491525"}, {0, -1, "hashprice", whyNoLevel}, {3, 2, "btc", "daily 0"},
		{3, 2, "gpu", "vast-wmedian/1 0.5"}, {2, 1, "gpu", "gpu-wmedian/1 0.2"}, {1, 0, "gpu", whyNoMethod},
	} {
		if got := move(day(c.prev), day(c.day), c.factor); got != c.want {
			t.Errorf("%s from %d to %d: %s, want %s", c.factor, -c.prev, -c.day, got, c.want)
		}
	}
	// A daily value that comes for a day without one moves the bound of the live ones.
	h.feed(dailyHashprice(day(1), "46.2", 0))
	if got := move(day(2), day(1), "hashprice"); got != "daily 0.05" {
		t.Errorf("with the daily value: %s", got)
	}
}

// What is held is bounded, and what is not held any more gives no value rather than another one.
func TestExposureForgets(t *testing.T) {
	cfg := exposureConfig()
	h := newExposureHarness(t, cfg)
	h.feed(exposureHistory(400)...)
	b := h.boards["sim-"]
	if got := len(b.closes["IREN"].days); got != h.keep() || !b.closes["IREN"].dropped {
		t.Errorf("%d days are held, not %d", got, h.keep())
	}
	if got := len(b.levels["btc"]); got != h.levelDays()+1 {
		t.Errorf("%d levels are held, not %d", got, h.levelDays()+1)
	}
	h.feed(dailyBar("sim-alpaca", "IREN", today.AddDate(0, 0, -300), "1", true, 7), dailyHashprice(today.AddDate(0, 0, -300), "1", 7))
	h.tick(noon)
	if got := len(of(h.tick(noon.Add(time.Minute)), "exposure-lead-btc-1d")); got != exposureTail {
		t.Errorf("%d days told, not %d", got, exposureTail)
	}
	if n := len(h.exposureEngine.told[exposureSeries{"sim-", "IREN", "btc"}].at); n != exposureTail*len(exposureKinds) {
		t.Errorf("%d tellings are held", n)
	}
	s := exposureSeries{"sim-", "IREN", "btc"}
	spans := b.closes["IREN"].spans(nil, b.adjusted)
	if v := newExposureWindow(b, s, spans, cfg.Window).values(cfg.Window - 2); v[0].why != whyHistory || v[0].value != nil {
		t.Errorf("a window of days that were dropped: %+v", v[0])
	}
}

func TestExposureConfigRefuses(t *testing.T) {
	for want, change := range map[string]func(*Exposure){
		"signals.exposure.symbols": func(x *Exposure) { x.Symbols = nil },
		"iren":                     func(x *Exposure) { x.Symbols = []string{"iren"} },
		"there twice":              func(x *Exposure) { x.Symbols = []string{"IREN", "IREN"} },
		"BTC-USD":                  func(x *Exposure) { x.Symbols = []string{"BTC-USD"} },
		"signals.exposure.window":  func(x *Exposure) { x.Window = 19 },
		"signals.exposure.every":   func(x *Exposure) { x.Every = time.Millisecond },
	} {
		cfg := DefaultConfig()
		change(&cfg.Exposure)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
