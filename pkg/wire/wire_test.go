package wire_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

var update = flag.Bool("update", false, "write the golden bytes anew")

var (
	at   = time.Date(2026, 11, 20, 14, 30, 0, 123456789, time.UTC)
	meta = market.Meta{EventTime: at, RecvTime: at.Add(3 * time.Millisecond), Source: "sim-alpaca", Rev: 2, Backfill: true}
	dec  = market.MustDecimal
)

// samples has one batch of every kind of event, every field set.
func samples() map[string][]market.Event {
	return map[string][]market.Event{
		"trades": {
			&market.Trade{
				Meta: meta, Action: market.TradeNew, Symbol: "BRK.B", ID: "52983525033527", Exchange: "V", Tape: "C",
				PriceUSD: dec("126.55"), SizeShares: dec("0.125"), Conditions: []string{"@", " "}, Sequence: 3681328,
			},
			&market.Trade{
				Meta: meta, Action: market.TradeCorrection, Symbol: "BRK.B", ID: "2", Exchange: "M", Tape: "B", PriceUSD: dec("39.1809"),
				SizeShares: dec("440000"), OriginalID: "1", OriginalPriceUSD: dec("39.1582"), OriginalSizeShares: dec("440001"),
			},
			&market.Trade{
				Meta: meta, Action: market.TradeCancel, Symbol: "BRK.B", ID: "465", Exchange: "D", PriceUSD: dec("1800.99"),
				SizeShares: dec("100"), CancelCode: "C",
			},
		},
		"quotes": {&market.Quote{
			Meta: meta, Symbol: "IREN", BidExchange: "U", AskExchange: "Q", BidPriceUSD: dec("87.66"), AskPriceUSD: dec("87.68"),
			BidSizeShares: dec("1"), AskSizeShares: dec("4"), Conditions: []string{"R"}, Tape: "C",
		}},
		"bars": {&market.Bar{
			Meta: meta, Symbol: "BTC-USD", Interval: market.Interval1m, OpenUSD: dec("388.985"), HighUSD: dec("389.13"),
			LowUSD: dec("388.975"), CloseUSD: dec("389.12"), Volume: dec("49378.00000001"), VWAPUSD: dec("389.062"), TradeCount: 461, Final: true,
			Session: "regular", TradeDate: "2026-11-20", Method: "alpaca-conditions/1",
		}},
		"halts": {
			&market.Halt{
				Meta: meta, Kind: market.HaltStatus, Symbol: "CORZ", StatusCode: "H", StatusText: "Trading Halt", ReasonCode: "T12",
				ReasonText: "Trading Halted; For information requested by NASDAQ", Tape: "C",
			},
			&market.Halt{Meta: meta, Kind: market.HaltLULD, Symbol: "CORZ", LimitUpUSD: dec("4.21"), LimitDownUSD: dec("3.22"), Indicator: "B", Tape: "C"},
		},
		"imbalances": {&market.Imbalance{
			Meta: meta, Symbol: "CORZ", Exchange: "10", Tape: "C", PriceUSD: dec("9.12"), ImbalanceShares: dec("-440"), PairedShares: dec("480"),
			ClearingPriceUSD: dec("25.03"), Auction: "M", AuctionTime: "930",
		}},
		"network_block": {&market.Block{
			Meta: meta, Height: 730000, Hash: "0000000000000000000384f28cb3b9cf4377a39cfd6c29ae9466951de38c0529", PreviousHash: "00aa",
			Difficulty: dec("28587155782195.1"), SubsidySat: 625000000, FeesSat: 16321983, RewardSat: 641321983, TxCount: 1627,
			SizeBytes: 1210916, WeightUnits: 3993515, Pool: "Binance Pool",
		}},
		"network_difficulty": {&market.Difficulty{
			Meta: meta, Height: 840000, Difficulty: dec("86388558925171.02"), ChangePercent: 4.42, EstimatedChangePercent: math.Inf(1),
			RemainingBlocks: 1361, NextRetargetHeight: 876960,
		}},
		"network_fees": {&market.Fees{
			Meta: meta, FastestSatPerVB: dec("2"), HalfHourSatPerVB: dec("1.5"), HourSatPerVB: dec("1"), EconomySatPerVB: dec("1"),
			MinimumSatPerVB: dec("0.1"),
		}},
		"network_btcusd": {&market.BTCPrice{
			Meta: meta, PriceUSD: dec("68900.50"), BidUSD: dec("68900"), AskUSD: dec("68901"), Volume24hBTC: dec("15328.12345678"), VenueSeq: 12,
		}},
		"hashprice": {&market.Hashprice{
			Meta: meta, Method: "tip144", Height: 736655, Difficulty: dec("31251101365711.12"), SubsidySat: 625000000,
			MeanFeesSat: dec("13117482.54"), FeeWindowBlocks: 100, BTCUSD: dec("30000"), BTCUSDSource: "coinbase", BTCUSDAgeMs: 812,
			HashpriceBTC: dec("0.004107609947"), HashpriceSat: dec("410760.9947"), HashpriceUSD: dec("123.22829841"), NetworkEHs: dec("223.704"),
			Inputs: map[string]string{"kraken.usd": "30001", "coinbase.usd": "29999"}, Published: true,
		}},
		"offers": {&market.Offer{
			Meta: meta, Action: market.OfferChanged, Provider: "vast", OfferID: "12345678", HostID: "55555", MachineID: "88888",
			GPU: "h100-sxm", GPUName: "H100 SXM", GPUCount: 4, GPUMemoryMiB: 81559, Class: market.Interruptible, USDPerGPUHour: dec("1.8025"),
			RawPrice: dec("7.21"), RawUnit: "USD/instance-hour", Region: "Texas, US", Verified: true, Rentable: true, Reliability: 0.9999,
			Via: "prime", Stock: "Low",
		}},
		"rates": {&market.Rate{
			Meta: meta, GPU: "h100-sxm", Class: market.OnDemand, Method: "vast-wmedian", Version: 1, USDPerGPUHour: dec("1.87"),
			P10USDPerGPUHour: dec("1.5"), P90USDPerGPUHour: dec("2.6"), Dispersion: 0.21, SampleOffers: 41, SampleGPUs: 164, SampleHosts: 22,
			SampleProviders: 1, Constituents: []market.Constituent{{Provider: "vast", USDPerGPUHour: dec("1.87"), GPUs: 164, Offers: 41}},
		}},
		"signals": {&market.Signal{
			Meta: meta, Name: "pivot_premium", Symbol: "IREN", Value: dec("12.5"), Unit: "ratio", Inputs: map[string]string{"b": "2", "a": "1"},
		}},
		"feeds": {
			&market.FeedEvent{Meta: meta, State: market.FeedLost, Detail: "closed by peer: 1006"},
			&market.FeedGap{
				Meta: meta, GapID: "g1", Symbol: "*", From: at, To: at.Add(time.Minute), Reason: "lost", State: market.GapFilled, Recovered: 7,
			},
			&market.FeedGap{Meta: meta, GapID: "g2", Symbol: "*", From: at, Reason: "lost", State: market.GapOpen},
		},
		"dead": {&market.DeadLetter{
			Meta: meta, Of: "TRADES", Created: 1763649000, Seq: 17, Idx: -1, Subject: "md.v1.trade.alpaca.IREN", Reason: "malformed",
			Detail: "unexpected EOF", Payload: []byte{0xff, 0}, PayloadBytes: 2,
		}},
	}
}

