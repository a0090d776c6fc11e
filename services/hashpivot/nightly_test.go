package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/services/nightly"
)

// up runs the notebooks where their environment is found; auto says once why it does not, true insists.
func TestNightlyOn(t *testing.T) {
	var log bytes.Buffer
	a := &app{ctx: t.Context(), cli: &cli{}, log: slog.New(slog.NewTextHandler(&log, nil))}
	script, err := filepath.Abs("../nightly/testdata/notebooks.py")
	if err != nil {
		t.Fatal(err)
	}
	on := func(enabled, python, url string) (bool, error) {
		t.Helper()
		log.Reset()
		cfg := defaultConfig()
		cfg.DataDir = "data/live"
		cfg.Nightly.Enabled, cfg.Nightly.Python, cfg.Nightly.ClickHouseURL = enabled, python, url
		return a.nightlyOn(&cfg, &backends{})
	}
	const url = "http://127.0.0.1:8123"
	if ok, err := on(nightly.Auto, script, url); err != nil || !ok || !strings.Contains(log.String(), "data/live/research") {
		t.Errorf("found: %v %v %s", ok, err, log.String())
	}
	if ok, err := on(nightly.Auto, "/nonexistent/python", url); err != nil || ok || strings.Count(log.String(), "nightly.enabled is auto and something is missing") != 1 || !strings.Contains(log.String(), "nonexistent") {
		t.Errorf("absent: %v %v %s", ok, err, log.String())
	}
	if ok, err := on(nightly.Auto, script, ""); err != nil || ok || !strings.Contains(log.String(), "nightly.clickhouse_url") {
		t.Errorf("no endpoint: %v %v %s", ok, err, log.String())
	}
	if ok, err := on("false", script, url); err != nil || ok || log.Len() != 0 {
		t.Errorf("off: %v %v %s", ok, err, log.String())
	}
	if ok, err := on("true", "/nonexistent/python", url); err == nil || ok || !mendable(err) {
		t.Errorf("insisted: %v %v", ok, err)
	}
}

func TestNightlyCommandLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"nightly run", "--date", 2}, {"nightly run --date yesterday", "2006-01-02", 2}, {"nightly status --date 2026-13-01", "2006-01-02", 2},
		{"nightly run --date 2026-11-25 --as-of soon", "--as-of", 2}, {"nightly --set nightly.patience=-1s", "nightly.patience", 2},
		{"nightly --set nats.url=nats://127.0.0.1:1", "clickhouse.addr for lander, gateway, nightly and audit", 2},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"--data-dir", t.TempDir()}, strings.Fields(c.args)...)
		if code := execute(t.Context(), args, nil, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: %d %s", c.args, code, errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"config", "--set", "nightly.webhook.url=https://h/hook-key"}, nil, &out, &errs); code != 0 || strings.Contains(out.String(), "hook-key") || !strings.Contains(out.String(), "nightly:") {
		t.Errorf("config: %d %s %s", code, out.String(), errs.String())
	}
}
