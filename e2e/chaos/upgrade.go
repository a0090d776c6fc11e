//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// UpgradeConfig of an upgrade from an earlier version's data directory, and of the way back.
type UpgradeConfig struct {
	// From is the earlier version: a tag or commit of the repository at Repo.
	From, Repo string
	// Binary is the present version.
	Binary string
	Dir    string // for everything; empty: a temporary one
	// Rate is the simulated equities' events a second, Work how long the earlier version works before each of its ends.
	Rate int
	Work time.Duration
	Keep bool // the directory of a good run too
	Out  io.Writer
}

// firstWithBackup is the first commit with hashpivot backup that refuses a newer schema; it stands in for the version before as long as none is tagged.
const firstWithBackup = "553a0c0"

// DefaultUpgradeConfig suits two processors.
func DefaultUpgradeConfig() UpgradeConfig {
	return UpgradeConfig{From: firstWithBackup, Repo: ".", Binary: "bin/hashpivot", Rate: 300, Work: 10 * time.Second, Out: os.Stderr}
}

// UpgradeReport is the result: its last line.
type UpgradeReport struct {
	Clean   bool     `json:"clean"`
	Failed  []string `json:"failed"`
	From    string   `json:"from"` // commit
	Seconds float64  `json:"seconds"`
	// Schema is the last migration that was applied, by the earlier version and by this one.
	Schema [2]int64 `json:"schema"`
	// Rows were there before the upgrade; of them, after it and on each way back, so many were gone, doubled or had other values.
	Rows int `json:"rows_before"`
	// Killed is the range that was in flight when the earlier version was killed; Left is how many messages had not landed then.
	Killed struct {
		First uint64 `json:"first"`
		Last  uint64 `json:"last"`
		Left  uint64 `json:"left"`
	} `json:"killed_in_flight"`
	// AgainRanges are the recorded ranges that this version landed again at its first start.
	AgainRanges int `json:"ranges_landed_again"`
	// Compared by what was done: how rows of before and the audit stand.
	Compared map[string]Compared `json:"compared"`
	// Refusal is what the earlier version said to the newer directory; empty where it is from before versions refused.
	Refusal string `json:"refusal"`
	// Backup is backup where the earlier version has that command, else copy: of the stopped directory.
	Backup string `json:"backup"`
}

// Compared is a directory held against the rows of before, and its audit.
type Compared struct {
	Missing    int    `json:"missing"`
	Doubled    int    `json:"doubled"`
	Altered    int    `json:"altered"`
	Published  uint64 `json:"published"`
	Landed     uint64 `json:"landed"`
	Dead       uint64 `json:"dead"`
	Pending    uint64 `json:"pending"`
	AuditLost  uint64 `json:"audit_lost"`
	Duplicates uint64 `json:"audit_duplicates"`
	AltAudit   uint64 `json:"audit_altered"`
}

