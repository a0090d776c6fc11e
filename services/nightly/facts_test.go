package nightly

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

// The calendar's half day, and what each table says of it.
func testFacts(t *testing.T, w *world) {
	d := date(2025, time.November, 28) // the day after Thanksgiving
	s := w.service(func(c *Config) { c.Calendar = "us" })
	day := s.cal.day(d)
	if !day.half || !day.known || !day.end.Equal(time.Date(2025, 11, 28, 22, 0, 0, 0, time.UTC)) || !day.regularClose.Equal(time.Date(2025, 11, 28, 18, 0, 0, 0, time.UTC)) {
		t.Errorf("half day %+v", day)
	}
	if x := s.cal.day(date(2025, time.November, 27)); x.is {
		t.Error("Thanksgiving is a trade date")
	}
	if x := s.cal.day(date(2025, time.November, 26)); !x.is || x.half {
		t.Errorf("the day before Thanksgiving is %+v", x)
	}
	if got := s.cal.ended(day.end.Add(-time.Second), 2); !slices.Equal(got, []session.Date{date(2025, time.November, 25), date(2025, time.November, 26)}) {
		t.Errorf("ended before the end: %v", got)
	}
	if got := s.cal.ended(day.end, 1); !slices.Equal(got, []session.Date{d}) {
		t.Errorf("ended at the end: %v", got)
	}
	judge := func(audit bool) (complete.Facts, complete.Verdict) {
		t.Helper()
		f, err := s.Observe(t.Context(), d, audit)
		if err != nil {
			t.Fatal(err)
		}
		return f, s.Judge(f)
	}
	w.setNow(day.end.Add(6 * time.Hour))
	w.publish(
		state("sim-half", market.FeedConnected, day.begin.Add(time.Hour)), state("sim-half", market.FeedLost, day.end.Add(-time.Minute)),
		bar(d, false, 0), &market.Bar{Meta: meta("sim-alpaca", time.Date(2025, 11, 28, 5, 0, 0, 0, time.UTC)), Symbol: "IREN", Interval: market.Interval1d, OpenUSD: one("50"), HighUSD: one("51"),
			LowUSD: one("49"), CloseUSD: one("50"), Volume: one("100")},
	)
	w.land()
	f, v := judge(true)
	if !f.HalfDay || !strings.Contains(v.Items[0].Why, "half day: the regular session closes at 2025-11-28 13:00 EST, the last session ended at 2025-11-28 17:00 EST") {
		t.Errorf("calendar %+v", v.Items[0])
	}
	missing := strings.Join(v.Missing(), "\n")
	for _, want := range []string{"feeds: sim-half is lost since", "bars: 1 of 1 bars of sim-alpaca-prints, 1d, are not final (IREN)"} {
		if !strings.Contains(missing, want) {
			t.Errorf("missing %q does not say %q", missing, want)
		}
	}
	for _, want := range []string{"never said to be: sim-alpaca 1d", "hashprice: there is no daily hashprice of 2025-11-28, and is not waited for any more"} {
		// Bars are unmet, so only what is met can be noted.
		if strings.HasPrefix(want, "hashprice") && !strings.Contains(strings.Join(v.Notes(), "\n"), want) {
			t.Errorf("notes %q do not say %q", v.Notes(), want)
		}
	}
	final := bar(d, true, 1)
	w.publish(final, state("sim-half", market.FeedConnected, day.end.Add(time.Minute)), hashpriceOf(d), rateOf(d, "h100-sxm"))
	w.land()
	if f, v = judge(false); !v.OnlyAudit(f) {
		t.Errorf("missing %q", v.Missing())
	}
	if notes := strings.Join(v.Notes(), "\n"); !strings.Contains(notes, "never said to be: sim-alpaca 1d") {
		t.Errorf("notes %q", notes)
	}
	// A service that was killed and is followed by nobody.
	lease := w.bus.Lease("equities", "test", 500*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	held, done := make(chan struct{}), make(chan error, 1)
	hold := sync.OnceFunc(func() { close(held) }) // on a busy machine the lease is lost and taken again
	go func() {
		done <- lease.Hold(ctx, func(ctx context.Context) error { hold(); <-ctx.Done(); return nil })
	}()
	<-held
	if _, v = judge(true); !v.Complete() {
		t.Errorf("missing while the lease is held: %q", v.Missing())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
