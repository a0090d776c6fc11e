package feed_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// exact is a policy without jitter.
func exact() feed.Policy {
	p := feed.DefaultPolicy()
	p.Jitter = 0
	return p
}

func states(mem *feedtest.Memory) (out []market.FeedState) {
	for _, e := range feedtest.Of[*market.FeedEvent](mem) {
		out = append(out, e.State)
	}
	return out
}

func TestRunBacksOffUntilASessionIsStable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		f := newFeed(t, mem, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var starts []time.Duration
		begin := time.Now()
		err := f.Run(ctx, exact(), func(ctx context.Context, s *feed.Session) error {
			starts = append(starts, time.Since(begin))
			switch len(starts) {
			case 4: // a good session of 11 s: the back-off begins again
				if err := s.Ready(ctx); err != nil {
					return err
				}
				time.Sleep(11 * time.Second)
			case 6:
				cancel()
			}
			return errors.New("down")
		})
		if err != nil {
			t.Fatal(err)
		}
		ms := time.Millisecond
		want := []time.Duration{0, 250 * ms, 750 * ms, 1750 * ms, 1750*ms + 11*time.Second + 250*ms, 1750*ms + 11*time.Second + 750*ms}
		for i := range want {
			if starts[i] != want[i] {
				t.Errorf("session %d begins at %s, want %s (all: %v)", i, starts[i], want[i], starts)
			}
		}
		gaps := f.OpenGaps()
		if len(gaps) != 1 || gaps[0].Reason != string(market.FeedLost) {
			t.Errorf("gaps %+v", gaps)
		}
	})
}

// An upstream that accepts and drops at once must not be hammered: being ready does not reset the back-off.
func TestRunIsNotFooledByAnUpstreamThatAcceptsAndDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, feedtest.NewMemory(), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		n := 0
		if err := f.Run(ctx, exact(), func(ctx context.Context, s *feed.Session) error {
			n++
			return errors.Join(s.Ready(ctx), errors.New("dropped"))
		}); err != nil {
			t.Fatal(err)
		}
		// 250 ms doubling to 30 s: some 26 sessions in ten minutes.
		if n < 20 || n > 30 {
			t.Errorf("%d sessions in ten minutes", n)
		}
		if len(f.OpenGaps()) != n {
			t.Errorf("%d gaps of %d losses", len(f.OpenGaps()), n)
		}
	})
}

func TestRunTearsDownAMuteSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		f := newFeed(t, mem, nil)
		ctx, cancel := context.WithCancel(t.Context())
		p := exact()
		p.Stale = func(time.Time) time.Duration { return 20 * time.Second }
		n := 0
		var lastAlive time.Time
		err := f.Run(ctx, p, func(ctx context.Context, s *feed.Session) error {
			if n++; n == 2 {
				cancel()
				return ctx.Err()
			}
			if err := s.Ready(ctx); err != nil {
				return err
			}
			for range 5 { // signs of life keep it up
				time.Sleep(15 * time.Second)
				if ctx.Err() != nil {
					t.Error("a session that lives is torn down")
				}
				lastAlive = time.Now()
				s.Alive(lastAlive)
			}
			<-ctx.Done()
			return ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		got := states(mem)
		if len(got) != 3 || got[0] != market.FeedConnected || got[1] != market.FeedStale || got[2] != market.FeedStopped {
			t.Errorf("states %v", got)
		}
		gaps := f.OpenGaps()
		if len(gaps) != 1 || !gaps[0].From.Equal(lastAlive) || gaps[0].Reason != string(market.FeedStale) {
			t.Errorf("gaps %+v, want one from the last sign of life at %s", gaps, lastAlive)
		}
	})
}

func TestRunLetsAClosedMarketBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, feedtest.NewMemory(), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 48*time.Hour)
		defer cancel()
		p := exact()
		p.Stale = func(time.Time) time.Duration { return 0 }
		n := 0
		if err := f.Run(ctx, p, func(ctx context.Context, s *feed.Session) error {
			n++
			if err := s.Ready(ctx); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}); err != nil {
			t.Fatal(err)
		}
		if n != 1 {
			t.Errorf("%d sessions over a silent weekend", n)
		}
	})
}

func TestRunDoesNotWaitForeverForALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		f := newFeed(t, mem, nil)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		begin := time.Now()
		if err := f.Run(ctx, exact(), func(ctx context.Context, s *feed.Session) error {
			if n++; n == 2 {
				cancel()
				return ctx.Err()
			}
			<-ctx.Done()
			return ctx.Err()
		}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 20*time.Second || took > 23*time.Second {
			t.Errorf("a login that never comes is waited for %s, want 20 s", took)
		}
		if len(f.OpenGaps()) != 0 {
			t.Error("a session that was never ready opened a gap")
		}
	})
}

func TestRunHeedsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(t, feedtest.NewMemory(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		begin := time.Now()
		if err := f.Run(ctx, exact(), func(context.Context, *feed.Session) error {
			if n++; n == 2 {
				cancel()
			}
			return feed.RetryAfter(errors.New("slow down"), 90*time.Second)
		}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 90*time.Second {
			t.Errorf("came again after %s, want 90 s", took)
		}
	})
}

func TestRunEndsWhereNoRetryHelps(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		refused bool
		state   market.FeedState
	}{
		"refused":      {feed.Refused(errors.New("bad key")), true, market.FeedRefused},
		"end of input": {feed.ErrEndOfInput, false, market.FeedStopped},
	} {
		t.Run(name, func(t *testing.T) {
			mem := feedtest.NewMemory()
			f := newFeed(t, mem, nil)
			err := f.Run(t.Context(), exact(), func(ctx context.Context, s *feed.Session) error {
				return errors.Join(s.Ready(ctx), c.err)
			})
			if feed.IsRefused(err) != c.refused || !c.refused && err != nil {
				t.Errorf("error %v", err)
			}
			got := states(mem)
			if len(got) != 2 || got[1] != c.state {
				t.Errorf("states %v", got)
			}
			if len(f.OpenGaps()) != 0 {
				t.Error("an end in good order opened a gap")
			}
		})
	}
}

// When the process stops, what a session did last must still be published although its context has ended.
func TestRunPublishesItsEnd(t *testing.T) {
	mem := feedtest.NewMemory()
	f := newFeed(t, mem, nil)
	ctx, cancel := context.WithCancel(t.Context())
	if err := f.Run(ctx, exact(), func(ctx context.Context, s *feed.Session) error {
		if err := s.Ready(ctx); err != nil {
			return err
		}
		cancel()
		return ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	if got := states(mem); len(got) != 2 || got[1] != market.FeedStopped {
		t.Errorf("states %v", got)
	}
}
