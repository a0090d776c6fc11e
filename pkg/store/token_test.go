package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// spread makes a batch of n trades in each of three months, and n bars over twenty years: four blocks.
func spread(t testing.TB, n, seq int) *store.Batch {
	b := store.NewBatch()
	for i := range 3 * n {
		when := time.Date(2026, time.Month(9+i%3), 3, 15, 0, 0, i, time.UTC)
		add(t, b, trade(seq, i, "IREN", when))
	}
	for i := range n {
		e := &market.Bar{
			Meta:   market.Meta{EventTime: time.Date(2006, 1, 1+i*(20*365/n), 0, 0, 0, 0, time.UTC).AddDate(3, 0, 3), RecvTime: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Source: "sim-alpaca"},
			Symbol: "CORZ", Interval: market.Interval1d, OpenUSD: market.MustDecimal("1"), HighUSD: market.MustDecimal("2"), LowUSD: market.MustDecimal("1"), CloseUSD: market.MustDecimal("1.5"),
		}
		add(t, b, row{ev: e, at: market.Place{Stream: market.Bars, Seq: uint64(seq), Idx: uint32(i), StreamTime: e.RecvTime}})
	}
	return b
}

func wantCounts(t testing.TB, st *store.Store, trades, bars int) {
	t.Helper()
	got, err := st.Counts(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if w := (store.Count{Rows: uint64(trades), Distinct: uint64(trades)}); got[market.Trades] != w {
		t.Errorf("trades: %+v, want %+v", got[market.Trades], w)
	}
	if w := (store.Count{Rows: uint64(bars), Distinct: uint64(bars)}); got[market.Bars] != w {
		t.Errorf("bars: %+v, want %+v", got[market.Bars], w)
	}
}

func insert(t testing.TB, st *store.Store, b *store.Batch, token string) {
	t.Helper()
	if err := st.Insert(context.Background(), b, token); err != nil {
		t.Fatalf("insert under %s: %v", token, err)
	}
}

func TestBlocksAreInFixedOrder(t *testing.T) {
	b := spread(t, 5, 1)
	want := []store.Block{{Table: "trades", Partition: "202609", Rows: 5}, {Table: "trades", Partition: "202610", Rows: 5}, {Table: "trades", Partition: "202611", Rows: 5}, {Table: "bars", Partition: "all", Rows: 5}}
	if got := b.Blocks(); !slices.Equal(got, want) {
		t.Errorf("blocks %v, want %v", got, want)
	}
	if b.Rows() != 20 {
		t.Errorf("rows %d, want 20", b.Rows())
	}
	if n := b.Bytes(); n < 20*60 || n > 4*20_000+20*400 { // a partition takes something too
		t.Errorf("bytes %d is no estimate of 20 rows", n)
	}
	b.Reset()
	if b.Rows() != 0 || b.Bytes() != 0 || len(b.Blocks()) != 0 {
		t.Errorf("after Reset: %d rows, %d bytes, blocks %v", b.Rows(), b.Bytes(), b.Blocks())
	}
}

func TestSameTokenAddsNothing(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	b := spread(t, 100, 1)
	for range 3 {
		insert(t, st, b, "TRADES@1:1-1")
	}
	wantCounts(t, st, 300, 100)
	// Made again from the same events, as a successor does after a crash.
	insert(t, st, spread(t, 100, 1), "TRADES@1:1-1")
	wantCounts(t, st, 300, 100)
	// A reused batch with other rows under its own token.
	b.Reset()
	for i := range 10 {
		add(t, b, trade(2, i, "WGMI", time.Date(2026, 11, 4, 15, 0, 0, i, time.UTC)))
	}
	insert(t, st, b, "TRADES@1:2-2")
	wantCounts(t, st, 310, 100)
}

func TestEmptyTokenIsRefused(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	if err := st.Insert(context.Background(), spread(t, 1, 1), ""); err == nil {
		t.Error("a batch without token was inserted")
	}
	wantCounts(t, st, 0, 0)
}

// Each block is one part, whatever the number of partitions, of rows or the width of a row.
func TestBlockIsOnePart(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	insert(t, st, spread(t, 50, 1), "a")
	parts := func(table string) []any {
		res, err := st.Query(context.Background(), "SELECT count(), sum(rows) FROM system.part_log WHERE event_type = 'NewPart' AND database = currentDatabase() AND table = '"+table+"'")
		if err == nil {
			return res.Rows[0]
		}
		// Without the log the parts themselves tell, as long as nothing has merged them.
		res, err = st.Query(context.Background(), "SELECT count(), sum(rows) FROM system.parts WHERE database = currentDatabase() AND level = 0 AND table = '"+table+"'")
		if err != nil {
			t.Fatal(err)
		}
		return res.Rows[0]
	}
	if got := parts("trades"); !slices.Equal(got, []any{uint64(3), uint64(150)}) {
		t.Errorf("trades: parts and rows %v, want 3 and 150", got)
	}
	if got := parts("bars"); !slices.Equal(got, []any{uint64(1), uint64(50)}) {
		t.Errorf("bars over twenty years: parts and rows %v, want 1 and 50", got)
	}
}

// More rows than the server's own block size (1,048,449): split, a token would cover the pieces by their order.
func TestLargeBatchIsOneBlock(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	const n = 1_300_000
	when := time.Date(2026, 11, 3, 15, 0, 0, 0, time.UTC)
	b := store.NewBatch()
	for i := range n {
		e := &market.Quote{Meta: market.Meta{EventTime: when.Add(time.Duration(i)), RecvTime: when, Source: "alpaca"}, Symbol: "IREN", BidPriceUSD: market.MustDecimal("13.37")}
		if err := b.Add(e, market.Place{Stream: market.Quotes, Seq: 1, Idx: uint32(i), StreamTime: when}); err != nil {
			t.Fatal(err)
		}
	}
	exec(context.Background(), t, st, "SYSTEM STOP MERGES quotes")
	for range 2 {
		insert(t, st, b, "QUOTES@1:1-1")
	}
	res, err := st.Query(context.Background(), "SELECT count(), sum(rows) FROM system.parts WHERE database = currentDatabase() AND active AND table = 'quotes'")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(res.Rows[0], []any{uint64(1), uint64(n)}) {
		t.Errorf("parts and rows %v, want 1 and %d", res.Rows[0], n)
	}
}

func TestHalfInsertedBatchIsCompleted(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	b := spread(t, 100, 1)
	for n := range len(b.Blocks()) + 1 {
		token := fmt.Sprint("half", n)
		b := spread(t, 100, n+1)
		if err := st.InsertFirst(context.Background(), b, token, n); err != nil {
			t.Fatal(err)
		}
		insert(t, st, b, token)
		wantCounts(t, st, 300*(n+1), 100*(n+1))
	}
}

// A zombie and its successor insert the same range at the same time.
func TestConcurrentSameToken(t *testing.T) {
	t.Parallel()
	st, srv := storetest.StartServer(t)
	stores := []*store.Store{st, storetest.Open(t, srv), storetest.Open(t, srv)}
	const ranges = 10
	var wg sync.WaitGroup
	for _, st := range stores {
		wg.Go(func() {
			for n := range ranges {
				b := spread(t, 50, n+1)
				if err := st.Insert(context.Background(), b, fmt.Sprint("range", n)); err != nil {
					t.Errorf("range %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	wantCounts(t, st, 150*ranges, 50*ranges)
}

// The engine is killed again and again while a client inserts; every error is transient, and after the retries every row is there once.
func TestKilledEngineLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	st, srv := storetest.StartServer(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	const ranges, rows, kills = 24, 3000, 3
	killed := 0
	for n := range ranges {
		b := spread(t, rows/3, n+1)
		token := fmt.Sprint("range", n)
		var kill sync.WaitGroup
		if n%(ranges/kills) == ranges/kills/2 {
			killed++
			pid := srv.Pid()
			delay := time.NewTimer(time.Duration(n) * 100 * time.Microsecond) // a moment within the insert, another each time
			kill.Go(func() {
				<-delay.C
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Errorf("kill engine: %v", err)
				}
			})
		}
		retry(ctx, t, func() error { return st.Insert(ctx, b, token) })
		kill.Wait()
	}
	if killed != kills {
		t.Fatalf("killed %d times, want %d", killed, kills)
	}
	retry(ctx, t, func() error { return st.Ping(ctx) })
	wantCounts(t, st, ranges*(rows/3)*3, ranges*(rows/3))
}

// retry calls f until it succeeds; an error that is not transient fails the test.
func retry(ctx context.Context, t testing.TB, f func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if !store.IsTransient(err) || store.IsRefused(err) {
			t.Fatalf("not transient: %v", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("gave up: %v", err)
		}
	}
}

func TestInsertCancelled(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := spread(t, 10, 1)
	err := st.Insert(ctx, b, "x")
	if !errors.Is(err, context.Canceled) || !store.IsTransient(err) {
		t.Errorf("cancelled insert: %v, want context.Canceled, transient", err)
	}
	insert(t, st, b, "x")
	wantCounts(t, st, 30, 10)
}

func TestErrorsAreClassified(t *testing.T) {
	for _, err := range []error{
		io.EOF, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded, context.DeadlineExceeded, net.ErrClosed, syscall.ECONNREFUSED, syscall.EPIPE,
		errors.New("nobody has ever seen this"), clickhouse.ErrAcquireConnTimeout, store.ErrSchema,
	} {
		if !store.IsTransient(fmt.Errorf("insert: %w", err)) || store.IsRefused(err) {
			t.Errorf("%v must be transient", err)
		}
	}
	for _, code := range []int32{159, 164, 201, 202, 209, 210, 225, 241, 242, 243, 244, 252, 285, 319, 394, 439, 745, 999, 1002, 60, 81, 516, 12345} {
		if err := fmt.Errorf("insert: %w", &clickhouse.Exception{Code: code}); !store.IsTransient(err) || store.IsRefused(err) {
			t.Errorf("code %d must be transient", code)
		}
	}
	for _, code := range []int32{69, 131, 248, 321, 349, 407, 469, 691} {
		if err := fmt.Errorf("insert: %w", &clickhouse.Exception{Code: code}); store.IsTransient(err) || !store.IsRefused(err) {
			t.Errorf("code %d must be refused", code)
		}
	}
	for _, code := range []int32{225, 242, 244, 254, 255, 285, 286, 289, 319, 999} {
		err := fmt.Errorf("insert: %w", &clickhouse.Exception{Code: code})
		if !store.IsReplication(err) || !store.IsTransient(err) || store.IsRefused(err) || store.IsSchema(err) || store.IsOverload(err) {
			t.Errorf("code %d is of replicas, and passes", code)
		}
	}
	if err := &(clickhouse.Exception{Code: 241}); store.IsReplication(err) || store.IsReplication(io.EOF) {
		t.Error("memory and a lost connection are not of replicas")
	}
	if store.IsTransient(nil) || store.IsRefused(nil) {
		t.Error("nil is no error")
	}
	if !store.IsSchema(&clickhouse.Exception{Code: 60}) || store.IsSchema(io.EOF) {
		t.Error("a missing table is about the schema, a lost connection is not")
	}
}

// A constraint that an operator has added refuses a block: known, final, and nothing of the block is stored.
func TestConstraintRefusesBlock(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	exec(context.Background(), t, st, "ALTER TABLE trades ADD CONSTRAINT sane CHECK price_usd < 10")
	err := st.Insert(context.Background(), spread(t, 10, 1), "x")
	if !store.IsRefused(err) || store.IsTransient(err) {
		t.Errorf("violated constraint: %v, want refused", err)
	}
	wantCounts(t, st, 0, 0)
}

// A table that somebody has altered is the operator's business and no fault of the rows.
func TestAlteredTableIsNoFaultOfTheRows(t *testing.T) {
	t.Parallel()
	st := storetest.Start(t)
	ctx := context.Background()
	b := spread(t, 10, 1)
	// A column of the rows alone: what the projection by_day has, ClickHouse does not let be altered.
	for _, sql := range []string{
		"ALTER TABLE trades RENAME COLUMN original_price_usd TO price",
		"ALTER TABLE trades RENAME COLUMN price TO original_price_usd",
		"ALTER TABLE trades MODIFY COLUMN original_price_usd Decimal(18, 4)",
	} {
		exec(ctx, t, st, sql)
		if strings.HasSuffix(sql, "TO original_price_usd") {
			continue
		}
		if err := st.Insert(ctx, b, "x"); !store.IsTransient(err) || !store.IsSchema(err) {
			t.Errorf("after %s: %v, want transient and schema", sql, err)
		}
	}
	exec(ctx, t, st, "ALTER TABLE trades MODIFY COLUMN original_price_usd Decimal(18, 8)")
	insert(t, st, b, "x")
	wantCounts(t, st, 30, 10)
}
