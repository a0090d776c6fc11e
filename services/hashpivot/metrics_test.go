package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/gateway"
	"github.com/hashpivot/hashpivot/services/lander"
	"github.com/hashpivot/hashpivot/services/nightly"
	"github.com/hashpivot/hashpivot/services/signals"
)

var updateDocs = flag.Bool("update", false, "write what is generated into docs")

// parts are all that make metrics.
var parts = []struct {
	name, where string
	register    func(prometheus.Registerer)
}{
	{"Every process", "`up` and every service", func(r prometheus.Registerer) { r.MustRegister(buildInfo(modeSim)); run.NewHealthMetrics(r) }},
	{"NATS and what is published", "`up` and every service; publisher and lease where something is published", func(r prometheus.Registerer) { bus.NewMetrics(r) }},
	{"Feeds", "`equities`, `hashprice`, `gpurates`", func(r prometheus.Registerer) { feed.NewMetrics(r) }},
	{"Signals", "`signals`", func(r prometheus.Registerer) { signals.NewMetrics(r) }},
	{"Landing, and the streams", "`lander`; of the streams that it lands", func(r prometheus.Registerer) { lander.NewMetrics(r) }},
	{"The gateway", "`gateway`", func(r prometheus.Registerer) { gateway.NewMetrics(r) }},
	{"The audit", "`audit`", func(r prometheus.Registerer) { audit.NewMetrics(r) }},
	{"Research", "`nightly`", func(r prometheus.Registerer) { nightly.NewMetrics(r) }},
}

// recorder registers metrics and sets each once, so that they can be gathered: a metric with labels shows only with a value.
type recorder struct {
	t   testing.TB
	reg *prometheus.Registry
}

func (r recorder) Register(c prometheus.Collector) error {
	if f, ok := c.(*run.Fresh); ok { // set when it is scraped, where something runs
		for _, g := range f.Gauges {
			if err := r.Register(g); err != nil {
				return err
			}
		}
		return nil
	}
	labels := func(set func(values ...string) error) {
		for values := []string{}; len(values) < 8; values = append(values, "x") {
			if set(values...) == nil {
				return
			}
		}
		r.t.Errorf("%T has more labels than this test thinks of", c)
	}
	switch v := c.(type) {
	case *prometheus.CounterVec:
		labels(func(l ...string) error { _, err := v.GetMetricWithLabelValues(l...); return err })
	case *prometheus.GaugeVec:
		labels(func(l ...string) error { _, err := v.GetMetricWithLabelValues(l...); return err })
	case *prometheus.HistogramVec:
		labels(func(l ...string) error { _, err := v.GetMetricWithLabelValues(l...); return err })
	case *prometheus.SummaryVec:
		r.t.Error("a summary: its quantiles cannot be added up over processes; use a histogram")
	}
	return r.reg.Register(c)
}

func (r recorder) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := r.Register(c); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r recorder) Unregister(c prometheus.Collector) bool { return r.reg.Unregister(c) }

// catalogue is every metric of the program, by part.
func catalogue(t testing.TB) [][]*dto.MetricFamily {
	t.Helper()
	var out [][]*dto.MetricFamily
	seen := map[string]bool{}
	for _, p := range parts {
		r := recorder{t, prometheus.NewRegistry()}
		p.register(r)
		families, err := r.reg.Gather()
		if err != nil || len(families) == 0 {
			t.Fatalf("%s: %d families, %v", p.name, len(families), err)
		}
		for _, f := range families {
			if seen[f.GetName()] {
				t.Errorf("%s is made twice", f.GetName())
			}
			seen[f.GetName()] = true
		}
		out = append(out, families)
	}
	return out
}

// The names are as Prometheus wants them: base units, _total for counters and for nothing else, no abbreviations, help; and labels are few.
func TestMetricsAreNamedByConvention(t *testing.T) {
	allowed := map[string]bool{ // each has few values, whatever the market does
		"source": true, "stream": true, "state": true, "reason": true, "type": true, "step": true, "cause": true, "lease": true, "check": true, "kind": true, "code": true,
		"whose": true, "what": true, "interval": true, "telling": true, "result": true, "name": true, "notebook": true, "version": true, "go_version": true, "mode": true,
	}
	for _, families := range catalogue(t) {
		problems, err := promlint.NewWithMetricFamilies(families).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		for _, f := range families {
			if !strings.HasPrefix(f.GetName(), "hashpivot_") || !strings.HasSuffix(f.GetHelp(), ".") {
				t.Errorf("%s: %q: wants hashpivot_ in front and a sentence", f.GetName(), f.GetHelp())
			}
			for _, l := range f.GetMetric()[0].GetLabel() {
				if !allowed[l.GetName()] {
					t.Errorf("%s: label %s: nothing says that its values are few", f.GetName(), l.GetName())
				}
			}
		}
	}
}

