package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
)

type exportCmd struct {
	Table     string   `help:"Table or view without parameters." placeholder:"TABLE"`
	Query     string   `help:"Any SELECT instead, such as that of a view with parameters." placeholder:"SQL"`
	Name      string   `help:"With --query: directory of its files." placeholder:"NAME"`
	From      string   `help:"From: a date, a time, or a duration before now (72h); a partition is always whole." placeholder:"TIME"`
	To        string   `help:"Up to, exclusive." placeholder:"TIME"`
	Symbols   []string `help:"These symbols only, with commas." placeholder:"SYMBOL"`
	AsOf      string   `help:"As it was known at this moment." placeholder:"TIME"`
	Partition string   `help:"A file a day, month or none of event_time (or of the column minute or day of a view)." default:"day" placeholder:"PERIOD"`
	BySymbol  bool     `help:"And a file a symbol."`
	Out       string   `required:"" help:"Directory." placeholder:"DIR"`
}

// Run exports. What is whole and unchanged is left as it is.
func (c *exportCmd) Run(a *app) error {
	now := time.Now().UTC()
	e := &export{app: a, partition: c.Partition, bySymbol: c.BySymbol, symbols: c.Symbols, query: strings.TrimRight(strings.TrimSpace(c.Query), "; \n"), name: c.Name}
	if err := c.check(e, now); err != nil {
		return run.Usage(err)
	}
	b, _, err := a.attachStore()
	if err != nil {
		return err
	}
	defer b.close()
	e.store = b.store
	if e.query == "" {
		e.name = c.Table
	}
	if err := e.look(a.ctx, c.Table); err != nil {
		return err
	}
	e.dir = filepath.Join(c.Out, e.name)
	if err := os.MkdirAll(e.dir, 0o755); err != nil {
		return run.Usage(fmt.Errorf("--out: %w", err))
	}
	lock, err := os.OpenFile(filepath.Join(e.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return run.Usage(fmt.Errorf("--out: %w", err))
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return run.Usage(fmt.Errorf("another export writes %s", e.dir))
	}
	err = e.run(a.ctx)
	if err != nil && a.ctx.Err() != nil {
		return fmt.Errorf("%w; run it again to go on", err)
	}
	return err
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (c *exportCmd) check(e *export, now time.Time) (err error) {
	switch {
	case (c.Table == "") == (e.query == ""):
		return errors.New("give one of --table and --query")
	case c.Table != "" && !plainName.MatchString(c.Table):
		return fmt.Errorf("--table: %.64q is not the name of a table or view", c.Table)
	case e.query != "" && !plainName.MatchString(c.Name):
		return fmt.Errorf("--name: %.64q is no plain name; with --query, give one for the directory", c.Name)
	case e.query != "" && (c.AsOf != "" || len(c.Symbols) > 0):
		return errors.New("--as-of and --symbols belong to --table; write them into the query")
	case c.Partition != "day" && c.Partition != "month" && c.Partition != "none":
		return fmt.Errorf("--partition: %.32q is none of day, month, none", c.Partition)
	}
	if e.from, err = run.ParseTime(c.From, now); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if e.to, err = run.ParseTime(c.To, now); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	if e.asOf, err = run.ParseTime(c.AsOf, now); err != nil {
		return fmt.Errorf("--as-of: %w", err)
	}
	if !e.to.IsZero() && !e.from.Before(e.to) {
		return fmt.Errorf("--to: %s is not after --from", c.To)
	}
	for i, s := range e.symbols {
		e.symbols[i] = strings.ToUpper(strings.TrimSpace(s))
	}
	slices.Sort(e.symbols)
	e.symbols = slices.Compact(e.symbols)
	return nil
}

// export is one run.
type export struct {
	app       *app
	store     *store.Store
	dir       string
	name      string
	query     string // of --query, else of the table
	from, to  time.Time
	asOf      time.Time // zero: as things stand
	symbols   []string
	partition string
	bySymbol  bool

	time    string // column that partitions and ranges are taken of
	isDate  bool
	order   string
	cursor  bool // rows have stream_seq and idx
	columns []string
	schema  string
	where   []string

	manifest manifest
	saved    time.Time
}

// manifest says what lies in the directory. It is replaced as a whole.
type manifest struct {
	Version   int                 `json:"version"`
	Query     string              `json:"query"` // without its period
	AsOf      string              `json:"as_of,omitempty"`
	Partition string              `json:"partition"`
	BySymbol  bool                `json:"by_symbol"`
	Files     map[string]fileNote `json:"files"`
}

// fileNote is a file that is whole. It tells whether the rows in the database are still the file's.
type fileNote struct {
	Rows        uint64    `json:"rows"`
	MinCursor   string    `json:"min_cursor,omitempty"` // stream_seq:idx
	MaxCursor   string    `json:"max_cursor,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"` // where rows have no cursor: a sum of their hashes
	Schema      string    `json:"schema"`                // a hash of the columns and their types
	Bytes       int64     `json:"bytes"`
	AsOf        time.Time `json:"as_of"` // when it was read, or what was asked for
	Version     string    `json:"hashpivot"`
}

func (n fileNote) same(m fileNote) bool {
	return n.Rows == m.Rows && n.MinCursor == m.MinCursor && n.MaxCursor == m.MaxCursor && n.Fingerprint == m.Fingerprint && n.Schema == m.Schema
}

// what changed since, in words.
func (n fileNote) changes(now fileNote) string {
	switch {
	case n.MaxCursor != now.MaxCursor:
		return fmt.Sprintf("rows %d, now %d; last cursor %s, now %s", n.Rows, now.Rows, n.MaxCursor, now.MaxCursor)
	case n.Rows != now.Rows:
		return fmt.Sprintf("rows %d, now %d", n.Rows, now.Rows)
	case n.Schema != now.Schema:
		return "columns differ"
	}
	return "values differ"
}

const (
	exportVersion = 1
	manifestFile  = "manifest.json"
	saveEvery     = 2 * time.Second
	tmpSuffix     = ".writing"
)

// look learns what the table's or query's columns are, and makes the query of them.
func (e *export) look(ctx context.Context, table string) error {
	order := ""
	if e.query == "" {
		from := table
		if !e.asOf.IsZero() {
			_, err := e.store.Query(ctx, "DESCRIBE TABLE (SELECT * FROM "+table+"_as_of(as_of = '2200-01-01 00:00:00'))")
			if err == nil {
				from = fmt.Sprintf("%s_as_of(as_of = '%s')", table, sqlTime(e.asOf))
			}
		}
		e.query = "SELECT * FROM " + from
		res, err := e.store.Query(ctx, "SELECT sorting_key, engine FROM system.tables WHERE database = currentDatabase() AND name = "+sqlText(table))
		if err != nil {
			return err
		}
		if len(res.Rows) == 0 {
			return run.Usage(fmt.Errorf("--table: there is no table or view %s in the database", table))
		}
		order, _ = res.Rows[0][0].(string)
		if err := e.describe(ctx); err != nil {
			return fmt.Errorf("%w; for a view with parameters, give --query \"SELECT * FROM %s(…)\"", err, table)
		}
		if !e.asOf.IsZero() && from == table {
			if !slices.Contains(e.columns, "stream_time") {
				return run.Usage(fmt.Errorf("--as-of: %s has neither stream_time nor a view %s_as_of", table, table))
			}
			e.query += fmt.Sprintf(" WHERE stream_time <= toDateTime64('%s', 9, 'UTC')", sqlTime(e.asOf))
		}
	} else if err := e.describe(ctx); err != nil {
		return err
	}
	e.cursor = slices.Contains(e.columns, "stream_seq") && slices.Contains(e.columns, "idx")
	hasSymbol := slices.Contains(e.columns, "symbol")
	switch {
	case e.time == "" && (e.partition != "none" || !e.from.IsZero() || !e.to.IsZero()):
		return run.Usage(fmt.Errorf("%s has no column event_time, minute or day: give --partition none, and no --from or --to", e.name))
	case (e.bySymbol || len(e.symbols) > 0) && !hasSymbol:
		return run.Usage(fmt.Errorf("%s has no column symbol", e.name))
	}
	e.bounds()
	if len(e.symbols) > 0 {
		quoted := make([]string, len(e.symbols))
		for i, s := range e.symbols {
			quoted[i] = sqlText(s)
		}
		e.where = append(e.where, "symbol IN ("+strings.Join(quoted, ", ")+")")
	}
	// The table's own order is read without sorting; for the others one that is the same each time.
	if e.order = order; e.order == "" {
		var keys []string
		for _, k := range []string{"mark", "symbol", "gpu", "fleet", "kind", "name", "source", "method", "interval", "factor", e.time, "stream_seq", "idx"} {
			if k != "" && slices.Contains(e.columns, k) {
				keys = append(keys, k)
			}
		}
		e.order = strings.Join(keys, ", ")
	}
	return nil
}

func (e *export) describe(ctx context.Context) error {
	res, err := e.store.Query(ctx, "DESCRIBE TABLE ("+e.query+")")
	if err != nil {
		return err
	}
	types := map[string]string{}
	hash := fnv.New64a()
	for _, r := range res.Rows {
		name, _ := r[0].(string)
		types[name], _ = r[1].(string)
		e.columns = append(e.columns, name)
		_, _ = fmt.Fprintln(hash, name, types[name])
	}
	e.schema = strconv.FormatUint(hash.Sum64(), 16)
	for _, name := range []string{"event_time", "minute", "day"} {
		if strings.Contains(types[name], "Date") {
			e.time, e.isDate = name, strings.Contains(types[name], "Date") && !strings.Contains(types[name], "DateTime")
			break
		}
	}
	return nil
}

// bounds rounds the range outwards to whole partitions, so that a file is always a whole one.
func (e *export) bounds() {
	from, to := e.from, e.to
	floor := func(t time.Time) time.Time { return t }
	next := floor
	switch e.partition {
	case "day":
		floor = func(t time.Time) time.Time { return t.Truncate(24 * time.Hour) }
		next = func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }
	case "month":
		floor = func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) }
		next = func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }
	}
	if !from.IsZero() {
		e.where = append(e.where, e.time+" >= "+e.timeText(floor(from)))
	}
	if !to.IsZero() {
		if f := floor(to); f.Before(to) {
			to = next(f)
		}
		e.where = append(e.where, e.time+" < "+e.timeText(to))
	}
}

