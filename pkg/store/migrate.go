package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	schema "github.com/hashpivot/hashpivot/schemas/clickhouse"
)

// Migrate creates the database if it is absent and brings its tables to this version's schema. Run again it does nothing. Every
// migration is one idempotent statement, so that one which was interrupted, or which two programs run at once, is simply run again.
//
// Who may not change the schema may call it where there is nothing to change.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.notNewer(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	if s.cfg.Replicated { // a replica may have come that has no database yet
		if err := s.createOnReplicas(ctx); err != nil {
			return s.mayNot(err)
		}
		if err := s.CatchUp(ctx); err != nil {
			return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
		}
	} else if err := s.ofOneServer(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	if current, err := s.Current(ctx); current || err != nil {
		return err
	}
	if !s.cfg.Replicated {
		if err := s.createDatabase(ctx); err != nil {
			return s.mayNot(err)
		}
	}
	return s.mayNot(s.migrateUp(ctx))
}

// ofOneServer refuses a replicated database where the configuration knows of one server.
func (s *Store) ofOneServer(ctx context.Context) error {
	_, err := s.madeAs(ctx, s.conn)
	if code, ok := Code(err); ok && code == codeUnknownDatabase {
		return nil
	}
	return err
}

// Current reports whether every migration of this version has been applied. It changes nothing.
func (s *Store) Current(ctx context.Context) (bool, error) {
	var applied []int64
	err := s.conn.QueryRow(ctx, "SELECT groupUniqArray(version_id) FROM "+s.cfg.Database+"."+goose.DefaultTablename+" WHERE is_applied = 1").Scan(&applied)
	if code, ok := Code(err); ok && (code == codeUnknownTable || code == codeUnknownDatabase) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the schema's version of %s: %w", s.cfg.Database, err)
	}
	files, err := fs.Glob(schema.Migrations, "*.sql")
	if err != nil {
		return false, fmt.Errorf("read migrations: %w", err)
	}
	for _, f := range files {
		version, err := goose.NumericComponent(f)
		if err != nil {
			return false, fmt.Errorf("read migrations: %w", err)
		}
		if !slices.Contains(applied, version) {
			return false, nil
		}
	}
	return true, nil
}

// mayNot says what to do where the server does not let our user change the schema.
func (s *Store) mayNot(err error) error {
	if IsDenied(err) {
		return fmt.Errorf("%w; user %s may not change the schema: run hashpivot migrate with clickhouse.user and .password of one that may", err, s.cfg.User)
	}
	return err
}

func (s *Store) migrateUp(ctx context.Context) error {
	return s.migrate(ctx, func(p *goose.Provider) ([]*goose.MigrationResult, error) { return p.Up(ctx) })
}

// createDatabase speaks to the server's own database: a session in one that does not exist is refused.
func (s *Store) createDatabase(ctx context.Context) error {
	conn, err := clickhouse.Open(s.cfg.options("default"))
	if err != nil {
		return fmt.Errorf("create database %s: %w", s.cfg.Database, err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+s.cfg.Database); err != nil {
		return fmt.Errorf("create database %s at %v: %w", s.cfg.Database, s.cfg.Addr, err)
	}
	return nil
}

// migrateTimeout is for how long a migration may say nothing: one that rewrites a column of a large table answers when it is through.
const migrateTimeout = 24 * time.Hour

func (s *Store) migrate(ctx context.Context, up func(*goose.Provider) ([]*goose.MigrationResult, error)) error {
	opts := s.cfg.options(s.cfg.Database)
	opts.ReadTimeout = migrateTimeout
	db := clickhouse.OpenDB(opts)
	defer func() { _ = db.Close() }()
	p, err := newProvider(db, s.cfg.Replicated, s.log)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", s.cfg.Database, err)
	}
	if err := s.syncVersions(ctx, p, db); err != nil {
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
func (s *Store) syncVersions(ctx context.Context, p *goose.Provider, db *sql.DB) error {
	pending, err := p.HasPending(ctx)               // it makes the table too
	if err != nil || !pending || s.cfg.Replicated { // made so
		return err
	}
	_, err = db.ExecContext(ctx, "ALTER TABLE "+goose.DefaultTablename+" MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1")
	return err
}

func newProvider(db *sql.DB, replicated bool, log *slog.Logger) (p *goose.Provider, err error) {
	opts := []goose.ProviderOption{goose.WithSlog(log), goose.WithDisableGlobalRegistry(true)}
	if replicated {
		var versions database.Store
		if versions, err = newReplicatedVersions(); err == nil {
			p, err = goose.NewProvider(goose.DialectCustom, db, replicatedFiles{schema.Migrations}, append(opts, goose.WithStore(versions))...)
		}
	} else {
		p, err = goose.NewProvider(goose.DialectClickHouse, db, schema.Migrations, opts...)
	}
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}