// JSON is the report as one line.
func (r UpgradeReport) JSON() string {
	text, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// upgrade is one run.
type upgrade struct {
	cfg     UpgradeConfig
	dir     string
	spawn   *spawner
	ctx     context.Context //nolint:containedctx // the processes' life, which is the run's and not a call's
	old     string          // the earlier version's binary
	data    string          // the directory that is upgraded
	refuses bool            // the earlier version refuses a newer schema
	columns map[string]string
	before  map[rowPlace]uint64
	rep     UpgradeReport
}

// Upgrade runs the earlier version, upgrades what it left behind, and goes back. The error says what was asked for and not met.
func Upgrade(ctx context.Context, cfg UpgradeConfig) (rep UpgradeReport, err error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	u := &upgrade{cfg: cfg, dir: cfg.Dir, spawn: newSpawner(life), ctx: life}
	u.rep.Failed, u.rep.Compared = []string{}, map[string]Compared{}
	if u.dir == "" {
		if u.dir, err = os.MkdirTemp("", "upgrade"); err != nil {
			return u.rep, err
		}
	}
	began := time.Now()
	if err = u.run(ctx); err != nil {
		u.failed("%s", err)
	}
	u.rep.Seconds = time.Since(began).Seconds()
	u.rep.Clean = len(u.rep.Failed) == 0
	if !u.rep.Clean {
		u.note("everything is kept in %s", u.dir)
		return u.rep, errors.New(strings.Join(u.rep.Failed, "; "))
	}
	if !cfg.Keep && cfg.Dir == "" {
		return u.rep, os.RemoveAll(u.dir)
	}
	return u.rep, nil
}

func (u *upgrade) note(format string, args ...any) {
	_, _ = fmt.Fprintf(u.cfg.Out, "%s upgrade: %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func (u *upgrade) failed(format string, args ...any) {
	u.rep.Failed = append(u.rep.Failed, fmt.Sprintf(format, args...))
}

func (u *upgrade) run(ctx context.Context) error {
	for _, d := range []string{"logs", "source"} {
		if err := os.MkdirAll(filepath.Join(u.dir, d), 0o700); err != nil {
			return err
		}
	}
	u.data = filepath.Join(u.dir, "data")
	for _, step := range []func(context.Context) error{u.build, u.work, u.backup, u.kill, u.forward, u.back, u.restore} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// build makes the earlier version's binary from its sources, as its own Makefile does.
func (u *upgrade) build(ctx context.Context) error {
	commit, err := u.git(ctx, "rev-parse", "--verify", "--short", u.cfg.From+"^{commit}")
	if err != nil {
		return fmt.Errorf("find %s, from which to upgrade: %w; name a tag or commit of this repository", u.cfg.From, err)
	}
	u.rep.From = commit
	_, err = u.git(ctx, "grep", "-q", "ErrNewer", commit, "--", "pkg/store")
	u.refuses = err == nil
	source := filepath.Join(u.dir, "source")
	archive := filepath.Join(u.dir, "source.tar")
	if _, err := u.git(ctx, "archive", "--format=tar", "--output="+archive, commit); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "tar", "-xf", archive, "-C", source).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack the sources of %s: %w: %s", commit, err, out)
	}
	// The engine that is here already is not fetched again.
	if engine, err := filepath.Abs(filepath.Join(u.cfg.Repo, ".cache", "libchdb")); err == nil {
		if _, err := os.Stat(engine); err == nil {
			if err := errors.Join(os.MkdirAll(filepath.Join(source, ".cache"), 0o700), os.Symlink(engine, filepath.Join(source, ".cache", "libchdb"))); err != nil {
				return err
			}
		}
	}
	u.note("building %s", commit)
	if out, err := exec.CommandContext(ctx, "make", "-C", source, "build", "VERSION="+commit).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", commit, err, out)
	}
	u.old = filepath.Join(source, "bin", "hashpivot")
	return nil
}

