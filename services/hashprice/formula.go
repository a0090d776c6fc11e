package hashprice

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Published precision, decimals. Hashprice in BTC per PH/s per day is some 4e-4, so 14 decimals are ten significant digits, and exactly
// the satoshi figure of 6 decimals; all of it fits Decimal(38, 18).
const (
	hashpriceBTCScale = 14
	hashpriceSatScale = 6
	hashpriceUSDScale = 6
	meanFeesScale     = 6
	networkEHsScale   = 6
)

// Protocol constants of bitcoin.
const (
	halvingBlocks  = 210_000
	genesisSubsidy = 50 * satPerBTC
	satPerBTC      = 100_000_000
	retargetBlocks = 2016
)

// SubsidySat is the block subsidy at a height, in satoshi: 50 BTC, halved every 210,000 blocks.
func SubsidySat(height uint64) int64 {
	halvings := height / halvingBlocks
	if halvings >= 63 {
		return 0
	}
	return genesisSubsidy >> halvings
}

// Inputs of the hashprice formula. All are exact.
type Inputs struct {
	Difficulty *big.Rat
	SubsidySat *big.Rat // per block
	// FeesSat over Blocks blocks; their quotient is the mean fee per block.
	FeesSat *big.Rat
	Blocks  int64
	BTCUSD  *big.Rat
}

// Values is the formula's result at published precision, rounded half to even.
type Values struct {
	HashpriceBTC market.Decimal // BTC per PH/s per day, 14 decimals
	HashpriceSat market.Decimal // satoshi per PH/s per day, 6 decimals
	HashpriceUSD market.Decimal // USD per PH/s per day, 6 decimals
	MeanFeesSat  market.Decimal // satoshi per block, 6 decimals
	NetworkEHs   market.Decimal // EH/s that the difficulty implies at ten minutes a block, 6 decimals
}

// Compute is the expected income of one PH/s for one day:
//
//	B             = 86400 * 10^15 / (D * 2^32)    blocks found per PH/s and day
//	hashprice_BTC = B * (subsidy + mean fees)
//	hashprice_USD = hashprice_BTC * BTC-USD
//	network       = D * 2^32 / 600                H/s
//
// It calculates with exact fractions and rounds each result once.
func Compute(in Inputs) (Values, error) {
	if in.Difficulty == nil || in.Difficulty.Sign() <= 0 {
		return Values{}, errors.New("compute hashprice: difficulty is not above 0")
	}
	if in.BTCUSD == nil || in.BTCUSD.Sign() <= 0 {
		return Values{}, errors.New("compute hashprice: BTC-USD is not above 0")
	}
	if in.Blocks <= 0 || in.FeesSat == nil || in.FeesSat.Sign() < 0 || in.SubsidySat == nil || in.SubsidySat.Sign() < 0 {
		return Values{}, fmt.Errorf("compute hashprice: fees over %d blocks or subsidy are missing or below 0", in.Blocks)
	}
	blockHashes := new(big.Rat).Mul(in.Difficulty, ratInt(1<<32))
	perPHDay := new(big.Rat).Quo(new(big.Rat).Mul(ratInt(86400), ratInt(1e15)), blockHashes)
	meanFees := new(big.Rat).Quo(in.FeesSat, ratInt(in.Blocks))
	sat := new(big.Rat).Mul(perPHDay, new(big.Rat).Add(in.SubsidySat, meanFees))
	btc := new(big.Rat).Quo(sat, ratInt(satPerBTC))
	usd := new(big.Rat).Mul(btc, in.BTCUSD)
	ehs := new(big.Rat).Quo(blockHashes, new(big.Rat).Mul(ratInt(600), ratInt(1e18)))

	var v Values
	for _, x := range []struct {
		to    *market.Decimal
		r     *big.Rat
		scale int
		name  string
	}{
		{&v.HashpriceBTC, btc, hashpriceBTCScale, "hashprice in BTC"},
		{&v.HashpriceSat, sat, hashpriceSatScale, "hashprice in sat"},
		{&v.HashpriceUSD, usd, hashpriceUSDScale, "hashprice in USD"},
		{&v.MeanFeesSat, meanFees, meanFeesScale, "mean fees"},
		{&v.NetworkEHs, ehs, networkEHsScale, "network hashrate"},
	} {
		d, err := round(x.r, x.scale)
		if err != nil {
			return Values{}, fmt.Errorf("compute hashprice: %s: %w", x.name, err)
		}
		*x.to = d
	}
	return v, nil
}

func ratInt(n int64) *big.Rat { return new(big.Rat).SetInt64(n) }

// rat is the exact value of a decimal.
func rat(d market.Decimal) *big.Rat {
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		return new(big.Rat) // unreachable: a Decimal always prints as a number
	}
	return r
}

// round brings r to scale decimals, half to even. It fails where the result has more digits than a Decimal holds.
func round(r *big.Rat, scale int) (market.Decimal, error) {
	pow := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	num := new(big.Int).Mul(r.Num(), pow)
	quo, rem := new(big.Int).QuoRem(num, r.Denom(), new(big.Int))
	twice := new(big.Int).Abs(rem)
	twice.Lsh(twice, 1)
	if c := twice.Cmp(r.Denom()); c > 0 || c == 0 && quo.Bit(0) == 1 {
		quo.Add(quo, big.NewInt(int64(num.Sign())))
	}
	return market.ParseDecimal(quo.String() + "e-" + strconv.Itoa(scale))
}
