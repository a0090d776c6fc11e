package hashprice

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// network is the mempool.space feed.
type network struct {
	cfg       MempoolConfig
	stopAtEnd bool
	window    int
	f         *feed.Feed
	rest      *caller
	chain     *chain
	retargets *retargets
	onTip     func(tipState)

	resumeAt  uint64 // the tip that the last run or session left; what is above it is to be fetched
	lastFees  *market.Fees
	needsFill bool
	triedFill time.Time
	toldTip   string
}

const mempoolWS = "mempool websocket"

// historyPatience is how long live frames wait for one page of missing blocks; fillAgain is when it is tried again.
const (
	historyPatience = 20 * time.Second
	fillAgain       = 10 * time.Second
)

func (n *network) run(ctx context.Context) error {
	n.resumeAt = n.chain.tipHeight()
	p := feed.DefaultPolicy()
	p.Stale = func(time.Time) time.Duration { return n.cfg.StaleAfter }
	if err := n.f.Run(ctx, p, n.session); err != nil {
		return fmt.Errorf("run feed %s: %w", n.f.Source(), err)
	}
	return nil
}

func (n *network) session(ctx context.Context, s *feed.Session) error {
	// A push tells heights but no difficulty: the retargets must be known to say it for a tip whose block we have not seen.
	if err := n.retargets.wait(ctx, n.stopAtEnd); err != nil {
		return err
	}
	conn, err := feed.Dial(ctx, feed.WebsocketConfig{URL: n.cfg.StreamURL})
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, m := range []string{`{"action":"init"}`, `{"action":"want","data":["blocks","mempool-blocks","stats"]}`} {
		if err := conn.Write([]byte(m), false); err != nil {
			return err
		}
	}
	reading, stop := context.WithCancel(ctx)
	r := read(reading, conn, s)
	defer r.done.Wait()
	defer conn.Close()
	defer stop() // a reader with a full queue waits for us, who have left
	n.needsFill, n.triedFill = true, time.Time{}
	for frame := range r.frames {
		if err := n.frame(ctx, s, frame); err != nil {
			return err
		}
	}
	return r.end(ctx, n.f, mempoolWS, n.stopAtEnd)
}

// frame handles one push. Its errors end the session: the sink's, or ctx.
func (n *network) frame(ctx context.Context, s *feed.Session, frame feed.Frame) error {
	p, err := decodePush(frame.Data, frame.Recv)
	if err != nil {
		if err := n.f.Reject(ctx, mempoolWS, feed.ReasonOf(err, feed.ReasonMalformed), err, frame.Data); err != nil {
			return err
		}
	} else if err := s.Ready(ctx); err != nil {
		return err
	}
	at := frame.Recv
	if p.Adjustment != nil {
		if t, ok := p.Adjustment.serverTime(); ok {
			at = t
		}
	}
	if len(p.Blocks) > 0 {
		if err := n.blocks(ctx, s, p, frame); err != nil {
			return err
		}
	} else if n.needsFill && n.chain.tipHeight() > 0 && time.Since(n.triedFill) > fillAgain {
		if err := n.fill(ctx, s, frame.Recv); err != nil {
			return err
		}
	}
	if p.Fees != nil {
		p.Fees.Meta = market.Meta{EventTime: at, RecvTime: frame.Recv}
		if err := n.fees(ctx, p.Fees, frame.Data); err != nil {
			return err
		}
	}
	if p.Adjustment != nil {
		if err := n.adjustment(ctx, p.Adjustment, at, frame); err != nil {
			return err
		}
	}
	if p.Conversions != nil {
		p.Conversions.RecvTime = frame.Recv
		if _, err := n.f.Emit(ctx, p.Conversions, mempoolWS, frame.Data); err != nil {
			return err
		}
	}
	return nil
}

// blocks takes the pushed blocks after whatever is missing below them, so that the stream has them in the order of the chain.
func (n *network) blocks(ctx context.Context, s *feed.Session, p push, frame feed.Frame) error {
	newest := p.Blocks[len(p.Blocks)-1]
	pending := map[uint64]*market.Block{}
	for _, b := range p.Blocks {
		if !n.valid(b) {
			if _, err := n.f.Emit(ctx, b, mempoolWS, frame.Data); err != nil { // becomes a dead letter
				return err
			}
			continue
		}
		pending[b.Height] = b
	}
	if _, ok := pending[newest.Height]; !ok {
		return nil
	}
	if p.Snapshot {
		n.chain.lower(newest.Height)
	}
	if newest.Height < n.chain.tipHeight() && !p.Snapshot {
		// A single block below our tip: a competing branch that is shorter so far. The upstream sends "blocks" when it wins.
		return nil
	}
	return n.link(ctx, s, newest.Height, pending, frame.Recv)
}

// valid checks a block before the chain takes it: what Emit will refuse must not become the tip.
func (n *network) valid(b *market.Block) bool {
	b.Source = n.f.Source()
	return b.Validate() == nil
}

// fill looks for holes again after a try that failed.
func (n *network) fill(ctx context.Context, s *feed.Session, recv time.Time) error {
	return n.link(ctx, s, n.chain.tipHeight(), map[uint64]*market.Block{}, recv)
}

