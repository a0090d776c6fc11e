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

// Blocks runs a statement and gives its output in Native format, block by block.
func (s *Session) Blocks(ctx context.Context, st sqltext.Statement, params []Param, sink func(block []byte, progress Stats) error) (Stats, error) {
	return s.Pieces(ctx, st, "Native", params, sink)
}

// Pieces runs a statement and gives its output block by block, each rendered as a document of its own; each is the engine's memory and valid during the call. A sink's
// error cancels the statement and is returned.
func (s *Session) Pieces(ctx context.Context, st sqltext.Statement, format string, params []Param, sink func(piece []byte, progress Stats) error) (total Stats, err error) {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := s.watch(running)
	defer func() {
		stop()
		s.count(total)
		if err != nil {
			err = s.eng.advise(st, err)
			s.settle()
		}
	}()
	if st.Kind == sqltext.KindQuery {
		stream, err := s.conn.Stream(st.Unformatted, format, params...)
		if err == nil {
			defer stream.Close()
			err = pull(ctx, stream, cancel, func(r *libchdb.Result) error {
				delta := r.Stats()
				total.Add(delta)
				return sink(r.Bytes(), delta)
			})
			return total, err
		}
		if !notStreamable(err) {
			return total, cancelled(ctx, err)
		}
	}
	changed := s.changing(st)
	r, err := s.conn.Query(st.Unformatted, format, params...)
	changed()
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

const (
	// aheadOf is from what size of a piece on the engine makes the next ones while that one is taken.
	aheadOf = 64 << 10
	// ahead is how many it may be ahead.
	ahead = 2
)

// pull takes a stream's pieces to their end. Results of many pieces are made by the engine while the ones before are taken; short ones need no second goroutine. cancel
// stops what the engine is at.
func pull(ctx context.Context, stream *libchdb.Stream, cancel context.CancelFunc, take func(*libchdb.Result) error) error {
	type piece struct {
		*libchdb.Result
		err error
	}
	var pieces chan piece // once the engine runs ahead
	quit := make(chan struct{})
	defer func() {
		if pieces == nil {
			return
		}
		close(quit)
		for p := range pieces {
			p.Free()
		}
	}()
	next := func() (p piece) {
		if pieces != nil {
			return <-pieces
		}
		p.Result, p.err = stream.Next()
		return p
	}
	for {
		if err := cancelled(ctx, nil); err != nil {
			cancel()
			return err
		}
		p := next()
		if p.err != nil {
			return cancelled(ctx, p.err)
		}
		if p.Result == nil {
			return nil
		}
		if pieces == nil && len(p.Bytes()) >= aheadOf {
			pieces = make(chan piece, ahead-1)
			go func() {
				defer close(pieces)
				for {
					var p piece
					p.Result, p.err = stream.Next()
					select {
					case pieces <- p:
					case <-quit:
						p.Free()
						return
					}
					if p.Result == nil {
						return
					}
				}
			}()
		}
		err := take(p.Result)
		p.Free()
		if err != nil {
			cancel()
			return err
		}
	}
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

// describeSettings leave name and type of each column, however few rows a result of the session may have.
const describeSettings = " SETTINGS describe_compact_output = 1, describe_include_subcolumns = 0, max_result_rows = 0, max_result_bytes = 0"

// describeFields is how many texts a row has without them: name, type, kind and expression of the default, comment, codec, TTL.
const describeFields = 7

// describe asks for columns in a format that keeps any byte.
func (s *Session) describe(sql string, params []Param) ([]Column, error) {
	fields := 2
	if s.applied["readonly"] == "1" { // which lets no setting be changed
		fields = describeFields
	} else {
		sql += describeSettings
	}
	r, err := s.conn.Query(sql, "RowBinary", params...)
	if err != nil {
		return nil, err
	}
	defer r.Free()
	var out []Column
	for b := r.Bytes(); len(b) > 0; {
		row := make([]string, fields)
		for i := range row {
			n, k := uvarint(b)
			if k <= 0 || uint64(len(b)-k) < n {
				return nil, fmt.Errorf("read the engine's description of columns: it is cut short")
			}
			row[i] = string(b[k : k+int(n)])
			b = b[k+int(n):]
		}
		out = append(out, Column{Name: row[0], Type: row[1]})
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
	stop := s.watch(ctx)
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
	changed := s.changing(st)
	r, err := s.conn.Query(st.Text, format, params...)
	changed()
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
