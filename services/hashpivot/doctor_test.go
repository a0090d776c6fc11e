package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/sim"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
	"github.com/hashpivot/hashpivot/pkg/sim/finnhub"
	"github.com/hashpivot/hashpivot/pkg/sim/gpu"
	"github.com/hashpivot/hashpivot/pkg/sim/luxor"
	"github.com/hashpivot/hashpivot/pkg/sim/massive"
	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/vast"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/doctor"
)

// findings runs the doctor and returns what it found by check, the worst of each.
func findings(t *testing.T, code int, env []string, args ...string) map[string]doctor.Finding {
	t.Helper()
	var out, errs bytes.Buffer
	if got := execute(t.Context(), append([]string{"doctor", "--json"}, args...), env, &out, &errs); got != code {
		t.Errorf("doctor %v: code %d, want %d\n%s%s", args, got, code, out.String(), errs.String())
	}
	var rep struct {
		OK       bool
		Findings []doctor.Finding
	}
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
		t.Fatalf("doctor %v: %v\n%s%s", args, err, out.String(), errs.String())
	}
	if rep.OK != (code == 0) {
		t.Errorf("ok is %t with code %d", rep.OK, code)
	}
	worse := map[doctor.State]int{doctor.OK: 0, doctor.Skip: 1, doctor.Warn: 2, doctor.Fail: 3}
	by := map[string]doctor.Finding{}
	for _, f := range rep.Findings {
		if was, ok := by[f.Check]; !ok || worse[f.State] > worse[was.State] {
			by[f.Check] = f
		}
	}
	return by
}

func TestDoctorCommand(t *testing.T) {
	wants := func(by map[string]doctor.Finding, check string, state doctor.State, says string) {
		t.Helper()
		if f := by[check]; f.State != state || !strings.Contains(f.Detail+" -> "+f.Fix, says) {
			t.Errorf("%s: %+v, want %s and %q", check, f, state, says)
		}
	}
	dir := filepath.Join(t.TempDir(), "fresh")

	// Nothing runs: what is on this machine is looked at, and nothing is made.
	by := findings(t, 0, nil, "--data-dir", dir, "--free-ports", "--no-upstreams")
	wants(by, "nats", doctor.Skip, "hashpivot up")
	wants(by, "clickhouse", doctor.Skip, "hashpivot up")
	wants(by, "data directory", doctor.OK, "can be made")
	wants(by, "engine", doctor.OK, "libchdb.so")
	wants(by, "addresses", doctor.OK, "free")
	wants(by, "configuration", doctor.OK, "mode live")
	if _, err := os.Stat(dir); err == nil {
		t.Error("the doctor has made the data directory")
	}

	left := t.TempDir()
	if err := (instance{PID: 1 << 30, Mode: modeSim}).write(left); err != nil {
		t.Fatal(err)
	}
	by = findings(t, 0, nil, "--data-dir", left, "--free-ports")
	wants(by, "configuration", doctor.OK, "mode sim")
	wants(by, "upstreams", doctor.Skip, "simulators")
	by = findings(t, 1, nil, "--set", "mode=sim", "--service", "equities", "--set", "nats.url=nats://127.0.0.1:1", "--no-upstreams", "--set", "equities.alpaca.key=k", "--set", "equities.alpaca.secret=s")
	wants(by, "configuration", doctor.Fail, "equities.alpaca.source")

	// A configuration that is wrong hides nothing that can be looked at with it; one that cannot be read leaves nothing to look at.
	by = findings(t, 1, nil, "--data-dir", dir, "--free-ports", "--no-upstreams", "--set", "lander.max_rows=0")
	wants(by, "configuration", doctor.Fail, "lander.max_rows")
	wants(by, "data directory", doctor.OK, "")
	by = findings(t, 1, nil, "--set", "lander.max_rowz=0")
	wants(by, "configuration", doctor.Fail, "did you mean lander.max_rows")
	wants(by, "everything else", doctor.Skip, "")
	by = findings(t, 1, []string{"HASHPIVOT_CLICKHOUSE__LIBRARY=/nonexistent.so"}, "--data-dir", dir, "--free-ports", "--no-upstreams")
	wants(by, "engine", doctor.Fail, "make build")
	by = findings(t, 1, nil, "--data-dir", dir, "--no-upstreams", "--service", "gateway", "--set", "nats.url=nats://127.0.0.1:1", "--set", "clickhouse.addr=127.0.0.1:1",
		"--set", "gateway.auth.keys.a.algorithm=HS256", "--set", "gateway.auth.keys.a.file=/nonexistent")
	wants(by, "gateway keys", doctor.Fail, "gateway.auth.keys")
	wants(by, "nats", doctor.Fail, "nats.url")
	if _, ok := by["upstreams off"]; ok {
		t.Error("a gateway has no upstreams")
	}

	// Servers of one's own.
	st, engine := storetest.StartServer(t)
	raw, _ := bustest.Start(t)
	env := []string{"HASHPIVOT_NATS__URL=" + raw.URL(), "HASHPIVOT_CLICKHOUSE__ADDR=" + engine.NativeAddr()}
	by = findings(t, 0, env, "--service", "lander", "--service", "audit")
	for _, check := range []string{"nats", "nats clock", "nats permissions", "streams", "clickhouse", "clickhouse clock", "schema", "clickhouse grants", "deployment"} {
		wants(by, check, doctor.OK, "")
	}
	if _, ok := by["data directory"]; ok {
		t.Error("a lander alone has no data directory")
	}
	if err := st.Exec(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	by = findings(t, 1, env, "--service", "lander")
	wants(by, "schema", doctor.Fail, "newer hashpivot")

	// So does everything that would work on it.
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"migrate"}, env, &out, &errs); code != 1 || !strings.Contains(errs.String(), "run the newer hashpivot") {
		t.Errorf("migrate: code %d, %s", code, errs.String())
	}
	out.Reset()
	if code := execute(t.Context(), []string{"doctor", "--service", "lander"}, env, &out, &errs); code != 1 || !strings.Contains(out.String(), "FAIL  schema ") ||
		!strings.Contains(out.String(), "-> run the newer hashpivot") {
		t.Errorf("for people: code %d\n%s", code, out.String())
	}
}

