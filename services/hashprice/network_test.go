package hashprice

import (
	"fmt"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/bitcoind"
	simchain "github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/coinbase"
	"github.com/hashpivot/hashpivot/pkg/sim/kraken"
	"github.com/hashpivot/hashpivot/pkg/sim/mempool"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// observers are all simulators of one chain and one price.
type observers struct {
	world    *world.World
	chain    *simchain.Chain
	mempool  *mempool.Server
	bitcoind *bitcoind.Server
	coinbase *coinbase.Server
	kraken   *kraken.Server
	cfg      Config
}

// observe starts them. The chain stands still but for what a test mines, unless cc has a pace.
func observe(t *testing.T, cc simchain.Config) *observers {
	t.Helper()
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	cc.World, cc.Seed = w, 1
	if cc.Every == 0 {
		cc.Every = 10 * time.Minute
	}
	if cc.Origin.IsZero() {
		cc.Origin = time.Now().Add(-time.Second) // a block is at most nine minutes late: the next is far
	}
	o := &observers{world: w}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o.chain, err = simchain.New(cc)
	must(err)
	o.mempool, err = mempool.New(mempool.Config{World: w, Chain: o.chain, Seed: 1, StatsEvery: 20 * time.Millisecond, HistoryDays: 1})
	must(err)
	o.bitcoind, err = bitcoind.New(bitcoind.Config{Chain: o.chain, User: "u", Password: "pw", ZMQ: "tcp://127.0.0.1:0"})
	must(err)
	o.coinbase, err = coinbase.New(coinbase.Config{World: w, Seed: 1, TickEvery: 10 * time.Millisecond, HeartbeatEvery: 50 * time.Millisecond})
	must(err)
	o.kraken, err = kraken.New(kraken.Config{World: w, Seed: 1, TickEvery: 10 * time.Millisecond, HeartbeatEvery: 50 * time.Millisecond})
	must(err)
	ms, bs := httptest.NewServer(o.mempool.Handler()), httptest.NewServer(o.bitcoind.Handler())
	cs, ks := httptest.NewServer(o.coinbase.Handler()), httptest.NewServer(o.kraken.Handler())
	t.Cleanup(func() {
		o.mempool.Close()
		o.bitcoind.Close()
		o.coinbase.Close()
		o.kraken.Close()
		for _, s := range []*httptest.Server{ms, bs, cs, ks} {
			s.Close()
		}
	})
	ws := func(s *httptest.Server) string { return "ws" + strings.TrimPrefix(s.URL, "http") }
	c := DefaultConfig()
	c.HistoryFrom = ""
	c.Mempool.Source, c.Mempool.StreamURL, c.Mempool.RESTURL, c.Mempool.CallEvery = "sim-mempool", ws(ms)+"/api/v1/ws", ms.URL+"/api", 0
	c.Bitcoind.Source, c.Bitcoind.RPCURL, c.Bitcoind.ZMQURL = "sim-bitcoind", bs.URL, o.bitcoind.ZMQ()
	c.Bitcoind.User, c.Bitcoind.Password, c.Bitcoind.PollEvery = "u", "pw", 50*time.Millisecond
	c.Coinbase.Source, c.Coinbase.StreamURL, c.Coinbase.RESTURL, c.Coinbase.CallEvery = "sim-coinbase", ws(cs), cs.URL, 0
	c.Kraken.Source, c.Kraken.StreamURL = "sim-kraken", ws(ks)+"/v2"
	c.Braiins.Enabled, c.CoinMetrics.Enabled = false, false
	c.Calculator.Source, c.Calculator.MinEvery, c.Calculator.MaxEvery = "sim-hashpivot", 5*time.Millisecond, 100*time.Millisecond
	must(c.Validate())
	o.cfg = c
	return o
}

func of(source string) func(*market.Block) bool {
	return func(b *market.Block) bool { return b.Source == source }
}

// lastChain is the last word of a source's blocks, checked to be one chain without holes and of honest revisions.
func lastChain(t *testing.T, mem *feedtest.Memory, source string) map[uint64]*market.Block {
	t.Helper()
	only := feedtest.NewMemory()
	for _, b := range feedtest.Of[*market.Block](mem) {
		if b.Source == source {
			if err := only.Publish(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
	}
	return checkChain(t, only)
}

// holdsChain waits until the last word of a source is the simulators' chain from low to the tip, and checks it.
func (o *observers) holdsChain(t *testing.T, mem *feedtest.Memory, source string, low int64) {
	t.Helper()
	wait(t, mem, fmt.Sprintf("the chain of %s from %d to %d", source, low, o.chain.Tip(time.Now())), func(evs []market.Event) bool {
		last := map[uint64]*market.Block{}
		for _, ev := range evs {
			if b, ok := ev.(*market.Block); ok && b.Source == source {
				if old := last[b.Height]; old == nil || old.Rev <= b.Rev {
					last[b.Height] = b
				}
			}
		}
		for h := low; h <= o.chain.Tip(time.Now()); h++ {
			if b := last[uint64(h)]; b == nil || b.Hash != o.chain.Hash(h) {
				return false
			}
		}
		return true
	})
	lastChain(t, mem, source)
}

func atHeight(h uint64, source string) func([]market.Event) bool {
	return func(evs []market.Event) bool {
		return count(evs, func(p *market.Hashprice) bool { return live(p) && p.Height == h && p.Inputs[inputChain] == source }) > 0
	}
}

func lastLive(mem *feedtest.Memory) *market.Hashprice {
	var last *market.Hashprice
	for _, p := range feedtest.Of[*market.Hashprice](mem) {
		if live(p) {
			last = p
		}
	}
	return last
}

// A node of one's own is enough for blocks; its push alone finds new ones, and so does its poll alone.
func TestBitcoindAloneIsACompleteSourceOfBlocks(t *testing.T) {
	t.Parallel()
	for name, mute := range map[string]bool{"by push": false, "by poll while the push is mute": true} {
		t.Run(name, func(t *testing.T) {
			o := observe(t, simchain.Config{Height: 900_000})
			o.cfg.Mempool.Enabled = false
			if !mute {
				o.cfg.Bitcoind.PollEvery = time.Hour
			}
			o.bitcoind.MuteZMQ(mute)
			mem := feedtest.NewMemory()
			stop := runService(t, o.cfg, mem)
			tip := o.chain.Tip(time.Now())
			wait(t, mem, "a hashprice at the first tip", atHeight(uint64(tip), "sim-bitcoind"))
			for range 3 {
				for !mute && o.bitcoind.Subscribers() == 0 {
					<-time.After(time.Millisecond)
				}
				o.chain.Mine(1)
				tip++
				o.bitcoind.Notify()
				wait(t, mem, "a hashprice at the next tip", atHeight(uint64(tip), "sim-bitcoind"))
			}
			stop()
			blocks := lastChain(t, mem, "sim-bitcoind")
			if len(blocks) != 147 {
				t.Errorf("%d blocks, want the window of 144 and three more", len(blocks))
			}
			for h, b := range blocks {
				want := o.chain.Block(int64(h))
				if b.FeesSat != want.FeesSat || b.SubsidySat != want.SubsidySat || b.Hash != want.Hash || !b.EventTime.Equal(want.Time.Truncate(time.Second)) ||
					int64(b.TxCount) != want.Txs {
					t.Fatalf("%+v, the chain has %+v", b, want)
				}
			}
			if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) > 0 {
				t.Errorf("dead letter %s %s", dead[0].Subject, dead[0].Detail)
			}
		})
	}
}

// The halving of 20 April 2024, from the node and from mempool alike: golden vector 2 of the formula.
func TestHalving(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"sim-bitcoind", "sim-mempool"} {
		t.Run(source, func(t *testing.T) {
			o := observe(t, simchain.Config{Height: 839_999})
			if source == "sim-mempool" {
				o.cfg.Bitcoind.RPCURL = ""
			} else {
				o.cfg.Mempool.Enabled = false
			}
			// Each block of the window pays what block 840,000 did.
			for h := int64(839_856); h <= 840_000; h++ {
				o.chain.Set(h, simchain.Facts{FeesSat: 3762561499})
			}
			o.chain.Set(838_656, simchain.Facts{Difficulty: 86388558925171.02})
			if tip := o.chain.Tip(time.Now()); tip != 839_999 {
				o.chain.Mine(839_999 - tip)
			}
			mem := feedtest.NewMemory()
			runService(t, o.cfg, mem)
			wait(t, mem, "a hashprice before the halving", atHeight(839_999, source))
			if p := lastLive(mem); p.SubsidySat != 625_000_000 {
				t.Errorf("subsidy %d at %d", p.SubsidySat, p.Height)
			}
			o.chain.Mine(1)
			o.bitcoind.Notify()
			wait(t, mem, "a hashprice after the halving", atHeight(840_000, source))
			p := lastLive(mem)
			btc, _ := p.HashpriceBTC.Float64()
			if p.SubsidySat != 312_500_000 || math.Abs(btc/9.489248e-3-1) > 1e-6 || p.Difficulty.String() != "86388558925171.02" {
				t.Errorf("%+v, want 9.489248e-3 BTC per PH/s and day", p)
			}
			// Subsidy alone, from the row's own inputs.
			v, err := Compute(Inputs{Difficulty: rat(p.Difficulty), SubsidySat: ratInt(p.SubsidySat), FeesSat: ratInt(0), Blocks: 1, BTCUSD: rat(p.BTCUSD)})
			if only, _ := v.HashpriceBTC.Float64(); err != nil || math.Abs(only/7.276921e-4-1) > 1e-6 {
				t.Errorf("subsidy only: %s, %v", v.HashpriceBTC, err)
			}
		})
	}
}

// A retarget is a jump of the hashprice by the ratio of the difficulties, at its block and not before.
func TestRetargetIsAJump(t *testing.T) {
	t.Parallel()
	const at = 2016 * 440
	o := observe(t, simchain.Config{Height: at - 1})
	o.cfg.Mempool.Enabled, o.cfg.Kraken.Enabled = false, false
	o.chain.Set(at-2016, simchain.Facts{Difficulty: 100e12})
	o.chain.Set(at, simchain.Facts{Difficulty: 110e12})
	for h := int64(at - 200); h <= at; h++ {
		o.chain.Set(h, simchain.Facts{FeesSat: 2_000_000, Difficulty: map[bool]float64{true: 110e12}[h == at]})
	}
	if tip := o.chain.Tip(time.Now()); tip != at-1 {
		o.chain.Mine(at - 1 - tip)
	}
	mem := feedtest.NewMemory()
	runService(t, o.cfg, mem)
	wait(t, mem, "the last hashprice of the period", atHeight(at-1, "sim-bitcoind"))
	before := lastLive(mem)
	o.chain.Mine(1)
	o.bitcoind.Notify()
	wait(t, mem, "the first hashprice of the next", atHeight(at, "sim-bitcoind"))
	after := lastLive(mem)
	a, _ := before.HashpriceBTC.Float64()
	b, _ := after.HashpriceBTC.Float64()
	if math.Abs(a/b-1.1) > 1e-9 {
		t.Errorf("hashprice %v before, %v after: the ratio is %v, want 1.1", a, b, a/b)
	}
	wait(t, mem, "the retarget", func(evs []market.Event) bool {
		return count(evs, func(d *market.Difficulty) bool {
			return d.Source == "sim-bitcoind" && d.Height == at && math.Abs(d.ChangePercent-10) < 1e-9 && d.RemainingBlocks == 2016 && d.NextRetargetHeight == at+2016
		}) == 1
	})
}

// A reorganisation that happened while nobody ran is told as revisions by both sources, and the hashprice goes on from the new branch.
func TestReorganisationsAcrossARestart(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{1, 3} {
		t.Run(fmt.Sprintf("depth %d", depth), func(t *testing.T) {
			o := observe(t, simchain.Config{Height: 900_000})
			mem := feedtest.NewMemory()
			stop := runService(t, o.cfg, mem)
			tip := o.chain.Tip(time.Now())
			for _, source := range []string{"sim-bitcoind", "sim-mempool"} {
				o.holdsChain(t, mem, source, tip-143)
			}
			// Live.
			o.chain.Reorg(time.Now(), depth)
			o.mempool.TellBlocks()
			o.bitcoind.Notify()
			for _, source := range []string{"sim-bitcoind", "sim-mempool"} {
				o.holdsChain(t, mem, source, tip-143)
			}
			stop()
			// While nobody looks, and a block longer as a branch that wins is.
			o.chain.Reorg(time.Now(), depth)
			o.chain.Mine(1)
			n := mem.Len()
			stop = runService(t, o.cfg, mem)
			for _, source := range []string{"sim-bitcoind", "sim-mempool"} {
				o.holdsChain(t, mem, source, tip-143)
				revised := 0
				for _, ev := range mem.Events()[n:] {
					if b, ok := ev.(*market.Block); ok && b.Source == source {
						if b.Height <= uint64(tip) && b.Rev != 2 || b.Height > uint64(tip) && b.Rev != 0 {
							t.Errorf("%s: block %d told with rev %d", source, b.Height, b.Rev)
						}
						if b.Rev > 0 {
							revised++
						}
					}
				}
				if revised != depth {
					t.Errorf("%s: %d blocks revised, want %d", source, revised, depth)
				}
			}
			wait(t, mem, "a hashprice on the new branch", func(evs []market.Event) bool { return atHeight(uint64(tip+1), "sim-bitcoind")(evs[n:]) })
			stop()
		})
	}
}

// The chain source is the first of the configured order that is neither behind nor silent, and the row says which.
func TestChainSourceFailsOverByFreshness(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{Height: 900_000})
	o.cfg.Calculator.MaxChainAge = 400 * time.Millisecond
	mem := feedtest.NewMemory()
	runService(t, o.cfg, mem)
	from := func(source, what string) {
		t.Helper()
		n := mem.Len()
		wait(t, mem, "hashprices from "+source+" "+what, func(evs []market.Event) bool {
			last := 0
			for _, ev := range evs[n:] {
				if p, ok := ev.(*market.Hashprice); ok && p.Inputs[inputChain] == source {
					last++
				} else if ok {
					last = 0
				}
			}
			return last >= 3
		})
	}
	tip := o.chain.Tip(time.Now())
	wait(t, mem, "both sources", func(evs []market.Event) bool {
		return count(evs, of("sim-bitcoind")) >= 144 && count(evs, of("sim-mempool")) >= 144
	})
	from("sim-bitcoind", "while it is as good as the other")
	// Mined and told to mempool alone: the node lags.
	o.bitcoind.Lag(3)
	o.chain.Mine(3)
	from("sim-mempool", "while the node is three blocks behind")
	if p := lastLive(mem); p.Height != uint64(tip+3) || p.Inputs["chain.sim-bitcoind.height"] != fmt.Sprint(tip) {
		t.Errorf("height %d, inputs %v", p.Height, p.Inputs)
	}
	o.bitcoind.Lag(0)
	from("sim-bitcoind", "when it has caught up")
	o.bitcoind.WarmUp(true)
	from("sim-mempool", "while the node warms up")
	o.bitcoind.WarmUp(false)
	from("sim-bitcoind", "when it is back")
	if gaps := feedtest.Of[*market.FeedGap](mem); len(gaps) == 0 || gaps[0].Source != "sim-bitcoind" {
		t.Errorf("the ledger has no line about the node: %+v", gaps)
	}
}

