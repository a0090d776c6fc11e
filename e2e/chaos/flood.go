//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// floodConfig is that of a feed whose upstream sends more than can be taken.
type floodConfig struct {
	NATS   string `json:"nats"`
	Source string `json:"source"`
	// Told is the file that takes what it did, a line of JSON every second and one at its end.
	Told string `json:"told"`
	// Spacing is the time from one event of the upstream to the next; 0: the upstream waits for us, and we for the lander.
	Spacing time.Duration `json:"spacing"`
	For     time.Duration `json:"for"`
}

// floodTold is a line of what the flood did.
type floodTold struct {
	// Base is the time of the first event; event n is of Base + n times Spacing, in nanoseconds.
	Base    int64 `json:"base"`
	Spacing int64 `json:"spacing"`
	// Offered is what the upstream has sent, Taken what the publisher took, Dropped what passed by while it took nothing; Stored is acknowledged.
	Offered int64  `json:"offered"`
	Taken   int64  `json:"taken"`
	Dropped int64  `json:"dropped"`
	Gaps    int    `json:"gaps"`
	Stored  uint64 `json:"stored"`
	Retries uint64 `json:"retries"`
	// BlockedS is for how long it stood still in all because the publisher had no room.
	BlockedS float64 `json:"blocked_s"`
	Ended    bool    `json:"ended"`
}

const (
	// upstreamHolds is what the sockets and a patient venue hold for a feed that does not read; what is older is gone.
	upstreamHolds = time.Second
	// waitingMost are the messages that may wait for the lander while the capacity is measured.
	waitingMost = 256
	// tradeEvery: one event of so many is a trade, the others are quotes, as on a tape.
	tradeEvery = 16
)

// flood is a feed of one source over the code that every feed of ours stands on: what it publishes goes through feed.Emit and bus.Publisher, and what it
// cannot take is a line of the gap ledger.
type flood struct {
	cfg     floodConfig
	base    time.Time
	feed    *feed.Feed
	pub     *bus.Publisher
	offered atomic.Int64
	taken   atomic.Int64
	dropped atomic.Int64
	gaps    atomic.Int64
	blocked atomic.Int64 // ns
}

func runFlood(ctx context.Context, cfg floodConfig) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	file, err := os.OpenFile(cfg.Told, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	bcfg := bus.DefaultConfig()
	bcfg.URL = cfg.NATS
	b, err := bus.Connect(bcfg, nil, log)
	if err != nil {
		return err
	}
	defer b.Close()
	f := &flood{cfg: cfg, pub: b.NewPublisher(bus.PublisherConfig{})}
	if f.feed, err = feed.New(feed.Config{Source: cfg.Source, Sink: f.pub, Logger: log}); err != nil {
		return err
	}
	if err := f.feed.State(ctx, market.FeedConnected, ""); err != nil {
		return err
	}
	f.base = time.Now()
	told := make(chan error, 1)
	tellCtx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { told <- f.tell(tellCtx, file) }()
	if cfg.Spacing > 0 {
		err = f.open(ctx)
	} else {
		err = f.closed(ctx, b)
	}
	if err == nil {
		err = f.pub.Close(ctx)
	}
	stop()
	if terr := <-told; err == nil {
		err = terr
	}
	if err == nil {
		err = f.write(file, true)
	}
	return err
}

// spacing of the events' times: where the upstream waits, they come a microsecond apart.
func (f *flood) spacing() time.Duration { return max(f.cfg.Spacing, time.Microsecond) }

func (f *flood) at(n int64) time.Time { return f.base.Add(time.Duration(n) * f.spacing()).UTC() }

func (f *flood) emit(ctx context.Context, n int64) error {
	began := time.Now()
	isNew, err := f.feed.Emit(ctx, floodEvent(n, f.at(n)), "flood", nil)
	if err == nil && !isNew {
		err = fmt.Errorf("event %d was not taken: refused, or told before", n)
	}
	if took := time.Since(began); took > time.Millisecond {
		f.blocked.Add(int64(took))
	}
	f.taken.Add(1)
	return err
}

