package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// maxTotals bounds a result with totals or extremes, which is held as text while it is taken apart.
const maxTotals = 32 << 20

// Part is what a block of a result with totals belongs to.
type Part uint8

// The parts of a result, in the order in which clients expect them.
const (
	PartData Part = iota
	PartTotals
	PartExtremes
)

// totalsDocument is a result in the format JSONCompactStrings.
type totalsDocument struct {
	Meta     []struct{ Name, Type string }
	Data     []json.RawMessage
	Totals   json.RawMessage
	Extremes struct{ Min, Max json.RawMessage }
}

// Totals runs a SELECT that has totals or extremes, which the engine's blocks do not carry: it renders the whole result as text, and has the engine make
// blocks of its parts again.
func (s *Session) Totals(ctx context.Context, st sqltext.Statement, params []Param, sink func(part Part, block []byte) error) (total Stats, err error) {
	pr, pw, err := Pipe()
	if err != nil {
		return total, err
	}
	defer pr.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	read := make(chan error, 1)
	var text bytes.Buffer
	go func() {
		n, err := io.Copy(&text, io.LimitReader(pr, maxTotals+1))
		if err == nil && n > maxTotals {
			err = NewError(396, "TOO_MANY_ROWS_OR_BYTES", "A result with totals or extremes is held as a whole here, and this one is larger than %d bytes: leave WITH TOTALS and extremes out", maxTotals)
			cancel()
			_, _ = io.Copy(io.Discard, pr)
		}
		read <- err
	}()
	total, err = s.Document(ctx, st, "JSONCompactStrings", params, pw)
	_ = pw.Close()
	if readErr := <-read; readErr != nil {
		return total, readErr
	}
	if err != nil {
		return total, err
	}
	var doc totalsDocument
	if err := json.Unmarshal(text.Bytes(), &doc); err != nil {
		return total, fmt.Errorf("read a result with totals: %w", err)
	}
	columns := make([]Column, len(doc.Meta))
	for i, m := range doc.Meta {
		columns[i] = Column(m)
	}
	for i, rows := range [][]json.RawMessage{doc.Data, {doc.Totals}, {doc.Extremes.Min, doc.Extremes.Max}} {
		if len(rows) == 0 || rows[0] == nil {
			continue
		}
		if err := s.blocksOf(ctx, fmt.Sprintf("_part%d", i), columns, rows, func(b []byte) error { return sink(Part(i), b) }); err != nil {
			return total, err
		}
	}
	return total, nil
}

// blocksOf has the engine make blocks of rows of text.
func (s *Session) blocksOf(ctx context.Context, name string, columns []Column, rows []json.RawMessage, sink func([]byte) error) error {
	feed, err := s.External(name, columns, "JSONCompactStringsEachRow")
	if err != nil {
		return err
	}
	for _, r := range rows {
		if !feed.Append(append(bytes.Clone(r), '\n')) {
			break
		}
	}
	if _, err := feed.Commit(); err != nil {
		return err
	}
	st := sqltext.Parse("SELECT * FROM " + sqltext.QuoteName(name) + " SETTINGS max_threads = 1")
	stream, err := s.conn.Stream(st.Text, "Native")
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		if err := cancelled(ctx, nil); err != nil {
			return err
		}
		r, err := stream.Next()
		if err != nil || r == nil {
			return err
		}
		err = sink(r.Bytes())
		r.Free()
		if err != nil {
			return err
		}
	}
}
