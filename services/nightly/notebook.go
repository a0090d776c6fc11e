package nightly

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// States of a try of a notebook.
const (
	StateRunning = "running"
	StateOK      = "ok"
	StateFailed  = "failed"
	StateTimeout = "timeout"
	StateQuota   = "quota"
	StateRefused = "refused"
	StateStopped = "stopped"
)

// Failure is why a notebook failed, as far as it told.
type Failure struct {
	Error     string          `json:"error"`
	Cell      string          `json:"cell,omitempty"`
	Source    string          `json:"source,omitempty"`
	Traceback string          `json:"traceback,omitempty"`
	State     json.RawMessage `json:"state,omitempty"` // of the data
}

// Outcome is what became of a notebook in a run.
type Outcome struct {
	Notebook string       `json:"notebook"`
	State    string       `json:"state"`
	Attempt  int          `json:"attempt"`
	Started  time.Time    `json:"started"`
	Ended    time.Time    `json:"ended"`
	Figures  []Figure     `json:"figures"`
	Differs  []Difference `json:"differs,omitempty"`
	Failure  *Failure     `json:"failure,omitempty"`
	// Files are the names of what it left, within the run's directory. PDF says why there is none.
	Files []string `json:"files"`
	PDF   string   `json:"pdf,omitempty"`
}

// Bounds of what is kept of a failure.
const (
	maxErrorFile = 4 << 20
	maxError     = 4 << 10
	maxTraceback = 64 << 10
)

// try runs a notebook once. The outcome says how it went; an error is ours, or that ctx ended.
func (s *Service) try(ctx context.Context, r *researchRun, notebook string, attempt int) (*Outcome, error) {
	dir := filepath.Join(s.root, r.Dir)
	work := filepath.Join(dir, fmt.Sprintf(".work-%s-%d", notebook, attempt))
	if err := os.RemoveAll(work); err != nil {
		return nil, fmt.Errorf("clear %s: %w", work, err)
	}
	// A kernel is spoken to over sockets, and the path of a socket is short: not below the directory of research.
	tmp, err := os.MkdirTemp("", "hashpivot-nb-")
	if err != nil {
		return nil, fmt.Errorf("make directory for %s: %w", notebook, err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	out, cache := filepath.Join(work, "out"), filepath.Join(s.root, ".cache")
	for _, d := range []string{out, cache} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make directory for %s: %w", notebook, err)
		}
	}
	defer func() { _ = os.RemoveAll(work) }()
	o := &Outcome{Notebook: notebook, Attempt: attempt, Started: s.deps.Now().UTC()}
	logName := fmt.Sprintf("%s.%d.log", notebook, attempt)
	words, err := newCapture(filepath.Join(dir, logName), s.log.With("notebook", notebook, "run", r.ID), s.hide)
	if err != nil {
		return nil, err
	}
	ch := s.deps.ClickHouse
	err = child{
		path: s.cfg.Python,
		args: []string{
			"-m", "hashpivot.run", notebook, "--date", r.Date.String(), "--as-of", r.AsOf.Format(asOfForm), "--database", ch.Database, "--url", ch.URL, "--output", out,
		},
		env: append(childEnviron(os.Environ()), "TMPDIR="+tmp, "MPLCONFIGDIR="+cache, "JUPYTER_RUNTIME_DIR="+tmp, "IPYTHONDIR="+tmp,
			// A password on the command line would stand in the list of processes.
			"HASHPIVOT_CLICKHOUSE_USER="+ch.User, "HASHPIVOT_CLICKHOUSE_PASSWORD="+ch.Password.Reveal(), "PYTHONUNBUFFERED=1", "PYTHONHASHSEED=0"),
		dir: work, limit: s.cfg.TimeLimit, maxMemory: s.cfg.MaxMemory, quota: s.cfg.MaxOutput, watched: []string{work, tmp}, owner: work, output: words,
	}.run(ctx)
	tail := words.close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	o.Ended = s.deps.Now().UTC()
	o.State = StateOK
	switch {
	case errors.Is(err, errTimeLimit):
		o.State = StateTimeout
	case errors.Is(err, errQuota):
		o.State = StateQuota
	case err != nil:
		o.State = StateFailed
	default:
		if o.Figures, err = readFigures(filepath.Join(out, "results.jsonl"), notebook); err == nil {
			err = regular(filepath.Join(out, notebook+".html"))
		}
		if err != nil {
			o.State = StateRefused
		}
		for i := range o.Figures {
			f := &o.Figures[i]
			f.Name, f.Text, f.Unit, f.Note = s.hide(f.Name), s.hide(f.Text), s.hide(f.Unit), s.hide(f.Note)
		}
	}
	if err != nil {
		o.Failure = s.failure(out, notebook, err, tail)
		o.Figures = nil
	}
	o.Files = append(o.Files, logName)
	// Of an earlier try nothing but its log stays.
	for _, move := range []struct{ from, to string }{
		{notebook + ".html", notebook + ".html"}, {notebook + ".ipynb", notebook + ".ipynb"}, {"results.jsonl", notebook + ".results.jsonl"},
		{notebook + ".error.json", notebook + ".error.json"},
	} {
		to := filepath.Join(dir, move.to)
		if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("remove what an earlier try left: %w", err)
		}
		if o.State == StateQuota {
			continue // what filled the disk is not kept
		}
		kept, err := s.keep(filepath.Join(out, move.from), to)
		if err != nil {
			return nil, err
		}
		if kept {
			o.Files = append(o.Files, move.to)
		}
	}
	return o, nil
}

