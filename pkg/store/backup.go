package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// ErrNotEmpty says that a database which shall be restored has tables.
var ErrNotEmpty = errors.New("database is not empty")

// backupPoll is how often a backup or a restore under way is asked for.
const backupPoll = 50 * time.Millisecond

// Backup writes the database to a destination as ClickHouse's BACKUP names it: File('/dir'), Disk('backups', 'name'), S3(...). Rows that land meanwhile may be
// in it or not, each block whole. The server must allow the destination (backups.allowed_path, or the disk).
func (s *Store) Backup(ctx context.Context, destination string) error {
	if err := s.CatchUp(ctx); err != nil {
		return fmt.Errorf("back up database %s to %s: %w", s.cfg.Database, destination, err)
	}
	err := s.apart(ctx, func(conn driver.Conn) error {
		return carryOut(ctx, conn, "BACKUP DATABASE "+s.cfg.Database+" TO "+destination, "BACKUP_CREATED")
	})
	if err != nil {
		return fmt.Errorf("back up database %s to %s: %w", s.cfg.Database, destination, err)
	}
	return nil
}

// Restore makes the database of what Backup wrote under the same name. ErrNotEmpty if it is there and has tables. A replicated one gets its tables by the migrations,
// whose rows are then restored: so the backup may be one of a single server.
func (s *Store) Restore(ctx context.Context, destination string) error {
	err := s.apart(ctx, func(conn driver.Conn) error {
		var tables uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = $1", s.cfg.Database).Scan(&tables); err != nil {
			return err
		}
		if tables > 0 {
			return fmt.Errorf("%w: it has %d tables; restore into a server that has no such database, or drop it first if nothing in it is needed", ErrNotEmpty, tables)
		}
		statement := "RESTORE DATABASE " + s.cfg.Database + " FROM " + destination
		if s.cfg.Replicated {
			if err := s.Migrate(ctx); err != nil {
				return err
			}
			statement += " SETTINGS allow_different_database_def = 1, allow_different_table_def = 1, allow_non_empty_tables = 1"
		}
		return carryOut(ctx, conn, statement, "RESTORED")
	})
	if err != nil {
		return fmt.Errorf("restore database %s from %s: %w", s.cfg.Database, destination, err)
	}
	return nil
}

// apart does something over a connection outside the store's database, which need not exist.
func (s *Store) apart(_ context.Context, do func(driver.Conn) error) error {
	conn, err := clickhouse.Open(s.cfg.options("default"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return do(conn)
}

// carryOut begins a BACKUP or RESTORE and waits for its end. It goes on in the server, for as long as it takes: no timeout of a connection cuts it off.
func carryOut(ctx context.Context, conn driver.Conn, statement, done string) error {
	var id, state string
	if err := conn.QueryRow(ctx, statement+" ASYNC").Scan(&id, &state); err != nil {
		return err
	}
	tick := time.NewTicker(backupPoll)
	defer tick.Stop()
	for {
		var problem string
		if err := conn.QueryRow(ctx, "SELECT toString(status), error FROM system.backups WHERE id = $1", id).Scan(&state, &problem); err != nil {
			return fmt.Errorf("ask how far it is: %w", err)
		}
		switch state {
		case done:
			return nil
		case "CREATING_BACKUP", "RESTORING":
		default:
			return fmt.Errorf("%s: %s", state, problem)
		}
		select {
		case <-ctx.Done():
			_ = conn.Exec(context.WithoutCancel(ctx), "KILL QUERY WHERE query_id = (SELECT query_id FROM system.backups WHERE id = '"+id+"') ASYNC")
			return ctx.Err()
		case <-tick.C:
		}
	}
}
