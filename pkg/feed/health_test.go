package feed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// TestReadyMeansDataMoves: a feed stands while its upstream gives signs of life within the time that is due, or while none is due; else it says why not.
func TestReadyMeansDataMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, reg := &run.Health{}, prometheus.NewRegistry()
		var due time.Duration
		why := ""
		f := newFeed(t, feedtest.NewMemory(), func(c *feed.Config) { c.Health, c.Metrics = h, feed.NewMetrics(reg) })
		ctx, cancel := context.WithCancel(t.Context())
		frames, drop := make(chan struct{}), make(chan error)
		p := feed.DefaultPolicy()
		p.Stale = func(time.Time) time.Duration { return 0 }
		p.FirstWait, p.Jitter = time.Hour, 0 // what the feed does about a loss is not the matter here
		p.MaxWait = time.Hour
		p.Due = func(time.Time) (time.Duration, string) { return due, why }
		stand := func(ok bool, word string) {
			t.Helper()
			synctest.Wait()
			r := h.Ready(ctx)
			if r.OK != ok || len(r.Checks) != 1 || !strings.Contains(r.Checks[0].Why, word) {
				t.Errorf("%+v, want %v with %q", r, ok, word)
			}
		}
		gauge := func(name string, want float64) {
			t.Helper()
			if got := gathered(t, reg, "hashpivot_feed_"+name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		stand(false, "reads back")
		done := make(chan error, 1)
		due = time.Minute
		go func() {
			done <- f.Run(ctx, p, func(ctx context.Context, s *feed.Session) error {
				for {
					select {
					case <-frames:
						if err := s.Ready(ctx); err != nil {
							return err
						}
						s.Alive(f.Now())
					case err := <-drop:
						return err
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			})
		}()
		stand(false, "not connected")
		gauge("connected", 0)
		gauge("last_alive_timestamp_seconds", 0)
		frames <- struct{}{}
		stand(true, "a sign of life 0s ago; one is due within 1m0s")
		gauge("connected", 1)
		gauge("allowed_silence_seconds", 60)
		gauge("last_alive_timestamp_seconds", float64(time.Now().Unix()))
		time.Sleep(time.Minute)
		stand(true, "1m0s ago")
		time.Sleep(time.Second)
		stand(false, "no sign of life for 1m1s; one is due within 1m0s")
		due, why = 0, "the market is closed until tomorrow"
		stand(true, "the market is closed until tomorrow")
		gauge("allowed_silence_seconds", 0)
		due, why = time.Minute, ""
		frames <- struct{}{}
		stand(true, "0s ago")
		// A loss is none while the last sign of life is young enough: data has moved.
		drop <- errors.New("connection reset")
		time.Sleep(30 * time.Second)
		stand(true, "30s ago")
		gauge("connected", 0)
		gauge("open_gaps", 1)
		time.Sleep(31 * time.Second)
		stand(false, "no sign of life for 1m1s; one is due within 1m0s: connection reset")
		due, why = 0, "" // no bound: to be connected is all that can be asked
		stand(false, "not connected: connection reset")
		time.Sleep(time.Hour)
		frames <- struct{}{}
		stand(true, "connected; silence is in order for any time")
		drop <- feed.Refused(errors.New("wrong key"))
		if err := <-done; !feed.IsRefused(err) {
			t.Errorf("ended with %v", err)
		}
		due, why = 0, "the market is closed until tomorrow"
		stand(false, "refused: wrong key") // which no opening cures
		cancel()
	})
}

// TestAHungSessionIsNotLive: an adapter that does not end when it is told to hangs the process, and /livez says so; the feed that waits for its upstream does not.
func TestAHungSessionIsNotLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &run.Health{}
		f := newFeed(t, feedtest.NewMemory(), func(c *feed.Config) { c.Health = h })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := feed.DefaultPolicy()
		p.FirstWait, p.MaxWait, p.Jitter = 10*time.Minute, 10*time.Minute, 0
		hang := make(chan struct{})
		n := 0
		done := make(chan error, 1)
		go func() {
			done <- f.Run(ctx, p, func(ctx context.Context, s *feed.Session) error {
				if n++; n == 1 {
					return errors.New("connection refused")
				}
				if err := s.Ready(ctx); err != nil {
					return err
				}
				<-hang // as if it read from a socket that nobody closes
				return ctx.Err()
			})
		}()
		time.Sleep(9 * time.Minute)
		if r := h.Live(); !r.OK {
			t.Errorf("%+v while the feed waits to come again", r)
		}
		time.Sleep(time.Minute + 30*time.Second)
		if r := h.Live(); !r.OK {
			t.Errorf("%+v while the session lives", r)
		}
		time.Sleep(31*time.Second + 2*time.Minute) // mute for a minute, told to end, and a minute on
		if r := h.Live(); r.OK || !strings.Contains(fmt.Sprint(r.Checks), "has not turned for 2m0s") {
			t.Errorf("%+v with a session that does not end", r)
		}
		close(hang)
		synctest.Wait()
		if r := h.Live(); !r.OK {
			t.Errorf("%+v after it has ended", r)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// gathered is the only value of a metric.
func gathered(t testing.TB, reg prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name && len(f.GetMetric()) == 1 {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Errorf("metric %s is not there, or not once", name)
	return 0
}
