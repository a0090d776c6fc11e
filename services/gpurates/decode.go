package gpurates

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"

	"github.com/govalues/decimal"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// priceScale is how many decimals of a price are kept. Marketplaces print floating-point quotients (0.30333333333333334), whose tail is noise:
// prices are rounded half to even here, before anything is computed from them that is published.
const priceScale = 8

// dollars reads the exact value of a number's text.
func dollars(field string, n json.Number) (*big.Rat, error) {
	if n == "" {
		return nil, feed.Missing(field)
	}
	// decimal.Parse bounds exponent and digits (it rounds beyond 19), which big.Rat does not.
	d, err := decimal.Parse(n.String())
	if err != nil || len(n) > 64 {
		return nil, &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%s %.40q is not a price: %w", field, n.String(), err)}
	}
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		return nil, &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%s %.40q is not a price", field, n.String())}
	}
	return r, nil
}

// roundPrice brings r to priceScale decimals, half to even.
func roundPrice(r *big.Rat) (market.Decimal, error) {
	num := new(big.Int).Mul(r.Num(), big.NewInt(1e8))
	quo, rem := new(big.Int).QuoRem(num, r.Denom(), new(big.Int))
	twice := rem.Abs(rem)
	twice.Lsh(twice, 1)
	if c := twice.Cmp(r.Denom()); c > 0 || c == 0 && quo.Bit(0) == 1 {
		quo.Add(quo, big.NewInt(int64(num.Sign())))
	}
	d, err := market.ParseDecimal(quo.String() + "e-" + strconv.Itoa(priceScale))
	if err != nil {
		return market.Decimal{}, fmt.Errorf("round price: %w", err)
	}
	return d.Trim(0), nil
}

// wireOffer is an offer as Vast.ai sends it. Prices are of all its GPUs together.
type wireOffer struct {
	ID           *json.Number `json:"id"`
	HostID       json.Number  `json:"host_id"`
	MachineID    json.Number  `json:"machine_id"`
	GPUName      string       `json:"gpu_name"`
	NumGPUs      uint32       `json:"num_gpus"`
	GPURAM       json.Number  `json:"gpu_ram"`
	DPHTotal     json.Number  `json:"dph_total"`
	MinBid       json.Number  `json:"min_bid"`
	Verification string       `json:"verification"`
	Rentable     *bool        `json:"rentable"`
	Rented       bool         `json:"rented"`
	Geolocation  string       `json:"geolocation"`
	Reliability  *float64     `json:"reliability"`
	Reliability2 *float64     `json:"reliability2"`
}

// The units of prices at Vast.ai.
const (
	unitInstanceHour = "USD/instance-hour"        // dph_total: all GPUs and 8 GB of disk
	unitBidHour      = "USD/instance-hour minbid" // min_bid: the lowest interruptible bid for all GPUs, without disk
)

// pollAnswer is a decoded search.
type pollAnswer struct {
	Offers []*market.Offer
	// Bad are offers that could not be read, with their bytes.
	Bad []badOffer
	// Count of offers in the answer, bad ones included.
	Count int
}

type badOffer struct {
	ID  string // empty: not even that could be read
	Raw []byte
	Err error
}

// decodeBundles reads the answer of a search for one class. "offers" is an array, or, by the documentation's sample, a single offer; a bad
// offer costs itself only.
func decodeBundles(data []byte, class market.Class, at, recv time.Time) (pollAnswer, error) {
	var w struct {
		Offers json.RawMessage `json:"offers"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return pollAnswer{}, err
	}
	trimmed := bytes.TrimSpace(w.Offers)
	var raws []json.RawMessage
	switch {
	case len(trimmed) == 0 || string(trimmed) == "null":
		return pollAnswer{}, feed.Missing("offers")
	case trimmed[0] == '{':
		raws = []json.RawMessage{trimmed}
	default:
		if err := feed.DecodeJSON(trimmed, &raws); err != nil {
			return pollAnswer{}, err
		}
	}
	a := pollAnswer{Count: len(raws)}
	seen := make(map[string]bool, len(raws))
	for _, raw := range raws {
		o, id, err := decodeOffer(raw, class, at, recv)
		if err != nil {
			a.Bad = append(a.Bad, badOffer{id, raw, err})
			continue
		}
		if seen[o.OfferID] {
			continue
		}
		seen[o.OfferID] = true
		a.Offers = append(a.Offers, o)
	}
	return a, nil
}

func decodeOffer(raw []byte, class market.Class, at, recv time.Time) (_ *market.Offer, id string, _ error) {
	var w wireOffer
	err := feed.DecodeJSON(raw, &w)
	if w.ID != nil { // known even where another field is of the wrong type
		id = w.ID.String()
	}
	switch {
	case err != nil:
		return nil, id, err
	case id == "":
		return nil, "", feed.Missing("id")
	case w.GPUName == "":
		return nil, id, feed.Missing("gpu_name")
	case w.NumGPUs == 0:
		return nil, id, &feed.Malformed{Reason: market.ReasonValue, Err: errors.New("num_gpus is 0 or missing")}
	}
	price, unit, field := w.DPHTotal, unitInstanceHour, "dph_total"
	if class == market.Interruptible && w.MinBid != "" {
		price, unit, field = w.MinBid, unitBidHour, "min_bid"
	}
	total, err := dollars(field, price)
	if err != nil {
		return nil, id, err
	}
	o := &market.Offer{
		Meta:     market.Meta{EventTime: at, RecvTime: recv},
		Provider: "vast", OfferID: id, HostID: w.HostID.String(), MachineID: w.MachineID.String(),
		GPUName: w.GPUName, GPUCount: w.NumGPUs, Class: class, RawUnit: unit, Region: w.Geolocation,
		Verified: w.Verification == "verified", Rentable: w.Rentable == nil || *w.Rentable && !w.Rented, Reliability: math.NaN(),
	}
	if w.GPURAM != "" {
		mib, err := w.GPURAM.Float64()
		if err != nil || mib < 0 || mib > 1<<24 {
			return nil, id, &feed.Malformed{Reason: market.ReasonValue, Err: fmt.Errorf("gpu_ram is %.40q", w.GPURAM.String())}
		}
		o.GPUMemoryMiB = uint32(mib)
	}
	o.GPU = GPUSlug(w.GPUName, o.GPUMemoryMiB)
	if w.Reliability2 != nil {
		o.Reliability = *w.Reliability2
	} else if w.Reliability != nil {
		o.Reliability = *w.Reliability
	}
	var err1, err2 error
	o.RawPrice, err1 = roundPrice(total)
	o.USDPerGPUHour, err2 = roundPrice(new(big.Rat).Quo(total, new(big.Rat).SetUint64(uint64(w.NumGPUs))))
	if err := errors.Join(err1, err2); err != nil {
		return nil, id, &feed.Malformed{Reason: market.ReasonPrecision, Err: err}
	}
	return o, id, nil
}
