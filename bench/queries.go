package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/store"
)

var (
	queryRows     = flag.Int("rows", 10_000_000, "trades of queries and cookbook; a billion is what the aims speak of")
	queryDatabase = flag.String("database", "", "directory of the database of queries and cookbook, kept and used again (default: one of its own, removed)")
)

// queryRuns are the warm runs of each query; no other is begun after queryLimit.
const (
	queryRuns  = 7
	queryLimit = 15 * time.Second
)

// queryDB is a generated database with the engine over it.
type queryDB struct {
	dir    string
	engine *chembed.Server
	store  *store.Store
	remove bool
}

func openQueryDB(ctx context.Context, print func(figure)) (_ *queryDB, err error) {
	q := &queryDB{dir: *queryDatabase}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.close(ctx))
		}
	}()
	if q.dir == "" {
		if q.dir, err = os.MkdirTemp("", "hashpivot-bench-*"); err != nil {
			return nil, err
		}
		q.remove = true
	}
	cfg := engineConfig(q.dir)
	cfg.MaxMemoryPerQuery = 6 << 30
	if q.engine, err = chembed.Start(ctx, cfg); err != nil {
		return nil, err
	}
	scfg := store.DefaultConfig()
	scfg.Addr, scfg.MaxMemoryUsage, scfg.ReadTimeout = []string{q.engine.NativeAddr()}, 6<<30, time.Hour
	if q.store, err = store.Open(ctx, scfg, quiet()); err != nil {
		return nil, err
	}
	if err := q.store.Migrate(ctx); err != nil {
		return nil, err
	}
	had, err := q.number(ctx, "SELECT count() FROM trades")
	if err != nil {
		return nil, err
	}
	if had == 0 {
		start := time.Now()
		if err := fillDatabase(ctx, q.store, *queryRows); err != nil {
			return nil, err
		}
		if had, err = q.number(ctx, "SELECT count() FROM trades"); err != nil {
			return nil, err
		}
		print(figure{Name: "queries_generate", Value: rate(int(had), time.Since(start)), Unit: "trades/s"})
	}
	quotes, err := q.number(ctx, "SELECT count() FROM quotes")
	if err != nil {
		return nil, err
	}
	print(figure{Name: "queries_trades", Value: had, Unit: "rows"})
	print(figure{Name: "queries_quotes", Value: quotes, Unit: "rows"})
	return q, q.settle(ctx)
}

// settle waits until the parts of a month are few, as they are in a database that has been running: merges go on by themselves.
func (q *queryDB) settle(ctx context.Context) error {
	months, err := q.store.Query(ctx, `SELECT table, partition_id FROM system.parts
		WHERE database = currentDatabase() AND active AND table IN ('trades', 'quotes', 'plain') GROUP BY table, partition_id HAVING count() > 4 ORDER BY table, partition_id`)
	if err != nil {
		return err
	}
	for _, r := range months.Rows {
		if err := q.store.Exec(ctx, fmt.Sprintf("OPTIMIZE TABLE %v PARTITION ID '%v'", r[0], r[1])); err != nil {
			return fmt.Errorf("merge %v of %v: %w", r[1], r[0], err)
		}
	}
	return nil
}

func (q *queryDB) close(ctx context.Context) error {
	var errs []error
	if q.store != nil {
		errs = append(errs, q.store.Close())
	}
	if q.engine != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		errs = append(errs, q.engine.Close(end))
	}
	if q.remove {
		errs = append(errs, os.RemoveAll(q.dir))
	}
	return errors.Join(errs...)
}

func (q *queryDB) number(ctx context.Context, sql string) (float64, error) {
	res, err := q.store.Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	var v float64
	if _, err := fmt.Sscan(fmt.Sprint(res.Rows[0][0]), &v); err != nil {
		return 0, fmt.Errorf("%s: %w", sql, err)
	}
	return v, nil
}

// took is how long a query took whose whole answer was read, milliseconds: the first time, when neither the engine nor the system had its files in memory, then the
// median and the best of the others. Of a busy machine the best tells more.
type took struct {
	cold, warm, best float64
	rows             int
}

// print prints it, as a ratio to than if there is one.
func (t took) print(print func(figure), name, thanName string, than *took) {
	for _, f := range []struct {
		name string
		of   func(took) float64
	}{
		{"_cold", func(t took) float64 { return t.cold }},
		{"_warm", func(t took) float64 { return t.warm }},
		{"_warm_best", func(t took) float64 { return t.best }},
	} {
		out := figure{Name: name + f.name, Value: f.of(t), Unit: "ms"}
		if than != nil {
			out.Ratio, out.RatioTo = f.of(t)/f.of(*than), thanName+f.name
		}
		print(out)
	}
}

