package feed_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

func newFeed(t testing.TB, mem *feedtest.Memory, edit func(*feed.Config)) *feed.Feed {
	t.Helper()
	cfg := feed.Config{Source: "test", Sink: mem, History: mem}
	if edit != nil {
		edit(&cfg)
	}
	f, err := feed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func trade(id string, at time.Time) *market.Trade {
	return &market.Trade{
		Meta: market.Meta{EventTime: at}, Action: market.TradeNew, Symbol: "IREN", ID: id, Exchange: "V",
		PriceUSD: market.MustDecimal("36.8"), SizeShares: market.MustDecimal("100"),
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []feed.Config{{Sink: feedtest.NewMemory()}, {Source: "x"}} {
		if _, err := feed.New(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}

func TestSeenForgetsTheOldestOnly(t *testing.T) {
	s := feed.NewSeen(100)
	for i := range 1000 {
		if !s.Add([]byte(fmt.Sprint(i))) {
			t.Fatalf("%d is known before it came", i)
		}
		for back := range min(i, 100) {
			if !s.Has([]byte(fmt.Sprint(i - back))) {
				t.Fatalf("%d is forgotten after %d others", i-back, back)
			}
		}
	}
	if s.Has([]byte("0")) || s.Has([]byte("700")) {
		t.Error("memory is not bounded")
	}
	if s.Add([]byte("999")) {
		t.Error("the newest is taken for new")
	}
	// An old one that is told again is known, and from then on as young as the newest.
	if s.Add([]byte("950")) {
		t.Error("950 is taken for new")
	}
	for i := range 99 {
		s.Add([]byte(fmt.Sprint("x", i)))
	}
	if !s.Has([]byte("950")) {
		t.Error("950 was told again and forgotten")
	}
}

// TestSeenIsASet: against a map, with removals, which move what was pushed on by them.
func TestSeenIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, want := feed.NewSeen(1<<20), map[int]bool{}
		for range rapid.IntRange(0, 5000).Draw(t, "steps") {
			n := rapid.IntRange(0, 700).Draw(t, "n")
			id := []byte(strconv.Itoa(n))
			if rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				s.Remove(id)
				delete(want, n)
			} else if s.Add(id) == want[n] {
				t.Fatalf("%d: added as new and it is known: %v", n, want[n])
			} else {
				want[n] = true
			}
		}
		for n := range 701 {
			if s.Has([]byte(strconv.Itoa(n))) != want[n] {
				t.Fatalf("%d: remembered %v, want %v", n, !want[n], want[n])
			}
		}
	})
}

func TestEmitPublishesOnce(t *testing.T) {
	mem := feedtest.NewMemory()
	f := newFeed(t, mem, nil)
	now := time.Now()
	whole := now.Truncate(time.Microsecond).Add(time.Millisecond)
	for i, want := range []bool{true, false} {
		ev := trade("1", now)
		ev.RecvTime = whole.Add(999)
		fresh, err := f.Emit(t.Context(), ev, "stream", nil)
		if err != nil || fresh != want {
			t.Errorf("telling %d: fresh %v, %v", i, fresh, err)
		}
	}
	if !f.Has(withSource(trade("1", now))) || f.Has(withSource(trade("2", now))) {
		t.Error("Has does not tell what was published")
	}
	if !f.LastEventTime().Equal(now) {
		t.Errorf("last event at %s, want %s", f.LastEventTime(), now)
	}
	got := feedtest.Of[*market.Trade](mem)
	if len(got) != 1 || got[0].Source != "test" || !got[0].RecvTime.Equal(whole) { // whole microseconds, cut and not rounded
		t.Errorf("published %+v", got)
	}
}

func withSource(tr *market.Trade) *market.Trade {
	tr.Source = "test"
	return tr
}

