package store_test

import (
	"context"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	schema "github.com/hashpivot/hashpivot/schemas/clickhouse"
)

func TestMigrateTwiceDoesNothing(t *testing.T) {
	t.Parallel()
	st := migratedInSteps(t)
	if err := st.Migrate(context.Background()); err != nil {
		t.Fatalf("second time: %v", err)
	}
}

// The database that storetest.Start gives tests is made of a template. It is, word by word, what the migrations make, and Migrate finds nothing to do in it.
func TestTemplateIsWhatMigrationsMake(t *testing.T) {
	t.Parallel()
	stepped, made := migratedInSteps(t), storetest.Start(t)
	if err := made.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{
		"name, engine, total_rows, comment, replaceAll(create_table_query, concat(database, '.'), '') FROM system.tables WHERE database = currentDatabase() ORDER BY name",
		"* EXCEPT (database) FROM system.columns WHERE database = currentDatabase() ORDER BY table, position",
		"version_id, is_applied FROM goose_db_version ORDER BY version_id",
		"count(), uniqExact(id) FROM deployment",
	} {
		var answers [2][][]any
		for i, st := range []*store.Store{stepped, made} {
			res, err := st.Query(context.Background(), "SELECT "+of)
			if err != nil {
				t.Fatal(err)
			}
			answers[i] = res.Rows
		}
		if len(answers[0]) == 0 || len(answers[0]) != len(answers[1]) {
			t.Errorf("%s: %d rows by migrations, %d by the template", of, len(answers[0]), len(answers[1]))
			continue
		}
		for n, want := range answers[0] {
			if got := answers[1][n]; !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n%v by the template, want\n%v", of, got, want)
			}
		}
	}
}

// migratedInSteps is a database that the migrations themselves made, for tests that read only.
func migratedInSteps(t *testing.T) *store.Store {
	t.Helper()
	cfg := storetest.Config(chembedtest.Shared(t))
	cfg.Database = "migrated_in_steps"
	st, err := store.Open(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	stepping.Do(func() { stepped = st.Migrate(context.Background()) })
	if stepped != nil {
		t.Fatalf("migrate: %v", stepped)
	}
	return st
}

var (
	stepping sync.Once
	stepped  error
)

// Several services of one system start together and each migrates.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	all := versions(t)
	forgotten := all[len(all)-12:] // all of them take long
	exec(ctx, t, st, fmt.Sprintf("ALTER TABLE goose_db_version DELETE WHERE version_id >= %d SETTINGS mutations_sync = 2", forgotten[0]))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := st.Migrate(ctx); err != nil {
				t.Errorf("migrate beside others: %v", err)
			}
		})
	}
	wg.Wait()
	res, err := st.Query(ctx, "SELECT uniqExact(version_id) FROM goose_db_version")
	if err != nil || res.Rows[0][0] != uint64(len(all)+1) { // and goose's own zero
		t.Errorf("versions %v, %v", res, err)
	}
}

// released is the last version that a database out there may have; what is newer is released together.
const released = 20

// computed is the first version that stores what recv_time and stream_time of trades and quotes, and trade_id and conditions of trades, are computed from.
const computed = 189

// oldIDs are numbers, and what only looks like one.
var oldIDs = []string{"", "0", "1", "9", "007", "71697353758036", "9223372036854775808", "18446744073709551615", "18446744073709551616", "99999999999999999999", "-5", "+7", "7 ", "1e3", "abc", "٧"}

// oldConditions are lists of codes, also such as are written otherwise in a column of text.
var oldConditions = [][]string{nil, {""}, {"", ""}, {"@"}, {"@", "F", "I"}, {" "}, {","}, {"%"}, {"%2C", "%25", "+"}, {"a,b", "%,%", "\n"}, {"é", "\xff"}, {"@"}, {"F", "@"}, {"\\", "'"}, {"\t"}, {"%zz"}}

func oldCodes() string {
	lists := make([]string, len(oldConditions))
	for i, codes := range oldConditions {
		quoted := make([]string, len(codes))
		for k, c := range codes {
			quoted[k] = store.QuoteText(c)
		}
		lists[i] = "[" + strings.Join(quoted, ", ") + "]"
	}
	return "[" + strings.Join(lists, ", ") + "]"
}

// oldTick are columns that a database of an earlier version holds, and that read the same afterwards. Frames came before and after their events' times, and what was
// fetched from history was stored years behind them.
const oldTick = "event_time, recv_time, stream_time, stream_seq, idx, source, symbol"

