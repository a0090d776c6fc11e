package nightly

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/run"
)

func testOneFails(t *testing.T, w *world) {
	d := date(2025, time.March, 10)
	spans := tracetest.NewInMemoryExporter()
	tracing := run.NewTracing(spans, 1, "test", "v1")
	w.tracer = tracing.Tracer()
	defer func() {
		tracing.Close()
		w.tracer = nil
	}()
	s := w.service(func(c *Config) { c.Notebooks, c.Retries = []string{"fail", "ok", "flaky"}, 2 })
	w.whole(s, d)
	rep, err := s.RunDate(t.Context(), Order{Date: d})
	if err != nil {
		t.Fatal(err)
	}
	if rep.State != StateFailed || rep.Notebooks[1].State != StateOK || rep.Notebooks[2].State != StateOK || rep.Notebooks[2].Attempt != 2 {
		t.Errorf("report %+v", rep)
	}
	if err := tracing.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A span a try, below that of the run: three failed, one passed, of flaky one each.
	whole, below, failed := trace.SpanID{}, 0, 0
	for _, sp := range spans.GetSpans() {
		if sp.Name == "run notebooks" {
			whole = sp.SpanContext.SpanID()
		}
	}
	for _, sp := range spans.GetSpans() {
		if sp.Name == "run notebook" && sp.Parent.SpanID() == whole {
			below++
			if sp.Status.Code == codes.Error {
				failed++
			}
		}
	}
	if !whole.IsValid() || below != 6 || failed != 4 {
		t.Errorf("%d spans of tries, %d failed, below %s", below, failed, whole)
	}
	f := rep.Notebooks[0]
	if f.State != StateFailed || f.Attempt != 3 || f.Failure == nil || f.Failure.Cell != "3" || f.Failure.Error != "ZeroDivisionError: division by zero" || f.Failure.Source != "1 / rate" ||
		!strings.Contains(f.Failure.Traceback, "ZeroDivisionError\ndivision by zero") {
		t.Errorf("failure %+v %+v", f, f.Failure)
	}
	got := w.query("SELECT attempt, state, error, error_cell, error_source, traceback, data_state FROM research_runs WHERE trade_date = '2025-03-10' AND notebook = 'fail' AND state != 'running' ORDER BY attempt")
	if strings.Count(got, "ZeroDivisionError: division by zero 3 1 / rate ZeroDivisionError\ndivision by zero") != 3 || !strings.Contains(got, `{"rows": {"trades": 0}`) || strings.Contains(got, password) {
		t.Errorf("rows %s", got)
	}
	page := read(t, s.root, rep.Directory, "index.html")
	for _, want := range []string{"fail: failed, cell 3", "1 / rate", "ZeroDivisionError", "&#34;trades&#34;: 0", `href="#failed-fail"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the index does not say %q", want)
		}
	}
	for _, name := range []string{"index.html", "run.json", "fail.error.json"} {
		if strings.Contains(read(t, s.root, rep.Directory, name), password) {
			t.Errorf("the password stands in %s", name)
		}
	}
	told := w.told()
	if len(told) != 2 || told[0].Event != "notebook" || told[0].Notebook != "fail" || told[0].Cell != "3" || told[1].Event != "run" || told[1].State != StateFailed || !slices.Equal(told[1].Failed, []string{"fail"}) {
		t.Errorf("notices %+v", told)
	}
}

func testBadNotebooks(t *testing.T, w *world) {
	d := date(2025, time.March, 17)
	t.Setenv("HASHPIVOT_NIGHTLY__WEBHOOK__URL", "http://x/"+hookKey)
	t.Setenv("APCA_API_SECRET_KEY", "venue-secret")
	want := map[string]struct{ state, says string }{
		"hang": {StateTimeout, "ran longer than its time limit of 3s"}, "children": {StateOK, ""}, "died": {StateFailed, "killed"}, "garbage": {StateOK, ""},
		"broken": {StateRefused, "line 2"}, "nothing": {StateRefused, "wrote none"}, "quota": {StateFailed, ""}, "quotas": {StateQuota, "more than its output may hold"},
		"memory": {StateFailed, "exit status 1"}, "secret": {StateOK, ""}, "link": {StateRefused, "is no file"}, "environment": {StateOK, ""}, "ok": {StateOK, ""},
	}
	if runtime.GOOS != "linux" {
		delete(want, "quota")
		delete(want, "memory")
	}
	s := w.service(func(c *Config) {
		c.Notebooks, c.MaxOutput, c.Parallel, c.TimeLimit = nil, 4<<20, 2, 2*time.Minute
		for n := range want {
			if n != "hang" {
				c.Notebooks = append(c.Notebooks, n)
			}
		}
		slices.Sort(c.Notebooks)
	})
	// What does not hang may take its time on a busy machine.
	hanging := w.service(func(c *Config) { c.Notebooks, c.TimeLimit, c.Directory = []string{"hang"}, 3*time.Second, s.root })
	w.whole(s, d)
	done := make(chan *Report, 1)
	go func() {
		rep, err := hanging.RunDate(t.Context(), Order{Date: d})
		if err != nil {
			t.Error(err)
		}
		done <- rep
	}()
	list := pids(t, s.root)
	hung := <-done
	gone(t, list)
	rep, err := s.RunDate(t.Context(), Order{Date: d})
	if err != nil || hung == nil {
		t.Fatal(err)
	}
	for _, o := range append(rep.Notebooks, hung.Notebooks...) {
		x := want[o.Notebook]
		says := ""
		if o.Failure != nil {
			says = o.Failure.Error
		}
		if o.State != x.state || !strings.Contains(says, x.says) {
			t.Errorf("%s: %s, %q; want %s, %q", o.Notebook, o.State, says, x.state, x.says)
		}
		if o.State != StateOK && len(o.Figures) > 0 {
			t.Errorf("%s has figures", o.Notebook)
		}
	}
	if left := marked(func(env string) bool { return strings.Contains(env, s.root) }); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	dir := filepath.Join(s.root, rep.Directory)
	for _, name := range []string{"secret.html", "secret.results.jsonl", "secret.1.log", "run.json", "index.html"} {
		if strings.Contains(read(t, dir, name), password) {
			t.Errorf("the password stands in %s", name)
		}
	}
	if got := w.query("SELECT count() FROM research_results WHERE position(text, '" + password + "') > 0 OR position(text, '" + hookKey + "') > 0"); got != "[[0]]" {
		t.Errorf("a secret stands in the table: %s", got)
	}
	if got := w.query("SELECT arraySort(groupArray(name)) FROM research_results WHERE trade_date = '2025-03-17' AND notebook = 'environment'"); strings.Contains(got, "HASHPIVOT_NIGHTLY__") || strings.Contains(got, "APCA") || !strings.Contains(got, "HASHPIVOT_CLICKHOUSE_PASSWORD") {
		t.Errorf("the notebook was given %s", got)
	}
	log := read(t, dir, "garbage.1.log")
	if len(log) > maxLogBytes || !strings.Contains(log, "line 99999") || !strings.Contains(log, "at the end") {
		t.Errorf("%d bytes of output are kept", len(log))
	}
	if n := strings.Count(w.log.String(), "notebook=garbage run="+rep.RunID+" line="); n > maxLogLines || n < maxLogLines/2 {
		t.Errorf("%d lines in our log", n)
	}
}

// The real package, where its environment is: a notebook runs to its end.
func testRealNotebooks(t *testing.T, w *world) {
	cfg := DefaultConfig()
	cfg.Python = filepath.Join("../..", environment, "bin", "python")
	if _, err := os.Stat(cfg.Python); err != nil {
		t.Skip("the notebooks' environment is not built: make research-python")
	}
	python, err := Python(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := w.service(func(c *Config) { c.Notebooks, c.TimeLimit, c.Retries = []string{"06_data_quality"}, 4*time.Minute, 0 })
	s.cfg.Python = python
	s.deps.ClickHouse.Password = ""
	d := date(2025, time.September, 8)
	w.whole(s, d)
	rep, err := s.RunDate(t.Context(), Order{Date: d, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	o := rep.Notebooks[0]
	if o.State != StateOK || len(o.Figures) == 0 || !slices.Contains(o.Files, "06_data_quality.html") {
		t.Errorf("%+v", o)
	}
}