// unit is what a metric's name says it counts in.
func unit(name string, typ dto.MetricType) string {
	name = strings.TrimSuffix(name, "_total")
	switch {
	case strings.HasSuffix(name, "_timestamp_seconds"):
		return "Unix time, seconds"
	case strings.HasSuffix(name, "_seconds"):
		return "seconds"
	case strings.HasSuffix(name, "_bytes"):
		return "bytes"
	case typ == dto.MetricType_GAUGE && regexp.MustCompile(`(build_info|health_[a-z]+|_connected|lease_held|audit_clean|lander_refused)$`).MatchString(name):
		return "0 or 1"
	}
	return "number"
}

const docsFile = "../../docs/metrics.md"

// docs/metrics.md lists what there is: go test ./services/hashpivot -run TestMetricsAreDocumented -update writes it.
func TestMetricsAreDocumented(t *testing.T) {
	var b bytes.Buffer
	for i, families := range catalogue(t) {
		fmt.Fprintf(&b, "## %s\n\nTold by %s.\n\n| metric | type | unit | labels | what |\n|---|---|---|---|---|\n", parts[i].name, parts[i].where)
		for _, f := range families {
			var labels []string
			for _, l := range f.GetMetric()[0].GetLabel() {
				labels = append(labels, l.GetName())
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), unit(f.GetName(), f.GetType()), strings.Join(labels, ", "), f.GetHelp())
		}
		b.WriteString("\n")
	}
	text, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	const mark = "<!-- generated from the code; see the top -->\n"
	head, was, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s has no line %q", docsFile, mark)
	}
	want := "\n" + strings.TrimRight(b.String(), "\n") + "\n"
	if was == want {
		return
	}
	if !*updateDocs {
		t.Fatalf("%s is not what the code has; go test ./services/hashpivot -run TestMetricsAreDocumented -update writes it", docsFile)
	}
	if err := os.WriteFile(docsFile, []byte(head+mark+want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A real process tells nothing that is not documented.
func documented(t testing.TB, scraped string) {
	t.Helper()
	known := map[string]bool{}
	for _, families := range catalogue(t) {
		for _, f := range families {
			known[f.GetName()] = true
		}
	}
	n := 0
	for line := range strings.Lines(scraped) {
		if name, ok := strings.CutPrefix(line, "# TYPE hashpivot_"); ok {
			n++
			if name, _, _ = strings.Cut(name, " "); !known["hashpivot_"+name] {
				t.Errorf("hashpivot_%s is told and not in docs/metrics.md: add what makes it to the parts in metrics_test.go", name)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d metrics were told", n)
	}
}

// What the alert rules and the dashboards ask for exists, and each alert has its entry in the runbook. tools/observe looks closer, with Prometheus's own parser (make observe).
func TestRulesAndDashboardsAskForWhatIsThere(t *testing.T) {
	known := map[string]bool{}
	for _, families := range catalogue(t) {
		for _, f := range families {
			known[f.GetName()] = true
			if f.GetType() == dto.MetricType_HISTOGRAM {
				for _, part := range []string{"_bucket", "_sum", "_count"} {
					known[f.GetName()+part] = true
				}
			}
		}
	}
	files, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	asked := 0
	for _, file := range append(files, "../../deploy/prometheus/alerts.yml", "../../deploy/prometheus/alerts_test.yml", "../../docs/runbook.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bhashpivot_(build|health|nats|publisher|lease|feed|signals|lander|stream|gateway|audit|nightly)_[a-z0-9_]+`).FindAllString(string(text), -1) {
			asked++
			if !known[name] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
	if asked < 200 {
		t.Errorf("only %d metrics are asked for", asked)
	}
	rules, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	book, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(string(rules), -1)
	for _, a := range alerts {
		if !strings.Contains(string(book), "\n## "+a[1]+"\n") || !strings.Contains(string(rules), "runbook: docs/runbook.md#"+strings.ToLower(a[1])+"\n") {
			t.Errorf("alert %s has no entry in docs/runbook.md, or does not name it", a[1])
		}
	}
	if len(alerts) < 25 {
		t.Errorf("only %d alerts", len(alerts))
	}
}

// The dashboards' queries of ClickHouse run on this version's schema.
func TestDashboardsQueryTheTables(t *testing.T) {
	st := storetest.Start(t)
	n := 0
	files, err := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Panels []struct {
				Title   string
				Targets []struct{ RawSQL string }
			}
		}
		if err := json.Unmarshal(data, &board); err != nil {
			t.Fatal(err)
		}
		for _, p := range board.Panels {
			for _, q := range p.Targets {
				if q.RawSQL == "" {
					continue
				}
				n++
				// What the plugin's macros become.
				text := regexp.MustCompile(`\$__timeFilter\((\w+)\)`).ReplaceAllString(q.RawSQL, "$1 >= toDateTime(1790000000) AND $1 <= toDateTime(1800000000)")
				text = strings.NewReplacer("${database}.", "", "$__fromTime", "toDateTime(1790000000)", "$__toTime", "toDateTime(1800000000)").Replace(text)
				if _, err := st.Query(t.Context(), text); err != nil {
					t.Errorf("%s, %s: %v", file, p.Title, err)
				}
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d queries", n)
	}
}
