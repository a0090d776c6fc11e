package hashprice

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// node is the feed of a Bitcoin Core node of one's own: polled, and asked at once when its ZMQ push tells of a new block. The poll is the
// net below a push that is mute, lost or not configured.
type node struct {
	cfg     BitcoindConfig
	f       *feed.Feed
	rpc     *coreRPC
	chain   *chain
	links   *linker
	onAlive func(source string, at time.Time)
}

const bitcoindRPC = "bitcoind rpc"

func (n *node) run(ctx context.Context) error {
	n.links.resumeAt = n.chain.tipHeight()
	wake := make(chan struct{}, 1)
	if n.cfg.ZMQURL != "" {
		push, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			listenForBlocks(push, n.cfg.ZMQURL, n.f.Logger(), func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			})
		}()
		defer func() {
			stop()
			<-done
		}()
	}
	p := feed.DefaultPolicy()
	// A poll may fetch many blocks of an absence; each of them is a sign of life.
	p.Stale = func(time.Time) time.Duration { return n.cfg.StaleAfter + n.cfg.PollEvery }
	if err := n.f.Run(ctx, p, func(ctx context.Context, s *feed.Session) error { return n.session(ctx, s, wake) }); err != nil {
		return fmt.Errorf("run feed %s: %w", n.f.Source(), err)
	}
	return nil
}

func (n *node) session(ctx context.Context, s *feed.Session, wake <-chan struct{}) error {
	n.links.again()
	tick := time.NewTicker(n.cfg.PollEvery)
	defer tick.Stop()
	for {
		if err := n.poll(ctx, s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		case <-wake:
		}
	}
}

// poll asks for the tip and links what is new below it. Its error ends the session.
func (n *node) poll(ctx context.Context, s *feed.Session) error {
	var (
		info chainInfo
		recv time.Time
	)
	err := n.rpc.call(ctx, "getblockchaininfo", func(raw []byte, at time.Time) (err error) {
		recv = at
		info, err = decodeChainInfo(raw)
		return err
	})
	if err != nil {
		return n.refuse(ctx, err)
	}
	if info.Chain != "main" {
		return feed.Refused(fmt.Errorf("bitcoind is on the chain %.20q; point hashprice.bitcoind.rpc_url to a node of the main chain", info.Chain))
	}
	if info.Download {
		return fmt.Errorf("bitcoind is in its initial block download: %d of %d blocks", *info.Blocks, info.Headers)
	}
	if err := s.Ready(ctx); err != nil {
		return err
	}
	s.Alive(recv)
	n.onAlive(n.f.Source(), recv)
	tip := *info.Blocks
	if n.chain.holds(tip, info.Best) && n.chain.tipHeight() == tip && !n.links.needsFill {
		return nil
	}
	pending := map[uint64]*market.Block{}
	if !n.chain.holds(tip, info.Best) {
		b, err := n.block(ctx, info.Best)
		if errors.Is(err, errLeftChain) {
			return nil // the next poll is told what has taken its place
		}
		if err != nil {
			return n.refuse(ctx, err)
		}
		if b.Height != tip || !n.links.valid(b) {
			return n.refuse(ctx, &badAnswer{method: "getblockheader", err: fmt.Errorf("the tip at %d is told as %d, or its figures are impossible", tip, b.Height)})
		}
		pending[tip] = b
	}
	n.chain.lower(tip)
	if err := n.links.link(ctx, s, tip, pending, recv); err != nil {
		return err
	}
	return n.state(ctx, tip, recv)
}

// refuse keeps an answer that is not of the protocol as a dead letter and passes its error on.
func (n *node) refuse(ctx context.Context, err error) error {
	if bad, ok := errors.AsType[*badAnswer](err); ok {
		if err := n.f.Reject(ctx, bitcoindRPC+" "+bad.method, feed.ReasonOf(bad.err, feed.ReasonProtocol), bad, bad.body); err != nil {
			return sinkError{err}
		}
		return fmt.Errorf("ask bitcoind: %s", bad.Error()) // not Malformed any more: another try may do
	}
	return err
}

// block fetches a block by its hash.
func (n *node) block(ctx context.Context, hash string) (*market.Block, error) {
	var (
		h    blockHeader
		s    blockStats
		b    *market.Block
		err1 error
	)
	err := n.rpc.call(ctx, "getblockheader", func(raw []byte, _ time.Time) (err error) {
		h, err = decodeHeader(raw)
		return err
	}, hash)
	if err != nil {
		return nil, err
	}
	if *h.Confirmations < 0 {
		return nil, fmt.Errorf("fetch block %s: %w", hash, errLeftChain)
	}
	err = n.rpc.call(ctx, "getblockstats", func(raw []byte, recv time.Time) error {
		if s, err1 = decodeStats(raw); err1 == nil {
			b, err1 = coreBlock(h, s, recv)
		}
		return err1
	}, hash, statsAsked)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// page is the block at a height: what the linker asks for where it has a hole.
func (n *node) page(ctx context.Context, at uint64) ([]*market.Block, error) {
	var hash string
	err := n.rpc.call(ctx, "getblockhash", func(raw []byte, _ time.Time) (err error) {
		hash, err = decodeHash(raw)
		return err
	}, at)
	if err != nil {
		return nil, n.lost(ctx, err)
	}
	b, err := n.block(ctx, hash)
	if err != nil {
		return nil, n.lost(ctx, err)
	}
	return []*market.Block{b}, nil
}

// lost tells the failures of the node from those of one block, which it has pruned or which has left its chain meanwhile.
func (n *node) lost(ctx context.Context, err error) error {
	err = n.refuse(ctx, err)
	if e, ok := errors.AsType[*rpcError](err); ok && e.Code != rpcWarmingUp || errors.Is(err, errLeftChain) || isSink(err) {
		return err
	}
	return lostError{err}
}

// errLeftChain says that a block was reorganised away between two calls.
var errLeftChain = errors.New("the block has left the chain meanwhile")

// state tells the difficulty that is in force at a new tip. Core estimates no next change.
func (n *node) state(ctx context.Context, tip uint64, recv time.Time) error {
	d, ok := n.chain.difficultyAt(tip)
	if !ok {
		return nil
	}
	return n.difficulty(ctx, tip, d, market.Meta{EventTime: recv, RecvTime: recv})
}

// retarget tells the first block of a period when it is published, live or fetched.
func (n *node) retarget(ctx context.Context, b *market.Block) error {
	if b.Height%retargetBlocks != 0 {
		return nil
	}
	return n.difficulty(ctx, b.Height, b.Difficulty, market.Meta{EventTime: b.EventTime, RecvTime: b.RecvTime, Backfill: b.Backfill})
}

func (n *node) difficulty(ctx context.Context, height uint64, d market.Decimal, meta market.Meta) error {
	next := (height/retargetBlocks + 1) * retargetBlocks
	ev := &market.Difficulty{
		Meta: meta, Height: height, Difficulty: d, ChangePercent: math.NaN(), EstimatedChangePercent: math.NaN(),
		RemainingBlocks: uint32(next - height), NextRetargetHeight: next,
	}
	if start := next - retargetBlocks; start > 0 {
		if before, ok := n.chain.heldDifficulty(start - 1); ok {
			was, _ := before.Float64()
			now, _ := d.Float64()
			ev.ChangePercent = (now/was - 1) * 100
		}
	}
	_, err := n.f.Emit(ctx, ev, bitcoindRPC, nil)
	return err
}
