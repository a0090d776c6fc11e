package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/nightly"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

type nightlyCmd struct {
	Serve  nightlyServeCmd  `cmd:"" default:"1" help:"Run the nightly service alone: the notebooks of each trade date when it is complete (default)."`
	Run    nightlyRunCmd    `cmd:"" name:"run" help:"Run the notebooks of a trade date now; exit 1 if one fails or a figure differs from what is stored for the same moment."`
	Status nightlyStatusCmd `cmd:"" help:"Say what of a trade date is there and what is missing, and what was run of it; exit 1 if it is not complete."`
}

type nightlyServeCmd struct{}

// Run runs the service alone.
func (*nightlyServeCmd) Run(a *app) error {
	a.command = nightly.LeaseName
	return (&serviceCmd{}).Run(a)
}

// researchDir is where the output of the notebooks lies.
func (c *config) researchDir() string {
	if c.Nightly.Directory != "" {
		return c.Nightly.Directory
	}
	return filepath.Join(c.DataDir, "research")
}

// newNightly makes the service over the connections of this process. What it must have to run notebooks it is given by ready.
func newNightly(cfg *config, m mode, b *backends, log *slog.Logger, in *instruments) (*nightly.Service, error) {
	n := cfg.Nightly
	n.Directory = cfg.researchDir()
	url := n.ClickHouseURL
	if url == "" && b.engine != nil {
		url = "http://" + b.engine.HTTPAddr()
	}
	return nightly.New(n, nightly.Deps{
		Bus: b.bus, Store: b.store, Mode: string(m), Mark: m.prefix(), Version: version(), Logger: log.With("service", nightly.LeaseName), Metrics: nightly.NewMetrics(in.reg), Tracer: in.tracing.Tracer(),
		ClickHouse: nightly.ClickHouse{URL: url, Database: cfg.ClickHouse.Database, User: cfg.ClickHouse.User, Password: cfg.ClickHouse.Password},
		Audit: func(ctx context.Context) (complete.Audit, error) {
			res, err := audit.Audit(ctx, b.bus, b.store, nil)
			out := complete.Audit{Clean: res.Clean(), Lost: res.Lost, Duplicates: res.Duplicates}
			differ := map[string]bool{}
			for _, d := range res.Differences {
				differ[string(d.Stream)] = true
			}
			out.Streams = slices.Sorted(maps.Keys(differ))
			return out, err
		},
	})
}

// serveNightly runs the service while its lease is ours.
func serveNightly(ctx context.Context, cfg *config, b *backends, s *nightly.Service) error {
	lease := b.bus.Lease(nightly.LeaseName, holder(), cfg.Lease.TTL)
	lease.KnowDead(deadHolder)
	return lease.Hold(ctx, s.Run)
}

// nightlyReady finds the notebooks' environment and ClickHouse's HTTP endpoint, and says what is missing.
func nightlyReady(ctx context.Context, cfg *config, b *backends) error {
	if cfg.Nightly.ClickHouseURL == "" && b.engine == nil {
		return errors.New("the notebooks reach ClickHouse over HTTP: set nightly.clickhouse_url, such as http://clickhouse:8123")
	}
	python, err := nightly.Python(ctx, cfg.Nightly)
	if err != nil {
		return err
	}
	cfg.Nightly.Python = python
	return nil
}

// nightlyOn reports whether up runs the notebooks, and says once why not.
func (a *app) nightlyOn(cfg *config, b *backends) (bool, error) {
	on, auto, err := cfg.Nightly.Switch()
	if err != nil || !on && !auto {
		return false, err
	}
	err = nightlyReady(a.ctx, cfg, b)
	switch {
	case err == nil:
		a.log.Info("the research notebooks are run when a trade date is complete", "python", cfg.Nightly.Python, "directory", cfg.researchDir())
		return true, nil
	case auto:
		a.log.Info("the research notebooks are not run: nightly.enabled is auto and something is missing", "what", err)
		return false, nil
	}
	return false, run.Usage(err)
}

