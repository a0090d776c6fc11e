package wire

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
)

// ReadCSV reads a file with a header line into rows by column name and checks that the columns that are needed are there.
func ReadCSV(name string, columns ...string) ([]map[string]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	defer func() { _ = f.Close() }()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Base(name), err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read %s: it is empty", filepath.Base(name))
	}
	at := map[string]int{}
	for i, c := range all[0] {
		at[c] = i
	}
	for _, c := range columns {
		if _, ok := at[c]; !ok {
			return nil, fmt.Errorf("read %s: it has no column %s", filepath.Base(name), c)
		}
	}
	rows := make([]map[string]string, 0, len(all)-1)
	for _, line := range all[1:] {
		row := make(map[string]string, len(at))
		for c, i := range at {
			row[c] = line[i] // the reader has checked that all lines are as long as the first
		}
		rows = append(rows, row)
	}
	return rows, nil
}
