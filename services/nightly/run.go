package nightly

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

// States of a run, and who asked for it.
const (
	runStarted = "started"
	runEnded   = "ended"

	byService = "service"
	byCommand = "command"
)

// Order is what is to be run.
type Order struct {
	Date session.Date
	// AsOf is the moment that the notebooks see; zero: the newest that has landed.
	AsOf time.Time
	// Notebooks; empty: all that are configured.
	Notebooks []string
	// Force runs a date that is not complete, and marks the run.
	Force bool

	by string
}

// researchRun is one run.
type researchRun struct {
	Date      session.Date
	AsOf      time.Time
	ID        string
	Started   time.Time
	By        string
	Notebooks []string
	Whole     bool // all that are configured
	Complete  bool
	Missing   []string
	Notes     []string
	Items     []complete.Item // none of a run that was taken up again
	Dir       string          // within the directory of research
}

// Report is what came of a run; it lies in its directory as run.json.
type Report struct {
	TradeDate string    `json:"trade_date"`
	AsOf      time.Time `json:"as_of"`
	RunID     string    `json:"run_id"`
	By        string    `json:"by"`
	Mode      string    `json:"mode"`
	Version   string    `json:"version"`
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended"`
	// State: ok, failed (a notebook did) or differs (a figure is not what is stored for the same date and moment).
	State     string          `json:"state"`
	Complete  bool            `json:"complete"`
	Missing   []string        `json:"missing"`
	Notes     []string        `json:"notes"`
	Checks    []complete.Item `json:"checks,omitempty"`
	Notebooks []*Outcome      `json:"notebooks"`
	Directory string          `json:"directory"`
}

// StateDiffers of a report: every notebook ran, and some figure is not what is stored for the same date and moment.
const StateDiffers = "differs"

// Differing lists all figures that differ.
func (r *Report) Differing() []Difference {
	var out []Difference
	for _, o := range r.Notebooks {
		out = append(out, o.Differs...)
	}
	return out
}

// Directory is where the output of a run lies.
func (s *Service) Directory(r *Report) string { return filepath.Join(s.root, r.Directory) }

// IncompleteError says why a trade date is not run.
type IncompleteError struct{ Verdict complete.Verdict }

func (e *IncompleteError) Error() string {
	return fmt.Sprintf("%s is not complete: %s; --force runs it all the same, marked", e.Verdict.Date, strings.Join(e.Verdict.Missing(), "; "))
}

// RunDate runs a trade date now, for somebody who asks.
func (s *Service) RunDate(ctx context.Context, o Order) (*Report, error) {
	for i, n := range o.Notebooks {
		if !notebookName.MatchString(n) || slices.Contains(o.Notebooks[:i], n) {
			return nil, run.Usage(fmt.Errorf("notebook %.80q is no name of letters, digits, - and _, or is named twice", n))
		}
	}
	f, err := s.Observe(ctx, o.Date, true)
	if err != nil {
		return nil, err
	}
	v := s.Judge(f)
	if !v.Complete() && !o.Force {
		return nil, &IncompleteError{v}
	}
	o.by = byCommand
	r, err := s.begin(ctx, o, v)
	if err != nil {
		return nil, err
	}
	return s.perform(ctx, r)
}

// dirForm writes a moment as a part of a path.
const dirForm = "20060102T150405.000000Z"