func (q *queryDB) time(ctx context.Context, sql string) (out took, err error) {
	if err := q.forget(ctx); err != nil {
		return out, err
	}
	var runs []float64
	begun := time.Now()
	for i := range queryRuns + 1 {
		if len(runs) > 0 && time.Since(begun) > queryLimit {
			break
		}
		out.rows = 0
		start := time.Now()
		err := q.store.QueryEach(ctx, sql, func([]string, []string) error { return nil }, func([]any) error { out.rows++; return nil })
		ms := float64(time.Since(start).Microseconds()) / 1000
		if err != nil {
			return out, err
		}
		if i == 0 {
			out.cold = ms
		} else {
			runs = append(runs, ms)
		}
	}
	slices.Sort(runs)
	out.warm, out.best = runs[len(runs)/2], runs[0]
	return out, nil
}

// forget drops what the engine keeps of its files, and asks the system to drop theirs: no other process's.
func (q *queryDB) forget(ctx context.Context) error {
	for _, what := range []string{"MARK", "UNCOMPRESSED", "PRIMARY INDEX"} {
		if err := q.store.Exec(ctx, "SYSTEM DROP "+what+" CACHE"); err != nil {
			return err
		}
	}
	return filepath.WalkDir(q.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // merged away meanwhile
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// benchQuery is a query of the aims, on this schema and on the plain one.
type benchQuery struct {
	name, sql, plain string
}

// The plain schema has the same columns without codecs, ordered by time; empty where it is not asked.
var benchQueries = []benchQuery{
	{
		"last_value_of_all_symbols",
		"SELECT symbol, source, event_time, price_usd, size_shares, exchange FROM trades_last(days = 3)",
		benchLast,
	},
	{
		"last_value_of_all_symbols_ever",
		"SELECT symbol, source, event_time, price_usd, size_shares, exchange FROM trades_last(days = 10000)",
		"",
	},
	{
		"day_of_minute_bars",
		strings.ReplaceAll(benchMinutes, "{table}", "trades"),
		strings.ReplaceAll(benchMinutes, "{table}", "plain"),
	},
	{"year_of_pivot_wide_1d", "SELECT * FROM pivot_wide_1d(from_date = '2025-11-21', to_date = '2026-11-20') WHERE symbol IN ('WGMI', 'CORZ', 'BTBT', 'IREN')", ""},
	{"year_of_pivot_wide_1d_all_symbols", "SELECT * FROM pivot_wide_1d(from_date = '2025-11-21', to_date = '2026-11-20')", ""},
	{"year_of_pivot", "SELECT day, premium, reason FROM pivot WHERE fleet = 'fleet' AND preferred AND gpu = 'h100-sxm' AND day > '2025-11-20' ORDER BY day", ""},
	{"asof_day_of_one_symbol", benchASOF("trades", "quotes", "symbol = 'IREN' AND "), benchASOF("plain", "plain_quotes", "symbol = 'IREN' AND ")},
	{"asof_day_of_all_symbols", benchASOF("trades", "quotes", ""), benchASOF("plain", "plain_quotes", "")},
}

// benchLast is the last print of each symbol that printed within three days of the newest print, as it is asked where nothing is kept of a day.
const benchLast = `WITH (SELECT max(event_time) FROM plain) - INTERVAL 3 DAY AS since
SELECT symbol, source, event_time, price_usd, size_shares, exchange
FROM plain
PREWHERE event_time >= since AND (symbol, source, event_time) IN (SELECT symbol, source, max(event_time) FROM plain WHERE action = 'trade' AND event_time >= since GROUP BY symbol, source)
WHERE action = 'trade'
ORDER BY stream_seq DESC, idx DESC
LIMIT 1 BY symbol, source`

const benchMinutes = `SELECT toStartOfMinute(event_time) AS minute, argMin(price_usd, (event_time, stream_seq, idx)) AS open, max(price_usd) AS high, min(price_usd) AS low,
	argMax(price_usd, (event_time, stream_seq, idx)) AS close, sum(size_shares) AS volume, count() AS prints
FROM {table}
WHERE symbol = 'IREN' AND action = 'trade' AND NOT has(conditions, 'I') AND event_time >= '2026-11-19 14:30:00' AND event_time < '2026-11-19 21:00:00'
GROUP BY minute ORDER BY minute`

func benchASOF(trades, quotes, symbol string) string {
	day := "event_time >= '2026-11-19 00:00:00' AND event_time < '2026-11-20 00:00:00'"
	return "SELECT count(), avg(toFloat64(t.price_usd) / ((toFloat64(q.bid_price_usd) + toFloat64(q.ask_price_usd)) / 2) - 1) FROM " +
		"(SELECT symbol, event_time, price_usd FROM " + trades + " WHERE " + symbol + "action = 'trade' AND " + day + ") AS t ASOF INNER JOIN (SELECT symbol, event_time, bid_price_usd, ask_price_usd FROM " + quotes + " WHERE " + symbol + day +
		") AS q ON t.symbol = q.symbol AND t.event_time >= q.event_time"
}

// queries measures what the aims of research ask, on this schema and on the plain one, in one run.
func queries(ctx context.Context, print func(figure)) (err error) {
	q, err := openQueryDB(ctx, print)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.close(ctx)) }()
	if err := q.sizes(ctx, print); err != nil {
		return err
	}
	if err := q.plain(ctx); err != nil {
		return err
	}
	plain, err := q.bytesPerRow(ctx, "plain")
	if err != nil {
		return err
	}
	ours, err := q.bytesPerRow(ctx, "trades")
	if err != nil {
		return err
	}
	print(figure{Name: "plain_trade_on_disk", Value: plain, Unit: "bytes"})
	print(figure{Name: "trade_on_disk", Value: ours, Unit: "bytes", Ratio: ours / plain, RatioTo: "plain_trade_on_disk"})
	for _, b := range benchQueries {
		var than *took
		if b.plain != "" {
			t, err := q.time(ctx, b.plain)
			if err != nil {
				return fmt.Errorf("%s, plain: %w", b.name, err)
			}
			than = &t
			t.print(print, "plain_"+b.name, "", nil)
		}
		t, err := q.time(ctx, b.sql)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if t.rows == 0 {
			return fmt.Errorf("%s: no rows", b.name)
		}
		t.print(print, b.name, "plain_"+b.name, than)
	}
	return nil
}

