package httpserver

import (
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

const (
	formInMemory = 1 << 20 // of a form's files; the rest goes through temporary files
	maxForm      = 4 << 30
)

// external is a table that comes with the query, as a file of its form.
type external struct {
	name, format string
	columns      []engine.Column
	file         *multipart.FileHeader
}

// readForm takes the fields of a multipart form as parameters, and its files as external tables.
func (q *query) readForm() ([]external, error) {
	q.r.Body = http.MaxBytesReader(q.w, q.r.Body, maxForm)
	if err := q.r.ParseMultipartForm(formInMemory); err != nil {
		return nil, engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS", "Cannot read the multipart form: %v", err)
	}
	for k, v := range q.r.MultipartForm.Value {
		q.params[k] = v
	}
	q.r.Body = http.NoBody
	var tables []external
	for name, files := range q.r.MultipartForm.File {
		t := external{name: name, format: "TabSeparated", file: files[0]}
		if f := q.params.Get(name + "_format"); f != "" {
			t.format = f
		}
		if !validFormat(t.format) {
			return nil, engine.NewError(engine.CodeUnknownFormat, "UNKNOWN_FORMAT", "Unknown format %s", t.format)
		}
		structure, types := q.params.Get(name+"_structure"), q.params.Get(name+"_types")
		switch {
		case structure != "":
			for _, part := range sqltext.SplitList(structure) {
				column, typ, ok := sqltext.CutName(part)
				if !ok {
					return nil, engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS", "%s_structure: %q is no name with its type", name, part)
				}
				t.columns = append(t.columns, engine.Column{Name: column, Type: typ})
			}
		case types != "":
			for i, typ := range sqltext.SplitList(types) {
				t.columns = append(t.columns, engine.Column{Name: "_" + strconv.Itoa(i+1), Type: typ})
			}
		default:
			return nil, engine.NewError(engine.CodeBadArguments, "BAD_ARGUMENTS",
				"Neither '%s_structure' nor '%s_types' has been provided for the external table %s", name, name, name)
		}
		for _, suffix := range []string{"_format", "_structure", "_types"} {
			delete(q.params, name+suffix)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// dropForm removes the form's temporary files.
func (q *query) dropForm() {
	if q.r.MultipartForm != nil {
		_ = q.r.MultipartForm.RemoveAll()
	}
}

// load stores the table in the session.
func (t external) load(sess *engine.Session) error {
	f, err := t.file.Open()
	if err != nil {
		return bodyError(err)
	}
	defer f.Close()
	body, err := decoded(f, strings.TrimSpace(t.file.Header.Get("Content-Encoding")))
	if err != nil {
		return err
	}
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
