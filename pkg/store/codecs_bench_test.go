package store_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// BenchmarkCodecs prints what each column of trades and quotes takes under every codec that could fit it, in bytes a row; the choice in
// schemas/clickhouse is made from it. Run it alone:
//
//	go test ./pkg/store -run '^$' -bench Codecs -benchtime 1x
func BenchmarkCodecs(b *testing.B) {
	ctx := context.Background()
	for _, kind := range []string{"trades", "quotes"} {
		b.Run(kind, func(b *testing.B) {
			st := storetest.Start(b)
			fillTicks(b, st, kind, 2_000_000)
			for b.Loop() {
				res, err := st.Query(ctx, "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = '"+kind+"' ORDER BY position")
				if err != nil {
					b.Fatal(err)
				}
				w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
				_, _ = fmt.Fprintln(w, "column\t"+strings.Join(candidates, "\t")+"\t")
				var exprs [][2]string
				for _, r := range res.Rows {
					exprs = append(exprs, [2]string{r[0].(string), r[1].(string)})
				}
				exprs = append(exprs,
					[2]string{"toInt64(toUnixTimestamp64Nano(recv_time) - toUnixTimestamp64Nano(event_time))", "Int64"},
					[2]string{"toInt64(toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time))", "Int64"},
					[2]string{"toInt64(toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(event_time))", "Int64"})
				for _, e := range exprs {
					sizes := make([]string, len(candidates))
					for i, codec := range candidates {
						sizes[i] = columnBytes(ctx, b, st, kind, e[0], e[1], codec)
					}
					_, _ = fmt.Fprintln(w, e[0]+"\t"+strings.Join(sizes, "\t")+"\t")
				}
				_ = w.Flush()
			}
		})
	}
}

// candidates are the codecs that BenchmarkCodecs tries.
var candidates = []string{"LZ4", "ZSTD(1)", "ZSTD(3)", "Delta, ZSTD(1)", "Delta, ZSTD(3)", "DoubleDelta, ZSTD(1)", "T64, ZSTD(1)", "Delta, T64, ZSTD(1)", "GCD, ZSTD(1)", "GCD, Delta, ZSTD(1)", "GCD, T64, ZSTD(1)"}

// columnBytes stores the column alone, in the table's order, and returns its bytes a row; - where the codec does not fit the type.
func columnBytes(ctx context.Context, b *testing.B, st *store.Store, table, expr, typ, codec string) string {
	exec(ctx, b, st, "DROP TABLE IF EXISTS one")
	create := "CREATE TABLE one (c " + typ + " CODEC(" + codec + ")) ENGINE = MergeTree ORDER BY tuple() SETTINGS min_bytes_for_wide_part = 0"
	if err := st.Exec(ctx, create); err != nil {
		return "-"
	}
	exec(ctx, b, st, "INSERT INTO one SELECT "+expr+" FROM "+table+" ORDER BY symbol, event_time, stream_seq, idx SETTINGS max_insert_threads = 1, max_threads = 1")
	exec(ctx, b, st, "OPTIMIZE TABLE one FINAL")
	res, err := st.Query(ctx, "SELECT round(sum(column_data_compressed_bytes) / sum(rows), 3) FROM system.parts_columns WHERE database = currentDatabase() AND table = 'one' AND active")
	if err != nil {
		b.Fatal(err)
	}
	return fmt.Sprint(res.Rows[0][0])
}

func exec(ctx context.Context, t testing.TB, st *store.Store, sql string) {
	t.Helper()
	if err := st.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func fillTicks(t testing.TB, st *store.Store, kind string, n int) {
	t.Helper()
	events := ticks(n, kind)
	batch := store.NewBatch()
	for i, chunk := range slices.Collect(slices.Chunk(events, 100_000)) {
		batch.Reset()
		for _, e := range chunk {
			if err := batch.Add(e.ev, e.at); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Insert(context.Background(), batch, fmt.Sprint("fill", i)); err != nil {
			t.Fatal(err)
		}
	}
}