// TestRoundTripAndGolden holds the bytes on the wire: what was published by an older binary must be read by every newer one.
func TestRoundTripAndGolden(t *testing.T) {
	for name, events := range samples() {
		t.Run(name, func(t *testing.T) {
			got, err := wire.Encode(nil, events)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".hex")
			if *update {
				if err := os.WriteFile(file, []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("bytes changed:\n got %x\nwant %x", got, want)
			}
			if text, err := wire.JSON(events[0].Stream(), want); err != nil || !json.Valid(text) {
				t.Errorf("as JSON: %s, %v", text, err)
			}
			back, err := wire.Decode(events[0].Stream(), want)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(normal(back), normal(events)) {
				t.Errorf("decoded\n got %+v\nwant %+v", back, events)
			}
		})
	}
}

// normal writes events as text in which equal decimals of different scale are equal.
func normal(events []market.Event) []string {
	var out []string
	for _, ev := range events {
		v := reflect.ValueOf(ev).Elem()
		var b strings.Builder
		for i := range v.NumField() {
			f := v.Field(i).Interface()
			if d, ok := f.(market.Decimal); ok {
				f = d.Trim(0)
			}
			fmt.Fprintf(&b, "%s=%v ", v.Type().Field(i).Name, f)
		}
		out = append(out, b.String())
	}
	return out
}

