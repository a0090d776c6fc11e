package nightly

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

// LeaseName is the lease on which one of several is active.
const LeaseName = "nightly"

// ClickHouse as the notebooks reach it.
type ClickHouse struct {
	URL      string // of its HTTP endpoint, without a user
	Database string
	User     string
	Password run.Secret
}

// Deps is what the service works with.
type Deps struct {
	Bus   *bus.Bus
	Store *store.Store
	// Audit compares what was published with what has landed.
	Audit      func(context.Context) (complete.Audit, error)
	ClickHouse ClickHouse
	// Mode is live, sim or recorded, and shown; Mark is what begins the names of its sources.
	Mode, Mark string
	Version    string
	Logger     *slog.Logger
	Metrics    *Metrics         // nil: not counted
	Tracer     trace.Tracer     // nil: nothing is traced
	Now        func() time.Time // nil: the clock
	// Stored tells when by the clock of the streams, which is nats-server's, a moment of Now's was; nil: the two go alike.
	Stored func(time.Time) time.Time
}

// Service runs the notebooks.
type Service struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *Metrics
	cal     calendar
	root    string // of the output, absolute
	hide    func(string) string

	date, whole peak
	webhookWait time.Duration // before the second try of a notice
	landWithin  time.Duration
	since       time.Time // of Run
	auditAfter  time.Time // an audit that was not clean is not made again before

	mu      sync.Mutex
	trouble error // of the last look
}

// New checks the configuration; Config.Directory must be set.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cal, err := newCalendar(cfg.Calendar)
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(cfg.Directory)
	if err != nil || cfg.Directory == "" {
		return nil, run.Usage(fmt.Errorf("nightly.directory: %q cannot be used: %w", cfg.Directory, err))
	}
	if deps.Metrics == nil {
		deps.Metrics = NewMetrics(nil)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Stored == nil {
		deps.Stored = func(t time.Time) time.Time { return t }
	}
	return &Service{
		cfg: cfg, deps: deps, log: deps.Logger, metrics: deps.Metrics, cal: cal, root: root, hide: hider(deps.ClickHouse.Password, cfg.Webhook.URL),
		date: peak{gauge: deps.Metrics.lastDate}, whole: peak{gauge: deps.Metrics.lastComplete}, webhookWait: time.Second, landWithin: defaultLandWithin,
	}, nil
}

// environment is where make puts the notebooks' Python environment, from the top of the checkout.
const environment = ".cache/research-venv"

// Python finds the interpreter of the notebooks' environment and makes sure that it has them.
func Python(ctx context.Context, cfg Config) (string, error) {
	candidates := []string{cfg.Python}
	if cfg.Python == "" {
		candidates = nil
		for _, base := range bases() {
			candidates = append(candidates, filepath.Join(base, environment, "bin", "python"))
		}
	}
	var errs []error
	for _, c := range candidates {
		path, err := exec.LookPath(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return "", err
		}
		ask, cancel := context.WithTimeout(ctx, time.Minute)
		cmd := exec.CommandContext(ask, path, "-c", "import importlib.util, sys; sys.exit(0 if importlib.util.find_spec('hashpivot.run') else 3)")
		cmd.Env, cmd.WaitDelay = childEnviron(os.Environ()), time.Second
		err = cmd.Run()
		cancel()
		if err == nil {
			return path, nil
		}
		errs = append(errs, fmt.Errorf("%s does not have the package hashpivot: %w", path, err))
	}
	return "", fmt.Errorf("find the notebooks' Python environment: %w; make research-python builds it, nightly.python names another", errors.Join(errs...))
}

// bases are where an environment that make built may lie: the working directory, and the directories about the program.
func bases() []string {
	out := []string{"."}
	if exe, err := os.Executable(); err == nil {
		out = append(out, filepath.Dir(exe), filepath.Dir(filepath.Dir(exe)))
	}
	return out
}

