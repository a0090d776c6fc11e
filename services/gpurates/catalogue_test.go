package gpurates

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Answers by the documentation of each upstream.
const (
	runpodSample = `{"data":{"gpuTypes":[{"id":"NVIDIA H100 80GB HBM3","displayName":"H100 SXM","memoryInGb":80,"secureCloud":true,"communityCloud":true,"securePrice":2.99,
"communityPrice":2.69,"lowestPrice":{"minimumBidPrice":1.5,"uninterruptablePrice":2.89,"minVcpu":16,"stockStatus":"Low"}},
{"id":"NVIDIA H200","displayName":"H200 SXM","memoryInGb":141,"secureCloud":true,"communityCloud":false,"securePrice":3.59,"communityPrice":null,
"lowestPrice":{"minimumBidPrice":null,"uninterruptablePrice":null,"stockStatus":null}},{"id":"NVIDIA B200","memoryInGb":180,"securePrice":null,"lowestPrice":null}]}}`
	runpodRESTSample = `{"gpus":[{"id":"NVIDIA GeForce RTX 4090","name":"RTX 4090","pool":null,"manufacturer":"NVIDIA","memory":24,"secure":true,"community":true,
"price":{"secure":0.44,"community":0.31,"serverless":1.1},"maxCount":{"secure":8,"community":4},"availability":"HIGH","dataCenters":[{"id":"US-KS-2"}]}]}`
	lambdaSample = `{"data":{"gpu_8x_h100_sxm5":{"instance_type":{"name":"gpu_8x_h100_sxm5","description":"8x H100 (80 GB SXM5)","gpu_description":"H100 (80 GB SXM5)",
"price_cents_per_hour":2632,"specs":{"vcpus":208,"memory_gib":1800,"storage_gib":22528,"gpus":8}},"regions_with_capacity_available":[{"name":"us-west-2"},{"name":"us-east-1"}]},
"gpu_1x_gh200":{"instance_type":{"name":"gpu_1x_gh200","price_cents_per_hour":229,"specs":{"gpus":1}},"regions_with_capacity_available":[]},
"cpu_4x_general":{"instance_type":{"name":"cpu_4x_general","price_cents_per_hour":24,"specs":{"gpus":0}},"regions_with_capacity_available":[]}}}`
	shadeformSample = `{"instance_types":[{"cloud":"lambdalabs","shade_instance_type":"A6000","cloud_instance_type":"gpu_4x_a6000","configuration":{"memory_in_gb":12,"num_gpus":4,
"gpu_type":"A6000","interconnect":"pcie","nvlink":false,"vram_per_gpu_in_gb":48},"hourly_price":210,"deployment_type":"vm",
"availability":[{"region":"us-central-1","available":true},{"region":"us-east-1","available":false}]}]}`
	primeSample = `{"items":[{"cloudId":"NVIDIA A100 80GB PCIe","gpuType":"A100_80GB","socket":"PCIe","provider":"runpod","region":"united_states","dataCenter":"US-KS-2",
"country":"US","gpuCount":1,"gpuMemory":80,"stockStatus":"Low","security":"secure_cloud","prices":{"onDemand":1.6567999999999998,"communityPrice":null,"isVariable":null,
"currency":"USD"},"isSpot":false},{"cloudId":"y","gpuType":"H100_80GB","socket":"SXM5","provider":"x","gpuCount":8,"gpuMemory":80,"prices":{"onDemand":20}}],"totalCount":2}`
	akashSample = `{"availability":{"total":9,"available":2},"models":[{"vendor":"nvidia","model":"h100","ram":"80Gi","interface":"SXM5","availability":{"total":9,"available":2},
"price":{"currency":"USD","min":1.2,"max":2.5,"avg":1.9,"weightedAverage":1.8,"med":1.75}},{"vendor":"nvidia","model":"t4","ram":"16Gi","interface":"PCIe","availability":{"total":1,"available":0},"price":null}]}`
	azureSample = `{"BillingCurrency":"USD","Items":[{"currencyCode":"USD","tierMinimumUnits":0.0,"retailPrice":98.32,"armRegionName":"eastus","armSkuName":"Standard_ND96isr_H100_v5",
"skuName":"ND96isr H100 v5","meterName":"ND96isr H100 v5","productName":"Virtual Machines NDsr H100 v5 Series","unitOfMeasure":"1 Hour","type":"Consumption","effectiveStartDate":"2024-01-01T00:00:00Z"},
{"currencyCode":"USD","tierMinimumUnits":0.0,"retailPrice":551880.0,"armRegionName":"eastus","armSkuName":"Standard_ND96isr_H100_v5","meterName":"ND96isr H100 v5",
"productName":"Virtual Machines NDsr H100 v5 Series","unitOfMeasure":"1 Hour","type":"Reservation","reservationTerm":"1 Year","effectiveStartDate":"2024-01-01T00:00:00Z"},
{"currencyCode":"USD","tierMinimumUnits":0.0,"retailPrice":19.66,"armRegionName":"eastus","armSkuName":"Standard_ND96isr_H100_v5","meterName":"ND96isr H100 v5 Spot",
"productName":"Virtual Machines NDsr H100 v5 Series","unitOfMeasure":"1 Hour","type":"Consumption","effectiveStartDate":"2024-01-01T00:00:00Z"}],"NextPageLink":null,"Count":3}`
)

