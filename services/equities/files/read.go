package files

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// row is a row of a file: its cells as text, by column name. A cell that is missing is "".
type row struct {
	line  int // from 1; of formats without lines the number of the row
	cells map[string]string
	raw   []byte // for a dead letter
	err   error  // it does not parse; the file goes on
}

// errNoData is the word of Stooq on an unknown symbol: a file without rows.
var errNoData = errors.New("the file says that there is no data")

const (
	// maxLine of JSON lines, and of a JSON document's text of one row.
	maxLine = 1 << 20
	// maxDocument of a JSON file that is no list of lines.
	maxDocument = 256 << 20
)

// formatOf a file's name: csv, json, jsonl, parquet, with gz; "" for others.
func formatOf(name string) (format string, gz bool) {
	name = strings.ToLower(name)
	name, gz = strings.CutSuffix(name, ".gz")
	switch ext := filepath.Ext(name); ext {
	case ".csv", ".json", ".jsonl":
		return ext[1:], gz
	case ".ndjson":
		return "jsonl", gz
	case ".parquet":
		if !gz {
			return "parquet", false
		}
	}
	return "", gz
}

// header is called once, with the columns, before the rows.
type sink struct {
	header func(columns []string) error
	row    func(row) error
}

// readFile hands a file's rows over. An error ends the file; what is wrong with one row is the row's.
func readFile(path string, s sink) error {
	format, gz := formatOf(path)
	if format == "" {
		return fmt.Errorf("%s: its name ends in none of .csv, .json, .jsonl, .ndjson, .parquet", filepath.Base(path))
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if format == "parquet" {
		return readParquet(f, s)
	}
	var r io.Reader = bufio.NewReaderSize(f, 1<<16)
	if gz {
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("unzip: %w", err)
		}
		defer func() { _ = z.Close() }()
		r = z
	}
	switch format {
	case "csv":
		return readCSV(r, s)
	case "jsonl":
		return readLines(r, s)
	}
	return readJSON(r, s)
}

// readCSV reads a file with a header line.
func readCSV(r io.Reader, s sink) error {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord = -1, true
	first, err := c.Read()
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty")
	}
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if len(first) == 1 {
		switch text := strings.TrimSpace(first[0]); {
		case strings.EqualFold(text, "No data"):
			return errNoData
		case strings.Contains(strings.ToLower(text), "daily hits limit"):
			return fmt.Errorf("the file is an error of the venue, %.64q: download it again", text)
		}
	}
	columns := make([]string, len(first))
	for i, name := range first {
		columns[i] = column(strings.TrimPrefix(name, "\ufeff"))
	}
	if err := s.header(columns); err != nil {
		return err
	}
	for {
		cells, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		x := row{cells: make(map[string]string, len(columns))}
		var bad *csv.ParseError
		switch {
		case errors.As(err, &bad):
			x.line, x.err = bad.Line, &feed.Malformed{Reason: feed.ReasonMalformed, Err: err}
		case err != nil:
			return err
		default:
			x.line, _ = c.FieldPos(0)
			if len(cells) != len(columns) {
				x.err = &feed.Malformed{Reason: feed.ReasonMalformed, Err: fmt.Errorf("%d cells under %d columns", len(cells), len(columns))}
			}
		}
		x.raw = []byte(strings.Join(cells, ","))
		for i := range min(len(cells), len(columns)) {
			x.cells[columns[i]] = strings.TrimSpace(cells[i])
		}
		if err := s.row(x); err != nil {
			return err
		}
	}
}

// readLines reads JSON objects, one a line.
func readLines(r io.Reader, s sink) error {
	b := bufio.NewReaderSize(r, 1<<16)
	told := false
	for n := 1; ; n++ {
		line, long, err := readLine(b)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if text := bytes.TrimSpace(line); len(text) > 0 || long {
			x := row{line: n, raw: bytes.Clone(text)}
			if long {
				x.err = &feed.Malformed{Reason: feed.ReasonTooLarge, Err: fmt.Errorf("a line of more than %d bytes", maxLine)}
			} else {
				x.cells, x.err = object(text)
			}
			if !told && x.err == nil {
				told = true
				if err := s.header(keys(x.cells)); err != nil {
					return err
				}
			}
			if err := s.row(x); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			if !told {
				return errors.New("the file has no JSON object")
			}
			return nil
		}
	}
}

// readLine reads a line of at most maxLine bytes; of a longer one the rest is dropped.
func readLine(b *bufio.Reader) (line []byte, long bool, err error) {
	for {
		part, err := b.ReadSlice('\n')
		if len(line)+len(part) <= maxLine {
			line = append(line, part...)
		} else {
			long = true
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, long, err
		}
	}
}

// readJSON reads an array of objects, or Yahoo's chart.
func readJSON(r io.Reader, s sink) error {
	data, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return err
	}
	if len(data) > maxDocument {
		return fmt.Errorf("the document is over %d MiB: write it as JSON lines", maxDocument>>20)
	}
	text := bytes.TrimSpace(data)
	if len(text) > 0 && text[0] == '{' {
		if isChart(text) {
			return readChart(text, s)
		}
		return readLines(bytes.NewReader(text), s) // lines after all
	}
	var list []json.RawMessage
	if err := feed.DecodeJSON(text, &list); err != nil {
		return err
	}
	if len(list) == 0 {
		return errNoData
	}
	told := false
	for i, raw := range list {
		x := row{line: i + 1, raw: raw}
		x.cells, x.err = object(raw)
		if !told && x.err == nil {
			told = true
			if err := s.header(keys(x.cells)); err != nil {
				return err
			}
		}
		if err := s.row(x); err != nil {
			return err
		}
	}
	if !told {
		return errors.New("the array has no JSON object")
	}
	return nil
}

func keys(cells map[string]string) (out []string) {
	for k := range cells {
		out = append(out, k)
	}
	return out
}

// object reads a flat JSON object: numbers keep their text, a list is joined by commas.
func object(raw []byte) (map[string]string, error) {
	var fields map[string]json.RawMessage
	if err := feed.DecodeJSON(raw, &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, &feed.Malformed{Reason: feed.ReasonType, Err: errors.New("null is no object")}
	}
	out := make(map[string]string, len(fields))
	for k, v := range fields {
		text, err := cell(v)
		if err != nil {
			return nil, fmt.Errorf("field %.32s: %w", k, err)
		}
		out[column(k)] = text
	}
	return out, nil
}

func cell(v json.RawMessage) (string, error) {
	switch v[0] {
	case 'n':
		return "", nil
	case '"':
		var s string
		err := feed.DecodeJSON(v, &s)
		return s, err
	case '[':
		var list []json.RawMessage
		if err := feed.DecodeJSON(v, &list); err != nil {
			return "", err
		}
		var parts []string
		for _, e := range list {
			if e[0] == '[' || e[0] == '{' {
				return "", &feed.Malformed{Reason: feed.ReasonType, Err: errors.New("a list in a list")}
			}
			s, err := cell(e)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), nil
	case '{':
		return "", &feed.Malformed{Reason: feed.ReasonType, Err: errors.New("an object in an object")}
	}
	return string(v), nil
}

func missing(column string) error {
	return &market.Invalid{Reason: market.ReasonMissing, Detail: column + " is missing"}
}