func TestEmitKeepsWhatItRefuses(t *testing.T) {
	mem := feedtest.NewMemory()
	f := newFeed(t, mem, nil)
	bad := trade("1", time.Now())
	bad.PriceUSD = market.MustDecimal("-1")
	future := trade("2", time.Now().Add(time.Hour))
	for _, ev := range []*market.Trade{bad, future} {
		if fresh, err := f.Emit(t.Context(), ev, "stream", []byte("the frame")); fresh || err != nil {
			t.Errorf("%+v: %v, %v", ev, fresh, err)
		}
	}
	dead := feedtest.Of[*market.DeadLetter](mem)
	if len(dead) != 2 || dead[0].Reason != market.ReasonPrice || dead[1].Reason != market.ReasonFuture || string(dead[0].Payload) != "the frame" || dead[0].Subject != "stream" {
		t.Errorf("dead letters %+v", dead)
	}
	// A bad event must not hide the good one of the same identity.
	if fresh, err := f.Emit(t.Context(), trade("1", time.Now()), "stream", nil); !fresh || err != nil {
		t.Errorf("the good print behind a bad one: %v, %v", fresh, err)
	}
}

func TestRestoreKnowsWhatWasPublished(t *testing.T) {
	mem := feedtest.NewMemory()
	now := time.Now()
	first := newFeed(t, mem, nil)
	if _, err := first.Emit(t.Context(), trade("1", now), "stream", nil); err != nil {
		t.Fatal(err)
	}
	open, err := first.OpenGap(t.Context(), "*", now, time.Time{}, "lost")
	if err != nil {
		t.Fatal(err)
	}
	second := newFeed(t, mem, nil)
	var seen []market.Event
	if err := second.Restore(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := second.RestoreEach(t.Context(), time.Time{}, market.Trades, func(ev market.Event) { seen = append(seen, ev) }); err != nil {
		t.Fatal(err)
	}
	if fresh, err := second.Emit(t.Context(), trade("1", now), "stream", nil); fresh || err != nil || len(seen) != 1 {
		t.Errorf("what was published is told again: %v, %v, %d restored", fresh, err, len(seen))
	}
	gaps := second.OpenGaps()
	if len(gaps) != 1 || gaps[0].GapID != open.GapID {
		t.Fatalf("open gaps %+v", gaps)
	}
	if err := second.SettleGap(t.Context(), gaps[0], now.Add(time.Minute), market.GapFilled, 7); err != nil {
		t.Fatal(err)
	}
	if len(second.OpenGaps()) != 0 {
		t.Error("a filled gap stays open")
	}
	third := newFeed(t, mem, nil)
	if err := third.Restore(t.Context(), time.Time{}, market.Trades); err != nil {
		t.Fatal(err)
	}
	if len(third.OpenGaps()) != 0 || !third.Has(withSource(trade("1", now))) {
		t.Error("the third run does not know what the second did")
	}
	lines := feedtest.Of[*market.FeedGap](mem)
	if last := lines[len(lines)-1]; last.Rev != 1 || last.Recovered != 7 || last.State != market.GapFilled {
		t.Errorf("the last line of the ledger is %+v", last)
	}
	if _, err := third.OpenGap(t.Context(), "*", now, now.Add(-time.Hour), "backwards"); err == nil {
		t.Error("a gap that ends before it begins is written")
	}
}

func TestGapsAreListedOldestFirst(t *testing.T) {
	f := newFeed(t, feedtest.NewMemory(), nil)
	base := time.Now()
	for _, minutes := range []int{3, 1, 2} {
		if _, err := f.OpenGap(t.Context(), fmt.Sprint(minutes), base.Add(time.Duration(minutes)*time.Minute), time.Time{}, "lost"); err != nil {
			t.Fatal(err)
		}
	}
	var order []string
	for _, g := range f.OpenGaps() {
		order = append(order, g.Symbol)
	}
	if strings.Join(order, "") != "123" {
		t.Errorf("order %v", order)
	}
}

// Bad input is counted in full, kept within its bound a minute, and logged once per interval.
func TestRejectsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		reg := prometheus.NewRegistry()
		f := newFeed(t, mem, func(c *feed.Config) {
			c.RejectKeepPerMinute, c.Metrics = 5, feed.NewMetrics(reg)
		})
		reject := func(n int, reason market.Reason) {
			for range n {
				if err := f.Reject(t.Context(), "stream", reason, errors.New("bad"), []byte("frame")); err != nil {
					t.Fatal(err)
				}
			}
		}
		reject(100, feed.ReasonMalformed)
		reject(3, feed.ReasonType)
		if n := mem.Len(); n != 5+3 {
			t.Errorf("%d dead letters, want 5 and 3", n)
		}
		time.Sleep(time.Minute)
		reject(100, feed.ReasonMalformed)
		if n := mem.Len(); n != 5+3+5 {
			t.Errorf("%d dead letters in the second minute, want 13", n)
		}
		if got := counter(t, reg, "hashpivot_feed_rejects_total"); got != 203 {
			t.Errorf("%v rejects counted, want 203", got)
		}
		if got := counter(t, reg, "hashpivot_feed_rejects_unkept_total"); got != 190 {
			t.Errorf("%v counted as not kept, want 190", got)
		}
		f.Ignore("imbalances")
		if got := counter(t, reg, "hashpivot_feed_ignored_total"); got != 1 {
			t.Errorf("%v ignored", got)
		}
	})
}

