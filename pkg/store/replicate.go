package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// The tables of a replicated database are made by the same migrations as those of one server. The database is of ClickHouse's engine Replicated, which takes each
// statement to every replica, also to one that is away or comes later; what is left to do is to name the tables' engine and where they remember tokens.

// What the migrations say of each table, and what it is on replicas. A plain table remembers the tokens of its last blocks in a file of its own, a replicated one in
// Keeper, where age would end them too: a lander may come back after a long time, so nothing but their number does. What is fetched from another replica is synced as
// what is inserted is, because the quorum counts it.
const (
	plainEngine      = "\nENGINE = MergeTree\n"
	replicatedEngine = "\nENGINE = ReplicatedMergeTree\n"
	plainMemory      = "SETTINGS non_replicated_deduplication_window = 10000, "
	replicatedMemory = "SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 3153600000, min_compressed_bytes_to_fsync_after_fetch = 1, "
)

// replicate is a migration as a replicated database wants it. A statement that makes a table in other words than all others is refused, so that no table of a
// replicated database is ever one server's own.
func replicate(statement string) (string, error) {
	tables := strings.Count(statement, "CREATE TABLE")
	if strings.Count(statement, "MergeTree") != tables || strings.Count(statement, plainEngine) != tables || strings.Count(statement, plainMemory) != tables {
		return "", fmt.Errorf("a table must say %q and %q, each once, to be made on replicas", plainEngine, plainMemory)
	}
	return strings.NewReplacer(plainEngine, replicatedEngine, plainMemory, replicatedMemory).Replace(statement), nil
}

// replicatedFiles are migrations, each replicated as it is opened.
type replicatedFiles struct{ fs.FS }

// ReadDir implements fs.ReadDirFS, for a file must be listed without being rewritten.
func (f replicatedFiles) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(f.FS, name) }

// Open implements fs.FS.
func (f replicatedFiles) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return file, err
	}
	plain, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	text, err := replicate(string(plain))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), file.Close())
	}
	return &replicatedFile{File: file, text: bytes.NewReader([]byte(text))}, nil
}

type replicatedFile struct {
	fs.File
	text *bytes.Reader
}

// Read implements fs.File.
func (f *replicatedFile) Read(p []byte) (int, error) { return f.text.Read(p) }

// replicatedVersions is goose's own table, on replicas.
type replicatedVersions struct{ database.Store }

func newReplicatedVersions() (database.Store, error) {
	st, err := database.NewStore(goose.DialectClickHouse, goose.DefaultTablename)
	return replicatedVersions{st}, err
}

// CreateVersionTable implements database.Store. Its columns are those that goose makes.
func (v replicatedVersions) CreateVersionTable(ctx context.Context, db database.DBTxConn) error {
	_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+v.Tablename()+
		" (version_id Int64, is_applied UInt8, date Date DEFAULT now(), tstamp DateTime DEFAULT now())"+replicatedEngine+"ORDER BY version_id "+replicatedMemory+
		"fsync_after_insert = 1, fsync_part_directory = 1")
	if err != nil {
		return fmt.Errorf("make table %s: %w", v.Tablename(), err)
	}
	return nil
}

// databaseEngine is that of a database that is made here.
func (c Config) databaseEngine() string {
	if c.Replicated {
		return " ENGINE = Replicated('/clickhouse/databases/" + c.Database + "', '{shard}', '{replica}')"
	}
	return ""
}

// ErrEngine says that the database was made for one server and shall be replicated, or the other way round.
var ErrEngine = errors.New("the database is not what clickhouse.replicated says")

// madeAs holds that a database is replicated where the configuration says so, and only there; exists is false where there is none. It changes nothing.
func (s *Store) madeAs(ctx context.Context, conn driver.Conn) (exists bool, _ error) {
	rows, err := conn.Query(ctx, "SELECT engine FROM system.databases WHERE name = $1", s.cfg.Database)
	if err != nil {
		return false, err
	}
	engines, err := oneColumn(rows)
	switch {
	case err != nil || len(engines) == 0:
		return false, err
	case (engines[0] == "Replicated") == s.cfg.Replicated:
		return true, nil
	case s.cfg.Replicated:
		return true, fmt.Errorf("%w: it is of engine %s, of one server: name another database, or set clickhouse.replicated: false", ErrEngine, engines[0])
	}
	return true, fmt.Errorf("%w: it is of engine Replicated: set clickhouse.replicated: true, and name every replica in clickhouse.addr", ErrEngine)
}

// createOnReplicas makes the database on every replica that has none. One that is away keeps a database from being made at first, because rows of which only one
// server has heard are not landed; later it is left out, and gets all of it when it is back.
func (s *Store) createOnReplicas(ctx context.Context) error {
	var away []error
	var without []driver.Conn
	there := 0
	shard, names := "", map[string]string{}
	for _, addr := range s.cfg.Addr {
		one := s.cfg
		one.Addr = []string{addr}
		conn, err := clickhouse.Open(one.options("default"))
		if err != nil {
			return fmt.Errorf("create database %s at %s: %w", s.cfg.Database, addr, err)
		}
		defer func() { _ = conn.Close() }()
		var name, of string
		err = conn.QueryRow(ctx, "SELECT getMacro('replica'), getMacro('shard')").Scan(&name, &of)
		if _, spoken := Code(err); spoken {
			return fmt.Errorf("create database %s at %s: the server must say which replica it is by the macros shard and replica: %w", s.cfg.Database, addr, err)
		}
		if err != nil {
			away = append(away, fmt.Errorf("%s: %w", addr, err))
			continue
		}
		if shard != "" && of != shard {
			return fmt.Errorf("clickhouse.addr: %s is of shard %s, others of %s: hashpivot lands into one shard of several replicas (docs/operators.md)", addr, of, shard)
		}
		if other, ok := names[name]; ok {
			return fmt.Errorf("clickhouse.addr: %s and %s are both replica %s: name each server once", other, addr, name)
		}
		shard, names[name] = of, addr
		exists, err := s.madeAs(ctx, conn)
		if err != nil {
			return fmt.Errorf("look for database %s at %s: %w", s.cfg.Database, addr, err)
		}
		if exists {
			there++
		} else {
			without = append(without, conn)
		}
	}
	if len(away) > 0 && (there == 0 || len(away) == len(s.cfg.Addr)) {
		return fmt.Errorf("create database %s: every replica must be there when it is made: %w", s.cfg.Database, errors.Join(away...))
	}
	if len(away) > 0 {
		s.log.WarnContext(ctx, "a replica is away; it gets the schema when it is back", "err", errors.Join(away...))
	}
	for _, conn := range without {
		if err := conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+s.cfg.Database+s.cfg.databaseEngine()); err != nil {
			return fmt.Errorf("create database %s on its replicas: %w", s.cfg.Database, err)
		}
	}
	return nil
}

// ddlWithin bounds the wait for the other replicas to carry a migration out.
const ddlWithin = 3 * time.Minute
