package market_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

func TestParseDecimalIsExactOrRefuses(t *testing.T) {
	good := func(text, want string) {
		t.Helper()
		d, err := market.ParseDecimal(text)
		if err != nil || d.String() != want {
			t.Errorf("%q: %s, %v; want %s", text, d, err, want)
		}
	}
	good("126.55", "126.55")
	good("0.00000001", "0.00000001")
	good("86388558925171.02", "86388558925171.02")
	good("-1", "-1")
	good("0.0000000000000000001", "0.0000000000000000001")
	bad := func(text string) {
		t.Helper()
		if d, err := market.ParseDecimal(text); err == nil {
			t.Errorf("%q became %s", text, d)
		}
	}
	bad("")
	bad("NaN")
	bad("1.2.3")
	bad("0x10")
	// Twenty digits: the decimal type would round them, and a rounded price is not the venue's.
	bad("12345678901234567890")
	bad("1.2345678901234567890")
	// An exponent moved digits behind the last place, and they were rounded away without a word.
	bad("15e-20")
	bad("1e-30")
	good("15e-19", "0.0000000000000000015")
	good("1e3", "1000")
}

func TestFits(t *testing.T) {
	f := func(text string, precision, scale int, want bool) {
		t.Helper()
		if got := market.Fits(market.MustDecimal(text), precision, scale); got != want {
			t.Errorf("%s in Decimal(%d,%d): %v", text, precision, scale, got)
		}
	}
	f("9999999999.99999999", 18, 8, true)
	f("10000000000", 18, 8, false)
	f("0.000000001", 18, 8, false)
	f("1.100000000000", 18, 8, true) // trailing zeros are no digits
	f("0", 18, 8, true)
}

var (
	at   = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	meta = market.Meta{Source: "test", EventTime: at, RecvTime: at.Add(time.Millisecond)}
	dec  = market.MustDecimal
)

func print(change func(*market.Trade)) *market.Trade {
	tr := &market.Trade{
		Meta: meta, Action: market.TradeNew, Symbol: "IREN", ID: "1", Exchange: "V", PriceUSD: dec("49.25"), SizeShares: dec("100"),
	}
	if change != nil {
		change(tr)
	}
	return tr
}

func TestValidateNamesTheReason(t *testing.T) {
	f := func(ev market.Event, want market.Reason) {
		t.Helper()
		err := ev.Validate()
		inv, ok := errors.AsType[*market.Invalid](err)
		switch {
		case want == "" && err != nil:
			t.Errorf("%T: %v", ev, err)
		case want != "" && (!ok || inv.Reason != want):
			t.Errorf("%T: %v, want reason %s", ev, err, want)
		}
	}
	f(print(nil), "")
	f(print(func(t *market.Trade) { t.PriceUSD = dec("0") }), market.ReasonPrice)
	f(print(func(t *market.Trade) { t.PriceUSD = dec("-1") }), market.ReasonPrice)
	f(print(func(t *market.Trade) { t.PriceUSD = dec("0.000000001") }), market.ReasonPrecision)
	f(print(func(t *market.Trade) { t.SizeShares = dec("0") }), market.ReasonSize)
	f(print(func(t *market.Trade) { t.SizeShares = dec("0.5") }), "")
	f(print(func(t *market.Trade) { t.Symbol = "" }), market.ReasonMissing)
	f(print(func(t *market.Trade) { t.Symbol = strings.Repeat("A", 200) }), market.ReasonValue)
	f(print(func(t *market.Trade) { t.Source = "" }), market.ReasonMissing)
	f(print(func(t *market.Trade) { t.EventTime = time.Time{} }), market.ReasonTime)
	f(print(func(t *market.Trade) { t.Action = 0 }), market.ReasonValue)
	f(print(func(t *market.Trade) { t.Action, t.SizeShares = market.TradeCancel, dec("0") }), "")

	// A crossed quote and an empty side happen; a price below 0 does not.
	f(&market.Quote{Meta: meta, Symbol: "IREN", BidPriceUSD: dec("2"), AskPriceUSD: dec("1")}, "")
	f(&market.Quote{Meta: meta, Symbol: "IREN", AskPriceUSD: dec("-1")}, market.ReasonPrice)

	bar := market.Bar{Meta: meta, Symbol: "IREN", Interval: market.Interval1m, OpenUSD: dec("2"), HighUSD: dec("3"), LowUSD: dec("1"), CloseUSD: dec("2")}
	f(&bar, "")
	high := bar
	high.HighUSD = dec("1.5")
	f(&high, market.ReasonIncoherent)
	odd := bar
	odd.Interval = "7m"
	f(&odd, market.ReasonValue)

	block := market.Block{Meta: meta, Hash: "00", Difficulty: dec("1"), SubsidySat: 312500000, FeesSat: 5, RewardSat: 312500005}
	f(&block, "")
	block.RewardSat++
	f(&block, market.ReasonIncoherent)

	offer := market.Offer{
		Meta: meta, Action: market.OfferOpened, Provider: "vast", OfferID: "1", GPU: "h200", GPUCount: 8, Class: market.OnDemand,
		USDPerGPUHour: dec("2"), RawPrice: dec("16"),
	}
	f(&offer, "")
	offer.GPUCount = 0
	f(&offer, market.ReasonValue)

	gap := market.FeedGap{Meta: meta, GapID: "g", Symbol: "*", From: at, To: at.Add(-time.Second), State: market.GapFilled}
	f(&gap, market.ReasonIncoherent)
}

