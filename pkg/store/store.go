package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Store is a database of hashpivot's. It is safe for concurrent use.
type Store struct {
	cfg     Config
	log     *slog.Logger
	conn    driver.Conn
	inserts inserters
	// replicas are the servers of a replicated database, each by itself; nil: there is one server.
	replicas []*replica
	// first is the address that inserts try first; after an error that another replica may not have, the next. lately is the replica that could be brought up last.
	first, lately atomic.Uint32
}

// Open prepares a Store. It does not connect: a service may start before its database does, and Ping tells whether it is there.
func Open(_ context.Context, cfg Config, log *slog.Logger) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.checkFiles(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	conn, err := clickhouse.Open(cfg.options(cfg.Database))
	if err != nil {
		return nil, fmt.Errorf("open store at %v: %w", cfg.Addr, err)
	}
	replicas, err := openReplicas(cfg)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", errors.Join(err, conn.Close()))
	}
	return &Store{
		cfg: cfg, replicas: replicas, log: log.With("component", "store"), conn: conn, inserts: inserters{max: cfg.MaxConns, compress: cfg.Compression != CompressionNone},
	}, nil
}

// Close ends the connections.
func (s *Store) Close() error {
	s.inserts.close()
	err := s.conn.Close()
	for _, r := range s.replicas {
		err = errors.Join(err, r.conn.Close())
	}
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// Ping asks the server for a sign of life in the store's database. Before the first Migrate the database may be absent, which is
// an error here.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.conn.Ping(ctx); err != nil {
		return fmt.Errorf("ping ClickHouse at %v: %w", s.cfg.Addr, err)
	}
	return nil
}