func TestEncodeRefusesMixtures(t *testing.T) {
	trade := func(source, symbol string) market.Event {
		return &market.Trade{Meta: market.Meta{Source: source, EventTime: at, RecvTime: at}, Symbol: symbol}
	}
	f := func(why string, events ...market.Event) {
		t.Helper()
		if _, err := wire.Encode(nil, events); err == nil {
			t.Errorf("%s: encoded", why)
		}
	}
	f("two symbols", trade("a", "X"), trade("a", "Y"))
	f("two sources", trade("a", "X"), trade("b", "X"))
	f("two types", trade("a", "X"), &market.Quote{Meta: meta})
	f("nothing")
	f("two kinds of network", &market.Block{Meta: meta}, &market.Fees{Meta: meta})
}

func TestDecodeRefuses(t *testing.T) {
	f := func(stream market.Stream, data string, want error) {
		t.Helper()
		_, err := wire.Decode(stream, []byte(data))
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s %q: error %v, want %v", stream, data, err, want)
		}
	}
	f(market.Trades, "", wire.ErrEmpty)
	f(market.Trades, "not protobuf at all", nil)
	f("NOSUCH", "", nil)
	// A decimal of more digits than can be held exactly is refused, never rounded.
	good, err := wire.Encode(nil, samples()["quotes"])
	if err != nil {
		t.Fatal(err)
	}
	f(market.Quotes, strings.Replace(string(good), "87.66", "87x66", 1), nil)
}

// TestDecimalsAreExact: what goes in comes out, digit for digit.
func TestDecimalsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		coef := rapid.Int64Range(1, 999_999_999_999_999_999).Draw(t, "coef")
		scale := rapid.IntRange(0, 8).Draw(t, "scale")
		text := fmt.Sprintf("%0*d", scale+1, coef)
		if scale > 0 {
			text = text[:len(text)-scale] + "." + text[len(text)-scale:]
		}
		q := &market.Quote{Meta: meta, Symbol: "X", BidPriceUSD: dec(text)}
		data, err := wire.Encode(nil, []market.Event{q})
		if err != nil {
			t.Fatal(err)
		}
		back, err := wire.Decode(market.Quotes, data)
		if err != nil {
			t.Fatal(err)
		}
		if got := back[0].(*market.Quote).BidPriceUSD.String(); got != text {
			t.Fatalf("%s became %s", text, got)
		}
	})
}

// FuzzDecode: no bytes panic, and what decodes encodes again to something that decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, events := range samples() {
		data, err := wire.Encode(nil, events)
		if err != nil {
			f.Fatal(err)
		}
		for i := range market.Streams() {
			f.Add(uint8(i), data)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		stream := market.Streams()[int(which)%len(market.Streams())]
		events, err := wire.Decode(stream, data)
		if err != nil {
			return
		}
		for _, ev := range events {
			_ = ev.Validate()
			_ = ev.Identity()
			_, _ = ev.Tokens()
		}
		again, err := wire.Encode(nil, events)
		if err != nil {
			return // a foreign batch may mix what ours never do
		}
		back, err := wire.Decode(stream, again)
		if err != nil {
			t.Fatalf("own encoding does not decode: %v", err)
		}
		if len(back) != len(events) {
			t.Fatalf("%d events became %d", len(events), len(back))
		}
	})
}

func BenchmarkTrades(b *testing.B) {
	var events []market.Event
	for range 300 {
		events = append(events, samples()["trades"][0])
	}
	data, err := wire.Encode(nil, events)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			if buf, err = wire.Encode(buf[:0], events); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(300*b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.Decode(market.Trades, data); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(300*b.N)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(len(data))/300, "bytes/event")
	})
}