func floodEvent(n int64, at time.Time) market.Event {
	meta := market.Meta{EventTime: at}
	symbol := symbols[n%int64(len(symbols))]
	if n%tradeEvery == 0 {
		// By turns, or all trades would be of one symbol.
		symbol = symbols[n/tradeEvery%int64(len(symbols))]
		return &market.Trade{
			Meta: meta, Action: market.TradeNew, Symbol: symbol, ID: strconv.FormatInt(n, 10), Exchange: "V", Tape: "C", PriceUSD: price(1, int(n)),
			SizeShares: market.MustDecimal("100"), Conditions: []string{"@"},
		}
	}
	return &market.Quote{
		Meta: meta, Symbol: symbol, BidExchange: "V", AskExchange: "V", BidPriceUSD: price(1, int(n)), AskPriceUSD: price(1, int(n)),
		BidSizeShares: market.MustDecimal("1"), AskSizeShares: market.MustDecimal("2"), Conditions: []string{"R"}, Tape: "C",
	}
}

// closed publishes as fast as all is landed.
func (f *flood) closed(ctx context.Context, b *bus.Bus) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := int64(0); time.Since(f.base) < f.cfg.For; {
		info, err := b.Info(ctx, market.Quotes)
		if err != nil {
			return err
		}
		l, _, err := b.Landing(ctx, market.Quotes)
		if err != nil {
			return err
		}
		waiting := int64(info.LastSeq) - max(int64(l.First)-1, 0)
		if waiting >= waitingMost {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		// A quarter of what may wait, in full messages.
		for range waitingMost / 4 * 512 {
			if err := f.emit(ctx, n); err != nil {
				return err
			}
			n++
		}
		f.offered.Store(n)
		if err := f.pub.Flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// open takes what the upstream sends by its own clock. What is not taken within upstreamHolds has passed by.
func (f *flood) open(ctx context.Context) error {
	total, holds := int64(f.cfg.For/f.cfg.Spacing), int64(upstreamHolds/f.cfg.Spacing)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for next := int64(0); next < total; {
		due := min(int64(time.Since(f.base)/f.cfg.Spacing), total)
		f.offered.Store(due)
		switch {
		case due-next > holds:
			if err := f.drop(ctx, next, due); err != nil {
				return err
			}
			next = due
		case due == next:
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
		for end := min(due, next+1024); next < end; next++ {
			if err := f.emit(ctx, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop writes what has passed by into the ledger. This upstream has no history, so the line stands for ever.
func (f *flood) drop(ctx context.Context, from, to int64) error {
	f.dropped.Add(to - from)
	f.gaps.Add(1)
	gap, err := f.feed.OpenGap(ctx, "*", f.at(from), f.at(to-1), "the publisher had no room while the upstream sent on")
	if err != nil {
		return err
	}
	return f.feed.SettleGap(ctx, gap, f.at(to-1), market.GapGivenUp, 0)
}

// tell writes what was done, each second, until ctx ends.
func (f *flood) tell(ctx context.Context, file *os.File) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := f.write(file, false); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *flood) write(file *os.File, ended bool) error {
	s := f.pub.Stats()
	line, err := json.Marshal(floodTold{
		Base: f.base.UnixNano(), Spacing: int64(f.spacing()), Offered: f.offered.Load(), Taken: f.taken.Load(), Dropped: f.dropped.Load(), Gaps: int(f.gaps.Load()),
		Stored: s.Events, Retries: s.Retries, BlockedS: time.Duration(f.blocked.Load()).Seconds(), Ended: ended,
	})
	if err == nil {
		_, err = file.Write(append(line, '\n'))
	}
	return err
}

// readFlood is the last whole line that a flood told.
func readFlood(path string) (t floodTold, _ error) {
	lines := lastLines(path, 2)
	for i := len(lines) - 1; i >= 0; i-- {
		if json.Unmarshal([]byte(lines[i]), &t) == nil {
			return t, nil
		}
	}
	return t, fmt.Errorf("read %s: it has no whole line yet", path)
}
