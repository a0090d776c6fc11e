package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/backup"
	"github.com/hashpivot/hashpivot/services/lander"
)

// backupConfig says where backups go.
type backupConfig struct {
	// Dir has a directory for each; empty: backups in the data directory. It should lie on another disk.
	Dir string `koanf:"dir"`
	// Tables is where an external ClickHouse puts the tables, as its BACKUP names it, {name} being the backup's: Disk('backups', '{name}').
	Tables string `koanf:"tables"`
}

func (c *config) backupDir() (string, error) {
	dir := c.Backup.Dir
	if dir == "" {
		dir = filepath.Join(c.DataDir, "backups")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("backup.dir: %w", err)
	}
	return abs, nil
}

// backupSettings let the embedded engine write and read there, and nowhere else.
func (c *config) backupSettings() (map[string]string, error) {
	dir, err := c.backupDir()
	return map[string]string{"backups.allowed_path": dir}, err
}

type backupCmd struct {
	Name  string `arg:"" optional:"" help:"Name of the backup: a directory of this name is made in backup.dir (default: the time)."`
	List  bool   `help:"List the backups in backup.dir." xor:"what"`
	Check string `help:"Compare every file of a backup with what was written." placeholder:"DIR" xor:"what"`
}

// Run makes a backup, or looks at those that there are.
func (c *backupCmd) Run(a *app) error {
	if c.Name != "" && (c.List || c.Check != "") {
		return run.Usage(errors.New("either the name of a backup to make, or --list or --check DIR"))
	}
	if c.Name != "" && c.Name != filepath.Base(c.Name) {
		return run.Usage(fmt.Errorf("%q is not a name: give a directory by --set backup.dir=DIR", c.Name))
	}
	if c.Check != "" {
		m, err := backup.Check(a.ctx, c.Check)
		if err != nil {
			return err
		}
		return a.printBackup(c.Check, m)
	}
	if c.List {
		cfg, _, err := a.loadBeside()
		if err != nil {
			return err
		}
		dir, err := cfg.backupDir()
		if err != nil {
			return err
		}
		return a.listBackups(dir)
	}
	b, cfg, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	dir, err := cfg.backupDir()
	if err != nil {
		return err
	}
	name := c.Name
	if name == "" {
		name = backup.Name(time.Now())
	}
	at, _, err := b.bus.Cell("mode").Get(a.ctx)
	if err != nil {
		return err
	}
	dir = filepath.Join(dir, name)
	m, err := backup.Make(a.ctx, backup.Deps{Bus: b.bus, Store: b.store, Logger: a.log, Version: version()},
		backup.Order{Dir: dir, Mode: string(at), Database: cfg.ClickHouse.Database, Tables: cfg.Backup.Tables})
	if err != nil {
		return err
	}
	return a.printBackup(dir, m)
}

func (a *app) printBackup(dir string, m backup.Manifest) error {
	if a.cli.JSON {
		line, err := json.Marshal(m)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
		return nil
	}
	var messages uint64
	for _, s := range m.Streams {
		messages += s.Messages
	}
	a.printf("%s: whole, of %s; %s data, database %s at migration %d, %d messages in %d streams; %d files, %.1f MiB; made in %s by %s\n", dir,
		m.Begun.Format(time.RFC3339), m.Mode, m.Database, m.Schema, messages, len(m.Streams), len(m.Files), float64(m.Bytes())/(1<<20),
		m.Ended.Sub(m.Begun).Round(time.Millisecond), m.Version)
	return nil
}

func (a *app) listBackups(dir string) error {
	whole, other, err := backup.List(dir)
	if err != nil {
		return err
	}
	if a.cli.JSON {
		line, err := json.Marshal(struct {
			Dir   string                     `json:"dir"`
			Whole map[string]backup.Manifest `json:"whole"`
			Other []string                   `json:"not_whole"`
		}{dir, whole, other})
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "backup\tbegun\tmode\tschema\tMiB\tversion")
	for _, name := range slices.Sorted(maps.Keys(whole)) {
		m := whole[name]
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%.1f\t%s\n", filepath.Join(dir, name), m.Begun.Format(time.RFC3339), m.Mode, m.Schema, float64(m.Bytes())/(1<<20), m.Version)
	}
	_ = w.Flush()
	for _, name := range other {
		a.printf("%s is not a whole backup\n", filepath.Join(dir, name))
	}
	return nil
}

type restoreCmd struct {
	Dir string `arg:"" help:"Directory of the backup."`
}

// Run restores into an empty data directory, or into servers that hold nothing of hashpivot's; then what had not landed lands, and everything is audited.
func (c *restoreCmd) Run(a *app) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	m, err := backup.Read(dir)
	if err != nil {
		return err
	}
	cfg, err := a.load(mode(m.Mode))
	if err != nil {
		return err
	}
	if cfg.ClickHouse.Database != m.Database {
		return run.Usage(fmt.Errorf("the backup is of database %s and cannot be restored as %s: set clickhouse.database=%s", m.Database, cfg.ClickHouse.Database, m.Database))
	}
	if cfg.NATS.URL == "" {
		if a.cli.DataDir == "" {
			return run.Usage(errors.New("say by --data-dir which directory shall be made; an old one is never written over"))
		}
		if in := findInstance(cfg.DataDir); in != nil {
			return run.Usage(fmt.Errorf("a hashpivot runs on %s (pid %d): give another directory", cfg.DataDir, in.PID))
		}
		cfg.NATS.Addr, cfg.ClickHouse.NativeAddr, cfg.ClickHouse.HTTPAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	}
	cfg.Backup.Dir = filepath.Dir(dir) // the engine may read there
	if err := a.logger(cfg); err != nil {
		return err
	}
	b, err := openBackends(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	defer b.close()
	if _, err := backup.Restore(a.ctx, backup.Deps{Bus: b.bus, Store: b.store, Logger: a.log, Version: version()}, dir); err != nil {
		return err
	}
	if err := b.prepare(a.ctx, cfg.Mode); err != nil {
		return err
	}
	if err := a.landRest(cfg, b); err != nil {
		return fmt.Errorf("the backup is restored, but what it had not landed yet did not land: %w; start hashpivot on it and look at its log", err)
	}
	res, err := audit.Run(a.ctx, audit.Deps{Bus: b.bus, Store: b.store, Logger: a.log, Version: version()}, audit.Order{Record: true, By: "restore"})
	if err != nil {
		return err
	}
	if a.cli.JSON {
		line, err := json.Marshal(res)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
	} else {
		printAudit(a, res)
	}
	if !res.Clean() {
		return errNotClean
	}
	return nil
}

// landRest runs a lander until everything in the streams has landed.
func (a *app) landRest(cfg *config, b *backends) error {
	l, err := lander.New(cfg.Lander, landerDeps(cfg, b, a.log, unwatched()))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(a.ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	drained := make(chan error, 1)
	go func() { drained <- l.Drained(ctx) }()
	select {
	case err = <-done:
		stop()
		return errors.Join(err, <-drained)
	case err = <-drained:
		stop()
		return errors.Join(err, <-done)
	}
}
