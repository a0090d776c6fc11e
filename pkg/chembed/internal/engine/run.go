package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// Stats are a statement's counters.
type Stats = libchdb.Stats

// Param is a server-side query parameter.
type Param = libchdb.Param

// CheckSingle refuses several statements in one text, as a server does.
func CheckSingle(st sqltext.Statement) error {
	if st.Multi {
		return NewError(CodeSyntax, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
	}
	if st.Kind == sqltext.KindEmpty {
		return NewError(CodeSyntax, "SYNTAX_ERROR", "Syntax error: empty query")
	}
	if st.Outfile {
		return NewError(CodeNotImplemented, "NOT_IMPLEMENTED", "INTO OUTFILE is not allowed: it is the client that writes files")
	}
	return nil
}

// Blocks runs a statement and gives its output in Native format, block by block;
// each is the engine's memory and valid during the call. A sink's error cancels
// the statement and is returned. The statement has no FORMAT clause.
func (s *Session) Blocks(ctx context.Context, st sqltext.Statement, params []Param, sink func(block []byte, progress Stats) error) (total Stats, err error) {
	stop := s.Watch(ctx)
	defer func() {
		stop()
		s.count(total)
		if err != nil {
			err = s.eng.advise(st, err)
			s.settle()
		}
	}()
	if st.Kind == sqltext.KindQuery {
		stream, err := s.conn.Stream(st.Unformatted, "Native", params...)
		if err == nil {
			defer stream.Close()
			for {
				if err := cancelled(ctx, nil); err != nil {
					return total, err
				}
				r, err := stream.Next()
				if err != nil {
					return total, cancelled(ctx, err)
				}
				if r == nil {
					return total, nil
				}
				delta := r.Stats()
				total.Add(delta)
				err = sink(r.Bytes(), delta)
				r.Free()
				if err != nil {
					return total, err
				}
			}
		}
		if !notStreamable(err) {
			return total, cancelled(ctx, err)
		}
	}
	r, err := s.conn.Query(st.Unformatted, "Native", params...)
	if err != nil {
		return total, cancelled(ctx, err)
	}
	defer r.Free()
	s.note(st)
	total = r.Stats()
	if b := r.Bytes(); len(b) > 0 {
		return total, sink(b, total)
	}
	return total, nil
}

// count keeps what the statement of the moment took.
func (s *Session) count(stats Stats) {
	if s.run != nil {
		s.run.stats.Add(stats)
	}
}

// notStreamable recognises the engine's refusal to stream what is no SELECT; the
// statement has not run then.
func notStreamable(err error) bool {
	var e *libchdb.Error
	return errors.As(err, &e) && e.Code == CodeBadArguments && strings.HasPrefix(e.Text, "Streaming query is not supported")
}

// cancelled names the end of the client's interest, whatever the engine said.
func cancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return NewError(CodeCancelled, "QUERY_WAS_CANCELLED", "Query was cancelled by the client")
	}
	return err
}

// Header describes the columns of a query that returned no rows: name and type.
func (s *Session) Header(st sqltext.Statement, params []Param) ([]Column, error) {
	return s.describe("DESCRIBE TABLE ("+st.Unformatted+"\n)", params)
}

// Column is a column's name and type.
type Column struct{ Name, Type string }

// describe_compact_output leaves just the two columns; the format keeps any byte.
func (s *Session) describe(sql string, params []Param) ([]Column, error) {
	r, err := s.conn.Query(sql+" SETTINGS describe_compact_output = 1", "RowBinary", params...)
	if err != nil {
		return nil, err
	}
	defer r.Free()
	var out []Column
	for b := r.Bytes(); len(b) > 0; {
		var c Column
		for _, field := range []*string{&c.Name, &c.Type} {
			n, k := uvarint(b)
			if k <= 0 || uint64(len(b)-k) < n {
				return nil, fmt.Errorf("read the engine's description of columns: it is cut short")
			}
			*field = string(b[k : k+int(n)])
			b = b[k+int(n):]
		}
		out = append(out, c)
	}
	return out, nil
}

func uvarint(b []byte) (uint64, int) {
	var v uint64
	for i, c := range b {
		if i == 10 {
			return 0, -1
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// InsertHeader describes the columns that an INSERT takes.
func (s *Session) InsertHeader(in sqltext.Insert, params []Param) ([]Column, error) {
	cols := in.Columns
	if cols == "" {
		cols = "*"
	}
	target := in.Target
	if len(target) > 8 && strings.EqualFold(target[:8], "FUNCTION") {
		target = target[8:]
	}
	return s.describe("DESCRIBE TABLE (SELECT "+cols+" FROM "+target+")", params)
}

// Feed is an INSERT that is being fed.
type Feed struct {
	s  *Session
	in *libchdb.Insert
}

// Insert starts an INSERT whose data comes in format. Nothing that has not been
// committed stays unless Commit succeeds.
func (s *Session) Insert(in sqltext.Insert, format string, params []Param) (*Feed, error) {
	feed, err := s.conn.Insert(in.Header, format, params...)
	if err != nil {
		s.settle()
		return nil, err
	}
	return &Feed{s: s, in: feed}, nil
}

// Append hands over data; false means that the insert went wrong, and Commit
// tells why.
func (f *Feed) Append(b []byte) bool { return f.in.Append(b) }

// Commit ends the data and stores it.
func (f *Feed) Commit() (Stats, error) {
	stats, err := f.in.Done()
	f.in.Close()
	f.s.count(stats)
	if err != nil {
		f.s.settle()
	}
	return stats, err
}

// Abort drops the data.
func (f *Feed) Abort() {
	f.in.Cancel()
	f.in.Close()
	f.s.settle()
}

// settle lets go of a statement that did not end well: the engine keeps its blocks,
// and its place in the process list, until the session's next one.
func (s *Session) settle() { _ = s.conn.Exec("SELECT 1") }

// Document runs a statement whose output is one document of a format, such as
// JSON or Parquet, and writes it to w as the engine produces it. The statement
// returns after the engine has written everything; the reader of w sees its end
// when the caller closes w.
//
// The engine renders a stream of blocks only as one document a block, so a
// document goes through INTO OUTFILE on a pipe.
func (s *Session) Document(ctx context.Context, st sqltext.Statement, format string, params []Param, w *os.File) (stats Stats, err error) {
	stop := s.Watch(ctx)
	defer func() {
		stop()
		s.count(stats)
		if err != nil {
			err = s.eng.advise(st, err)
			s.settle()
		}
	}()
	if st.Kind == sqltext.KindQuery {
		sql := fmt.Sprintf("%s\nINTO OUTFILE '/proc/self/fd/%d' TRUNCATE FORMAT %s", st.Unformatted, w.Fd(), format)
		r, err := s.conn.Query(sql, format, params...)
		if err != nil {
			return Stats{}, cancelled(ctx, err)
		}
		defer r.Free()
		return r.Stats(), nil
	}
	r, err := s.conn.Query(st.Text, format, params...)
	if err != nil {
		return Stats{}, cancelled(ctx, err)
	}
	defer r.Free()
	s.note(st)
	if b := r.Bytes(); len(b) > 0 {
		if _, err := w.Write(b); err != nil {
			return r.Stats(), cancelled(ctx, fmt.Errorf("write output: %w", err))
		}
	}
	return r.Stats(), nil
}
