package chembed_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

func dialChGo(t testing.TB, srv *chembed.Server, database string, compression ch.Compression) *ch.Client {
	t.Helper()
	c, err := ch.Dial(context.Background(), ch.Options{Address: srv.NativeAddr(), Database: database, Compression: compression})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// tradeColumns are the benchmark's rows in ch-go's columns: no value is boxed, and
// a block leaves as it lies in memory.
type tradeColumns struct {
	at     *proto.ColDateTime64
	symbol *proto.ColLowCardinality[string]
	price  proto.ColDecimal64
	size   proto.ColUInt32
	seq    proto.ColUInt64
	idx    proto.ColUInt32
	source *proto.ColLowCardinality[string]
}

func newTradeColumns() *tradeColumns {
	return &tradeColumns{
		at:     new(proto.ColDateTime64).WithPrecision(proto.PrecisionNano),
		symbol: new(proto.ColStr).LowCardinality(), source: new(proto.ColStr).LowCardinality(),
	}
}

func (c *tradeColumns) input() proto.Input {
	return proto.Input{
		{Name: "event_time", Data: c.at}, {Name: "symbol", Data: c.symbol}, {Name: "price", Data: proto.Alias(&c.price, "Decimal(18, 8)")},
		{Name: "size", Data: &c.size}, {Name: "seq", Data: &c.seq}, {Name: "idx", Data: &c.idx}, {Name: "source", Data: c.source},
	}
}

func (c *tradeColumns) fill(n int) {
	c.input().Reset()
	symbols := []string{"CORZ", "BTBT", "IREN", "WGMI"}
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	for i := range n {
		c.at.AppendRaw(proto.DateTime64(base + int64(i)*1e6))
		c.symbol.Append(symbols[i%4])
		c.price.Append(proto.Decimal64(1e9 + int64(i%1000)*1e6))
		c.size.Append(uint32(i % 500))
		c.seq.Append(uint64(i))
		c.idx.Append(uint32(i % 300))
		c.source.Append("sim-alpaca")
	}
}

// ch-go inserts, streams an insert of several blocks, reads back, and sees codes.
func TestChGo(t *testing.T) {
	srv, db := shared(t)
	ctx := context.Background()
	for name, compression := range map[string]ch.Compression{"none": ch.CompressionNone, "lz4": ch.CompressionLZ4, "zstd": ch.CompressionZSTD} {
		c := dialChGo(t, srv, db, compression)
		if err := c.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.Do(ctx, ch.Query{Body: "CREATE TABLE " + name + benchTable}); err != nil {
			t.Fatal(err)
		}
		cols := newTradeColumns()
		cols.fill(1000)
		if err := c.Do(ctx, ch.Query{Body: cols.input().Into(name), Input: cols.input()}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		blocks := 0
		cols.fill(1000)
		err := c.Do(ctx, ch.Query{Body: cols.input().Into(name), Input: cols.input(), OnInput: func(context.Context) error {
			if blocks++; blocks == 3 {
				cols.input().Reset()
				return io.EOF
			}
			cols.fill(500)
			return nil
		}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var n proto.ColUInt64
		var sum proto.ColStr
		err = c.Do(ctx, ch.Query{
			Body:   "SELECT count() AS n, toString(sum(price)) AS s FROM " + name,
			Result: proto.Results{{Name: "n", Data: &n}, {Name: "s", Data: &sum}},
		})
		if err != nil || n.Row(0) != 3000 {
			t.Errorf("%s: %v rows: %v", name, n, err)
		}
		if err := c.Do(ctx, ch.Query{Body: "SELECT * FROM nope"}); !ch.IsErr(err, proto.ErrUnknownTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkInsertChGo is BenchmarkInsertNative without the client's own cost of
// boxing values: what the protocol takes from the engine.
func BenchmarkInsertChGo(b *testing.B) {
	for name, compression := range map[string]ch.Compression{"none": ch.CompressionNone, "lz4": ch.CompressionLZ4} {
		b.Run(name, func(b *testing.B) {
			srv := chembedtest.Start(b)
			c := dialChGo(b, srv, "", compression)
			ctx := context.Background()
			cols := newTradeColumns()
			cols.fill(benchBlockRows)
			for b.Loop() {
				if err := c.Do(ctx, ch.Query{Body: "CREATE OR REPLACE TABLE b" + benchTable}); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				for i := range benchBlocks {
					err := c.Do(ctx, ch.Query{
						Body: cols.input().Into("b"), Input: cols.input(),
						Settings: []ch.Setting{{Key: "insert_deduplication_token", Value: fmt.Sprint("t", i), Important: true}},
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(benchBlocks*benchBlockRows/time.Since(start).Seconds(), "rows/s")
			}
		})
	}
}
