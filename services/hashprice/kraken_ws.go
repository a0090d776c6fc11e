package hashprice

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// krakenSpot is the Kraken price feed.
type krakenSpot struct {
	cfg     KrakenConfig
	f       *feed.Feed
	onPrice func(*market.BTCPrice)

	lastTrade uint64 // trade ids of a symbol count without holes
}

const (
	krakenWS     = "kraken websocket"
	krakenTicker = "ticker"
	krakenTrade  = "trade"
)

func (k *krakenSpot) run(ctx context.Context) error {
	p := feed.DefaultPolicy()
	// Cloudflare bans who connects more than some 150 times in ten minutes.
	p.FirstWait = time.Second
	p.Stale = func(time.Time) time.Duration { return k.cfg.StaleAfter }
	if err := k.f.Run(ctx, p, k.session); err != nil {
		return fmt.Errorf("run feed %s: %w", k.f.Source(), err)
	}
	return nil
}

func (k *krakenSpot) session(ctx context.Context, s *feed.Session) error {
	conn, err := k.f.Dial(ctx, feed.WebsocketConfig{URL: k.cfg.StreamURL})
	if err != nil {
		return err
	}
	defer conn.Close()
	data, err := json.Marshal(map[string]any{
		"method": "subscribe", "params": map[string]any{"channel": k.cfg.Channel, "symbol": []string{k.cfg.Symbol}}, "req_id": 1,
	})
	if err != nil {
		return fmt.Errorf("encode subscription: %w", err)
	}
	if err := conn.Write(data, false); err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	r := read(reading, conn, s)
	defer r.done.Wait()
	defer conn.Close()
	defer stop() // a reader with a full queue waits for us, who have left
	k.lastTrade = 0
	for frame := range r.frames {
		if err := k.frame(ctx, s, frame); err != nil {
			return err
		}
	}
	return r.end(ctx, k.f, krakenWS, false)
}

// frame handles one message. Its errors end the session.
func (k *krakenSpot) frame(ctx context.Context, s *feed.Session, frame feed.Frame) error {
	m, err := decodeKraken(frame.Data, k.cfg.Channel, k.cfg.Symbol, frame.Recv)
	if err != nil {
		if err := k.f.Reject(ctx, krakenWS, feed.ReasonOf(err, feed.ReasonMalformed), err, frame.Data); err != nil {
			return err
		}
	}
	if m.Error != "" {
		err := fmt.Errorf("subscribe to %s of %s: the venue says %.200q", k.cfg.Channel, k.cfg.Symbol, m.Error)
		if strings.HasPrefix(m.Error, "Currency pair not supported") {
			return feed.Refused(err)
		}
		return err
	}
	if m.System != "" && m.System != "online" {
		k.f.Logger().Warn("kraken is not trading as usual; its prices will age out", "system", m.System)
	}
	if m.Acked == k.cfg.Channel || len(m.Prices) > 0 {
		if err := s.Ready(ctx); err != nil {
			return err
		}
		if err := giveUp(ctx, k.f, frame.Recv); err != nil {
			return err
		}
	}
	for _, p := range m.Prices {
		told, err := k.f.Emit(ctx, p, krakenWS, frame.Data)
		if err != nil {
			return err
		}
		if told {
			k.onPrice(p)
		}
		if p.VenueSeq > 0 {
			if k.lastTrade > 0 && p.VenueSeq > k.lastTrade+1 {
				return fmt.Errorf("sequence gap: trade %d came where %d was due", p.VenueSeq, k.lastTrade+1)
			}
			k.lastTrade = max(k.lastTrade, p.VenueSeq)
		}
	}
	return nil
}

// giveUp settles the gaps of a source of ticks, which have no history.
func giveUp(ctx context.Context, f *feed.Feed, to time.Time) error {
	for _, g := range f.OpenGaps() {
		if to.Before(g.From) {
			to = g.From
		}
		if err := f.SettleGap(ctx, g, to, market.GapGivenUp, 0); err != nil {
			return err
		}
	}
	return nil
}