// decoders of all upstreams, as one kind of function.
var decoders = map[string]func(c *catalogue, data []byte) error{
	"runpod":           func(c *catalogue, data []byte) error { return c.runpod(data, "secure", false) },
	"runpod community": func(c *catalogue, data []byte) error { return c.runpod(data, "community", false) },
	"runpod rest":      func(c *catalogue, data []byte) error { return c.runpodREST(data) },
	"lambda":           func(c *catalogue, data []byte) error { return c.lambda(data) },
	"shadeform":        func(c *catalogue, data []byte) error { return c.shadeform(data) },
	"prime":            func(c *catalogue, data []byte) error { _, _, err := c.prime(data); return err },
	"akash":            func(c *catalogue, data []byte) error { return c.akash(data) },
	"azure": func(c *catalogue, data []byte) error {
		_, err := c.azure(data, noon, map[string]time.Time{})
		return err
	},
}

func TestPricesPerGPUHourWhateverTheUpstreamQuotes(t *testing.T) {
	for _, x := range []struct {
		decoder, sample, id string
		class               market.Class
		gpu, usd, raw, unit string
		gpus                uint32
		provider, via       string
		rentable            bool
		stock               string
	}{
		{"runpod", runpodSample, "NVIDIA H100 80GB HBM3/secure", market.OnDemand, "h100-sxm", "2.89", "2.89", unitGPUHour, 1, "runpod", "", true, "Low"},
		{"runpod", runpodSample, "NVIDIA H100 80GB HBM3/secure", market.Interruptible, "h100-sxm", "1.5", "1.5", unitGPUHour, 1, "runpod", "", true, "Low"},
		{"runpod", runpodSample, "NVIDIA H200/secure", market.OnDemand, "h200", "3.59", "3.59", unitGPUHour, 1, "runpod", "", false, ""},
		{"runpod community", runpodSample, "NVIDIA H100 80GB HBM3/community", market.OnDemand, "h100-sxm", "2.89", "2.89", unitGPUHour, 1, "runpod", "", true, "Low"},
		{"runpod rest", runpodRESTSample, "NVIDIA GeForce RTX 4090/community", market.OnDemand, "rtx-4090", "0.31", "0.31", unitGPUHour, 1, "runpod", "", true, "HIGH"},
		{"lambda", lambdaSample, "gpu_8x_h100_sxm5", market.OnDemand, "h100-sxm", "3.29", "2632", unitCentInstanceHour, 8, "lambda", "", true, "2 regions"},
		{"lambda", lambdaSample, "gpu_1x_gh200", market.OnDemand, "gh200", "2.29", "229", unitCentInstanceHour, 1, "lambda", "", false, "none"},
		{"shadeform", shadeformSample, "lambdalabs/gpu_4x_a6000/A6000/vm", market.OnDemand, "rtx-a6000", "0.525", "210", unitCentInstanceHour, 4, "lambda", "shadeform", true, "1 region"},
		{"prime", primeSample, "runpod/NVIDIA A100 80GB PCIe/PCIe/US-KS-2/US/secure_cloud/false", market.OnDemand, "a100-pcie", "1.6568", "1.6568", unitInstanceHour, 1, "runpod", "prime-intellect", true, "Low"},
		{"akash", akashSample, "nvidia/h100/80Gi/SXM5", market.OnDemand, "h100-sxm", "1.75", "1.75", unitMedianBid, 2, "akash", "", true, "2"},
		{"azure", azureSample, "Standard_ND96isr_H100_v5/eastus", market.OnDemand, "h100-sxm", "12.29", "98.32", unitInstanceHour, 8, "azure", "", true, ""},
		{"azure", azureSample, "Standard_ND96isr_H100_v5/eastus", market.Interruptible, "h100-sxm", "2.4575", "19.66", unitInstanceHour, 8, "azure", "", true, ""},
		{"azure", azureSample, "Standard_ND96isr_H100_v5/eastus/1 Year", market.Reserved, "h100-sxm", "7.875", "551880", unitInstanceYear, 8, "azure", "", true, ""},
	} {
		var c catalogue
		if err := decoders[x.decoder](&c, []byte(x.sample)); err != nil || len(c.Bad) > 0 {
			t.Errorf("%s: %v, %+v", x.decoder, err, c.Bad)
			continue
		}
		found := false
		for _, o := range c.Offers {
			if o.OfferID != x.id || o.Class != x.class {
				continue
			}
			found = true
			if o.GPU != x.gpu || o.USDPerGPUHour.Cmp(market.MustDecimal(x.usd)) != 0 || o.RawPrice.Cmp(market.MustDecimal(x.raw)) != 0 || o.RawUnit != x.unit || o.GPUCount != x.gpus ||
				o.Provider != x.provider || o.Via != x.via || o.Rentable != x.rentable || o.Stock != x.stock {
				t.Errorf("%s: %+v, want %+v", x.decoder, o, x)
			}
		}
		if !found {
			t.Errorf("%s: no %s offer %s of %d", x.decoder, x.class, x.id, len(c.Offers))
		}
	}
}

