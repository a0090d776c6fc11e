package nightly

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
)

// Figure is a key figure that a notebook told.
type Figure struct {
	Notebook string   `json:"notebook"`
	Name     string   `json:"name"`
	Value    *float64 `json:"value"` // nil: no number
	Text     string   `json:"text"`  // as the notebook wrote it; empty: NULL
	Unit     string   `json:"unit"`
	Note     string   `json:"note,omitempty"`
}

// Bounds of what a notebook may tell.
const (
	maxFigures = 10_000
	maxLine    = 64 << 10
	maxName    = 200
)

// errFigures says that what a notebook wrote into results.jsonl is not what was agreed.
var errFigures = errors.New("results.jsonl is not as agreed")

// readFigures reads results.jsonl: one object a line, each name once. A file that is absent or empty has none.
func readFigures(path, notebook string) ([]Figure, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: the notebook wrote none", errFigures)
	}
	if err != nil {
		return nil, fmt.Errorf("read figures: %w", err)
	}
	defer func() { _ = f.Close() }()
	var out []Figure
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 4096), maxLine)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		fig, err := parseFigure(line, notebook)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: line %d: %w", errFigures, n, err)
		case seen[fig.Name]:
			return nil, fmt.Errorf("%w: line %d: %.80q is there twice", errFigures, n, fig.Name)
		case len(out) == maxFigures:
			return nil, fmt.Errorf("%w: more than %d figures", errFigures, maxFigures)
		}
		seen[fig.Name] = true
		out = append(out, fig)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errFigures, err)
	}
	return out, nil
}

func parseFigure(line []byte, notebook string) (Figure, error) {
	var raw struct {
		Notebook *string `json:"notebook"`
		Name     *string `json:"name"`
		Value    any     `json:"value"`
		Unit     *string `json:"unit"`
		Note     *string `json:"note"`
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if err := dec.Decode(&raw); err != nil {
		return Figure{}, fmt.Errorf("%w (NaN and Infinity are no JSON: write null and say why in note)", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Figure{}, errors.New("there is more than one object in it")
	}
	fig := Figure{Notebook: notebook}
	switch {
	case raw.Notebook == nil || *raw.Notebook != notebook:
		return Figure{}, fmt.Errorf("it is not of notebook %s", notebook)
	case raw.Name == nil || *raw.Name == "" || len(*raw.Name) > maxName:
		return Figure{}, fmt.Errorf("name is absent or longer than %d bytes", maxName)
	}
	fig.Name = *raw.Name
	if raw.Unit != nil {
		fig.Unit = *raw.Unit
	}
	if raw.Note != nil {
		fig.Note = *raw.Note
	}
	switch v := raw.Value.(type) {
	case nil:
	case json.Number:
		x, err := v.Float64()
		if err != nil {
			return Figure{}, fmt.Errorf("value of %.80q: %w", fig.Name, err)
		}
		fig.Value, fig.Text = &x, v.String()
	case string:
		fig.Text = v
	case bool:
		fig.Text = strconv.FormatBool(v)
	default:
		return Figure{}, fmt.Errorf("value of %.80q is neither a number, a text nor null", fig.Name)
	}
	return fig, nil
}

// exact is up to where a float holds every whole number.
const exact = 1 << 53

// same reports whether two figures are the same to the bit. 1 and 1.0 are.
func same(a, b Figure) bool {
	if a.Unit != b.Unit {
		return false
	}
	if a.Text == b.Text && (a.Value == nil) == (b.Value == nil) {
		return true
	}
	return a.Value != nil && b.Value != nil && math.Float64bits(*a.Value) == math.Float64bits(*b.Value) && math.Abs(*a.Value) < exact
}

// Difference is a figure that is not what is stored for the same trade date and moment.
type Difference struct {
	Notebook string `json:"notebook"`
	Name     string `json:"name"`
	Was      string `json:"was"`
	Is       string `json:"is"`
}

func (d Difference) String() string {
	return fmt.Sprintf("%s/%s: %s, %s", d.Notebook, d.Name, d.Was, d.Is)
}

// shown writes a figure's value for people.
func (f Figure) shown() string {
	if f.Text == "" {
		return "NULL"
	}
	return strings.TrimSpace(fmt.Sprintf("%.200s %s", f.Text, f.Unit))
}

// compare says which figures differ. What one side does not have is "absent".
func compare(stored, now []Figure) []Difference {
	const absent = "absent"
	was := map[string]Figure{}
	for _, f := range stored {
		was[f.Name] = f
	}
	var out []Difference
	for _, f := range now {
		old, ok := was[f.Name]
		switch {
		case !ok:
			out = append(out, Difference{f.Notebook, f.Name, absent, f.shown()})
		case !same(old, f):
			out = append(out, Difference{f.Notebook, f.Name, old.shown(), f.shown()})
		}
		delete(was, f.Name)
	}
	for _, f := range stored { // in their order
		if _, ok := was[f.Name]; ok {
			out = append(out, Difference{f.Notebook, f.Name, f.shown(), absent})
		}
	}
	return out
}

const figureColumns = "notebook, name, value, text, unit, note"

func figuresOf(rows [][]any) []Figure {
	out := make([]Figure, 0, len(rows))
	for _, r := range rows {
		f := Figure{Notebook: fmt.Sprint(r[0]), Name: fmt.Sprint(r[1]), Text: fmt.Sprint(r[3]), Unit: fmt.Sprint(r[4]), Note: fmt.Sprint(r[5])}
		if v, ok := r[2].(float64); ok {
			f.Value = &v
		}
		out = append(out, f)
	}
	return out
}

// stored are the figures of a notebook that the first run of the trade date and moment told, if one did. mine tells that this very run's are there.
func (s *Service) stored(ctx context.Context, r *researchRun, notebook string) (figures []Figure, told, mine bool, _ error) {
	where := fmt.Sprintf("trade_date = '%s' AND as_of = %s AND notebook = %s", r.Date, moment(r.AsOf), text(notebook))
	// A notebook that told no figure leaves no rows here; then its own row in research_runs says that it ran.
	res, err := s.deps.Store.Query(ctx, fmt.Sprintf("SELECT %[1]s FROM research_results WHERE %[2]s AND run_id = "+
		"(SELECT argMin(run_id, (run_at, run_id)) FROM research_results WHERE %[2]s) ORDER BY name", figureColumns, where))
	if err != nil {
		return nil, false, false, fmt.Errorf("read stored figures of %s: %w", notebook, err)
	}
	own, err := s.deps.Store.Query(ctx, fmt.Sprintf("SELECT countIf(run_id = %s), count() FROM research_results WHERE %s", text(r.ID), where))
	if err != nil {
		return nil, false, false, fmt.Errorf("read stored figures of %s: %w", notebook, err)
	}
	n, _ := own.Rows[0][0].(uint64)
	return figuresOf(res.Rows), len(res.Rows) > 0, n > 0, nil
}

// previous are the figures of the last trade date before this one that has any, each as it was run last.
func (s *Service) previous(ctx context.Context, d session.Date) ([]Figure, time.Time, error) {
	res, err := s.deps.Store.Query(ctx, fmt.Sprintf("SELECT %[1]s, trade_date FROM research_results_now WHERE trade_date = "+
		"(SELECT max(trade_date) FROM research_results WHERE trade_date < '%[2]s') AND trade_date < '%[2]s' ORDER BY notebook, name", figureColumns, d))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the figures of the night before %s: %w", d, err)
	}
	if len(res.Rows) == 0 {
		return nil, time.Time{}, nil
	}
	day, _ := res.Rows[0][6].(time.Time)
	return figuresOf(res.Rows), day, nil
}
