// Package hashpivot holds no code: these tests hold the house's rules: who may import whom (DESIGN.md, "The house"), and what is no source.
package hashpivot_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hashpivot/hashpivot/"

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// only says that what is under the import prefix may be imported by packages under these paths alone.
var only = []struct {
	prefix string
	by     []string
}{
	{"github.com/nats-io/nats.go", []string{"pkg/bus"}},
	{"github.com/nats-io/nats-server", []string{"pkg/bus"}},
	{"github.com/ClickHouse/clickhouse-go", []string{"pkg/store", "bench"}},
	{"github.com/pressly/goose", []string{"pkg/store"}},
	{"github.com/ebitengine/purego", []string{"pkg/chembed"}},
	// The websocket feeds dial through feed; the simulators and the venue of a benchmark are the other side of the same protocols; the
	// gateway will serve.
	{"github.com/gorilla/websocket", []string{"pkg/feed", "pkg/sim", "pkg/client", "services/gateway", "bench"}},
	{module + "schemas/proto", []string{"schemas/proto", "pkg/wire", "pkg/live"}},
	{module + "schemas/clickhouse", []string{"schemas/clickhouse", "pkg/store"}},
	{module + "services/", []string{"services/hashpivot", "bench"}},
}

func TestWhoMayImportWhom(t *testing.T) {
	under := func(path string, dirs []string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") })
	}
	seen := 0
	for _, p := range packages(t) {
		self := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			seen++
			for _, rule := range only {
				// A service's own packages are its own.
				own := strings.HasPrefix(self, "services/") && strings.HasPrefix(imp, module+strings.Join(strings.SplitN(self, "/", 3)[:2], "/")+"/")
				if strings.HasPrefix(imp, rule.prefix) && !under(self, rule.by) && !own {
					t.Errorf("%s imports %s, which only %v may", self, imp, rule.by)
				}
			}
			ours := strings.HasPrefix(imp, module)
			switch {
			case under(self, []string{"schemas"}) && ours && !strings.HasPrefix(imp, module+"schemas/"):
				t.Errorf("%s imports %s: schemas import nothing of ours", self, imp)
			case self == "pkg/market" && strings.Contains(imp, ".") && imp != "github.com/govalues/decimal":
				t.Errorf("pkg/market imports %s: the domain needs the standard library and the decimal type only", imp)
			case strings.HasPrefix(self, "pkg/") && strings.HasPrefix(imp, module+"services/"):
				t.Errorf("%s imports %s: parts never import programs", self, imp)
			case under(self, []string{"pkg/store"}) && strings.HasPrefix(imp, module+"pkg/bus"):
				t.Errorf("%s imports %s: bus and store never know each other", self, imp)
			case under(self, []string{"pkg/bus"}) && strings.HasPrefix(imp, module+"pkg/store"):
				t.Errorf("%s imports %s: bus and store never know each other", self, imp)
			}
		}
	}
	if seen < 100 {
		t.Fatalf("saw only %d imports", seen)
	}
}

// A built program of 51 MB was committed beside a service's source once, and nobody saw it.
func TestNothingLargeIsCommitted(t *testing.T) {
	const most = 1 << 20
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		info, err := os.Lstat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > most {
			t.Errorf("%s has %d bytes; what is built is not committed", name, info.Size())
		}
	}
}
