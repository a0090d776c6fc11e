package engine

import (
	"fmt"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

const (
	maxExternalTables  = 100
	maxExternalColumns = 1000
)

// External makes a temporary table for data that comes with the coming query, and returns its feed. It lives until the query's end.
func (s *Session) External(name string, columns []Column, format string) (*Feed, error) {
	bad := func(text string, args ...any) error {
		return NewError(CodeBadArguments, "BAD_ARGUMENTS", "External table %s: "+text, append([]any{name}, args...)...)
	}
	if name == "" || len(columns) == 0 || len(columns) > maxExternalColumns {
		return nil, bad("it needs a name and 1 to %d columns", maxExternalColumns)
	}
	if len(s.external) >= maxExternalTables {
		return nil, bad("there are more than %d", maxExternalTables)
	}
	if _, ok := s.applied["readonly"]; ok {
		// Read-only mode makes no tables, and cannot be left.
		if err := s.reconnect(); err != nil {
			return nil, err
		}
	}
	types, err := s.canonicalTypes(columns)
	if err != nil {
		return nil, err
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = sqltext.QuoteName(c.Name) + " " + types[i]
	}
	table := sqltext.QuoteName(name)
	if err := s.conn.Exec("CREATE TEMPORARY TABLE " + table + " (" + strings.Join(list, ", ") + ") ENGINE = Memory"); err != nil {
		return nil, err
	}
	s.external = append(s.external, name)
	return s.Insert(sqltext.Insert{Header: "INSERT INTO " + table}, format, nil)
}

// canonicalTypes has the engine read the types and write them again: they are text of the client's, and what is written is SQL.
func (s *Session) canonicalTypes(columns []Column) ([]string, error) {
	var b strings.Builder
	params := make([]Param, len(columns))
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		name := fmt.Sprintf("t%d", i)
		fmt.Fprintf(&b, "toTypeName(defaultValueOfTypeName({%s:String}))", name)
		params[i] = Param{Name: name, Value: escapeParam(c.Type)}
	}
	r, err := s.conn.Query("SELECT "+b.String(), "RowBinary", params...)
	if err != nil {
		return nil, err
	}
	defer r.Free()
	out := make([]string, 0, len(columns))
	for rest := r.Bytes(); len(rest) > 0; {
		n, k := uvarint(rest)
		if k <= 0 || uint64(len(rest)-k) < n {
			break
		}
		out = append(out, string(rest[k:k+int(n)]))
		rest = rest[k+int(n):]
	}
	if len(out) != len(columns) {
		return nil, fmt.Errorf("read the engine's names of types: it is cut short")
	}
	return out, nil
}

// DropExternal drops what External made.
func (s *Session) DropExternal() {
	if len(s.external) == 0 {
		return
	}
	names := s.external
	s.external = nil
	if _, ok := s.applied["readonly"]; ok {
		if err := s.reconnect(); err != nil {
			s.spoilt = true
		}
		return
	}
	for _, name := range names {
		if err := s.conn.Exec("DROP TEMPORARY TABLE IF EXISTS " + sqltext.QuoteName(name)); err != nil {
			s.spoilt = true
		}
	}
}

// escapeParam writes a text as a parameter's value, which the engine reads with escapes.
func escapeParam(v string) string {
	return strings.NewReplacer("\\", "\\\\", "\t", "\\t", "\n", "\\n", "\x00", "\\0").Replace(v)
}
