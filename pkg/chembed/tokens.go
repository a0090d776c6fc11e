package chembed

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The engine writes the token of an insert into the table's log before the part gets its name, under one lock (StorageMergeTree, MergeTreeSink.cpp), and does not take it back when it is killed in
// between: the insert is not there, and its repetition is dropped as one, in silence. So the last entry of each log is looked at before the engine opens: one whose
// part is not there is taken back as the engine itself does for a part that is dropped.
//
// An entry is "operation TAB part TAB block id LF", the operation 1 for added and 2 for dropped (MergeTreeDeduplicationLog.cpp).

const (
	tokenAdded   = "1"
	tokenDropped = "2"
	// tokenTail is how much of a log's end is read: entries take some 60 bytes, and the last part has one or, of an asynchronous insert, several.
	tokenTail = 1 << 20
)

// mendTokens takes back the tokens of inserts in the data directory that were cut off. It must not be called while an engine has the directory open.
func mendTokens(dir string, log *slog.Logger) error {
	logs, err := filepath.Glob(filepath.Join(dir, "store", "*", "*", "deduplication_logs"))
	if err != nil {
		return err
	}
	for _, l := range logs {
		part, n, err := mendLog(l)
		if err != nil {
			return fmt.Errorf("look for tokens without rows in %s: %w", l, err)
		}
		if n > 0 {
			log.Warn("an insert was cut off between its token and its rows: the token is free again, so that the insert can be repeated", "table", filepath.Dir(l), "part", part, "tokens", n)
		}
	}
	return nil
}

// mendLog looks at one table and returns the part that is missing, and how many tokens of it were taken back.
func mendLog(dir string) (part string, n int, _ error) {
	file, entries, err := lastEntries(dir)
	if err != nil || len(entries) == 0 {
		return "", 0, err
	}
	var back []byte
	for _, e := range slices.Backward(entries) {
		op, name, id := e[0], e[1], e[2]
		if op != tokenAdded || part != "" && name != part {
			break
		}
		if part == "" {
			there, err := partStands(filepath.Dir(dir), name)
			if err != nil || there {
				return "", 0, err
			}
			part = name
		}
		back = fmt.Appendf(back, "%s\t%s\t%s\n", tokenDropped, name, id)
		n++
	}
	if n == 0 {
		return "", 0, nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return "", 0, err
	}
	if _, err = f.Write(back); err == nil {
		err = f.Sync()
	}
	return part, n, errors.Join(err, f.Close())
}

// lastEntries reads the end of the newest log that has entries. A log that does not end as one does is left to the engine.
func lastEntries(dir string) (file string, entries [][3]string, _ error) {
	names, err := filepath.Glob(filepath.Join(dir, "deduplication_log_*.txt"))
	if err != nil {
		return "", nil, err
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), "deduplication_log_"), ".txt"))
		return n
	}
	slices.SortFunc(names, func(a, b string) int { return number(b) - number(a) })
	for _, name := range names {
		data, err := endOf(name, tokenTail)
		if err != nil {
			return "", nil, err
		}
		if len(data) == 0 {
			continue
		}
		if !bytes.HasSuffix(data, []byte("\n")) {
			return "", nil, nil
		}
		for line := range strings.Lines(string(data)) {
			if f := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); len(f) == 3 {
				entries = append(entries, [3]string(f))
			} else if entries != nil {
				return "", nil, nil
			} // else what was read begins in the middle of an entry
		}
		return name, entries, nil
	}
	return "", nil, nil
}

func endOf(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(n, info.Size()))
	if _, err := f.ReadAt(data, info.Size()-int64(len(data))); err != nil {
		return nil, err
	}
	return data, nil
}

// partStands reports whether the table has the part, or one that it was merged or mutated into.
func partStands(table, name string) (bool, error) {
	want, ok := parsePart(name, name)
	if !ok {
		return true, nil // not ours to judge
	}
	entries, err := os.ReadDir(table)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if p, ok := parsePart(e.Name(), name); ok && p.partition == want.partition && p.from <= want.from && p.to >= want.to {
			return true, nil
		}
	}
	return false, nil
}

// partName is PARTITION_FROM_TO_LEVEL, or with a mutation's number behind.
type partName struct {
	partition string
	from, to  uint64
}

// parsePart reads the name of a part of the partition that a just inserted part, like, is of: a partition's name may have underscores itself.
func parsePart(name, like string) (partName, bool) {
	cut := strings.Split(like, "_")
	if len(cut) < 4 {
		return partName{}, false
	}
	partition := strings.Join(cut[:len(cut)-3], "_")
	rest, ok := strings.CutPrefix(name, partition+"_")
	numbers := strings.Split(rest, "_")
	if !ok || len(numbers) != 3 && len(numbers) != 4 {
		return partName{}, false
	}
	var n [4]uint64
	for i, s := range numbers {
		var err error
		if n[i], err = strconv.ParseUint(s, 10, 64); err != nil {
			return partName{}, false
		}
	}
	return partName{partition, n[0], n[1]}, true
}
