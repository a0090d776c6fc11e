package gpurates

import (
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

const unitCentInstanceHour = "cent/instance-hour"

// lambdaList reads Lambda's instance types. A type without a region that has it is sold out, and still has its price.
func lambdaList(cfg UpstreamConfig, a *access) *list {
	return whole("instance-types", func(ctx context.Context) (*answer, error) {
		var c catalogue
		err := a.get(ctx, feed.Request{URL: strings.TrimSuffix(cfg.URL, "/") + "/api/v1/instance-types", Header: bearer(cfg)}, func(r *feed.Response) error {
			c.stamp(r)
			return c.lambda(r.Body)
		})
		if err != nil {
			return nil, err
		}
		return c.done()
	})
}

// lambdaType is "gpu_8x_h100_sxm5": the number of GPUs and the model.
var lambdaType = regexp.MustCompile(`^gpu_\d+x_(.+)$`)

func (c *catalogue) lambda(data []byte) error {
	var w struct {
		Data  map[string]json.RawMessage `json:"data"`
		Error *struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return err
	}
	if w.Error != nil {
		return protocol("%.64s: %.200s", w.Error.Code, w.Error.Message)
	}
	if w.Data == nil {
		return feed.Missing("data")
	}
	var raws []json.RawMessage
	for _, name := range slices.Sorted(maps.Keys(w.Data)) {
		raws = append(raws, w.Data[name])
	}
	c.each(raws, func(raw []byte) (string, []*market.Offer, error) {
		var t struct {
			Type struct {
				Name        string      `json:"name"`
				Description string      `json:"gpu_description"`
				Cents       json.Number `json:"price_cents_per_hour"`
				Specs       struct {
					GPUs uint32 `json:"gpus"`
				} `json:"specs"`
			} `json:"instance_type"`
			Regions []struct {
				Name string `json:"name"`
			} `json:"regions_with_capacity_available"`
		}
		err := feed.DecodeJSON(raw, &t)
		id := t.Type.Name
		switch {
		case err != nil:
			return id, nil, err
		case id == "":
			return "", nil, feed.Missing("instance_type.name")
		case t.Type.Specs.GPUs == 0:
			return id, nil, nil // a machine without GPUs
		}
		cents, ok, err := quoted("price_cents_per_hour", t.Type.Cents)
		if err != nil || !ok {
			return id, nil, err
		}
		o := offered("lambda", market.OnDemand, t.Type.Specs.GPUs)
		o.OfferID, o.RawUnit, o.GPUName = id, unitCentInstanceHour, id
		if m := lambdaType.FindStringSubmatch(id); m != nil {
			o.GPUName = m[1]
		}
		model, known := models.ByName("lambda", o.GPUName, 0)
		if !known && t.Type.Description != "" {
			model, known = models.ByName("lambda", t.Type.Description, 0)
		}
		if known {
			o.GPU, o.GPUMemoryMiB = model.ID, model.MemoryGiB*1024
		} else {
			o.GPU = GPUSlug(o.GPUName, 0)
		}
		regions := make([]string, 0, len(t.Regions))
		for _, r := range t.Regions {
			regions = append(regions, r.Name)
		}
		o.Region, o.Rentable, o.Stock = joined(regions), len(regions) > 0, inRegions(len(regions))
		return id, []*market.Offer{o}, quote(o, cents, 100)
	})
	return nil
}

// joined is a list of regions as one text, in an order that does not change from poll to poll.
func joined(regions []string) string {
	slices.Sort(regions)
	return strings.Join(slices.Compact(regions), ",")
}

// inRegions is the stock of an upstream that tells it by region.
func inRegions(n int) string {
	switch n {
	case 0:
		return "none"
	case 1:
		return "1 region"
	}
	return strconv.Itoa(n) + " regions"
}