func TestFutureIsRefusedBeyondTheSkew(t *testing.T) {
	ahead := print(func(t *market.Trade) { t.EventTime = t.RecvTime.Add(3 * time.Second) })
	if err := market.CheckFuture(ahead, 5*time.Second); err != nil {
		t.Error(err)
	}
	inv, ok := errors.AsType[*market.Invalid](market.CheckFuture(ahead, 2*time.Second))
	if !ok || inv.Reason != market.ReasonFuture {
		t.Error(inv)
	}
}

// TestIdentityOfATrade: the venue's id is unique per symbol, exchange and trade date only, and a correction or a cancel is a fact of its own.
func TestIdentityOfATrade(t *testing.T) {
	base := print(nil).Identity()
	same := print(func(t *market.Trade) {
		t.EventTime, t.Backfill, t.PriceUSD = t.EventTime.Add(time.Hour), true, dec("49.250")
	})
	if same.Identity() != base {
		t.Error("the same print told by history must be the same fact")
	}
	for what, change := range map[string]func(*market.Trade){
		"symbol":   func(t *market.Trade) { t.Symbol = "CORZ" },
		"exchange": func(t *market.Trade) { t.Exchange = "D" },
		"id":       func(t *market.Trade) { t.ID = "2" },
		"date":     func(t *market.Trade) { t.EventTime = t.EventTime.Add(24 * time.Hour) },
		"action":   func(t *market.Trade) { t.Action = market.TradeCancel },
		"source":   func(t *market.Trade) { t.Source = "other" },
	} {
		if print(change).Identity() == base {
			t.Errorf("another %s is another fact", what)
		}
	}
	// A late print of the after-hours session, past midnight UTC, belongs to its day.
	late := func(hour int) string {
		return print(func(t *market.Trade) { t.EventTime = time.Date(2026, 11, 21, hour, 30, 0, 0, time.UTC) }).Identity()
	}
	if late(0) != base {
		t.Error("00:30 UTC is still the trade date before")
	}
}

// FuzzParseDecimal: what is accepted is the text's value, digit for digit.
func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"126.55", "-0.1", "1e-7", "00012", "9999999999999999999", "1e400", ".", "+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := market.ParseDecimal(s)
		if err != nil {
			return
		}
		again, err := market.ParseDecimal(d.String())
		if err != nil || again.Cmp(d) != 0 {
			t.Fatalf("%q -> %s -> %s, %v", s, d, again, err)
		}
		if d.IsZero() && strings.ContainsAny(strings.ToLower(strings.SplitN(strings.ToLower(s), "e", 2)[0]), "123456789") {
			t.Fatalf("%q was rounded to nothing", s)
		}
	})
}
