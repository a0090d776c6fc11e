package nightly

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
)

//go:embed index.html.tmpl
var indexText string

var indexTemplate = template.Must(template.New("index").Funcs(template.FuncMap{
	"utc":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"took": func(o *Outcome) string { return o.Ended.Sub(o.Started).Round(100 * time.Millisecond).String() },
	"file": func(o *Outcome, ext string) string {
		for _, f := range o.Files {
			if f == o.Notebook+ext {
				return f
			}
		}
		return ""
	},
	"logs": func(o *Outcome) []string {
		var out []string
		for _, f := range o.Files {
			if strings.HasSuffix(f, ".log") {
				out = append(out, f)
			}
		}
		return out
	},
}).Parse(indexText))

// line is a figure beside the one of the night before.
type line struct {
	Figure
	Shown, Was, Change, Percent string
}

// pageData is what the template shows.
type pageData struct {
	*Report
	Banner  string // of data that is not live
	Night   string // trade date of the figures that are compared with; empty: none
	Groups  []group
	Gone    []line
	Differ  []Difference
	AsOfET  string
	Failing []*Outcome
}

type group struct {
	*Outcome
	Lines []line
}

// indexPage is the page of a run: one file, nothing to be loaded, no script.
func indexPage(rep *Report, prev []Figure, night time.Time, zone *time.Location) ([]byte, error) {
	d := pageData{Report: rep, Differ: rep.Differing(), AsOfET: rep.AsOf.In(zone).Format("2006-01-02 15:04 MST")}
	switch rep.Mode {
	case "sim":
		d.Banner = "SIMULATED data: generated, not a market"
	case "recorded":
		d.Banner = "RECORDED data: replayed, not live"
	}
	if !night.IsZero() {
		d.Night = night.Format(time.DateOnly)
	}
	was := map[[2]string]Figure{}
	ran := map[string]bool{}
	for _, f := range prev {
		was[[2]string{f.Notebook, f.Name}] = f
	}
	for _, o := range rep.Notebooks {
		if o.State != StateOK {
			d.Failing = append(d.Failing, o)
		} else {
			ran[o.Notebook] = true
		}
		g := group{Outcome: o}
		for _, f := range o.Figures {
			key := [2]string{f.Notebook, f.Name}
			old, ok := was[key]
			delete(was, key)
			g.Lines = append(g.Lines, change(f, old, ok))
		}
		d.Groups = append(d.Groups, g)
	}
	for _, f := range prev {
		if _, left := was[[2]string{f.Notebook, f.Name}]; left && ran[f.Notebook] {
			d.Gone = append(d.Gone, line{Figure: f, Shown: shownValue(f)})
		}
	}
	var out bytes.Buffer
	if err := indexTemplate.Execute(&out, d); err != nil {
		return nil, fmt.Errorf("write the index: %w", err)
	}
	return out.Bytes(), nil
}

// change compares a figure with the night before's. Of other units, of texts and of what one side does not have there is no difference.
func change(f, old Figure, ok bool) line {
	l := line{Figure: f, Shown: shownValue(f)}
	if !ok {
		l.Was = "new"
		return l
	}
	l.Was = shownValue(old)
	if f.Unit != old.Unit {
		l.Change = "unit was " + old.Unit
		return l
	}
	if f.Value == nil || old.Value == nil {
		if f.Text != old.Text {
			l.Change = "changed"
		}
		return l
	}
	diff := *f.Value - *old.Value
	l.Change = fmt.Sprintf("%+.6g", diff)
	if diff == 0 {
		l.Change = "0"
	}
	if *old.Value != 0 && !math.IsInf(diff, 0) {
		l.Percent = fmt.Sprintf("%+.2f %%", 100*diff/math.Abs(*old.Value))
	}
	return l
}

// shownValue writes a value for people; the title of its cell has it in full.
func shownValue(f Figure) string {
	if f.Value == nil {
		if f.Text == "" {
			return "none"
		}
		return f.Text
	}
	if v := *f.Value; v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(*f.Value, 'g', 8, 64)
}