// begin fixes the moment of a run and writes its beginning down.
func (s *Service) begin(ctx context.Context, o Order, v complete.Verdict) (*researchRun, error) {
	asOf, err := s.barrier(ctx, o.AsOf)
	if err != nil {
		return nil, err
	}
	// Up to a whole microsecond, which is what Python's times hold. Nothing is stored with a time in between any more.
	if up := asOf.Truncate(time.Microsecond); up.Before(asOf) {
		asOf = up.Add(time.Microsecond)
	}
	r := &researchRun{
		Date: o.Date, AsOf: asOf, ID: strings.ToLower(rand.Text()[:12]), Started: s.deps.Now().UTC(), By: o.by, Notebooks: o.Notebooks, Whole: len(o.Notebooks) == 0,
		Complete: v.Complete(), Missing: v.Missing(), Notes: v.Notes(), Items: v.Items,
	}
	if r.Whole {
		r.Notebooks = s.cfg.Notebooks
	}
	r.Dir = filepath.Join(r.Date.String(), asOf.Format(dirForm)+"-"+r.ID)
	row := s.row(r, "", 0, runStarted, r.Started)
	return r, s.persist(ctx, func() error { return s.deps.Store.AddResearchRun(ctx, row) })
}

// persist tries a write again for a while: under its token it can stand once only.
func (s *Service) persist(ctx context.Context, write func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 200*time.Millisecond, 10*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := write()
		if store.IsRefused(err) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(2*time.Minute), backoff.WithNotify(func(err error, d time.Duration) {
		s.log.Warn("the run cannot be written down; trying again", "err", err, "in", d)
	}))
	return err
}

// row begins a row of research_runs.
func (s *Service) row(r *researchRun, notebook string, attempt int, state string, started time.Time) store.ResearchRun {
	return store.ResearchRun{
		TradeDate: midnight(r.Date), AsOf: r.AsOf, RunID: r.ID, Notebook: notebook, Attempt: uint16(attempt), State: state, Mark: s.deps.Mark, Started: started,
		Complete: r.Complete, Missing: r.Missing, Notes: r.Notes, By: r.By, Directory: r.Dir, CodeVersion: s.deps.Version,
	}
}

func midnight(d session.Date) time.Time {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC)
}

// perform runs what of a run has not been run, and ends it. When ctx ends it returns at once, and the service takes the run up again.
func (s *Service) perform(ctx context.Context, r *researchRun) (*Report, error) {
	log := s.log.With("date", r.Date.String(), "run", r.ID)
	log.Info("the notebooks are run", "as_of", r.AsOf, "complete", r.Complete, "notebooks", len(r.Notebooks))
	if err := os.MkdirAll(filepath.Join(s.root, r.Dir), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of the run: %w", err)
	}
	ctx, sp := s.span(ctx, "run notebooks", attribute.String("hashpivot.date", r.Date.String()), attribute.String("hashpivot.run", r.ID))
	defer sp.End()
	p := &progress{outcomes: map[string]*Outcome{}, tries: map[string]int{}, last: map[string]int{}}
	if err := s.resume(ctx, r, p); err != nil {
		return nil, err
	}
	if err := s.passes(ctx, r, p); err != nil {
		return nil, err
	}
	rep := &Report{
		TradeDate: r.Date.String(), AsOf: r.AsOf, RunID: r.ID, By: r.By, Mode: s.deps.Mode, Version: s.deps.Version, Started: r.Started, State: StateOK,
		Complete: r.Complete, Missing: r.Missing, Notes: r.Notes, Checks: r.Items, Directory: r.Dir,
	}
	for _, n := range r.Notebooks {
		rep.Notebooks = append(rep.Notebooks, p.outcomes[n])
	}
	if err := s.pdfs(ctx, r, rep.Notebooks); err != nil {
		return nil, err
	}
	err := s.end(ctx, r, rep)
	sp.SetAttributes(attribute.String("hashpivot.state", rep.State))
	return rep, err
}

