package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	schema "github.com/hashpivot/hashpivot/schemas/clickhouse"
)

// ErrNewer says that the database was migrated by a newer hashpivot than this one.
var ErrNewer = errors.New("the database's schema is newer than this binary")

// Schema tells the version that the database is at, 0 before the first migration, and the one that this binary brings it to. It changes nothing.
func (s *Store) Schema(ctx context.Context) (is, ours int64, _ error) {
	ours, err := newest()
	if err != nil {
		return 0, 0, err
	}
	err = s.conn.QueryRow(ctx, "SELECT max(version_id) FROM "+s.cfg.Database+"."+goose.DefaultTablename+" WHERE is_applied = 1").Scan(&is)
	if code, ok := Code(err); ok && (code == codeUnknownTable || code == codeUnknownDatabase) {
		return 0, ours, nil
	}
	if err != nil {
		return 0, ours, fmt.Errorf("read the schema's version of %s: %w", s.cfg.Database, err)
	}
	return is, ours, nil
}

const (
	codeUnknownTable    = 60
	codeUnknownDatabase = 81
	codeReadonly        = 164
	codeAccessDenied    = 497
)

// newest is the number of the last migration.
func newest() (int64, error) {
	files, err := fs.Glob(schema.Migrations, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	var out int64
	for _, f := range files {
		number, _, _ := strings.Cut(f, "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read migrations: %s has no number: %w", f, err)
		}
		out = max(out, n)
	}
	return out, nil
}

// notNewer refuses a database that this binary does not understand: it would land rows without the columns that have been added since.
func (s *Store) notNewer(ctx context.Context) error {
	is, ours, err := s.Schema(ctx)
	if err != nil {
		return err
	}
	if is > ours {
		return fmt.Errorf("%w: %s is at %d and this one knows up to %d; run the newer hashpivot, or restore the backup that was made before the upgrade", ErrNewer, s.cfg.Database, is, ours)
	}
	return nil
}

// Server is what ClickHouse says of itself.
type Server struct {
	Version string
	// Offset of its clock to ours, known to within Within.
	Offset, Within time.Duration
}

// Server asks for the version and the clock, in the server's own database: ours may not be there yet.
func (s *Store) Server(ctx context.Context) (Server, error) {
	var out Server
	var now time.Time
	if err := s.conn.Ping(ctx); err != nil { // connecting is no part of the clock's uncertainty
		return out, fmt.Errorf("ping ClickHouse at %v: %w", s.cfg.Addr, err)
	}
	asked := time.Now()
	if err := s.conn.QueryRow(ctx, "SELECT version(), now64(9, 'UTC')").Scan(&out.Version, &now); err != nil {
		return out, fmt.Errorf("ask ClickHouse at %v for its clock: %w", s.cfg.Addr, err)
	}
	out.Within = time.Since(asked) / 2
	out.Offset = now.Sub(asked.Add(out.Within))
	return out, nil
}

// Anywhere is the same server without a database of its own choice.
func (c Config) Anywhere() Config {
	c.Database = "default"
	return c
}

// Writes tries whether rows may be put into a table, with none: nothing is written.
func (s *Store) Writes(ctx context.Context, table string) error {
	// Columns that are computed cannot be inserted, and * has them where the user's profile says so.
	sql := fmt.Sprintf("INSERT INTO %[1]s.%[2]s SELECT * FROM %[1]s.%[2]s WHERE 0 SETTINGS asterisk_include_alias_columns = 0", s.cfg.Database, table)
	if err := s.conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("put no rows into %s: %w", table, err)
	}
	return nil
}

// Reads tries whether a table may be read.
func (s *Store) Reads(ctx context.Context, table string) error {
	var none uint64
	if err := s.conn.QueryRow(ctx, fmt.Sprintf("SELECT count() FROM (SELECT * FROM %s.%s LIMIT 0)", s.cfg.Database, table)).Scan(&none); err != nil {
		return fmt.Errorf("read no rows of %s: %w", table, err)
	}
	return nil
}

// Disk is one of the server's disks.
type Disk struct {
	Name        string
	Free, Total uint64
}

// Disks asks for the server's disks.
func (s *Store) Disks(ctx context.Context) ([]Disk, error) {
	rows, err := s.conn.Query(ctx, "SELECT name, unreserved_space, total_space FROM system.disks WHERE total_space < 1e18 ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("ask for the server's disks: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Disk
	for rows.Next() {
		var d Disk
		if err := rows.Scan(&d.Name, &d.Free, &d.Total); err != nil {
			return nil, fmt.Errorf("ask for the server's disks: %w", err)
		}
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ask for the server's disks: %w", err)
	}
	return out, nil
}
