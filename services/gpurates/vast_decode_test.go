package gpurates

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// sample is the documentation's offer, by its field names.
const sample = `{"offers":[{"id":12345678,"ask_contract_id":12345678,"machine_id":88888,"host_id":55555,"gpu_name":"H100 SXM","num_gpus":4,"gpu_ram":81559,
"gpu_total_ram":326236,"gpu_frac":0.5,"gpu_arch":"nvidia","dph_base":7.2,"dph_total":7.21,"discounted_dph_total":7.0,"min_bid":4.0,"storage_cost":0.15,
"reliability":0.9999,"reliability2":0.9999,"verification":"verified","rentable":true,"rented":false,"is_bid":false,"external":null,"hosting_type":1,
"geolocation":"Texas, US","start_date":1893450000.5,"end_date":1893456000.0,"duration":1234567.89,"search":{"gpuCostPerHour":7.2}}]}`

const medianSample = `{"success":true,"gpus":{"RTX 4090":{"supply_demand":{"timestamps":[1779736460,1779736632],"rented_verified":[3789,3756],
"avail_verified":[165,200],"rented_unverified":[385,390],"avail_unverified":[107,100],"total":[4446,4446]},
"pricing":{"timestamps":[1779736460,1779736632],"rented_p10":[0.246,0.246],"rented_median":[0.39,0.38],"rented_p90":[0.599,0.55],
"avail_p10":[0.254,0.289],"avail_median":[0.5,0.5],"avail_p90":[0.973,0.85]},"stats":{"tflops":82.6}}}}`

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestDecodesAnOfferByClass(t *testing.T) {
	a, err := decodeBundles([]byte(sample), market.OnDemand, 1000, noon, noon)
	if err != nil || len(a.Offers) != 1 || len(a.Bad) != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	o := a.Offers[0]
	if o.OfferID != "12345678" || o.HostID != "55555" || o.MachineID != "88888" || o.GPU != "h100-sxm" || o.GPUCount != 4 || o.GPUMemoryMiB != 81559 ||
		o.USDPerGPUHour.String() != "1.8025" || o.RawPrice.String() != "7.21" || o.RawUnit != unitInstanceHour || o.Region != "Texas, US" || !o.Verified || !o.Rentable ||
		o.Reliability != 0.9999 || !a.At.Equal(noon) {
		t.Errorf("on demand: %+v", o)
	}
	if a, err = decodeBundles([]byte(sample), market.Interruptible, 1000, noon, noon); err != nil || a.Offers[0].USDPerGPUHour.Cmp(market.MustDecimal("1")) != 0 || a.Offers[0].RawUnit != unitBidHour {
		t.Errorf("interruptible: %+v, %v", a, err)
	}
}

// A price is a floating-point quotient with a long tail; its noise is cut at eight decimals, and 1/3 of it is exact to the last.
func TestRoundsTheNoiseOfFloats(t *testing.T) {
	for text, want := range map[string][2]string{
		"0.30333333333333334":         {"0.30333333", "0.10111111"},
		"2.777777777777778e-05":       {"0.00002778", "0.00000926"},
		"1.0000000000000000000000001": {"1", "0.33333333"},
		"7":                           {"7", "2.33333333"},
	} {
		in := strings.NewReplacer(`"dph_total":7.21`, `"dph_total":`+text, `"num_gpus":4`, `"num_gpus":3`).Replace(sample)
		a, err := decodeBundles([]byte(in), market.OnDemand, 1000, noon, noon)
		if err != nil || len(a.Offers) != 1 {
			t.Errorf("%s: %+v, %v", text, a, err)
			continue
		}
		if o := a.Offers[0]; o.RawPrice.Cmp(market.MustDecimal(want[0])) != 0 || o.USDPerGPUHour.Cmp(market.MustDecimal(want[1])) != 0 {
			t.Errorf("%s: raw %s, per GPU %s, want %v", text, o.RawPrice, o.USDPerGPUHour, want)
		}
	}
}

func TestABadOfferCostsItselfOnly(t *testing.T) {
	good := strings.TrimSuffix(strings.TrimPrefix(sample, `{"offers":[`), `]}`)
	for bad, want := range map[string]struct {
		reason market.Reason
		id     string
	}{
		`{"id":1,"gpu_name":"H200"}`:                                           {market.ReasonValue, "1"},
		`{"id":1,"num_gpus":1,"dph_total":2}`:                                  {market.ReasonMissing, "1"},
		`{"gpu_name":"H200","num_gpus":1,"dph_total":2}`:                       {market.ReasonMissing, ""},
		`{"id":1,"gpu_name":"H200","num_gpus":1}`:                              {market.ReasonMissing, "1"},
		`{"id":1,"gpu_name":"H200","num_gpus":"one","dph_total":2}`:            {feed.ReasonType, "1"},
		`{"id":1,"gpu_name":"H200","num_gpus":1,"dph_total":1e99}`:             {feed.ReasonType, "1"},
		`{"id":1,"gpu_name":"H200","num_gpus":1,"dph_total":2,"gpu_ram":-5}`:   {market.ReasonValue, "1"},
		`{"id":1,"gpu_name":"H200","num_gpus":1,"dph_total":99999999999999.5}`: {market.ReasonPrecision, "1"},
		`7`: {feed.ReasonType, ""},
	} {
		a, err := decodeBundles([]byte(`{"offers":[`+good+`,`+bad+`]}`), market.OnDemand, 1000, noon, noon)
		if err != nil || len(a.Offers) != 1 || len(a.Bad) != 1 {
			t.Errorf("%s: %+v, %v", bad, a, err)
			continue
		}
		if got := feed.ReasonOf(a.Bad[0].Err, ""); got != want.reason || a.Bad[0].ID != want.id {
			t.Errorf("%s: reason %s of id %q, want %+v: %v", bad, got, a.Bad[0].ID, want, a.Bad[0].Err)
		}
	}
}

