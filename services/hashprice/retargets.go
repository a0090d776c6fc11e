package hashprice

import (
	"context"
	"sort"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// retargets is the list of difficulty changes, shared between the history, which reads it, and the live feed.
type retargets struct {
	mu     sync.Mutex
	list   []retarget // by height
	loaded chan struct{}
	once   sync.Once
}

func newRetargets() *retargets { return &retargets{loaded: make(chan struct{})} }

func (r *retargets) set(list []retarget) {
	r.mu.Lock()
	r.list = list
	r.mu.Unlock()
	r.once.Do(func() { close(r.loaded) })
}

// wait until the list was read once: as long as it takes where the input is a recording, else for a few seconds, since a live feed must
// not wait for a history that is down.
func (r *retargets) wait(ctx context.Context, forever bool) error {
	var limit <-chan time.Time
	if !forever {
		t := time.NewTimer(5 * time.Second)
		defer t.Stop()
		limit = t.C
	}
	select {
	case <-r.loaded:
	case <-limit:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// at is the difficulty in force at a height. ok is false where the list does not reach to the height's period.
func (r *retargets) at(height uint64) (market.Decimal, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := sort.Search(len(r.list), func(i int) bool { return r.list[i].Height > height }) - 1
	if i < 0 || height-r.list[i].Height >= retargetBlocks {
		return market.Decimal{}, false
	}
	return r.list[i].Difficulty, true
}