func oldQuotes(seq int64) string { return oldRows(seq, "") }
func oldTrades(seq int64) string {
	return oldRows(seq, ", ['"+strings.Join(oldIDs, "', '")+"'][number + 1], CAST("+oldCodes()+", 'Array(Array(String))')[number + 1]")
}

func oldRows(seq int64, more string) string {
	return fmt.Sprintf(`SELECT toDateTime64('2026-11-03 15:00:00.123456789', 9, 'UTC') + toIntervalNanosecond(number) AS at, at + toIntervalNanosecond(4999999 * (number - 3)),
		at + toIntervalNanosecond(5000001 * number * number + if(number = 7, 2000000000000000001, 0)), toUInt64(%d), toUInt32(number) AS idx, toLowCardinality('sim-x'), toLowCardinality('IREN')%s FROM numbers(%d) ORDER BY idx`, seq, more, len(oldIDs))
}

// sameRows holds the answer of one query against another's.
func sameRows(t *testing.T, st *store.Store, got, want string) {
	t.Helper()
	var rows [2]string
	for i, sql := range []string{got, want} {
		res, err := st.Query(t.Context(), "SELECT count(), arrayStringConcat(groupArray(r)) FROM (SELECT formatRow('TSV', *) AS r FROM ("+sql+"))")
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		rows[i] = fmt.Sprint(res.Rows[0]...)
	}
	if rows[0] != rows[1] {
		t.Errorf("%s\n%s\nwant\n%s", got, rows[0], rows[1])
	}
}

// What the migrations make of ids, times and codes of old is what a batch makes of them: the checksums of the audit go over the columns that hold them.
func TestTicksAreStoredInOneWay(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	b := store.NewBatch()
	for i, id := range oldIDs {
		row := trade(1, i, "IREN", time.Date(2026, 11, 3, 15, 0, 0, i, time.UTC))
		row.ev.(*market.Trade).ID, row.ev.(*market.Trade).Conditions = id, oldConditions[i]
		row.at.StreamTime = row.at.StreamTime.Add(time.Duration(i*i) * 5000001)
		add(t, b, row)
	}
	insert(t, st, b, "x")
	sameRows(t, st, "SELECT trade_id, trade_number, trade_text FROM trades ORDER BY idx", `SELECT id, if(toString(toUInt64OrZero(id)) = id, toUInt64OrZero(id), 0),
		if(toString(toUInt64OrZero(id)) = id AND id != '0', '', id) FROM (SELECT arrayJoin(['`+strings.Join(oldIDs, "', '")+"']) AS id)")
	sameRows(t, st, "SELECT conditions, condition_codes FROM trades ORDER BY idx", `SELECT codes, arrayStringConcat(arrayMap(x -> concat(replaceAll(replaceAll(x, '%', '%25'), ',', '%2C'), ','), codes))
		FROM (SELECT arrayJoin(CAST(`+oldCodes()+", 'Array(Array(String))')) AS codes)")
	sameRows(t, st, "SELECT stream_after_event_ns, recv_to_stream_ns FROM trades ORDER BY idx",
		"SELECT toUnixTimestamp64Nano(stream_time) - intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000, toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time) FROM trades ORDER BY idx")
}

// A database of an earlier version, with rows in it, comes to the newest and keeps its rows: from the first version, from the one that was released, and from
// where an upgrade may have been cut off. One database goes all the way, and gets rows at each of them; from nothing goes migratedInSteps.
func TestMigrateFromEachVersion(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("migrates twice, which takes its time under the race detector")
	}
	newest := versions(t)
	cfg := storetest.Config(chembedtest.Shared(t))
	cfg.Database = "from_each"
	ctx := context.Background()
	st, err := store.Open(ctx, cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	n := len(newest)
	rows := 0
	var old []int64
	for _, v := range []int64{newest[0], released, newest[(n+slices.Index(newest, released))/2], newest[n-3], newest[n-2], newest[n-1]} {
		if err := st.MigrateTo(ctx, v); err != nil {
			t.Fatalf("migrate to version %d: %v", v, err)
		}
		// By name and only what every version has: the batches of this binary send the newest columns.
		if v < computed {
			old = append(old, v)
			exec(ctx, t, st, "INSERT INTO trades ("+oldTick+", trade_id, conditions) "+oldTrades(v))
			if v > newest[0] {
				exec(ctx, t, st, "INSERT INTO quotes ("+oldTick+") "+oldQuotes(v))
			}
			continue
		}
		exec(ctx, t, st, fmt.Sprintf("INSERT INTO trades (event_time, stream_seq, idx, source, symbol) SELECT toDateTime64('2026-11-03 15:00:00', 9, 'UTC'), %d, number, 'sim-x', 'IREN' FROM numbers(10)", v))
		rows += 10
	}
	if err := st.Migrate(ctx); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	wantCounts(t, st, rows+len(old)*len(oldIDs), 0)
	for _, v := range old {
		sameRows(t, st, fmt.Sprintf("SELECT %s, trade_id, conditions FROM trades WHERE stream_seq = %d ORDER BY idx", oldTick, v), oldTrades(v))
		if v > newest[0] {
			sameRows(t, st, fmt.Sprintf("SELECT %s FROM quotes WHERE stream_seq = %d ORDER BY idx", oldTick, v), oldQuotes(v))
		}
	}
	var schemas [2]string
	for i, st := range []*store.Store{st, migratedInSteps(t)} {
		res, err := st.Query(ctx, "SELECT table, name, type, comment, compression_codec FROM system.columns WHERE database = currentDatabase() ORDER BY table, position")
		if err != nil {
			t.Fatal(err)
		}
		schemas[i] = fmt.Sprint(res.Rows)
	}
	if schemas[0] != schemas[1] {
		t.Errorf("over the versions the schema is another:\n%s\nwant\n%s", schemas[0], schemas[1])
	}
}

