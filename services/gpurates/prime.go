package gpurates

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// primePage is how many offers a page of Prime Intellect's has.
const primePage = 100

// primeList reads what Prime Intellect resells, page by page. Offers of one GPU only: whether the price of several is of all or of each is
// nowhere said, and at one it is the same.
func primeList(cfg UpstreamConfig, a *access) *list {
	return whole("availability/gpus", func(ctx context.Context) (*answer, error) {
		var c catalogue
		read := 0
		for page := 1; ; page++ {
			if page > maxPages {
				return nil, protocol("%w after %d", errEndless, maxPages)
			}
			q := url.Values{"gpu_count": {"1"}, "page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(primePage)}}
			var n, total int
			err := a.get(ctx, feed.Request{URL: strings.TrimSuffix(cfg.URL, "/") + "/api/v1/availability/gpus?" + q.Encode(), Header: bearer(cfg)}, func(r *feed.Response) (err error) {
				c.stamp(r)
				n, total, err = c.prime(r.Body)
				return err
			})
			if err != nil {
				return nil, err
			}
			read += n
			if n == 0 && read < total {
				c.Partial = "the pages have " + strconv.Itoa(read) + " offers of " + strconv.Itoa(total)
			}
			if n == 0 || total > 0 && read >= total || total <= 0 && n < primePage {
				break
			}
		}
		return c.done()
	})
}

// prime decodes a page and returns how many items it has, and how many there are.
func (c *catalogue) prime(data []byte) (n, total int, _ error) {
	var w struct {
		Items []json.RawMessage `json:"items"`
		Total int               `json:"totalCount"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return 0, 0, err
	}
	if w.Items == nil {
		return 0, 0, feed.Missing("items")
	}
	seen := map[string]bool{}
	for _, o := range c.Offers {
		seen[o.OfferID] = true
	}
	before := len(c.Offers)
	c.each(w.Items, func(raw []byte) (string, []*market.Offer, error) {
		var t struct {
			CloudID    string      `json:"cloudId"`
			GPUType    string      `json:"gpuType"`
			Socket     string      `json:"socket"`
			Provider   string      `json:"provider"`
			Region     string      `json:"region"`
			DataCenter string      `json:"dataCenter"`
			Country    string      `json:"country"`
			Count      uint32      `json:"gpuCount"`
			Memory     json.Number `json:"gpuMemory"`
			Stock      string      `json:"stockStatus"`
			Security   string      `json:"security"`
			Prices     struct {
				OnDemand  json.Number `json:"onDemand"`
				Community json.Number `json:"communityPrice"`
				Currency  string      `json:"currency"`
			} `json:"prices"`
			Spot bool `json:"isSpot"`
		}
		err := feed.DecodeJSON(raw, &t)
		id := ""
		if seller(t.Provider) != "" && t.CloudID != "" {
			id = strings.Join([]string{t.Provider, t.CloudID, t.Socket, t.DataCenter, t.Country, t.Security, strconv.FormatBool(t.Spot)}, "/")
		}
		switch {
		case err != nil:
			return id, nil, err
		case id == "":
			return "", nil, feed.Missing("provider or cloudId")
		case t.GPUType == "" || t.Count != 1:
			return id, nil, nil // a machine without GPUs, or of several
		}
		price := t.Prices.OnDemand
		if price == "" {
			price = t.Prices.Community
		}
		usd, ok, err := quoted("prices", price)
		if err == nil && ok {
			err = inUSD(t.Prices.Currency)
		}
		if err != nil || !ok {
			return id, nil, err
		}
		memory, err := gib("gpuMemory", t.Memory)
		if err != nil {
			return id, nil, err
		}
		o := offered(seller(t.Provider), market.OnDemand, t.Count)
		if t.Spot {
			o.Class = market.Interruptible
		}
		o.OfferID, o.Via, o.RawUnit, o.Region = id, "prime-intellect", unitInstanceHour, t.Region
		o.GPUName, o.GPUMemoryMiB = strings.TrimSpace(t.GPUType+" "+t.Socket), memory
		o.GPU = identifySpec(t.GPUType, t.Socket, memory)
		o.Stock, o.Rentable = t.Stock, available(t.Stock)
		return id, []*market.Offer{o}, quote(o, usd, 1)
	})
	// A page that has only what was there before is the same page again.
	fresh := 0
	for _, o := range c.Offers[before:] {
		if !seen[o.OfferID] {
			fresh++
		}
	}
	if len(c.Offers) > before && fresh == 0 {
		return 0, 0, protocol("%w: a page comes again", errEndless)
	}
	return len(w.Items), w.Total, nil
}
