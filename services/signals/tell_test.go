package signals

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

func (h *harness) of(i market.Interval, sess string) (out []*market.Bar) {
	for _, b := range h.bars {
		if b.Interval == i && b.Session == sess {
			out = append(out, b)
		}
	}
	return out
}

// TestWhenBarsAreTold: a bar at its end and the grace, its changes together and not too often, final after the trade date, and withdrawn
// when nothing is left of it.
func TestWhenBarsAreTold(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Bars.Intervals = []market.Interval{market.Interval1m, market.Interval1h, market.Interval1d}
	h := newHarness(t, cfg, us(t))
	place := 0
	feed := func(x *market.Trade) { place++; h.feed(t, place, *x) }
	at := func(after time.Duration) { t.Helper(); h.tick(t, open.Add(after)) }
	count := func(what string, i market.Interval, sess string, want int) *market.Bar {
		t.Helper()
		got := h.of(i, sess)
		if len(got) != want {
			t.Fatalf("%s: %d bars of %s %s, want %d", what, len(got), i, sess, want)
		}
		if want == 0 {
			return nil
		}
		return got[want-1]
	}
	feed(printAt("1", 0, "50", "100"))
	feed(printAt("2", 59*time.Second, "51", "100"))
	at(time.Minute + 499*time.Millisecond)
	count("before the grace", market.Interval1m, "regular", 0)
	at(time.Minute + 500*time.Millisecond)
	b := count("after it", market.Interval1m, "regular", 1)
	if b.Final || b.Rev != 0 || !b.EventTime.Equal(open) || b.TradeDate != "2026-11-20" || b.Source != "sim-alpaca-prints" || b.Method != "alpaca-conditions/1" || b.VWAPUSD.String() != "50.5" {
		t.Errorf("the first telling is %+v", b)
	}
	// Three late prints within the time of one revision.
	for i := range 3 {
		feed(printAt(fmt.Sprint("late", i), 20*time.Second, fmt.Sprint(60+i), "1"))
		at(time.Minute + time.Duration(1+i)*time.Second)
	}
	count("too soon for a revision", market.Interval1m, "regular", 1)
	at(time.Minute + 5500*time.Millisecond)
	if b = count("the revision", market.Interval1m, "regular", 2); b.Rev != 1 || b.HighUSD.String() != "62" || b.Volume.String() != "203" || b.TradeCount != 5 {
		t.Errorf("the revision is %+v", b)
	}
	feed(printAt("2", 59*time.Second, "51", "100")) // told again
	at(2 * time.Minute)
	count("nothing new", market.Interval1m, "regular", 2)

	at(31 * time.Minute)
	count("the hour", market.Interval1h, "regular", 1)
	count("the session still runs", market.Interval1d, "regular", 0)
	at(6*time.Hour + 31*time.Minute)
	count("the session", market.Interval1d, "regular", 1)
	count("the trade date still runs", market.Interval1d, "", 0)
	end := time.Date(2026, 11, 21, 1, 0, 0, 0, time.UTC)
	h.tick(t, end.Add(time.Second))
	if b = count("the trade date", market.Interval1d, "", 1); b.Final || !b.EventTime.Equal(time.Date(2026, 11, 20, 5, 0, 0, 0, time.UTC)) {
		t.Errorf("the first telling of the day is %+v", b)
	}
	h.tick(t, end.Add(15*time.Minute))
	for _, x := range []struct {
		i    market.Interval
		sess string
		n    int
	}{{market.Interval1m, "regular", 3}, {market.Interval1h, "regular", 2}, {market.Interval1d, "regular", 2}, {market.Interval1d, "", 2}} {
		if b := count("final", x.i, x.sess, x.n); !b.Final {
			t.Errorf("not final: %+v", b)
		}
	}
	// A correction after the end: final again.
	c := *printAt("1c", 8*time.Hour, "49", "100")
	c.Action, c.OriginalID = market.TradeCorrection, "1"
	feed(&c)
	h.tick(t, end.Add(16*time.Minute))
	if b = count("corrected", market.Interval1d, "", 3); !b.Final || b.OpenUSD.String() != "49" || b.LowUSD.String() != "49" {
		t.Errorf("corrected to %+v", b)
	}
	// All is cancelled: what was told cannot be untold.
	for _, id := range []string{"1c", "2", "late0", "late1", "late2"} {
		feed(cancelOf(printAt(id, 0, "50", "100"), 8*time.Hour))
	}
	h.tick(t, end.Add(17*time.Minute))
	if b = count("withdrawn", market.Interval1m, "regular", 5); b.TradeCount != 0 || !b.Volume.IsZero() || !b.Final {
		t.Errorf("withdrawn as %+v", b)
	}
	if len(h.signals) != 0 {
		t.Errorf("signals: %+v", h.signals[0])
	}
	feed(printAt("6", 0, "50", "100"))
	h.tick(t, end.Add(18*time.Minute))
	if b = count("there again", market.Interval1m, "regular", 6); b.TradeCount != 1 {
		t.Errorf("there again as %+v", b)
	}
}

