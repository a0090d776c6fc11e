package gpurates

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/vast"
)

// Killed at any moment and started again, a recorded run ends with exactly the facts of a run that was left alone: each subject has lost what
// a broker may lose of a killed publisher.
func TestKilledAnywhereARecordedRunLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skipf("no recordings at %s", recordings)
	}
	_, cfg := start(t, vast.Config{Dir: recordings})
	cfg.StopAtEnd, cfg.Vast.HistoryFrom, cfg.Vast.Source = true, "2026-01-01", "rec-vast"
	whole := feedtest.NewMemory()
	if err := Run(t.Context(), cfg, feed.Deps{Sink: whole, History: whole}); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range 1 {
		mem := feedtest.NewMemory()
		for range 4 {
			ctx, kill := context.WithCancel(t.Context())
			sink := feedtest.NewKilled(mem, rng.IntN(whole.Len()), kill)
			_ = Run(ctx, cfg, feed.Deps{Sink: sink, History: mem}) // its error is that it was killed, if it was
			kill()
			mem.Crash(func(n int) int { return rng.IntN(n + 1) })
		}
		if err := Run(t.Context(), cfg, feed.Deps{Sink: mem, History: mem}); err != nil {
			t.Fatal(err)
		}
		missing, extra, doubled := feedtest.Diff(whole, mem)
		if len(missing)+len(extra)+len(doubled) > 0 {
			t.Errorf("round %d: %d facts missing %q, %d too many %q, %d doubled %q", round, len(missing), missing[:min(3, len(missing))],
				len(extra), extra[:min(3, len(extra))], len(doubled), doubled[:min(3, len(doubled))])
		}
	}
}

// An answer of a recording that was lost on the way, or with a service that ended before it had published it, is given again. A recording that went on with each
// request lost a day's offers for ever, as twenty kills on a slow machine once showed.
func TestAnAnswerOfARecordingThatWasLostIsGivenAgain(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skipf("no recordings at %s", recordings)
	}
	s, cfg := start(t, vast.Config{Dir: recordings})
	cfg.StopAtEnd, cfg.Vast.Source = true, "rec-vast"
	whole := feedtest.NewMemory()
	if err := Run(t.Context(), cfg, feed.Deps{Sink: whole, History: whole}); err != nil {
		t.Fatal(err)
	}
	if err := s.Target().Order(control.Order{Fault: control.Truncate, Times: 2}); err != nil {
		t.Fatal(err)
	}
	mem := feedtest.NewMemory()
	ctx, end := context.WithCancel(t.Context())
	_ = Run(ctx, cfg, feed.Deps{Sink: feedtest.NewKilled(mem, whole.Len()/2, end), History: mem}) // its error is that it was ended
	end()
	if n := mem.Len(); n == 0 || n > whole.Len()/2 {
		t.Fatalf("ended after %d of %d facts", n, whole.Len())
	}
	if err := Run(t.Context(), cfg, feed.Deps{Sink: mem, History: mem}); err != nil { // the recording was not begun again
		t.Fatal(err)
	}
	missing, extra, doubled := feedtest.Diff(whole, mem)
	if len(missing)+len(extra)+len(doubled) > 0 {
		t.Errorf("%d facts missing %q, %d too many %q, %d doubled %q", len(missing), missing[:min(3, len(missing))],
			len(extra), extra[:min(3, len(extra))], len(doubled), doubled[:min(3, len(doubled))])
	}
}
