package hashprice

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/coinbase"
	"github.com/hashpivot/hashpivot/pkg/sim/mempool"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sims are both upstreams on loopback.
type sims struct {
	mempool  *mempool.Server
	coinbase *coinbase.Server
	cfg      Config
}

const recordings = "../../../shared/data"

func start(t *testing.T, mc mempool.Config, cc coinbase.Config) *sims {
	t.Helper()
	if mc.Dir == "" {
		w, err := world.New(world.Config{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		mc.World, cc.World = w, w
	}
	m, err := mempool.New(mc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := coinbase.New(cc)
	if err != nil {
		t.Fatal(err)
	}
	ms, cs := httptest.NewServer(m.Handler()), httptest.NewServer(c.Handler())
	t.Cleanup(func() {
		m.Close()
		c.Close()
		ms.Close()
		cs.Close()
	})
	cfg := DefaultConfig()
	cfg.Mempool.Source, cfg.Coinbase.Source, cfg.Calculator.Source = "sim-mempool", "sim-coinbase", "sim-hashpivot"
	cfg.Mempool.StreamURL = "ws" + strings.TrimPrefix(ms.URL, "http") + "/api/v1/ws"
	cfg.Mempool.RESTURL = ms.URL + "/api"
	cfg.Coinbase.StreamURL = "ws" + strings.TrimPrefix(cs.URL, "http")
	cfg.Coinbase.RESTURL = cs.URL
	cfg.Mempool.CallEvery, cfg.Coinbase.CallEvery = 0, 0
	cfg.Kraken.Enabled, cfg.Braiins.Enabled, cfg.CoinMetrics.Enabled = false, false, false // tests of theirs turn them on
	cfg.Calculator.MinEvery, cfg.Calculator.MaxEvery = 5*time.Millisecond, 200*time.Millisecond
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &sims{m, c, cfg}
}

// runService runs the service until stop is called, which waits for it and fails the test on an error.
func runService(t *testing.T, cfg Config, mem *feedtest.Memory) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	go func() { done <- Run(ctx, cfg, feed.Deps{Sink: mem, History: mem, Logger: log}) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("service: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func wait(t *testing.T, mem *feedtest.Memory, what string, ok func([]market.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if !mem.Wait(ctx, ok) {
		t.Fatalf("waited in vain for %s; %d events", what, mem.Len())
	}
}

func count[T market.Event](events []market.Event, ok func(T) bool) int {
	n := 0
	for _, ev := range events {
		if x, is := ev.(T); is && (ok == nil || ok(x)) {
			n++
		}
	}
	return n
}

func fast() mempool.Config {
	return mempool.Config{Seed: 1, BlockEvery: 100 * time.Millisecond, StatsEvery: 50 * time.Millisecond, ConversionsEvery: 100 * time.Millisecond, HistoryDays: 1, Origin: time.Now().Add(-time.Minute)}
}

func ticks() coinbase.Config {
	return coinbase.Config{Seed: 1, TickEvery: 10 * time.Millisecond, HeartbeatEvery: 50 * time.Millisecond}
}

func live(h *market.Hashprice) bool { return h.Method == methodLive }

func TestPublishesEverythingOfTheNetwork(t *testing.T) {
	t.Parallel()
	mc := fast()
	mc.BlockEvery, mc.HistoryDays, mc.Origin = 0, 20, time.Now().Add(-24*time.Hour) // no halving near
	s := start(t, mc, ticks())
	mem := feedtest.NewMemory()
	stop := runService(t, s.cfg, mem)
	wait(t, mem, "every kind of event", func(evs []market.Event) bool {
		return count[*market.Block](evs, nil) >= 144 && count[*market.Fees](evs, nil) > 0 && count[*market.BTCPrice](evs, nil) > 5 &&
			count[*market.Difficulty](evs, nil) > 0 && count[*market.Bar](evs, nil) > 30 &&
			count(evs, live) > 2 && count(evs, func(h *market.Hashprice) bool { return h.Method == methodDaily }) > 10
	})
	stop()
	if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) > 0 {
		t.Errorf("%d dead letters, the first: %s %s %s", len(dead), dead[0].Reason, dead[0].Subject, dead[0].Detail)
	}
	checkChain(t, mem)
	for _, h := range feedtest.Of[*market.Hashprice](mem) {
		if h.Source != "sim-hashpivot" || h.HashpriceUSD.Cmp(market.MustDecimal("20")) < 0 || h.HashpriceUSD.Cmp(market.MustDecimal("80")) > 0 {
			t.Fatalf("an unlikely hashprice: %+v", h)
		}
	}
}

// checkChain checks that the last word of the published blocks is one chain without holes.
func checkChain(t *testing.T, mem *feedtest.Memory) map[uint64]*market.Block {
	t.Helper()
	last := map[uint64]*market.Block{}
	low, high := ^uint64(0), uint64(0)
	for _, b := range feedtest.Of[*market.Block](mem) {
		if old, ok := last[b.Height]; ok && b.Rev <= old.Rev {
			t.Errorf("height %d told again (%.24s…, rev %d) after %.24s…, rev %d", b.Height, b.Hash, b.Rev, old.Hash, old.Rev)
		}
		last[b.Height] = b
		low, high = min(low, b.Height), max(high, b.Height)
	}
	for h := low; h <= high && len(last) > 0; h++ {
		b, ok := last[h]
		if !ok {
			t.Errorf("block %d is missing between %d and %d", h, low, high)
			continue
		}
		if below, ok := last[h-1]; ok && b.PreviousHash != below.Hash {
			t.Errorf("block %d follows %.28s, but %d is %.28s", h, b.PreviousHash, h-1, below.Hash)
		}
	}
	return last
}

func TestFillsTheHoleOfADrop(t *testing.T) {
	t.Parallel()
	s := start(t, fast(), ticks())
	s.cfg.HistoryFrom = ""
	mem := feedtest.NewMemory()
	stop := runService(t, s.cfg, mem)
	wait(t, mem, "a live hashprice", func(evs []market.Event) bool { return count(evs, live) > 0 })
	before := mem.Len()
	s.mempool.Mute(true)
	s.mempool.DropAll()
	// The next session gets no snapshot while mute; blocks go on below.
	s.mempool.Mute(false)
	wait(t, mem, "a filled gap and new blocks", func(evs []market.Event) bool {
		return count(evs[before:], func(g *market.FeedGap) bool { return g.State == market.GapFilled }) > 0 && count[*market.Block](evs[before:], nil) > 3
	})
	stop()
	checkChain(t, mem)
}

func TestTearsAMuteFeedDown(t *testing.T) {
	t.Parallel()
	s := start(t, fast(), ticks())
	s.cfg.HistoryFrom = ""
	s.cfg.Mempool.StaleAfter, s.cfg.Coinbase.StaleAfter = 300*time.Millisecond, 300*time.Millisecond
	mem := feedtest.NewMemory()
	stop := runService(t, s.cfg, mem)
	wait(t, mem, "a live hashprice", func(evs []market.Event) bool { return count(evs, live) > 0 })
	s.mempool.Mute(true)
	s.coinbase.Mute(true)
	wait(t, mem, "both feeds stale", func(evs []market.Event) bool {
		return count(evs, func(f *market.FeedEvent) bool { return f.State == market.FeedStale && f.Source == "sim-mempool" }) > 0 &&
			count(evs, func(f *market.FeedEvent) bool { return f.State == market.FeedStale && f.Source == "sim-coinbase" }) > 0
	})
	s.mempool.Mute(false)
	s.coinbase.Mute(false)
	wait(t, mem, "both gaps settled", func(evs []market.Event) bool {
		return count(evs, func(g *market.FeedGap) bool { return g.State == market.GapFilled && g.Source == "sim-mempool" }) > 0 &&
			count(evs, func(g *market.FeedGap) bool { return g.State == market.GapGivenUp && g.Source == "sim-coinbase" }) > 0
	})
	stop()
	checkChain(t, mem)
}

func TestGoesOnAfterBadInput(t *testing.T) {
	t.Parallel()
	s := start(t, fast(), ticks())
	s.cfg.HistoryFrom = ""
	mem := feedtest.NewMemory()
	stop := runService(t, s.cfg, mem)
	wait(t, mem, "a live hashprice", func(evs []market.Event) bool { return count(evs, live) > 0 })
	huge := []byte(`{"blocks":"` + strings.Repeat("x", 5<<20) + `"}`)
	for _, x := range []struct {
		frame  string
		reason market.Reason
	}{
		{`{"block":{"id":"00`, feed.ReasonMalformed},
		{`[1,2,3]`, feed.ReasonType},
		{`{"fees":"none"}`, feed.ReasonType},
		{`{"somethingElse":1}`, feed.ReasonUnknownType},
		{`{"block":{"id":"00ff","height":5}}`, market.ReasonMissing},
		{`{"block":{"id":"00ff","height":99999999,"timestamp":1700000000,"difficulty":1,"extras":{"totalFees":1,"reward":2}}}`, market.ReasonValue},
		// Higher than the tip and impossible: it must not become the tip.
		{`{"block":{"id":"00ff","height":1100000,"timestamp":1700000000,"difficulty":1,"extras":{"totalFees":-5,"reward":2}}}`, market.ReasonValue},
		{`{"conversions":{"time":1700000000,"USD":-2}}`, market.ReasonPrice},
		{`{"conversions":{"time":4700000000,"USD":5}}`, market.ReasonFuture},
	} {
		s.mempool.Inject([]byte(x.frame), false)
		wait(t, mem, string(x.reason)+" of "+x.frame, func(evs []market.Event) bool {
			return count(evs, func(d *market.DeadLetter) bool {
				return d.Reason == x.reason && d.Source == "sim-mempool" && string(d.Payload) == x.frame
			}) > 0
		})
	}
	s.mempool.Inject([]byte(`{"conversions":{"time":1700000000,"USD":-1}}`), false) // unknown is no error
	s.coinbase.Inject([]byte(`{"channel":"ticker","timestamp":"2026-04-07T14:30:03Z","events":[{"tickers":[{"product_id":"BTC-USD","price":68900.5}]}]}`), false)
	s.coinbase.Inject([]byte(`{"channel":"ticker","timestamp":"yesterday"}`), false)
	s.coinbase.Inject([]byte(`{"channel":"level2","events":[]}`), false)
	wait(t, mem, "coinbase's dead letters", func(evs []market.Event) bool {
		return count(evs, func(d *market.DeadLetter) bool { return d.Source == "sim-coinbase" }) >= 3
	})
	s.mempool.Inject(huge, false)
	wait(t, mem, "the huge message's dead letter", func(evs []market.Event) bool {
		return count(evs, func(d *market.DeadLetter) bool { return d.Reason == feed.ReasonTooLarge }) > 0
	})
	n := mem.Len()
	wait(t, mem, "blocks after all that", func(evs []market.Event) bool { return count[*market.Block](evs[n:], nil) > 2 })
	stop()
	checkChain(t, mem)
}

func TestReconnectsOnASequenceGap(t *testing.T) {
	t.Parallel()
	s := start(t, fast(), ticks())
	s.cfg.HistoryFrom = ""
	mem := feedtest.NewMemory()
	runService(t, s.cfg, mem)
	isPrice := func(p *market.BTCPrice) bool { return p.Source == "sim-coinbase" }
	wait(t, mem, "prices", func(evs []market.Event) bool { return count(evs, isPrice) > 3 })
	s.coinbase.SkipSequence()
	wait(t, mem, "a gap given up", func(evs []market.Event) bool {
		return count(evs, func(f *market.FeedEvent) bool { return strings.Contains(f.Detail, "sequence gap") }) == 1 &&
			count(evs, func(g *market.FeedGap) bool { return g.State == market.GapGivenUp }) == 1
	})
	n := mem.Len()
	wait(t, mem, "prices after it", func(evs []market.Event) bool { return count(evs[n:], isPrice) > 3 })
}

func TestTellsAReorganisationAsRevisions(t *testing.T) {
	t.Parallel()
	s := start(t, fast(), ticks())
	s.cfg.HistoryFrom = ""
	mem := feedtest.NewMemory()
	stop := runService(t, s.cfg, mem)
	wait(t, mem, "a live hashprice", func(evs []market.Event) bool { return count(evs, live) > 0 })
	s.mempool.Reorg(5) // the newest may be found and not pushed yet: then it is new to us, not revised
	wait(t, mem, "revised blocks", func(evs []market.Event) bool {
		return count(evs, func(b *market.Block) bool { return b.Rev == 1 }) >= 3
	})
	s.mempool.Reorg(12) // deeper than the eight blocks that the push shows
	wait(t, mem, "blocks revised again", func(evs []market.Event) bool {
		return count(evs, func(b *market.Block) bool { return b.Rev >= 1 }) >= 10
	})
	settled(t, mem)
	stop()
	checkChain(t, mem)

	// The revision goes on after a restart.
	n := mem.Len()
	s.mempool.Reorg(12)
	stop = runService(t, s.cfg, mem)
	wait(t, mem, "revisions after the restart", func(evs []market.Event) bool {
		return count(evs[n:], func(b *market.Block) bool { return b.Rev >= 1 }) >= 1 && count(evs[n:], live) > 0
	})
	settled(t, mem)
	stop()
	checkChain(t, mem)
}

// settled waits for two new heights, so that a reorganisation is not checked in the middle of its telling.
func settled(t *testing.T, mem *feedtest.Memory) {
	t.Helper()
	n := mem.Len()
	wait(t, mem, "new blocks", func(evs []market.Event) bool {
		return count(evs[n:], func(b *market.Block) bool { return b.Rev == 0 && !b.Backfill }) >= 2
	})
}

func TestRestartFillsWhatWasMissedAndDoublesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, fast(), ticks())
	s.cfg.HistoryFrom = ""
	mem := feedtest.NewMemory()
	stop := runService(t, s.cfg, mem)
	wait(t, mem, "a live hashprice", func(evs []market.Event) bool { return count(evs, live) > 0 })
	stop()
	n := mem.Len()
	last := uint64(0)
	for _, b := range feedtest.Of[*market.Block](mem) {
		last = max(last, b.Height)
	}
	// Blocks are found while the service is down.
	for deadline := time.Now().Add(10 * time.Second); s.mempoolTip(t) < last+12 && time.Now().Before(deadline); {
		<-time.After(50 * time.Millisecond)
	}
	stop = runService(t, s.cfg, mem)
	wait(t, mem, "the missed blocks", func(evs []market.Event) bool {
		return count(evs[n:], func(b *market.Block) bool { return b.Backfill && b.Height > last }) >= 3 && count(evs[n:], live) > 0
	})
	stop()
	checkChain(t, mem)
	// The absence is in the ledger: blocks were filled, ticks are gone.
	for source, state := range map[string]market.GapState{"sim-mempool": market.GapFilled, "sim-coinbase": market.GapGivenUp} {
		var last *market.FeedGap
		for _, g := range feedtest.Of[*market.FeedGap](mem) {
			if g.Source == source {
				last = g
			}
		}
		if last == nil || last.State != state || last.Reason != "not running" || !last.To.After(last.From) {
			t.Errorf("%s: the ledger's last line is %+v, want %s", source, last, state)
		}
	}
}

