package complete_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

var policy = complete.Policy{Settle: 20 * time.Minute, InputsWithin: 2 * time.Hour}

// whole is a half day, 27 November 2026, of which nothing is missing.
func whole(t *testing.T) complete.Facts {
	t.Helper()
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	end := time.Date(2026, 11, 27, 22, 0, 0, 0, time.UTC)
	return complete.Facts{
		Date: session.Date{Year: 2026, Month: time.November, Day: 27}, Now: end.Add(6 * time.Hour), TradeDate: true, Known: true, HalfDay: true,
		Begin: begin, End: end, RegularClose: time.Date(2026, 11, 27, 18, 0, 0, 0, time.UTC), Zone: zone,
		Feeds: []complete.Feed{
			{Source: "alpaca", OnThatDay: true, State: "connected", Since: begin.Add(-time.Hour)},
			{Source: "vast", OnThatDay: true, State: "lost", Since: end.Add(time.Minute)},
			{Source: "old", State: "stopped", Since: begin.Add(-time.Hour)},
		},
		Leases: []complete.Lease{{Service: "equities", Held: true, Renewed: end.Add(time.Hour)}, {Service: "hashprice", Released: true, Renewed: begin.Add(time.Hour)}},
		Gaps:   []complete.Gap{{Source: "alpaca", Symbol: "*", State: "filled", From: begin, To: begin.Add(time.Minute)}},
		Bars:   []complete.Bars{{Source: "alpaca-prints", Interval: "1d", Final: 4, Finalises: true}},
		Streams: []complete.Stream{
			{Name: "TRADES", Target: 10, Through: 12}, {Name: "HALTS"},
		},
		Hashprice: 1, Rates: complete.Rates{Count: 3}, Audit: &complete.Audit{Clean: true},
	}
}

func TestWhole(t *testing.T) {
	f := whole(t)
	v := complete.Judge(f, policy)
	if !v.Complete() || len(v.Missing()) != 0 || len(v.Notes()) != 0 || v.OnlyAudit(f) {
		t.Errorf("verdict %+v", v)
	}
	if why := v.Items[0].Why; !strings.Contains(why, "half day: the regular session closes at 2026-11-27 13:00 EST") || !strings.Contains(why, "17:00 EST") {
		t.Errorf("the half day is told as %q", why)
	}
	var checks []string
	for _, i := range v.Items {
		checks = append(checks, i.Check)
	}
	if want := []string{"calendar", "feeds", "services", "gaps", "bars", "landed", "hashprice", "gpu rates", "audit"}; !slices.Equal(checks, want) {
		t.Errorf("checks %v", checks)
	}
}