// asOfForm is ISO 8601 to the microsecond: what Python's times hold.
const asOfForm = "2006-01-02T15:04:05.000000Z"

// notebooksVariable names the directory of the notebooks, where it is not beside their package.
const notebooksVariable = "HASHPIVOT_NOTEBOOKS"

// childEnviron is what a child needs of our environment. It holds the keys of venues and of the webhook, so the rest is not handed on.
func childEnviron(ours []string) []string {
	var out []string
	for _, kv := range ours {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", notebooksVariable:
			out = append(out, kv)
		default:
			if strings.HasPrefix(name, "LC_") {
				out = append(out, kv)
			}
		}
	}
	return out
}

// regular says that a file is there and no link.
func regular(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("the notebook wrote no %s", filepath.Base(path))
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file", filepath.Base(path))
	}
	return nil
}

// keep moves a file of a notebook to where it stays, without our secrets in it.
func (s *Service) keep(from, to string) (bool, error) {
	if regular(from) != nil {
		return false, nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return false, fmt.Errorf("read what a notebook wrote: %w", err)
	}
	if clean := s.hide(string(data)); clean != string(data) {
		s.log.Warn("a notebook wrote a secret; it was masked", "file", filepath.Base(to))
		return true, writeFile(to, []byte(clean))
	}
	if err := os.Rename(from, to); err != nil {
		return false, fmt.Errorf("keep what a notebook wrote: %w", err)
	}
	return true, os.Chmod(to, 0o600)
}

// failure reads what the notebook told of its failure; where it told nothing, the end of its output stands for it.
func (s *Service) failure(out, notebook string, err error, tail string) *Failure {
	f := &Failure{Error: err.Error(), Traceback: tail}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		f.Error = "the notebook ended with " + exit.Error()
	}
	var told struct {
		Cell      any             `json:"cell"`
		Source    string          `json:"source"`
		Error     string          `json:"error"`
		Traceback any             `json:"traceback"` // a text or a list of lines
		State     json.RawMessage `json:"state"`
	}
	file := filepath.Join(out, notebook+".error.json")
	if regular(file) == nil {
		data, rerr := readBounded(file, maxErrorFile)
		if rerr == nil {
			dec := json.NewDecoder(bytes.NewReader(data))
			dec.UseNumber()
			rerr = dec.Decode(&told)
		}
		if rerr != nil {
			f.Error += fmt.Sprintf("; %s cannot be read: %s", filepath.Base(file), rerr)
		} else {
			f.Cell, f.Source, f.State = textOf(told.Cell), told.Source, told.State
			if told.Error != "" {
				f.Error = told.Error
				if !errors.As(err, new(*exec.ExitError)) {
					f.Error += " (" + err.Error() + ")"
				}
			}
			if t := textOf(told.Traceback); t != "" {
				f.Traceback = t
			}
		}
	}
	f.Error, f.Source, f.Traceback = s.bound(f.Error, maxError), s.bound(f.Source, maxTraceback), s.bound(f.Traceback, maxTraceback)
	if len(f.State) > maxTraceback || !json.Valid(f.State) {
		f.State = nil
	} else {
		f.State = json.RawMessage(s.hide(string(f.State)))
	}
	return f
}

// colours of a terminal, which tracebacks of notebooks are full of.
var colours = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

// bound masks secrets and shortens from the front: the end of a traceback says what happened.
func (s *Service) bound(text string, most int) string {
	text = s.hide(colours.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), ""))
	if len(text) > most {
		text = "..." + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return text
}

func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []any:
		lines := make([]string, len(v))
		for i, l := range v {
			lines[i] = fmt.Sprint(l)
		}
		return strings.Join(lines, "\n")
	}
	return fmt.Sprint(v)
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it is over %d bytes", most)
	}
	return data, err
}