// link completes the chain below tip from the upstream's history and publishes what is new, lowest first.
func (n *network) link(ctx context.Context, s *feed.Session, tip uint64, pending map[uint64]*market.Block, recv time.Time) error {
	low := tip + 1 - min(tip+1, uint64(n.window))
	if n.resumeAt > 0 && n.resumeAt < low {
		low = n.resumeAt
	}
	lost := uint64(0)
	if most := uint64(n.cfg.RefillBlocks); tip-low+1 > most {
		lost = tip - low + 1 - most
		low = tip + 1 - most
	}
	n.triedFill = time.Now()
	complete, err := n.fetchHoles(ctx, s, low, tip, pending)
	if err != nil {
		return err
	}
	recovered, err := n.publish(ctx, tip, pending)
	if err != nil {
		return err
	}
	n.needsFill = !complete
	if complete {
		n.resumeAt = tip
		if err := n.settle(ctx, recv, recovered, lost); err != nil {
			return err
		}
	}
	n.tellTip()
	return nil
}

// fetchHoles reads pages of history until nothing is missing in [low, tip]. It reports false, and no error, where the upstream does not
// have or does not give what is missing: the feed goes on with what there is.
func (n *network) fetchHoles(ctx context.Context, s *feed.Session, low, tip uint64, pending map[uint64]*market.Block) (bool, error) {
	for {
		at, missing := n.chain.hole(low, tip, pending)
		if !missing {
			return true, nil
		}
		from := fmt.Sprintf("/v1/blocks/%d", at)
		// Bounded: live frames wait behind this, and a live feed must not wait for a history that is down.
		bounded, cancel := context.WithTimeout(ctx, historyPatience)
		resp, err := n.rest.get(bounded, n.cfg.RESTURL+from)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			n.f.Logger().Warn("blocks are missing and were not given", "height", at, "err", err)
			return false, nil //nolint:nilerr // the live feed goes on, and asks again
		}
		s.Alive(resp.Recv)
		page, err := decodeBlocks(resp.Body, resp.Recv)
		if err != nil {
			if err := n.f.Reject(ctx, from, feed.ReasonOf(err, feed.ReasonMalformed), err, resp.Body); err != nil {
				return false, err
			}
		}
		progress := false
		for _, b := range page {
			if b.Height > at || !n.valid(b) {
				continue
			}
			if _, ok := pending[b.Height]; ok && b.Height != at || n.chain.has(b) {
				progress = progress || b.Height == at && pending[at] == nil
				continue
			}
			b.Backfill = true
			pending[b.Height] = b
			progress = progress || b.Height == at
		}
		if again, still := n.chain.hole(low, tip, pending); !progress || still && again == at {
			n.f.Logger().Warn("the upstream's history has no block that fits", "height", at)
			return false, nil
		}
	}
}

// publish takes the blocks into the chain and emits the new ones, lowest first. It counts those that came from history.
func (n *network) publish(ctx context.Context, tip uint64, pending map[uint64]*market.Block) (recovered uint64, _ error) {
	low := tip
	for h := range pending {
		low = min(low, h)
	}
	for h := low; h <= tip; h++ {
		b, ok := pending[h]
		if !ok || !n.chain.put(b) {
			continue
		}
		told, err := n.f.Emit(ctx, b, mempoolWS, nil)
		if err != nil {
			return recovered, err
		}
		if told && b.Backfill {
			recovered++
		}
	}
	return recovered, nil
}

// settle closes the gaps of the ledger: blocks have history, the fee rates of the time have none.
func (n *network) settle(ctx context.Context, to time.Time, recovered, lost uint64) error {
	for _, g := range n.f.OpenGaps() {
		state := market.GapFilled
		if lost > 0 {
			state = market.GapGivenUp
			g.Reason += fmt.Sprintf("; %d blocks are older than the refill bound and were not fetched", lost)
		}
		if to.Before(g.From) {
			to = g.From
		}
		if err := n.f.SettleGap(ctx, g, to, state, recovered); err != nil {
			return err
		}
		recovered = 0
	}
	return nil
}

func (n *network) tellTip() {
	t, ok := n.chain.window(n.window)
	if !ok || t.Hash == n.toldTip {
		return
	}
	n.toldTip = t.Hash
	n.onTip(t)
}

// fees publishes fee rates when they change, and now and then when they do not.
func (n *network) fees(ctx context.Context, f *market.Fees, frame []byte) error {
	if l := n.lastFees; l != nil && l.FastestSatPerVB.Cmp(f.FastestSatPerVB) == 0 && l.HalfHourSatPerVB.Cmp(f.HalfHourSatPerVB) == 0 &&
		l.HourSatPerVB.Cmp(f.HourSatPerVB) == 0 && l.EconomySatPerVB.Cmp(f.EconomySatPerVB) == 0 &&
		l.MinimumSatPerVB.Cmp(f.MinimumSatPerVB) == 0 && f.EventTime.Sub(l.EventTime).Abs() < n.cfg.FeesEvery {
		return nil
	}
	n.lastFees = f
	_, err := n.f.Emit(ctx, f, mempoolWS, frame)
	return err
}

func (n *network) adjustment(ctx context.Context, a *adjustment, at time.Time, frame feed.Frame) error {
	d, ok := n.chain.difficultyAt(a.tip())
	if !ok {
		if d, ok = n.retargets.at(a.tip()); !ok {
			return nil // told again with the next push
		}
	}
	_, err := n.f.Emit(ctx, &market.Difficulty{
		Meta:   market.Meta{EventTime: at, RecvTime: frame.Recv},
		Height: a.tip(), Difficulty: d, ChangePercent: orNaN(a.PreviousRetarget), EstimatedChangePercent: orNaN(a.DifficultyChange),
		RemainingBlocks: *a.RemainingBlocks, NextRetargetHeight: a.NextRetargetHeight,
	}, mempoolWS, frame.Data)
	return err
}

func orNaN(f *float64) float64 {
	if f == nil {
		return math.NaN()
	}
	return *f
}
