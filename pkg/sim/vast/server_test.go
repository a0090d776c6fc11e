package vast

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

const recordings = "../../../../shared/data"

func serve(t *testing.T, cfg Config) string {
	t.Helper()
	if cfg.Dir == "" {
		w, err := world.New(world.Config{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		cfg.World = w
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return srv.URL
}

func search(t *testing.T, url, key, body string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url+"/api/v0/bundles/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, data
}

func offersIn(t *testing.T, data []byte) []offer {
	t.Helper()
	var w struct {
		Offers []offer `json:"offers"`
	}
	if err := json.Unmarshal(data, &w); err != nil {
		t.Fatalf("%v in %.200s", err, data)
	}
	return w.Offers
}

func TestSearchFiltersAndSorts(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	url := serve(t, Config{Seed: 1, SearchesPerMinute: -1, Now: func() time.Time { return at }})
	resp, data := search(t, url, "", `{"limit":1000,"type":"ondemand","gpu_name":{"in":["H100 SXM","RTX_4090"]}}`)
	if resp.Header.Get("Date") != "Sun, 22 Nov 2026 12:00:00 GMT" {
		t.Errorf("Date %s", resp.Header.Get("Date"))
	}
	offers := offersIn(t, data)
	ids, hosts := map[int64]bool{}, map[int64]int{}
	for i, o := range offers {
		if o.GPUName != "H100 SXM" && o.GPUName != "RTX 4090" || o.DPHTotal <= 0 || i > 0 && o.DPHTotal < offers[i-1].DPHTotal || ids[o.ID] || o.IsBid {
			t.Errorf("offer %d: %+v", i, o)
		}
		ids[o.ID] = true
		hosts[o.HostID]++
	}
	if len(offers) < 20 || len(hosts) >= len(offers) {
		t.Errorf("%d offers of %d hosts", len(offers), len(hosts))
	}
	_, data = search(t, url, "", `{"limit":1000,"type":"bid","gpu_name":{"eq":"H100 SXM"}}`)
	for _, o := range offersIn(t, data) {
		if !o.IsBid || o.MinBid >= o.DPHBase {
			t.Errorf("bid %+v", o)
		}
	}
	if _, data = search(t, url, "", `{"limit":7}`); len(offersIn(t, data)) != 7 {
		t.Error("the limit is not kept")
	}
	if _, data = search(t, url, "", `{"gpu_name":{"in":["No Such"]}}`); !strings.Contains(string(data), `"offers":[]`) {
		t.Errorf("nothing on offer: %s", data)
	}
	if resp, data = search(t, url, "", `{`); resp.StatusCode != 400 || !strings.Contains(string(data), "Invalid json body") {
		t.Errorf("HTTP %d %s", resp.StatusCode, data)
	}
}

func TestLimitsAndKeys(t *testing.T) {
	url := serve(t, Config{Seed: 1, APIKey: "k"})
	if resp, _ := search(t, url, "wrong", `{}`); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a bad key: HTTP %d, want 404", resp.StatusCode)
	}
	var last *http.Response
	var data []byte
	for range 11 {
		last, data = search(t, url, "k", `{}`)
	}
	if last.StatusCode != 429 || json.Valid(data) || last.Header.Get("Retry-After") != "" {
		t.Errorf("after eleven searches: HTTP %d %s", last.StatusCode, data)
	}
	resp, err := http.Get(url + "/api/v0/metrics/gpu/history/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("metrics without a key: HTTP %d, want 401", resp.StatusCode)
	}
}

func TestOffersLookLikeCaptures(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(recordings, "captures", "vast_bundles_sample_2026-03-06.json"))
	if os.IsNotExist(err) {
		t.Skip("no captures here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var real struct {
		Offers []map[string]any `json:"offers"`
	}
	if err := json.Unmarshal(data, &real); err != nil {
		t.Fatal(err)
	}
	_, body := search(t, serve(t, Config{Seed: 1}), "", `{"limit":1}`)
	var ours struct {
		Offers []map[string]any `json:"offers"`
	}
	if err := json.Unmarshal(body, &ours); err != nil {
		t.Fatal(err)
	}
	for k, v := range ours.Offers[0] {
		r, ok := real.Offers[0][k]
		if !ok {
			t.Errorf("%s is not in the real offer", k)
			continue
		}
		_, ourText := v.(string)
		if _, text := r.(string); r != nil && text != ourText {
			t.Errorf("%s is %v, the real one %v", k, v, r)
		}
	}
}

func TestRecordingEnds(t *testing.T) {
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skip("no recordings here")
	}
	url := serve(t, Config{Dir: recordings})
	var dates []string
	for range 5 {
		resp, _ := search(t, url, "", `{"type":"ondemand"}`)
		if resp.Header.Get("Hashpivot-Recording") != "" {
			t.Error("ended early")
		}
		at, err := http.ParseTime(resp.Header.Get("Date"))
		if err != nil {
			t.Fatal(err)
		}
		dates = append(dates, at.Format(time.DateOnly))
	}
	if got := strings.Join(dates, " "); got != "2026-02-27 2026-02-28 2026-03-01 2026-03-02 2026-03-03" {
		t.Errorf("polls of %s", got)
	}
	if resp, _ := search(t, url, "", `{"type":"ondemand"}`); resp.Header.Get("Hashpivot-Recording") != "end" {
		t.Error("the repeat does not say that it is one")
	}
	// Asked for the first from a time on, it is that, however often.
	for since, want := range map[string]string{"2026-02-01T00:00:00Z": "2026-02-27", "2026-03-02T00:00:00Z": "2026-03-02", "2026-04-01T00:00:00Z": ""} {
		for range 2 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v0/bundles/", strings.NewReader(`{"type":"ondemand"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(SinceHeader, since)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			at, err := http.ParseTime(resp.Header.Get("Date"))
			if end := resp.Header.Get("Hashpivot-Recording") == "end"; err != nil || end != (want == "") || !end && at.Format(time.DateOnly) != want {
				t.Errorf("since %s: %s, the end: %v, %v", since, at, end, err)
			}
		}
	}
	if resp, data := search(t, url, "", `{"type":"bid"}`); resp.Header.Get("Hashpivot-Recording") != "end" || !strings.Contains(string(data), `"offers":[]`) {
		t.Error("bids were not recorded, and yet they do not end")
	}
}