func TestRejectCutsHugeFrames(t *testing.T) {
	mem := feedtest.NewMemory()
	f := newFeed(t, mem, nil)
	if err := f.Reject(t.Context(), "stream", feed.ReasonTooLarge, errors.New("huge"), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	d := feedtest.Of[*market.DeadLetter](mem)[0]
	if len(d.Payload) != market.MaxDeadPayload || d.PayloadBytes != 1<<20 {
		t.Errorf("kept %d of %d bytes", len(d.Payload), d.PayloadBytes)
	}
}

// counter sums a metric over its labels.
func counter(t testing.TB, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, fam := range families {
		if fam.GetName() == name {
			for _, m := range fam.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// brokenSink fails.
type brokenSink struct{}

var errBroken = errors.New("broker is gone")

func (brokenSink) Publish(context.Context, market.Event) error { return errBroken }
func (brokenSink) Flush(context.Context) error                 { return errBroken }

func TestSinkErrorsAreTold(t *testing.T) {
	f, err := feed.New(feed.Config{Source: "test", Sink: brokenSink{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Emit(t.Context(), trade("1", time.Now()), "stream", nil); !errors.Is(err, errBroken) {
		t.Errorf("emit: %v", err)
	}
	if err := f.Reject(t.Context(), "stream", feed.ReasonType, nil, nil); !errors.Is(err, errBroken) {
		t.Errorf("reject: %v", err)
	}
	if _, err := f.OpenGap(t.Context(), "*", time.Now(), time.Time{}, "lost"); !errors.Is(err, errBroken) {
		t.Errorf("open gap: %v", err)
	}
	if err := f.Run(t.Context(), feed.DefaultPolicy(), func(context.Context, *feed.Session) error { return feed.ErrEndOfInput }); !errors.Is(err, errBroken) {
		t.Errorf("run: %v", err)
	}
}

// A session that was torn down while the sink blocked lost the event it held: backfill tells it again, and it must not pass for a duplicate.
func TestEmitForgetsWhatTheSinkDidNotTake(t *testing.T) {
	mem := feedtest.NewMemory()
	f := newFeed(t, mem, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if fresh, err := f.Emit(ended, trade("1", time.Now()), "stream", nil); err == nil || fresh {
		t.Fatalf("fresh %v, error %v of a sink that took nothing", fresh, err)
	}
	if fresh, err := f.Emit(t.Context(), trade("1", time.Now()), "history", nil); err != nil || !fresh {
		t.Errorf("told again: fresh %v, %v", fresh, err)
	}
	if fresh, err := f.Emit(t.Context(), trade("1", time.Now()), "history", nil); err != nil || fresh {
		t.Errorf("told a third time: fresh %v, %v", fresh, err)
	}
}
