package hashprice

import (
	"math/big"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/market"
)

func ratOf(t *testing.T, s string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%q is not a number", s)
	}
	return r
}

// The golden vectors: mempool's documented sample of blocks 736556 to 736655; block 840000, the halving of 20 April 2024; and what The Block
// printed on 29 April 2024.
func TestGoldenVectors(t *testing.T) {
	for name, c := range map[string]struct {
		difficulty     string
		height         uint64
		fees           string
		blocks         int64
		price          string
		btc, usd, ehs  string // prefixes of the published text
		subsidyWantSat int64
	}{
		"blocks 736556-736655": {
			difficulty: "31251101365711.12", height: 736655, fees: "1311748254", blocks: 100, price: "30000",
			btc: "0.0041076099", usd: "123.2", subsidyWantSat: 625000000,
		},
		"block 840000, subsidy only": {
			difficulty: "86388558925171.02", height: 840000, fees: "0", blocks: 144, price: "64000",
			btc: "0.0007276921", usd: "46.57", ehs: "618.39", subsidyWantSat: 312500000,
		},
		"block 840000, if every block paid as it did": {
			difficulty: "86388558925171.02", height: 840000, fees: "3762561499", blocks: 1, price: "64000",
			btc: "0.009489248", subsidyWantSat: 312500000,
		},
		"29 April 2024, subsidy only": {
			difficulty: "88104191118793", height: 841200, fees: "0", blocks: 144, price: "63000", usd: "44.95", subsidyWantSat: 312500000,
		},
		"29 April 2024, fees of 0.3 BTC": {
			difficulty: "88104191118793", height: 841200, fees: "4320000000", blocks: 144, price: "63000", usd: "49.2", subsidyWantSat: 312500000,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := SubsidySat(c.height)
			if s != c.subsidyWantSat {
				t.Errorf("subsidy %d sat, want %d", s, c.subsidyWantSat)
			}
			v, err := Compute(Inputs{
				Difficulty: ratOf(t, c.difficulty), SubsidySat: ratInt(s), FeesSat: ratOf(t, c.fees), Blocks: c.blocks, BTCUSD: ratOf(t, c.price),
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range [][2]string{{v.HashpriceBTC.String(), c.btc}, {v.HashpriceUSD.String(), c.usd}, {v.NetworkEHs.String(), c.ehs}} {
				if !strings.HasPrefix(x[0], x[1]) {
					t.Errorf("got %s, want %s…", x[0], x[1])
				}
			}
			if !market.Fits(v.HashpriceBTC, 38, 18) || !market.Fits(v.HashpriceSat, 38, 18) || !market.Fits(v.HashpriceUSD, 38, 18) {
				t.Errorf("%+v does not fit Decimal(38,18)", v)
			}
		})
	}
}

func TestGoldenDigits(t *testing.T) {
	v, err := Compute(Inputs{
		Difficulty: ratOf(t, "31251101365711.12"), SubsidySat: ratOf(t, "625000000"), FeesSat: ratOf(t, "1311748254"), Blocks: 100, BTCUSD: ratOf(t, "1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := v.HashpriceBTC.Round(12).String(); got != "0.004107609947" {
		t.Errorf("golden vector 1: %s BTC/PH/day, want 0.004107609947", got)
	}
	v, err = Compute(Inputs{
		Difficulty: ratOf(t, "86388558925171.02"), SubsidySat: ratOf(t, "312500000"), FeesSat: new(big.Rat), Blocks: 1, BTCUSD: ratOf(t, "1"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := v.HashpriceBTC.Round(10).String(); got != "0.0007276921" {
		t.Errorf("golden vector 2: %s BTC/PH/day, want 0.0007276921", got)
	}
}

func TestSubsidy(t *testing.T) {
	for h, want := range map[uint64]int64{
		0: 5000000000, 209999: 5000000000, 210000: 2500000000, 629999: 1250000000, 630000: 625000000, 839999: 625000000, 840000: 312500000,
		1050000: 156250000, 6929999: 1, 6930000: 0, 64 * 210000: 0, 1 << 62: 0,
	} {
		if got := SubsidySat(h); got != want {
			t.Errorf("height %d: %d sat, want %d", h, got, want)
		}
	}
}

func TestComputeRefusesWhatHasNoAnswer(t *testing.T) {
	good := func() Inputs {
		return Inputs{Difficulty: ratInt(1e13), SubsidySat: ratInt(312500000), FeesSat: ratInt(1), Blocks: 144, BTCUSD: ratInt(60000)}
	}
	for name, spoil := range map[string]func(*Inputs){
		"no difficulty":       func(in *Inputs) { in.Difficulty = nil },
		"difficulty 0":        func(in *Inputs) { in.Difficulty = new(big.Rat) },
		"price 0":             func(in *Inputs) { in.BTCUSD = new(big.Rat) },
		"no blocks":           func(in *Inputs) { in.Blocks = 0 },
		"negative fees":       func(in *Inputs) { in.FeesSat = ratInt(-1) },
		"no subsidy":          func(in *Inputs) { in.SubsidySat = nil },
		"more than 19 digits": func(in *Inputs) { in.Difficulty = ratOf(t, "1e-9") },
	} {
		in := good()
		spoil(&in)
		if v, err := Compute(in); err == nil {
			t.Errorf("%s: computed %+v", name, v)
		}
	}
}

func TestRoundsHalfToEven(t *testing.T) {
	for in, want := range map[string]string{"0.125": "0.12", "0.135": "0.14", "-0.125": "-0.12", "-0.135": "-0.14", "0.1251": "0.13", "2": "2.00", "-0.001": "0.00"} {
		got, err := round(ratOf(t, in), 2)
		if err != nil || got.Round(2).Cmp(market.MustDecimal(want)) != 0 {
			t.Errorf("%s rounds to %s (%v), want %s", in, got, err, want)
		}
	}
}
