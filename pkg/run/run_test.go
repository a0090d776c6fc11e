package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/certs/certstest"
	"github.com/hashpivot/hashpivot/pkg/run"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type Inner struct {
	URL   string        `koanf:"url"`
	Wait  time.Duration `koanf:"wait"`
	Key   run.Secret    `koanf:"key"`
	Names []string      `koanf:"names"`
	N     int           `koanf:"n"`
}

type config struct {
	DataDir string `koanf:"data_dir"`
	Inner   Inner  `koanf:"inner"`
	Wide    wide   `koanf:"wide"`
}

// wide takes over another struct's keys.
type wide struct {
	Addr  string `koanf:"addr"`
	Inner `koanf:",squash"`
}

func defaults() config {
	return config{DataDir: "data", Inner: Inner{URL: "nats://x", Wait: time.Second, Names: []string{"A", "B"}, N: 3}}
}

func TestLoadPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("data_dir: fromfile\ninner:\n  wait: 3s\n  n: 4\n  names: [X]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := defaults()
	err := run.Load(&c, run.Source{
		File: file, Environ: []string{"HASHPIVOT_INNER__N=5", "HASHPIVOT_INNER__KEY=sesame", "HASHPIVOT_LIBCHDB=x", "OTHER=1"},
		NotConfig: []string{"HASHPIVOT_LIBCHDB"}, Set: []string{"inner.n=6", "inner.names=P,Q,R", "wide.wait=9s", "wide.addr=here"},
	})
	want := config{DataDir: "fromfile", Inner: Inner{URL: "nats://x", Wait: 3 * time.Second, Key: "sesame", Names: []string{"P", "Q", "R"}, N: 6}}
	want.Wide = wide{Addr: "here", Inner: Inner{Wait: 9 * time.Second}}
	if err != nil || fmt.Sprint(c) != fmt.Sprint(want) || c.Inner.Key.Reveal() != "sesame" {
		t.Errorf("loaded %+v, %v", c, err)
	}
}

