package store

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Store is a database of hashpivot's. It is safe for concurrent use.
type Store struct {
	cfg     Config
	log     *slog.Logger
	conn    driver.Conn
	inserts inserters
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
	return &Store{
		cfg: cfg, log: log.With("component", "store"), conn: conn, inserts: inserters{max: cfg.MaxConns, compress: cfg.Compression != CompressionNone},
	}, nil
}

// Close ends the connections.
func (s *Store) Close() error {
	s.inserts.close()
	if err := s.conn.Close(); err != nil {
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
