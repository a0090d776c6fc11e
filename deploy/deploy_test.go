// Package deploy_test checks what of the deployment can be checked without a container engine: that docker-compose.yml says what it must, that
// its services' commands and variables are the binary's, and (shape_test.go) that the services run as it starts them.
package deploy_test

import (
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

func TestMain(m *testing.M) { chembedtest.Main(m) }

type compose struct {
	Services map[string]service `yaml:"services"`
	Volumes  map[string]any     `yaml:"volumes"`
}

type service struct {
	Image       string            `yaml:"image"`
	Build       *build            `yaml:"build"`
	Profiles    []string          `yaml:"profiles"`
	Command     []string          `yaml:"command"`
	Environment map[string]string `yaml:"environment"`
	User        string            `yaml:"user"`
	Restart     string            `yaml:"restart"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	CapAdd      []string          `yaml:"cap_add"`
	Security    []string          `yaml:"security_opt"`
	Privileged  bool              `yaml:"privileged"`
	Network     string            `yaml:"network_mode"`
	MemLimit    string            `yaml:"mem_limit"`
	CPUs        string            `yaml:"cpus"`
	PIDs        int               `yaml:"pids_limit"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	Grace       string            `yaml:"stop_grace_period"`
	Health      struct {
		Test     []string `yaml:"test"`
		Disable  bool     `yaml:"disable"`
		Interval string   `yaml:"interval"`
		Timeout  string   `yaml:"timeout"`
	} `yaml:"healthcheck"`
	Logging struct {
		Options map[string]string `yaml:"options"`
	} `yaml:"logging"`
	DependsOn map[string]struct {
		Condition string `yaml:"condition"`
		Required  *bool  `yaml:"required"` // false: where the profile does not have it, it is not waited for
	} `yaml:"depends_on"`
}

type build struct {
	Context    string            `yaml:"context"`
	Dockerfile string            `yaml:"dockerfile"`
	Args       map[string]string `yaml:"args"`
}

// ours are the services of hashpivot's own image; daemons among them run until they are told to stop.
func (s service) ours() bool   { return s.Build != nil }
func (s service) daemon() bool { return s.Restart != "no" }

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func load(t testing.TB) compose {
	t.Helper()
	var c compose
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c); err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	return c
}

// binary is what `make build` leaves; `make test` builds it first.
func binary(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../bin/hashpivot")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return path
}

// run runs the binary to its end, with exactly this environment.
func run(t testing.TB, env []string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), args...)
	cmd.Env = append([]string{}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

var (
	variable = regexp.MustCompile(`\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}`)
	isSecret = regexp.MustCompile(`PASSWORD|SECRET|TOKEN|KEY_ID|CREDS|NKEY`)
)

// interpolate does what compose does with ${A}, ${A:-default} and ${A:?message}.
func interpolate(t testing.TB, s string, env map[string]string) string {
	t.Helper()
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		p := variable.FindStringSubmatch(m)
		if v := env[p[1]]; v != "" {
			return v
		}
		if p[2] == ":?" {
			t.Fatalf("%s is required: %s", p[1], p[3])
		}
		return p[3]
	})
}

// example is deploy/compose.env.example.
func example(t testing.TB) map[string]string {
	t.Helper()
	return dotenv(t, "deploy/compose.env.example")
}

func dotenv(t testing.TB, path string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(read(t, path)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Errorf("%s: %q is no NAME=value", path, line)
		}
		out[name] = value
	}
	return out
}

// environment is what a service's container would have, from the example with its blanks filled in.
func environment(t testing.TB, s service, over map[string]string) []string {
	t.Helper()
	env := example(t)
	for name, value := range env {
		if value == "" {
			env[name] = "for-" + strings.ToLower(name)
		}
	}
	maps.Copy(env, over)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		out = append(out, name+"="+interpolate(t, s.Environment[name], env))
	}
	return out
}

