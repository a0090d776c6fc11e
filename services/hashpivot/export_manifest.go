package main

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

// load reads the manifest of the directory, and refuses one of another export.
func (e *export) load() error {
	asOf := ""
	if !e.asOf.IsZero() {
		asOf = sqlTime(e.asOf)
	}
	want := manifest{Version: exportVersion, Query: e.identity(), AsOf: asOf, Partition: e.partition, BySymbol: e.bySymbol, Files: map[string]fileNote{}}
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
		e.manifest.Files = map[string]fileNote{}
	}
	return e.clean()
}

// clean removes what an earlier run did not end.
func (e *export) clean() error {
	err := filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, tmpSuffix) {
			return os.Remove(path)
		}
		return err
	})
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
func (e *export) adopt(rel string) (_ fileNote, ok bool) {
	defer func() {
		if recover() != nil { // the library panics on some damaged files
			ok = false
		}
	}()
	f, err := os.Open(filepath.Join(e.dir, filepath.FromSlash(rel)))
	if err != nil {
		return fileNote{}, false
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fileNote{}, false
	}
	file, err := parquet.OpenFile(f, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fileNote{}, false
	}
	get := func(key string) string { v, _ := file.Lookup("hashpivot." + key); return v }
	if get("export") != e.identity() || get("as_of_asked") != e.manifest.AsOf || get("partition") != e.partition || get("by_symbol") != strconv.FormatBool(e.bySymbol) {
		return fileNote{}, false
	}
	n := fileNote{MinCursor: get("min_cursor"), MaxCursor: get("max_cursor"), Fingerprint: get("fingerprint"), Schema: get("schema"), Bytes: info.Size(), Version: get("version")}
	if n.Rows, err = strconv.ParseUint(get("rows"), 10, 64); err != nil || int64(n.Rows) != file.NumRows() {
		return fileNote{}, false
	}
	if n.AsOf, err = time.Parse(time.RFC3339Nano, get("as_of")); err != nil {
		return fileNote{}, false
	}
	return n, true
}