func TestPriceIsTheMedianOfLiveSources(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{Height: 900_000})
	o.cfg.Bitcoind.RPCURL = ""
	o.cfg.Calculator.MaxPriceAge = 700 * time.Millisecond
	mem := feedtest.NewMemory()
	runService(t, o.cfg, mem)
	by := func(source string) func([]market.Event) bool {
		return func(evs []market.Event) bool {
			return count(evs, func(p *market.Hashprice) bool { return p.BTCUSDSource == source }) > 2
		}
	}
	wait(t, mem, "the mean of both", by("median(sim-coinbase,sim-kraken)"))
	for _, p := range feedtest.Of[*market.Hashprice](mem) {
		if p.BTCUSDSource != "median(sim-coinbase,sim-kraken)" {
			continue
		}
		a, b := market.MustDecimal(p.Inputs["sim-coinbase.usd"]), market.MustDecimal(p.Inputs["sim-kraken.usd"])
		sum, err := a.Add(b)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := p.BTCUSD.Add(p.BTCUSD)
		if err != nil || twice.Cmp(sum) != 0 || p.Inputs["sim-coinbase.age_ms"] == "" || p.Inputs["sim-kraken.age_ms"] == "" {
			t.Fatalf("BTC-USD %s of %v", p.BTCUSD, p.Inputs)
		}
	}
	n := mem.Len()
	o.kraken.Mute(true)
	wait(t, mem, "Coinbase alone", func(evs []market.Event) bool { return by("sim-coinbase")(evs[n:]) })
	if p := lastLive(mem); p.Inputs["sim-kraken.left_out_age_ms"] == "" {
		t.Errorf("inputs %v do not tell that Kraken was left out", p.Inputs)
	}
	o.kraken.Mute(false)
	n = mem.Len()
	wait(t, mem, "both again", func(evs []market.Event) bool { return by("median(sim-coinbase,sim-kraken)")(evs[n:]) })
	// Ten percent apart: one of the two lies, and nobody can tell which.
	o.kraken.Offset(0.1)
	wait(t, mem, "Kraken's false price", func(evs []market.Event) bool {
		p, ok := evs[len(evs)-1].(*market.BTCPrice)
		if !ok || p.Source != "sim-kraken" {
			return false
		}
		theirs, _ := p.PriceUSD.Float64()
		others, _ := market.MustDecimal(lastLive(mem).Inputs["sim-coinbase.usd"]).Float64()
		return theirs > 1.08*others
	})
	n = mem.Len()
	wait(t, mem, "more prices", func(evs []market.Event) bool { return count[*market.BTCPrice](evs[n:], nil) > 60 })
	if got := count(mem.Events()[n+5:], live); got > 0 {
		t.Errorf("%d hashprices from prices ten percent apart", got)
	}
	o.kraken.Offset(0)
	n = mem.Len()
	wait(t, mem, "both in the end", func(evs []market.Event) bool { return by("median(sim-coinbase,sim-kraken)")(evs[n:]) })
}
