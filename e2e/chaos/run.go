//go:build linux

// Package chaos runs the pipeline as processes of its own, breaks them by a schedule that a seed gives, and tells whether every event that was
// acknowledged landed exactly once. docs/chaos.md describes it.
package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config of a run.
type Config struct {
	Seed uint64
	// For is how long faults are made; Faults, if above 0, how many at most.
	For    time.Duration
	Faults int
	// Landers at once.
	Landers int
	// LanderSet are more settings for the landers, key=value.
	LanderSet []string
	// Shards of TRADES; 0: it is not cut.
	Shards int
	// Rate of the load, events a second.
	Rate int
	// Sync is nats-server's sync_interval.
	Sync string
	// ReadTimeout is the landers' patience with ClickHouse: an answer that is held back comes later than that.
	ReadTimeout time.Duration
	// Binary is the hashpivot that is tested.
	Binary string
	// Dir keeps everything; empty: a temporary one. It stays where the run fails, or Keep is set.
	Dir  string
	Keep bool
	// Mounts puts two of the stores on small file systems, so that they can be full. It needs root.
	Mounts bool
	// Clock is a directory for programs whose clock can be stepped (they are built into it where they are missing); empty: no clock is stepped.
	Clock string
	// Script, if any, replaces the schedule.
	Script []Fault
	// CheckEvery faults, everything is let come to rest and compared. 0: at the end only.
	CheckEvery int
	// Out takes the story of the run.
	Out io.Writer

	mu   *sync.Mutex
	then func(context.Context, *system) error // after everything was found right
}

// DefaultConfig is `make chaos`.
func DefaultConfig() Config {
	return Config{
		Seed: 1, For: 10 * time.Minute, Landers: 2, Shards: 2, Rate: 500, Sync: "always", ReadTimeout: 4 * time.Second, Binary: "bin/hashpivot", Mounts: true,
		CheckEvery: 100, Out: os.Stderr,
	}
}

// Report is the result of a run: its last line.
type Report struct {
	Seed    uint64 `json:"seed"`
	Clean   bool   `json:"clean"`
	Landers int    `json:"landers"`
	Shards  int    `json:"shards"`
	Sync    string `json:"sync_interval"`
	// Faults by kind, and kills by what was killed.
	Faults map[string]int `json:"faults"`
	Killed map[string]int `json:"killed"`
	Kills  int            `json:"kills"`
	Other  int            `json:"other_faults"`
	// Not were in the schedule and could not be made.
	Not map[string]int `json:"not_made,omitempty"`
	verdict
	// Audit is what hashpivot audit found, over everything in the streams.
	Audit struct {
		Published  uint64 `json:"published"`
		Landed     uint64 `json:"landed"`
		Dead       uint64 `json:"dead"`
		Lost       uint64 `json:"lost"`
		Duplicates uint64 `json:"duplicates"`
		Altered    uint64 `json:"altered"`
	} `json:"audit"`
	// Gaps are lines of the gap ledger that a lander wrote; exact is as many as events were lost before they landed: none.
	Gaps int `json:"gaps"`
	// Exits are ends of processes that we did not bring about, by process.
	Exits    map[string]map[string]int `json:"exits,omitempty"`
	Starts   map[string]int            `json:"starts"`
	DrainS   float64                   `json:"drain_s"`
	ElapsedS float64                   `json:"elapsed_s"`
	Error    string                    `json:"error,omitempty"`
	Dir      string                    `json:"dir,omitempty"`
}

func (c *Config) init() { c.mu = &sync.Mutex{} }

func (c Config) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.Out, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05.000")}, args...)...)
}

// Run runs the system under the schedule of the seed. The report is whole also where there is an error.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg.init()
	rep := Report{
		Seed: cfg.Seed, Landers: cfg.Landers, Shards: cfg.Shards, Sync: cfg.Sync, Faults: map[string]int{}, Killed: map[string]int{}, Not: map[string]int{},
		Starts: map[string]int{}, Exits: map[string]map[string]int{},
	}
	began := time.Now()
	err := run(ctx, cfg, &rep)
	rep.ElapsedS = time.Since(began).Round(time.Millisecond).Seconds()
	rep.Clean = err == nil
	if err != nil {
		rep.Error = err.Error()
	}
	return rep, err
}