func TestOffersMayBeAnObject(t *testing.T) {
	in := strings.Replace(strings.Replace(sample, `[{`, `{`, 1), `}]}`, `}}`, 1)
	if a, err := decodeBundles([]byte(in), market.OnDemand, 1000, noon, noon); err != nil || len(a.Offers) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestRefusesWhatIsNoAnswer(t *testing.T) {
	for in, want := range map[string]market.Reason{
		``: feed.ReasonMalformed, `{"offers":[`: feed.ReasonMalformed, `{}`: market.ReasonMissing, `{"offers":null}`: market.ReasonMissing,
		`{"offers":5}`: feed.ReasonType, `[]`: feed.ReasonType, `{"offers":[]} {}`: feed.ReasonMalformed,
	} {
		if _, err := decodeBundles([]byte(in), market.OnDemand, 1000, noon, noon); feed.ReasonOf(err, "") != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestDecodesBothSidesOfTheMedians(t *testing.T) {
	rates, err := decodeMedians([]byte(medianSample), noon)
	if err != nil || len(rates) != 4 {
		t.Fatalf("%d rates, %v", len(rates), err)
	}
	a, r := rates[0], rates[3]
	if a.GPU != "rtx-4090" || a.Method != methodAvailable || a.USDPerGPUHour.String() != "0.5" || a.P10USDPerGPUHour.String() != "0.254" || a.SampleGPUs != 165 ||
		a.EventTime.Unix() != 1779736460 || !a.Backfill || !math.IsNaN(a.Dispersion) {
		t.Errorf("available: %+v", a)
	}
	if r.Method != methodRented || r.USDPerGPUHour.String() != "0.38" || r.P90USDPerGPUHour.String() != "0.55" || r.SampleGPUs != 3756 {
		t.Errorf("rented: %+v", r)
	}
	uneven := strings.Replace(medianSample, `"avail_median":[0.5,0.5]`, `"avail_median":[0.5]`, 1)
	if _, err := decodeMedians([]byte(uneven), noon); feed.ReasonOf(err, "") != market.ReasonIncoherent {
		t.Errorf("uneven columns: %v", err)
	}
	holed := strings.Replace(medianSample, `"avail_median":[0.5,0.5]`, `"avail_median":[null,0.5]`, 1)
	if rates, err := decodeMedians([]byte(holed), noon); err != nil || len(rates) != 3 {
		t.Errorf("a null: %d rates, %v", len(rates), err)
	}
}

func FuzzDecodeBundles(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"offers":{"id":1,"gpu_name":"A100 SXM4","num_gpus":2,"gpu_ram":40960,"dph_total":1.5}}`))
	f.Add([]byte(`{"offers":[{"id":1e400,"gpu_name":"x","num_gpus":1,"dph_total":1e-400}]}`))
	f.Add([]byte(`{"offers":[null,[],"",{"id":"7"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, class := range []market.Class{market.OnDemand, market.Interruptible} {
			a, err := decodeBundles(data, class, 1000, noon, noon)
			if err != nil {
				continue
			}
			for _, o := range a.Offers {
				o.Source, o.Action, o.EventTime, o.RecvTime = "fuzz", market.OfferOpened, a.At, a.Recv
				if o.Validate() == nil && (o.OfferID == "" || o.GPUCount == 0 || !o.USDPerGPUHour.IsPos()) {
					t.Fatalf("valid, and yet %+v", o)
				}
			}
			if _, _, err := Index(a.Offers); err != nil {
				t.Fatalf("index: %v", err)
			}
		}
	})
}

func FuzzDecodeMedians(f *testing.F) {
	f.Add([]byte(medianSample))
	f.Add([]byte(`{"gpus":{"":{"pricing":{"timestamps":[-1,9223372036854775807],"avail_median":[1,2]}}}}`))
	f.Add([]byte(`{"gpus":{"H100":{"pricing":{"timestamps":null,"avail_median":null}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rates, _ := decodeMedians(data, noon)
		for _, r := range rates {
			if !r.USDPerGPUHour.IsPos() {
				t.Fatalf("a median of %s", r.USDPerGPUHour)
			}
		}
	})
}

func FuzzGPUSlug(f *testing.F) {
	f.Add("H100 SXM", uint32(81559))
	f.Add("NVIDIA GeForce RTX 4090", uint32(49140))
	f.Fuzz(func(t *testing.T, name string, mib uint32) {
		s := GPUSlug(name, mib)
		if len(s) > maxSlug+6 || strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }) {
			t.Fatalf("%q becomes %q", name, s)
		}
	})
}
