package nightly

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

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
