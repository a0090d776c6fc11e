package hashprice

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// The samples are retyped from mempool.space's and Coinbase's documentation.
const (
	blockSample = `{"id":"0000000000000000000384f28cb3b9cf4377a39cfd6c29ae9466951de38c0529","height":730000,"version":536870912,"timestamp":1648829449,
"bits":386521239,"nonce":3580664066,"difficulty":28587155782195.1,"merkle_root":"efa3","tx_count":1627,"size":1210916,"weight":3993515,
"previousblockhash":"00000000000000000008b6f6fb83f8d74512ef1e0af29e642dd20daddd7d318f","mediantime":1648827418,
"extras":{"totalFees":16321983,"medianFee":11,"feeRange":[1,11,11,11,18,21,660],"reward":641321983,"pool":{"id":105,"name":"Binance Pool",
"slug":"binancepool","minerNames":null},"avgFee":10038,"avgFeeRate":16,"avgTxSize":744,"virtualSize":998378.75,"firstSeen":null,"orphans":[],
"matchRate":null,"expectedFees":null,"expectedWeight":null}}`
	adjustmentSample = `{"progressPercent":32.49007936507937,"difficultyChange":0.7843046881601534,"estimatedRetargetDate":1735514828279,
"remainingBlocks":1361,"remainingTime":811481279,"previousRetarget":4.429396745461176,"previousTime":1734312810,"nextRetargetHeight":876960,
"timeAvg":596239,"adjustedTimeAvg":596239,"timeOffset":0,"expectedBlocks":650.895}`
	feesSample        = `{"fastestFee":3,"halfHourFee":2.5,"hourFee":2,"economyFee":1,"minimumFee":1}`
	conversionsSample = `{"time":1703252411,"USD":43753,"EUR":40545,"GBP":37528,"CAD":58123,"CHF":37438,"AUD":64499,"JPY":6218915}`
	retargetsSample   = `[[1703311464,822528,72006146478567.1,1.06983],[1702180644,820512,67305906902031.39,0.990408],[1700957763,818496,67957790298897.88,1.0507]]`
	tickerSample      = `{"channel":"ticker","client_id":"","timestamp":"2026-04-07T14:30:03.000000Z","sequence_num":12,"events":[{"type":"snapshot","tickers":[
{"type":"ticker","product_id":"BTC-USD","price":"68900.50","volume_24_h":"15328.12345678","low_24_h":"67500.00","high_24_h":"69200.00",
"low_52_w":"25000.00","high_52_w":"73800.00","price_percent_chg_24_h":"1.85","best_bid":"68900.00","best_bid_quantity":"1.50000000",
"best_ask":"68901.00","best_ask_quantity":"0.50000000"}]}]}`
	subscriptionsSample = `{"channel":"subscriptions","client_id":"","timestamp":"2026-04-07T14:30:00.000000Z","sequence_num":0,"events":[{"subscriptions":{"ticker":["BTC-USD"]}}]}`
	heartbeatSample     = `{"channel":"heartbeats","client_id":"","timestamp":"2026-04-07T14:30:10Z","sequence_num":13,"events":[{"current_time":"2026-04-07 14:30:10.000000000+00:00","heartbeat_counter":42}]}`
	candlesSample       = `[[1751328000,58045.93,60760.0,58549.86,60734.0,36366.0571672391],[1751241600,58111.65,60173.22,60136.45,58558.86,3274.5]]`
)

var recv = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestDecodesABlock(t *testing.T) {
	b, err := decodeBlock([]byte(blockSample), recv)
	if err != nil {
		t.Fatal(err)
	}
	if b.Height != 730000 || b.SubsidySat != 625000000 || b.FeesSat != 16321983 || b.Difficulty.String() != "28587155782195.1" || b.Pool != "Binance Pool" ||
		b.TxCount != 1627 || b.EventTime.Unix() != 1648829449 || !strings.HasSuffix(b.PreviousHash, "318f") || b.SubsidySat != SubsidySat(b.Height) {
		t.Errorf("%+v", b)
	}
}

