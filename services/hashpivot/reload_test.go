package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// TestReload: what can be changed while running is applied and named, what cannot is named, and what is wrong changes nothing.
func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hashpivot.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	a := &app{ctx: t.Context(), cli: &cli{Config: file}, stderr: &log, command: "up"}
	write("log: {level: info, format: json}\ngateway: {auth: {keys: {a: {algorithm: HS256, secret: sesame}}}}\n")
	cfg, err := a.load(modeSim)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.logger(cfg); err != nil {
		t.Fatal(err)
	}
	var applied []*config
	refuse := error(nil)
	r := &reloader{a: a, load: func() (*config, error) { return a.load(modeSim) }, parts: []reloadable{a.logLevel(), {
		name: "gateway", keys: []string{"gateway.limits", "gateway.auth"}, apply: func(_ context.Context, cfg *config) error {
			if refuse == nil {
				applied = append(applied, cfg)
			}
			return refuse
		},
	}}}
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	reload := func(text string, says ...string) {
		t.Helper()
		write(text)
		log.Reset()
		r.reload(t.Context())
		for _, s := range says {
			if want, no := strings.CutPrefix(s, "!"); strings.Contains(log.String(), want) == no {
				t.Errorf("%q: the log has %s", s, log.String())
			}
		}
		if strings.Contains(log.String(), "sesame") {
			t.Errorf("a secret is in the log: %s", log.String())
		}
	}
	const keys = "auth: {keys: {a: {algorithm: HS256, secret: sesame}}}"
	reload("log: {level: debug, format: json}\ngateway: {"+keys+"}\n", `"applied":"log.level"`, "!restart")
	if a.level.Level() != slog.LevelDebug || len(applied) != 0 {
		t.Errorf("level %s, applied %d", a.level.Level(), len(applied))
	}
	reload("log: {level: debug, format: json}\ngateway: {"+keys+", limits: {connections: 5}}\nnats: {max_age: 48h}\nlander: {max_rows: 7}\n",
		`"applied":"gateway.limits.connections"`, `"keys":"lander.max_rows, nats.max_age"`)
	if len(applied) != 1 || applied[0].Gateway.Limits.Connections != 5 {
		t.Errorf("applied %d", len(applied))
	}
	// What waits for a restart is named again, as long as it does.
	reload("log: {level: warn, format: json}\ngateway: {"+keys+", limits: {connections: 5}}\nlander: {max_rows: 7}\n", `"keys":"lander.max_rows"`)
	refuse = os.ErrPermission
	reload("log: {level: warn, format: json}\ngateway: {auth: {keys: {a: {algorithm: HS256, secret: sesame2}}}}\n", "a part of the changed configuration is refused", "!restart")
	refuse = nil
	reload("log: {level: info, format: json}\ngateway: {auth: {keys: {a: {algorithm: HS256, secret: sesame2}}}}\n", "gateway.auth.keys")
	if len(applied) != 2 || applied[1].Gateway.Auth.Keys["a"].Secret != "sesame2" || applied[1].Gateway.Limits.Connections != 10_000 {
		t.Errorf("applied %d", len(applied))
	}
	for _, bad := range []string{"log: {level: loud}\n", "gateway: [\n", "gateway: {limits: {conections: 5}}\n"} {
		reload(bad, "refused; what was configured before goes on")
	}
	if a.level.Level() != slog.LevelInfo {
		t.Errorf("level %s", a.level.Level())
	}

	// A service alone is told of what it uses only.
	r.concerns = concernsOf("lander")
	r.now, _ = run.Flat(*cfg)
	reload("gateway: {limits: {connections: 5}}\nlander: {max_rows: 9}\nlog: {level: info, format: json}\n", `"keys":"lander.max_rows"`, "!gateway")
}