func TestLoadNamesTheOffendingKey(t *testing.T) {
	f := func(yaml string, src run.Source, want string) {
		t.Helper()
		if yaml != "" {
			src.File = filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(src.File, []byte(yaml), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := defaults()
		err := run.Load(&c, src)
		if _, ok := errors.AsType[*run.UsageError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want a usage error with %q", err, want)
		}
	}
	f("inner:\n  wiat: 3s\n", run.Source{}, "unknown key inner.wiat; did you mean inner.wait?")
	f("inner:\n  wait: soon\n", run.Source{}, "inner.wait")
	f("inner: [", run.Source{}, "not YAML")
	f("", run.Source{Environ: []string{"HASHPIVOT_NOPE=1"}}, "HASHPIVOT_NOPE")
	f("", run.Source{Set: []string{"inner.n"}}, "key=value")
	f("", run.Source{Set: []string{"inner.n=many"}}, "inner.n")
	f("", run.Source{File: "/nonexistent.yaml"}, "does not exist")
}

func TestSecretsNeverPrint(t *testing.T) {
	c := defaults()
	c.Inner.Key = "sesame"
	yaml, err := run.Print(c)
	if err != nil || !strings.Contains(string(yaml), "wait: 1s") || !strings.Contains(string(yaml), "********") {
		t.Errorf("printed %s, %v", yaml, err)
	}
	var log bytes.Buffer
	l, _, err := run.NewLogger(run.LogConfig{Level: "info", Format: "json"}, &log)
	if err != nil {
		t.Fatal(err)
	}
	l.Info("x", "key", c.Inner.Key, slog.Any("cfg", c))
	for _, text := range []string{string(yaml), log.String(), fmt.Sprint(c), fmt.Sprintf("%#v %+v %s", c.Inner.Key, c, c.Inner.Key)} {
		if strings.Contains(text, "sesame") {
			t.Errorf("the secret stands in %s", text)
		}
	}
	if run.Secret("").String() != "" {
		t.Error("an empty secret must show as empty")
	}
}

func TestAdmin(t *testing.T) {
	h := &run.Health{}
	quiet := slog.New(slog.DiscardHandler)
	a, err := run.StartAdmin(run.AdminConfig{Addr: "127.0.0.1:0", PprofAddr: "127.0.0.1:0"}, prometheus.NewRegistry(), h, quiet)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	at := a.Addr()
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := client.Get("http://" + at + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if code, _ := get("/readyz"); code != 200 {
		t.Error(code)
	}
	h.Check("nats", func(context.Context) error { return errors.New("down") })
	if code, body := get("/readyz"); code != 503 || !strings.Contains(body, "down") {
		t.Error(code, body)
	}
	if code, _ := get("/livez"); code != 200 {
		t.Error(code)
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "hashpivot_health_ready") {
		t.Error(code, body)
	}
	if code, body := get("/readyz?verbose"); code != 503 || !strings.Contains(body, `{"name":"nats","status":"failed","why":"down"}`) {
		t.Error(code, body)
	}
	if code, body := get("/livez?verbose"); code != 200 || !strings.Contains(body, `"ok":true`) {
		t.Error(code, body)
	}
	if code, _ := get("/debug/pprof/"); code != 404 {
		t.Errorf("the profiles are on the admin port: %d", code)
	}
	at = a.PprofAddr()
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap?debug=1", "/debug/pprof/goroutine?debug=1"} {
		if code, body := get(path); code != 200 || len(body) < 100 {
			t.Errorf("%s: %d, %d bytes", path, code, len(body))
		}
	}
	if code, _ := get("/metrics"); code != 404 {
		t.Errorf("the metrics are on the profiles' port: %d", code)
	}
	if _, err := run.StartAdmin(run.AdminConfig{Addr: a.Addr()}, prometheus.NewRegistry(), h, quiet); err == nil {
		t.Error("listened twice")
	}
	if _, err := run.StartAdmin(run.AdminConfig{Addr: "127.0.0.1:0", PprofAddr: a.Addr()}, prometheus.NewRegistry(), h, quiet); err == nil {
		t.Error("listened twice for the profiles")
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// TestAdminWithTLS: with a certificate, and for clients with one only.
func TestAdminWithTLS(t *testing.T) {
	authority, stranger := certstest.New(t), certstest.New(t)
	cert, key := authority.Issue(certstest.Order{Names: []string{"lander.example.com"}})
	cfg := run.AdminConfig{Addr: "127.0.0.1:0", TLSCert: cert, TLSKey: key, TLSClientCA: authority.File}
	a, err := run.StartAdmin(cfg, prometheus.NewRegistry(), &run.Health{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	cfg.Addr = a.Addr()
	ask := func(cfg run.AdminConfig) error {
		client, url, err := cfg.Client()
		if err != nil {
			return err
		}
		defer client.CloseIdleConnections()
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.TLS == nil {
			return fmt.Errorf("answer %d, TLS %v", resp.StatusCode, resp.TLS)
		}
		return nil
	}
	if err := ask(cfg); err != nil {
		t.Error(err)
	}
	other := cfg
	other.TLSCert, other.TLSKey = stranger.Issue(certstest.Order{})
	if ask(other) == nil {
		t.Error("another certificate than the listener's was taken")
	}
	plain := cfg
	plain.TLSCert, plain.TLSKey, plain.TLSClientCA = "", "", ""
	if ask(plain) == nil {
		t.Error("asked in the clear, and was answered")
	}
	for _, bad := range []run.AdminConfig{{Addr: "127.0.0.1:0", TLSCert: cert, TLSKey: authority.File}, {Addr: "127.0.0.1:0", TLSCert: cert + "x", TLSKey: key}} {
		if _, err := run.StartAdmin(bad, prometheus.NewRegistry(), &run.Health{}, slog.New(slog.DiscardHandler)); err == nil {
			t.Error("started with a certificate that is none")
		} else if _, ok := errors.AsType[*run.UsageError](err); !ok {
			t.Errorf("%v is not the operator's to mend", err)
		}
	}
}