func TestDecodesAPushByItsKeys(t *testing.T) {
	p, err := decodePush([]byte(`{"block":`+blockSample+`,"da":`+adjustmentSample+`,"fees":`+feesSample+`,"conversions":`+conversionsSample+`,"mempoolInfo":{},"new":1}`), recv)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Blocks) != 1 || p.Snapshot || p.Fees.HalfHourSatPerVB.String() != "2.5" || p.Conversions.PriceUSD.String() != "43753" || p.Adjustment.tip() != 875599 {
		t.Errorf("%+v", p)
	}
	// The server's clock is hidden in the estimate: 1735514828279 - 811481279 ms.
	if at, ok := p.Adjustment.serverTime(); !ok || at.UnixMilli() != 1734703347000+0 && at.Unix() != 1734703347 {
		t.Errorf("server time %s, %v", at, ok)
	}
	if p, err = decodePush([]byte(`{"blocks":[`+blockSample+`]}`), recv); err != nil || !p.Snapshot || len(p.Blocks) != 1 {
		t.Errorf("blocks: %+v, %v", p, err)
	}
	for _, in := range []string{`{"pong":true}`, `{}`, `{"block":null,"fees":null}`, `{"live-2h-chart":{}}`} {
		if _, err := decodePush([]byte(in), recv); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	if p, err = decodePush([]byte(`{"fees":[],"conversions":`+conversionsSample+`}`), recv); p.Conversions == nil || feed.ReasonOf(err, "") != feed.ReasonType {
		t.Errorf("a bad key took a good one with it: %+v, %v", p, err)
	}
}

// Older backends, and the documentation's sample, give seconds: then the figures are no clock.
func TestSecondsAreNotTakenForTheServersClock(t *testing.T) {
	a, err := decodeAdjustment([]byte(`{"estimatedRetargetDate":1627762478,"remainingBlocks":1121,"remainingTime":665977,"nextRetargetHeight":741888}`))
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := a.serverTime(); ok {
		t.Errorf("took %s for the server's clock", at)
	}
	if orNaN(a.DifficultyChange) == orNaN(a.DifficultyChange) { //nolint:staticcheck // NaN is not itself
		t.Error("an absent change is not NaN")
	}
}

func TestDecodesHistory(t *testing.T) {
	rs, err := decodeRetargets([]byte(retargetsSample))
	if err != nil || len(rs) != 3 || rs[0].Height != 818496 || rs[2].Difficulty.String() != "72006146478567.1" || rs[2].Ratio != 1.06983 {
		t.Errorf("retargets: %+v, %v", rs, err)
	}
	days, err := decodeDays([]byte(`[{"avgHeight":735644,"timestamp":1652119111,"avgFees":24212890,"USD":31000}]`), "avgFees")
	if d := days[time.Date(2022, 5, 9, 0, 0, 0, 0, time.UTC)]; err != nil || d.Sat != 24212890 || d.Height != 735644 {
		t.Errorf("days: %+v, %v", days, err)
	}
	ps, err := decodeHistoricalPrices([]byte(`{"prices":[{"time":1499904000,"EUR":1964,"USD":2254.9},{"time":1499900000,"USD":-1},{"time":1}],"exchangeRates":{"USDEUR":0.92}}`))
	if err != nil || len(ps) != 1 || ps[0].USD.String() != "2254.9" {
		t.Errorf("prices: %+v, %v", ps, err)
	}
	bars, err := decodeCandles([]byte(candlesSample), "BTC-USD", market.Interval1d, recv)
	if err != nil || len(bars) != 2 || bars[1].LowUSD.String() != "58045.93" || bars[1].OpenUSD.String() != "58549.86" || bars[1].Volume.String() != "36366.05716724" {
		t.Errorf("candles: %+v, %v", bars, err)
	}
}