// newSystem makes the system's directory; end ends all its processes.
func newSystem(cfg Config) (s *system, end func(keep bool), err error) {
	if cfg.Clock != "" {
		if cfg.Clock, err = clockPrograms(cfg); err != nil {
			return nil, nil, err
		}
		cfg.Binary = filepath.Join(cfg.Clock, "hashpivot")
	}
	if cfg.Binary, err = filepath.Abs(cfg.Binary); err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(cfg.Binary); err != nil {
		return nil, nil, fmt.Errorf("%w: run make build first", err)
	}
	dir := cfg.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "hashpivot-chaos-"); err != nil {
			return nil, nil, err
		}
	} else if dir, err = filepath.Abs(dir); err != nil {
		return nil, nil, err
	} else if err = os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	// The spawner outlives the processes: its thread's end is theirs.
	spawnCtx, spawnEnd := context.WithCancel(context.Background())
	procCtx, procEnd := context.WithCancel(spawnCtx)
	s = &system{cfg: cfg, dir: dir, spawn: newSpawner(spawnCtx), wires: newWires(), procCtx: procCtx}
	return s, func(keep bool) {
		if keep && s.mounted {
			s.save()
		}
		s.close()
		procEnd()
		spawnEnd()
		<-s.spawn.ended
		if !keep {
			if err := os.RemoveAll(dir); err != nil {
				cfg.note("%v", err)
			}
		}
	}, nil
}

func run(ctx context.Context, cfg Config, rep *Report) (err error) {
	s, end, err := newSystem(cfg)
	if err != nil {
		return err
	}
	cfg.note("seed %d, %d landers, sync_interval %s, in %s", cfg.Seed, cfg.Landers, cfg.Sync, s.dir)
	defer func() {
		for _, p := range s.procs() {
			starts, exits := p.counts()
			rep.Starts[p.name] = starts
			if len(exits) > 0 {
				rep.Exits[p.name] = exits
			}
		}
		keep := err != nil || cfg.Keep
		end(keep)
		if keep {
			rep.Dir = s.dir
		}
		if err != nil {
			s.tell(err)
		}
	}()
	start := time.Now()
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("start the system: %w", err)
	}
	if err := s.wait(ctx, "the first rows", startWithin, func(ctx context.Context) error {
		n, err := s.sql(ctx, "SELECT count() FROM trades", database)
		if err == nil && n == "0" {
			err = errors.New("there are none")
		}
		return err
	}); err != nil {
		return err
	}
	cfg.note("up after %s", time.Since(start).Round(time.Millisecond))
	if err := s.inflictAll(ctx, rep); err != nil {
		return err
	}
	if err := s.settle(ctx, rep); err != nil || cfg.then == nil {
		return err
	}
	return cfg.then(ctx, s)
}

