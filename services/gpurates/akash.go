package gpurates

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

const unitMedianBid = "USD/GPU-hour median of bids"

// akashList reads Akash's prices by model: the median of the bids of the last weeks, with how many GPUs are free now.
func akashList(cfg UpstreamConfig, a *access) *list {
	return whole("gpu-prices", func(ctx context.Context) (*answer, error) {
		var c catalogue
		err := a.get(ctx, feed.Request{URL: strings.TrimSuffix(cfg.URL, "/") + "/v1/gpu-prices", Header: bearer(cfg)}, func(r *feed.Response) error {
			c.stamp(r)
			return c.akash(r.Body)
		})
		if err != nil {
			return nil, err
		}
		return c.done()
	})
}

func (c *catalogue) akash(data []byte) error {
	var w struct {
		Models []json.RawMessage `json:"models"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return err
	}
	if w.Models == nil {
		return feed.Missing("models")
	}
	c.each(w.Models, func(raw []byte) (string, []*market.Offer, error) {
		var t struct {
			Vendor       string `json:"vendor"`
			Model        string `json:"model"`
			RAM          string `json:"ram"`
			Interface    string `json:"interface"`
			Availability struct {
				Available int64 `json:"available"`
			} `json:"availability"`
			Price *struct {
				Currency string      `json:"currency"`
				Median   json.Number `json:"med"`
			} `json:"price"`
		}
		err := feed.DecodeJSON(raw, &t)
		id := ""
		if t.Model != "" {
			id = strings.Join([]string{t.Vendor, t.Model, t.RAM, t.Interface}, "/")
		}
		switch {
		case err != nil:
			return id, nil, err
		case id == "":
			return "", nil, feed.Missing("model")
		case t.Price == nil:
			return id, nil, nil // nobody has bid
		case t.Availability.Available < 0 || t.Availability.Available > math.MaxUint16:
			return id, nil, impossible("%d GPUs are available", t.Availability.Available)
		}
		usd, ok, err := quoted("price.med", t.Price.Median)
		if err == nil && ok {
			err = inUSD(t.Price.Currency)
		}
		if err != nil || !ok {
			return id, nil, err
		}
		ram := strings.TrimRight(t.RAM, "GgIiBb ")
		memory, err := gib("ram", json.Number(ram))
		if err != nil {
			return id, nil, err
		}
		free := uint32(t.Availability.Available)
		o := offered("akash", market.OnDemand, max(free, 1))
		o.OfferID, o.RawUnit, o.Rentable, o.Stock = id, unitMedianBid, free > 0, strconv.FormatUint(uint64(free), 10)
		o.GPUName, o.GPUMemoryMiB = strings.TrimSpace(t.Model+" "+t.Interface), memory
		o.GPU = identifySpec(t.Model, t.Interface, memory)
		return id, []*market.Offer{o}, quoteGPU(o, usd, usd)
	})
	return nil
}