// Run looks after the trade dates until ctx ends. It must hold the lease.
func (s *Service) Run(ctx context.Context) error {
	s.since = s.deps.Now().UTC()
	if n := sweep(s.root); n > 0 {
		s.log.Warn("processes that an earlier instance left behind were ended", "processes", n)
	}
	if err := s.loadPeaks(ctx); err != nil && ctx.Err() == nil {
		s.log.Warn("what was run before is not known yet", "err", err)
	}
	tick := time.NewTicker(s.cfg.CheckEvery)
	defer tick.Stop()
	for {
		err := s.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.log.Error("trade dates could not be looked after; trying again", "err", err, "in", s.cfg.CheckEvery)
		}
		s.mu.Lock()
		s.trouble = err
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Health is the trouble of the last look at the trade dates, nil if it had none. A notebook that fails is no trouble of the service.
func (s *Service) Health(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// before is what was run of a trade date by the service.
type before struct {
	unfinished *researchRun // begun and not ended
	ran, whole bool         // ended at all; ended, of a complete date
}

// history reads what the service ran of the trade dates.
func (s *Service) history(ctx context.Context, dates []session.Date) (map[string]*before, error) {
	out := map[string]*before{}
	if len(dates) == 0 {
		return out, nil
	}
	list := ""
	for i, d := range dates {
		if i > 0 {
			list += ", "
		}
		list += "'" + d.String() + "'"
		out[d.String()] = &before{}
	}
	res, err := s.deps.Store.Query(ctx, "SELECT trade_date, run_id, as_of, state, started, complete, missing, notes, directory FROM research_runs_now "+
		"WHERE notebook = '' AND by = 'service' AND trade_date IN ("+list+") ORDER BY started, run_id")
	if err != nil {
		return nil, fmt.Errorf("read what was run before: %w", err)
	}
	for _, row := range res.Rows {
		day, _ := row[0].(time.Time)
		b := out[day.Format(time.DateOnly)]
		whole, _ := row[5].(bool)
		if fmt.Sprint(row[3]) == runEnded {
			b.ran, b.whole, b.unfinished = true, b.whole || whole, nil
			continue
		}
		r := &researchRun{ID: fmt.Sprint(row[1]), By: byService, Notebooks: s.cfg.Notebooks, Whole: true, Complete: whole, Dir: fmt.Sprint(row[8])}
		r.Date, _ = session.ParseDate(day.Format(time.DateOnly))
		r.AsOf, _ = row[2].(time.Time)
		r.Started, _ = row[4].(time.Time)
		r.Missing, _ = row[6].([]string)
		r.Notes, _ = row[7].([]string)
		r.AsOf, r.Started = r.AsOf.UTC(), r.Started.UTC()
		b.unfinished = r // the latest, if several were cut off
	}
	return out, nil
}

func (s *Service) loadPeaks(ctx context.Context) error {
	res, err := s.deps.Store.Query(ctx, "SELECT toInt64(toUnixTimestamp(toDateTime(max(trade_date), 'UTC'))), "+
		"toInt64(toUnixTimestamp(toDateTime(maxIf(trade_date, complete AND error = ''), 'UTC'))) FROM research_runs WHERE notebook = '' AND state = 'ended'")
	if err != nil {
		return err
	}
	all, _ := res.Rows[0][0].(int64)
	whole, _ := res.Rows[0][1].(int64)
	s.date.raise(float64(all))
	s.whole.raise(float64(whole))
	return nil
}

// look goes through the latest trade dates that ended while the pipeline ran, oldest first, and runs what is due.
func (s *Service) look(ctx context.Context) error {
	now := s.deps.Now().UTC()
	s.metrics.lastCheck.Set(float64(now.Unix()))
	res, err := s.deps.Store.Query(ctx, "SELECT count(), min(stream_time) FROM feed_events")
	if err != nil {
		return fmt.Errorf("read when the pipeline began: %w", err)
	}
	if n, _ := res.Rows[0][0].(uint64); n == 0 {
		return nil
	}
	first, _ := res.Rows[0][1].(time.Time)
	dates := slices.DeleteFunc(s.cal.ended(now, s.cfg.CatchUp), func(d session.Date) bool { return !s.deps.Stored(s.cal.TradeDateEnd(d)).After(first) })
	was, err := s.history(ctx, dates)
	if err != nil {
		return err
	}
	var errs []error
	unmet := -1
	for _, d := range dates {
		b := was[d.String()]
		if b.whole {
			continue
		}
		missing, err := s.lookAt(ctx, d, b)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			errs = append(errs, err)
		}
		if missing > 0 && unmet < 0 && !b.ran {
			unmet = missing
		}
	}
	s.metrics.unmet.Set(float64(max(unmet, 0)))
	return errors.Join(errs...)
}

// auditPause is how long an audit that was not clean stands before another is made: it reads every stream.
const auditPause = 15 * time.Minute

// lookAt runs a trade date if it is due, and tells how many checks hinder it.
func (s *Service) lookAt(ctx context.Context, d session.Date, b *before) (missing int, _ error) {
	if b.unfinished != nil {
		s.log.Info("a run that was cut off is taken up again", "date", d.String(), "run", b.unfinished.ID, "as_of", b.unfinished.AsOf)
		_, err := s.perform(ctx, b.unfinished)
		return 0, err
	}
	f, err := s.Observe(ctx, d, false)
	if err != nil {
		return 0, err
	}
	v := s.Judge(f)
	// After a longer outage the feeds need their time too to fill what they missed.
	from := f.End
	if s.since.After(from) {
		from = s.since
	}
	late := f.Now.After(from.Add(s.cfg.Patience))
	goAhead := late && s.cfg.Incomplete == IncompleteRun && !b.ran
	// An incomplete run says of the audit too what it found.
	if v.OnlyAudit(f) && !f.Now.Before(s.auditAfter) || goAhead {
		a, err := s.deps.Audit(ctx)
		if err != nil {
			return 0, fmt.Errorf("audit for %s: %w", d, err)
		}
		if !a.Clean {
			s.auditAfter = f.Now.Add(auditPause)
		}
		f.Audit = &a
		v = s.Judge(f)
	}
	missed := v.Missing()
	switch {
	case len(missed) == 0:
	case goAhead:
		s.log.Warn("the trade date is not complete, and patience has ended: it is run and marked", "date", d.String(), "missing", missed)
	default:
		s.log.Debug("the trade date is not complete", "date", d.String(), "missing", missed)
		return len(missed), nil
	}
	r, err := s.begin(ctx, Order{Date: d, by: byService}, v)
	if err != nil {
		return len(missed), err
	}
	_, err = s.perform(ctx, r)
	return 0, err
}
