package main

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

// rowWriter prints an answer: head once, row for each row, flush at the end.
type rowWriter interface {
	head(columns, types []string) error
	row(row []any) error
	flush() error
}

// jsonRows prints an object a row, in the order of the columns.
type jsonRows struct {
	w    *bufio.Writer
	keys [][]byte
	as   []chType
	line []byte
}

func newJSONRows(w io.Writer) *jsonRows { return &jsonRows{w: bufio.NewWriterSize(w, 64<<10)} }

func (j *jsonRows) head(columns, types []string) error {
	for i, c := range columns {
		j.keys = append(j.keys, append(appendJSONString(nil, c), ':'))
		j.as = append(j.as, parseType(types[i]))
	}
	return nil
}

func (j *jsonRows) row(row []any) (err error) {
	b := append(j.line[:0], '{')
	for i, v := range row {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, j.keys[i]...)
		if b, err = j.as[i].appendJSON(b, v); err != nil {
			return err
		}
	}
	j.line = append(b, '}', '\n')
	_, err = j.w.Write(j.line)
	return err
}

func (j *jsonRows) flush() error { return j.w.Flush() }

// csvRows prints RFC 4180: fields are quoted where they must be, lines end in CR LF. A NULL is the bare null text; an empty string, and a string that
// reads like the null text, is quoted, so that both can be told from a NULL.
type csvRows struct {
	w    *bufio.Writer
	null string
	as   []chType
	line []byte
}

func newCSVRows(w io.Writer, null string) *csvRows {
	return &csvRows{w: bufio.NewWriterSize(w, 64<<10), null: null}
}

func (c *csvRows) head(columns, types []string) error {
	for i, name := range columns {
		if i > 0 {
			c.line = append(c.line, ',')
		}
		c.line = c.appendField(c.line, name)
		c.as = append(c.as, parseType(types[i]))
	}
	return c.end()
}

func (c *csvRows) row(row []any) error {
	for i, v := range row {
		if i > 0 {
			c.line = append(c.line, ',')
		}
		if v == nil {
			c.line = append(c.line, c.null...)
			continue
		}
		text, err := c.as[i].text(v)
		if err != nil {
			return err
		}
		c.line = c.appendField(c.line, text)
	}
	return c.end()
}

func (c *csvRows) end() error {
	_, err := c.w.Write(append(c.line, '\r', '\n'))
	c.line = c.line[:0]
	return err
}

func (c *csvRows) appendField(b []byte, s string) []byte {
	if s != "" && s != c.null && !strings.ContainsAny(s, ",\"\r\n") && s[0] != ' ' && s[len(s)-1] != ' ' {
		return append(b, s...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(s, `"`, `""`)...)
	return append(b, '"')
}

func (c *csvRows) flush() error { return c.w.Flush() }

// tableRows aligns columns by the first rows; a later cell that is wider moves its line, for the rows before are printed already.
type tableRows struct {
	w      *bufio.Writer
	as     []chType
	widths []int
	kept   [][]string // until the widths are known
	known  bool
}

// tableWindow is how many rows the widths are taken from.
const tableWindow = 1000

func newTableRows(w io.Writer) *tableRows { return &tableRows{w: bufio.NewWriterSize(w, 64<<10)} }

func (t *tableRows) head(columns, types []string) error {
	for _, typ := range types {
		t.as = append(t.as, parseType(typ))
	}
	t.widths = make([]int, len(columns))
	return t.put(columns)
}

func (t *tableRows) row(row []any) error {
	cells := make([]string, len(row))
	for i, v := range row {
		if v == nil {
			cells[i] = "NULL"
			continue
		}
		text, err := t.as[i].text(v)
		if err != nil {
			return err
		}
		cells[i] = oneLine.Replace(text)
	}
	return t.put(cells)
}

var oneLine = strings.NewReplacer("\t", `\t`, "\n", `\n`, "\r", `\r`)

func (t *tableRows) put(cells []string) error {
	if t.known {
		return t.print(cells)
	}
	for i, c := range cells {
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c))
	}
	if t.kept = append(t.kept, cells); len(t.kept) <= tableWindow {
		return nil
	}
	return t.settle()
}

func (t *tableRows) settle() error {
	t.known = true
	for _, cells := range t.kept {
		if err := t.print(cells); err != nil {
			return err
		}
	}
	t.kept = nil
	return nil
}

func (t *tableRows) print(cells []string) error {
	for i, c := range cells {
		_, _ = t.w.WriteString(c) // its error stays, and the line's end tells it
		if i < len(cells)-1 {
			for range t.widths[i] - utf8.RuneCountInString(c) + 2 {
				_ = t.w.WriteByte(' ')
			}
		}
	}
	return t.w.WriteByte('\n')
}

func (t *tableRows) flush() error {
	if err := t.settle(); err != nil {
		return err
	}
	return t.w.Flush()
}
