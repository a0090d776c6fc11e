package gpu

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

const captures = "../../../../shared/data/captures"

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func serve(t *testing.T, make func(Config) (*Server, error), cfg Config) string {
	t.Helper()
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	cfg.World, cfg.Seed, cfg.Now = w, 1, func() time.Time { return noon }
	s, err := make(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return srv.URL
}

func call(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

// Each upstream says no to a bad key in its own way.
func TestBadKeys(t *testing.T) {
	for _, x := range []struct {
		make         func(Config) (*Server, error)
		method, path string
		header       []string
		status       int
		says         string
	}{
		{NewRunPod, "POST", "/graphql", []string{"Authorization", "Bearer x"}, 200, `"errors":[{"extensions":{"code":"UNAUTHENTICATED"}`},
		{NewRunPod, "GET", "/v2/catalog/gpus", nil, 401, `"title":"Unauthorized"`},
		{NewLambda, "GET", "/api/v1/instance-types", []string{"Authorization", "Bearer x"}, 401, `"code":"global/invalid-api-key"`},
		{NewShadeform, "GET", "/v1/instances/types", []string{"X-API-KEY", "x"}, 401, "Invalid API key"},
		{NewPrimeIntellect, "GET", "/api/v1/availability/gpus", nil, 401, "Invalid API key"},
	} {
		if resp, body := call(t, x.method, serve(t, x.make, Config{APIKey: "right"})+x.path, "{}", x.header...); resp.StatusCode != x.status || !strings.Contains(body, x.says) {
			t.Errorf("%s: HTTP %d %s", x.path, resp.StatusCode, body)
		}
	}
	req, err := http.NewRequest(http.MethodGet, serve(t, NewLambda, Config{APIKey: "right"})+"/api/v1/instance-types", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("right", "") // Lambda takes the key as a user too
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("basic authentication: HTTP %d", resp.StatusCode)
	}
}

func TestTooManyCallsArePlainText(t *testing.T) {
	url := serve(t, NewAkash, Config{PerMinute: 2}) + "/v1/gpu-prices"
	for range 2 {
		if resp, body := call(t, "GET", url, ""); resp.StatusCode != 200 || resp.Header.Get("Date") != "Sun, 22 Nov 2026 12:00:00 GMT" {
			t.Errorf("HTTP %d of %s: %s", resp.StatusCode, resp.Header.Get("Date"), body)
		}
	}
	if resp, body := call(t, "GET", url, ""); resp.StatusCode != 429 || json.Valid([]byte(body)) {
		t.Errorf("HTTP %d %s", resp.StatusCode, body)
	}
}

func TestGraphQLErrorsHaveStatus200(t *testing.T) {
	url := serve(t, NewRunPod, Config{}) + "/graphql"
	if resp, body := call(t, "POST", url, `{"query":"{ cheese }"}`); resp.StatusCode != 200 || !strings.Contains(body, `"errors"`) {
		t.Errorf("HTTP %d %s", resp.StatusCode, body)
	}
	_, body := call(t, "POST", url, `{"query":"{ gpuTypes }","variables":{"lowestPriceInput":{"gpuCount":1,"secureCloud":false}}}`)
	for _, want := range []string{`"stockStatus":null`, `"communityPrice":null`, `"uninterruptablePrice"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

// The same question at the same time has the same answer, whoever asks.
func TestAnswersArePure(t *testing.T) {
	for path, make := range map[string]func(Config) (*Server, error){"/v1/gpu-prices": NewAkash, "/api/v1/instance-types": NewLambda, "/v1/instances/types": NewShadeform} {
		_, a := call(t, "GET", serve(t, make, Config{})+path, "")
		if _, b := call(t, "GET", serve(t, make, Config{})+path, ""); a != b || len(a) < 500 {
			t.Errorf("%s: %s and %s", path, a, b)
		}
		if _, err := make(Config{}); err == nil {
			t.Errorf("%s: a simulator without a world", path)
		}
	}
}

func TestLambdaLooksLikeTheCapture(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(captures, "lambda_instance_types_*.json"))
	if err != nil || len(files) == 0 {
		t.Skip("no captures here")
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Data map[string]struct {
			Type    map[string]any   `json:"instance_type"`
			Regions []map[string]any `json:"regions_with_capacity_available"`
		} `json:"data"`
	}
	var real, ours answer
	if err := json.Unmarshal(data, &real); err != nil {
		t.Fatal(err)
	}
	_, body := call(t, "GET", serve(t, NewLambda, Config{})+"/api/v1/instance-types", "")
	if err := json.Unmarshal([]byte(body), &ours); err != nil {
		t.Fatal(err)
	}
	o := ours.Data["gpu_1x_h100_sxm5"].Type
	for k, v := range real.Data["gpu_1x_h100_sxm5"].Type {
		if got, ok := o[k]; !ok || (got == nil) != (v == nil) {
			t.Errorf("%s is %v here, %v there", k, got, v)
		}
	}
}

func TestAzureLinksLeadToTheRealHost(t *testing.T) {
	_, body := call(t, "GET", serve(t, NewAzure, Config{PageSize: 4})+"/api/retail/prices?$filter=armSkuName%20eq%20'Standard_ND96isr_H100_v5'", "")
	var page struct {
		Items []map[string]any
		Next  string `json:"NextPageLink"`
	}
	if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Items) != 4 || !strings.HasPrefix(page.Next, "https://prices.azure.com:443/api/retail/prices?") {
		t.Errorf("%v, %d items, next %s", err, len(page.Items), page.Next)
	}
}
