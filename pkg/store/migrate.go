package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"

	schema "github.com/hashpivot/hashpivot/schemas/clickhouse"
)

// Migrate creates the database if it is absent and brings its tables to this version's schema. Run again it does nothing. Every
// migration is one idempotent statement, so that one which was interrupted, or which two programs run at once, is simply run again.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.createDatabase(ctx); err != nil {
		return err
	}
	if err := s.notNewer(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	return s.migrate(ctx, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.Up(ctx) })
}

// createDatabase speaks to the server's own database: a session in one that does not exist is refused.
func (s *Store) createDatabase(ctx context.Context) error {
	opts, err := s.cfg.options("default")
	if err != nil {
		return fmt.Errorf("create database %s: %w", s.cfg.Database, err)
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return fmt.Errorf("create database %s: %w", s.cfg.Database, err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+s.cfg.Database); err != nil {
		return fmt.Errorf("create database %s at %v: %w", s.cfg.Database, s.cfg.Addr, err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, up func(*goose.Provider) ([]*goose.MigrationResult, error)) error {
	opts, err := s.cfg.options(s.cfg.Database)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	db := clickhouse.OpenDB(opts)
	defer func() { _ = db.Close() }()
	p, err := newProvider(db, s.log)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	if err := syncVersions(ctx, p, db); err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	results, err := up(p)
	if err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) && partial.Failed != nil {
			return fmt.Errorf("migrate %s: %s: %w", s.cfg.Database, partial.Failed.Source.Path, partial.Err)
		}
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	for _, r := range results {
		s.log.DebugContext(ctx, "migration applied", "version", r.Source.Version, "file", r.Source.Path, "took", r.Duration)
	}
	if n := len(results); n > 0 {
		s.log.InfoContext(ctx, "database migrated", "database", s.cfg.Database, "migrations", n, "version", results[n-1].Source.Version)
	}
	return nil
}

// syncVersions has goose's own table synced as ours are. A power cut in the half minute after a first start left a broken part for each migration, and
// with more than a hundred of them the engine does not open its data directory any more.
func syncVersions(ctx context.Context, p *goose.Provider, db *sql.DB) error {
	pending, err := p.HasPending(ctx) // it makes the table too
	if err != nil || !pending {
		return err
	}
	_, err = db.ExecContext(ctx, "ALTER TABLE "+goose.DefaultTablename+" MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1")
	return err
}

func newProvider(db *sql.DB, log *slog.Logger) (*goose.Provider, error) {
	p, err := goose.NewProvider(goose.DialectClickHouse, db, schema.Migrations, goose.WithSlog(log), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}
