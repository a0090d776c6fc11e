package signals

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
)

func us(t testing.TB) session.Calendar {
	t.Helper()
	cal, err := session.US()
	if err != nil {
		t.Fatal(err)
	}
	return cal
}

func alpacaRules(t testing.TB) *Rules {
	t.Helper()
	r, err := NewRules("alpaca")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// harness is an engine with what it told.
type harness struct {
	*engine
	bars    []*market.Bar
	signals []*market.Signal
}

func newHarness(t testing.TB, cfg Config, cal session.Calendar) *harness {
	h := &harness{}
	h.engine = newEngine(cfg, cal, NewMetrics(nil), func(_ context.Context, ev market.Event) error {
		switch ev := ev.(type) {
		case *market.Bar:
			h.bars = append(h.bars, ev)
		case *market.Signal:
			h.signals = append(h.signals, ev)
		}
		return ev.Validate()
	})
	return h
}

func (h *harness) feed(t testing.TB, order int, x market.Trade) {
	t.Helper()
	if err := h.trade(context.Background(), &x, uint64(order)); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) tick(t testing.TB, now time.Time) {
	t.Helper()
	if err := h.flush(context.Background(), now); err != nil {
		t.Fatal(err)
	}
}

// last revision of each bar, those that were withdrawn left out; each must be told in the order of its revisions.
func lastOf(t testing.TB, bars []*market.Bar) map[string]market.Bar {
	t.Helper()
	out, revs := map[string]market.Bar{}, map[string]uint32{}
	for _, b := range bars {
		name := fmt.Sprint(b.Symbol, b.Interval, b.Session, b.EventTime.Unix())
		if want, before := revs[name]; before && b.Rev != want+1 || !before && b.Rev != 0 {
			t.Fatalf("bar %s has revision %d after %d (%v)", name, b.Rev, want, before)
		}
		revs[name] = b.Rev
		if b.TradeCount == 0 {
			delete(out, name)
			continue
		}
		out[name] = *b
	}
	return out
}

// sameBars compares what was told with what Build makes.
func sameBars(t testing.TB, what string, got map[string]market.Bar, want []market.Bar, symbol string, final bool) {
	t.Helper()
	left := map[string]bool{}
	for n := range got {
		left[n] = true
	}
	for _, w := range want {
		name := fmt.Sprint(symbol, w.Interval, w.Session, w.EventTime.Unix())
		g, ok := got[name]
		if !ok {
			t.Fatalf("%s: bar %s is missing: %+v", what, name, w)
		}
		delete(left, name)
		a, b := line(g), line(w)
		if a != b {
			t.Fatalf("%s: bar %s is\n%s, want\n%s", what, name, a, b)
		}
		if final && !g.Final {
			t.Fatalf("%s: bar %s is not final", what, name)
		}
	}
	if len(left) > 0 {
		t.Fatalf("%s: %d bars too many: %v", what, len(left), left)
	}
}

func line(b market.Bar) string {
	return fmt.Sprint(b.OpenUSD.Trim(0), " ", b.HighUSD.Trim(0), " ", b.LowUSD.Trim(0), " ", b.CloseUSD.Trim(0), " ", b.Volume.Trim(0), " ", b.VWAPUSD.Trim(0), " ",
		b.TradeCount, " ", b.TradeDate, " ", b.Method)
}

// drawTape draws prints about the closes and openings of two trade dates, with everything that may happen to them: late, doubled, corrected (to
// another id, to the same, again, in a circle), cancelled, before their print, equal times, outside of sessions.
func drawTape(rt *rapid.T, loc *time.Location) []market.Trade {
	bases := []time.Time{
		time.Date(2026, 12, 7, 21, 0, 0, 0, loc), time.Date(2026, 12, 7, 23, 59, 50, 0, loc), time.Date(2026, 12, 8, 3, 59, 55, 0, loc),
		time.Date(2026, 12, 8, 9, 29, 50, 0, loc), time.Date(2026, 12, 8, 15, 59, 50, 0, loc), time.Date(2026, 12, 8, 19, 59, 55, 0, loc),
		time.Date(2026, 12, 8, 21, 0, 0, 0, loc),
	}
	codes := []string{"@", "@", "@", "I", "T", "Z", "Q", "M", "9", "P", "W", "4", "U", "?", "F"}
	when := rapid.Custom(func(rt *rapid.T) time.Time {
		ms := rapid.IntRange(0, 40).Draw(rt, "ms") * 500
		return rapid.SampledFrom(bases).Draw(rt, "base").Add(time.Duration(ms) * time.Millisecond).UTC()
	})
	ids := rapid.IntRange(1, 30)
	n := rapid.IntRange(1, 60).Draw(rt, "n")
	var out []market.Trade
	for range n {
		at := when.Draw(rt, "at")
		x := market.Trade{
			Meta: market.Meta{EventTime: at, RecvTime: at, Source: "alpaca"}, Action: market.TradeNew, Symbol: "IREN", Exchange: rapid.SampledFrom([]string{"Q", "D"}).Draw(rt, "x"),
			Tape: "C", ID: fmt.Sprint(ids.Draw(rt, "id")), Sequence: uint64(rapid.IntRange(0, 3).Draw(rt, "seq")),
			PriceUSD:   market.MustDecimal(fmt.Sprintf("%d.%02d", rapid.IntRange(40, 42).Draw(rt, "usd"), rapid.IntRange(0, 3).Draw(rt, "cents"))),
			SizeShares: market.MustDecimal(rapid.SampledFrom([]string{"1", "99", "100", "0.5", "300.000001"}).Draw(rt, "size")),
		}
		for range rapid.IntRange(0, 2).Draw(rt, "codes") {
			x.Conditions = append(x.Conditions, rapid.SampledFrom(codes).Draw(rt, "code"))
		}
		switch rapid.IntRange(0, 9).Draw(rt, "what") {
		case 0, 1:
			x.Action, x.Conditions = market.TradeCancel, nil
		case 2, 3, 4:
			x.Action, x.OriginalID = market.TradeCorrection, fmt.Sprint(ids.Draw(rt, "original"))
		}
		out = append(out, x)
		if rapid.IntRange(0, 9).Draw(rt, "double") == 0 {
			out = append(out, x)
		}
	}
	return out
}

// TestEngineEqualsBuild: after every print the engine's bars are those that Build makes of all prints so far, whatever came in which order,
// and told late or soon.
func TestEngineEqualsBuild(t *testing.T) {
	t.Parallel()
	cal, rules := us(t), alpacaRules(t)
	loc, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Bars.Intervals = append(cfg.Bars.Intervals, "15s", "30m", "4h")
	cfg.Bars.Retain = 5
	rapid.Check(t, func(rt *rapid.T) {
		prints := drawTape(rt, loc)
		h := newHarness(t, cfg, cal)
		now := time.Date(2026, 12, 9, 12, 0, 0, 0, time.UTC)
		if rapid.Bool().Draw(rt, "early") {
			// Bars are told as the day goes on.
			now = rapid.SampledFrom([]time.Time{
				time.Date(2026, 12, 8, 2, 0, 0, 0, time.UTC), time.Date(2026, 12, 8, 2, 1, 1, 0, time.UTC), time.Date(2026, 12, 8, 5, 0, 5, 0, time.UTC),
				time.Date(2026, 12, 8, 14, 30, 0, 0, time.UTC), time.Date(2026, 12, 9, 1, 14, 55, 0, time.UTC),
			}).Draw(rt, "now")
		}
		for i, x := range prints {
			h.feed(t, i, x)
			if rapid.IntRange(0, 3).Draw(rt, "tick") == 0 {
				now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 2, 4, 6, 30, 7200}).Draw(rt, "later")) * time.Second)
				h.tick(t, now)
			}
		}
		h.tick(t, now.Add(100*time.Hour))
		h.tick(t, now.Add(101*time.Hour))
		want := Build(prints, rules, cal, cfg.Bars.Intervals)
		sameBars(t, "final", lastOf(t, h.bars), want, "IREN", true)
		before := len(h.bars)
		h.tick(t, now.Add(102*time.Hour))
		if len(h.bars) != before {
			rt.Fatalf("%d bars were told again although nothing had changed", len(h.bars)-before)
		}
		// Not in memory any more, and read back from what was told: the same again, and nothing to tell.
		again := newHarness(t, cfg, cal)
		for _, b := range h.bars {
			if err := again.restore(context.Background(), b); err != nil {
				t.Fatal(err)
			}
		}
		for i, x := range prints {
			again.feed(t, i, x)
		}
		again.tick(t, now.Add(103*time.Hour))
		for _, b := range again.bars {
			if b.TradeCount > 0 {
				rt.Fatalf("after a restart %+v was told again", b)
			}
		}
	})
}

