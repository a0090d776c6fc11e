package check

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// root is the checkout.
const root = "../.."

// dotenv reads a file of NAME=value; blanks are filled in.
func dotenv(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			if value == "" {
				value = "for-" + strings.ToLower(name)
			}
			out[name] = value
		}
	}
	return out
}

// load does what docker compose config does.
func load(t *testing.T, env map[string]string, files []string) *types.Project {
	t.Helper()
	var list, paths []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	for _, f := range files {
		paths = append(paths, filepath.Join(root, f))
	}
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	o, err := cli.NewProjectOptions(paths, cli.WithWorkingDirectory(dir), cli.WithEnv(list), cli.WithDefaultProfiles())
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("docker compose config: %v", err)
	}
	return p
}

var (
	ours    = []string{"audit", "gateway", "gpurates", "hashprice", "lander", "migrate", "signals"}
	watched = []string{"grafana", "prometheus"}
	single  = []string{"clickhouse", "nats"}
	cluster = []string{"clickhouse-1", "clickhouse-2", "clickhouse-3", "keeper", "nats-1", "nats-2", "nats-3"}
)

func TestComposeIsValidInEveryProfile(t *testing.T) {
	f := func(name string, over map[string]string, want ...[]string) {
		for _, tls := range []bool{false, true} {
			files, sub := []string{"docker-compose.yml"}, name
			if tls {
				files, sub = append(files, "deploy/compose.tls.yml"), name+" with TLS"
			}
			t.Run(sub, func(t *testing.T) {
				env := dotenv(t, "deploy/compose.env.example")
				maps.Copy(env, over)
				p := load(t, env, files)
				all := slices.Concat(want...)
				slices.Sort(all)
				if got := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(got, all) {
					t.Errorf("runs %v, want %v", got, all)
				}
				for _, s := range p.Services {
					checkService(t, p, s, tls)
				}
			})
		}
	}
	clustered := dotenv(t, "deploy/compose.cluster.env")
	f("live", map[string]string{"COMPOSE_PROFILES": "live"}, ours, single, watched)
	f("live,alpaca", map[string]string{"COMPOSE_PROFILES": "live,alpaca"}, ours, single, watched, []string{"equities"})
	f("sim", map[string]string{"COMPOSE_PROFILES": "sim"}, single, watched, []string{"sim"})
	f("cluster", clustered, ours, cluster, watched)
	with := maps.Clone(clustered)
	with["COMPOSE_PROFILES"] = "cluster,alpaca,ops"
	f("cluster,alpaca,ops", with, ours, cluster, watched, []string{"equities", "ops"})
}

var pinned = regexp.MustCompile(`:v?\d+\.\d+\.\d+[a-z0-9.-]*$`)

func checkService(t *testing.T, p *types.Project, s types.ServiceConfig, tls bool) {
	t.Helper()
	if s.Build == nil && !pinned.MatchString(s.Image) {
		t.Errorf("%s: image %s is not pinned to a version", s.Name, s.Image)
	}
	for _, v := range s.Volumes {
		switch {
		case v.Type == types.VolumeTypeVolume:
			if _, ok := p.Volumes[v.Source]; !ok {
				t.Errorf("%s: volume %s is not declared", s.Name, v.Source)
			}
		case strings.HasSuffix(v.Source, "/deploy/tls"), strings.Contains(v.Source, "/deploy/tls/"):
			if !tls {
				t.Errorf("%s mounts %s without TLS", s.Name, v.Source)
			}
		default:
			if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
				t.Errorf("%s mounts %s: read-only %v, %v", s.Name, v.Source, v.ReadOnly, err)
			}
		}
	}
	// Every server is waited for, and of several all.
	url := deref(s.Environment["HASHPIVOT_NATS__URL"])
	if s.Build != nil && (strings.HasPrefix(url, "tls://") != tls || url == "") {
		t.Errorf("%s: NATS at %q", s.Name, url)
	}
	if addr := deref(s.Environment["HASHPIVOT_CLICKHOUSE__ADDR"]); addr != "" && strings.Contains(addr, ",") != (deref(s.Environment["HASHPIVOT_CLICKHOUSE__REPLICATED"]) == "true") {
		t.Errorf("%s: ClickHouse at %s, replicated %s", s.Name, addr, deref(s.Environment["HASHPIVOT_CLICKHOUSE__REPLICATED"]))
	}
	for _, host := range hosts(url, deref(s.Environment["HASHPIVOT_CLICKHOUSE__ADDR"])) {
		if on, ok := s.DependsOn[host]; !ok || on.Condition != types.ServiceConditionHealthy {
			t.Errorf("%s talks to %s and does not wait for it: %+v", s.Name, host, s.DependsOn)
		}
		if _, ok := p.Services[host]; !ok {
			t.Errorf("%s talks to %s, which does not run", s.Name, host)
		}
	}
	for name, v := range s.Environment {
		if v == nil || *v == "" && !strings.HasSuffix(name, "_KEY") {
			t.Errorf("%s: %s is empty", s.Name, name)
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

var hostOf = regexp.MustCompile(`(?:^|,)(?:\w+://)?([\w-]+):\d+`)

func hosts(lists ...string) (out []string) {
	for _, l := range lists {
		for _, m := range hostOf.FindAllStringSubmatch(l, -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// A password that is missing is asked for by its name, before anything starts.
func TestComposeAsksForPasswords(t *testing.T) {
	env := dotenv(t, "deploy/compose.env.example")
	for name := range env {
		if !strings.HasSuffix(name, "_PASSWORD") || name == "NATS_CLUSTER_PASSWORD" {
			continue
		}
		without := maps.Clone(env)
		delete(without, name)
		var list []string
		for k, v := range without {
			list = append(list, k+"="+v)
		}
		o, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithEnv(list))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.LoadProject(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
