package gpu

import (
	"fmt"
	"math"
	"net/http"
)

var lambdaTypes = []struct {
	model, description string
	gpus               int
	key                string
	premium            float64
}{
	{"b200_sxm6", "B200 (180 GB SXM6)", 8, "b200", 0.9}, {"b200_sxm6", "B200 (180 GB SXM6)", 1, "b200", 0.95},
	{"h100_sxm5", "H100 (80 GB SXM5)", 8, "h100-sxm", 1.25}, {"h100_sxm5", "H100 (80 GB SXM5)", 1, "h100-sxm", 1.35},
	{"h100_pcie", "H100 (80 GB PCIe)", 1, "h100-sxm", 1.0},
	{"a100_80gb_sxm4", "A100 (80 GB SXM4)", 8, "a100-sxm4", 2.4}, {"a100_sxm4", "A100 (40 GB SXM4)", 1, "a100-sxm4", 1.8},
	{"v100", "V100 (16 GB)", 8, "v100", 5.5}, {"general", "", 0, "", 0},
}

// NewLambda makes Lambda: GET /api/v1/instance-types.
func NewLambda(cfg Config) (*Server, error) {
	return newServer("lambda", cfg, func(s *Server, mux *http.ServeMux) {
		s.errBody = `{"error":{"code":"global/internal-error","message":"An unexpected error occurred"}}`
		mux.HandleFunc("GET /api/v1/instance-types", s.lambda)
	})
}

func (s *Server) lambda(w http.ResponseWriter, r *http.Request) {
	user, _, basic := r.BasicAuth() // the key as user is taken too
	if !s.bearer(r) && (!basic || user != s.cfg.APIKey) {
		answer(w, http.StatusUnauthorized, object{"error": object{
			"code": "global/invalid-api-key", "message": "API key was invalid, expired, or deleted.", "suggestion": "Check your API key or create a new one, then try again.",
		}})
		return
	}
	t := now(r)
	l := s.levels(t)
	data := object{}
	for _, x := range lambdaTypes {
		name, price := fmt.Sprintf("gpu_%dx_%s", x.gpus, x.model), math.Round(s.usd(l, x.key, x.premium)*float64(x.gpus)*100)
		if x.gpus == 0 {
			name, price = "cpu_4x_general", 24
		}
		regions := []object{}
		for i, region := range [][2]string{{"us-east-1", "Virginia, USA"}, {"us-west-2", "Arizona, USA"}, {"europe-central-1", "Germany"}} {
			if s.stock(name, t) > i {
				regions = append(regions, object{"name": region[0], "description": region[1]})
			}
		}
		data[name] = object{
			"instance_type": object{
				"name": name, "description": fmt.Sprintf("%dx %s", x.gpus, x.description), "gpu_description": x.description, "price_cents_per_hour": price,
				"architecture": "x86_64", "specs": object{"vcpus": 26, "memory_gib": 225, "storage_gib": 2816, "gpus": x.gpus},
			},
			"regions_with_capacity_available": regions,
		}
	}
	answer(w, http.StatusOK, object{"data": data})
}
