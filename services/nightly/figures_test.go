package nightly

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

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
