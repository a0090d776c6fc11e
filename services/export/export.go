// Package export writes tables, views and answers of queries as Parquet files, a file a period, and goes on where an earlier run ended. docs/export.md describes it.
package export

import (
	"context"
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

// Options say what is exported, and where to.
type Options struct {
	Table string // or view without parameters
	Query string // any SELECT instead
	Name  string // with Query: the directory of its files
	// From and To (exclusive) are rounded outwards to whole partitions; zero: no bound.
	From, To time.Time
	AsOf     time.Time // zero: as things stand
	Symbols  []string  // empty: all
	// Partition is day, month or none of event_time, or of the column minute or day of a view.
	Partition string
	BySymbol  bool // and a file a symbol
	Dir       string
	Version   string // of the program, for the files' metadata
}

// File is a file that was written, and why.
type File struct {
	Path string `json:"file"`
	Why  string `json:"why"`
	Note
}

// Run exports, and tells of each file that it wrote. What is whole and unchanged is left as it is.
func Run(ctx context.Context, st *store.Store, opt Options, told func(File) error) (Result, error) {
	if err := opt.Validate(); err != nil {
		return Result{}, run.Usage(err)
	}
	e := &export{
		store: st, told: told, version: opt.Version, name: opt.Name, query: strings.TrimRight(strings.TrimSpace(opt.Query), "; \n"), from: opt.From, to: opt.To, asOf: opt.AsOf,
		partition: opt.Partition, bySymbol: opt.BySymbol,
	}
	for _, s := range opt.Symbols {
		e.symbols = append(e.symbols, strings.ToUpper(strings.TrimSpace(s)))
	}
	slices.Sort(e.symbols)
	e.symbols = slices.Compact(e.symbols)
	if e.query == "" {
		e.name = opt.Table
	}
	// Who may only read exports what the replica that answers has.
	if err := st.CatchUp(ctx); err != nil && !store.IsDenied(err) {
		return Result{}, err
	}
	if err := e.look(ctx, opt.Table); err != nil {
		return Result{}, err
	}
	e.dir = filepath.Join(opt.Dir, e.name)
	if err := os.MkdirAll(e.dir, 0o755); err != nil { //nolint:gosec // exports are for others to read; the umask says for whom
		return Result{}, run.Usage(fmt.Errorf("--out: %w", err))
	}
	lock, err := os.OpenFile(filepath.Join(e.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return Result{}, run.Usage(fmt.Errorf("--out: %w", err))
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return Result{}, run.Usage(fmt.Errorf("another export writes %s", e.dir))
	}
	res, err := e.run(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w; run it again to go on", err)
	}
	return res, err
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Validate names the option that is wrong, as the command line calls it.
func (o Options) Validate() error {
	switch {
	case (o.Table == "") == (strings.TrimSpace(o.Query) == ""):
		return errors.New("give one of --table and --query")
	case o.Table != "" && !plainName.MatchString(o.Table):
		return fmt.Errorf("--table: %.64q is not the name of a table or view", o.Table)
	case o.Query != "" && !plainName.MatchString(o.Name):
		return fmt.Errorf("--name: %.64q is no plain name; with --query, give one for the directory", o.Name)
	case o.Query != "" && (!o.AsOf.IsZero() || len(o.Symbols) > 0):
		return errors.New("--as-of and --symbols belong to --table; write them into the query")
	case o.Partition != "day" && o.Partition != "month" && o.Partition != "none":
		return fmt.Errorf("--partition: %.32q is none of day, month, none", o.Partition)
	case !o.To.IsZero() && !o.From.Before(o.To):
		return fmt.Errorf("--to: %s is not after --from", o.To.Format(time.RFC3339))
	}
	return nil
}

// export is one run.
type export struct {
	store     *store.Store
	told      func(File) error
	version   string
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
		columns, err := e.columnsOf(ctx, table)
		if err != nil {
			return err
		}
		e.query = "SELECT " + columns + " FROM " + from
		res, err := e.store.Query(ctx, "SELECT sorting_key, engine FROM system.tables WHERE database = currentDatabase() AND name = "+store.QuoteText(table))
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
			quoted[i] = store.QuoteText(s)
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

// columnsOf are what is selected of a table: everything, but of one that computes columns, which * leaves out, what its view as of a moment has. What those columns
// are computed from is not exported.
func (e *export) columnsOf(ctx context.Context, table string) (string, error) {
	computes, err := e.store.Query(ctx, "SELECT 1 FROM system.columns WHERE database = currentDatabase() AND table = "+store.QuoteText(table)+" AND default_kind = 'ALIAS' LIMIT 1")
	if err != nil || len(computes.Rows) == 0 {
		return "*", err
	}
	res, err := e.store.Query(ctx, "DESCRIBE TABLE (SELECT * FROM "+table+"_as_of(as_of = '2200-01-01 00:00:00'))")
	if _, spoken := store.Code(err); spoken { // somebody's own table, of which there is no such view
		return "*", nil
	}
	if err != nil {
		return "", err
	}
	names := make([]string, len(res.Rows))
	for i, r := range res.Rows {
		names[i], _ = r[0].(string)
	}
	return strings.Join(names, ", "), nil
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

// part is a file to be: its place, its rows' condition, and what the database has of it now.
type part struct {
	path  string
	where []string
	now   Note
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
		p := part{now: Note{Rows: rows, Schema: e.schema}}
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
			p.where = append(p.where, "symbol = "+store.QuoteText(sym))
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

// Result is what a run did.
type Result struct {
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

func (e *export) run(ctx context.Context) (res Result, err error) {
	start := time.Now()
	if err := e.load(); err != nil {
		return res, err
	}
	parts, err := e.parts(ctx)
	if err != nil {
		return res, err
	}
	res = Result{Name: e.name, Dir: e.dir, Files: len(parts)}
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
			return res, fmt.Errorf("export %s: %w", p.path, err)
		}
		e.manifest.Files[p.path] = note
		if err := e.save(false); err != nil {
			return res, err
		}
		if why == "new" {
			res.New++
		} else {
			res.Changed++
		}
		res.Rows += note.Rows
		res.Bytes += note.Bytes
		if err := e.told(File{p.path, why, note}); err != nil {
			return res, err
		}
	}
	res.Vanished = e.vanished(parts)
	res.Seconds = float64(time.Since(start).Milliseconds()) / 1e3
	return res, nil
}

// vanished counts files whose rows are gone: what was asked for without a range, and the database has none of.
func (e *export) vanished(parts []part) int {
	if !e.from.IsZero() || !e.to.IsZero() {
		return 0
	}
	return len(e.manifest.Files) - len(parts)
}

// write reads a part and puts its file in place: under another name until it is on the disk.
func (e *export) write(ctx context.Context, p part) (note Note, err error) {
	path := filepath.Join(e.dir, filepath.FromSlash(p.path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as above
		return Note{}, err
	}
	tmp := path + tmpSuffix
	f, err := os.Create(tmp)
	if err != nil {
		return Note{}, err
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
	note = Note{AsOf: e.asOf, Version: e.version, Fingerprint: p.now.Fingerprint, Schema: p.now.Schema}
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
		w, err = newParquetWriter(f, e.version, columns)
		return err
	}, func(rows int) error {
		if e.cursor {
			first.look(rows, func(a, b uint64) bool { return a < b })
			last.look(rows, func(a, b uint64) bool { return a > b })
		}
		return w.write(rows)
	})
	if err != nil {
		return Note{}, err
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
		return Note{}, err
	}
	if note.Bytes, err = f.Seek(0, io.SeekEnd); err != nil {
		return Note{}, err
	}
	if err := f.Sync(); err != nil {
		return Note{}, err
	}
	if err := f.Close(); err != nil {
		return Note{}, err
	}
	if err := os.Rename(tmp, path); err != nil {
		return Note{}, err
	}
	return note, syncDir(filepath.Dir(path))
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
