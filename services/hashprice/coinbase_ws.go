package hashprice

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// spot is the Coinbase price feed.
type spot struct {
	cfg       CoinbaseConfig
	stopAtEnd bool
	f         *feed.Feed
	onPrice   func(*market.BTCPrice)
}

const coinbaseWS = "coinbase websocket"

func (c *spot) run(ctx context.Context) error {
	p := feed.DefaultPolicy()
	p.Stale = func(time.Time) time.Duration { return c.cfg.StaleAfter }
	if err := c.f.Run(ctx, p, c.session); err != nil {
		return fmt.Errorf("run feed %s: %w", c.f.Source(), err)
	}
	return nil
}

func (c *spot) session(ctx context.Context, s *feed.Session) error {
	conn, err := c.f.Dial(ctx, feed.WebsocketConfig{URL: c.cfg.StreamURL})
	if err != nil {
		return err
	}
	defer conn.Close()
	// One channel per message. Without heartbeats a quiet channel is closed after a minute.
	for _, m := range []map[string]any{
		{"type": "subscribe", "product_ids": []string{c.cfg.Product}, "channel": "ticker"},
		{"type": "subscribe", "channel": "heartbeats"},
	} {
		data, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("encode subscription: %w", err)
		}
		if err := conn.Write(data, false); err != nil {
			return err
		}
	}
	reading, stop := context.WithCancel(ctx)
	r := read(reading, conn, s)
	defer r.done.Wait()
	defer conn.Close()
	defer stop() // a reader with a full queue waits for us, who have left
	next := uint64(0)
	for frame := range r.frames {
		if next, err = c.frame(ctx, s, frame, next); err != nil {
			return err
		}
	}
	return r.end(ctx, c.f, coinbaseWS, c.stopAtEnd)
}

// frame handles one message and returns the sequence number that must come next; 0: not known yet.
func (c *spot) frame(ctx context.Context, s *feed.Session, frame feed.Frame, next uint64) (uint64, error) {
	m, err := decodeTicker(frame.Data, c.cfg.Product, frame.Recv)
	if err != nil {
		if err := c.f.Reject(ctx, coinbaseWS, feed.ReasonOf(err, feed.ReasonMalformed), err, frame.Data); err != nil {
			return next, err
		}
	}
	if m.Error != "" {
		return next, fmt.Errorf("subscribe to %s of %s: the venue says %.200q", "ticker", c.cfg.Product, m.Error)
	}
	if m.HasSeq {
		if next > 0 && m.Seq != next {
			return next, fmt.Errorf("sequence gap: message %d came where %d was due", m.Seq, next)
		}
		next = m.Seq + 1
	}
	if slices.Contains(m.Subscribed, "ticker") || len(m.Prices) > 0 {
		if err := s.Ready(ctx); err != nil {
			return next, err
		}
		if err := giveUp(ctx, c.f, frame.Recv); err != nil {
			return next, err
		}
	}
	for _, p := range m.Prices {
		told, err := c.f.Emit(ctx, p, coinbaseWS, frame.Data)
		if err != nil {
			return next, err
		}
		if told {
			c.onPrice(p)
		}
	}
	return next, nil
}