// TestDoctorKeys: every upstream with a key takes the right one and refuses a wrong one, as its simulator does, and no key is told.
func TestDoctorKeys(t *testing.T) {
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sim.Start(t.Context(), sim.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const right, wrong = "the-right-key", "some-wrong-key"
	serve := func(h http.Handler, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		return srv.URL
	}
	a, err := alpaca.New(alpaca.Config{World: w, Symbols: []string{"IREN"}, Key: right, Secret: right})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	m, err := massive.New(massive.Config{World: w, Tape: tape.Config{Symbols: []string{"IREN"}}, Key: right})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f, err := finnhub.New(finnhub.Config{World: w, Tape: tape.Config{Symbols: []string{"IREN"}}, Key: right})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := luxor.New(luxor.Config{World: w, Chain: s.Chain, Key: right})
	if err != nil {
		t.Fatal(err)
	}
	v, err := vast.New(vast.Config{World: w, APIKey: right})
	if err != nil {
		t.Fatal(err)
	}
	s.Bitcoind.Credentials("node", right)
	var cfg config
	point := func(key run.Secret) {
		cfg = defaultConfig()
		cfg.Mode, cfg.ClickHouse.Database = modeSim, "hashpivot"
		if err := pointAt(&cfg, s.URLs(), modeSim, ""); err != nil {
			t.Fatal(err)
		}
		cfg.Equities.Symbols = []string{"IREN"}
		cfg.Equities.Alpaca.Key, cfg.Equities.Alpaca.Secret, cfg.Equities.Massive.Key, cfg.Equities.Finnhub.Key = key, key, key, key
		cfg.Hashprice.Luxor.Key, cfg.Hashprice.Bitcoind.User, cfg.Hashprice.Bitcoind.Password = key, "node", key
		g := &cfg.GPURates
		for _, k := range []*run.Secret{&g.Vast.APIKey, &g.RunPod.APIKey, &g.Lambda.APIKey, &g.Shadeform.APIKey, &g.PrimeIntellect.APIKey} {
			*k = key
		}
		g.Akash.APIKey = "" // takes any
	}
	point(right)
	alpacaURL, massiveURL, finnhubURL := serve(a.Handler(), nil), serve(m.Handler(), nil), serve(f.Handler(), nil)
	luxorURL, vastURL := serve(l.Handler(), nil), serve(v.Handler(), nil)
	clouds := map[string]string{}
	for name, make := range map[string]func(gpu.Config) (*gpu.Server, error){
		"runpod": gpu.NewRunPod, "lambda": gpu.NewLambda, "shadeform": gpu.NewShadeform, "prime": gpu.NewPrimeIntellect,
	} {
		c, err := make(gpu.Config{World: w, APIKey: right})
		if err != nil {
			t.Fatal(err)
		}
		clouds[name] = serve(c.Handler(), nil)
	}
	look := func(key run.Secret) map[string]doctor.Finding {
		t.Helper()
		point(key)
		cfg.Equities.Alpaca.RESTURL, cfg.Equities.Massive.RESTURL, cfg.Equities.Finnhub.RESTURL = alpacaURL, massiveURL, finnhubURL+"/api/v1"
		cfg.Hashprice.Luxor.URL, cfg.GPURates.Vast.URL = luxorURL+"/v1/hashrateindex", vastURL
		g := &cfg.GPURates
		g.RunPod.RESTURL, g.Lambda.URL, g.Shadeform.URL, g.PrimeIntellect.URL = clouds["runpod"], clouds["lambda"], clouds["shadeform"], clouds["prime"]
		var probes []feed.Probe
		for _, p := range []func() ([]feed.Probe, []string){cfg.Equities.Probes, cfg.Hashprice.Probes, cfg.GPURates.Probes} {
			on, off := p()
			if len(off) > 0 {
				t.Errorf("off: %v", off)
			}
			probes = append(probes, on...)
		}
		by := map[string]doctor.Finding{}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for i, found := range doctor.Run(t.Context(), doctor.Upstreams(probes, client), 20*time.Second) {
			if strings.Contains(found.Detail+found.Fix, string(key)) {
				t.Errorf("%+v tells the key", found)
			}
			if probes[i].Key == "" && found.State != doctor.OK {
				t.Errorf("%+v", found)
			}
			if probes[i].Key != "" {
				by[found.Check] = found
			}
		}
		return by
	}
	good := look(right)
	if len(good) != 10 {
		t.Errorf("%d upstreams have keys: %v", len(good), good)
	}
	for _, found := range good {
		if found.State != doctor.OK || !strings.Contains(found.Detail, "takes the key") {
			t.Errorf("with the right key: %+v", found)
		}
	}
	for _, found := range look(wrong) {
		if found.State != doctor.Fail || !strings.Contains(found.Fix, "see to ") {
			t.Errorf("with a wrong key: %+v", found)
		}
	}

	// An upstream whose clock is an hour off, one that is not there, and one that has too much of us.
	order := func(name, text string) {
		t.Helper()
		resp, err := http.Post(s.URLs().Control+"/simulators/"+name+"/faults", "application/json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("order %s: %s", text, resp.Status)
		}
	}
	ask := func(p feed.Probe, state doctor.State, says string) {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if f := doctor.Run(t.Context(), doctor.Upstreams([]feed.Probe{p}, client), 20*time.Second)[0]; f.State != state || !strings.Contains(f.Detail, says) {
			t.Errorf("%+v, want %s and %q", f, state, says)
		}
	}
	order("luxor", `{"fault":"status","status":429,"times":1}`)
	ask(feed.Probe{Source: "x", Key: "k", Request: feed.Request{URL: s.URLs().LuxorREST}}, doctor.Warn, "too often")
	order("vast", `{"fault":"skew","by":"1h"}`)
	ask(feed.Probe{Source: "x", Request: feed.Request{Method: http.MethodPost, URL: s.URLs().Vast + "/api/v0/bundles/", Body: []byte("{}")}}, doctor.Fail, "ahead of ours")
	ask(feed.Probe{Source: "x", Request: feed.Request{URL: "http://127.0.0.1:1"}}, doctor.Fail, "127.0.0.1:1")
	ask(feed.Probe{Source: "x", Dial: "127.0.0.1:1"}, doctor.Fail, "connect to 127.0.0.1:1")
	ask(feed.Probe{Source: "x", Key: "k", Request: feed.Request{URL: vastURL + "/nowhere"}}, doctor.Warn, "HTTP 404")
}
