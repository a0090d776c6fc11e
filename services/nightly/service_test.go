package nightly

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

func date(y int, m time.Month, d int) session.Date { return session.Date{Year: y, Month: m, Day: d} }

// One engine and one server for all; each subtest has dates of its own.
func TestNightly(t *testing.T) {
	w := newWorld(t)
	for _, sub := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"complete", testComplete}, {"one fails", testOneFails}, {"bad notebooks", testBadNotebooks}, {"again", testAgain}, {"incomplete", testIncomplete},
		{"landing", testLanding}, {"facts", testFacts}, {"stopped", testStopped}, {"crash loop", testCrashLoop}, {"waits", testWaits}, {"patience", testPatience}, {"webhook", testWebhook},
		{"PDF", testPDF}, {"real", testRealNotebooks},
	} {
		t.Run(sub.name, func(t *testing.T) {
			w.t = t
			w.setNow(time.Time{})
			w.audit = complete.Audit{Clean: true}
			w.told()
			sub.test(t, w)
			if log := w.log.String(); strings.Contains(log, password) || strings.Contains(log, hookKey) {
				t.Error("a secret stands in the log")
			}
		})
	}
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func testComplete(t *testing.T, w *world) {
	d := date(2025, time.March, 3)
	s := w.service(func(c *Config) { c.Notebooks = []string{"ok", "ok_two"} })
	w.whole(s, d)
	rep, err := s.RunDate(t.Context(), Order{Date: d})
	if err != nil {
		t.Fatal(err)
	}
	if rep.State != StateOK || !rep.Complete || len(rep.Notebooks) != 2 || len(rep.Notebooks[1].Figures) != 4 || rep.AsOf.Nanosecond()%1000 != 0 {
		t.Errorf("report %+v", rep)
	}
	newest := w.query("SELECT max(stream_time) FROM (SELECT max(stream_time) AS stream_time FROM bars UNION ALL SELECT max(stream_time) FROM gpu_rates)")
	if got := w.query("SELECT count(), uniqExact(as_of), uniqExact(run_id), countIf(complete AND mark = 'sim-'), min(as_of) >= (SELECT max(stream_time) FROM bars), any(code_version) FROM research_results WHERE trade_date = '2025-03-03'"); got != "[[8 1 1 8 1 test]]" {
		t.Errorf("results %s; newest %s", got, newest)
	}
	// The moment that was handed to the notebook is the one that is stored, and its number is the one that it wrote.
	if got := w.query("SELECT text = formatDateTime(as_of, '%FT%T') || '.' || leftPad(toString(intDiv(toUnixTimestamp64Nano(as_of) % 1000000000, 1000)), 6, '0') || 'Z' FROM research_results WHERE trade_date = '2025-03-03' AND notebook = 'ok' AND name = 'as_of'"); got != "[[1]]" {
		t.Errorf("as_of as told %s", got)
	}
	if got := w.query("SELECT reinterpretAsUInt64(value) = reinterpretAsUInt64(toFloat64(text)), unit FROM research_results WHERE trade_date = '2025-03-03' AND notebook = 'ok' AND name = 'premium'"); got != "[[1 USD/MWh]]" {
		t.Errorf("premium %s", got)
	}
	if got := w.query("SELECT notebook, state, attempt, complete FROM research_runs_now WHERE trade_date = '2025-03-03' ORDER BY notebook"); got != "[[ ended 0 true] [ok ok 1 true] [ok_two ok 1 true]]" {
		t.Errorf("runs %s", got)
	}
	page := read(t, s.root, rep.Directory, "index.html")
	for _, want := range []string{"SIMULATED data", "Research of 2025-03-03", "href=\"ok.html\"", "no PDF: nightly.chromium is off", "premium", "no offers", "h100-sxm", "There is no earlier night", ">met<", "clean: published = landed &#43; dead"} {
		if !strings.Contains(page, want) {
			t.Errorf("the index does not say %q", want)
		}
	}
	if regexp.MustCompile(`(?i)<script|src=|https?://|@import|url\(`).MatchString(page) {
		t.Error("the index loads something")
	}
	for _, latest := range []string{"latest", "2025-03-03/latest"} {
		if read(t, s.root, latest, "run.json") != read(t, s.root, rep.Directory, "run.json") {
			t.Errorf("%s points elsewhere", latest)
		}
	}
	for _, f := range rep.Notebooks[0].Files {
		if read(t, s.root, rep.Directory, f) == "" && !strings.HasSuffix(f, ".log") {
			t.Errorf("file %s is empty", f)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.root, "*", "*", ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	told := w.told()
	if len(told) != 1 || told[0].Event != "run" || told[0].State != StateOK || told[0].TradeDate != "2025-03-03" || told[0].Figures != 8 || told[0].Mode != "sim" {
		t.Errorf("notices %+v", told)
	}

	// The next night is compared with this one, and an older date that is run later does not become the latest.
	next, older := d.AddDays(1), d.AddDays(-1)
	w.whole(s, next)
	w.whole(s, older)
	rep, err = s.RunDate(t.Context(), Order{Date: next})
	if err != nil {
		t.Fatal(err)
	}
	page = read(t, s.root, rep.Directory, "index.html")
	if !strings.Contains(page, "against 2025-03-03") || !strings.Contains(page, ">&#43;1<") {
		t.Errorf("the change from the night before is not told: %s", page)
	}
	if _, err = s.RunDate(t.Context(), Order{Date: older}); err != nil {
		t.Fatal(err)
	}
	if link, _ := os.Readlink(filepath.Join(s.root, "latest")); link != rep.Directory {
		t.Errorf("latest is %s", link)
	}
}

func testOneFails(t *testing.T, w *world) {
	d := date(2025, time.March, 10)
	s := w.service(func(c *Config) { c.Notebooks, c.Retries = []string{"fail", "ok", "flaky"}, 2 })
	w.whole(s, d)
	rep, err := s.RunDate(t.Context(), Order{Date: d})
	if err != nil {
		t.Fatal(err)
	}
	if rep.State != StateFailed || rep.Notebooks[1].State != StateOK || rep.Notebooks[2].State != StateOK || rep.Notebooks[2].Attempt != 2 {
		t.Errorf("report %+v", rep)
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

func testAgain(t *testing.T, w *world) {
	d := date(2025, time.April, 7)
	s := w.service(func(c *Config) { c.Notebooks = []string{"ok", "drift"} })
	w.whole(s, d)
	first, err := s.RunDate(t.Context(), Order{Date: d})
	if err != nil || first.State != StateOK {
		t.Fatalf("%+v, %v", first, err)
	}
	// Another moment is no repetition.
	w.publish(bar(d, true, 1))
	w.land()
	if rep, err := s.RunDate(t.Context(), Order{Date: d}); err != nil || rep.State != StateOK || !rep.AsOf.After(first.AsOf) {
		t.Fatalf("%+v, %v", rep, err)
	}
	same, err := s.RunDate(t.Context(), Order{Date: d, AsOf: first.AsOf, Notebooks: []string{"ok"}})
	if err != nil || same.State != StateOK || !same.AsOf.Equal(first.AsOf) || len(same.Differing()) != 0 {
		t.Errorf("%+v, %v", same, err)
	}
	rep, err := s.RunDate(t.Context(), Order{Date: d, AsOf: first.AsOf})
	if err != nil || rep.State != StateDiffers || len(rep.Differing()) != 1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if diff := rep.Differing()[0]; diff.Notebook != "drift" || diff.Name != "drift" || diff.Was == diff.Is {
		t.Errorf("difference %+v", diff)
	}
	if page := read(t, s.root, rep.Directory, "index.html"); !strings.Contains(page, "1 figures differ") {
		t.Error("the index does not say that a figure differs")
	}
	if got := w.query("SELECT length(differing), differing[1] LIKE 'drift/drift: %' FROM research_runs_now WHERE notebook = '' AND run_id = '" + rep.RunID + "'"); got != "[[1 1]]" {
		t.Errorf("row %s", got)
	}
	if link, _ := os.Readlink(filepath.Join(s.root, d.String(), "latest")); link != filepath.Base(rep.Directory) {
		t.Errorf("latest is %s", link)
	}
}

func testIncomplete(t *testing.T, w *world) {
	d := date(2025, time.May, 5)
	s := w.service(nil)
	day := s.cal.day(d)
	w.whole(s, d)
	w.publish(&market.FeedGap{Meta: meta("sim-vast", day.begin), GapID: "g", Symbol: "*", From: day.begin, Reason: "mute", State: market.GapOpen})
	w.land()
	_, err := s.RunDate(t.Context(), Order{Date: d})
	inc, ok := errors.AsType[*IncompleteError](err)
	if !ok || len(inc.Verdict.Missing()) != 1 || !strings.Contains(err.Error(), "gaps: sim-vast *") || !strings.Contains(err.Error(), "--force") {
		t.Fatalf("error %v", err)
	}
	rep, err := s.RunDate(t.Context(), Order{Date: d, Force: true})
	if err != nil || rep.Complete || rep.State != StateOK {
		t.Fatalf("%+v, %v", rep, err)
	}
	if got := w.query("SELECT countIf(NOT complete AND missing[1] LIKE 'gaps: sim-vast%'), count() FROM research_results WHERE trade_date = '2025-05-05'"); got != "[[4 4]]" {
		t.Errorf("rows %s", got)
	}
	if page := read(t, s.root, rep.Directory, "index.html"); !strings.Contains(page, "INCOMPLETE") || !strings.Contains(page, "not met") {
		t.Error("the index does not say that it is incomplete")
	}
	settled := &market.FeedGap{Meta: meta("sim-vast", day.end), GapID: "g", Symbol: "*", From: day.begin, To: day.begin.Add(time.Minute), Reason: "no history", State: market.GapGivenUp}
	settled.Rev = 1
	w.publish(settled)
	w.land()
	if rep, err = s.RunDate(t.Context(), Order{Date: d}); err != nil || !rep.Complete || !strings.Contains(strings.Join(rep.Notes, " "), "1 given up") {
		t.Errorf("%+v, %v", rep, err)
	}
	if _, err := s.RunDate(t.Context(), Order{Date: d, AsOf: time.Now().Add(time.Hour)}); err == nil || !strings.Contains(err.Error(), "not over yet") {
		t.Errorf("a moment that is to come: %v", err)
	}
	if _, err := s.RunDate(t.Context(), Order{Date: d, Notebooks: []string{"../x"}}); err == nil || !strings.Contains(err.Error(), "no name") {
		t.Errorf("a path for a notebook: %v", err)
	}
}

// A range that is written down and not inserted has not landed; one that is inserted has, though the record has not moved on.
func testLanding(t *testing.T, w *world) {
	d := date(2025, time.June, 2)
	s := w.service(nil)
	w.whole(s, d)
	w.publish(rateOf(d, "b200"))
	w.landOne(market.Rates, false)
	info, err := w.bus.Info(t.Context(), market.Rates)
	if err != nil {
		t.Fatal(err)
	}
	through := func() uint64 {
		seq, trouble, err := s.through(t.Context(), market.Rates, info)
		if err != nil || trouble != "" {
			t.Fatal(err, trouble)
		}
		return seq
	}
	if got := through(); got != info.LastSeq-1 {
		t.Errorf("landed through %d of %d", got, info.LastSeq)
	}
	s.landWithin = 300 * time.Millisecond
	if _, err := s.barrier(t.Context(), time.Time{}); !errors.Is(err, ErrNotLanded) || !strings.Contains(err.Error(), "RATES") {
		t.Errorf("error %v", err)
	}
	// The event turns out to be one that can never land: the letter stands for it.
	w.publish(&market.DeadLetter{
		Meta: meta("sim-hashpivot", time.Now().UTC()), Of: string(market.Rates), Created: info.Created.Unix(), Seq: info.LastSeq, Idx: 0, Subject: "md.v1.gpu.rate.b200.on-demand", Reason: "range",
	})
	w.landOne(market.Dead, true)
	if got := through(); got != info.LastSeq {
		t.Errorf("with the letter landed through %d of %d", got, info.LastSeq)
	}
	asOf, err := s.barrier(t.Context(), time.Time{})
	if err != nil || asOf.Before(info.LastTime) {
		t.Errorf("moment %v, %v", asOf, err)
	}
	w.landed[market.Rates] = info.LastSeq
}

// The calendar's half day, and what each table says of it.
func testFacts(t *testing.T, w *world) {
	d := date(2025, time.November, 28) // the day after Thanksgiving
	s := w.service(func(c *Config) { c.Calendar = "us" })
	day := s.cal.day(d)
	if !day.half || !day.known || !day.end.Equal(time.Date(2025, 11, 28, 22, 0, 0, 0, time.UTC)) || !day.regularClose.Equal(time.Date(2025, 11, 28, 18, 0, 0, 0, time.UTC)) {
		t.Errorf("half day %+v", day)
	}
	if x := s.cal.day(date(2025, time.November, 27)); x.is {
		t.Error("Thanksgiving is a trade date")
	}
	if x := s.cal.day(date(2025, time.November, 26)); !x.is || x.half {
		t.Errorf("the day before Thanksgiving is %+v", x)
	}
	if got := s.cal.ended(day.end.Add(-time.Second), 2); !slices.Equal(got, []session.Date{date(2025, time.November, 25), date(2025, time.November, 26)}) {
		t.Errorf("ended before the end: %v", got)
	}
	if got := s.cal.ended(day.end, 1); !slices.Equal(got, []session.Date{d}) {
		t.Errorf("ended at the end: %v", got)
	}
	judge := func(audit bool) (complete.Facts, complete.Verdict) {
		t.Helper()
		f, err := s.Observe(t.Context(), d, audit)
		if err != nil {
			t.Fatal(err)
		}
		return f, s.Judge(f)
	}
	w.setNow(day.end.Add(6 * time.Hour))
	w.publish(
		state("sim-half", market.FeedConnected, day.begin.Add(time.Hour)), state("sim-half", market.FeedLost, day.end.Add(-time.Minute)),
		bar(d, false, 0), &market.Bar{Meta: meta("sim-alpaca", time.Date(2025, 11, 28, 5, 0, 0, 0, time.UTC)), Symbol: "IREN", Interval: market.Interval1d, OpenUSD: one("50"), HighUSD: one("51"),
			LowUSD: one("49"), CloseUSD: one("50"), Volume: one("100")},
	)
	w.land()
	f, v := judge(true)
	if !f.HalfDay || !strings.Contains(v.Items[0].Why, "half day: the regular session closes at 2025-11-28 13:00 EST, the last session ended at 2025-11-28 17:00 EST") {
		t.Errorf("calendar %+v", v.Items[0])
	}
	missing := strings.Join(v.Missing(), "\n")
	for _, want := range []string{"feeds: sim-half is lost since", "bars: 1 of 1 bars of sim-alpaca-prints, 1d, are not final (IREN)"} {
		if !strings.Contains(missing, want) {
			t.Errorf("missing %q does not say %q", missing, want)
		}
	}
	for _, want := range []string{"never said to be: sim-alpaca 1d", "hashprice: there is no daily hashprice of 2025-11-28, and is not waited for any more"} {
		// Bars are unmet, so only what is met can be noted.
		if strings.HasPrefix(want, "hashprice") && !strings.Contains(strings.Join(v.Notes(), "\n"), want) {
			t.Errorf("notes %q do not say %q", v.Notes(), want)
		}
	}
	final := bar(d, true, 1)
	w.publish(final, state("sim-half", market.FeedConnected, day.end.Add(time.Minute)), hashpriceOf(d), rateOf(d, "h100-sxm"))
	w.land()
	if f, v = judge(false); !v.OnlyAudit(f) {
		t.Errorf("missing %q", v.Missing())
	}
	if notes := strings.Join(v.Notes(), "\n"); !strings.Contains(notes, "never said to be: sim-alpaca 1d") {
		t.Errorf("notes %q", notes)
	}
	// A service that was killed and is followed by nobody.
	lease := w.bus.Lease("equities", "test", 500*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	held, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- lease.Hold(ctx, func(ctx context.Context) error { close(held); <-ctx.Done(); return nil })
	}()
	<-held
	if _, v = judge(true); !v.Complete() {
		t.Errorf("missing while the lease is held: %q", v.Missing())
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

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

func testWaits(t *testing.T, w *world) {
	s := w.service(func(c *Config) { c.CatchUp, c.Settle, c.InputsWithin, c.Patience = 1, 0, 0, 20*24*time.Hour })
	d := s.cal.DateOf(time.Now()).AddDays(10)
	day := s.cal.day(d)
	w.setNow(day.end.Add(time.Hour))
	w.whole(s, d)
	lost := state("sim-alpaca", market.FeedLost, day.end.Add(-time.Hour))
	w.publish(lost)
	w.land()
	audits := w.audits
	where := " WHERE trade_date = '" + d.String() + "'"
	if err := s.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.query("SELECT count() FROM research_runs" + where); got != "[[0]]" {
		t.Errorf("it ran: %s", got)
	}
	if !strings.Contains(w.log.String(), "sim-alpaca is lost since") {
		t.Error("the log does not say why it waits")
	}
	if w.audits != audits {
		t.Error("an audit was made though other things are missing")
	}
	w.publish(state("sim-alpaca", market.FeedConnected, day.end.Add(time.Minute)))
	w.land()
	w.audit = complete.Audit{Lost: 1, Streams: []string{"BARS"}}
	for range 2 { // one that is not clean stands for a while
		if err := s.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.query("SELECT count() FROM research_runs" + where); got != "[[0]]" || w.audits != audits+1 {
		t.Errorf("rows %s, %d audits", got, w.audits-audits)
	}
	w.audit = complete.Audit{Clean: true}
	w.setNow(day.end.Add(2 * time.Hour))
	for range 2 { // and once it was run, that is that
		if err := s.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.query("SELECT count(), countIf(complete), any(by) FROM research_runs" + where + " AND notebook = ''"); got != "[[2 2 service]]" {
		t.Errorf("rows %s", got)
	}
	if err := s.Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func testPatience(t *testing.T, w *world) {
	s := w.service(func(c *Config) {
		c.CatchUp, c.Settle, c.InputsWithin, c.Patience, c.Incomplete = 1, 0, 0, 4*time.Hour, IncompleteNever
	})
	d := s.cal.DateOf(time.Now()).AddDays(20)
	day := s.cal.day(d)
	where := " WHERE trade_date = '" + d.String() + "'"
	w.setNow(day.end.Add(5 * time.Hour))
	w.whole(s, d)
	w.publish(&market.FeedGap{Meta: meta("sim-vast", day.begin), GapID: "p", Symbol: "*", From: day.begin, Reason: "mute", State: market.GapOpen})
	w.land()
	if err := s.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.query("SELECT count() FROM research_runs" + where); got != "[[0]]" {
		t.Errorf("it ran, though never is configured: %s", got)
	}
	s.cfg.Incomplete = IncompleteRun
	s.since = day.end.Add(2 * time.Hour) // patience counts from the service's start
	if err := s.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.since = time.Time{}
	w.setNow(day.end.Add(3 * time.Hour))
	if err := s.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.query("SELECT count() FROM research_runs" + where); got != "[[0]]" {
		t.Errorf("it ran before patience ended: %s", got)
	}
	w.setNow(day.end.Add(5 * time.Hour))
	for range 2 {
		if err := s.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.query("SELECT count(), countIf(complete), any(missing[1]) LIKE 'gaps: sim-vast%' FROM research_runs" + where + " AND state = 'ended'"); got != "[[1 0 1]]" {
		t.Errorf("rows %s", got)
	}
	// The gap is filled after all: the date is run again, complete.
	filled := &market.FeedGap{Meta: meta("sim-vast", day.end), GapID: "p", Symbol: "*", From: day.begin, To: day.end, Reason: "mute", State: market.GapFilled}
	filled.Rev = 1
	w.publish(filled)
	w.land()
	for range 2 {
		if err := s.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.query("SELECT count(), countIf(complete) FROM research_runs" + where + " AND state = 'ended'"); got != "[[2 1]]" {
		t.Errorf("rows %s", got)
	}
}

func testWebhook(t *testing.T, w *world) {
	s := w.service(func(c *Config) { c.Webhook.Retries = 2 })
	w.refuse = 2
	s.tell(t.Context(), Notice{Event: "run", State: "ok"})
	if told := w.told(); len(told) != 1 {
		t.Errorf("told %d times", len(told))
	}
	w.refuse = 3
	s.tell(t.Context(), Notice{Event: "run", State: "ok"})
	if told := w.told(); len(told) != 0 || w.refuse != 0 {
		t.Errorf("told %d times, %d refusals left", len(told), w.refuse)
	}
	s.cfg.Webhook.URL = "http://127.0.0.1:1/" + hookKey
	s.tell(t.Context(), Notice{Event: "run", State: "ok"})
	if !strings.Contains(w.log.String(), "the webhook was not told") {
		t.Error("the failure is not logged")
	}
}

func testPDF(t *testing.T, w *world) {
	s := w.service(func(c *Config) { c.Chromium = "" })
	d := date(2025, time.August, 4)
	w.whole(s, d)
	browser, why := s.cfg.browser()
	rep, err := s.RunDate(t.Context(), Order{Date: d})
	if err != nil {
		t.Fatal(err)
	}
	o := rep.Notebooks[0]
	if browser == "" {
		if !strings.Contains(o.PDF, why) || !strings.Contains(read(t, s.root, rep.Directory, "index.html"), "no PDF: ") {
			t.Errorf("without a browser %+v", o)
		}
		return
	}
	if !slices.Contains(o.Files, "ok.pdf") || !strings.HasPrefix(read(t, s.root, rep.Directory, "ok.pdf"), "%PDF-") {
		i := strings.Index(w.log.String(), "no PDF could be made")
		t.Errorf("%s made no PDF: %+v; %.3000s", browser, o, w.log.String()[max(i, 0):])
	}
	s.cfg.Chromium = "/nonexistent/browser"
	if rep, err = s.RunDate(t.Context(), Order{Date: d}); err != nil || rep.State != StateOK || !strings.Contains(rep.Notebooks[0].PDF, "there is no /nonexistent/browser") {
		t.Errorf("%+v, %v", rep, err)
	}
	// One that hangs is ended, and the run goes on.
	script := filepath.Join(t.TempDir(), "browser")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nsleep 600\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.cfg.Chromium, s.cfg.PDFWithin = script, time.Second
	if rep, err = s.RunDate(t.Context(), Order{Date: d}); err != nil || rep.State != StateOK || !strings.Contains(rep.Notebooks[0].PDF, "longer than its time limit") {
		t.Errorf("%+v, %v", rep, err)
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

func TestFigures(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "results.jsonl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		figs, err := readFigures(path, "n")
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			for _, x := range figs {
				got += fmt.Sprintf("%s=%s;", x.Name, x.shown())
			}
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%.80q: %.300s, want %s", text, got, want)
		}
		if err != nil && !errors.Is(err, errFigures) {
			t.Errorf("error %v", err)
		}
	}
	f("", "")
	f("\n{\"notebook\":\"n\",\"name\":\"a\",\"value\":1.25,\"unit\":\"USD\",\"note\":\"x\"}\n\n", "a=1.25 USD;")
	f(`{"notebook":"n","name":"a","value":null,"unit":"USD"}`, "a=NULL;")
	f(`{"notebook":"n","name":"a","value":"text"}`, "a=text;")
	f(`{"notebook":"n","name":"a","value":true}`, "a=true;")
	f(`{"notebook":"n","name":"a","value":1e999}`, "line 1")
	f(`{"notebook":"n","name":"a","value":NaN}`, "no JSON")
	f(`{"notebook":"n","name":"a","value":[1]}`, "neither a number")
	f(`{"notebook":"m","name":"a","value":1}`, "not of notebook n")
	f(`{"name":"a","value":1}`, "not of notebook n")
	f(`{"notebook":"n","value":1}`, "name is absent")
	f(`{"notebook":"n","name":"a","value":1}{"notebook":"n","name":"b","value":1}`, "more than one object")
	f("{\"notebook\":\"n\",\"name\":\"a\",\"value\":1}\n{\"notebook\":\"n\",\"name\":\"a\",\"value\":2}", "there twice")
	f("{\"notebook\":\"n\",\"name\":\"a\",\"value\":1}\n{\"notebook\":", "line 2")
	f(`{"notebook":"n","name":"`+strings.Repeat("a", maxLine)+`","value":1}`, "token too long")
	var many strings.Builder
	for i := range maxFigures + 1 {
		_, _ = fmt.Fprintf(&many, "{\"notebook\":\"n\",\"name\":\"%d\",\"value\":1}\n", i)
	}
	f(many.String(), "more than 10000")
}

func TestCompare(t *testing.T) {
	num := func(name, text, unit string) Figure {
		fig, err := parseFigure([]byte(`{"notebook":"n","name":"`+name+`","value":`+text+`,"unit":"`+unit+`"}`), "n")
		if err != nil {
			t.Fatal(err)
		}
		return fig
	}
	stored := []Figure{num("a", "1.0", "x"), num("b", "0.1", "x"), num("c", "null", "x"), num("d", `"t"`, ""), num("e", "9007199254740993", ""), num("gone", "1", "x"), num("u", "1", "x")}
	now := []Figure{num("a", "1", "x"), num("b", "0.10000000000000002", "x"), num("c", "0", "x"), num("d", `"t"`, ""), num("e", "9007199254740992", ""), num("new", "1", "x"), num("u", "1", "y")}
	var got []string
	for _, d := range compare(stored, now) {
		got = append(got, d.String())
	}
	want := []string{
		"n/b: 0.1 x, 0.10000000000000002 x", "n/c: NULL, 0 x", "n/e: 9007199254740993, 9007199254740992", "n/new: absent, 1 x", "n/u: 1 x, 1 y", "n/gone: 1 x, absent",
	}
	if !slices.Equal(got, want) {
		t.Errorf("differences\n%q\nwant\n%q", got, want)
	}
	if d := compare(stored, stored); len(d) != 0 {
		t.Errorf("of itself %v", d)
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for key, change := range map[string]func(*Config){
		"nightly.enabled":        func(c *Config) { c.Enabled = "maybe" },
		"nightly.notebooks":      func(c *Config) { c.Notebooks = []string{"../../etc"} },
		"nightly.calendar":       func(c *Config) { c.Calendar = "moon" },
		"nightly.clickhouse_url": func(c *Config) { c.ClickHouseURL = "http://u:p@h:1" },
		"nightly.incomplete":     func(c *Config) { c.Incomplete = "maybe" },
		"nightly.parallel":       func(c *Config) { c.Parallel = 0 },
		"nightly.time_limit":     func(c *Config) { c.TimeLimit = 0 },
		"nightly.max_memory":     func(c *Config) { c.MaxMemory = 1 },
		"nightly.max_output":     func(c *Config) { c.MaxOutput = 1 },
		"nightly.webhook.url":    func(c *Config) { c.Webhook.URL = "ftp://secret-key" },
	} {
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), key) || strings.Contains(err.Error(), "secret-key") {
			t.Errorf("%s: %v", key, err)
		}
	}
	// YAML's and the environment's words for it.
	for text, want := range map[string]bool{"true": true, "1": true, "false": false, "0": false} {
		if on, auto, err := (Config{Enabled: text}).Switch(); err != nil || auto || on != want {
			t.Errorf("%s: %v %v %v", text, on, auto, err)
		}
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