// What is no offer, a null price or a machine without GPUs, is neither told nor bad; what is wrong costs itself only.
func TestWhatIsNoOfferAndWhatIsBad(t *testing.T) {
	for _, x := range []struct {
		decoder, data string
		offers, bad   int
		skipped       int
		reason        market.Reason
	}{
		{"runpod", runpodSample, 3, 0, 1, ""},
		{"lambda", lambdaSample, 2, 0, 1, ""},
		{"prime", primeSample, 1, 0, 1, ""}, // eight GPUs: of all or of each?
		{"akash", akashSample, 1, 0, 1, ""},
		{"runpod", strings.Replace(runpodSample, `"memoryInGb":80`, `"memoryInGb":"lots"`, 1), 1, 1, 1, feed.ReasonMalformed},
		{"runpod", strings.Replace(runpodSample, `"memoryInGb":80`, `"memoryInGb":-80`, 1), 1, 1, 1, market.ReasonValue},
		{"runpod", strings.Replace(runpodSample, `"uninterruptablePrice":2.89`, `"uninterruptablePrice":1e99`, 1), 1, 1, 1, feed.ReasonType},
		{"lambda", strings.Replace(lambdaSample, `"gpus":8`, `"gpus":-8`, 1), 1, 1, 1, feed.ReasonType},
		{"lambda", strings.Replace(lambdaSample, `2632`, `9999999999999999`, 1), 1, 1, 1, market.ReasonPrecision},
		{"shadeform", strings.Replace(shadeformSample, `"gpu_type":"A6000",`, ``, 1), 0, 1, 0, market.ReasonMissing},
		{"shadeform", strings.Replace(shadeformSample, `"hourly_price":210`, `"hourly_price":null`, 1), 0, 0, 1, ""},
		{"prime", strings.Replace(primeSample, `"USD"`, `"EUR"`, 1), 0, 1, 1, market.ReasonValue},
		{"akash", strings.Replace(akashSample, `"available":2},
"price"`, `"available":-2},
"price"`, 1), 0, 1, 1, market.ReasonValue},
		{"akash", strings.Replace(akashSample, `"80Gi"`, `"80 apples"`, 1), 0, 1, 1, market.ReasonValue},
		{"azure", strings.Replace(azureSample, `"1 Year"`, `"a while"`, 1), 2, 1, 0, market.ReasonValue},
		{"azure", strings.Replace(azureSample, `"2024-01-01T00:00:00Z"`, `"soon"`, 1), 2, 1, 0, market.ReasonTime},
		{"azure", strings.Replace(azureSample, `"2024-01-01T00:00:00Z"`, `"2199-01-01T00:00:00Z"`, 1), 2, 0, 1, ""},
	} {
		var c catalogue
		if err := decoders[x.decoder](&c, []byte(x.data)); err != nil || len(c.Offers) != x.offers || len(c.Bad) != x.bad || c.skipped != x.skipped {
			t.Errorf("%s: %v, %d offers, %d bad, %d skipped, want %d, %d, %d, of %s", x.decoder, err, len(c.Offers), len(c.Bad), c.skipped, x.offers, x.bad, x.skipped, x.data)
			continue
		}
		if x.bad > 0 && feed.ReasonOf(c.Bad[0].Err, "") != x.reason {
			t.Errorf("%s: reason %v, want %s", x.decoder, c.Bad[0].Err, x.reason)
		}
	}
}

