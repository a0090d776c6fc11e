package braiins

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// The answer has the capture's fields, and its prices are rounded as hard.
func TestLooksLikeTheCapture(t *testing.T) {
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := chain.New(chain.Config{World: w})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{World: w, Chain: c, Now: func() time.Time { return chain.DefaultOrigin().Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handler()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/v1.0/hashrate-stats", nil))
	if rec.Code != http.StatusFound {
		t.Fatalf("HTTP %d, want the redirect", rec.Code)
	}
	to := rec.Header().Get("Location")
	rec = httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, to, nil))
	var got map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if p := got["hash_price"].(float64); p < 0.02 || p > 0.1 || math.Abs(p*1000-math.Round(p*1000)) > 1e-9 {
		t.Errorf("hash_price %v", p)
	}
	data, err := os.ReadFile("../../../../shared/data/captures/braiins_hashrate-stats.json")
	if os.IsNotExist(err) {
		t.Skip("no captures here")
	}
	var capture struct {
		Response struct {
			Body map[string]any `json:"body"`
		} `json:"response"`
	}
	if err := json.Unmarshal(data, &capture); err != nil {
		t.Fatal(err)
	}
	for k := range capture.Response.Body {
		if _, ok := got[k]; !ok {
			t.Errorf("%s of the capture is missing", k)
		}
	}
	if len(got) != len(capture.Response.Body) {
		t.Errorf("%d fields, the capture has %d", len(got), len(capture.Response.Body))
	}
}