// versions are those of the migrations, in order.
func versions(t *testing.T) (out []int64) {
	t.Helper()
	files, err := fs.Glob(schema.Migrations, "*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("migrations: %v, %v", files, err)
	}
	for _, f := range files {
		number, _, _ := strings.Cut(f, "_")
		v, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func trades(t testing.TB, n int) *store.Batch {
	b := store.NewBatch()
	for i := range n {
		add(t, b, trade(1, i, "IREN", time.Date(2026, 11, 3, 15, 0, 0, i, time.UTC)))
	}
	return b
}

// A migration that was cut off between its statement and the record of it runs again.
func TestMigrateAfterCrash(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	insert(t, st, trades(t, 10), "x")
	exec(ctx, t, st, "ALTER TABLE goose_db_version DELETE WHERE version_id >= 1 SETTINGS mutations_sync = 2")
	if err := st.Migrate(ctx); err != nil {
		t.Fatalf("migrate again: %v", err)
	}
	wantCounts(t, st, 10, 0)
}

// The tables have the columns that batches send, and no other; every table deduplicates, and everything says what it is.
func TestSchemaIsWhatBatchesSend(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	for table, want := range store.Schema() {
		res, err := st.Query(ctx, "SELECT concat(name, ' ', type), comment, compression_codec FROM system.columns WHERE database = currentDatabase() AND table = '"+table+"' AND default_kind != 'ALIAS' ORDER BY position")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range res.Rows {
			got = append(got, r[0].(string))
			if r[1] == "" || r[2] == "" {
				t.Errorf("%s.%s: comment %q, codec %q", table, r[0], r[1], r[2])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%v\nwant\n%v", table, got, want)
		}
	}
	res, err := st.Query(ctx, "SELECT name, comment, create_table_query LIKE '%non_replicated_deduplication_window = 10000%' FROM system.tables WHERE database = currentDatabase() AND engine = 'MergeTree' AND name != 'goose_db_version'")
	if err != nil {
		t.Fatal(err)
	}
	// Those of schemas/reference are filled by statements, not by batches, and so are research_runs and research_results, by AddResearch…, audits, audit_ranges and
	// dead_marks, by AddAudit… and AddDeadMark…, retirements, by AddRetirement, and deployment, by its migration.
	const ofReference, ofResearch, ofAudit, ofDeployment = 13, 2, 4, 1
	if want := len(store.Schema()) + ofReference + ofResearch + ofAudit + ofDeployment; len(res.Rows) != want {
		t.Errorf("%d tables, want %d", len(res.Rows), want)
	}
	for _, r := range res.Rows {
		if r[1] == "" || r[2] != uint8(1) {
			t.Errorf("table %s: comment %q, deduplicates %v", r...)
		}
	}
}

// Every stream of the domain has tables, and every table is some stream's.
func TestEveryStreamHasTables(t *testing.T) {
	left := store.Schema()
	for _, s := range market.Streams() {
		if len(store.Tables(s)) == 0 {
			t.Errorf("stream %s has no table", s)
		}
		for _, table := range store.Tables(s) {
			if _, ok := left[table]; !ok {
				t.Errorf("table %s of stream %s is unknown or of two streams", table, s)
			}
			delete(left, table)
		}
	}
	if len(left) != 0 {
		t.Errorf("tables of no stream: %v", left)
	}
}
