package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Replicas of one shard have the same rows, each as soon as it has fetched them. Two things follow. What is decided by looking into a table must not be decided by a
// replica that lags: it is brought up to the others first (SYSTEM SYNC REPLICA), and read over a connection to that very one. And what stands on one replica only is
// not landed yet: a quorum of them must have it (clickhouse.insert_quorum), whether the insert was acknowledged or is found to stand by who looks after a crash.

// replica is one server of several.
type replica struct {
	addr string
	conn driver.Conn

	mu      sync.Mutex
	through map[life]uint64 // up to which sequence it has been brought
}

// life of a stream.
type life struct {
	stream market.Stream
	since  int64
}

// openReplicas prepares a connection to each; none where there is one server.
func openReplicas(cfg Config) ([]*replica, error) {
	if !cfg.Replicated {
		return nil, nil
	}
	var out []*replica
	for _, addr := range cfg.Addr {
		one := cfg
		one.Addr = []string{addr}
		conn, err := clickhouse.Open(one.options(cfg.Database))
		if err != nil {
			return out, fmt.Errorf("open store at %s: %w", addr, err)
		}
		out = append(out, &replica{addr: addr, conn: conn, through: map[life]uint64{}})
	}
	return out, nil
}

// syncWithin bounds the wait for a replica that lags; then another is asked.
const syncWithin = 15 * time.Second

// quorum is how many replicas must have a block before it has landed.
func (c Config) quorum() int {
	if n, err := c.insertQuorum(); err == nil && n > 0 {
		return n
	}
	return len(c.Addr)/2 + 1
}

// sync brings a replica's tables up to what all replicas together had when it was called.
func (s *Store) sync(ctx context.Context, r *replica, tables []string) error {
	ctx, cancel := context.WithTimeout(ctx, syncWithin+s.cfg.DialTimeout)
	defer cancel()
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"receive_timeout": int(syncWithin.Seconds())})) // the server's own bound of its wait
	for _, t := range tables {
		if err := r.conn.Exec(ctx, "SYSTEM SYNC REPLICA "+s.cfg.Database+"."+t+" LIGHTWEIGHT"); err != nil {
			return fmt.Errorf("bring %s up to its replicas at %s: %w", t, r.addr, err)
		}
	}
	return nil
}

// upToDate is a connection over which tables may be read that something is decided by: to a replica that could be brought up to the others.
func (s *Store) upToDate(ctx context.Context, tables ...string) (driver.Conn, error) {
	if s.replicas == nil {
		return s.conn, nil
	}
	r, err := s.bring(ctx, tables)
	if err != nil {
		return nil, err
	}
	return r.conn, nil
}

func (s *Store) bring(ctx context.Context, tables []string) (*replica, error) {
	var failed []error
	lately := int(s.lately.Load())
	for i := range s.replicas {
		at := (lately + i) % len(s.replicas)
		r := s.replicas[at]
		err := s.sync(ctx, r, tables)
		if err == nil {
			s.lately.Store(uint32(at))
			return r, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failed...)
}

// reached is a connection over which a stream's tables may be read up to a sequence that has landed, 0: up to what stands now. A replica is brought up once for a
// sequence, not for each page.
func (s *Store) reached(ctx context.Context, stream market.Stream, since time.Time, through uint64) (driver.Conn, error) {
	if s.replicas == nil {
		return s.conn, nil
	}
	l := life{stream: stream}
	if !since.IsZero() {
		l.since = since.UnixNano()
	}
	if through > 0 {
		for _, r := range s.replicas {
			r.mu.Lock()
			has := r.through[l] >= through
			r.mu.Unlock()
			if has && r.conn.Ping(ctx) == nil {
				return r.conn, nil
			}
		}
	}
	r, err := s.bring(ctx, Tables(stream))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.through[l] = max(r.through[l], through)
	return r.conn, nil
}

// secure returns when a quorum of replicas has what stands in the tables, as somebody has just seen over a connection of upToDate.
func (s *Store) secure(ctx context.Context, tables []string) error {
	if s.replicas == nil {
		return nil
	}
	var g errgroup.Group
	errs := make([]error, len(s.replicas))
	for i, r := range s.replicas {
		g.Go(func() error {
			errs[i] = s.sync(ctx, r, tables)
			return nil
		})
	}
	_ = g.Wait()
	have := len(slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err != nil }))
	if want := s.cfg.quorum(); have < want {
		return fmt.Errorf("rows stand that only %d of %d replicas are known to have, and %d must: %w", have, len(errs), want, errors.Join(errs...))
	}
	return nil
}

// CatchUp brings every replica that is reached up to what all of them had when it was called: for who reads by statements of its own, whichever replica answers them.
// One that is not reached is left out, for it answers nobody. Where there is one server it does nothing.
func (s *Store) CatchUp(ctx context.Context) error {
	if s.replicas == nil {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	reached := make([]bool, len(s.replicas))
	for i, r := range s.replicas {
		g.Go(func() error {
			rows, err := r.conn.Query(ctx, "SELECT name FROM system.tables WHERE database = $1 AND engine = 'ReplicatedMergeTree' ORDER BY name", s.cfg.Database)
			if _, spoken := Code(err); err != nil && !spoken {
				s.log.WarnContext(ctx, "a replica is not reached and is not brought up to the others", "addr", r.addr, "err", err)
				return nil
			}
			reached[i] = true
			if err != nil {
				return fmt.Errorf("list the tables at %s: %w", r.addr, err)
			}
			tables, err := oneColumn(rows)
			if err != nil {
				return fmt.Errorf("list the tables at %s: %w", r.addr, err)
			}
			return s.sync(ctx, r, tables)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if !slices.Contains(reached, true) {
		return fmt.Errorf("bring the replicas at %v up to each other: none is reached", s.cfg.Addr)
	}
	return nil
}

// oneColumn reads an answer of one column.
func oneColumn(rows driver.Rows) ([]string, error) {
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var t string
		if err := rows.Scan(&t); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, rows.Err()
}

// Replica is what one server says of its tables of ours.
type Replica struct {
	Addr string
	// Err is why it could not be asked; then nothing else is known.
	Err error
	// Name and Shard are the server's macros.
	Name, Shard string
	// ReadOnly are tables that take no rows: their session with Keeper is lost.
	ReadOnly []string
	// Delay is by how much the table that is furthest behind lags.
	Delay time.Duration
	// Active and Total are the fewest active and the most registered replicas of any table.
	Active, Total int
}

// Replicas asks each server of a replicated database; nil where there is one server.
func (s *Store) Replicas(ctx context.Context) []Replica {
	out := make([]Replica, len(s.replicas))
	var g errgroup.Group
	for i, r := range s.replicas {
		g.Go(func() error {
			out[i] = s.ask(ctx, r)
			return nil
		})
	}
	_ = g.Wait()
	return out
}

func (s *Store) ask(ctx context.Context, r *replica) Replica {
	out := Replica{Addr: r.addr}
	var delay, active, total uint64
	if out.Err = r.conn.QueryRow(ctx, "SELECT getMacro('replica'), getMacro('shard')").Scan(&out.Name, &out.Shard); out.Err != nil {
		return out
	}
	out.Err = r.conn.QueryRow(ctx, "SELECT groupArrayIf(table, is_readonly), max(absolute_delay), toUInt64(min(active_replicas)), toUInt64(max(total_replicas)) FROM system.replicas WHERE database = $1",
		s.cfg.Database).Scan(&out.ReadOnly, &delay, &active, &total)
	out.Delay, out.Active, out.Total = time.Duration(delay)*time.Second, int(active), int(total)
	return out
}
