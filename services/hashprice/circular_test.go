package hashprice

import (
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// How circular the comparison of the daily series is. Coin Metrics' income is (IssTotUSD + FeeTotNtv * PriceUSD) / HashRate, and its HashRate
// is itself blocks * difficulty * 2^32 / 86400: in that quotient the day's count of blocks cancels, and what is left is our own formula on its
// difficulty, its fees and its price. TestRecordedDailyHashpriceAgreesWithCoinMetrics goes through simulators that were made of the same rows,
// so it proves the pipeline (decoding, days, halvings, exact arithmetic), not the inputs.
//
// This test takes what can be had from others: the difficulty from the retargets of btctree, the price from Yahoo's daily close. Fees and block
// counts are Coin Metrics' own here too: no second source of them is recorded. So it proves that difficulty and price mean the same, to the
// day; it cannot prove that the fees are right (a tenth or less of the income on most days).
func TestDailyHashpriceFromInputsOfOthers(t *testing.T) {
	coin, diffs, closes := table(t, "btc_coinmetrics_daily.csv"), table(t, "difficulty_retargets.csv"), map[string]string{}
	for _, row := range table(t, "btc_usd_daily_ohlcv.csv") {
		closes[row["date"]] = row["close"]
	}
	in := func(d string) string { // the difficulty in force over all of a day; empty on the day of a retarget and around it
		at := ""
		for _, r := range diffs {
			if r["date"] <= d {
				at = r["difficulty"]
			}
			day0, err1 := time.Parse(time.DateOnly, r["date"])
			day1, err2 := time.Parse(time.DateOnly, d)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if gap := day1.Sub(day0).Abs(); gap <= 24*time.Hour { // the list's dates may be of another time zone
				return ""
			}
		}
		return at
	}
	var worst, sum, sumPrice, worstPrice float64
	var worstDay string
	n, retargets, contradict := 0, 0, 0
	for _, row := range coin {
		d := row["time"]
		if d <= diffs[0]["date"] || closes[d] == "" {
			continue
		}
		difficulty := in(d)
		if difficulty == "" {
			retargets++
			continue
		}
		price, rate := float(t, row["PriceUSD"]), float(t, row["HashRate"])
		subsidy := 6.25
		if d >= "2024-04-20" {
			subsidy = 3.125
		}
		// Two ways to the count of blocks. On 19 April 2024 the row contradicts itself: 149 blocks' issuance, 151 blocks' hashrate.
		blocks := math.Round(float(t, row["IssTotUSD"]) / price / subsidy)
		if byRate := math.Round(rate * 1e12 * 86400 / (float(t, difficulty) * (1 << 32))); byRate != blocks {
			t.Logf("%s is left out: %v blocks by its issuance, %v by its hashrate", d, blocks, byRate)
			contradict++
			continue
		}
		feesSat, ok := new(big.Rat).SetString(row["FeeTotNtv"])
		if !ok {
			t.Fatal(row["FeeTotNtv"])
		}
		feesSat.Mul(feesSat, ratInt(satPerBTC))
		usd, err := market.ParseDecimal(closes[d])
		if err != nil {
			t.Fatal(err)
		}
		v, err := Compute(Inputs{
			Difficulty: ratOf(t, difficulty), SubsidySat: ratInt(int64(subsidy * satPerBTC)), FeesSat: feesSat, Blocks: int64(blocks), BTCUSD: rat(usd),
		})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := v.HashpriceUSD.Float64()
		want := (float(t, row["IssTotUSD"]) + float(t, row["FeeTotNtv"])*price) / (rate / 1000)
		dev, apart := got/want-1, float(t, closes[d])/price-1
		// The two prices are not of one moment to the second; that is theirs, not the formula's.
		rest := math.Abs((1+dev)/(1+apart) - 1)
		sum, n = sum+rest, n+1
		sumPrice, worstPrice = sumPrice+math.Abs(apart), math.Max(worstPrice, math.Abs(apart))
		if rest > worst {
			worst, worstDay = rest, d
		}
		if rest > 0.01 {
			t.Errorf("%s: %.4f USD/PH/day, Coin Metrics has %.4f; the prices differ by %.3f %%, the rest by %.3f %%", d, got, want, 100*apart, 100*rest)
		}
	}
	t.Logf("%d days from %s on, %d at retargets left out: beside the price worst %.5f %% (%s), mean %.6f %%; the two prices differ by %.3f %% at worst, %.4f %% in the mean",
		n, diffs[0]["date"], retargets, 100*worst, worstDay, 100*sum/float64(n), 100*worstPrice, 100*sumPrice/float64(n))
	if n < 700 || contradict > 1 {
		t.Errorf("only %d days could be compared, %d contradict themselves", n, contradict)
	}
}
