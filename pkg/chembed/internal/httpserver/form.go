package httpserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

const (
	formInMemory = 1 << 20 // of a form's files; the rest goes through temporary files
	maxForm      = 4 << 30

	maxFormTables = 100
	maxFormFields = 10_000
)

// external is a table that comes with the query, as a file of its form.
type external struct {
	name, format, encoding string
	columns                []engine.Column
	data                   *spool
}

// spool holds what is small in memory, and the rest in a file that has no name.
type spool struct {
	small bytes.Buffer
	file  *os.File
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.small.Len()+len(p) <= formInMemory {
		return s.small.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "chembed-form-*")
		if err != nil {
			return 0, err
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return 0, err
		}
	}
	return s.file.Write(p)
}

func (s *spool) reader() (io.Reader, error) {
	if s.file == nil {
		return bytes.NewReader(s.small.Bytes()), nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.MultiReader(bytes.NewReader(s.small.Bytes()), s.file), nil
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// readForm takes the fields of a multipart form as parameters, and its files as external tables. A part is a file if it has a filename, be it empty.
func (q *query) readForm() (tables []external, err error) {
	bad := func(err error) error {
		return engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS", "Cannot read the multipart form: %v", err)
	}
	q.r.Body = http.MaxBytesReader(q.w, q.r.Body, maxForm)
	form, err := q.r.MultipartReader()
	if err != nil {
		return nil, bad(err)
	}
	defer func() {
		if err != nil {
			closeTables(tables)
		}
	}()
	left := maxQueryText // of all fields together
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return tables, bad(err)
		}
		_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil || params["name"] == "" {
			return tables, bad(errors.New("a part has no name"))
		}
		if _, file := params["filename"]; file {
			if len(tables) >= maxFormTables {
				return tables, bad(fmt.Errorf("more than %d files", maxFormTables))
			}
			t := external{name: params["name"], format: "TabSeparated", encoding: strings.TrimSpace(part.Header.Get("Content-Encoding")), data: &spool{}}
			tables = append(tables, t)
			if _, err := io.Copy(t.data, part); err != nil {
				return tables, bad(err)
			}
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, int64(left)+1))
		if err != nil {
			return tables, bad(err)
		}
		if left -= len(value); left < 0 || len(q.params) >= maxFormFields {
			return tables, bad(errors.New("its fields are too large, or too many"))
		}
		q.params.Set(params["name"], string(value))
	}
	q.r.Body = http.NoBody
	for i := range tables {
		if err := q.describe(&tables[i]); err != nil {
			return tables, err
		}
	}
	return tables, nil
}

func closeTables(tables []external) {
	for _, t := range tables {
		t.data.close()
	}
}

// describe reads what the parameters say of a table, and takes them out of the settings.
func (q *query) describe(t *external) error {
	name := t.name
	if f := q.params.Get(name + "_format"); f != "" {
		t.format = f
	}
	if !validFormat(t.format) {
		return engine.NewError(engine.CodeUnknownFormat, "UNKNOWN_FORMAT", "Unknown format %s", t.format)
	}
	structure, types := q.params.Get(name+"_structure"), q.params.Get(name+"_types")
	switch {
	case structure != "":
		for _, part := range sqltext.SplitList(structure) {
			column, typ, ok := sqltext.CutName(part)
			if !ok {
				return engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS", "%s_structure: %q is no name with its type", name, part)
			}
			t.columns = append(t.columns, engine.Column{Name: column, Type: typ})
		}
	case types != "":
		for i, typ := range sqltext.SplitList(types) {
			t.columns = append(t.columns, engine.Column{Name: "_" + strconv.Itoa(i+1), Type: typ})
		}
	default:
		return engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS",
			"Neither '%s_structure' nor '%s_types' has been provided for the external table %s", name, name, name)
	}
	for _, suffix := range []string{"_format", "_structure", "_types"} {
		delete(q.params, name+suffix)
	}
	return nil
}

// load stores the table in the session.
func (t external) load(sess *engine.Session) error {
	data, err := t.data.reader()
	if err != nil {
		return bodyError(err)
	}
	body, err := decoded(io.NopCloser(data), t.encoding)
	if err != nil {
		return err
	}
	defer body.Close()
	feed, err := sess.External(t.name, t.columns, t.format)
	if err != nil {
		return err
	}
	if err := feedBytes(feed, body); err != nil {
		feed.Abort()
		return err
	}
	_, err = feed.Commit()
	return err
}