func (q *queryDB) bytesPerRow(ctx context.Context, table string) (float64, error) {
	return q.number(ctx, "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE database = currentDatabase() AND active AND table = '"+table+"'")
}

// sizes prints what each column of a trade takes.
func (q *queryDB) sizes(ctx context.Context, print func(figure)) error {
	res, err := q.store.Query(ctx, `SELECT column, sum(column_data_compressed_bytes) / sum(rows) AS bytes FROM system.parts_columns
		WHERE database = currentDatabase() AND active AND table = 'trades' GROUP BY column ORDER BY bytes DESC LIMIT 12`)
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		bytes, _ := r[1].(float64)
		print(figure{Name: fmt.Sprintf("trade_%v", r[0]), Value: float64(int(bytes*1000)) / 1000, Unit: "bytes"})
	}
	return nil
}

// plain copies the months that have quotes into the plain schema: its queries read days, and five years twice fit no disk here.
func (q *queryDB) plain(ctx context.Context) error {
	for _, t := range [][2]string{{"plain", "trades"}, {"plain_quotes", "quotes"}} {
		had, err := q.number(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = '"+t[0]+"'")
		if err != nil {
			return err
		}
		if had > 0 {
			continue
		}
		columns, err := q.store.Query(ctx, "DESCRIBE TABLE (SELECT * FROM "+t[1]+"_as_of(as_of = '2200-01-01 00:00:00'))")
		if err != nil {
			return err
		}
		var names, types []string
		for _, r := range columns.Rows {
			names, types = append(names, fmt.Sprint(r[0])), append(types, fmt.Sprint(r[0], " ", r[1]))
		}
		if err := q.store.Exec(ctx, fmt.Sprintf("CREATE TABLE %s (%s) ENGINE = MergeTree ORDER BY event_time", t[0], strings.Join(types, ", "))); err != nil {
			return err
		}
		months, err := q.store.Query(ctx, "SELECT DISTINCT toYYYYMM(event_time) AS m FROM quotes ORDER BY m")
		if err != nil {
			return err
		}
		for _, m := range months.Rows {
			sql := fmt.Sprintf(`INSERT INTO %s SELECT %s FROM %s WHERE toYYYYMM(event_time) = %v ORDER BY event_time
				SETTINGS max_bytes_before_external_sort = 1000000000, max_insert_threads = 1`, t[0], strings.Join(names, ", "), t[1], m[0])
			if err := q.store.Exec(ctx, sql); err != nil {
				return fmt.Errorf("copy %v of %s: %w", m[0], t[1], err)
			}
		}
	}
	return nil
}
