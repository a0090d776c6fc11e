package hashprice

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	simchain "github.com/hashpivot/hashpivot/pkg/sim/chain"
)

const (
	krakenTick = `{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":105944.30,"ask_qty":3.2,"last":105899.40,"volume":163.28908096,"vwap":105904.39279,"low":104711.00,"high":106613.10,"change":250.00,"change_pct":0.24,"timestamp":"2022-12-25T09:30:59.123456Z"}]}`
	krakenPrnt = `{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":105944.20,"qty":0.00027625,"ord_type":"limit","trade_id":10218208,"timestamp":"2023-10-06T17:35:55.440295Z"}]}`
)

func TestDecodeKraken(t *testing.T) {
	recv := time.Date(2026, 4, 7, 14, 30, 3, 0, time.UTC)
	m, err := decodeKraken([]byte(krakenTick), krakenTicker, "BTC/USD", recv)
	if err != nil || len(m.Prices) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	if p := m.Prices[0]; p.PriceUSD.String() != "105899.40" || p.BidUSD.String() != "105944.20" || p.AskUSD.String() != "105944.30" ||
		p.Volume24hBTC.String() != "163.28908096" || !p.EventTime.Equal(time.Date(2022, 12, 25, 9, 30, 59, 123456000, time.UTC)) {
		t.Errorf("%+v", p)
	}
	m, err = decodeKraken([]byte(krakenPrnt), krakenTrade, "BTC/USD", recv)
	if err != nil || len(m.Prices) != 1 || m.Prices[0].VenueSeq != 10218208 || m.Prices[0].PriceUSD.String() != "105944.20" {
		t.Errorf("%+v, %v", m, err)
	}
	// Without the new timestamp the time is ours.
	m, err = decodeKraken([]byte(strings.Replace(krakenTick, `,"timestamp":"2022-12-25T09:30:59.123456Z"`, "", 1)), krakenTicker, "BTC/USD", recv)
	if err != nil || !m.Prices[0].EventTime.Equal(recv) {
		t.Errorf("%+v, %v", m, err)
	}
	for frame, want := range map[string]krakenMessage{
		`{"channel":"heartbeat"}`:                                    {},
		`{"method":"pong","req_id":42,"time_in":"x","time_out":"y"}`: {},
		`{"channel":"status","type":"update","data":[{"system":"maintenance","api_version":"v2","connection_id":1,"version":"2.0"}]}`: {System: "maintenance"},
		`{"method":"subscribe","result":{"channel":"ticker","symbol":"BTC/USD","snapshot":true},"success":true,"req_id":1}`:           {Acked: "ticker"},
		`{"method":"subscribe","success":false,"error":"Currency pair not supported BTC/XYZ","symbol":"BTC/XYZ"}`:                     {Error: "Currency pair not supported BTC/XYZ"},
		`{"error":"Unknown request","method":"","success":false}`:                                                                     {Error: "Unknown request"},
		`{"channel":"ticker","type":"update","data":[{"symbol":"ETH/USD","last":1,"bid":1,"ask":1}]}`:                                 {},
	} {
		m, err := decodeKraken([]byte(frame), krakenTicker, "BTC/USD", recv)
		if err != nil || m.Acked != want.Acked || m.Error != want.Error || m.System != want.System || len(m.Prices) > 0 {
			t.Errorf("%s: %+v, %v", frame, m, err)
		}
	}
	for frame, reason := range map[string]market.Reason{
		`{"channel":"book","data":[]}`:    feed.ReasonUnknownType,
		`{"channel":"ticker"}`:            market.ReasonMissing,
		`{}`:                              market.ReasonMissing,
		`<html>`:                          feed.ReasonMalformed,
		`{"channel":"ticker","data":"x"}`: feed.ReasonType,
		`{"channel":"ticker","data":[{"symbol":"BTC/USD","last":{}}]}`:                                  feed.ReasonType,
		`{"channel":"ticker","data":[{"symbol":"BTC/USD","last":12345678901234567890.1,"bid":1}]}`:      feed.ReasonType, // more digits than can be exact
		`{"channel":"ticker","data":[{"symbol":"BTC/USD","last":1,"bid":1,"ask":1,"timestamp":"now"}]}`: feed.ReasonType,
	} {
		if _, err := decodeKraken([]byte(frame), krakenTicker, "BTC/USD", recv); feed.ReasonOf(err, "none") != reason {
			t.Errorf("%s: %v, want %s", frame, err, reason)
		}
	}
}