func TestOneCloudHasOneName(t *testing.T) {
	for name, want := range map[string]string{"lambdalabs": "lambda", "Lambda Labs": "lambda", "crusoe": "crusoe", "crusoecloud": "crusoe", "massed-compute": "massedcompute", "vast.ai": "vast"} {
		if got := seller(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	var c catalogue
	if err := c.shadeform([]byte(strings.Replace(shadeformSample, `"lambdalabs"`, `"…"`, 1))); err != nil || len(c.Bad) != 1 {
		t.Errorf("a cloud without a name: %v, %+v", err, c.Offers)
	}
}

func TestGraphQLErrorsComeWithStatus200(t *testing.T) {
	const denied = `{"errors":[{"message":"no","extensions":{"code":"UNAUTHENTICATED"}}],"data":null}`
	var c catalogue
	if err := c.runpod([]byte(denied), "secure", true); !feed.IsRefused(err) {
		t.Errorf("with a key: %v", err)
	}
	if err := c.runpod([]byte(denied), "secure", false); err == nil || feed.IsRefused(err) {
		t.Errorf("without: %v", err)
	}
	if err := c.runpod([]byte(`{"errors":[{"message":"Cannot query field"}],"data":{"gpuTypes":[]}}`), "secure", false); feed.ReasonOf(err, "") != feed.ReasonProtocol {
		t.Errorf("an error beside data: %v", err)
	}
}

func TestAPageThatComesAgainIsALoop(t *testing.T) {
	var c catalogue
	if _, _, err := c.prime([]byte(primeSample)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.prime([]byte(primeSample)); !errors.Is(err, errEndless) {
		t.Errorf("the same page twice: %v", err)
	}
}

func FuzzDecodeCatalogues(f *testing.F) {
	for _, s := range []string{runpodSample, runpodRESTSample, lambdaSample, shadeformSample, primeSample, akashSample, azureSample,
		`{"data":{"gpuTypes":[null,7,{"id":"a","memoryInGb":1e400,"securePrice":-1}]}}`, `{"data":{"a":{"instance_type":{"name":"gpu_99999999999x_","specs":{"gpus":4294967295}}}}}`,
		`{"instance_types":[{"cloud":"\u0000","cloud_instance_type":"x","configuration":{"num_gpus":1,"gpu_type":"\u2028"},"hourly_price":1e-300}]}`,
		`{"models":[{"model":"h100","ram":"1e309Gi","price":{"med":"1"}}]}`, `{"Items":[{"armSkuName":"Standard_ND96isr_H100_v5","armRegionName":"x","type":"Consumption","unitOfMeasure":"1 Hour","retailPrice":1,"effectiveStartDate":"9999-12-31T23:59:59Z"}],"NextPageLink":"::"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range slices.Sorted(maps.Keys(decoders)) { // in one order: the fuzzer compares coverage
			var c catalogue
			if decoders[name](&c, data) != nil {
				continue
			}
			for _, o := range c.Offers {
				o.Source, o.Action, o.EventTime, o.RecvTime = "fuzz", market.OfferOpened, noon, noon
				if o.Validate() == nil && (o.OfferID == "" || o.GPU == "" || o.GPUCount == 0 || !o.USDPerGPUHour.IsPos() || !o.RawPrice.IsPos()) {
					t.Fatalf("%s: valid, and yet %+v", name, o)
				}
			}
			if _, _, err := ProviderIndex(c.Offers, 1); err != nil {
				t.Fatalf("%s: index: %v", name, err)
			}
		}
	})
}
