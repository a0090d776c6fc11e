package gpurates

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

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

// decodeBundles reads the answer of a search for one class. "offers" is an array, or, by the documentation's sample, a single offer; a bad
// offer costs itself only.
func decodeBundles(data []byte, class market.Class, limit int, at, recv time.Time) (*answer, error) {
	var w struct {
		Offers json.RawMessage `json:"offers"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return nil, err
	}
	trimmed := bytes.TrimSpace(w.Offers)
	var raws []json.RawMessage
	switch {
	case len(trimmed) == 0 || string(trimmed) == "null":
		return nil, feed.Missing("offers")
	case trimmed[0] == '{':
		raws = []json.RawMessage{trimmed}
	default:
		if err := feed.DecodeJSON(trimmed, &raws); err != nil {
			return nil, err
		}
	}
	a := &answer{At: at, Recv: recv}
	if len(raws) >= limit {
		a.Partial = fmt.Sprintf("the answer has %d offers, the limit: it may be cut short", len(raws))
	}
	for _, raw := range raws {
		o, id, err := decodeOffer(raw, class)
		if err != nil {
			a.Bad = append(a.Bad, badOffer{id, raw, err})
			continue
		}
		a.Offers = append(a.Offers, o)
	}
	return a, nil
}

func decodeOffer(raw []byte, class market.Class) (_ *market.Offer, id string, _ error) {
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
	o.GPU = identify("vast", w.GPUName, o.GPUMemoryMiB)
	if w.Reliability2 != nil {
		o.Reliability = *w.Reliability2
	} else if w.Reliability != nil {
		o.Reliability = *w.Reliability
	}
	if err := quote(o, total, 1); err != nil {
		return nil, id, err
	}
	return o, id, nil
}