func TestEveryContainerIsContained(t *testing.T) {
	c := load(t)
	if len(c.Services) < 8 {
		t.Fatalf("only %d services", len(c.Services))
	}
	pinned := regexp.MustCompile(`:v?\d+\.\d+\.\d+[a-z0-9.-]*$`)
	for name, s := range c.Services {
		t.Run(name, func(t *testing.T) {
			switch {
			case s.ours() && s.Image != "hashpivot:${IMAGE_TAG:-dev}":
				t.Errorf("image %q is not the one image of all services", s.Image)
			case !s.ours() && !pinned.MatchString(s.Image):
				t.Errorf("image %q is not pinned to a version", s.Image)
			}
			if !s.ReadOnly || s.Privileged || s.Network != "" || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 ||
				!slices.Contains(s.Security, "no-new-privileges:true") {
				t.Error("wants a read-only root, no capability, no new privileges, a network of its own")
			}
			if s.ours() && s.User != "65532:65532" {
				t.Errorf("user %q", s.User)
			}
			if s.MemLimit == "" || s.CPUs == "" || s.PIDs == 0 || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" || s.Grace == "" {
				t.Error("wants bounds of memory, processors, processes and logs, and time to end in good order")
			}
			if want := "unless-stopped"; s.Restart != want && !slices.Contains([]string{"migrate", "ops"}, name) {
				t.Errorf("restart %q, want %q", s.Restart, want)
			}
			for _, p := range s.Ports {
				if !strings.HasPrefix(p, "127.0.0.1:") {
					t.Errorf("port %s is not on loopback", p)
				}
			}
			if gate := []string{"127.0.0.1:${GATEWAY_PORT:-8080}:8080"}; s.ours() && len(s.Ports) > 0 && (!slices.Contains([]string{"gateway", "sim"}, name) || !slices.Equal(s.Ports, gate)) {
				t.Error("a service publishes no port but the gateway's: its metrics have no authentication")
			}
			for _, v := range s.Volumes {
				from, to, _ := strings.Cut(v, ":")
				if _, named := c.Volumes[from]; named {
					continue
				}
				if _, err := os.Stat(filepath.Join("..", from)); err != nil || !strings.HasSuffix(to, ":ro") {
					t.Errorf("volume %s is neither named nor a file of the checkout, read-only", v)
				}
			}
			for on, how := range s.DependsOn {
				dep, ok := c.Services[on]
				switch {
				case !ok:
					t.Errorf("depends on %s, which is none", on)
				case how.Condition == "service_completed_successfully" && dep.daemon(), how.Condition == "service_healthy" && dep.Health.Disable,
					how.Condition == "service_started", how.Condition == "":
					t.Errorf("depends on %s: %q", on, how.Condition)
				case (how.Required == nil || *how.Required) && slices.ContainsFunc(s.Profiles, func(p string) bool { return !slices.Contains(dep.Profiles, p) }):
					t.Errorf("depends on %s, which is off in one of the profiles %v", on, s.Profiles)
				}
			}
			switch {
			case s.ours() && s.daemon():
				if !slices.Equal(s.Health.Test, []string{"CMD", "/usr/local/bin/hashpivot", "health"}) {
					t.Errorf("health check %q does not ask the service itself", s.Health.Test)
				}
			case s.daemon() && len(s.Health.Test) == 0:
				t.Error("no health check")
			case !s.daemon() && !s.Health.Disable:
				t.Error("a service that ends has no health to check")
			}
		})
	}
}

