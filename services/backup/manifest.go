// Package backup copies what a deployment holds, the streams and the tables, and makes a deployment of such a copy.
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// A backup is a directory:
//
//	manifest.json    written last: a directory without it is no backup
//	streams/TRADES/  a stream as nats-server hands it out (what nats stream backup writes too)
//	tables/          the database as ClickHouse's BACKUP writes it, unless Manifest.Tables says that it lies elsewhere
const (
	manifestFile = "manifest.json"
	streamsDir   = "streams"
	tablesDir    = "tables"
	format       = 1
)

// ErrDamaged says that a directory is not a whole backup.
var ErrDamaged = errors.New("not a whole backup")

// Manifest says what a backup holds.
type Manifest struct {
	Format int `json:"format"`
	// Begun and Ended are when the backup was made. It has what had landed when it began, and all messages that were stored by then; of what came
	// meanwhile it may have some.
	Begun   time.Time `json:"begun"`
	Ended   time.Time `json:"ended"`
	Version string    `json:"version"` // of the binary
	Mode    string    `json:"mode"`
	// Database, its identity, and the schema's version that it is at.
	Database   string `json:"database"`
	Deployment string `json:"deployment"`
	Schema     int64  `json:"schema"`
	// Tables is ClickHouse's name of the place where the tables are; empty: in the directory.
	Tables  string     `json:"tables,omitempty"`
	Streams []bus.Info `json:"streams"`
	Files   []File     `json:"files"`
}

// File is one of the directory's.
type File struct {
	Path   string `json:"path"` // from the directory, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes that the files take.
func (m Manifest) Bytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Read reads a backup's manifest.
func Read(dir string) (Manifest, error) {
	var m Manifest
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("read backup %s: %w: it has no %s, so it was never finished, or this is not its directory", dir, ErrDamaged, manifestFile)
	}
	if err != nil {
		return m, fmt.Errorf("read backup %s: %w", dir, err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read backup %s: %w: %s: %w", dir, ErrDamaged, manifestFile, err)
	}
	if m.Format != format {
		return m, fmt.Errorf("read backup %s: it is of format %d, and this version reads %d; use the version that made it (%s) or a newer one", dir, m.Format, format, m.Version)
	}
	for _, s := range m.Streams {
		if !slices.Contains(market.Streams(), s.Stream) {
			return m, fmt.Errorf("read backup %s: it has a stream %.40q that this version does not know; use the version that made it (%s) or a newer one", dir, s.Stream, m.Version)
		}
	}
	return m, nil
}

// Check compares every file with the manifest.
func Check(ctx context.Context, dir string) (Manifest, error) {
	m, err := Read(dir)
	if err != nil {
		return m, err
	}
	there, err := list(ctx, dir)
	if err != nil {
		return m, fmt.Errorf("check backup %s: %w", dir, err)
	}
	at := map[string]File{}
	for _, f := range there {
		at[f.Path] = f
	}
	for _, want := range m.Files {
		got, ok := at[want.Path]
		switch {
		case !ok:
			return m, fmt.Errorf("check backup %s: %w: %s is missing; copy the backup again, or take another one", dir, ErrDamaged, want.Path)
		case got != want:
			return m, fmt.Errorf("check backup %s: %w: %s is not what was written (%d bytes, were %d); copy the backup again, or take another one",
				dir, ErrDamaged, want.Path, got.Size, want.Size)
		}
		delete(at, want.Path)
	}
	for extra := range at {
		return m, fmt.Errorf("check backup %s: %w: %s does not belong to it; remove it, or copy the backup again", dir, ErrDamaged, extra)
	}
	return m, nil
}

// list reads all files but the manifest, in order of their paths.
func list(ctx context.Context, dir string) ([]File, error) {
	var out []File
	// A root does not let a link that is put there meanwhile lead out of it.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		if path == manifestFile {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no file", path)
		}
		f, err := root.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		n, err := io.Copy(h, f)
		if err != nil {
			return err
		}
		out = append(out, File{Path: path, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))})
		return nil
	})
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, err
}

// write puts the manifest down, and with it makes the directory a backup: everything else is on the disk before.
func (m Manifest) write(dir string) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, manifestFile+".new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		_ = f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(tmp, filepath.Join(dir, manifestFile)), syncPath(dir))
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Name of a backup that is begun now.
func Name(now time.Time) string { return now.UTC().Format("20060102T150405Z") }

// List finds the whole backups under a directory, oldest first, and the directories that are none.
func List(dir string) (whole map[string]Manifest, other []string, _ error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("list backups in %s: %w", dir, err)
	}
	whole = map[string]Manifest{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		m, err := Read(filepath.Join(dir, e.Name()))
		if err != nil {
			other = append(other, e.Name())
			continue
		}
		whole[e.Name()] = m
	}
	return whole, other, nil
}
