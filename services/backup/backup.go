package backup

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// Deps is what is backed up, and who does it.
type Deps struct {
	Bus     *bus.Bus
	Store   *store.Store
	Logger  *slog.Logger
	Version string
}

// Order says what to make.
type Order struct {
	// Dir is made; it must not exist.
	Dir string
	// Mode and Database are written down.
	Mode, Database string
	// Tables is where ClickHouse shall put the tables, as its BACKUP names it; {name} stands for the directory's name. Empty: into the directory, which
	// must then be on the server's machine and among its backups.allowed_path.
	Tables string
}

// Make makes a backup while everything runs. The tables come first and the streams behind them, so that each row of the tables has its message in the streams, or had
// it and it aged out; what the streams have more lands after a restore. DEAD is last: what had landed of the others has its letters in it.
func Make(ctx context.Context, deps Deps, o Order) (Manifest, error) {
	m := Manifest{Format: format, Begun: time.Now().UTC(), Version: deps.Version, Mode: o.Mode, Database: o.Database}
	bad := func(err error) (Manifest, error) {
		return m, fmt.Errorf("back up to %s: %w (what is there is no backup yet: remove it)", o.Dir, err)
	}
	var err error
	if m.Deployment, err = deps.Store.Deployment(ctx); err != nil {
		return m, err
	}
	if m.Schema, _, err = deps.Store.Schema(ctx); err != nil {
		return m, err
	}
	if err := os.MkdirAll(filepath.Dir(o.Dir), 0o700); err != nil {
		return m, fmt.Errorf("make a directory for backups: %w", err)
	}
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		return m, fmt.Errorf("make a directory for the backup: %w; give another name", err)
	}
	destination := inDir(o.Dir)
	if o.Tables != "" {
		m.Tables = strings.ReplaceAll(o.Tables, "{name}", filepath.Base(o.Dir))
		destination = m.Tables
	}
	if err := deps.Store.Backup(ctx, destination); err != nil {
		if o.Tables == "" {
			err = fmt.Errorf("%w; an embedded ClickHouse writes below backup.dir of when it was started, a server where backup.tables says, for instance Disk('backups', '{name}')", err)
		}
		return bad(err)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, tablesDir)); o.Tables == "" && err != nil {
		return bad(fmt.Errorf("find the tables: %w; ClickHouse has put them down on its own machine: set backup.tables, for instance to Disk('backups', '{name}')", err))
	}
	deps.Logger.Info("the tables are backed up", "to", destination, "took", time.Since(m.Begun).Round(time.Millisecond))
	for _, stream := range deadLast() {
		info, err := deps.Bus.Snapshot(ctx, stream, filepath.Join(o.Dir, streamsDir, string(stream)))
		if err != nil {
			return bad(err)
		}
		m.Streams = append(m.Streams, info)
	}
	deps.Logger.Info("the streams are backed up", "took", time.Since(m.Begun).Round(time.Millisecond))
	if m.Files, err = list(ctx, o.Dir); err != nil {
		return bad(err)
	}
	// The manifest says that all of this is there: it is on the disk first.
	var g errgroup.Group
	g.SetLimit(4)
	for _, f := range m.Files {
		g.Go(func() error { return syncPath(filepath.Join(o.Dir, filepath.FromSlash(f.Path))) })
	}
	if err := g.Wait(); err != nil {
		return bad(err)
	}
	m.Ended = time.Now().UTC()
	if err := m.write(o.Dir); err != nil {
		return bad(err)
	}
	return m, nil
}

// inDir is ClickHouse's name for the tables in the directory.
func inDir(dir string) string {
	return "File(" + store.QuoteText(filepath.Join(dir, tablesDir)) + ")"
}

func deadLast() []market.Stream {
	var out []market.Stream
	for _, s := range market.Streams() {
		if s != market.Dead {
			out = append(out, s)
		}
	}
	return append(out, market.Dead)
}
