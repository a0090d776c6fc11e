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
	f         *feed.Feed
	rest      *caller
	chain     *chain
	links     *linker
	retargets *retargets
	onAlive   func(source string, at time.Time)

	lastFees *market.Fees
}

const mempoolWS = "mempool websocket"

func (n *network) run(ctx context.Context) error {
	n.links.resumeAt = n.chain.tipHeight()
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
	conn, err := n.f.Dial(ctx, feed.WebsocketConfig{URL: n.cfg.StreamURL})
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
	n.links.again()
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
	} else {
		if err := s.Ready(ctx); err != nil {
			return err
		}
		n.onAlive(n.f.Source(), frame.Recv)
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
	} else if err := n.links.fill(ctx, s, frame.Recv); err != nil {
		return err
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
		if !n.links.valid(b) {
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
	return n.links.link(ctx, s, newest.Height, pending, frame.Recv)
}

// page reads a page of the blocks at a height and below it. What of it does not decode is refused, and the rest is used.
func (n *network) page(ctx context.Context, at uint64) ([]*market.Block, error) {
	from := fmt.Sprintf("/v1/blocks/%d", at)
	resp, err := n.rest.get(ctx, n.cfg.RESTURL+from)
	if err != nil {
		return nil, err
	}
	page, err := decodeBlocks(resp.Body, resp.Recv)
	if err != nil {
		if err := n.f.Reject(ctx, from, feed.ReasonOf(err, feed.ReasonMalformed), err, resp.Body); err != nil {
			return nil, sinkError{err}
		}
	}
	return page, nil
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
