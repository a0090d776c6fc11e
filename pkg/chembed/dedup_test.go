package chembed_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
)

const dedupTable = `CREATE TABLE d (id UInt64, day Date) ENGINE = MergeTree PARTITION BY day ORDER BY id
	SETTINGS non_replicated_deduplication_window = 1000`

// insertToken sends rows [from, to) as one block under a token.
func insertToken(ctx context.Context, conn driver.Conn, token string, from, to int) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token": token, "async_insert": 0, "deduplicate_blocks_in_dependent_materialized_views": 1,
	}))
	b, err := conn.PrepareBatch(ctx, "INSERT INTO d (id, day)")
	if err != nil {
		return err
	}
	ids, days := make([]uint64, to-from), make([]time.Time, to-from)
	for i := range ids {
		ids[i], days[i] = uint64(from+i), time.Date(2026, 8, 21, 0, 0, 0, 0, time.UTC)
	}
	if err := b.Column(0).Append(ids); err != nil {
		return err
	}
	if err := b.Column(1).Append(days); err != nil {
		return err
	}
	return b.Send()
}

// One token lands once, whatever is under it; another one lands again.
func TestDeduplicationToken(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db))
	ctx := context.Background()
	mustExec(t, conn, dedupTable)
	mustExec(t, conn, "CREATE TABLE target (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 1000")
	mustExec(t, conn, "CREATE MATERIALIZED VIEW mv TO target AS SELECT count() AS n FROM d")
	f := func(token string, from, to int, want uint64) {
		t.Helper()
		if err := insertToken(ctx, conn, token, from, to); err != nil {
			t.Fatal(err)
		}
		if n := count(t, conn, "d"); n != want {
			t.Fatalf("after token %s: %d rows, want %d", token, n, want)
		}
	}
	f("a", 0, 1000, 1000)
	f("a", 0, 1000, 1000) // the retry of an insert whose answer was lost
	f("b", 0, 1000, 2000) // the same rows, meant to be there twice
	f("b", 0, 1000, 2000)
	f("a", 5000, 6000, 2000) // the token counts, not the data
	f("c~with'quote\\", 0, 10, 2010)
	f("c~with'quote\\", 0, 10, 2010)
	var parts uint64
	if err := conn.QueryRow(ctx, "SELECT uniqExact(_part) FROM d").Scan(&parts); err != nil || parts != 3 {
		t.Fatalf("%d parts, want 3: one a block (%v)", parts, err)
	}
	var views uint64
	if err := conn.QueryRow(ctx, "SELECT sum(n) FROM target").Scan(&views); err != nil || views != 2010 {
		t.Fatalf("the view counted %d rows, want 2010 (%v)", views, err)
	}
	// A setting of one query must not reach the next: without a token the data's
	// own hash counts, and this data is new.
	b, err := conn.PrepareBatch(ctx, "INSERT INTO d (id, day)")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Append(uint64(77), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, conn, "d"); n != 2011 {
		t.Fatalf("%d rows, want 2011", n)
	}
}

// A block larger than every squashing limit, in several frames, is still one block
// under its token.
func TestDeduplicationOfLargeBlock(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db))
	mustExec(t, conn, "CREATE TABLE d (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10")
	const rows = 1_100_000
	block := append(wireBlock(1, rows).str("a").str("UInt8").raw(0), make([]byte, rows)...)
	sent := wireQuery("INSERT INTO "+db+".d (a) SETTINGS insert_deduplication_token = 'large' VALUES", true).
		raw(2, 0).raw(wireFrame(native.MethodNone, block)...).raw(2, 0).raw(wireFrame(native.MethodNone, wireBlock(0, 0))...)
	for range 2 {
		c := dial(t, srv)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		_ = c.CloseWrite()
		if told, err := io.ReadAll(c); err != nil || bytes.Contains(told, []byte("DB::Exception")) {
			t.Fatalf("%q, %v", told, err)
		}
		if n := count(t, conn, "d"); n != rows {
			t.Fatalf("%d rows, want %d", n, rows)
		}
	}
}

// A zombie and its successor insert the same rows under the same tokens at once.
func TestDeduplicationConcurrent(t *testing.T) {
	srv, db := shared(t)
	conn := open(t, srv, in(db), func(o *clickhouse.Options) { o.MaxOpenConns = 8 })
	ctx := context.Background()
	mustExec(t, conn, dedupTable)
	const tokens, writers, rows = 20, 4, 2000
	var wg sync.WaitGroup
	errs := make(chan error, writers*tokens)
	for range writers {
		wg.Go(func() {
			for k := range tokens {
				if err := insertToken(ctx, conn, fmt.Sprint("t", k), k*rows, (k+1)*rows); err != nil {
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if n := count(t, conn, "d"); n != tokens*rows {
		t.Fatalf("%d rows, want %d", n, tokens*rows)
	}
}
