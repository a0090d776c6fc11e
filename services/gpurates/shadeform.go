package gpurates

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// shadeformList reads what Shadeform resells. Its key goes into a header of its own.
func shadeformList(cfg UpstreamConfig, a *access) *list {
	header := http.Header{"Accept": {"application/json"}, "X-Api-Key": {cfg.APIKey.Reveal()}}
	return whole("instances/types", func(ctx context.Context) (*answer, error) {
		var c catalogue
		err := a.get(ctx, feed.Request{URL: strings.TrimSuffix(cfg.URL, "/") + "/v1/instances/types", Header: header}, func(r *feed.Response) error {
			c.stamp(r)
			return c.shadeform(r.Body)
		})
		if err != nil {
			return nil, err
		}
		return c.done()
	})
}

func (c *catalogue) shadeform(data []byte) error {
	var w struct {
		Types []json.RawMessage `json:"instance_types"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return err
	}
	if w.Types == nil {
		return feed.Missing("instance_types")
	}
	c.each(w.Types, func(raw []byte) (string, []*market.Offer, error) {
		var t struct {
			Cloud     string `json:"cloud"`
			ShadeType string `json:"shade_instance_type"`
			CloudType string `json:"cloud_instance_type"`
			Config    struct {
				GPUs         uint32      `json:"num_gpus"`
				GPUType      string      `json:"gpu_type"`
				Interconnect string      `json:"interconnect"`
				VRAM         json.Number `json:"vram_per_gpu_in_gb"`
			} `json:"configuration"`
			Cents        json.Number `json:"hourly_price"`
			Deployment   string      `json:"deployment_type"`
			Availability []struct {
				Region    string `json:"region"`
				Available bool   `json:"available"`
			} `json:"availability"`
		}
		err := feed.DecodeJSON(raw, &t)
		id := ""
		if seller(t.Cloud) != "" && t.CloudType+t.ShadeType != "" {
			id = t.Cloud + "/" + t.CloudType + "/" + t.ShadeType + "/" + t.Deployment
		}
		switch {
		case err != nil:
			return id, nil, err
		case id == "":
			return "", nil, feed.Missing("cloud or its instance type")
		case t.Config.GPUs == 0:
			return id, nil, nil
		case t.Config.GPUType == "":
			return id, nil, feed.Missing("gpu_type")
		}
		cents, ok, err := quoted("hourly_price", t.Cents)
		if err != nil || !ok {
			return id, nil, err
		}
		memory, err := gib("vram_per_gpu_in_gb", t.Config.VRAM)
		if err != nil {
			return id, nil, err
		}
		o := offered(seller(t.Cloud), market.OnDemand, t.Config.GPUs)
		o.OfferID, o.Via, o.RawUnit = id, "shadeform", unitCentInstanceHour
		o.GPUName, o.GPUMemoryMiB = strings.TrimSpace(t.Config.GPUType+" "+t.Config.Interconnect), memory
		o.GPU = identifySpec(t.Config.GPUType, t.Config.Interconnect, memory)
		var regions []string
		for _, a := range t.Availability {
			if a.Available {
				regions = append(regions, a.Region)
			}
		}
		o.Region, o.Rentable, o.Stock = joined(regions), len(regions) > 0, inRegions(len(regions))
		return id, []*market.Offer{o}, quote(o, cents, 100)
	})
	return nil
}