// Each thing that can be missing hinders, and is named; what cannot be had any more is noted and does not hinder.
func TestWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*complete.Facts)
		check  string
		met    bool
		note   bool
		words  []string
	}{
		{"holiday", func(f *complete.Facts) { f.TradeDate = false }, "calendar", false, false, []string{"2026-11-27 is no trade date"}},
		{"not ended", func(f *complete.Facts) { f.Now = f.End.Add(-time.Second) }, "calendar", false, false, []string{"ends at 2026-11-27 17:00 EST"}},
		{"at its end", func(f *complete.Facts) { f.Now = f.End }, "calendar", false, false, []string{"late prints are waited for until 2026-11-27 17:20 EST"}},
		{"settled", func(f *complete.Facts) { f.Now = f.End.Add(policy.Settle) }, "calendar", true, false, []string{"ended"}},
		{"unknown year", func(f *complete.Facts) { f.Known = false }, "calendar", true, true, []string{"holidays of 2026 are not in the calendar"}},
		{"a feed that was lost", func(f *complete.Facts) {
			f.Feeds[1].Since, f.Feeds[1].Detail = f.End.Add(-time.Hour), "connection reset"
		}, "feeds", false, false, []string{"vast is lost since 2026-11-27 16:00 EST, before the end", "connection reset"}},
		{"a feed that was refused", func(f *complete.Facts) { f.Feeds[0].State, f.Feeds[0].Since = "refused", f.End.Add(-time.Nanosecond) }, "feeds", false, false, []string{"alpaca is refused"}},
		{"a feed that ended at the end", func(f *complete.Facts) { f.Feeds[0].State, f.Feeds[0].Since = "stopped", f.End }, "feeds", true, false, []string{"0 are connected past the end, 2 ended after it"}},
		{"no feed", func(f *complete.Facts) { f.Feeds = f.Feeds[2:] }, "feeds", true, true, []string{"loaded from history"}},
		{"a feed that was away", func(f *complete.Facts) { f.Feeds[2].State = "refused" }, "feeds", true, true, []string{"old was not on: refused since"}},
		{"a service that was killed", func(f *complete.Facts) { f.Leases[0].Held, f.Leases[0].Renewed = false, f.Begin.Add(time.Hour) }, "services", false, false, []string{"equities gave its last sign of life at 2026-11-27 05:00 EST"}},
		{"a service that was killed later", func(f *complete.Facts) { f.Leases[0].Held = false }, "services", true, false, nil},
		{"a service that was killed long before", func(f *complete.Facts) { f.Leases[0].Held, f.Leases[0].Renewed = false, f.Begin.Add(-time.Hour) }, "services", true, false, nil},
		{"an open gap", func(f *complete.Facts) {
			f.Gaps = append(f.Gaps, complete.Gap{Source: "alpaca", Symbol: "IREN", State: "open", From: f.Begin, Reason: "mute"})
		}, "gaps", false, false, []string{"alpaca IREN from 2026-11-27 04:00 EST to an open end is open (mute)"}},
		{"a gap of no known begin", func(f *complete.Facts) {
			f.Gaps = append(f.Gaps, complete.Gap{Source: "x", Symbol: "*", State: "open", To: f.End})
		}, "gaps", false, false, []string{"from an unknown time to 2026-11-27 17:00 EST"}},
		{"gaps that were given up", func(f *complete.Facts) {
			f.Gaps = append(f.Gaps, complete.Gap{State: "given_up"}, complete.Gap{State: "partly"})
		}, "gaps", true, true, []string{"1 were filled, 1 partly, 1 given up"}},
		{"no gaps", func(f *complete.Facts) { f.Gaps = nil }, "gaps", true, false, []string{"none"}},
		{"provisional bars", func(f *complete.Facts) {
			f.Bars[0].Provisional, f.Bars[0].Symbols = 2, []string{"IREN"}
		}, "bars", false, false, []string{"2 of 6 bars of alpaca-prints, 1d, are not final (IREN)"}},
		{"no bars", func(f *complete.Facts) { f.Bars = nil }, "bars", false, false, []string{"there is none of the date"}},
		{"bars that are never final", func(f *complete.Facts) {
			f.Bars = append(f.Bars, complete.Bars{Source: "finnhub", Interval: "1m", Provisional: 9})
		}, "bars", true, true, []string{"4 are final; never said to be: finnhub 1m"}},
		{"only bars that are never final", func(f *complete.Facts) {
			f.Bars = []complete.Bars{{Source: "finnhub", Interval: "1m", Provisional: 9}}
		}, "bars", true, true, []string{"nobody says"}},
		{"a lander that is behind", func(f *complete.Facts) { f.Streams[0].Through = 9 }, "landed", false, false, []string{"TRADES has landed through 9 of 10"}},
		{"a lander of another life", func(f *complete.Facts) { f.Streams[1].Trouble = "made again" }, "landed", false, false, []string{"HALTS: made again"}},
		{"no stream", func(f *complete.Facts) { f.Streams = nil }, "landed", false, false, nil},
		{"no hashprice yet", func(f *complete.Facts) { f.Hashprice, f.Now = 0, f.End.Add(time.Hour) }, "hashprice", false, false, []string{"no daily hashprice of 2026-11-27", "waited for until"}},
		{"no hashprice", func(f *complete.Facts) { f.Hashprice = 0 }, "hashprice", true, true, []string{"not waited for any more"}},
		{"no rates yet", func(f *complete.Facts) { f.Rates, f.Now = complete.Rates{}, f.End.Add(time.Hour) }, "gpu rates", false, false, []string{"no on-demand rate of 2026-11-27"}},
		{"no rate of one", func(f *complete.Facts) { f.Rates.Missing = []string{"h200"} }, "gpu rates", true, true, []string{"h200"}},
		{"no audit", func(f *complete.Facts) { f.Audit = nil }, "audit", false, false, []string{"not made yet"}},
		{"an audit that is not clean", func(f *complete.Facts) {
			f.Audit = &complete.Audit{Lost: 3, Duplicates: 1, Streams: []string{"BARS"}}
		}, "audit", false, false, []string{"lost 3, doubled 1 in BARS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := whole(t)
			c.change(&f)
			v := complete.Judge(f, policy)
			i := slices.IndexFunc(v.Items, func(i complete.Item) bool { return i.Check == c.check })
			if i < 0 {
				t.Fatalf("no check %s in %+v", c.check, v)
			}
			got := v.Items[i]
			if got.Met != c.met || got.Note != c.note {
				t.Errorf("%+v", got)
			}
			for _, w := range c.words {
				if !strings.Contains(got.Why, w) {
					t.Errorf("%q does not say %q", got.Why, w)
				}
			}
			if !c.met && (v.Complete() || len(v.Missing()) == 0) {
				t.Errorf("complete all the same: %+v", v)
			}
			if c.met && !v.Complete() {
				t.Errorf("hinders: %v", v.Missing())
			}
			if c.note && len(v.Notes()) == 0 {
				t.Error("is not noted")
			}
		})
	}
}

// Only the audit is missing: then, and only then, it is worth its cost.
func TestOnlyAudit(t *testing.T) {
	f := whole(t)
	f.Audit = nil
	if v := complete.Judge(f, policy); !v.OnlyAudit(f) || v.Complete() {
		t.Errorf("%+v", v)
	}
	f.Bars = nil
	if complete.Judge(f, policy).OnlyAudit(f) {
		t.Error("bars are missing too")
	}
	if (complete.Verdict{}).Complete() {
		t.Error("an empty verdict is complete")
	}
}

// A sentence stays a sentence whatever there is to name.
func TestListsAreBounded(t *testing.T) {
	f := whole(t)
	for range 1000 {
		f.Gaps = append(f.Gaps, complete.Gap{Source: "x", Symbol: "*", State: "open", Reason: strings.Repeat("r", 5000)})
	}
	if why := complete.Judge(f, policy).Items[3].Why; len(why) > 2000 || !strings.Contains(why, "and 995 more") {
		t.Errorf("%d bytes: %.300s", len(why), why)
	}
}
