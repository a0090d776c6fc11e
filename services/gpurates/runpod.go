package gpurates

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// runpodQuery asks for the lowest prices of one of RunPod's two clouds. The spelling uninterruptablePrice is theirs.
const runpodQuery = `query GpuTypes($lowestPriceInput: GpuLowestPriceInput) {
  gpuTypes {
    id displayName memoryInGb secureCloud communityCloud securePrice communityPrice
    lowestPrice(input: $lowestPriceInput) { minimumBidPrice uninterruptablePrice stockStatus }
  }
}`

const unitGPUHour = "USD/GPU-hour"

// runpodClouds: the secure cloud is RunPod's own data centres, the community cloud hosts that it has vetted.
var runpodClouds = [2]string{"secure", "community"}

// runpodList reads both clouds from GraphQL. With a key, prices on demand are read from REST v2 instead, which has no bids.
func runpodList(cfg RunPodConfig, a *access) *list {
	header := bearer(cfg.UpstreamConfig)
	header.Set("Content-Type", "application/json")
	return whole("gpuTypes", func(ctx context.Context) (*answer, error) {
		var c catalogue
		keyed := cfg.APIKey != ""
		for i, cloud := range runpodClouds {
			body, _ := json.Marshal(map[string]any{ // strings, numbers and booleans: cannot fail
				"query": runpodQuery, "variables": map[string]any{"lowestPriceInput": map[string]any{"gpuCount": 1, "secureCloud": i == 0}},
			})
			err := a.get(ctx, feed.Request{Method: http.MethodPost, URL: cfg.URL, Header: header, Body: body}, func(r *feed.Response) error {
				c.stamp(r)
				return c.runpod(r.Body, cloud, keyed)
			})
			if err != nil {
				return nil, err
			}
		}
		if keyed {
			url := strings.TrimSuffix(cfg.RESTURL, "/") + "/v2/catalog/gpus?include=AVAILABILITY&product=POD"
			err := a.get(ctx, feed.Request{URL: url, Header: header}, func(r *feed.Response) error {
				c.stamp(r)
				return c.runpodREST(r.Body)
			})
			if err != nil {
				return nil, err
			}
		}
		return c.done()
	})
}

// runpod decodes gpuTypes, with a key without what is on demand. GraphQL tells errors with HTTP 200.
func (c *catalogue) runpod(data []byte, cloud string, keyed bool) error {
	var w struct {
		Data *struct {
			GPUTypes []json.RawMessage `json:"gpuTypes"`
		} `json:"data"`
		Errors []struct {
			Message    string `json:"message"`
			Extensions struct {
				Code string `json:"code"`
			} `json:"extensions"`
		} `json:"errors"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return err
	}
	if len(w.Errors) > 0 {
		err := protocol("GraphQL error: %.200s", w.Errors[0].Message)
		if code := w.Errors[0].Extensions.Code; keyed && (code == "UNAUTHENTICATED" || code == "FORBIDDEN") {
			return feed.Refused(err)
		}
		return err
	}
	if w.Data == nil || w.Data.GPUTypes == nil {
		return feed.Missing("data.gpuTypes")
	}
	c.each(w.Data.GPUTypes, func(raw []byte) (string, []*market.Offer, error) {
		var t struct {
			ID             string      `json:"id"`
			DisplayName    string      `json:"displayName"`
			MemoryInGB     json.Number `json:"memoryInGb"`
			SecureCloud    *bool       `json:"secureCloud"`
			CommunityCloud *bool       `json:"communityCloud"`
			SecurePrice    json.Number `json:"securePrice"`
			CommunityPrice json.Number `json:"communityPrice"`
			Lowest         *struct {
				Bid      json.Number `json:"minimumBidPrice"`
				OnDemand json.Number `json:"uninterruptablePrice"`
				Stock    string      `json:"stockStatus"`
			} `json:"lowestPrice"`
		}
		err := feed.DecodeJSON(raw, &t)
		switch {
		case err != nil:
			return t.ID, nil, err
		case t.ID == "":
			return "", nil, feed.Missing("id")
		}
		sold, price := t.SecureCloud, t.SecurePrice
		if cloud == "community" {
			sold, price = t.CommunityCloud, t.CommunityPrice
		}
		if sold != nil && !*sold || t.ID == "unknown" {
			return t.ID, nil, nil
		}
		var bid json.Number
		stock := ""
		if t.Lowest != nil {
			bid, stock = t.Lowest.Bid, t.Lowest.Stock
			if t.Lowest.OnDemand != "" {
				price = t.Lowest.OnDemand
			}
		}
		memory, err := gib("memoryInGb", t.MemoryInGB)
		if err != nil {
			return t.ID, nil, err
		}
		var out []*market.Offer
		for _, q := range []struct {
			class market.Class
			price json.Number
			field string
			want  bool
		}{{market.OnDemand, price, "uninterruptablePrice", !keyed}, {market.Interruptible, bid, "minimumBidPrice", true}} {
			usd, ok, err := quoted(q.field, q.price)
			if err != nil {
				return t.ID, nil, err
			}
			if !ok || !q.want {
				continue
			}
			o := runpodOffer(t.ID, cloud, q.class, memory, stock)
			if err := quoteGPU(o, usd, usd); err != nil {
				return t.ID, nil, err
			}
			out = append(out, o)
		}
		return t.ID, out, nil
	})
	return nil
}

func runpodOffer(id, cloud string, class market.Class, memory uint32, stock string) *market.Offer {
	o := offered("runpod", class, 1)
	o.OfferID, o.GPUName, o.GPUMemoryMiB, o.RawUnit = id+"/"+cloud, id, memory, unitGPUHour
	o.GPU = identify("runpod", id, memory)
	o.Stock, o.Rentable = stock, available(stock)
	return o
}

// runpodREST decodes the catalogue of REST v2, on demand.
func (c *catalogue) runpodREST(data []byte) error {
	var w struct {
		GPUs []json.RawMessage `json:"gpus"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return err
	}
	if w.GPUs == nil {
		return feed.Missing("gpus")
	}
	c.each(w.GPUs, func(raw []byte) (string, []*market.Offer, error) {
		var t struct {
			ID     string      `json:"id"`
			Memory json.Number `json:"memory"`
			Price  struct {
				Secure    json.Number `json:"secure"`
				Community json.Number `json:"community"`
			} `json:"price"`
			Secure       *bool  `json:"secure"`
			Community    *bool  `json:"community"`
			Availability string `json:"availability"`
		}
		err := feed.DecodeJSON(raw, &t)
		switch {
		case err != nil:
			return t.ID, nil, err
		case t.ID == "":
			return "", nil, feed.Missing("id")
		}
		memory, err := gib("memory", t.Memory)
		if err != nil {
			return t.ID, nil, err
		}
		var out []*market.Offer
		for i, price := range [2]json.Number{t.Price.Secure, t.Price.Community} {
			usd, ok, err := quoted("price", price)
			if err != nil {
				return t.ID, nil, err
			}
			if sold := [2]*bool{t.Secure, t.Community}[i]; !ok || sold != nil && !*sold {
				continue
			}
			o := runpodOffer(t.ID, runpodClouds[i], market.OnDemand, memory, t.Availability)
			if err := quoteGPU(o, usd, usd); err != nil {
				return t.ID, nil, err
			}
			out = append(out, o)
		}
		return t.ID, out, nil
	})
	return nil
}