func TestNoSecretIsCommitted(t *testing.T) {
	// compose looks at the variables of all services, whatever the profile: only what every profile needs may be required.
	required := map[string]bool{}
	for _, m := range variable.FindAllStringSubmatch(read(t, "docker-compose.yml"), -1) {
		required[m[1]] = required[m[1]] || m[2] == ":?"
	}
	seen := 0
	for name, s := range load(t).Services {
		for k, v := range s.Environment {
			if !isSecret.MatchString(k) {
				continue
			}
			seen++
			if rest := strings.Trim(variable.ReplaceAllString(v, ""), `"`); rest != "" {
				t.Errorf("%s: %s holds %q", name, k, rest)
			}
			for _, m := range variable.FindAllStringSubmatch(v, -1) {
				if some := strings.HasPrefix(m[1], "APCA_") || strings.Contains(m[1], "_CLUSTER_"); required[m[1]] == some {
					t.Errorf("%s: %s: %s is required: %v", name, k, m[1], required[m[1]])
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("saw only %d secrets", seen)
	}
	for k, v := range example(t) {
		if isSecret.MatchString(k) && v != "" {
			t.Errorf("compose.env.example: %s holds %q", k, v)
		}
	}
	for _, file := range []string{"deploy/nats/users.conf", "deploy/nats/cluster.conf", "deploy/nats/cluster-tls.conf", "deploy/clickhouse/users.d/hashpivot.xml", "deploy/clickhouse/config.d/cluster.xml"} {
		for line := range strings.Lines(read(t, file)) {
			if !strings.Contains(line, "password") || strings.Contains(line, "#") || strings.Contains(line, "<!--") {
				continue
			}
			if !strings.Contains(line, "$") && !strings.Contains(line, "from_env") {
				t.Errorf("%s: %s", file, strings.TrimSpace(line))
			}
		}
	}
	if !slices.Contains(strings.Split(read(t, ".gitignore"), "\n"), "/.env") {
		t.Error(".gitignore does not have /.env, which holds the passwords")
	}
}

// SELECT * shows quants recv_time and trade_id, which trades and quotes compute, without a setting of their own. The embedded engine is told so in clickhouseConfig.engine.
func TestProfilesShowComputedColumns(t *testing.T) {
	var users struct {
		Profiles struct {
			All []struct {
				XMLName xml.Name
				Shows   string `xml:"asterisk_include_alias_columns"`
			} `xml:",any"`
		} `xml:"profiles"`
	}
	if err := xml.Unmarshal([]byte(read(t, "deploy/clickhouse/users.d/hashpivot.xml")), &users); err != nil {
		t.Fatal(err)
	}
	if len(users.Profiles.All) == 0 {
		t.Error("no profiles")
	}
	for _, p := range users.Profiles.All {
		if p.Shows != "1" {
			t.Errorf("profile %s: asterisk_include_alias_columns is %q", p.XMLName.Local, p.Shows)
		}
	}
}

func TestCommandsAndFlagsExist(t *testing.T) {
	help, code := run(t, nil, "--help")
	if code != 0 {
		t.Fatal(help)
	}
	_, commands, ok := strings.Cut(help, "Commands:\n")
	if !ok {
		t.Fatalf("--help lists no commands:\n%s", help)
	}
	exists := func(command string) bool {
		return strings.Contains(commands, "\n  "+command+" ") || strings.HasPrefix(commands, "  "+command+" ")
	}
	if exists("nonsense") {
		t.Fatal("this test cannot tell a command from another word")
	}
	for name, s := range load(t).Services {
		if !s.ours() {
			continue
		}
		if len(s.Command) == 0 || !exists(s.Command[0]) {
			t.Errorf("%s: hashpivot has no command %q", name, s.Command)
			continue
		}
		if name != s.Command[0] && name != "ops" && name != "sim" {
			t.Errorf("%s runs hashpivot %s", name, s.Command[0])
		}
		flags, _ := run(t, nil, s.Command[0], "--help")
		for _, f := range s.Command[1:] {
			if strings.HasPrefix(f, "-") && !strings.Contains(flags, "      "+f) {
				t.Errorf("%s: hashpivot %s has no flag %s", name, s.Command[0], f)
			}
		}
	}
	if !exists("health") {
		t.Error("hashpivot has no command health, which the health checks call")
	}
}

// TestVariablesAreConfiguration has the binary itself read each service's environment: a name that is no key ends it with code 2.
func TestVariablesAreConfiguration(t *testing.T) {
	for name, s := range load(t).Services {
		if !s.ours() {
			continue
		}
		env := environment(t, s, nil)
		out, code := run(t, env, "config")
		if code != 0 {
			t.Errorf("%s: exit %d: %s", name, code, out)
			continue
		}
		var cfg struct {
			NATS struct {
				URL, User, Password string
			} `yaml:"nats"`
			ClickHouse struct {
				Addr           []string
				User, Password string
			} `yaml:"clickhouse"`
			Admin struct{ Addr string } `yaml:"admin"`
		}
		if err := yaml.Unmarshal([]byte(out), &cfg); err != nil {
			t.Fatal(err)
		}
		user := name // each service is a user of its own
		if name == "sim" {
			user = "up"
		}
		if cfg.NATS.URL != "nats://nats:4222" || cfg.NATS.User != user || cfg.NATS.Password == "" || cfg.Admin.Addr != "0.0.0.0:9464" {
			t.Errorf("%s: nats %+v, admin %+v", name, cfg.NATS, cfg.Admin)
		}
		if _, ok := s.Environment["HASHPIVOT_CLICKHOUSE__ADDR"]; ok != slices.Contains([]string{"migrate", "lander", "audit", "gateway", "sim", "ops"}, name) {
			t.Errorf("%s: knows of ClickHouse: %v", name, ok)
		} else if ok && (!slices.Equal(cfg.ClickHouse.Addr, []string{"clickhouse:9000"}) || cfg.ClickHouse.User != user || cfg.ClickHouse.Password == "") {
			t.Errorf("%s: clickhouse %+v", name, cfg.ClickHouse)
		}
		if strings.Contains(out, "for-") {
			t.Errorf("%s: config shows a secret:\n%s", name, out)
		}
	}
	if out, code := run(t, []string{"HASHPIVOT_NATS__ULR=x"}, "config"); code != 2 || !strings.Contains(out, "nats.ulr") {
		t.Errorf("a name that is no key: exit %d, %s", code, out)
	}
}

func TestExampleNamesEveryVariable(t *testing.T) {
	used := map[string]bool{"COMPOSE_PROFILES": true, "COMPOSE_FILE": true}
	for _, m := range variable.FindAllStringSubmatch(read(t, "docker-compose.yml"), -1) {
		used[m[1]] = true
	}
	got := example(t)
	for name := range used {
		if _, ok := got[name]; !ok {
			t.Errorf("compose.env.example lacks %s", name)
		}
	}
	over := dotenv(t, "deploy/compose.cluster.env")
	for _, m := range variable.FindAllStringSubmatch(read(t, "deploy/compose.tls.yml"), -1) {
		if _, ok := over[m[1]]; !ok {
			t.Errorf("compose.cluster.env lacks %s, which compose.tls.yml has for one of each", m[1])
		}
		used[m[1]] = true
	}
	for name := range over {
		if !used[name] {
			t.Errorf("compose.cluster.env has %s, which nothing uses", name)
		}
	}
	profiles := map[string]bool{}
	for _, s := range load(t).Services {
		for _, p := range s.Profiles {
			profiles[p] = true
		}
	}
	for name, value := range got {
		if !used[name] {
			t.Errorf("compose.env.example has %s, which nothing uses", name)
		}
		if strings.HasPrefix(name, "HASHPIVOT_") {
			t.Errorf("compose.env.example has %s: exported in a shell, hashpivot would refuse it", name)
		}
		if name == "COMPOSE_PROFILES" && !profiles[value] {
			t.Errorf("COMPOSE_PROFILES=%s is no profile", value)
		}
	}
	// JetStream reserves what the streams may grow to.
	max, err := strconv.Atoi(got["STREAM_MAX_BYTES"])
	store, err2 := strconv.Atoi(strings.TrimSuffix(got["NATS_MAX_FILE_STORE"], "GB"))
	if err != nil || err2 != nil || 11*max >= store<<30 {
		t.Errorf("11 streams of %s bytes do not fit %s", got["STREAM_MAX_BYTES"], got["NATS_MAX_FILE_STORE"])
	}
}

// No ClickHouse server is at hand to read its configuration; that it is XML is what can be held.
func TestClickHouseConfigurationIsXML(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("clickhouse", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		dec := xml.NewDecoder(strings.NewReader(read(t, filepath.Join("deploy", path))))
		for {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				t.Errorf("%s: %v", path, err)
				return nil
			}
		}
	})
	if err != nil || seen < 5 {
		t.Errorf("%d files, %v", seen, err)
	}
}

// TestNATSUsersAreTheDuties holds that the deployed users, and the chart's, which are the same file, are those that the binary prints.
func TestNATSUsersAreTheDuties(t *testing.T) {
	out, code := run(t, nil, "nats-users")
	if code != 0 {
		t.Fatal(out)
	}
	if read(t, "deploy/nats/users.conf") != out {
		t.Error("deploy/nats/users.conf is other than hashpivot nats-users prints: bin/hashpivot nats-users > deploy/nats/users.conf")
	}
	for _, m := range regexp.MustCompile(`\$(NATS_[A-Z]+_PASSWORD)`).FindAllStringSubmatch(out, -1) {
		for _, server := range []string{"nats", "nats-1", "nats-2", "nats-3"} {
			if load(t).Services[server].Environment[m[1]] == "" {
				t.Errorf("%s lacks %s, without which nats-server does not start", server, m[1])
			}
		}
	}
}

// TestClickHouseUsersAreTheGrants holds the same of ClickHouse's, each of which has a variable of the server's, and a password in the example.
func TestClickHouseUsersAreTheGrants(t *testing.T) {
	out, code := run(t, nil, "clickhouse-users")
	if code != 0 {
		t.Fatal(out)
	}
	if read(t, "deploy/clickhouse/users.d/hashpivot.xml") != out {
		t.Error("deploy/clickhouse/users.d/hashpivot.xml is other than hashpivot clickhouse-users prints: bin/hashpivot clickhouse-users > deploy/clickhouse/users.d/hashpivot.xml")
	}
	found := regexp.MustCompile(`from_env="(CLICKHOUSE_[A-Z]+_PASSWORD)"`).FindAllStringSubmatch(out, -1)
	if len(found) < 8 {
		t.Errorf("only %d users", len(found))
	}
	for _, m := range found {
		for _, server := range []string{"clickhouse", "clickhouse-1", "clickhouse-2", "clickhouse-3"} {
			if load(t).Services[server].Environment[m[1]] == "" {
				t.Errorf("%s lacks %s, without which ClickHouse does not start", server, m[1])
			}
		}
	}
}

func numbers(t testing.TB, version string) []int {
	t.Helper()
	var out []int
	for p := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(p)
		if err != nil {
			t.Fatalf("version %q", version)
		}
		out = append(out, n)
	}
	return out
}