// span begins a span, if there is a tracer.
func (s *Service) span(ctx context.Context, name string, of ...attribute.KeyValue) (context.Context, trace.Span) {
	if s.deps.Tracer == nil {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return s.deps.Tracer.Start(ctx, name, trace.WithAttributes(of...))
}

// progress is how far a run is.
type progress struct {
	mu       sync.Mutex
	outcomes map[string]*Outcome // the last of each notebook
	tries    map[string]int      // that count against the policy
	last     map[string]int      // number of the last try
}

func (p *progress) settled(notebook string, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.outcomes[notebook]
	return o != nil && (o.State == StateOK || p.tries[notebook] >= most)
}

// resume finds what of a run that was cut off is done. A try that was not ended counts as one: a notebook that takes the machine down must not do so for ever.
func (s *Service) resume(ctx context.Context, r *researchRun, p *progress) error {
	res, err := s.deps.Store.Query(ctx, fmt.Sprintf("SELECT notebook, attempt, argMax((state, started, ended, error, error_cell, error_source, traceback, data_state), recorded_at) "+
		"FROM research_runs WHERE run_id = %s AND trade_date = '%s' AND notebook != '' GROUP BY notebook, attempt ORDER BY notebook, attempt", text(r.ID), r.Date))
	if err != nil {
		return fmt.Errorf("read how far run %s was: %w", r.ID, err)
	}
	for _, row := range res.Rows {
		name := fmt.Sprint(row[0])
		n, _ := row[1].(uint16)
		last, _ := row[2].([]any)
		if len(last) != 8 {
			return fmt.Errorf("read how far run %s was: a row of %d fields", r.ID, len(last))
		}
		o := &Outcome{Notebook: name, Attempt: int(n), State: fmt.Sprint(last[0])}
		o.Started, _ = last[1].(time.Time)
		if t, ok := last[2].(*time.Time); ok && t != nil {
			o.Ended = *t
		} else if t, ok := last[2].(time.Time); ok {
			o.Ended = t
		}
		p.last[name] = int(n)
		if o.State == StateStopped {
			continue
		}
		p.tries[name]++
		switch {
		case o.State == StateRunning:
			o.State, o.Failure = StateFailed, &Failure{Error: "the service ended while it ran"}
		case o.State != StateOK:
			o.Failure = &Failure{Error: fmt.Sprint(last[3]), Cell: fmt.Sprint(last[4]), Source: fmt.Sprint(last[5]), Traceback: fmt.Sprint(last[6])}
			if state := fmt.Sprint(last[7]); json.Valid([]byte(state)) {
				o.Failure.State = json.RawMessage(state)
			}
		default:
			figs, err := s.deps.Store.Query(ctx, fmt.Sprintf("SELECT %s FROM research_results WHERE run_id = %s AND notebook = %s AND trade_date = '%s' ORDER BY name",
				figureColumns, text(r.ID), text(name), r.Date))
			if err != nil {
				return fmt.Errorf("read the figures of run %s: %w", r.ID, err)
			}
			o.Figures = figuresOf(figs.Rows)
		}
		for _, ext := range []string{".html", ".ipynb", ".results.jsonl", ".error.json", fmt.Sprintf(".%d.log", n)} {
			if regular(filepath.Join(s.root, r.Dir, name+ext)) == nil {
				o.addFile(name + ext)
			}
		}
		p.outcomes[name] = o
	}
	return nil
}

func (o *Outcome) addFile(name string) {
	if !slices.Contains(o.Files, name) {
		o.Files = append(o.Files, name)
	}
}

// passes goes through the notebooks that are not settled until all are: those that failed come again when the others had their turn.
func (s *Service) passes(ctx context.Context, r *researchRun, p *progress) error {
	most := s.cfg.Retries + 1
	pause := s.cfg.Backoff
	for pass := 0; ; pass++ {
		todo := slices.DeleteFunc(slices.Clone(r.Notebooks), func(n string) bool { return p.settled(n, most) })
		if len(todo) == 0 {
			return nil
		}
		if pass > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-ctx.Done():
				timer.Stop()
				return context.Cause(ctx)
			case <-timer.C:
			}
			pause *= 2
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(s.cfg.Parallel)
		for _, n := range todo {
			g.Go(func() error { return s.one(gctx, r, p, n, most) })
		}
		if err := g.Wait(); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
}

// one tries a notebook once and writes down what came of it: its figures first, then that it is done.
func (s *Service) one(ctx context.Context, r *researchRun, p *progress, notebook string, most int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p.mu.Lock()
	attempt := p.last[notebook] + 1
	p.last[notebook] = attempt
	p.mu.Unlock()
	begun := s.row(r, notebook, attempt, StateRunning, s.deps.Now().UTC())
	if err := s.persist(ctx, func() error { return s.deps.Store.AddResearchRun(ctx, begun) }); err != nil {
		return err
	}
	tctx, sp := s.span(ctx, "run notebook", attribute.String("hashpivot.notebook", notebook), attribute.Int("hashpivot.attempt", attempt))
	o, err := s.try(tctx, r, notebook, attempt)
	if err != nil {
		sp.RecordError(err)
		sp.SetStatus(codes.Error, "")
	} else {
		sp.SetAttributes(attribute.String("hashpivot.state", o.State), attribute.Int("hashpivot.figures", len(o.Figures)))
		if o.State != StateOK {
			sp.SetStatus(codes.Error, o.State)
		}
	}
	sp.End()
	if err != nil {
		// It was not its fault; best done within what the end of the service leaves.
		row := s.row(r, notebook, attempt, StateStopped, begun.Started)
		row.Ended = s.deps.Now().UTC()
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if werr := s.deps.Store.AddResearchRun(short, row); werr != nil {
			s.log.Warn("that a notebook was stopped is not written down: it counts as a try", "notebook", notebook, "err", werr)
		}
		return err
	}
	if o.State == StateOK {
		if err := s.store(ctx, r, o); err != nil {
			return err
		}
	}
	row := s.row(r, notebook, attempt, o.State, o.Started)
	row.Ended, row.Figures = o.Ended, uint32(len(o.Figures))
	for _, d := range o.Differs {
		row.Differing = append(row.Differing, d.String())
	}
	if f := o.Failure; f != nil {
		row.Error, row.ErrorCell, row.ErrorSource, row.Traceback, row.DataState = f.Error, f.Cell, f.Source, f.Traceback, string(f.State)
	}
	if err := s.persist(ctx, func() error { return s.deps.Store.AddResearchRun(ctx, row) }); err != nil {
		return err
	}
	s.metrics.tries.WithLabelValues(notebook, o.State).Inc()
	s.metrics.seconds.WithLabelValues(notebook).Observe(o.Ended.Sub(o.Started).Seconds())
	p.mu.Lock()
	p.outcomes[notebook] = o
	p.tries[notebook]++
	final := o.State != StateOK && p.tries[notebook] >= most
	p.mu.Unlock()
	if o.Failure == nil {
		s.log.Info("notebook is done", "notebook", notebook, "run", r.ID, "figures", len(o.Figures), "differing", len(o.Differs),
			"took", o.Ended.Sub(o.Started).Round(time.Millisecond))
		return nil
	}
	s.log.Error("notebook failed", "notebook", notebook, "run", r.ID, "state", o.State, "attempt", attempt, "cell", o.Failure.Cell, "err", o.Failure.Error,
		"again", !final)
	if final {
		n := s.notice(r, "notebook", o.State)
		n.Notebook, n.Cell, n.Error = notebook, o.Failure.Cell, o.Failure.Error
		s.tell(ctx, n)
	}
	return nil
}

// store compares the figures with those of the same trade date and moment, and adds them.
func (s *Service) store(ctx context.Context, r *researchRun, o *Outcome) error {
	var stored []Figure
	var told, mine bool
	err := s.persist(ctx, func() (err error) {
		stored, told, mine, err = s.stored(ctx, r, o.Notebook)
		return err
	})
	if err != nil {
		return err
	}
	if told {
		o.Differs = compare(stored, o.Figures)
		for i, d := range o.Differs {
			if i == maxDiffering {
				s.log.Error("more figures differ; research_runs lists them", "notebook", o.Notebook, "differing", len(o.Differs))
				break
			}
			s.log.Error("a figure is not what is stored for the same date and moment", "notebook", d.Notebook, "name", d.Name, "was", d.Was, "is", d.Is)
		}
	}
	if mine { // of this run, before it was cut off
		return nil
	}
	rows := make([]store.ResearchResult, len(o.Figures))
	for i, f := range o.Figures {
		rows[i] = store.ResearchResult{
			TradeDate: midnight(r.Date), AsOf: r.AsOf, Notebook: o.Notebook, Name: f.Name, Value: f.Value, Text: f.Text, Unit: f.Unit, Note: f.Note, Mark: s.deps.Mark,
			Complete: r.Complete, Missing: r.Missing, RunID: r.ID, RunAt: r.Started, CodeVersion: s.deps.Version,
		}
	}
	return s.persist(ctx, func() error { return s.deps.Store.AddResearchResults(ctx, rows) })
}

// end writes the pages, points to them, and writes the end of the run down.
func (s *Service) end(ctx context.Context, r *researchRun, rep *Report) error {
	rep.Ended = s.deps.Now().UTC()
	differs := rep.Differing()
	var failed []string
	figures := 0
	for _, o := range rep.Notebooks {
		figures += len(o.Figures)
		if o.State != StateOK {
			failed = append(failed, o.Notebook)
		}
	}
	switch {
	case len(failed) > 0:
		rep.State = StateFailed
	case len(differs) > 0:
		rep.State = StateDiffers
	}
	if err := s.pages(ctx, r, rep); err != nil {
		return err
	}
	row := s.row(r, "", 0, runEnded, r.Started)
	row.Ended, row.Figures = rep.Ended, uint32(figures)
	for _, d := range differs {
		row.Differing = append(row.Differing, d.String())
	}
	if len(failed) > 0 {
		row.Error = "failed: " + strings.Join(failed, ", ")
	}
	if err := s.persist(ctx, func() error { return s.deps.Store.AddResearchRun(ctx, row) }); err != nil {
		return err
	}
	s.metrics.runs.WithLabelValues(rep.State).Inc()
	s.metrics.differing.Set(float64(len(differs)))
	if r.Whole {
		s.date.raise(float64(midnight(r.Date).Unix()))
		if r.Complete && rep.State == StateOK {
			s.whole.raise(float64(midnight(r.Date).Unix()))
		}
	}
	s.log.Info("the notebooks were run", "date", rep.TradeDate, "run", r.ID, "state", rep.State, "figures", figures, "failed", failed, "differing", len(differs),
		"took", rep.Ended.Sub(rep.Started).Round(time.Second))
	n := s.notice(r, "run", rep.State)
	n.Failed, n.Differing, n.Figures = failed, differs[:min(len(differs), maxDiffering)], figures
	s.tell(ctx, n)
	return nil
}

// pages writes index.html and run.json and, of a run of all notebooks, the pointers.
func (s *Service) pages(ctx context.Context, r *researchRun, rep *Report) error {
	prev, night, err := s.previous(ctx, r.Date)
	if err != nil {
		return err
	}
	page, err := indexPage(rep, prev, night, s.cal.zone())
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	dir := filepath.Join(s.root, r.Dir)
	if err := errors.Join(writeFile(filepath.Join(dir, "run.json"), data), writeFile(filepath.Join(dir, "index.html"), page)); err != nil {
		return err
	}
	if !r.Whole {
		return nil
	}
	if err := point(filepath.Join(s.root, r.Date.String(), "latest"), filepath.Base(r.Dir)); err != nil {
		return err
	}
	link := filepath.Join(s.root, "latest")
	now, _ := os.Readlink(link)
	if cmp.Compare(filepath.Dir(now), r.Date.String()) > 0 { // a later date stands there; dates sort as text
		return nil
	}
	return point(link, r.Dir)
}
