package nightly

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
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
