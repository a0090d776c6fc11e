// Package observe_test holds the alert rules and the dashboards against the code's metrics (docs/metrics.md, which a test of the code holds against the code) and against Prometheus's own
// parser and promtool. It is a module of its own, outside the workspace: Prometheus's requirements must move no version of what is shipped.
package observe_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	top    = "../.."
	alerts = top + "/deploy/prometheus/alerts.yml"
)

// target are the labels that a scrape gives to every series.
var target = []string{"job", "service", "instance"}

// metric is what docs/metrics.md says of one.
type metric struct {
	typ    string
	labels []string
}

// foreign are metrics of Prometheus itself, of its client library and of a ClickHouse server.
var foreign = map[string]metric{
	"up": {"gauge", nil}, "process_start_time_seconds": {"gauge", nil}, "process_resident_memory_bytes": {"gauge", nil}, "process_cpu_seconds_total": {"counter", nil}, "go_goroutines": {"gauge", nil},
	"ALERTS":                            {"gauge", []string{"alertname", "alertstate"}},
	"ClickHouseMetrics_ReadonlyReplica": {"gauge", nil}, "ClickHouseAsyncMetrics_ReplicasMaxAbsoluteDelay": {"gauge", nil},
}

func documented(t testing.TB) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(top + "/docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := maps.Clone(foreign)
	for _, m := range regexp.MustCompile("(?m)^\\| `(hashpivot_[a-z0-9_]+)` \\| ([a-z]+) \\| [^|]+ \\| ([^|]*) \\|").FindAllStringSubmatch(string(text), -1) {
		x := metric{typ: m[2]}
		for l := range strings.SplitSeq(strings.TrimSpace(m[3]), ", ") {
			if l != "" {
				x.labels = append(x.labels, l)
			}
		}
		if x.typ != "histogram" {
			out[m[1]] = x
			continue
		}
		part := metric{"counter", x.labels}
		out[m[1]+"_sum"], out[m[1]+"_count"] = part, part
		out[m[1]+"_bucket"] = metric{"counter", append(slices.Clone(x.labels), "le")}
	}
	if len(out) < 60 {
		t.Fatalf("only %d metrics are documented", len(out))
	}
	return out
}

func parse(t testing.TB, expr string) parser.Expr {
	t.Helper()
	// What Grafana puts in.
	expr = strings.NewReplacer("$__rate_interval", "5m", "$__interval", "1m", "$__range", "1h").Replace(expr)
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	return e
}

// check holds an expression against the metrics: they exist, so do the labels that are asked for, and only what counts up is asked for its rise. It returns the labels that its series may have.
func check(t testing.TB, where, expr string, known map[string]metric, used map[string]bool) map[string]bool {
	t.Helper()
	have := map[string]bool{}
	for _, l := range target {
		have[l] = true
	}
	e := parse(t, expr)
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		sel, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		m, ok := known[sel.Name]
		if !ok {
			t.Errorf("%s: %s: no metric %q", where, expr, sel.Name)
			return nil
		}
		used[sel.Name] = true
		for _, l := range m.labels {
			have[l] = true
		}
		for _, lm := range sel.LabelMatchers {
			if lm.Name != labels.MetricName && !slices.Contains(m.labels, lm.Name) && !slices.Contains(target, lm.Name) {
				t.Errorf("%s: %s: %s has no label %s", where, expr, sel.Name, lm.Name)
			}
		}
		rising := false
		for _, p := range path {
			if c, ok := p.(*parser.Call); ok && (c.Func.Name == "rate" || c.Func.Name == "increase") {
				rising = true
			}
		}
		if rising != (m.typ == "counter") && !(m.typ == "counter" && !rising && !strings.HasSuffix(sel.Name, "_bucket")) {
			t.Errorf("%s: %s: %s is a %s", where, expr, sel.Name, m.typ)
		}
		return nil
	})
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok {
			for _, l := range a.Grouping {
				if !have[l] {
					t.Errorf("%s: %s: nothing in it has the label %s", where, expr, l)
				}
			}
		}
		return nil
	})
	return have
}

func rules(t testing.TB) []rulefmt.Rule {
	t.Helper()
	text, err := os.ReadFile(alerts)
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) > 0 {
		t.FailNow()
	}
	var out []rulefmt.Rule
	for _, g := range groups.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

