package gpurates

import (
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// The units of Azure's prices: reservations are quoted for their whole term.
const (
	unitInstanceYear   = "USD/instance-1-year"
	unitInstance3Years = "USD/instance-3-years"
	hoursPerYear       = 8760
)

// azureList reads the retail prices of the sizes with GPUs, page by page.
func azureList(cfg AzureConfig, a *access) *list {
	base := strings.TrimSuffix(cfg.URL, "/") + "/api/retail/prices"
	sizes := models.AzureSizes()
	slices.Sort(sizes)
	filter := "serviceName eq 'Virtual Machines' and (armSkuName eq '" + strings.Join(sizes, "' or armSkuName eq '") + "')"
	if len(cfg.Regions) > 0 {
		filter += " and (armRegionName eq '" + strings.Join(cfg.Regions, "' or armRegionName eq '") + "')"
	}
	return whole("retail/prices", func(ctx context.Context) (*answer, error) {
		var c catalogue
		newest := map[string]time.Time{}
		query := url.Values{"$filter": {filter}}.Encode()
		asked := map[string]bool{}
		for page := 1; ; page++ {
			if asked[query] {
				return nil, protocol("%w: NextPageLink comes again", errEndless)
			}
			if page > maxPages {
				return nil, protocol("%w after %d", errEndless, maxPages)
			}
			asked[query] = true
			next := ""
			err := a.get(ctx, feed.Request{URL: base + "?" + query, Header: bearer(cfg.UpstreamConfig)}, func(r *feed.Response) (err error) {
				c.stamp(r)
				next, err = c.azure(r.Body, r.Recv, newest)
				return err
			})
			if err != nil {
				return nil, err
			}
			if next == "" {
				return c.done()
			}
			// Only its query is followed: an answer does not choose the host that we ask.
			u, err := url.Parse(next)
			if err != nil || u.RawQuery == "" {
				return nil, protocol("NextPageLink %.100q has no query", next)
			}
			query = u.RawQuery
		}
	})
}

// azure decodes a page and returns the link to the next. newest is the start of the price that is in force, by offer: a price list has the
// past and the future too.
func (c *catalogue) azure(data []byte, now time.Time, newest map[string]time.Time) (next string, _ error) {
	var w struct {
		Items []json.RawMessage `json:"Items"`
		Next  string            `json:"NextPageLink"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return "", err
	}
	if w.Items == nil {
		return "", feed.Missing("Items")
	}
	c.each(w.Items, func(raw []byte) (string, []*market.Offer, error) {
		o, since, err := azureItem(raw)
		if err != nil || o == nil {
			return "", nil, err
		}
		old, twice := newest[offerKey(o)]
		if since.After(now) || twice && !since.After(old) {
			return o.OfferID, nil, nil
		}
		if twice {
			c.Offers = slices.DeleteFunc(c.Offers, func(x *market.Offer) bool { return offerKey(x) == offerKey(o) })
		}
		newest[offerKey(o)] = since
		return o.OfferID, []*market.Offer{o}, nil
	})
	return w.Next, nil
}

func azureItem(raw []byte) (*market.Offer, time.Time, error) {
	var t struct {
		Currency string      `json:"currencyCode"`
		Price    json.Number `json:"retailPrice"`
		Tier     json.Number `json:"tierMinimumUnits"`
		Region   string      `json:"armRegionName"`
		SKU      string      `json:"armSkuName"`
		Product  string      `json:"productName"`
		Meter    string      `json:"meterName"`
		Unit     string      `json:"unitOfMeasure"`
		Type     string      `json:"type"`
		Term     string      `json:"reservationTerm"`
		Since    string      `json:"effectiveStartDate"`
	}
	if err := feed.DecodeJSON(raw, &t); err != nil {
		return nil, time.Time{}, err
	}
	if t.SKU == "" || t.Region == "" {
		return nil, time.Time{}, feed.Missing("armSkuName or armRegionName")
	}
	model, gpus, known := models.AzureSize(t.SKU)
	// Windows is dearer for its licence, DevTest is for subscribers, and Low Priority is Spot's forerunner.
	if !known || strings.Contains(t.Product, "Windows") || strings.Contains(t.Meter, "Low Priority") || t.Type != "Consumption" && t.Type != "Reservation" ||
		t.Tier != "" && t.Tier != "0" && t.Tier != "0.0" {
		return nil, time.Time{}, nil
	}
	usd, ok, err := quoted("retailPrice", t.Price)
	if err == nil && ok {
		err = inUSD(t.Currency)
	}
	if err != nil || !ok {
		return nil, time.Time{}, err
	}
	o := offered("azure", market.OnDemand, gpus)
	o.GPU, o.GPUName, o.GPUMemoryMiB, o.Region, o.RawUnit = model.ID, t.SKU, model.MemoryGiB*1024, t.Region, unitInstanceHour
	o.OfferID = t.SKU + "/" + t.Region
	o.Rentable = true // a price list: it does not tell what is left
	hours := int64(1)
	switch {
	case t.Type == "Reservation":
		o.Class = market.Reserved
		switch t.Term {
		case "1 Year":
			hours, o.RawUnit = hoursPerYear, unitInstanceYear
		case "3 Years":
			hours, o.RawUnit = 3*hoursPerYear, unitInstance3Years
		default:
			return nil, time.Time{}, impossible("reservationTerm is %.32q", t.Term)
		}
		o.OfferID += "/" + t.Term
	case t.Unit != "1 Hour":
		return nil, time.Time{}, impossible("unitOfMeasure is %.32q", t.Unit)
	case strings.Contains(t.Meter, "Spot"):
		o.Class = market.Interruptible
	}
	since, err := time.Parse(time.RFC3339, t.Since)
	if err != nil {
		return nil, time.Time{}, &feed.Malformed{Reason: market.ReasonTime, Err: errors.New("effectiveStartDate is not a time")}
	}
	perGPU := new(big.Rat).Quo(usd, new(big.Rat).SetInt64(hours*int64(gpus)))
	return o, since, quoteGPU(o, usd, perGPU)
}
