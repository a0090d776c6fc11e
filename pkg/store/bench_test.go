package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// placed is an event made beforehand, so that a benchmark measures the store only.
type placed struct {
	ev market.Event
	at market.Place
}

// ticks makes n trades or quotes of 100 symbols.
func ticks(n int, kind string) []placed {
	d := newDay(100)
	f := d.trade
	if kind == "quotes" {
		f = d.quote
	}
	out := make([]placed, 0, n)
	for len(out) < n {
		d.messages(f, func(ev market.Event, at market.Place) { out = append(out, placed{ev, at}) })
	}
	return out[:n]
}

func addAll(b *testing.B, batch *store.Batch, events []placed) {
	for i := range events {
		if err := batch.Add(events[i].ev, events[i].at); err != nil {
			b.Fatal(err)
		}
	}
}

const benchRows = 200_000

// Rows a second into a batch.
func BenchmarkAdd(b *testing.B) {
	for _, kind := range []string{"trades", "quotes"} {
		b.Run(kind, func(b *testing.B) {
			events := ticks(benchRows, kind)
			batch := store.NewBatch()
			b.ReportAllocs()
			for b.Loop() {
				batch.Reset()
				addAll(b, batch, events)
			}
			b.ReportMetric(float64(b.N*benchRows)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(batch.Bytes())/benchRows, "B/row")
		})
	}
}

// Rows a second from events to stored parts: Add and Insert, by a single client. engine is what the engine alone makes of the same
// rows in blocks of the same size when nothing has to be brought to it (INSERT SELECT out of a Memory table): the limit.
func BenchmarkInsert(b *testing.B) {
	for _, kind := range []string{"trades", "quotes"} {
		events := ticks(benchRows, kind)
		for _, compression := range []string{store.CompressionNone, store.CompressionLZ4} {
			b.Run(kind+"/"+compression, func(b *testing.B) {
				st := benchStore(b, compression)
				batch := store.NewBatch()
				for n := 0; b.Loop(); n++ {
					batch.Reset()
					addAll(b, batch, events)
					if err := st.Insert(context.Background(), batch, fmt.Sprint("bench", n)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*benchRows)/b.Elapsed().Seconds(), "rows/s")
			})
		}
		b.Run(kind+"/engine", func(b *testing.B) {
			ctx := context.Background()
			st := benchStore(b, store.CompressionNone)
			batch := store.NewBatch()
			addAll(b, batch, events)
			if err := st.Insert(ctx, batch, "once"); err != nil {
				b.Fatal(err)
			}
			exec(ctx, b, st, "CREATE TABLE ready ENGINE = Memory AS SELECT * FROM "+kind+" ORDER BY stream_seq, idx SETTINGS max_threads = 1, max_block_size = 1000000")
			for b.Loop() {
				exec(ctx, b, st, "INSERT INTO "+kind+" SELECT * FROM ready SETTINGS max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 1000000, insert_deduplicate = 0")
			}
			b.ReportMetric(float64(b.N*benchRows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func benchStore(b *testing.B, compression string) *store.Store {
	srv := chembedtest.Start(b)
	cfg := storetest.Config(srv)
	cfg.Compression = compression
	st, err := store.Open(context.Background(), cfg, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	if err := st.Migrate(context.Background()); err != nil {
		b.Fatal(err)
	}
	return st
}

// The time from one event to its row, on an idle system.
func BenchmarkInsertOne(b *testing.B) {
	st := benchStore(b, store.CompressionNone)
	events := ticks(1, "trades")
	batch := store.NewBatch()
	for n := 0; b.Loop(); n++ {
		batch.Reset()
		addAll(b, batch, events)
		if err := st.Insert(context.Background(), batch, fmt.Sprint("one", n)); err != nil {
			b.Fatal(err)
		}
	}
}