// TestWhatNoBarCanHaveIsListed: prints outside of sessions, and revisions of prints that nobody told.
func TestWhatNoBarCanHaveIsListed(t *testing.T) {
	h := newHarness(t, DefaultConfig(), us(t))
	h.feed(t, 1, *printAt("1", 0, "50", "100"))
	h.feed(t, 2, *printAt("2", 11*time.Hour, "50", "100")) // 20:30 New York
	h.feed(t, 3, *cancelOf(printAt("never", 0, "50", "100"), time.Hour))
	end := time.Date(2026, 11, 21, 1, 15, 0, 0, time.UTC)
	h.tick(t, end)
	if len(h.signals) != 1 {
		t.Fatalf("%d signals", len(h.signals))
	}
	s := h.signals[0]
	if s.Name != signalSkipped || s.Symbol != "IREN" || s.Value.String() != "2" || s.Inputs[inputOutside] != "1" || s.Inputs[inputUnmatched] != "1" || s.Rev != 0 {
		t.Errorf("%+v", s)
	}
	// Restored, the same is not told again; the print that was missing comes.
	again := newHarness(t, DefaultConfig(), us(t))
	if err := again.restoreSignal(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	again.feed(t, 1, *printAt("1", 0, "50", "100"))
	again.feed(t, 2, *printAt("2", 11*time.Hour, "50", "100"))
	again.feed(t, 3, *cancelOf(printAt("never", 0, "50", "100"), time.Hour))
	again.tick(t, end.Add(time.Minute))
	if len(again.signals) != 0 {
		t.Errorf("told again: %+v", again.signals[0])
	}
	again.feed(t, 4, *printAt("never", 0, "50", "100"))
	again.tick(t, end.Add(2*time.Minute))
	if len(again.signals) != 1 || again.signals[0].Rev != 1 || again.signals[0].Value.String() != "1" {
		t.Errorf("settled: %+v", again.signals)
	}
}

// TestHostilePrints: sizes beyond all measure, circles of corrections, codes that nobody knows.
func TestHostilePrints(t *testing.T) {
	h := newHarness(t, DefaultConfig(), us(t))
	for i := range 200 {
		h.feed(t, i, *printAt(fmt.Sprint(i), 0, "9999999999", "9999999999"))
	}
	for i := range 60 {
		for j := range 60 {
			c := *printAt(fmt.Sprint("c", j), time.Hour, "50", "1")
			c.Action, c.OriginalID = market.TradeCorrection, fmt.Sprint("c", i)
			h.feed(t, 1000+i*60+j, c)
		}
	}
	for i := range 10_000 {
		x := *printAt(fmt.Sprint("u", i), time.Minute, "50", "1")
		x.Conditions = []string{fmt.Sprint("made up ", i)}
		h.feed(t, 10_000+i, x)
	}
	h.tick(t, time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC))
	for _, b := range h.bars {
		t.Errorf("a bar of what cannot be: %+v", b)
	}
	if n := len(h.rules["sim-alpaca"].cache); n > maxCached {
		t.Errorf("%d codes in memory", n)
	}
}

