package hashprice

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// historyPatience is how long live frames wait for one page of missing blocks; fillAgain is when it is tried again.
const (
	historyPatience = 20 * time.Second
	fillAgain       = 10 * time.Second
)

// linker keeps the chain of one source whole: what is missing below a tip is fetched from the source's history, and what is new is
// published, lowest first.
type linker struct {
	f      *feed.Feed
	chain  *chain
	from   string // where live blocks are read, for dead letters
	window int    // blocks below the tip that are needed in any case
	refill int    // the most blocks that are fetched after an absence
	// page reads the block at the height and, as the source likes, some below it. A sinkError and a lostError end the session; any other leaves the
	// hole for later.
	page  func(ctx context.Context, at uint64) ([]*market.Block, error)
	onTip func(source string, t tipState)
	// onBlock is called for each block that was published; may be nil.
	onBlock func(ctx context.Context, b *market.Block) error

	resumeAt  uint64 // the tip that the last run or session left; what is above it is to be fetched
	needsFill bool
	triedFill time.Time
	toldTip   string
	saved     map[uint64]*market.Block // fetched when the session was lost, so that the next need not begin anew
}

// lostError is a failure of the upstream itself, not of one block.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// again begins a session: what was missed since the last is not known yet.
func (l *linker) again() { l.needsFill, l.triedFill = true, time.Time{} }

// valid checks a block before the chain takes it: what Emit will refuse must not become the tip.
func (l *linker) valid(b *market.Block) bool {
	b.Source = l.f.Source()
	return b.Validate() == nil
}

// fill looks for holes again after a try that failed; it does nothing where none is known or the last try was just now.
func (l *linker) fill(ctx context.Context, s *feed.Session, recv time.Time) error {
	if !l.needsFill || l.chain.tipHeight() == 0 || time.Since(l.triedFill) <= fillAgain {
		return nil
	}
	return l.link(ctx, s, l.chain.tipHeight(), map[uint64]*market.Block{}, recv)
}

// link completes the chain below tip from the upstream's history and publishes what is new, lowest first.
func (l *linker) link(ctx context.Context, s *feed.Session, tip uint64, pending map[uint64]*market.Block, recv time.Time) error {
	low := tip + 1 - min(tip+1, uint64(l.window))
	if l.resumeAt > 0 && l.resumeAt < low {
		low = l.resumeAt
	}
	lost := uint64(0)
	if most := uint64(l.refill); tip-low+1 > most {
		lost = tip - low + 1 - most
		low = tip + 1 - most
	}
	l.triedFill = time.Now()
	for h, b := range l.saved {
		if _, ok := pending[h]; !ok && h >= low && h < tip {
			pending[h] = b // of a branch that lost meanwhile, it does not fit and is fetched again
		}
	}
	l.saved = nil
	complete, err := l.fetchHoles(ctx, s, low, tip, pending)
	if err != nil {
		return err
	}
	recovered, err := l.publish(ctx, tip, pending)
	if err != nil {
		return err
	}
	l.needsFill = !complete
	if complete {
		l.resumeAt = tip
		if err := l.settle(ctx, recv, recovered, lost); err != nil {
			return err
		}
	}
	l.tellTip()
	return nil
}

// fetchHoles reads history until nothing is missing in [low, tip]. It reports false, and no error, where the upstream does not have or does
// not give what is missing: the feed goes on with what there is.
func (l *linker) fetchHoles(ctx context.Context, s *feed.Session, low, tip uint64, pending map[uint64]*market.Block) (bool, error) {
	for {
		at, missing := l.chain.hole(low, tip, pending)
		if !missing {
			return true, nil
		}
		// Bounded: live frames wait behind this, and a live feed must not wait for a history that is down.
		bounded, cancel := context.WithTimeout(ctx, historyPatience)
		page, err := l.page(bounded, at)
		cancel()
		if err != nil {
			if _, lost := errors.AsType[lostError](err); lost && ctx.Err() == nil {
				l.saved = pending
				return false, err
			}
			if isSink(err) {
				return false, err
			}
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			l.f.Logger().Warn("blocks are missing and were not given", "height", at, "err", err)
			return false, nil
		}
		s.Alive(l.f.Now())
		progress := false
		for _, b := range page {
			if b.Height > at || !l.valid(b) {
				continue
			}
			if _, ok := pending[b.Height]; ok && b.Height != at || l.chain.has(b) {
				progress = progress || b.Height == at && pending[at] == nil
				continue
			}
			b.Backfill = true
			pending[b.Height] = b
			progress = progress || b.Height == at
		}
		if again, still := l.chain.hole(low, tip, pending); !progress || still && again == at {
			l.f.Logger().Warn("the upstream's history has no block that fits", "height", at)
			return false, nil
		}
	}
}

// publish takes the blocks into the chain and emits the new ones, lowest first. It counts those that came from history.
func (l *linker) publish(ctx context.Context, tip uint64, pending map[uint64]*market.Block) (recovered uint64, _ error) {
	low := tip
	for h := range pending {
		low = min(low, h)
	}
	for h := low; h <= tip; h++ {
		b, ok := pending[h]
		if !ok || !l.chain.put(b) {
			continue
		}
		told, err := l.f.Emit(ctx, b, l.from, nil)
		if err != nil {
			return recovered, err
		}
		if told && b.Backfill {
			recovered++
		}
		if told && l.onBlock != nil {
			if err := l.onBlock(ctx, b); err != nil {
				return recovered, err
			}
		}
	}
	return recovered, nil
}

// settle closes the gaps of the ledger: blocks have history, the fee rates of the time have none.
func (l *linker) settle(ctx context.Context, to time.Time, recovered, lost uint64) error {
	for _, g := range l.f.OpenGaps() {
		state := market.GapFilled
		if lost > 0 {
			state = market.GapGivenUp
			g.Reason += fmt.Sprintf("; %d blocks are older than the refill bound and were not fetched", lost)
		}
		if to.Before(g.From) {
			to = g.From
		}
		if err := l.f.SettleGap(ctx, g, to, state, recovered); err != nil {
			return err
		}
		recovered = 0
	}
	return nil
}

func (l *linker) tellTip() {
	t, ok := l.chain.window(l.window)
	if !ok || t.Hash == l.toldTip {
		return
	}
	l.toldTip = t.Hash
	l.onTip(l.f.Source(), t)
}