func TestDecodesCoinbase(t *testing.T) {
	m, err := decodeTicker([]byte(tickerSample), "BTC-USD", recv)
	if err != nil || m.Seq != 12 || !m.HasSeq || len(m.Prices) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	if p := m.Prices[0]; p.PriceUSD.String() != "68900.50" || p.BidUSD.String() != "68900.00" || p.Volume24hBTC.String() != "15328.12345678" || p.VenueSeq != 12 || p.EventTime.Second() != 3 {
		t.Errorf("%+v", p)
	}
	if m, err = decodeTicker([]byte(subscriptionsSample), "BTC-USD", recv); err != nil || len(m.Subscribed) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = decodeTicker([]byte(heartbeatSample), "BTC-USD", recv); err != nil || m.Seq != 13 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err = decodeTicker([]byte(`{"type":"error","message":"no such product"}`), "BTC-USD", recv); err != nil || m.Error == "" {
		t.Errorf("%+v, %v", m, err)
	}
	if m, _ = decodeTicker([]byte(`{"channel":"ticker","timestamp":"x","sequence_num":5}`), "BTC-USD", recv); m.Seq != 5 {
		t.Error("a bad message lost its sequence number")
	}
}

// The real thing, where it was captured.
func TestDecodesCaptures(t *testing.T) {
	dir := filepath.Join(recordings, "captures")
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		t.Skipf("no captures at %s", dir)
	}
	readFile := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	p, err := decodePush(readFile("mempool_tx01_ws_blocks_01.json"), recv)
	if err != nil || len(p.Blocks) != 8 {
		t.Fatalf("blocks: %d, %v", len(p.Blocks), err)
	}
	for i, b := range p.Blocks {
		if b.SubsidySat != 312500000 || i > 0 && (b.PreviousHash != p.Blocks[i-1].Hash || b.Height != p.Blocks[i-1].Height+1) {
			t.Errorf("block %d of the push: %+v", i, b)
		}
	}
	if p, err = decodePush(readFile("mempool_tx02_ws_block.json"), recv); err != nil || len(p.Blocks) != 1 || p.Blocks[0].Height != 890448 || p.Blocks[0].FeesSat != 2998786 {
		t.Errorf("block: %+v, %v", p, err)
	}
	if p, err = decodePush(readFile("mempool_mainnet_mempoolInfo.json"), recv); err != nil {
		t.Errorf("full push: %v", err)
	} else if p.Fees == nil || p.Adjustment == nil {
		t.Errorf("full push: %+v", p)
	} else if at, ok := p.Adjustment.serverTime(); !ok || at.Year() != 2024 {
		t.Errorf("full push of 2024-03-31: the server's clock says %s, %v", at, ok)
	}
	var docs map[string]struct {
		Body json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(readFile("mempool_rest_docs_responses.json"), &docs); err != nil {
		t.Fatal(err)
	}
	if rs, err := decodeRetargets(docs["get-difficulty-adjustments"].Body); err != nil || len(rs) != 3 {
		t.Errorf("retargets: %v", err)
	}
	if d, err := decodeDays(docs["get-block-fees"].Body, "avgFees"); err != nil || len(d) != 1 {
		t.Errorf("fees: %v, %v", d, err)
	}
	if d, err := decodeDays(docs["get-block-rewards"].Body, "avgRewards"); err != nil || len(d) == 0 {
		t.Errorf("rewards: %v, %v", d, err)
	}
	if c, err := decodeConversions(docs["get-price"].Body); err != nil || c.PriceUSD.String() != "43753" {
		t.Errorf("price: %+v, %v", c, err)
	}
	if ps, err := decodeHistoricalPrices(docs["get-historical-price"].Body); err != nil || len(ps) != 1 {
		t.Errorf("prices: %v, %v", ps, err)
	}
	if f, err := decodeFees(docs["get-recommended-fees"].Body); err != nil || f.MinimumSatPerVB.String() != "1" {
		t.Errorf("fees: %+v, %v", f, err)
	}
}

