package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Retirement is the removal of old rows: of one partition of a table, those whose messages were stored before a moment.
type Retirement struct {
	ID             string
	Table          string
	Partition      string
	Before         time.Time
	Rows           uint64
	Oldest, Newest time.Time // event times
	Keep           time.Duration
}

// Partition is what a partition holds of rows whose messages were stored before a moment, and of others.
type Partition struct {
	ID             string
	Rows, Others   uint64
	Bytes          uint64 // on the disk, of all
	Oldest, Newest time.Time
}

// Partitions lists a table's partitions, ascending by name.
func (s *Store) Partitions(ctx context.Context, table string, before time.Time) ([]Partition, error) {
	if ChecksumColumns(table) == nil {
		return nil, fmt.Errorf("list partitions of %q: there is no such table of events", table)
	}
	conn, err := s.upToDate(ctx, table)
	if err != nil {
		return nil, fmt.Errorf("list partitions of %s: %w", table, err)
	}
	at := timeLiteral(before)
	sql := fmt.Sprintf("SELECT p.id, p.n, p.others, b.bytes, p.oldest, p.newest FROM "+
		"(SELECT _partition_id AS id, countIf(stream_time < %[1]s) AS n, countIf(stream_time >= %[1]s) AS others, min(event_time) AS oldest, max(event_time) AS newest FROM %[2]s GROUP BY id) AS p "+
		"LEFT JOIN (SELECT partition_id AS id, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = currentDatabase() AND table = '%[2]s' GROUP BY id) AS b USING (id) ORDER BY p.id",
		at, table)
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("list partitions of %s: %w", table, err)
	}
	defer func() { _ = rows.Close() }()
	var out []Partition
	for rows.Next() {
		var p Partition
		if err := rows.Scan(&p.ID, &p.Rows, &p.Others, &p.Bytes, &p.Oldest, &p.Newest); err != nil {
			return nil, fmt.Errorf("list partitions of %s: %w", table, err)
		}
		out = append(out, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list partitions of %s: %w", table, err)
	}
	return out, nil
}

// AddRetirement writes down that a retirement has begun, or is done, once.
func (s *Store) AddRetirement(ctx context.Context, r Retirement, done bool) error {
	state := "begun"
	if done {
		state = "done"
	}
	err := s.addRows(ctx, "retirement:"+r.ID+":"+state,
		"INSERT INTO retirements (retirement_id, state, table_name, partition_id, before, row_count, oldest, newest, keep_s, at)", [][]any{{
			r.ID, state, r.Table, r.Partition, r.Before, r.Rows, r.Oldest, r.Newest, uint64(r.Keep.Seconds()), time.Now().UTC(),
		}})
	if err != nil {
		return fmt.Errorf("write down retirement %s of %s: %w", r.ID, r.Table, err)
	}
	return nil
}

// Begun are the retirements that have begun and are not done. A database without the table has none.
func (s *Store) Begun(ctx context.Context) ([]Retirement, error) {
	conn, err := s.upToDate(ctx, "retirements")
	if IsSchema(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the retirements under way: %w", err)
	}
	rows, err := conn.Query(ctx, "SELECT retirement_id, any(table_name), any(partition_id), any(before), any(row_count), any(oldest), any(newest), any(keep_s) FROM retirements "+
		"GROUP BY retirement_id HAVING max(state) = 'begun' ORDER BY min(at)")
	if IsSchema(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the retirements under way: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Retirement
	for rows.Next() {
		var r Retirement
		var keep uint64
		if err := rows.Scan(&r.ID, &r.Table, &r.Partition, &r.Before, &r.Rows, &r.Oldest, &r.Newest, &keep); err != nil {
			return nil, fmt.Errorf("read the retirements under way: %w", err)
		}
		r.Keep = time.Duration(keep) * time.Second
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the retirements under way: %w", err)
	}
	return out, nil
}

// HasAuditRanges tells whether an audit of that name has written ranges.
func (s *Store) HasAuditRanges(ctx context.Context, audit string) (bool, error) {
	conn, err := s.upToDate(ctx, "audit_ranges")
	if err != nil {
		return false, fmt.Errorf("look for checksums of %s: %w", audit, err)
	}
	var n uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM audit_ranges WHERE audit_id = $1", audit).Scan(&n); err != nil {
		return false, fmt.Errorf("look for checksums of %s: %w", audit, err)
	}
	return n > 0, nil
}

// Remove deletes a retirement's rows, and returns when they are gone. Again it does nothing.
func (s *Store) Remove(ctx context.Context, r Retirement) error {
	if ChecksumColumns(r.Table) == nil {
		return fmt.Errorf("remove rows of %q: there is no such table of events", r.Table)
	}
	// A mutation that all of a part falls to removes the part. It goes on in the server: no timeout of a connection ends it.
	sql := fmt.Sprintf("ALTER TABLE %s DELETE IN PARTITION ID %s WHERE stream_time < %s", r.Table, quote(r.Partition), timeLiteral(r.Before))
	conn, err := s.upToDate(ctx, r.Table)
	if err != nil {
		return fmt.Errorf("remove rows of partition %s of %s: %w", r.Partition, r.Table, err)
	}
	if err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("remove rows of partition %s of %s: %w", r.Partition, r.Table, err)
	}
	if s.replicas == nil {
		return s.mutated(ctx, conn, r)
	}
	// Each replica carries it out by itself, and none is to be read as if it had before it has. Bringing one up to the others tells it what is to be done.
	if err := s.CatchUp(ctx); err != nil {
		return fmt.Errorf("remove rows of partition %s of %s: %w", r.Partition, r.Table, err)
	}
	for _, one := range s.replicas {
		err := s.mutated(ctx, one.conn, r)
		if _, spoken := Code(err); err != nil && !spoken && ctx.Err() == nil && !errors.Is(err, errMutation) {
			s.log.WarnContext(ctx, "a replica is not reached: it removes the rows when it is back", "addr", one.addr, "err", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// errMutation is a removal that a server could not carry out yet.
var errMutation = errors.New("it is tried again by the server")

// mutated waits until a server has removed a retirement's rows.
func (s *Store) mutated(ctx context.Context, conn driver.Conn, r Retirement) error {
	tick := time.NewTicker(backupPoll)
	defer tick.Stop()
	for {
		var left uint64
		var problem string
		if err := conn.QueryRow(ctx, "SELECT count(), max(latest_fail_reason) FROM system.mutations WHERE database = currentDatabase() AND table = $1 AND NOT is_done", r.Table).Scan(&left, &problem); err != nil {
			return fmt.Errorf("ask how far the removal of rows of %s is: %w", r.Table, err)
		}
		switch {
		case problem != "":
			return fmt.Errorf("remove rows of partition %s of %s: %s; %w", r.Partition, r.Table, problem, errMutation)
		case left == 0:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// errNoStream is for a table that no stream lands into.
var errNoStream = errors.New("no stream lands into this table")

// StreamOf is the stream that lands into a table.
func StreamOf(table string) (market.Stream, error) {
	for _, st := range market.Streams() {
		if slices.Contains(Tables(st), table) {
			return st, nil
		}
	}
	return "", fmt.Errorf("find the stream of %q: %w", table, errNoStream)
}