func (u *upgrade) git(ctx context.Context, args ...string) (string, error) {
	dir, err := filepath.Abs(u.cfg.Repo)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// up is a hashpivot that runs with the simulators on a directory.
type up struct {
	*system // to ask its ClickHouse
	proc    *proc
	bus     *bus.Bus
}

// up starts one and waits until it answers.
func (u *upgrade) up(ctx context.Context, name, binary, data string) (*up, error) {
	_ = os.Remove(filepath.Join(data, "instance.json")) // of the one before
	p, err := u.spawn.run(u.ctx, spec{name: name, path: binary, args: u.upArgs(data)}, filepath.Join(u.dir, "logs"), u.note)
	if err != nil {
		return nil, err
	}
	x := &up{system: &system{}, proc: p}
	err = x.wait(ctx, name+" to be up", startWithin, func(ctx context.Context) error {
		if how := p.lastExit(); how != "" {
			return fmt.Errorf("it ended with %s: %s", how, strings.Join(lastLines(u.log(name), 5), "\n"))
		}
		text, err := os.ReadFile(filepath.Join(data, "instance.json"))
		if err != nil {
			return err
		}
		var in struct {
			NATS           string `json:"nats"`
			ClickHouseHTTP string `json:"clickhouse_http"`
		}
		if err := json.Unmarshal(text, &in); err != nil {
			return err
		}
		if x.web = in.ClickHouseHTTP; x.bus == nil {
			cfg := bus.DefaultConfig()
			cfg.URL, cfg.LookOnly = in.NATS, true
			if x.bus, err = bus.Connect(cfg, nil, quietLog()); err != nil {
				return err
			}
		}
		_, err = x.sql(ctx, "SELECT 1", database)
		return err
	})
	return x, err
}

func (u *upgrade) upArgs(data string) []string {
	return []string{"up", "--sim", "--json", "--free-ports", "--data-dir", data, "--set", fmt.Sprintf("sim.rate=%d", u.cfg.Rate), "--set", "sim.steady=true", "--set", "nightly.enabled=false"}
}

func (u *upgrade) log(name string) string { return filepath.Join(u.dir, "logs", name+".log") }

// end tells it to end in good order.
func (x *up) end(ctx context.Context) error {
	x.bus.Close()
	x.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if err := x.proc.terminate(ctx); err != nil {
		return err
	}
	if how := x.proc.lastExit(); how != "exit 0" {
		return fmt.Errorf("%s ended with %s", x.proc.name, how)
	}
	return nil
}

// grows waits until rows have come since, in every table of the streams that never rest.
func (x *up) grows(ctx context.Context, within time.Duration) error {
	const query = "SELECT least((SELECT count() FROM trades), (SELECT count() FROM quotes), (SELECT count() FROM btc_prices))"
	var first int
	err := x.wait(ctx, "rows", startWithin, func(ctx context.Context) error {
		out, err := x.sql(ctx, query, database)
		if err != nil {
			return err
		}
		if first, err = strconv.Atoi(out); err == nil && first == 0 {
			err = errors.New("there are none")
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := pause(ctx, within); err != nil {
		return err
	}
	return x.wait(ctx, "more rows", startWithin, func(ctx context.Context) error {
		out, err := x.sql(ctx, query, database)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(out)
		if err == nil && n <= first {
			err = fmt.Errorf("there were %d and are %d", first, n)
		}
		return err
	})
}

// schema is the last migration that was applied.
func (x *up) schema(ctx context.Context) (n int64, _ error) {
	out, err := x.sql(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied = 1", database)
	if err == nil {
		n, err = strconv.ParseInt(out, 10, 64)
	}
	return n, err
}

// work runs the earlier version on a fresh directory, takes down what it has landed, and ends it in good order.
func (u *upgrade) work(ctx context.Context) error {
	x, err := u.up(ctx, "before", u.old, u.data)
	if err != nil {
		return err
	}
	if err := x.grows(ctx, u.cfg.Work); err != nil {
		return err
	}
	if u.rep.Schema[0], err = x.schema(ctx); err != nil {
		return err
	}
	if u.columns, err = x.columns(ctx); err != nil {
		return err
	}
	rows, doubled, err := x.values(ctx, u.columns)
	if err != nil {
		return err
	}
	if doubled > 0 || len(rows) == 0 {
		return fmt.Errorf("the earlier version has %d rows and %d doubles", len(rows), doubled)
	}
	u.before, u.rep.Rows = rows, len(rows)
	u.note("%s has landed %d rows of %d tables, at migration %d", u.rep.From, len(rows), len(u.columns), u.rep.Schema[0])
	return x.end(ctx)
}

// columns of each table whose rows have a place in a stream, as they are before the upgrade: it may add some.
func (x *up) columns(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	err := x.rows(ctx, "SELECT table, arrayStringConcat(groupArray(name), ', ') FROM (SELECT table, name FROM system.columns WHERE database = currentDatabase() AND "+
		"table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree') ORDER BY table, position) "+
		"GROUP BY table HAVING countIf(name IN ('stream_seq', 'idx')) = 2", database, func(line string) error {
		table, columns, _ := strings.Cut(line, "\t")
		out[table] = columns
		return nil
	})
	return out, err
}

// values of all rows, as a hash of their text.
func (x *up) values(ctx context.Context, columns map[string]string) (out map[rowPlace]uint64, doubled int, _ error) {
	out = map[rowPlace]uint64{}
	for table, names := range columns {
		err := x.rows(ctx, fmt.Sprintf("SELECT stream_seq, idx, sipHash64(toString(tuple(%s))) FROM %s", names, table), database, func(line string) error {
			var n [3]uint64
			f := strings.Split(line, "\t")
			for i := range n {
				var err error
				if n[i], err = strconv.ParseUint(f[i], 10, 64); err != nil {
					return err
				}
			}
			p := rowPlace{table, n[0], n[1]}
			if _, ok := out[p]; ok {
				doubled++
			}
			out[p] = n[2]
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return out, doubled, nil
}

// backup is made by the earlier version of the stopped directory.
func (u *upgrade) backup(ctx context.Context) error {
	u.rep.Backup = "backup"
	_, errs, err := u.command(ctx, u.old, "backup", "before-upgrade", "--data-dir", u.data)
	if err == nil {
		return nil
	}
	if !strings.Contains(errs, "unexpected argument backup") {
		return err
	}
	u.rep.Backup = "copy"
	if out, err := exec.CommandContext(ctx, "cp", "-a", u.data, filepath.Join(u.dir, "copy")).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the directory: %w: %s", err, out)
	}
	return nil
}

// command runs a command of a hashpivot to its end.
func (u *upgrade) command(ctx context.Context, binary string, args ...string) (out, errs string, _ error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	var o, e strings.Builder
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := u.spawn.start(cmd); err != nil {
		return "", "", err
	}
	err := cmd.Wait()
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", filepath.Base(binary), args[0], err, strings.TrimSpace(e.String()))
	}
	return o.String(), e.String(), err
}

// kill runs the earlier version once more and kills it while a range is in flight: its engine stands still, so the range that is written down is in no table, or in some.
func (u *upgrade) kill(ctx context.Context) error {
	x, err := u.up(ctx, "killed", u.old, u.data)
	if err != nil {
		return err
	}
	if err := x.grows(ctx, u.cfg.Work); err != nil {
		return err
	}
	for _, pid := range x.proc.children() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return fmt.Errorf("stop the engine: %w", err)
		}
	}
	k := &u.rep.Killed
	var since time.Time
	var last bus.Landing
	err = x.wait(ctx, "a range that stays in flight", startWithin, func(ctx context.Context) error {
		l, _, err := x.bus.Landing(ctx, market.Trades)
		if err != nil {
			return err
		}
		info, err := x.bus.Info(ctx, market.Trades)
		if err != nil {
			return err
		}
		if l.Last != last.Last {
			last, since = l, time.Now()
		}
		if time.Since(since) < time.Second || info.LastSeq <= l.Last {
			return errors.New("the record still moves")
		}
		k.First, k.Last, k.Left = l.First, l.Last, info.LastSeq-l.First+1
		return nil
	})
	x.bus.Close()
	if err != nil {
		return err
	}
	if !x.proc.kill() {
		return errors.New("the earlier version was not there any more to be killed")
	}
	x.client.CloseIdleConnections()
	u.note("killed with TRADES %d to %d in flight, %d messages not landed", k.First, k.Last, k.Left)
	return nil
}

// forward opens the directory with the present version.
func (u *upgrade) forward(ctx context.Context) error {
	x, err := u.up(ctx, "after", u.cfg.Binary, u.data)
	if err != nil {
		return err
	}
	if u.rep.Schema[1], err = x.schema(ctx); err != nil {
		return err
	}
	err = x.wait(ctx, "what was left to land", startWithin, func(ctx context.Context) error {
		l, _, err := x.bus.Landing(ctx, market.Trades)
		if err == nil && l.First < u.rep.Killed.First+u.rep.Killed.Left {
			err = fmt.Errorf("TRADES has landed up to %d of %d", l.First-1, u.rep.Killed.First+u.rep.Killed.Left-1)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := x.grows(ctx, time.Second); err != nil {
		return err
	}
	u.note("opened by this version, at migration %d", u.rep.Schema[1])
	if u.rep.AgainRanges, err = countLines(u.log("after"), "landing the recorded range again"); err != nil {
		return err
	}
	if u.rep.AgainRanges == 0 {
		u.failed("no recorded range was landed again, though one was in flight")
	}
	return u.compare(ctx, "upgraded", u.cfg.Binary, u.data, x)
}

// compare holds what a running version reads against the rows of before, ends it, and audits.
func (u *upgrade) compare(ctx context.Context, what, binary, data string, x *up) error {
	var c Compared
	rows, doubled, err := x.values(ctx, u.columns)
	if err != nil {
		return err
	}
	c.Doubled = doubled
	for p, value := range u.before {
		switch is, ok := rows[p]; {
		case !ok:
			c.Missing++
		case is != value:
			c.Altered++
		}
	}
	if err := x.end(ctx); err != nil {
		return err
	}
	return u.audited(ctx, what, binary, data, c)
}

// audited has the stopped directory audited.
func (u *upgrade) audited(ctx context.Context, what, binary, data string, c Compared) error {
	out, _, err := u.command(ctx, binary, "audit", "--json", "--data-dir", data)
	var a audit
	if jerr := json.Unmarshal([]byte(out), &a); jerr != nil {
		return errors.Join(err, fmt.Errorf("read the audit: %w: %.300s", jerr, out))
	}
	for _, s := range a.Streams {
		c.Published, c.Landed, c.Dead, c.Pending = c.Published+s.Published, c.Landed+s.Landed, c.Dead+s.Dead, c.Pending+s.Pending
	}
	c.AuditLost, c.Duplicates, c.AltAudit = a.Lost, a.Duplicates, a.Altered
	u.rep.Compared[what] = c
	u.note("%s: %+v", what, c)
	if c.Missing+c.Doubled+c.Altered > 0 {
		u.failed("%s: of the rows of before %d are gone and %d have other values; %d are doubled", what, c.Missing, c.Altered, c.Doubled)
	}
	if err != nil || c.AuditLost+c.Duplicates+c.AltAudit > 0 || c.Published == 0 {
		u.failed("%s: the audit is not clean: %+v %v", what, c, err)
	}
	return nil
}

// back tries the earlier version on the upgraded directory: it must refuse, say what to do, and leave everything as it is.
func (u *upgrade) back(ctx context.Context) error {
	if !u.refuses || u.rep.Schema[0] == u.rep.Schema[1] {
		u.note("the earlier version is not tried on the upgraded directory: it knows of no newer schema, or the schema is the same")
		return nil
	}
	_, errs, err := u.command(ctx, u.old, u.upArgs(u.data)...)
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	u.rep.Refusal = lines[len(lines)-1]
	if err == nil || !strings.Contains(errs, "newer than this binary") || !strings.Contains(errs, "restore the backup") {
		u.failed("the earlier version does not refuse the upgraded directory, or not with what to do: %v", err)
	}
	x, err := u.up(ctx, "again", u.cfg.Binary, u.data)
	if err != nil {
		return err
	}
	return u.compare(ctx, "refused, opened again", u.cfg.Binary, u.data, x)
}

// restore goes back to the backup of before the upgrade with the earlier version, and once more with this one.
func (u *upgrade) restore(ctx context.Context) error {
	backup := filepath.Join(u.data, "backups", "before-upgrade")
	back := filepath.Join(u.dir, "copy")
	if u.rep.Backup == "backup" {
		back = filepath.Join(u.dir, "back")
		if _, _, err := u.command(ctx, u.old, "restore", backup, "--data-dir", back); err != nil {
			return err
		}
	}
	x, err := u.up(ctx, "back", u.old, back)
	if err != nil {
		return err
	}
	if err := x.grows(ctx, time.Second); err != nil {
		return err
	}
	if n, err := x.schema(ctx); err != nil || n != u.rep.Schema[0] {
		u.failed("restored by the earlier version, the schema is at %d, not at %d: %v", n, u.rep.Schema[0], err)
	}
	if err := u.compare(ctx, "back, by the earlier version", u.old, back, x); err != nil || u.rep.Backup != "backup" {
		return err
	}
	ahead := filepath.Join(u.dir, "ahead")
	if _, _, err := u.command(ctx, u.cfg.Binary, "restore", backup, "--data-dir", ahead); err != nil {
		return err
	}
	if x, err = u.up(ctx, "ahead", u.cfg.Binary, ahead); err != nil {
		return err
	}
	return u.compare(ctx, "the earlier version's backup, restored by this one", u.cfg.Binary, ahead, x)
}

// countLines of a log with a text in them.
func countLines(path, text string) (n int, _ error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n, nil
}
