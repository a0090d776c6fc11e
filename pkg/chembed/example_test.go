package chembed_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

// A program's main begins with chembed.RunChildIfRequested(), because the engine's process is the same executable; here TestMain does.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "chembed-example-*")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	cfg := chembed.DefaultConfig()
	cfg.DataDir = dir
	cfg.NativeAddr, cfg.HTTPAddr = "127.0.0.1:0", "127.0.0.1:0" // any free ports
	cfg.Logger = slog.New(slog.DiscardHandler)
	srv, err := chembed.Start(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = srv.Close(ctx) }()

	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{srv.NativeAddr()}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, sql := range []string{
		"CREATE TABLE trades (symbol LowCardinality(String), price Decimal(18, 8)) ENGINE = MergeTree ORDER BY symbol",
		"INSERT INTO trades VALUES ('IREN', 41.5), ('CORZ', 18.25), ('IREN', 42.25)",
	} {
		if err := conn.Exec(ctx, sql); err != nil {
			log.Fatal(err)
		}
	}
	var symbol, high string
	if err := conn.QueryRow(ctx, "SELECT symbol, toString(max(price)) AS high FROM trades GROUP BY symbol ORDER BY high DESC LIMIT 1").Scan(&symbol, &high); err != nil {
		log.Fatal(err)
	}
	fmt.Println(symbol, high)
	// Output: IREN 42.25
}
