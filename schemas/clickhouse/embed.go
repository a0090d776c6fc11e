// Package clickhouse holds the schema of the ClickHouse database as migrations.
package clickhouse

import "embed"

// Migrations are goose migrations: one idempotent statement a file, in the order of their numbers. A file that was released is never
// changed; a later one alters what it made.
//
//go:embed *.sql
var Migrations embed.FS
