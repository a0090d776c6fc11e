package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/certs"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// Compressions that Config knows. None is right on one machine, where compressing costs more than it saves; LZ4 over a network.
const (
	CompressionNone = "none"
	CompressionLZ4  = "lz4"
	CompressionZSTD = "zstd"
)

// Config says where ClickHouse is and how to talk to it. DefaultConfig is the embedded server's.
type Config struct {
	// Addr lists host:port of the native protocol; the first that answers is used. With Replicated they are the replicas, each by an address of its own.
	Addr []string `koanf:"addr"`
	// Replicated makes the database on all servers of Addr, which are replicas of one shard: rows of any are rows of all.
	Replicated bool `koanf:"replicated"`
	// InsertQuorum is how many replicas must have a block before it has landed: a number, or auto, which is more than half.
	InsertQuorum string `koanf:"insert_quorum"`
	// Database is made by Migrate if it is absent.
	Database string     `koanf:"database"`
	User     string     `koanf:"user"`
	Password run.Secret `koanf:"password"`
	// TLS speaks the secure native protocol (port 9440). CAFile holds the authorities that are trusted; empty: the system's. CertFile and KeyFile are our own
	// certificate, for servers that ask for one. All are read anew for each connection.
	TLS      bool   `koanf:"tls"`
	CAFile   string `koanf:"ca_file"`
	CertFile string `koanf:"cert_file"`
	KeyFile  string `koanf:"key_file"`
	// Compression of blocks on the wire: none, lz4 or zstd.
	Compression string `koanf:"compression"`

	DialTimeout time.Duration `koanf:"dial_timeout"`
	// ReadTimeout bounds the wait for the server's answer to one request; an insert that takes longer has an unknown outcome
	// and is retried under its token.
	ReadTimeout time.Duration `koanf:"read_timeout"`
	// MaxConns bounds the connections.
	MaxConns int `koanf:"max_conns"`
	// MaxMemoryUsage bounds the server's memory for one query, bytes; 0 leaves it to the server.
	MaxMemoryUsage uint64 `koanf:"max_memory_usage"`
	// MaxResultRows bounds what Query returns; more is an error. QueryEach has no bound.
	MaxResultRows int `koanf:"max_result_rows"`
}

// DefaultConfig is for the embedded server on loopback.
func DefaultConfig() Config {
	return Config{
		Addr:           []string{"127.0.0.1:9000"},
		Database:       "hashpivot",
		User:           "default",
		Compression:    CompressionNone,
		InsertQuorum:   quorumAuto,
		DialTimeout:    5 * time.Second,
		ReadTimeout:    60 * time.Second,
		MaxConns:       16,
		MaxMemoryUsage: 2 << 30,
		MaxResultRows:  1_000_000,
	}
}

// Validate names the key that is wrong.
func (c Config) Validate() error {
	if len(c.Addr) == 0 {
		return fmt.Errorf("addr: no address of ClickHouse; give host:port of its native protocol, such as 127.0.0.1:9000")
	}
	for _, a := range c.Addr {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("addr: %q is not host:port: %w", a, err)
		}
	}
	// The name goes into statements; what needs quoting is not worth having.
	if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`).MatchString(c.Database) {
		return fmt.Errorf("database: %q is not a plain name of letters, digits and underscores", c.Database)
	}
	switch c.Compression {
	case CompressionNone, CompressionLZ4, CompressionZSTD:
	default:
		return fmt.Errorf("compression: %q is none of none, lz4, zstd", c.Compression)
	}
	if err := c.secure().Validate(); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), section+"."))
	}
	if n, err := c.insertQuorum(); err != nil || n > len(c.Addr) {
		return fmt.Errorf("insert_quorum: %q is neither auto nor a number from 1 to that of the replicas, %d", c.InsertQuorum, len(c.Addr))
	}
	switch {
	case c.secure().Given() && !c.TLS:
		return fmt.Errorf("ca_file, cert_file: are set but tls is off; set tls: true")
	case c.DialTimeout <= 0:
		return fmt.Errorf("dial_timeout: %s is not above 0", c.DialTimeout)
	case c.ReadTimeout <= 0:
		return fmt.Errorf("read_timeout: %s is not above 0", c.ReadTimeout)
	case c.MaxConns < 1:
		return fmt.Errorf("max_conns: %d is below 1", c.MaxConns)
	case c.MaxResultRows < 1:
		return fmt.Errorf("max_result_rows: %d is below 1", c.MaxResultRows)
	}
	return nil
}

// quorumAuto is more than half of the replicas.
const quorumAuto = "auto"

// insertQuorum is a number, 0 for auto.
func (c Config) insertQuorum() (int, error) {
	if c.InsertQuorum == quorumAuto {
		return 0, nil
	}
	n, err := strconv.Atoi(c.InsertQuorum)
	if err == nil && n < 1 {
		err = strconv.ErrRange
	}
	return n, err
}

// quorumWithin bounds the server's wait for other replicas to fetch a block; the outcome of an insert that takes longer is unknown (319).
const quorumWithin = 20 * time.Second

// replicatedSettings are those of every session with a replica. Quorums of several inserts may be under way at once, for landers share a table. DDL waits for the
// replicas that live.
func (c Config) replicatedSettings() clickhouse.Settings {
	if !c.Replicated {
		return nil
	}
	return clickhouse.Settings{
		"insert_quorum":                c.InsertQuorum,
		"insert_quorum_parallel":       1,
		"insert_quorum_timeout":        quorumWithin.Milliseconds(),
		"distributed_ddl_output_mode":  "none_only_active",
		"distributed_ddl_task_timeout": int(ddlWithin.Seconds()),
	}
}

// section of the configuration that is ours, for errors.
const section = "clickhouse"

// secure is how we speak TLS.
func (c Config) secure() certs.Client {
	return certs.Client{Section: section, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile}
}

// checkFiles reads the files once, so that what is wrong with them is said at the start.
func (c Config) checkFiles() error {
	if !c.TLS {
		return nil
	}
	_, err := c.secure().Config("")
	return err
}

// options makes clickhouse-go's options for a session in database.
func (c Config) options(database string) *clickhouse.Options {
	o := &clickhouse.Options{
		Addr:             c.Addr,
		Auth:             clickhouse.Auth{Database: database, Username: c.User, Password: c.Password.Reveal()},
		ClientInfo:       clickhouse.ClientInfo{Products: []struct{ Name, Version string }{{Name: "hashpivot", Version: "1"}}},
		DialTimeout:      c.DialTimeout,
		ReadTimeout:      c.ReadTimeout,
		MaxOpenConns:     c.MaxConns,
		MaxIdleConns:     c.MaxConns,
		ConnOpenStrategy: clickhouse.ConnOpenInOrder,
		// A connection keeps the buffer of its greatest block otherwise.
		FreeBufOnConnRelease: true,
		Settings:             clickhouse.Settings{},
	}
	if c.MaxMemoryUsage > 0 {
		o.Settings["max_memory_usage"] = c.MaxMemoryUsage
	}
	maps.Copy(o.Settings, c.replicatedSettings())
	switch c.Compression {
	case CompressionLZ4:
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	case CompressionZSTD:
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionZSTD, Level: 1}
	}
	if c.TLS {
		// The certificate is of a host, and may be renewed: so each connection is made by its own configuration.
		o.DialContext = func(ctx context.Context, addr string) (net.Conn, error) {
			return c.secure().Dial(ctx, addr, c.DialTimeout)
		}
	}
	return o
}