// TestVersionsAgree holds that what is deployed is what is tested against.
func TestVersionsAgree(t *testing.T) {
	c := load(t)
	version := func(pattern, text string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("nothing like %s", pattern)
		}
		return m[1]
	}
	mod, dockerfile := read(t, "go.mod"), read(t, "deploy/Dockerfile")
	if in, want := version(`^nats:([\d.]+)-alpine$`, c.Services["nats"].Image), version(`nats-server/v2 v([\d.]+)`, mod); in != want {
		t.Errorf("nats %s is deployed, %s is tested", in, want)
	}
	server := numbers(t, version(`^clickhouse/clickhouse-server:([\d.]+)$`, c.Services["clickhouse"].Image))
	if keeper, want := version(`^clickhouse/clickhouse-keeper:([\d.]+)$`, c.Services["keeper"].Image), version(`:([\d.]+)$`, c.Services["clickhouse"].Image); keeper != want {
		t.Errorf("ClickHouse %s stands beside Keeper %s", want, keeper)
	}
	engine := numbers(t, version(`^([\d.]+)-`, chembed.LibraryVersion))
	if slices.Compare(server[:2], engine[:2]) < 0 {
		t.Errorf("ClickHouse %v is deployed, which is older than the engine %v that is tested", server, engine)
	}
	if in, want := numbers(t, version(`FROM golang:([\d.]+)-`, dockerfile)), numbers(t, version(`(?m)^go ([\d.]+)$`, mod)); slices.Compare(in, want) < 0 {
		t.Errorf("the image is built by Go %v, go.mod wants %v", in, want)
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "deploy/Dockerfile")
	var from []string
	for _, m := range regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(text, -1) {
		from = append(from, m[1])
	}
	if len(from) != 2 || !regexp.MustCompile(`^golang:\d+\.\d+\.\d+-\w+$`).MatchString(from[0]) || from[1] != "scratch" {
		t.Errorf("stages %q: want a pinned builder and an empty root", from)
	}
	last := text[strings.LastIndex(text, "\nFROM "):]
	for _, want := range []string{"\nUSER 65532:65532\n", `CMD ["/usr/local/bin/hashpivot", "health"]`, `ENTRYPOINT ["/usr/local/bin/hashpivot"]`} {
		if !strings.Contains(last, want) {
			t.Errorf("the image lacks %s", strings.TrimSpace(want))
		}
	}
	for name, s := range load(t).Services {
		if s.ours() && (s.Build.Context != "." || s.Build.Dockerfile != "deploy/Dockerfile" || s.Build.Args["VERSION"] != "${IMAGE_TAG:-dev}") {
			t.Errorf("%s: build %+v", name, *s.Build)
		}
	}
	if out, code := run(t, nil, "version", "--json"); code != 0 || !strings.Contains(out, `"version"`) {
		t.Errorf("version: %d %s", code, out)
	}
}

