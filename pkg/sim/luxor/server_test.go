package luxor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestKeyPlansAndRate(t *testing.T) {
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := chain.New(chain.Config{World: w})
	if err != nil {
		t.Fatal(err)
	}
	now := chain.DefaultOrigin().Add(time.Hour)
	s, err := New(Config{World: w, Chain: c, Key: "k", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	h := s.Handler()
	get := func(key, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/v1/hashrateindex"+path, nil)
		r.Header.Set("X-Hi-Api-Key", key)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	usd := func(path string) (price float64, n int) {
		var body struct {
			Data []struct {
				Price float64 `json:"price"`
			} `json:"data"`
		}
		rec := get("k", path)
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || rec.Code != 200 || len(body.Data) == 0 {
			t.Fatalf("%s: HTTP %d, %v", path, rec.Code, err)
		}
		return body.Data[len(body.Data)-1].Price, len(body.Data)
	}
	perPH, n := usd("/hashprice?span=1D&bucket=5m&currency=USD&hashunit=PHS")
	perTH, _ := usd("/hashprice?span=1D&bucket=5m&currency=USD&hashunit=THS")
	if n != 288 || perPH < 20 || perPH > 100 || perTH*1000/perPH < 0.999 || perTH*1000/perPH > 1.001 {
		t.Errorf("%d values, %v per PH/s, %v per TH/s", n, perPH, perTH)
	}
	for path, want := range map[string]int{
		"/hashprice?span=1D&bucket=15s&currency=USD&hashunit=PHS": 403, "/hashprice?span=2D&currency=USD&hashunit=PHS": 400, "/hashprice?span=1D&currency=EUR&hashunit=PHS": 400,
	} {
		if rec := get("k", path); rec.Code != want {
			t.Errorf("%s: HTTP %d, want %d", path, rec.Code, want)
		}
	}
	if rec := get("wrong", "/hashprice/current"); rec.Code != 401 {
		t.Errorf("a wrong key: HTTP %d", rec.Code)
	}
	for range 15 { // of the burst of 20 five are gone
		if rec := get("k", "/hashprice/current?hashunit=PHS"); rec.Code != 200 {
			t.Fatalf("within the burst: HTTP %d", rec.Code)
		}
	}
	if rec := get("k", "/hashprice/current"); rec.Code != 429 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("beyond the burst: HTTP %d", rec.Code)
	}
	now = now.Add(15 * time.Second)
	if rec := get("k", "/hashprice/current"); rec.Code != 200 {
		t.Errorf("after 15 s: HTTP %d", rec.Code)
	}
}
