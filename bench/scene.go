package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

var hashpivotBinary = flag.String("hashpivot", "bin/hashpivot", "the built program, whose lander is measured in a process of its own")

// scene is what a lander in a process of its own is measured in: JetStream here, synced always, and ClickHouse in a process.
type scene struct {
	dir    string
	stream *stream
	engine *engineProcess
	stores map[string]*store.Store // by database, straight to the engine
}

func openScene(ctx context.Context, databases ...string) (_ *scene, err error) {
	s := &scene{stores: map[string]*store.Store{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "hashpivot-bench-*"); err != nil {
		return nil, err
	}
	if s.stream, err = openStream(ctx, s.dir); err != nil {
		return nil, err
	}
	if s.engine, err = startEngine(ctx, filepath.Join(s.dir, "clickhouse")); err != nil {
		return nil, err
	}
	for _, name := range databases {
		cfg := store.DefaultConfig()
		cfg.Addr, cfg.Database, cfg.ReadTimeout = []string{s.engine.Native}, name, 5*time.Minute
		st, err := store.Open(ctx, cfg, quiet())
		if err != nil {
			return nil, err
		}
		s.stores[name] = st
		if err := st.Migrate(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *scene) close() error {
	var errs []error
	for _, st := range s.stores {
		errs = append(errs, st.Close())
	}
	if s.engine != nil {
		errs = append(errs, s.engine.close())
	}
	if s.stream != nil {
		s.stream.close()
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// process makes a process that logs into the scene's directory.
func (s *scene) process(name string, command ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", name, err)
	}
	return &process{name: name, command: command, log: log}, nil
}

// settings point the program at the scene.
func (s *scene) settings(clickhouse, database string) []string {
	return []string{
		"--set", "mode=sim", "--set", "nats.url=" + s.stream.srv.URL(), "--set", "clickhouse.addr=" + clickhouse, "--set", "clickhouse.database=" + database,
		"--set", "admin.addr=127.0.0.1:0", "--log-level", "warn", "--data-dir", filepath.Join(s.dir, "data"),
	}
}

// lander makes the program's lander, which inserts at the address of ClickHouse or of a proxy before it.
func (s *scene) lander(clickhouse, database string) (*process, error) {
	return s.process("lander", append([]string{*hashpivotBinary, "lander"}, s.settings(clickhouse, database)...)...)
}

// landed is the sequence up to which the trades have landed.
func (s *scene) landed(ctx context.Context) (uint64, error) {
	l, ok, err := s.stream.bus.Landing(ctx, market.Trades)
	if err != nil || !ok {
		return 0, err
	}
	return l.First - 1, nil
}

// counted is how many trades stand in a database.
func (s *scene) counted(ctx context.Context, database string) (uint64, error) {
	n, err := s.numbers(ctx, database, "SELECT count() FROM trades")
	if err != nil {
		return 0, err
	}
	return n[0], nil
}

// storedAtOnce is about how many trades are held against each other at once: what they need is some hundred megabytes.
const storedAtOnce = 5_000_000

// stored counts the trades of a database, and those of them that are different, some of the messages after the others.
func (s *scene) stored(ctx context.Context, database string) (rows, distinct uint64, err error) {
	all, err := s.numbers(ctx, database, "SELECT count() FROM trades")
	if err != nil {
		return 0, 0, err
	}
	parts := 1 + all[0]/storedAtOnce
	for i := range parts {
		n, err := s.numbers(ctx, database, fmt.Sprintf("SELECT sum(n), count() FROM (SELECT count() AS n FROM trades WHERE stream_seq %% %d = %d GROUP BY stream_seq, idx)", parts, i))
		if err != nil {
			return 0, 0, err
		}
		rows, distinct = rows+n[0], distinct+n[1]
	}
	return rows, distinct, nil
}

func (s *scene) numbers(ctx context.Context, database, sql string) ([]uint64, error) {
	res, err := s.stores[database].Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	out := make([]uint64, len(res.Columns))
	for i, v := range res.Rows[0] {
		if out[i], err = strconv.ParseUint(fmt.Sprint(v), 10, 64); err != nil {
			return nil, fmt.Errorf("read %s: %w", sql, err)
		}
	}
	return out, nil
}

// audited is what hashpivot audit says of the trades.
type audited struct {
	Lost       uint64 `json:"lost"`
	Duplicates uint64 `json:"duplicates"`
}

func (s *scene) audit(ctx context.Context, database string) (audited, error) {
	var a audited
	const notClean = 1
	out, err := runOnce(ctx, notClean, append([]string{*hashpivotBinary, "audit", "--json", "--stream", string(market.Trades)}, s.settings(s.engine.Native, database)...)...)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(out, &a); err != nil {
		return a, fmt.Errorf("read the audit %.200q: %w", out, err)
	}
	return a, nil
}

// untilStored waits until n different trades stand in a database, or until for patience nothing has been added.
func (s *scene) untilStored(ctx context.Context, database string, n uint64, patience time.Duration, alive func() error) (rows, distinct uint64, err error) {
	last := time.Now()
	for {
		was := rows
		if rows, distinct, err = s.stored(ctx, database); err != nil {
			return 0, 0, err
		}
		switch {
		case distinct >= n:
			return rows, distinct, nil
		case rows != was:
			last = time.Now()
		case time.Since(last) > patience:
			return rows, distinct, nil
		}
		if err := errors.Join(alive(), pause(ctx, 200*time.Millisecond)); err != nil {
			return 0, 0, err
		}
	}
}

// room refuses a run that would fill the disk.
func room(dir string, bytes uint64) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("ask for room in %s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < bytes {
		return fmt.Errorf("%s has %d GiB left, this run may take %d: set TMPDIR to a larger disk, or measure less", dir, free>>30, bytes>>30)
	}
	return nil
}
