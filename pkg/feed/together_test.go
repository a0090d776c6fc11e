package feed_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// TestTogether: one upstream's no must not stop the others, and anything worse must.
func TestTogether(t *testing.T) {
	no := feed.Refused(errors.New("wrong key"))
	started := make(chan struct{})
	err := feed.Together(t.Context(), nil,
		feed.Part{Name: "a", Run: func(context.Context) error { close(started); return no }},
		feed.Part{Name: "b", Run: func(ctx context.Context) error {
			<-started
			return ctx.Err()
		}})
	if !feed.IsRefused(err) || !errors.Is(err, no) {
		t.Errorf("error %v, want the refusal of a and nothing of b", err)
	}
	broken := errors.New("broker is gone")
	err = feed.Together(t.Context(), nil,
		feed.Part{Name: "a", Run: func(context.Context) error { return broken }},
		feed.Part{Name: "b", Run: func(ctx context.Context) error { <-ctx.Done(); return nil }})
	if !errors.Is(err, broken) || feed.IsRefused(err) {
		t.Errorf("error %v, want %v", err, broken)
	}
	// A refusal beside a failure must not make the failure look like one that the caller may shrug at.
	err = feed.Together(t.Context(), nil,
		feed.Part{Name: "a", Run: func(context.Context) error { return no }},
		feed.Part{Name: "b", Run: func(context.Context) error { return broken }})
	if feed.IsRefused(err) || !errors.Is(err, broken) {
		t.Errorf("error %v, want %v and no refusal", err, broken)
	}
}
