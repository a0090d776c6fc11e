package nightly

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

// The service is stopped while a notebook runs: no process is left, and the next one takes the run up where it was.
func testStopped(t *testing.T, w *world) {
	s := w.service(func(c *Config) {
		c.Notebooks, c.CatchUp, c.Settle, c.InputsWithin = []string{"ok", "hang", "ok_three"}, 1, 0, 0
	})
	// Today is a date whose end is to come; the service is told that it is over.
	d := s.cal.DateOf(time.Now())
	w.setNow(s.cal.TradeDateEnd(d).Add(time.Hour))
	w.whole(s, d)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	list := pids(t, s.root)
	began := time.Now()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("stopped within %s", took)
	if took > 10*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	gone(t, list)
	where := " WHERE trade_date = '" + d.String() + "'"
	if got := w.query("SELECT notebook, state FROM research_runs_now" + where + " ORDER BY notebook"); got != "[[ started] [hang stopped] [ok ok]]" {
		t.Fatalf("rows %s", got)
	}
	id := w.query("SELECT DISTINCT run_id, as_of FROM research_runs" + where)

	// The next instance finds it. What hung is another notebook now; the tables go on meanwhile, and the run does not see that.
	w.publish(bar(d, true, 1))
	w.land()
	next := w.service(func(c *Config) {
		c.Notebooks, c.CatchUp, c.Directory = []string{"ok", "flaky", "ok_three"}, 1, s.root
		c.Retries = 1
	})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	go func() { done <- next.Run(ctx) }()
	eventually(t, "the run has ended", func() bool {
		return w.query("SELECT state FROM research_runs_now"+where+" AND notebook = ''") == "[[ended]]"
	})
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := w.query("SELECT DISTINCT run_id, as_of FROM research_runs" + where); got != id {
		t.Errorf("runs %s, began as %s", got, id)
	}
	if got := w.query("SELECT notebook, count(), uniqExact(name) FROM research_results" + where + " GROUP BY notebook ORDER BY notebook"); got != "[[flaky 4 4] [ok 4 4] [ok_three 4 4]]" {
		t.Errorf("results %s", got)
	}
	if got := w.query("SELECT notebook, attempt, state FROM research_runs" + where + " AND notebook IN ('ok', 'flaky') AND state != 'running' ORDER BY notebook, attempt"); got != "[[flaky 1 failed] [flaky 2 ok] [ok 1 ok]]" {
		t.Errorf("tries %s", got)
	}
	dirs, _ := filepath.Glob(filepath.Join(s.root, d.String(), "*-*"))
	if len(dirs) != 1 {
		t.Fatalf("directories %v", dirs)
	}
	if page := read(t, dirs[0], "index.html"); !strings.Contains(page, `href="ok.html"`) || !strings.Contains(page, "taken up again") {
		t.Error("the index lacks what was run before the stop")
	}
	// Once is enough.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	if err := next.look(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.query("SELECT uniqExact(run_id) FROM research_runs" + where); got != "[[1]]" {
		t.Errorf("runs %s", got)
	}
}

// A notebook that takes the service down with it is not tried for ever, and figures that were stored before the end are not stored twice.
func testCrashLoop(t *testing.T, w *world) {
	d := date(2025, time.July, 7)
	s := w.service(func(c *Config) { c.Notebooks, c.Retries = []string{"ok", "ok_two"}, 1 })
	w.whole(s, d)
	v := complete.Verdict{Date: d, Items: []complete.Item{{Check: "calendar", Met: true}}}
	r, err := s.begin(t.Context(), Order{Date: d, by: byService}, v)
	if err != nil {
		t.Fatal(err)
	}
	// Killed twice while ok ran; and once after the figures of ok_two were stored, before it was said that it is done.
	for n := 1; n <= 2; n++ {
		if err := w.store.AddResearchRun(t.Context(), s.row(r, "ok", n, StateRunning, r.Started)); err != nil {
			t.Fatal(err)
		}
	}
	o := &Outcome{Notebook: "ok_two", Figures: []Figure{{Notebook: "ok_two", Name: "premium", Text: "1", Unit: "USD/MWh"}}}
	x := 1.0
	o.Figures[0].Value = &x
	if err := s.store(t.Context(), r, o); err != nil {
		t.Fatal(err)
	}
	rep, err := s.perform(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if f := rep.Notebooks[0]; f.State != StateFailed || f.Failure.Error != "the service ended while it ran" {
		t.Errorf("%+v", f)
	}
	// It told other figures than were stored: they are named, and not added.
	if two := rep.Notebooks[1]; two.State != StateOK || len(two.Differs) != 4 {
		t.Errorf("%+v", two)
	}
	if got := w.query("SELECT count() FROM research_results WHERE trade_date = '2025-07-07'"); got != "[[1]]" {
		t.Errorf("results %s", got)
	}
}

// What an owner left behind that was killed is ended by the next; what belongs to somebody who lives is not touched.
func TestSweep(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are told apart by /proc")
	}
	root := t.TempDir()
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	start := func(mark string) *exec.Cmd {
		cmd := exec.Command("sleep", "600")
		cmd.Env = []string{markVariable + "=" + mark}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		return cmd
	}
	left := start(fmt.Sprintf("%d:%s/2025-03-03/x/.work-ok-1", dead.Process.Pid, root))
	start(fmt.Sprintf("%d:%s/2025-03-03/x/.work-ok-1", os.Getppid(), root))
	start(fmt.Sprintf("%d:%s-other/x", dead.Process.Pid, root))
	eventually(t, "all three run", func() bool { return len(marked(func(env string) bool { return strings.Contains(env, root) })) == 3 })
	if n := sweep(root); n != 1 {
		t.Errorf("%d were ended", n)
	}
	if err := left.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("what was left behind ended with %v", err)
	}
}
