package gpu

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
)

// resold is what both resellers have of others' GPUs. Some of the clouds are read directly too.
var resold = []struct {
	cloud, prime    string // what each calls the cloud; empty: not there
	model, form     string
	vram, gpus      int
	key             string
	premium, margin float64
}{
	{"lambdalabs", "", "H100", "sxm5", 80, 8, "h100-sxm", 1.25, 1.0},
	{"hyperstack", "hyperstack", "H100", "sxm5", 80, 8, "h100-sxm", 1.0, 1.04},
	{"hyperstack", "hyperstack", "H100", "sxm5", 80, 1, "h100-sxm", 1.02, 1.04},
	{"hyperstack", "hyperstack", "H100", "pcie", 80, 1, "h100-sxm", 0.8, 1.04},
	{"hyperstack", "hyperstack", "A100_80G", "pcie", 80, 1, "a100-pcie", 1.9, 1.04},
	{"hyperstack", "hyperstack", "A6000", "pcie", 48, 1, "l40s", 0.9, 1.0},
	{"crusoe", "crusoecloud", "H200", "sxm5", 141, 1, "h200", 1.05, 1.0},
	{"nebius", "nebius", "H100", "sxm5", 80, 1, "h100-sxm", 1.15, 1.0},
	{"nebius", "nebius", "H200", "sxm5", 141, 1, "h200", 0.97, 1.0},
	{"nebius", "nebius", "B200", "sxm6", 180, 1, "b200", 0.8, 1.0},
	{"massedcompute", "massedcompute", "L40S", "pcie", 48, 1, "l40s", 1.5, 1.02},
	{"massedcompute", "massedcompute", "H100", "", 80, 1, "h100-sxm", 1.1, 1.0}, // which form it does not say
	{"", "runpod", "A100_80GB", "PCIe", 80, 1, "a100-pcie", 1.9, 1.03},
	{"", "datacrunch", "H100_80GB", "SXM5", 80, 1, "h100-sxm", 0.95, 1.0},
	{"", "datacrunch", "A100_80GB", "SXM4", 80, 1, "a100-sxm4", 1.7, 1.0},
}

// NewShadeform makes Shadeform: GET /v1/instances/types.
func NewShadeform(cfg Config) (*Server, error) {
	return newServer("shadeform", cfg, func(s *Server, mux *http.ServeMux) {
		mux.HandleFunc("GET /v1/instances/types", s.shadeform)
	})
}

func (s *Server) shadeform(w http.ResponseWriter, r *http.Request) {
	if s.cfg.APIKey != "" && r.Header.Get("X-API-KEY") != s.cfg.APIKey {
		answer(w, http.StatusUnauthorized, object{"error_code": "UNAUTHORIZED", "error": "Invalid API key"})
		return
	}
	t := now(r)
	l := s.levels(t)
	types := []object{{
		"cloud": "hyperstack", "shade_instance_type": "cpu", "cloud_instance_type": "n1-cpu", "configuration": object{"num_gpus": 0, "gpu_type": "", "interconnect": "", "vram_per_gpu_in_gb": 0},
		"hourly_price": 20, "deployment_type": "vm", "availability": []object{{"region": "canada-1", "available": true, "display_name": "Canada"}},
	}}
	for _, x := range resold {
		if x.cloud == "" || r.FormValue("gpu_type") != "" && r.FormValue("gpu_type") != x.model || r.FormValue("num_gpus") != "" && r.FormValue("num_gpus") != strconv.Itoa(x.gpus) {
			continue
		}
		name := fmt.Sprintf("%s_%s_%dx", x.model, x.form, x.gpus)
		some := s.stock(x.cloud+name, t) > 0
		if r.FormValue("available") == "true" && !some {
			continue
		}
		types = append(types, object{
			"cloud": x.cloud, "shade_instance_type": name, "cloud_instance_type": fmt.Sprintf("gpu_%dx_%s", x.gpus, x.model),
			"configuration": object{
				"memory_in_gb": 180, "storage_in_gb": 750, "vcpus": 28, "num_gpus": x.gpus, "gpu_type": x.model, "interconnect": x.form, "nvlink": x.gpus > 1,
				"vram_per_gpu_in_gb": x.vram, "gpu_manufacturer": "nvidia", "os_options": []string{"ubuntu22.04_cuda12.2_shade_os"},
			},
			"hourly_price": math.Round(s.usd(l, x.key, x.premium) * float64(x.gpus) * 100), "deployment_type": "vm",
			"availability": []object{{"region": "us-central-1", "available": some, "display_name": "US, Wichita, KS"}},
			"boot_time":    object{"min_boot_in_sec": 180, "max_boot_in_sec": 300},
		})
	}
	answer(w, http.StatusOK, object{"instance_types": types})
}

// NewPrimeIntellect makes Prime Intellect: GET /api/v1/availability/gpus.
func NewPrimeIntellect(cfg Config) (*Server, error) {
	return newServer("prime-intellect", cfg, func(s *Server, mux *http.ServeMux) {
		s.pages = true
		mux.HandleFunc("GET /api/v1/availability/gpus", s.prime)
	})
}

func (s *Server) prime(w http.ResponseWriter, r *http.Request) {
	if !s.bearer(r) {
		answer(w, http.StatusUnauthorized, object{"detail": "Invalid API key"})
		return
	}
	t := now(r)
	l := s.levels(t)
	items := []object{}
	for _, x := range resold {
		if x.prime == "" || r.FormValue("gpu_count") != "" && r.FormValue("gpu_count") != strconv.Itoa(x.gpus) {
			continue
		}
		id := fmt.Sprintf("%s_%s_%d", x.model, x.form, x.gpus)
		items = append(items, object{
			"cloudId": id, "gpuType": x.model, "socket": x.form, "provider": x.prime, "region": "united_states", "dataCenter": "US-KS-2", "country": "US",
			"gpuCount": x.gpus, "gpuMemory": x.vram, "stockStatus": [4]string{"Unavailable", "Low", "Medium", "High"}[s.stock(x.prime+id, t)], "security": "secure_cloud",
			"prices": object{"onDemand": s.usd(l, x.key, x.premium*x.margin), "communityPrice": nil, "isVariable": nil, "currency": "USD"}, "isSpot": false,
		})
	}
	total := len(items)
	page, err1 := strconv.Atoi(def(r.FormValue("page"), "1"))
	size, err2 := strconv.Atoi(def(r.FormValue("page_size"), "100"))
	if err1 != nil || err2 != nil || page < 1 || size < 1 || size > 100 {
		answer(w, http.StatusUnprocessableEntity, object{"errors": []object{{"param": "page", "details": "out of range"}}})
		return
	}
	if s.cfg.PageSize > 0 {
		size = min(size, s.cfg.PageSize)
	}
	loop, flood := s.faults.Paging()
	if loop || flood {
		asked := page
		page, total = 1, 1<<30
		if flood {
			for _, x := range items {
				x["cloudId"] = fmt.Sprint(x["cloudId"], " ", asked)
			}
		}
	}
	from := min((page-1)*size, len(items))
	answer(w, http.StatusOK, object{"items": items[from:min(from+size, len(items))], "totalCount": total})
}

func def(s, d string) string {
	if s == "" {
		return d
	}
	return s
}