// TestRulesBySource: each source has its table; where it tells no usable conditions, the method says so.
func TestRulesBySource(t *testing.T) {
	cfg := DefaultConfig()
	for source, method := range map[string]string{
		"alpaca": "alpaca-conditions/1", "sim-alpaca": "alpaca-conditions/1", "rec-alpaca": "alpaca-conditions/1", "alpaca-sip": "alpaca-conditions/1",
		"massive": "massive-conditions/1", "sim-finnhub": "no-conditions/1", "whoever": "no-conditions/1",
	} {
		h := newHarness(t, cfg, us(t))
		for i, x := range []*market.Trade{printAt("1", 0, "50", "100"), printAt("2", time.Second, "60", "100")} {
			x.Source, x.Conditions = source, nil
			if i == 1 {
				x.Conditions = []string{"@", "I"} // an odd lot at Alpaca, nothing known at Massive
			}
			h.feed(t, i, *x)
		}
		h.tick(t, open.Add(2*time.Minute))
		b := h.of(market.Interval1m, "regular")[0]
		want := "50"
		if method == "no-conditions/1" {
			want = "60"
		}
		if b.Method != method || b.HighUSD.String() != want || b.Volume.String() != "200" || b.Source != source+"-prints" {
			t.Errorf("%s: %+v", source, b)
		}
	}
	for name, change := range map[string]func(*Config){
		"rules":         func(c *Config) { c.Rules = map[string]string{"sim-alpaca": "alpaca"} },
		"alpaca: \"x\"": func(c *Config) { c.Rules = map[string]string{"alpaca": "x"} },
		"calendar":      func(c *Config) { c.Calendar = "moon" },
		"intervals":     func(c *Config) { c.Bars.Intervals = []market.Interval{"1m", "1d", "7m"} },
		"check":         func(c *Config) { c.Bars.Intervals = []market.Interval{"1m", "5m"} },
		"retain":        func(c *Config) { c.Bars.Retain = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

// TestAgainstTheVenuesBars: equal bars say nothing; a difference is told once, with both sides, and settled when it is gone; nothing is said
// before both have stood for a while, and nothing of minutes with a gap.
func TestAgainstTheVenuesBars(t *testing.T) {
	ctx := context.Background()
	cfg := DefaultConfig()
	cfg.Bars.Intervals = []market.Interval{market.Interval1m, market.Interval1d}
	h := newHarness(t, cfg, us(t))
	theirs := func(start time.Time, rev uint32, closing, vwap string, now time.Duration) {
		t.Helper()
		dec := market.MustDecimal
		if err := h.own(ctx, &market.Bar{
			Meta: market.Meta{EventTime: start, RecvTime: start, Source: "sim-alpaca", Rev: rev}, Symbol: "IREN", Interval: market.Interval1m,
			OpenUSD: dec("50"), HighUSD: dec("51"), LowUSD: dec("50"), CloseUSD: dec(closing), Volume: dec("3"), VWAPUSD: dec(vwap), TradeCount: 2,
		}, open.Add(now)); err != nil {
			t.Fatal(err)
		}
	}
	minute := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	for n := range 4 {
		h.feed(t, n*2, *printAt(fmt.Sprint(n, "a"), minute(n), "50", "1"))
		h.feed(t, n*2+1, *printAt(fmt.Sprint(n, "b"), minute(n)+time.Second, "51", "2"))
	}
	h.gap(&market.FeedGap{Meta: market.Meta{Source: "sim-alpaca"}, GapID: "g", Symbol: "*", From: open.Add(minute(2) + 20*time.Second), To: open.Add(minute(2) + 30*time.Second), State: market.GapFilled})
	h.tick(t, open.Add(minute(4)+time.Second))
	theirs(open, 0, "51", "50.666667", minute(4))                  // 50.66666667 of ours: rounded
	theirs(open.Add(minute(1)), 0, "50.5", "50.666666", minute(4)) // another close
	theirs(open.Add(minute(2)), 0, "50.5", "50.666666", minute(4)) // in a gap
	h.tick(t, open.Add(minute(4)+30*time.Second))
	if len(h.signals) != 0 {
		t.Fatalf("told too soon: %+v", h.signals[0])
	}
	h.tick(t, open.Add(minute(5)))
	if len(h.signals) != 1 {
		t.Fatalf("%d signals", len(h.signals))
	}
	s := h.signals[0]
	if s.Name != "bar-difference" || !s.EventTime.Equal(open.Add(minute(1))) || s.Value.String() != "1" || s.Unit != "fields" || s.Inputs["ours.close_usd"] != "51" ||
		s.Inputs["vendor.close_usd"] != "50.5" || s.Source != "sim-alpaca-prints" {
		t.Errorf("%+v", s)
	}
	// The same again is no news, also after a restart.
	theirs(open.Add(minute(1)), 1, "50.5", "50.666666", minute(6))
	h.tick(t, open.Add(minute(7)))
	if len(h.signals) != 1 {
		t.Errorf("told again: %+v", h.signals[1])
	}
	again := newHarness(t, cfg, us(t))
	if err := again.restoreSignal(ctx, s); err != nil {
		t.Fatal(err)
	}
	for _, b := range h.books {
		for _, x := range again.books {
			if len(x.found) != 1 || x.found[barKey{min1, 3, open.Add(minute(1)).Unix()}] != b.found[barKey{min1, 3, open.Add(minute(1)).Unix()}] {
				t.Errorf("restored %+v, want %+v", x.found, b.found)
			}
		}
	}
	theirs(open.Add(minute(1)), 2, "51", "50.666666", minute(8))
	h.tick(t, open.Add(minute(9)))
	if len(h.signals) != 2 || h.signals[1].Rev != 1 || !h.signals[1].Value.IsZero() {
		t.Errorf("not settled: %+v", h.signals)
	}
}

// TestSecondThatWaitsHidesNothing: a late print whose second still waits for its next revision must reach the minute too, which was told in
// between. It did not: the second's own wait was taken for that of all bars of the print.
func TestSecondThatWaitsHidesNothing(t *testing.T) {
	h := newHarness(t, DefaultConfig(), us(t))
	place := 0
	for _, x := range []struct {
		print bool
		after time.Duration
	}{
		{true, 10 * time.Second}, {false, 12 * time.Second}, {false, 60500 * time.Millisecond},
		{true, 61 * time.Second}, {false, 61500 * time.Millisecond}, // the second's revision
		{true, 62 * time.Second}, {false, 65600 * time.Millisecond}, // the minute's; the second waits until 66.5
		{true, 65800 * time.Millisecond}, {false, 80 * time.Second},
	} {
		if x.print {
			place++
			h.feed(t, place, *printAt(fmt.Sprint(place), 10*time.Second, "50", "1"))
		} else {
			h.tick(t, open.Add(x.after))
		}
	}
	for _, i := range []market.Interval{market.Interval1s, market.Interval1m} {
		got := h.of(i, "regular")
		if b := got[len(got)-1]; b.TradeCount != 4 {
			t.Errorf("%s has %d of 4 prints", i, b.TradeCount)
		}
	}
}