func (e *export) timeText(t time.Time) string {
	if e.isDate {
		return "toDate32('" + t.Format(time.DateOnly) + "')"
	}
	return "toDateTime64('" + sqlTime(t) + "', 9, 'UTC')"
}

func sqlTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000000") }

func sqlText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// part is a file to be: its place, its rows' condition, and what the database has of it now.
type part struct {
	path  string
	where []string
	now   fileNote
}

// periodExpr is the first day of a row's period.
func (e *export) periodExpr() string {
	switch e.partition {
	case "day":
		return "toDate32(" + e.time + ")"
	case "month":
		return "toDate32(toStartOfMonth(" + e.time + "))"
	}
	return "toDate32('1970-01-01')"
}

// parts asks the database what there is.
func (e *export) parts(ctx context.Context) ([]part, error) {
	symbol := "''"
	if e.bySymbol {
		symbol = "toString(symbol)"
	}
	note := "'', '', toString(sum(cityHash64(toString(tuple(*)))))"
	if e.cursor {
		note = "concat(toString(min((stream_seq, idx)).1), ':', toString(min((stream_seq, idx)).2)), " +
			"concat(toString(max((stream_seq, idx)).1), ':', toString(max((stream_seq, idx)).2)), ''"
	}
	sql := "SELECT " + e.periodExpr() + " AS export_period, " + symbol + " AS export_symbol, count(), " + note + " FROM (" + e.query + ")" + where(e.where) +
		" GROUP BY export_period, export_symbol ORDER BY export_period, export_symbol"
	var out []part
	err := e.store.QueryEach(ctx, sql, func([]string, []string) error { return nil }, func(row []any) error {
		day, _ := row[0].(time.Time)
		sym, _ := row[1].(string)
		rows, _ := row[2].(uint64)
		p := part{now: fileNote{Rows: rows, Schema: e.schema}}
		p.now.MinCursor, _ = row[3].(string)
		p.now.MaxCursor, _ = row[4].(string)
		p.now.Fingerprint, _ = row[5].(string)
		var dirs []string
		switch e.partition {
		case "day":
			dirs = append(dirs, "date="+day.Format(time.DateOnly))
			p.where = append(p.where, e.time+" >= "+e.timeText(day), e.time+" < "+e.timeText(day.AddDate(0, 0, 1)))
		case "month":
			dirs = append(dirs, "month="+day.Format("2006-01"))
			p.where = append(p.where, e.time+" >= "+e.timeText(day), e.time+" < "+e.timeText(day.AddDate(0, 1, 0)))
		}
		if e.bySymbol {
			dirs = append(dirs, "symbol="+hiveValue(sym))
			p.where = append(p.where, "symbol = "+sqlText(sym))
		}
		p.path = strings.Join(append(dirs, e.name+".parquet"), "/")
		out = append(out, p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ask what there is to export: %w", err)
	}
	return out, nil
}

// hiveValue is a symbol as a directory's name: what no file system minds stays, the rest is %XX, which readers of such directories take back.
func hiveValue(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(conditions, " AND ")
}

// identity is the query without its period: what must be the same for files of one directory.
func (e *export) identity() string {
	if len(e.symbols) == 0 {
		return e.query
	}
	return e.query + " -- symbols " + strings.Join(e.symbols, ",")
}

// exportResult is what a run did.
type exportResult struct {
	Name     string  `json:"name"`
	Dir      string  `json:"dir"`
	Files    int     `json:"files"`
	New      int     `json:"new"`
	Changed  int     `json:"changed"`
	Whole    int     `json:"whole"` // left as they were
	Rows     uint64  `json:"rows"`  // written
	Bytes    int64   `json:"bytes"` // written
	Seconds  float64 `json:"seconds"`
	Vanished int     `json:"vanished"` // files of the range whose rows the database has no more
}

func (e *export) run(ctx context.Context) (err error) {
	start := time.Now()
	if err := e.load(); err != nil {
		return err
	}
	parts, err := e.parts(ctx)
	if err != nil {
		return err
	}
	res := exportResult{Name: e.name, Dir: e.dir, Files: len(parts)}
	defer func() {
		if serr := e.save(true); err == nil {
			err = serr
		}
	}()
	for _, p := range parts {
		why := "new"
		had, known := e.manifest.Files[p.path]
		if !known {
			// Whole, but the run ended before the manifest said so: the file tells it itself.
			if had, known = e.adopt(p.path); known {
				e.manifest.Files[p.path] = had
			}
		}
		if known {
			info, serr := os.Stat(filepath.Join(e.dir, p.path))
			switch {
			case serr != nil:
				why = "file is gone"
			case info.Size() != had.Bytes:
				why = "file is damaged"
			case had.same(p.now):
				res.Whole++
				continue
			default:
				why = "changed: " + had.changes(p.now)
			}
		}
		note, err := e.write(ctx, p)
		if err != nil {
			return fmt.Errorf("export %s: %w", p.path, err)
		}
		e.manifest.Files[p.path] = note
		if err := e.save(false); err != nil {
			return err
		}
		if why == "new" {
			res.New++
		} else {
			res.Changed++
		}
		res.Rows += note.Rows
		res.Bytes += note.Bytes
		e.tell(p.path, note, why)
	}
	res.Vanished = e.vanished(parts)
	res.Seconds = float64(time.Since(start).Milliseconds()) / 1e3
	return e.summary(res)
}

// vanished counts files whose rows are gone: what was asked for without a range, and the database has none of.
func (e *export) vanished(parts []part) int {
	if !e.from.IsZero() || !e.to.IsZero() {
		return 0
	}
	return len(e.manifest.Files) - len(parts)
}

func (e *export) tell(path string, n fileNote, why string) {
	if e.app.cli.JSON {
		line, _ := json.Marshal(struct {
			File string `json:"file"`
			Why  string `json:"why"`
			fileNote
		}{path, why, n})
		e.app.printf("%s\n", line)
		return
	}
	e.app.printf("%s: %d rows, %d bytes (%s)\n", path, n.Rows, n.Bytes, why)
}

func (e *export) summary(r exportResult) error {
	if e.app.cli.JSON {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		e.app.printf("%s\n", line)
		return nil
	}
	e.app.printf("%s: %d files in %s: %d new, %d written again, %d were whole; %d rows, %d bytes written in %.1f s\n",
		r.Name, r.Files, r.Dir, r.New, r.Changed, r.Whole, r.Rows, r.Bytes, r.Seconds)
	if r.Vanished > 0 {
		e.app.printf("%d files hold rows that the database has no more; they were left as they are\n", r.Vanished)
	}
	return nil
}

// write reads a part and puts its file in place: under another name until it is on the disk.
func (e *export) write(ctx context.Context, p part) (note fileNote, err error) {
	path := filepath.Join(e.dir, filepath.FromSlash(p.path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fileNote{}, err
	}
	tmp := path + tmpSuffix
	f, err := os.Create(tmp)
	if err != nil {
		return fileNote{}, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(tmp)
		}
	}()
	sql := "SELECT * FROM (" + e.query + ")" + where(append(slices.Clone(e.where), p.where...))
	if e.order != "" {
		sql += " ORDER BY " + e.order
	}
	note = fileNote{AsOf: e.asOf, Version: version(), Fingerprint: p.now.Fingerprint, Schema: p.now.Schema}
	if e.asOf.IsZero() {
		note.AsOf = time.Now().UTC() // before the query sees anything
	}
	var w *parquetWriter
	var first, last cursorRange
	err = e.store.QueryBlocks(ctx, sql+" SETTINGS optimize_read_in_order = 1, max_bytes_before_external_sort = 268435456", func(columns []*store.Column) (err error) {
		for _, c := range columns {
			if c.Name == "stream_seq" {
				first.seq, last.seq = c, c
			}
			if c.Name == "idx" {
				first.idx, last.idx = c, c
			}
		}
		w, err = newParquetWriter(f, columns)
		return err
	}, func(rows int) error {
		if e.cursor {
			first.look(rows, func(a, b uint64) bool { return a < b })
			last.look(rows, func(a, b uint64) bool { return a > b })
		}
		return w.write(rows)
	})
	if err != nil {
		return fileNote{}, err
	}
	note.Rows = uint64(w.rows)
	if e.cursor {
		note.MinCursor, note.MaxCursor = first.text(), last.text()
	}
	asked := ""
	if !e.asOf.IsZero() {
		asked = sqlTime(e.asOf)
	}
	about := map[string]string{
		"hashpivot.query": sql, "hashpivot.export": e.identity(), "hashpivot.as_of": note.AsOf.Format(time.RFC3339Nano), "hashpivot.as_of_asked": asked,
		"hashpivot.version": note.Version, "hashpivot.rows": strconv.FormatUint(note.Rows, 10), "hashpivot.min_cursor": note.MinCursor,
		"hashpivot.max_cursor": note.MaxCursor, "hashpivot.fingerprint": note.Fingerprint, "hashpivot.schema": note.Schema, "hashpivot.partition": e.partition,
		"hashpivot.by_symbol": strconv.FormatBool(e.bySymbol),
	}
	if err := w.close(about); err != nil {
		return fileNote{}, err
	}
	if note.Bytes, err = f.Seek(0, io.SeekEnd); err != nil {
		return fileNote{}, err
	}
	if err := f.Sync(); err != nil {
		return fileNote{}, err
	}
	if err := f.Close(); err != nil {
		return fileNote{}, err
	}
	if err := os.Rename(tmp, path); err != nil {
		return fileNote{}, err
	}
	return note, syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// cursorRange finds the first or last cursor of the blocks that it sees.
type cursorRange struct {
	seq, idx *store.Column
	s, i     uint64
	any      bool
}

func (c *cursorRange) look(rows int, before func(a, b uint64) bool) {
	for r := range rows {
		s, i := uint64(signed(c.seq.Bytes(r), store.KindUint)), uint64(uint32(signed(c.idx.Bytes(r), store.KindUint)))
		if !c.any || before(s, c.s) || s == c.s && before(i, c.i) {
			c.s, c.i, c.any = s, i, true
		}
	}
}

func (c *cursorRange) text() string {
	if !c.any {
		return ""
	}
	return fmt.Sprintf("%d:%d", c.s, c.i)
}