// inflictAll makes the faults of the schedule, each when the parts that it needs are free.
func (s *system) inflictAll(ctx context.Context, rep *Report) error {
	var (
		sched = newSchedule(s.cfg.Seed, s.cfg.Landers, s.cfg.Clock != "")
		ends  = time.Now().Add(s.cfg.For)
		wg    sync.WaitGroup
		mu    sync.Mutex
		busy  = map[string]bool{}
		freed = make(chan struct{}, 1)
		bad   error
	)
	fctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		wg.Wait()
	}()
	for made := 0; ; made++ {
		var f Fault
		if s.cfg.Script != nil {
			if made == len(s.cfg.Script) {
				break
			}
			f = s.cfg.Script[made]
			f.Step = made + 1
		} else {
			f = sched.next()
			if time.Now().After(ends) || s.cfg.Faults > 0 && made == s.cfg.Faults {
				break
			}
		}
		if s.cfg.CheckEvery > 0 && made > 0 && made%s.cfg.CheckEvery == 0 {
			wg.Wait()
			if err := s.check(ctx, rep, fmt.Sprintf("before step %d", f.Step)); err != nil {
				return err
			}
		}
		_ = pass(ctx, f.Gap)
		// Until all its parts are free.
		for ctx.Err() == nil {
			mu.Lock()
			free := !slices.ContainsFunc(f.parts(), func(p string) bool { return busy[p] })
			if free {
				for _, p := range f.parts() {
					busy[p] = true
				}
			}
			failed := bad
			mu.Unlock()
			if failed != nil {
				return failed
			}
			if free {
				break
			}
			select {
			case <-freed:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.cfg.note("%s", f)
		wg.Go(func() {
			err := s.inflict(fctx, f)
			mu.Lock()
			defer mu.Unlock()
			for _, p := range f.parts() {
				delete(busy, p)
			}
			select {
			case freed <- struct{}{}:
			default:
			}
			switch {
			case errors.Is(err, errImpossible):
				rep.Not[f.Kind+" "+f.On]++
			case err != nil && fctx.Err() == nil:
				bad = fmt.Errorf("%s: %w", f, err)
			case err == nil:
				rep.Faults[f.Kind]++
				if kills(f.Kind) {
					rep.Kills++
					rep.Killed[f.On]++
				} else {
					rep.Other++
				}
			}
		})
	}
	wg.Wait()
	return bad
}

// drainWithin is how long everything may take to land when nothing is broken any more.
const drainWithin = 5 * time.Minute

// check lets everything land while the load goes on, and compares.
func (s *system) check(ctx context.Context, rep *Report, when string) error {
	acked, err := readTold(s.path("told"))
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.wait(ctx, "everything to land "+when, drainWithin, s.drainedTo(ctx)); err != nil {
		return err
	}
	return s.compare(ctx, rep, acked, when, began)
}

// drainedTo waits for what the streams hold now, not for what comes meanwhile.
func (s *system) drainedTo(ctx context.Context) func(context.Context) error {
	var targets map[string]uint64
	return func(ctx context.Context) error {
		if targets == nil {
			t, err := s.lastSeqs(ctx)
			if err != nil {
				return err
			}
			targets = t
		}
		return s.landedTo(ctx, targets)
	}
}

// compare judges again until nothing is missing: the last range may still be under way.
func (s *system) compare(ctx context.Context, rep *Report, acked map[int]told, when string, began time.Time) error {
	var v verdict
	err := s.wait(ctx, "every acknowledged event "+when, drainWithin, func(ctx context.Context) (err error) {
		if v, err = s.judge(ctx, acked); err != nil {
			return err
		}
		if v.Lost > 0 && !v.wrong() {
			return fmt.Errorf("%d are missing: %v", v.Lost, v.Examples)
		}
		return nil
	})
	rep.verdict = v
	rep.DrainS = max(rep.DrainS, time.Since(began).Round(time.Millisecond).Seconds())
	if v.wrong() {
		return fmt.Errorf("%s: doubled %d, altered %d, strange %d: %v", when, v.Doubled, v.Altered, v.Strange, v.Examples)
	}
	if err != nil {
		return err
	}
	s.cfg.note("%s: %d acknowledged, %d rows, lost 0, doubled 0, after %s", when, v.Acknowledged, v.Rows, time.Since(began).Round(time.Millisecond))
	return nil
}

// settle ends the load, lets everything land, and compares in every way there is.
func (s *system) settle(ctx context.Context, rep *Report) error {
	end, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	if err := s.load.terminate(end); err != nil {
		return err
	}
	acked, err := readTold(s.path("told"))
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.wait(ctx, "everything to land", drainWithin, s.drainedTo(ctx)); err != nil {
		return err
	}
	if err := s.compare(ctx, rep, acked, "at the end", began); err != nil {
		return err
	}
	var a audit
	err = s.wait(ctx, "the audit", drainWithin, func(ctx context.Context) (err error) {
		a, err = s.audit(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, b := range a.Streams {
		rep.Audit.Published += b.Published
		rep.Audit.Landed += b.Landed
		rep.Audit.Dead += b.Dead
	}
	rep.Audit.Lost, rep.Audit.Duplicates, rep.Audit.Altered = a.Lost, a.Duplicates, a.Altered
	gaps, err := s.sql(ctx, "SELECT count() FROM feed_gaps WHERE source LIKE '%lander'", database)
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(gaps, &rep.Gaps); err != nil {
		return err
	}
	if a.Lost+a.Duplicates+a.Altered > 0 {
		return fmt.Errorf("the audit finds %d lost, %d doubled and %d altered", a.Lost, a.Duplicates, a.Altered)
	}
	if rep.Gaps > 0 {
		return fmt.Errorf("the landers wrote %d gaps, and nothing was lost before it landed", rep.Gaps)
	}
	return nil
}

// tell prints what a reader of a failure needs.
func (s *system) tell(err error) {
	s.cfg.note("FAILED: %v", err)
	s.cfg.note("everything is kept in %s; the last lines of each process:", s.dir)
	logs, _ := filepath.Glob(s.path("logs", "*.log"))
	for _, l := range logs {
		s.cfg.note("-- %s", l)
		for _, line := range lastLines(l, 8) {
			if len(line) > 400 {
				line = line[:400] + "..."
			}
			_, _ = fmt.Fprintf(s.cfg.Out, "   %s\n", line)
		}
	}
}

// JSON is the report as one line.
func (r Report) JSON() string {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Sprintf(`{"error":%q}`, err)
	}
	return string(line)
}

// Append adds a report to a file of reports, with when and on how many CPUs it was made.
func Append(path string, rep interface{ JSON() string }) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "{\"when\":%q,\"cpus\":%d,%s\n", time.Now().UTC().Format(time.RFC3339), runtime.NumCPU(), strings.TrimPrefix(rep.JSON(), "{"))
	return errors.Join(err, f.Close())
}