// nightlyAlone runs the service against the servers of the configuration or of an instance.
func (a *app) nightlyAlone(cfg *config, in *instruments) error {
	b, err := openBackends(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	defer b.close()
	in.on(b.bus)
	if err := b.prepare(a.ctx, cfg.Mode, streamsOf(a.command)...); err != nil {
		return err
	}
	if err := nightlyReady(a.ctx, cfg, b); err != nil {
		return run.Usage(err)
	}
	b.watch(in.health)
	s, err := newNightly(cfg, cfg.Mode, b, a.log, in)
	if err != nil {
		return err
	}
	in.health.Check(nightly.LeaseName, s.Health)
	return a.served(cfg, b, in, func() error { return serveNightly(a.ctx, cfg, b, s) })
}

// attachNightly makes the service for a command that asks something of it.
func (a *app) attachNightly(notebooks bool) (*nightly.Service, *backends, error) {
	b, cfg, err := a.attach()
	if err != nil {
		return nil, nil, err
	}
	m := cfg.Mode
	if err = b.prepare(a.ctx, m); err == nil && notebooks {
		err = run.Usage(nightlyReady(a.ctx, cfg, b))
	}
	var s *nightly.Service
	if err == nil {
		s, err = newNightly(cfg, m, b, a.log, unwatched())
	}
	if err != nil {
		b.close()
		return nil, nil, err
	}
	return s, b, nil
}

// tradeDate reads --date.
func tradeDate(text string) (session.Date, error) {
	d, err := session.ParseDate(text)
	if err != nil {
		return d, run.Usage(fmt.Errorf("--date: %w", err))
	}
	return d, nil
}

type nightlyRunCmd struct {
	Date     string   `help:"Trade date, as 2026-11-25." required:"" placeholder:"DATE"`
	AsOf     string   `name:"as-of" help:"Moment that the notebooks see, as 2026-11-26T02:00:00Z; without it the newest that has landed." placeholder:"TIME"`
	Notebook []string `help:"This notebook only; may be repeated." placeholder:"NAME"`
	Force    bool     `help:"Run a date that is not complete, and mark the run."`
}

// Run runs the notebooks and prints what came of them.
func (c *nightlyRunCmd) Run(a *app) error {
	d, err := tradeDate(c.Date)
	if err != nil {
		return err
	}
	asOf, err := run.ParseTime(c.AsOf, time.Now())
	if err != nil {
		return run.Usage(fmt.Errorf("--as-of: %w", err))
	}
	s, b, err := a.attachNightly(true)
	if err != nil {
		return err
	}
	defer b.close()
	rep, err := s.RunDate(a.ctx, nightly.Order{Date: d, AsOf: asOf, Notebooks: c.Notebook, Force: c.Force})
	if err != nil {
		return err
	}
	if a.cli.JSON {
		line, err := json.Marshal(rep)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
	} else {
		printRun(a, rep, s.Directory(rep))
	}
	switch rep.State {
	case nightly.StateFailed:
		return errors.New("not every notebook ran to its end; research_runs and the index have why")
	case nightly.StateDiffers:
		return errors.New("figures differ from those stored for the same date and moment")
	}
	return nil
}

func printRun(a *app, rep *nightly.Report, dir string) {
	a.printf("%s as of %s, run %s: %s\n", rep.TradeDate, rep.AsOf.Format(time.RFC3339Nano), rep.RunID, rep.State)
	if !rep.Complete {
		a.printf("NOT COMPLETE: %s\n", strings.Join(rep.Missing, "; "))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "notebook\tstate\ttry\tfigures\tdiffering\ttook\twhy")
	for _, o := range rep.Notebooks {
		why := ""
		if f := o.Failure; f != nil {
			why = f.Error
			if f.Cell != "" {
				why = "cell " + f.Cell + ": " + why
			}
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%.200s\n", o.Notebook, o.State, o.Attempt, len(o.Figures), len(o.Differs), o.Ended.Sub(o.Started).Round(10*time.Millisecond),
			strings.ReplaceAll(why, "\n", " "))
	}
	_ = w.Flush()
	for _, d := range rep.Differing() {
		a.printf("differs: %s/%s was %s, is %s\n", d.Notebook, d.Name, d.Was, d.Is)
	}
	a.printf("%s\n", filepath.Join(dir, "index.html"))
}

type nightlyStatusCmd struct {
	Date string `help:"Trade date, as 2026-11-25." required:"" placeholder:"DATE"`
}

// nightlyRun is a run of a trade date as it stands.
type nightlyRun struct {
	RunID     string    `json:"run_id"`
	By        string    `json:"by"`
	State     string    `json:"state"`
	AsOf      time.Time `json:"as_of"`
	Started   time.Time `json:"started"`
	Complete  bool      `json:"complete"`
	Error     string    `json:"error,omitempty"`
	Differing int       `json:"differing"`
}

// Run prints the checks, met and not.
func (c *nightlyStatusCmd) Run(a *app) error {
	d, err := tradeDate(c.Date)
	if err != nil {
		return err
	}
	s, b, err := a.attachNightly(false)
	if err != nil {
		return err
	}
	defer b.close()
	f, err := s.Observe(a.ctx, d, true)
	if err != nil {
		return err
	}
	v := s.Judge(f)
	runs, err := runsOf(a, b, d)
	if err != nil {
		return err
	}
	if a.cli.JSON {
		line, err := json.Marshal(struct {
			Date     string          `json:"date"`
			Complete bool            `json:"complete"`
			Items    []complete.Item `json:"checks"`
			Runs     []nightlyRun    `json:"runs"`
		}{d.String(), v.Complete(), v.Items, runs})
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
	} else {
		printVerdict(a, v, runs)
	}
	if !v.Complete() {
		return errNotClean
	}
	return nil
}

func printVerdict(a *app, v complete.Verdict, runs []nightlyRun) {
	word := "complete"
	if !v.Complete() {
		word = "NOT COMPLETE"
	}
	a.printf("%s: %s\n", v.Date, word)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, i := range v.Items {
		state := "met"
		switch {
		case !i.Met:
			state = "NOT MET"
		case i.Note:
			state = "met, but"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", state, i.Check, i.Why)
	}
	_ = w.Flush()
	if len(runs) == 0 {
		a.printf("it was not run\n")
	}
	for _, r := range runs {
		end := r.State
		if r.Error != "" {
			end += ", " + r.Error
		}
		if !r.Complete {
			end += ", incomplete"
		}
		a.printf("run %s by the %s at %s, as of %s: %s, %d figures differ\n", r.RunID, r.By, r.Started.Format(time.DateTime), r.AsOf.Format(time.RFC3339Nano), end, r.Differing)
	}
}

// runsOf are the runs of a trade date, oldest first.
func runsOf(a *app, b *backends, d session.Date) ([]nightlyRun, error) {
	res, err := b.store.Query(a.ctx, fmt.Sprintf("SELECT "+nightlyColumns+" FROM research_runs_now WHERE notebook = '' AND trade_date = '%s' ORDER BY started, run_id", d))
	if err != nil {
		return nil, err
	}
	out := []nightlyRun{}
	for _, r := range res.Rows {
		out = append(out, nightlyRunOf(r))
	}
	return out, nil
}

// nightlyColumns are what nightlyRunOf reads.
const nightlyColumns = "run_id, by, state, as_of, started, complete, error, length(differing)"

func nightlyRunOf(r []any) nightlyRun {
	x := nightlyRun{RunID: fmt.Sprint(r[0]), By: fmt.Sprint(r[1]), State: fmt.Sprint(r[2]), Error: fmt.Sprint(r[6])}
	x.AsOf, _ = r[3].(time.Time)
	x.Started, _ = r[4].(time.Time)
	x.Complete, _ = r[5].(bool)
	n, _ := r[7].(uint64)
	x.AsOf, x.Started, x.Differing = x.AsOf.UTC(), x.Started.UTC(), int(n)
	return x
}