// TestOrderDoesNotMatter: prints with times of their own make the same bars in whatever order they come.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	cal, rules := us(t), alpacaRules(t)
	loc, _ := time.LoadLocation("America/New_York")
	rapid.Check(t, func(rt *rapid.T) {
		prints := drawTape(rt, loc)
		seen := map[string]bool{}
		produced := map[string]bool{}
		prints = slices.DeleteFunc(prints, func(x market.Trade) bool {
			if x.Action == market.TradeCorrection {
				original := fmt.Sprint("of", x.Exchange, x.OriginalID)
				if x.OriginalID == x.ID || produced[original] {
					return true
				}
				produced[original] = true
			}
			// Each print is told once and made once: which of two tellings counts is the order's to say.
			name := fmt.Sprint(x.Exchange, x.ID)
			if x.Action != market.TradeCancel {
				if produced[name] {
					return true
				}
				produced[name] = true
			}
			if seen[x.Identity()] {
				return true
			}
			seen[x.Identity()] = true
			return false
		})
		for i := range prints {
			prints[i].Sequence = uint64(i + 1)
		}
		shuffled := slices.Clone(prints)
		for i := len(shuffled) - 1; i > 0; i-- {
			j := rapid.IntRange(0, i).Draw(rt, "j")
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		}
		render := func(list []market.Trade) string {
			var out []string
			for _, b := range Build(list, rules, cal, DefaultConfig().Bars.Intervals) {
				out = append(out, fmt.Sprint(b.Interval, b.Session, b.EventTime.Unix(), line(b)))
			}
			slices.Sort(out)
			return strings.Join(out, "\n")
		}
		if a, b := render(prints), render(shuffled); a != b {
			rt.Fatalf("in order:\n%s\nshuffled:\n%s", a, b)
		}
	})
}
