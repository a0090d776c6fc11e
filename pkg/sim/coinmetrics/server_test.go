package coinmetrics

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

type page struct {
	Data []map[string]string `json:"data"`
	Next string              `json:"next_page_token"`
}

const query = "/v4/timeseries/asset-metrics?assets=btc&frequency=1d&metrics=PriceUSD,HashRate,IssTotUSD,FeeTotNtv"

func get(t *testing.T, s *Server, path string) (page, int) {
	t.Helper()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	var p page
	if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
		t.Fatalf("%s: %v in %.200s", path, err, rec.Body)
	}
	return p, rec.Code
}

func TestPagesAndLimit(t *testing.T) {
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := chain.New(chain.Config{World: w})
	if err != nil {
		t.Fatal(err)
	}
	now := chain.DefaultOrigin().Add(time.Hour)
	s, err := New(Config{World: w, Chain: c, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	days, token := map[string]bool{}, ""
	for {
		p, code := get(t, s, query+"&page_size=25&next_page_token="+token)
		if code != 200 {
			t.Fatalf("HTTP %d", code)
		}
		for _, row := range p.Data {
			if days[row["time"]] || row["PriceUSD"] == "" || row["HashRate"] == "" {
				t.Errorf("%v", row)
			}
			days[row["time"]] = true
		}
		if token = p.Next; token == "" {
			break
		}
	}
	if len(days) != 60 {
		t.Errorf("%d days, want 60 whole ones", len(days))
	}
	if _, code := get(t, s, "/v4/timeseries/asset-metrics?assets=btc&frequency=1d&metrics=Nonsense"); code != 400 {
		t.Errorf("an unknown metric: HTTP %d", code)
	}
	for range 6 {
		get(t, s, query)
	}
	if _, code := get(t, s, query); code != 429 {
		t.Errorf("the eleventh call in six seconds: HTTP %d", code)
	}
	now = now.Add(7 * time.Second)
	if err := s.Target().Order(control.Order{Fault: control.PageLoop}); err != nil {
		t.Fatal(err)
	}
	a, _ := get(t, s, query+"&start_time=2026-11-01")
	b, _ := get(t, s, query+"&next_page_token="+a.Next)
	if a.Next == "" || b.Next != a.Next {
		t.Errorf("tokens %q and %q, want a loop", a.Next, b.Next)
	}
}

func TestRecordedDays(t *testing.T) {
	const recordings = "../../../../shared/data"
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skip("no recordings here")
	}
	s, err := New(Config{Dir: recordings})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := get(t, s, query+"&page_size=1&start_time=2024-04-20")
	if len(p.Data) != 1 || p.Data[0]["time"] != "2024-04-20T00:00:00.000000000Z" || p.Next == "" {
		t.Errorf("%+v", p)
	}
}
