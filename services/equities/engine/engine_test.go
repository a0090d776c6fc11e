package engine

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dec(text string) market.Decimal { return market.MustDecimal(text) }

// silent is an upstream that never connects and has the history that it is told to have.
type silent struct {
	history History
	fetch   func(q Query, emit Emit) error
}

func (s *silent) Stream(ctx context.Context, _ *feed.Session, _ *Engine) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *silent) Fetch(_ context.Context, _ *Engine, q Query, emit Emit) error {
	if s.fetch == nil {
		return nil
	}
	return s.fetch(q, emit)
}

func (s *silent) History() History { return s.history }

func newEngine(t testing.TB, mem *feedtest.Memory, up Upstream, edit func(*Config)) *Engine {
	t.Helper()
	cal, err := session.US()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Source: "test", Symbols: []string{"IREN", "CORZ"}, Calendar: cal, Backfill: DefaultBackfill(), Stale: DefaultStale()}
	if edit != nil {
		edit(&cfg)
	}
	e, err := New(cfg, up, feed.Deps{Sink: mem, History: mem, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newYork(t testing.TB) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func bar(interval market.Interval, closing string, final bool) *market.Bar {
	return &market.Bar{
		Meta: market.Meta{EventTime: time.Unix(1_764_000_000, 0)}, Symbol: "IREN", Interval: interval, OpenUSD: dec("1"), HighUSD: dec("9"), LowUSD: dec("1"),
		CloseUSD: dec(closing), Volume: dec("100"), Final: final,
	}
}

func TestBarsAreRevised(t *testing.T) {
	t0 := time.Now()
	r := newRevisions()
	for i, c := range []struct {
		b    *market.Bar
		asOf time.Time
		news bool
		rev  uint32
		why  string
	}{
		{bar("1m", "5", false), t0, true, 0, "the first"},
		{bar("1m", "5.00", false), t0.Add(1), false, 0, "the same, written otherwise"},
		{bar("1m", "6", false), t0.Add(2), true, 1, "an update"},
		{bar("1m", "5", false), t0.Add(1), false, 0, "a page asked for before the update"},
		{bar("1m", "6", true), t0.Add(3), false, 0, "a minute is final: no news"},
		{bar("1m", "5", true), t0.Add(4), true, 2, "a real correction back"},
		{bar("1d", "5", false), t0, true, 0, "a day that runs"},
		{bar("1d", "5", true), t0.Add(1), true, 1, "and is over"},
		{bar("1d", "5", false), t0.Add(2), false, 0, "it does not run again"},
		{bar("1d", "5", true), t0.Add(3), false, 0, "nothing new"},
	} {
		if got := r.next(c.b, c.asOf); got != c.news || got && c.b.Rev != c.rev {
			t.Errorf("%d, %s: news %v, rev %d, want %v, %d", i, c.why, got, c.b.Rev, c.news, c.rev)
		}
	}
}

func TestRevisionsGoOnAfterARestart(t *testing.T) {
	r := newRevisions()
	old := bar("1m", "6", false)
	old.Rev, old.RecvTime = 4, time.Now()
	r.restore(old)
	older := bar("1m", "5", false)
	older.Rev = 3
	r.restore(older) // out of order: the greater revision stands
	if same := bar("1m", "6", false); r.next(same, time.Now()) {
		t.Error("what was published is told again")
	}
	if changed := bar("1m", "7", false); !r.next(changed, time.Now()) || changed.Rev != 5 {
		t.Errorf("the next revision is %d, want 5", changed.Rev)
	}
}

func TestRevisionsAreBounded(t *testing.T) {
	r := newRevisions()
	r.n = 10
	for i := range 1000 {
		b := bar("1m", "5", false)
		b.EventTime = b.EventTime.Add(time.Duration(i) * time.Minute)
		r.next(b, time.Now())
	}
	if len(r.now)+len(r.old) > 20 {
		t.Errorf("%d bars are kept", len(r.now)+len(r.old))
	}
}

// Mute is not quiet: silence counts while a session is open, from its opening on.
func TestStalenessGoesBySession(t *testing.T) {
	s := newEngine(t, feedtest.NewMemory(), &silent{}, nil)
	stale := s.policy().Stale
	for clock, want := range map[string]time.Duration{
		"2026-11-22 12:00": 0,                // Sunday
		"2026-11-23 03:00": 0,                // night, old regime
		"2026-11-23 04:05": 0,                // just opened: the silence was the night's
		"2026-11-23 04:20": 15 * time.Minute, // before the opening
		"2026-11-23 09:30": 0,                // just opened
		"2026-11-23 11:00": time.Minute,
		"2026-11-23 17:00": 15 * time.Minute,
		"2026-11-26 11:00": 0, // Thanksgiving
		"2026-11-27 14:00": 15 * time.Minute,
		"2026-12-07 23:30": time.Hour, // the night session
		"2026-12-07 20:30": 0,         // the pause before it
	} {
		at, err := time.ParseInLocation("2006-01-02 15:04", clock, newYork(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := stale(at); got != want {
			t.Errorf("at %s in New York silence of %s is in order, want %s", clock, got, want)
		}
	}
	at := time.Date(2026, 11, 27, 18, 30, 0, 0, time.UTC) // half past one after the early close at one; the day ends at five
	if got, want := s.nextFinal(at), time.Date(2026, 11, 27, 22, 16, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("the daily bars are final at %s, want %s", got, want)
	}
	at = time.Date(2026, 11, 27, 22, 10, 0, 0, time.UTC) // between the end and then
	if got, want := s.nextFinal(at), time.Date(2026, 11, 27, 22, 16, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("the daily bars are final at %s, want %s", got, want)
	}
}

func TestHolesNearEachOtherAreOneQuery(t *testing.T) {
	base := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	gap := func(id string, from, to int, reason string) market.FeedGap {
		return market.FeedGap{GapID: id, From: base.Add(time.Duration(from) * time.Minute), To: base.Add(time.Duration(to) * time.Minute), Reason: reason}
	}
	j := newJobs()
	j.connected([]market.FeedGap{
		gap("far", 300, 301, "lost"), gap("a", 0, 1, "lost"), gap("b", 3, 4, "stale"), gap("history", -5, 400, reasonHistory),
	}, base, time.Second, 0)
	j.connected([]market.FeedGap{gap("a", 0, 1, "lost")}, base, time.Second, 0) // a second connection, the same hole
	if batch, pause, _ := j.take(base); len(batch) != 0 || pause != time.Second {
		t.Errorf("%d jobs before the history has caught up, pause %s", len(batch), pause)
	}
	var got []string
	for {
		batch, _, done := j.take(base.Add(time.Second))
		if done || len(batch) == 0 {
			break
		}
		ids := ""
		for _, x := range batch {
			ids += " " + x.gap.GapID
		}
		got = append(got, ids)
	}
	if want := " history, a b, far"; strings.Join(got, ",") != want {
		t.Errorf("batches%s, want%s", strings.Join(got, ","), want)
	}
	j.finish()
	if _, _, done := j.take(base); !done {
		t.Error("the worker would not end")
	}
}

func TestUsedUpMinuteIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newEngine(t, feedtest.NewMemory(), &silent{}, nil)
		begin := time.Now()
		for reset, want := range map[string]time.Duration{"0": 0, "": 0, "junk": 0} {
			if err := s.keepRate(t.Context(), http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {reset}}); err != nil || time.Since(begin) != want {
				t.Errorf("reset %q: waited %s, %v", reset, time.Since(begin), err)
			}
		}
		in := time.Now().Add(30 * time.Second).Truncate(time.Second)
		if err := s.keepRate(t.Context(), http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {strconv.FormatInt(in.Unix(), 10)}}); err != nil || !time.Now().Equal(in) {
			t.Errorf("waited until %s, want %s, %v", time.Now(), in, err)
		}
	})
}

func TestBeginningsOfHistory(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-01": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "2026-11-01T09:30:00-05:00": time.Date(2026, 11, 1, 14, 30, 0, 0, time.UTC),
		"24h": time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), "": {},
	} {
		if got, err := run.ParseTime(text, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)); err != nil || !got.Equal(want) {
			t.Errorf("%q is %s, %v, want %s", text, got, err, want)
		}
	}
}
