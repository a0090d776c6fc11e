package gpu

import (
	"encoding/json"
	"net/http"
	"strings"
)

// runpodTypes are some of RunPod's, with the world's model behind each.
var runpodTypes = []struct {
	id, name  string
	memory    int
	key       string
	premium   float64
	community bool
}{
	{"NVIDIA B200", "B200", 180, "b200", 1.0, false},
	{"NVIDIA H200", "H200 SXM", 141, "h200", 1.02, false},
	{"NVIDIA H100 80GB HBM3", "H100 SXM", 80, "h100-sxm", 1.12, true},
	{"NVIDIA H100 PCIe", "H100 PCIe", 80, "h100-sxm", 0.9, true},
	{"NVIDIA H100 NVL", "H100 NVL", 94, "h100-nvl", 1.2, true},
	{"NVIDIA A100-SXM4-80GB", "A100 SXM", 80, "a100-sxm4", 1.9, true},
	{"NVIDIA A100 80GB PCIe", "A100 PCIe", 80, "a100-pcie", 1.9, true},
	{"NVIDIA L40S", "L40S", 48, "l40s", 1.4, true},
	{"NVIDIA GeForce RTX 5090", "RTX 5090", 32, "rtx-5090", 1.6, true},
	{"NVIDIA GeForce RTX 4090", "RTX 4090", 24, "rtx-4090", 1.6, true},
	{"NVIDIA RTX 2000 Ada Generation", "RTX 2000 Ada", 16, "v100", 2.4, false}, // no identity is known of it
	{"unknown", "unknown", 0, "", 0, false},                                    // the real list ends with it
}

// NewRunPod makes RunPod: POST /graphql, and with a key GET /v2/catalog/gpus.
func NewRunPod(cfg Config) (*Server, error) {
	return newServer("runpod", cfg, func(s *Server, mux *http.ServeMux) {
		s.errBody = `{"errors":[{"message":"Something went wrong","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`
		mux.HandleFunc("POST /graphql", s.runpodGraphQL)
		mux.HandleFunc("GET /v2/catalog/gpus", s.runpodREST)
	})
}

func graphQLError(w http.ResponseWriter, code, message string) {
	answer(w, http.StatusOK, object{"errors": []object{{"message": message, "extensions": object{"code": code}}}})
}

func (s *Server) runpodGraphQL(w http.ResponseWriter, r *http.Request) {
	if key := r.Header.Get("Authorization"); key != "" && !s.bearer(r) {
		graphQLError(w, "UNAUTHENTICATED", "Invalid API key")
		return
	}
	var q struct {
		Query     string `json:"query"`
		Variables struct {
			Lowest struct {
				Count  int   `json:"gpuCount"`
				Secure *bool `json:"secureCloud"`
			} `json:"lowestPriceInput"`
		} `json:"variables"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&q); err != nil {
		answer(w, http.StatusBadRequest, object{"errors": []object{{"message": "POST body is not JSON"}}})
		return
	}
	if !strings.Contains(q.Query, "gpuTypes") {
		graphQLError(w, "GRAPHQL_VALIDATION_FAILED", "Cannot query that field on type \"Query\".")
		return
	}
	if q.Variables.Lowest.Count < 1 {
		graphQLError(w, "BAD_USER_INPUT", "lowestPriceInput.gpuCount is needed")
		return
	}
	t := now(r)
	l := s.levels(t)
	secure := q.Variables.Lowest.Secure == nil || *q.Variables.Lowest.Secure
	types := []object{}
	for _, x := range runpodTypes {
		full := s.usd(l, x.key, x.premium)
		o := object{
			"id": x.id, "displayName": x.name, "memoryInGb": x.memory, "secureCloud": x.key != "", "communityCloud": x.community,
			"securePrice": cents(full), "communityPrice": nil, "lowestPrice": object{"minimumBidPrice": nil, "uninterruptablePrice": nil, "stockStatus": nil},
		}
		if x.community {
			o["communityPrice"] = cents(full * 0.8)
		}
		price := full
		if !secure {
			price *= 0.8
		}
		cloud := map[bool]string{true: "secure", false: "community"}[secure]
		if n := s.stock(x.id+" "+cloud, t); n > 0 && x.key != "" && (secure || x.community) {
			o["lowestPrice"] = object{
				"minimumBidPrice": cents(price * 0.55), "uninterruptablePrice": cents(price), "stockStatus": [4]string{"", "Low", "Medium", "High"}[n],
			}
		}
		types = append(types, o)
	}
	answer(w, http.StatusOK, object{"data": object{"gpuTypes": types}})
}

func (s *Server) runpodREST(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("RateLimit-Policy", `"default";q=60;w=60`)
	w.Header().Set("RateLimit", `"default";r=59;t=60`)
	if r.Header.Get("Authorization") == "" || !s.bearer(r) {
		w.Header().Set("Content-Type", "application/problem+json")
		answer(w, http.StatusUnauthorized, object{"type": "about:blank", "title": "Unauthorized", "status": 401})
		return
	}
	t := now(r)
	l := s.levels(t)
	gpus := []object{}
	for _, x := range runpodTypes {
		if x.key == "" {
			continue
		}
		full := s.usd(l, x.key, x.premium)
		o := object{
			"id": x.id, "name": x.name, "pool": nil, "manufacturer": "NVIDIA", "memory": x.memory, "secure": true, "community": x.community,
			"price": object{"secure": cents(full), "community": nil, "serverless": cents(full * 1.6)}, "maxCount": object{"secure": 8, "community": 4}, "dataCenters": []object{},
		}
		if x.community {
			o["price"].(object)["community"] = cents(full * 0.8)
		}
		if r.FormValue("include") == "AVAILABILITY" {
			o["availability"] = [4]string{"NONE", "LOW", "MEDIUM", "HIGH"}[s.stock(x.id+" secure", t)]
		}
		gpus = append(gpus, o)
	}
	answer(w, http.StatusOK, object{"gpus": gpus})
}
