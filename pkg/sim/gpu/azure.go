package gpu

import (
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
)

var azureSizes = []struct {
	sku, product string
	gpus         int
	key          string
	premium      float64
}{
	{"Standard_ND96isr_H100_v5", "Virtual Machines NDsr H100 v5 Series", 8, "h100-sxm", 4.8},
	{"Standard_ND96isr_H200_v5", "Virtual Machines NDsr H200 v5 Series", 8, "h200", 2.9},
	{"Standard_NC40ads_H100_v5", "Virtual Machines NCads H100 v5 Series", 1, "h100-nvl", 3.3},
	{"Standard_ND96amsr_A100_v4", "Virtual Machines NDAMSv4 Series", 8, "a100-sxm4", 5.5},
	{"Standard_NC24ads_A100_v4", "Virtual Machines NCadsA100v4 Series", 1, "a100-pcie", 5.4},
	{"Standard_D2s_v5", "Virtual Machines Dsv5 Series", 0, "v100", 1},
}

var azureEq = regexp.MustCompile(`(armSkuName|armRegionName) eq '([^']*)'`)

// NewAzure makes the Azure retail prices: GET /api/retail/prices.
func NewAzure(cfg Config) (*Server, error) {
	if cfg.PageSize == 0 {
		cfg.PageSize = 1000
	}
	return newServer("azure", cfg, func(s *Server, mux *http.ServeMux) {
		s.pages = true
		mux.HandleFunc("GET /api/retail/prices", s.azure)
	})
}

func (s *Server) azure(w http.ResponseWriter, r *http.Request) {
	want := map[string][]string{}
	for _, m := range azureEq.FindAllStringSubmatch(r.FormValue("$filter"), -1) {
		want[m[1]] = append(want[m[1]], m[2])
	}
	in := func(key, v string) bool { return len(want[key]) == 0 || slices.Contains(want[key], v) }
	l := s.levels(now(r))
	var items []object
	for _, x := range azureSizes {
		for i, region := range []string{"eastus", "westeurope", "japaneast"} {
			if !in("armSkuName", x.sku) || !in("armRegionName", region) {
				continue
			}
			usd := math.Round(s.usd(l, x.key, x.premium*(1+0.05*float64(i)))*float64(max(x.gpus, 1))*1e4) / 1e4
			add := func(price float64, over object) {
				o := object{
					"currencyCode": "USD", "tierMinimumUnits": 0.0, "retailPrice": price, "unitPrice": price, "armRegionName": region, "location": region,
					"effectiveStartDate": "2026-01-01T00:00:00Z", "meterId": "00000000-0000-0000-0000-000000000000", "meterName": x.sku, "productName": x.product,
					"skuName": x.sku, "serviceName": "Virtual Machines", "serviceFamily": "Compute", "unitOfMeasure": "1 Hour", "type": "Consumption",
					"isPrimaryMeterRegion": true, "armSkuName": x.sku,
				}
				for k, v := range over {
					o[k] = v
				}
				items = append(items, o)
			}
			add(usd, nil)
			add(usd*1.3, object{"effectiveStartDate": "2020-01-01T00:00:00Z"}) // what it cost before
			add(usd*0.9, object{"effectiveStartDate": "2099-01-01T00:00:00Z"}) // what it will cost
			add(usd*1.4, object{"productName": x.product + " Windows"})
			add(math.Round(usd*0.4*1e4)/1e4, object{"meterName": x.sku + " Spot", "skuName": x.sku + " Spot"})
			add(usd*0.3, object{"meterName": x.sku + " Low Priority"})
			add(usd*0.8, object{"type": "DevTestConsumption"})
			add(math.Round(usd*0.72*8760), object{"type": "Reservation", "reservationTerm": "1 Year"})
			add(math.Round(usd*0.5*3*8760), object{"type": "Reservation", "reservationTerm": "3 Years"})
		}
	}
	skip, err := strconv.Atoi(def(r.FormValue("$skip"), "0"))
	if err != nil || skip < 0 {
		answer(w, http.StatusBadRequest, object{"Error": object{"Code": "BadRequest", "Message": "$skip is not a number"}})
		return
	}
	loop, flood := s.faults.Paging()
	asked := skip
	if skip = min(skip, len(items)); flood {
		skip = 0
	}
	end := min(skip+s.cfg.PageSize, len(items))
	var next any
	switch {
	case loop:
		next = azureLink(r, skip)
	case flood:
		next = azureLink(r, asked+1)
	case end < len(items):
		next = azureLink(r, end)
	}
	page := items[skip:end]
	answer(w, http.StatusOK, object{
		"BillingCurrency": "USD", "CustomerEntityId": "Default", "CustomerEntityType": "Retail", "Items": append([]object{}, page...), "NextPageLink": next, "Count": len(page),
	})
}

// azureLink has the real service's host in it, as a copy of a recorded answer would: who follows links asks the live service.
func azureLink(r *http.Request, skip int) string {
	q := url.Values{"$filter": {r.FormValue("$filter")}, "$skip": {strconv.Itoa(skip)}}
	return "https://prices.azure.com:443/api/retail/prices?" + q.Encode()
}
