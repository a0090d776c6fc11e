package chembed_test

import (
	"context"
	"testing"
	"testing/fstest"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// Migrations by goose over database/sql work up, down and up again.
func TestGoose(t *testing.T) {
	srv, name := shared(t)
	db := clickhouse.OpenDB(&clickhouse.Options{Addr: []string{srv.NativeAddr()}, Auth: clickhouse.Auth{Database: name}})
	defer db.Close()
	ctx := context.Background()
	migrations := fstest.MapFS{
		"00001_trades.sql": {Data: []byte("-- +goose Up\nCREATE TABLE trades (id UInt64, px Decimal(18, 8)) ENGINE = MergeTree ORDER BY id;\n-- +goose Down\nDROP TABLE trades;\n")},
		"00002_size.sql":   {Data: []byte("-- +goose Up\nALTER TABLE trades ADD COLUMN size UInt32;\n-- +goose Down\nALTER TABLE trades DROP COLUMN size;\n")},
	}
	p, err := goose.NewProvider(database.DialectClickHouse, db, migrations)
	if err != nil {
		t.Fatal(err)
	}
	version := func(want int64) {
		t.Helper()
		if v, err := p.GetDBVersion(ctx); err != nil || v != want {
			t.Fatalf("version %d, want %d: %v", v, want, err)
		}
	}
	if _, err := p.Up(ctx); err != nil {
		t.Fatal(err)
	}
	version(2)
	if _, err := p.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Down(ctx); err != nil {
		t.Fatal(err)
	}
	version(1)
	if _, err := p.Up(ctx); err != nil {
		t.Fatal(err)
	}
	version(2)
	if _, err := db.ExecContext(ctx, "INSERT INTO trades (id, px, size) VALUES (?, ?, ?)", 1, "0.29", 100); err != nil {
		t.Fatal(err)
	}
	var px string
	if err := db.QueryRowContext(ctx, "SELECT toString(px) FROM trades WHERE id = ?", 1).Scan(&px); err != nil || px != "0.29" {
		t.Fatalf("price %q: %v", px, err)
	}
}
