//go:build linux

package chaos

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// loadConfig is the load generator's.
type loadConfig struct {
	NATS string `json:"nats"`
	// Dir takes a file for each life of the process: what it has been told is stored.
	Dir string `json:"dir"`
	// Rate in events a second.
	Rate     int `json:"rate"`
	Replicas int `json:"replicas"`
}

// tickEvery is how often the load generator publishes and waits until what it published is stored.
const tickEvery = 100 * time.Millisecond

// runLoad publishes known events until ctx ends. Event n of a life is the same in every run; after each tick the life's file says up to which n
// everything is acknowledged. What is published and not acknowledged when the process dies may or may not be stored.
func runLoad(ctx context.Context, cfg loadConfig) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	life, err := nextLife(cfg.Dir)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(lifeFile(cfg.Dir, life), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	bcfg := bus.DefaultConfig()
	bcfg.URL, bcfg.Replicas, bcfg.MaxBytes = cfg.NATS, cfg.Replicas, streamBytes
	var b *bus.Bus
	for b == nil {
		if b, err = bus.Connect(bcfg, nil, log); err != nil {
			log.Warn("not connected yet", "err", err)
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
	}
	defer b.Close()
	pub := b.NewPublisher(bus.PublisherConfig{})
	end, cancel := context.WithCancel(context.Background()) // what is published is waited for, also at the end
	defer cancel()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	perTick := max(1, cfg.Rate*int(tickEvery)/int(time.Second))
	for n := 0; ctx.Err() == nil; {
		// The most that this tick can store is known before it is tried.
		if _, err := fmt.Fprintf(file, "try %d\n", n+perTick); err != nil {
			return err
		}
		for range perTick {
			if err := pub.Publish(end, event(life, n)); err != nil {
				return err
			}
			n++
		}
		if err := pub.Flush(end); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(file, "ack %d\n", n); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return pub.Close(end)
}

// streamBytes bounds each stream of the cluster.
const streamBytes = 4 << 30

func lifeFile(dir string, life int) string { return filepath.Join(dir, "life-"+strconv.Itoa(life)) }

func nextLife(dir string) (int, error) {
	files, err := filepath.Glob(filepath.Join(dir, "life-*"))
	return len(files) + 1, err
}

// told is what a life of the load generator knows of: all below acked are stored, none from tried on was published.
type told struct{ acked, tried int }

// readTold reads the files of all lives.
func readTold(dir string) (map[int]told, error) {
	lives, err := nextLife(dir)
	if err != nil {
		return nil, err
	}
	out := map[int]told{}
	for life := 1; life < lives; life++ {
		data, err := os.ReadFile(lifeFile(dir, life))
		if err != nil {
			return nil, err
		}
		var t told
		for line := range strings.Lines(string(data)) {
			if !strings.HasSuffix(line, "\n") {
				break // cut short by a kill
			}
			var what string
			var n int
			if _, err := fmt.Sscan(line, &what, &n); err != nil {
				return nil, fmt.Errorf("read %s: %q: %w", lifeFile(dir, life), line, err)
			}
			switch what {
			case "ack":
				t.acked = n
			case "try":
				t.tried = n
			}
		}
		out[life] = t
	}
	return out, nil
}

// The events. n is in each one's time, to the millisecond; the life is in its source.

// loadBase is the time of the first event; every seventh event is of the month before, so that ranges span partitions.
var loadBase = time.Date(2026, 11, 3, 14, 30, 0, 0, time.UTC)

const monthBack = 20 * 24 * time.Hour

type kind int

const (
	kindTrade kind = iota
	kindQuote
	kindHalt
	kindDead // a trade that no table takes
)

func kindOf(n int) kind {
	switch {
	case n%499 == 7:
		return kindDead
	case n%10 == 8:
		return kindQuote
	case n%10 == 9:
		return kindHalt
	}
	return kindTrade
}

func eventTime(n int) time.Time {
	t := loadBase.Add(time.Duration(n) * time.Millisecond)
	if n%7 == 3 {
		t = t.Add(-monthBack)
	}
	return t
}

// numberOf is the inverse of eventTime.
func numberOf(t time.Time) int {
	if t.Before(loadBase) {
		t = t.Add(monthBack)
	}
	return int(t.Sub(loadBase) / time.Millisecond)
}

var symbols = []string{"WGMI", "CORZ", "BTBT", "IREN", "RIOT", "MARA", "CLSK", "HUT"}

func loadSource(life int) string { return "sim-chaos-" + strconv.Itoa(life) }

// cents is the price of an event.
func cents(life, n int) int { return 1000 + (life*7919+n*31)%9000 }

func price(life, n int) market.Decimal {
	c := cents(life, n)
	return market.MustDecimal(fmt.Sprintf("%d.%02d", c/100, c%100))
}

func event(life, n int) market.Event {
	t := eventTime(n)
	meta := market.Meta{Source: loadSource(life), EventTime: t, RecvTime: t.Add(time.Millisecond)}
	symbol := symbols[n%len(symbols)]
	switch kindOf(n) {
	case kindQuote:
		return &market.Quote{
			Meta: meta, Symbol: symbol, BidExchange: "V", AskExchange: "V", BidPriceUSD: price(life, n), AskPriceUSD: price(life, n),
			BidSizeShares: market.MustDecimal("1"), AskSizeShares: market.MustDecimal("2"), Conditions: []string{"R"}, Tape: "C",
		}
	case kindHalt:
		return &market.Halt{Meta: meta, Kind: market.HaltStatus, Symbol: symbol, StatusCode: "H", StatusText: strconv.Itoa(cents(life, n)), Tape: "C"}
	}
	tr := &market.Trade{
		Meta: meta, Action: market.TradeNew, Symbol: symbol, ID: strconv.Itoa(n), Exchange: "V", Tape: "C", PriceUSD: price(life, n),
		SizeShares: market.MustDecimal("100"), Conditions: []string{"@"},
	}
	if kindOf(n) == kindDead {
		tr.PriceUSD = market.MustDecimal("0")
	}
	return tr
}