func TestDifficultyOverADay(t *testing.T) {
	at := func(h int) time.Time { return time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC) }
	rs := []retarget{{At: at(-100), Difficulty: market.MustDecimal("100")}, {At: at(6), Difficulty: market.MustDecimal("300")}, {At: at(30), Difficulty: market.MustDecimal("50")}}
	// A quarter of the day at 100, three at 300: the yield is that of 1 / (0.25/100 + 0.75/300) = 200.
	d, constant, ok := difficultyOver(rs, at(0), at(24))
	if f, _ := d.Float64(); !ok || constant || math.Abs(f-200) > 1e-9 {
		t.Errorf("%v, %v, %v", d, constant, ok)
	}
	if d, constant, ok = difficultyOver(rs, at(-24), at(0)); !ok || !constant || d.Cmp(ratInt(100)) != 0 {
		t.Errorf("%v, %v, %v", d, constant, ok)
	}
	if d, constant, ok = difficultyOver(rs, at(48), at(72)); !ok || !constant || d.Cmp(ratInt(50)) != 0 {
		t.Errorf("after the last: %v, %v, %v", d, constant, ok)
	}
	if _, _, ok = difficultyOver(rs, at(-200), at(-176)); ok {
		t.Error("a difficulty from before the first")
	}
}

func FuzzDecodePush(f *testing.F) {
	f.Add([]byte(`{"block":` + blockSample + `,"da":` + adjustmentSample + `,"fees":` + feesSample + `}`))
	f.Add([]byte(`{"blocks":[` + blockSample + `,{"height":-1},null],"conversions":` + conversionsSample + `}`))
	f.Add([]byte(`{"conversions":{"time":9223372036854775807,"USD":1e400}}`))
	f.Add([]byte(`{"da":{"remainingBlocks":4294967295,"nextRetargetHeight":0}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, _ := decodePush(data, recv)
		for i, b := range p.Blocks {
			if i > 0 && b.Height < p.Blocks[i-1].Height {
				t.Fatal("blocks are not ascending")
			}
			b.Source = "fuzz"
			if b.Validate() == nil && (b.Hash == "" || !b.Difficulty.IsPos()) {
				t.Fatalf("valid, and yet %+v", b)
			}
		}
		if p.Adjustment != nil {
			_ = p.Adjustment.tip()
			if at, ok := p.Adjustment.serverTime(); ok && (at.Year() < 2011 || at.Year() > 2256) {
				t.Fatalf("the server's clock says %s", at)
			}
		}
	})
}

func FuzzDecodeTicker(f *testing.F) {
	for _, s := range []string{tickerSample, subscriptionsSample, heartbeatSample, `{"channel":"ticker","timestamp":"2026-04-07T14:30:03Z","events":[{"tickers":[{"product_id":"BTC-USD","price":"NaN"}]}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, _ := decodeTicker(data, "BTC-USD", recv)
		for _, p := range m.Prices {
			p.Source = "fuzz"
			if p.Validate() == nil && !p.PriceUSD.IsPos() {
				t.Fatalf("valid, and yet %+v", p)
			}
		}
	})
}

func FuzzDecodeHistory(f *testing.F) {
	f.Add([]byte(retargetsSample))
	f.Add([]byte(candlesSample))
	f.Add([]byte(`[{"avgHeight":735644,"timestamp":1652119111,"avgFees":24212890,"avgRewards":641321983}]`))
	f.Add([]byte(`{"prices":[{"time":1499904000,"USD":2254.9}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if rs, err := decodeRetargets(data); err == nil && len(rs) > 0 {
			from := rs[0].At
			if d, _, ok := difficultyOver(rs, from, from.Add(day)); ok && d.Sign() <= 0 {
				t.Fatalf("difficulty %s", d)
			}
		}
		if bars, err := decodeCandles(data, "BTC-USD", market.Interval1d, recv); err == nil {
			for _, b := range bars {
				b.Source = "fuzz"
				_ = b.Validate()
			}
		}
		for _, field := range []string{"avgFees", "avgRewards"} {
			if days, err := decodeDays(data, field); err == nil {
				for _, d := range days {
					if d.Sat < 0 {
						t.Fatalf("a mean of %d sat", d.Sat)
					}
				}
			}
		}
		_, _ = decodeHistoricalPrices(data)
	})
}
