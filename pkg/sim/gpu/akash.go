package gpu

import (
	"net/http"
	"time"
)

var akashModels = []struct {
	model, ram, form string
	key              string
	premium          float64
	most             int
}{
	{"h100", "80Gi", "SXM5", "h100-sxm", 0.75, 40}, {"h100", "80Gi", "PCIe", "h100-sxm", 0.6, 8}, {"h200", "141Gi", "SXM5", "h200", 0.8, 24},
	{"a100", "80Gi", "SXM4", "a100-sxm4", 1.3, 20}, {"a100", "40Gi", "PCIe", "a100-pcie", 1.0, 4}, {"rtx4090", "24Gi", "PCIe", "rtx-4090", 0.95, 60},
	{"rtx5090", "32Gi", "PCIe", "rtx-5090", 0.9, 12}, {"gtx1070ti", "8Gi", "PCIe", "", 0, 2},
}

// NewAkash makes Akash: GET /v1/gpu-prices, whose prices are a quarter of an hour old at most.
func NewAkash(cfg Config) (*Server, error) {
	return newServer("akash", cfg, func(s *Server, mux *http.ServeMux) {
		mux.HandleFunc("GET /v1/gpu-prices", s.akash)
	})
}

func (s *Server) akash(w http.ResponseWriter, r *http.Request) {
	t := now(r)
	l := s.levels(t)
	list, total, available := []object{}, 0, 0
	for _, x := range akashModels {
		free := int(s.uniform("free "+x.model+x.form, s.step(t, 15*time.Minute)) * float64(x.most))
		total, available = total+x.most, available+free
		o := object{
			"vendor": "nvidia", "model": x.model, "ram": x.ram, "interface": x.form,
			"availability":         object{"total": x.most, "available": free},
			"providerAvailability": object{"total": 3, "available": min(free, 3), "providers": []string{}}, "price": nil,
		}
		if x.key != "" {
			med := cents(s.usd(l, x.key, x.premium))
			o["price"] = object{"currency": "USD", "min": cents(med * 0.8), "max": cents(med * 1.4), "avg": cents(med * 1.05), "weightedAverage": cents(med * 1.02), "med": med}
		}
		list = append(list, o)
	}
	answer(w, http.StatusOK, object{"availability": object{"total": total, "available": available}, "models": list})
}