// TestBuildContext holds that what the image is built from is there, and that nothing else is: neither data nor the fetched engine.
func TestBuildContext(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(read(t, ".dockerignore")), "\n")
	want := []string{"*", "!go.mod", "!go.sum", "!LICENSE", "!pkg", "!schemas", "!services", "!deploy/image.sh", "!tools/sbom"}
	for _, w := range want {
		if !slices.Contains(lines, w) {
			t.Errorf(".dockerignore lacks the line %s", w)
		}
	}
	for _, l := range lines {
		if strings.HasPrefix(l, "!") && !slices.Contains(want, l) {
			t.Errorf(".dockerignore lets %s in", l[1:])
		}
	}
}

// TestImageIsOfTheTestedVersions holds that the module alone, which the image and the packages are built of, selects what the workspace does, in which it is tested.
func TestImageIsOfTheTestedVersions(t *testing.T) {
	modules := func(env ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", "./services/hashpivot")
		cmd.Dir, cmd.Env = "..", append(os.Environ(), env...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list with %v: %v", env, err)
		}
		lines := strings.Split(string(out), "\n")
		slices.Sort(lines)
		return strings.Join(slices.Compact(lines), "\n")
	}
	if alone, workspace := modules("GOWORK=off"), modules(); alone != workspace {
		t.Errorf("alone it selects\n%s\nin the workspace\n%s", alone, workspace)
	}
}