func TestKrakensHolesEndInTheLedger(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{})
	o.cfg.Kraken.Channel = krakenTrade
	mem := feedtest.NewMemory()
	runService(t, o.cfg, mem)
	is := func(p *market.BTCPrice) bool { return p.Source == "sim-kraken" && p.VenueSeq > 0 }
	wait(t, mem, "trades", func(evs []market.Event) bool { return count(evs, is) > 3 })
	o.kraken.SkipSequence()
	wait(t, mem, "a gap given up over a trade that never came", func(evs []market.Event) bool {
		return count(evs, func(f *market.FeedEvent) bool {
			return f.Source == "sim-kraken" && strings.Contains(f.Detail, "sequence gap")
		}) == 1 &&
			count(evs, func(g *market.FeedGap) bool { return g.Source == "sim-kraken" && g.State == market.GapGivenUp }) == 1
	})
	o.kraken.Status("maintenance")
	o.kraken.WithoutTime(true)
	o.kraken.DropAll()
	n := mem.Len()
	wait(t, mem, "trades after a drop", func(evs []market.Event) bool {
		return count(evs[n:], is) > 3 && count(evs, func(g *market.FeedGap) bool { return g.Source == "sim-kraken" && g.State == market.GapGivenUp }) == 2
	})
	if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) > 0 {
		t.Errorf("dead letter %s", dead[0].Detail)
	}
}

// One upstream that refuses us ends alone: the others go on, and the state says so.
func TestOneRefusalDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{Height: 900_000})
	o.cfg.Kraken.Symbol = "BTC/XYZ"
	o.cfg.Bitcoind.Password = "wrong"
	mem := feedtest.NewMemory()
	ctx, cancel := newCancel(t)
	done := make(chan error, 1)
	go func() { done <- Run(ctx, o.cfg, feed.Deps{Sink: mem, History: mem}) }()
	refused := func(source string) func([]market.Event) bool {
		return func(evs []market.Event) bool {
			return count(evs, func(f *market.FeedEvent) bool { return f.Source == source && f.State == market.FeedRefused }) == 1
		}
	}
	wait(t, mem, "Kraken's refusal", refused("sim-kraken"))
	wait(t, mem, "the node's refusal", refused("sim-bitcoind"))
	n := mem.Len()
	wait(t, mem, "hashprices from the others", func(evs []market.Event) bool {
		return count(evs[n:], func(p *market.Hashprice) bool {
			return p.BTCUSDSource == "sim-coinbase" && p.Inputs[inputChain] == "sim-mempool"
		}) > 3
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A node that was started again has another cookie: that is no refusal.
func TestBitcoindsCookieIsReadAgain(t *testing.T) {
	t.Parallel()
	o := observe(t, simchain.Config{Height: 900_000})
	o.cfg.Mempool.Enabled = false
	cookie := t.TempDir() + "/.cookie"
	write := func(s string) {
		if err := os.WriteFile(cookie, []byte("__cookie__:"+s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		o.bitcoind.Credentials("__cookie__", s)
	}
	write("one")
	o.cfg.Bitcoind.CookieFile, o.cfg.Bitcoind.User, o.cfg.Bitcoind.Password = cookie, "", ""
	mem := feedtest.NewMemory()
	runService(t, o.cfg, mem)
	tip := uint64(o.chain.Tip(time.Now()))
	wait(t, mem, "a hashprice", atHeight(tip, "sim-bitcoind"))
	o.bitcoind.Credentials("__cookie__", "two")
	wait(t, mem, "the loss", func(evs []market.Event) bool {
		return count(evs, func(f *market.FeedEvent) bool { return f.Source == "sim-bitcoind" && f.State == market.FeedLost }) == 1
	})
	o.chain.Mine(1)
	write("three")
	wait(t, mem, "a hashprice with the new cookie", atHeight(tip+1, "sim-bitcoind"))
	for _, ev := range mem.Events() {
		if f, ok := ev.(*market.FeedEvent); ok && (f.State == market.FeedRefused || strings.Contains(f.Detail, "__cookie__")) {
			t.Errorf("%+v", f)
		}
	}
	lastChain(t, mem, "sim-bitcoind")
}
