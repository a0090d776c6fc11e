package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// manifest says what lies in the directory. It is replaced as a whole.
type manifest struct {
	Version   int             `json:"version"`
	Query     string          `json:"query"` // without its period
	AsOf      string          `json:"as_of,omitempty"`
	Partition string          `json:"partition"`
	BySymbol  bool            `json:"by_symbol"`
	Files     map[string]Note `json:"files"`
}

// Note is a file that is whole. It tells whether the rows in the database are still the file's.
type Note struct {
	Rows        uint64    `json:"rows"`
	MinCursor   string    `json:"min_cursor,omitempty"` // stream_seq:idx
	MaxCursor   string    `json:"max_cursor,omitempty"`
	Fingerprint string    `json:"fingerprint,omitempty"` // where rows have no cursor: a sum of their hashes
	Schema      string    `json:"schema"`                // a hash of the columns and their types
	Bytes       int64     `json:"bytes"`
	AsOf        time.Time `json:"as_of"` // when it was read, or what was asked for
	Version     string    `json:"hashpivot"`
}

func (n Note) same(m Note) bool {
	return n.Rows == m.Rows && n.MinCursor == m.MinCursor && n.MaxCursor == m.MaxCursor && n.Fingerprint == m.Fingerprint && n.Schema == m.Schema
}

// what changed since, in words.
func (n Note) changes(now Note) string {
	switch {
	case n.MaxCursor != now.MaxCursor:
		return fmt.Sprintf("rows %d, now %d; last cursor %s, now %s", n.Rows, now.Rows, n.MaxCursor, now.MaxCursor)
	case n.Rows != now.Rows:
		return fmt.Sprintf("rows %d, now %d", n.Rows, now.Rows)
	case n.Schema != now.Schema:
		return "columns differ"
	}
	return "values differ"
}

const (
	manifestVersion = 1
	manifestFile    = "manifest.json"
	saveEvery       = 2 * time.Second
	tmpSuffix       = ".writing"
)

// load reads the manifest of the directory, and refuses one of another export.
func (e *export) load() error {
	asOf := ""
	if !e.asOf.IsZero() {
		asOf = sqlTime(e.asOf)
	}
	want := manifest{Version: manifestVersion, Query: e.identity(), AsOf: asOf, Partition: e.partition, BySymbol: e.bySymbol, Files: map[string]Note{}}
	data, err := os.ReadFile(filepath.Join(e.dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		e.manifest = want
		return e.clean()
	}
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if err := json.Unmarshal(data, &e.manifest); err != nil {
		return fmt.Errorf("read manifest %s: %w; remove it, and the files tell themselves what they are", filepath.Join(e.dir, manifestFile), err)
	}
	m := e.manifest
	if m.Version != want.Version || m.Query != want.Query || m.AsOf != want.AsOf || m.Partition != want.Partition || m.BySymbol != want.BySymbol {
		return run.Usage(fmt.Errorf("%s holds another export (%s, as of %q, by %s, by symbol %t); give another --out or the same options",
			e.dir, m.Query, m.AsOf, m.Partition, m.BySymbol))
	}
	if e.manifest.Files == nil {
		e.manifest.Files = map[string]Note{}
	}
	return e.clean()
}

// clean removes what an earlier run did not end.
func (e *export) clean() error {
	root, err := os.OpenRoot(e.dir)
	if err == nil {
		defer func() { _ = root.Close() }()
		err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, tmpSuffix) {
				return root.Remove(path)
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	return nil
}

// save replaces the manifest, at most every saveEvery unless it is the end: what it misses the files tell.
func (e *export) save(end bool) error {
	if !end && time.Since(e.saved) < saveEvery {
		return nil
	}
	data, err := json.MarshalIndent(e.manifest, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(e.dir, manifestFile)
	if err := writeSynced(path+tmpSuffix, append(data, '\n')); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := os.Rename(path+tmpSuffix, path); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	e.saved = time.Now()
	return syncDir(e.dir)
}

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// adopt reads from a file's own metadata what the manifest did not come to say; false if it is not a whole file of this export.
func (e *export) adopt(rel string) (_ Note, ok bool) {
	defer func() {
		if recover() != nil { // the library panics on some damaged files
			ok = false
		}
	}()
	f, err := os.Open(filepath.Join(e.dir, filepath.FromSlash(rel)))
	if err != nil {
		return Note{}, false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Note{}, false
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return Note{}, false
	}
	get := func(key string) string { v, _ := file.Lookup("hashpivot." + key); return v }
	if get("export") != e.identity() || get("as_of_asked") != e.manifest.AsOf || get("partition") != e.partition || get("by_symbol") != strconv.FormatBool(e.bySymbol) {
		return Note{}, false
	}
	n := Note{MinCursor: get("min_cursor"), MaxCursor: get("max_cursor"), Fingerprint: get("fingerprint"), Schema: get("schema"), Bytes: info.Size(), Version: get("version")}
	if n.Rows, err = strconv.ParseUint(get("rows"), 10, 64); err != nil || int64(n.Rows) != file.NumRows() {
		return Note{}, false
	}
	if n.AsOf, err = time.Parse(time.RFC3339Nano, get("as_of")); err != nil {
		return Note{}, false
	}
	return n, true
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
