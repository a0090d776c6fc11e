package hashprice

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// retarget is a change of the difficulty.
type retarget struct {
	At         time.Time
	Height     uint64
	Difficulty market.Decimal
	Ratio      float64 // new over old; 0: not given
}

// decodeRetargets reads [[time, height, difficulty, ratio], ...], newest first, into oldest first.
func decodeRetargets(data []byte) ([]retarget, error) {
	var rows [][]json.Number
	if err := feed.DecodeJSON(data, &rows); err != nil {
		return nil, err
	}
	out := make([]retarget, 0, len(rows))
	for i, row := range rows {
		if len(row) < 3 {
			return nil, feed.Missing(fmt.Sprintf("row %d: time, height or difficulty", i+1))
		}
		at, err1 := row[0].Int64()
		height, err2 := row[1].Int64()
		d, err3 := number("difficulty", row[2])
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, wrongType(fmt.Sprintf("row %d", i+1), err)
		}
		if height < 0 || !d.IsPos() {
			return nil, &feed.Malformed{Reason: market.ReasonValue, Err: fmt.Errorf("row %d: height %d, difficulty %s", i+1, height, d)}
		}
		r := retarget{At: seconds(at), Height: uint64(height), Difficulty: d}
		if len(row) > 3 && row[3] != "" {
			ratio, err := row[3].Float64()
			if err != nil {
				return nil, wrongType(fmt.Sprintf("row %d: ratio", i+1), err)
			}
			r.Ratio = ratio
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b retarget) int { return a.At.Compare(b.At) })
	return out, nil
}

// dayMean is the mean of an amount over the blocks of one UTC day, satoshi per block.
type dayMean struct {
	Height uint64 // mean height of the day
	Sat    int64
}

// decodeDays reads the daily means of fees ("avgFees") or rewards ("avgRewards"), by UTC day. For all of history the upstream groups the
// blocks by whole UTC days and gives the mean of their times.
func decodeDays(data []byte, field string) (map[time.Time]dayMean, error) {
	var rows []struct {
		Height     *uint64      `json:"avgHeight"`
		Timestamp  int64        `json:"timestamp"`
		AvgFees    *json.Number `json:"avgFees"`
		AvgRewards *json.Number `json:"avgRewards"`
	}
	if err := feed.DecodeJSON(data, &rows); err != nil {
		return nil, err
	}
	days := make(map[time.Time]dayMean, len(rows))
	for i, r := range rows {
		n := r.AvgFees
		if field == "avgRewards" {
			n = r.AvgRewards
		}
		if r.Height == nil || r.Timestamp == 0 || n == nil {
			return nil, feed.Missing(fmt.Sprintf("row %d: avgHeight, timestamp or %s", i+1, field))
		}
		d, err := number(field, *n)
		if err != nil {
			return nil, err
		}
		whole, _, ok := d.Round(0).Int64(0)
		if !ok || whole < 0 {
			return nil, &feed.Malformed{Reason: market.ReasonValue, Err: fmt.Errorf("row %d: %s is %s", i+1, field, d)}
		}
		days[seconds(r.Timestamp).Truncate(24*time.Hour)] = dayMean{Height: *r.Height, Sat: whole}
	}
	return days, nil
}

// pricePoint is a price of mempool's own history.
type pricePoint struct {
	At  time.Time
	USD market.Decimal
}

// decodeHistoricalPrices reads {"prices":[{"time","USD"}]}, oldest first; unknown ones (-1, 0, null) are left out.
func decodeHistoricalPrices(data []byte) ([]pricePoint, error) {
	var w struct {
		Prices []struct {
			Time int64       `json:"time"`
			USD  json.Number `json:"USD"`
		} `json:"prices"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return nil, err
	}
	out := make([]pricePoint, 0, len(w.Prices))
	for _, p := range w.Prices {
		if p.USD == "" {
			continue
		}
		usd, err := number("USD", p.USD)
		if err != nil {
			return nil, err
		}
		if usd = usd.Round(8); usd.IsPos() {
			out = append(out, pricePoint{seconds(p.Time), usd})
		}
	}
	slices.SortStableFunc(out, func(a, b pricePoint) int { return a.At.Compare(b.At) })
	return out, nil
}

// priceNear is the price nearest to the time, within the limit.
func priceNear(ps []pricePoint, at time.Time, limit time.Duration) (market.Decimal, bool) {
	i := sort.Search(len(ps), func(i int) bool { return !ps[i].At.Before(at) })
	best, found := limit, false
	var usd market.Decimal
	for _, j := range []int{i - 1, i} {
		if j < 0 || j >= len(ps) {
			continue
		}
		if d := ps[j].At.Sub(at).Abs(); d <= best {
			best, usd, found = d, ps[j].USD, true
		}
	}
	return usd, found
}

// difficultyOver is the difficulty that a constant hashrate met between two times: the harmonic mean over time, since the yield goes with
// 1/D. constant tells that no retarget fell between them. ok is false before the first retarget known.
func difficultyOver(rs []retarget, from, to time.Time) (d *big.Rat, constant, ok bool) {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].At.After(from) }) - 1
	if i < 0 {
		return nil, false, false
	}
	constant = true
	sum, at := new(big.Rat), from
	for ; i < len(rs) && rs[i].At.Before(to); i++ {
		end := to
		if i+1 < len(rs) && rs[i+1].At.Before(to) {
			end = rs[i+1].At
			if rs[i+1].Difficulty.Cmp(rs[i].Difficulty) != 0 {
				constant = false
			}
		}
		sum.Add(sum, new(big.Rat).Quo(ratInt(int64(end.Sub(at))), rat(rs[i].Difficulty)))
		at = end
	}
	return new(big.Rat).Quo(ratInt(int64(to.Sub(from))), sum), constant, true
}