var inTemplate = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// Every alert parses, asks for what is there, says how bad it is and where its runbook entry is, and has a scenario in which it fires.
func TestAlerts(t *testing.T) {
	known, used := documented(t), map[string]bool{}
	var scenarios []byte
	for _, file := range []string{"alerts_test.yml", "alerts_days_test.yml"} {
		text, err := os.ReadFile(top + "/deploy/prometheus/" + file)
		if err != nil {
			t.Fatal(err)
		}
		scenarios = append(scenarios, text...)
	}
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if seen[r.Alert] {
			t.Errorf("%s stands twice", r.Alert)
		}
		seen[r.Alert] = true
		have := check(t, r.Alert, r.Expr, known, used)
		if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info", "none"}, s) {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		for _, key := range []string{"summary", "description"} {
			if !strings.HasSuffix(r.Annotations[key], ".") {
				t.Errorf("%s: %s %q is no sentence", r.Alert, key, r.Annotations[key])
			}
			for _, m := range inTemplate.FindAllStringSubmatch(r.Annotations[key], -1) {
				if !have[m[1]] {
					t.Errorf("%s: its %s names the label %s, which it has not", r.Alert, key, m[1])
				}
			}
		}
		if want := "docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: runbook %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if !strings.Contains(string(scenarios), `{labels: '{alertname="`+r.Alert+`"`) {
			t.Errorf("%s fires in no scenario", r.Alert)
		}
	}
	if len(seen) < 25 {
		t.Errorf("only %d alerts", len(seen))
	}
}

// Every alert has an entry in the runbook that says what it means and what to do, and the runbook has no entry of an alert that is none.
func TestRunbook(t *testing.T) {
	text, err := os.ReadFile(top + "/docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, e := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(e, "\n")
		entries[name] = body
	}
	for _, r := range rules(t) {
		body, ok := entries[r.Alert]
		if !ok || !strings.Contains(body, "**Means**") || !strings.Contains(body, "**Do**") {
			t.Errorf("docs/runbook.md has no entry ## %s with what it means and what to do", r.Alert)
		}
		delete(entries, r.Alert)
	}
	for name := range entries {
		t.Errorf("docs/runbook.md: ## %s is no alert", name)
	}
}

var inLegend = regexp.MustCompile(`\{\{([a-z_]+)\}\}`)

// Every query of the dashboards parses and asks for what is there, and together they show every metric but the few that are named here.
func TestDashboardQueries(t *testing.T) {
	known, used := documented(t), map[string]bool{}
	files, err := filepath.Glob(top + "/deploy/grafana/dashboards/*.json")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	n := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels []struct {
				Title   string
				Targets []struct {
					Datasource         struct{ Type, UID string }
					Expr, LegendFormat string
				}
			}
		}
		if err := json.Unmarshal(data, &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				if q.Datasource.Type != "prometheus" {
					continue
				}
				n++
				where := filepath.Base(file) + ", " + p.Title
				have := check(t, where, q.Expr, known, used)
				for _, m := range inLegend.FindAllStringSubmatch(q.LegendFormat, -1) {
					if !have[m[1]] {
						t.Errorf("%s: the legend names %s, which no series has", where, m[1])
					}
				}
			}
		}
	}
	for name := range known {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		shown := used[name] || used[base+"_bucket"] || used[base+"_sum"] || used[base+"_count"]
		if _, of := foreign[name]; !of && !shown && !strings.HasPrefix(name, "hashpivot_health_live") {
			t.Errorf("%s is on no dashboard", name)
		}
	}
	t.Logf("%d queries", n)
}

// promtool runs the tool of this module: make .cache/tools/promtool builds it.
func promtool(t testing.TB, args ...string) {
	t.Helper()
	tool, err := filepath.Abs(top + "/.cache/tools/promtool")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tool); err != nil {
		t.Fatalf("%v; make .cache/tools/promtool builds it", err)
	}
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir = top + "/deploy/prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtool(t *testing.T) {
	promtool(t, "check", "config", "prometheus.yml")
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
	promtool(t, "test", "rules", "alerts_test.yml", "alerts_days_test.yml")
}