func (s *sims) mempoolTip(t *testing.T) uint64 {
	t.Helper()
	resp, err := feed.Call(t.Context(), httpClient(t), feed.Request{URL: s.cfg.Mempool.RESTURL + "/v1/blocks"})
	if err != nil {
		t.Fatal(err)
	}
	bs, err := decodeBlocks(resp.Body, resp.Recv)
	if err != nil || len(bs) == 0 {
		t.Fatalf("blocks: %v", err)
	}
	return bs[len(bs)-1].Height
}

func TestSurvivesHTTPFaults(t *testing.T) {
	t.Parallel()
	mc := fast()
	mc.BlockEvery, mc.HistoryDays, mc.Origin = 0, 20, time.Time{}
	s := start(t, mc, ticks())
	s.cfg.HistoryEvery = 200 * time.Millisecond
	s.mempool.Faults().Order(1, fault429())
	s.mempool.Faults().Order(2, fault500())
	s.mempool.Faults().Order(1, truncated())
	s.mempool.Faults().Order(1, garbage())
	s.coinbase.Faults().Order(1, fault500())
	s.coinbase.Faults().Order(1, garbage())
	mem := feedtest.NewMemory()
	runService(t, s.cfg, mem)
	wait(t, mem, "live and daily hashprice in spite of the faults", func(evs []market.Event) bool {
		return count(evs, live) > 0 && count(evs, func(h *market.Hashprice) bool { return h.Method == methodDaily }) > 10 &&
			count[*market.Bar](evs, nil) > 30
	})
	if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) != 2 {
		t.Errorf("%d dead letters, want the two garbage bodies", len(dead))
	}
}
