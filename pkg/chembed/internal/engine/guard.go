package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// CodeAccess is ClickHouse's ACCESS_DENIED.
const CodeAccess = 497

// harmless are the table functions that read nothing but their arguments.
var harmless = map[string]bool{
	"numbers": true, "numbers_mt": true, "zeros": true, "zeros_mt": true, "generate_series": true, "generateseries": true, "generaterandom": true,
	"null": true, "values": true, "view": true, "format": true, "primes": true,
}

// Functions that are no table functions and reach further than a restricted account may: files and programs, and, for those with databases of their own,
// tables that they name in a string.
var (
	reachingFunctions = []string{"file", "catboostevaluate", "showcertificate", "addresstoline", "addresstosymbol", "demangle", "filesystemavailable", "filesystemcapacity", "filesystemunreserved"}
	namingFunctions   = []string{"joinget", "joingetornull", "hascolumnintable"}
	namingTables      = []string{"merge", "dictionary"}
)

// openSystem are the tables of system that an account with databases of its own reads: what describes the server, and the lists that are cut to its databases.
var openSystem = map[string]bool{
	"one": true, "numbers": true, "numbers_mt": true, "zeros": true, "settings": true, "functions": true, "formats": true, "data_type_families": true,
	"time_zones": true, "build_options": true, "contributors": true, "licenses": true, "table_functions": true, "table_engines": true, "macros": true,
	"collations": true, "aggregate_function_combinators": true, "merge_tree_settings": true, "keywords": true, "databases": true, "tables": true,
	"columns": true, "processes": true,
}

// learn reads what the guard needs to know of the engine.
func (e *Engine) learn() error {
	rows, err := e.pairs("SELECT name, value FROM system.settings")
	if err != nil {
		return fmt.Errorf("read the engine's settings: %w", err)
	}
	e.defaults = rows
	if e.types, err = e.pairs("SELECT name, type FROM system.settings"); err != nil {
		return fmt.Errorf("read the engine's settings: %w", err)
	}
	functions, err := e.pairs("SELECT lower(name), '' FROM system.table_functions")
	if err != nil {
		return fmt.Errorf("read the engine's table functions: %w", err)
	}
	e.reaching = map[string]bool{}
	for name := range functions {
		if !harmless[name] && !slices.Contains(namingTables, name) {
			e.reaching[name] = true
		}
	}
	for _, name := range reachingFunctions {
		e.reaching[name] = true
	}
	return nil
}

// SettingType is the type of a setting's value, such as UInt64; empty for what is none.
func (e *Engine) SettingType(name string) string { return e.types[name] }

// pairs runs a query of two text columns.
func (e *Engine) pairs(sql string) (map[string]string, error) {
	e.adminMu.Lock()
	defer e.adminMu.Unlock()
	r, err := e.admin.Query(sql, "RowBinary")
	if err != nil {
		return nil, err
	}
	defer r.Free()
	out := map[string]string{}
	var fields []string
	for b := r.Bytes(); len(b) > 0; {
		n, k := uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return nil, fmt.Errorf("the engine's answer is cut short")
		}
		fields = append(fields, string(b[k:k+int(n)]))
		b = b[k+int(n):]
	}
	for i := 0; i+1 < len(fields); i += 2 {
		out[fields[i]] = fields[i+1]
	}
	return out, nil
}

// settingsOf are the settings of a query of an account: its own, over them those that it asks for and may have, and what keeps it in its place.
func (e *Engine) settingsOf(a *access.Account, asked []Setting) ([]Setting, error) {
	if !a.Restricted() && len(a.Settings) == 0 {
		return asked, nil
	}
	out := map[string]Setting{}
	for name, v := range a.Settings {
		out[name] = Setting{Name: name, Value: v, Important: true}
	}
	for _, st := range asked {
		if err := a.CheckSetting(st.Name, st.Value, e.current(a, st.Name)); err != nil {
			return nil, err
		}
		out[st.Name] = st
	}
	fixed := map[string]string{}
	if a.ReadOnly > 0 {
		fixed["readonly"] = fmt.Sprint(a.ReadOnly)
	}
	if len(a.Databases) > 0 {
		list := make([]string, len(a.Databases))
		for i, d := range a.Databases {
			list[i] = sqltext.Quote(d)
		}
		in := "IN (" + strings.Join(list, ", ") + ", 'system')"
		fixed["additional_table_filters"] = "{" + strings.Join([]string{
			"'system.databases':" + sqltext.Quote("name "+in), "'system.tables':" + sqltext.Quote("database "+in), "'system.columns':" + sqltext.Quote("database "+in),
		}, ", ") + "}"
		fixed["input_format_values_interpret_expressions"] = "0"
	}
	for name, v := range fixed {
		out[name] = Setting{Name: name, Value: v, Important: true}
	}
	return slices.Collect(maps.Values(out)), nil
}

// current is what a setting is for an account that changes nothing.
func (e *Engine) current(a *access.Account, name string) string {
	if v, ok := a.Settings[name]; ok {
		return v
	}
	if name == "readonly" {
		return fmt.Sprint(a.ReadOnly)
	}
	return e.defaults[name]
}

// UseAs changes the session's database if the account may use it.
func (s *Session) UseAs(a *access.Account, database string) error {
	if database == "" && len(a.Databases) > 0 {
		database = a.Databases[0]
	}
	if database == "" {
		database = "default"
	}
	if !a.MayUse(database) && database != "system" {
		return denied(a, "to use database %s", database)
	}
	return s.Use(database)
}

func denied(a *access.Account, format string, args ...any) error {
	return NewError(CodeAccess, "ACCESS_DENIED", "%s: Not enough privileges. It is not allowed "+format, append([]any{a.Name}, args...)...)
}

func readOnly(a *access.Account) error {
	return NewError(CodeReadOnly, "READONLY", "%s: Cannot execute query in readonly mode", a.Name)
}

// guard looks into the statement of a restricted account before it runs. It reads the statement as the engine's own formatter writes it, without comments
// and with every name in plain sight, and refuses in doubt.
func (s *Session) guard(run *Run) error {
	a, st := run.Account, run.Statement
	if !a.Restricted() {
		return nil
	}
	insert := st.Kind == sqltext.KindInsert
	text := st.Text
	if insert {
		if a.ReadOnly > 0 {
			return readOnly(a)
		}
		text = st.Insert.Header + " FORMAT Null"
	}
	analysis := s.conn.Classify(text)
	if analysis.Statements > 1 {
		return NewError(CodeSyntax, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
	}
	if a.ReadOnly > 0 && analysis.Class != libchdb.ClassReadOnly && analysis.Class != libchdb.ClassUnknown && st.Kind != sqltext.KindUse && st.Kind != sqltext.KindKill {
		if st.Kind != sqltext.KindSet || a.ReadOnly == 1 {
			return readOnly(a)
		}
	}
	plain, err := s.format(text)
	if err != nil {
		return err // what does not parse does not run
	}
	for name, v := range sqltext.Settings(plain) {
		if err := a.CheckSetting(name, sqltext.Unquote(v), s.eng.current(a, name)); err != nil {
			return err
		}
	}
	return s.guardNames(a, sqltext.Words(plain), st.Kind == sqltext.KindQuery || insert)
}

// format has the engine write a statement in one canonical way.
func (s *Session) format(sql string) (string, error) {
	r, err := s.conn.Query("SELECT formatQuerySingleLine({q:String})", "RowBinary", Param{Name: "q", Value: escapeParam(sql)})
	if err != nil {
		return "", err
	}
	defer r.Free()
	b := r.Bytes()
	n, k := uvarint(b)
	if k <= 0 || uint64(len(b)-k) < n {
		return "", fmt.Errorf("read the engine's form of a statement: it is cut short")
	}
	return string(b[k : k+int(n)]), nil
}

// confined are the statements of an account with databases of its own, by their first words.
var confined = [][]string{
	{"SELECT"}, {"WITH"}, {"FROM"}, {"INSERT"}, {"DELETE"}, {"UPDATE"}, {"OPTIMIZE"}, {"CHECK"}, {"SHOW"}, {"DESCRIBE"}, {"DESC"}, {"EXISTS"}, {"EXPLAIN"}, {"SET"}, {"USE"}, {"KILL"},
	{"CREATE", "TABLE"}, {"CREATE", "OR", "REPLACE", "TABLE"}, {"CREATE", "TEMPORARY", "TABLE"}, {"CREATE", "VIEW"}, {"CREATE", "OR", "REPLACE", "VIEW"},
	{"CREATE", "MATERIALIZED", "VIEW"}, {"ALTER", "TABLE"}, {"DROP", "TABLE"}, {"DROP", "VIEW"}, {"DROP", "TEMPORARY", "TABLE"}, {"TRUNCATE", "TABLE"},
	{"RENAME", "TABLE"}, {"EXCHANGE", "TABLES"}, {"UNDROP", "TABLE"},
}

// plainEngines keep their data in the engine's own directory.
var plainEngines = []string{"Memory", "Null", "Log", "TinyLog", "StripeLog", "Set", "Join", "View", "MaterializedView"}

func (s *Session) guardNames(a *access.Account, words []sqltext.Word, query bool) error {
	for i, w := range words {
		name := strings.ToLower(w.Text)
		switch {
		case w.Called && s.eng.reaching[name]:
			return denied(a, "to call %s", w.Text)
		case w.Is("OUTFILE") && w.Before == "INTO", w.Is("INFILE") && w.Before == "FROM":
			return denied(a, "to read or write files")
		case w.Quoted && strings.ContainsAny(w.Text, "/*") && (w.Before == "FROM" || w.Before == "JOIN"):
			return denied(a, "to read files")
		}
		if len(a.Databases) == 0 {
			continue
		}
		switch {
		case w.Called && (slices.Contains(namingFunctions, name) || slices.Contains(namingTables, name) || strings.HasPrefix(name, "dictget") || strings.HasPrefix(name, "dicthas")):
			return denied(a, "to call %s", w.Text)
		case w.Is("ENGINE") && i+1 < len(words) && !strings.HasSuffix(words[i+1].Text, "MergeTree") && !slices.Contains(plainEngines, words[i+1].Text):
			return denied(a, "to make a table of engine %s", words[i+1].Text)
		case w.Dotted && !w.Behind && name == "system":
			if i+1 < len(words) && !openSystem[strings.ToLower(words[i+1].Text)] {
				return denied(a, "to read system.%s", words[i+1].Text)
			}
		}
	}
	if len(a.Databases) == 0 {
		return nil
	}
	if !slices.ContainsFunc(confined, func(begin []string) bool {
		if len(words) < len(begin) {
			return false
		}
		for i, word := range begin {
			if !words[i].Is(word) {
				return false
			}
		}
		return true
	}) {
		return denied(a, "to run this statement")
	}
	if s.database == "system" {
		// Names without a database are system's here, and openSystem is about names with one.
		for _, w := range words {
			if !w.Behind && !w.Dotted && (w.Before == "FROM" || w.Before == "JOIN" || w.Before == "INTO") && !openSystem[strings.ToLower(w.Text)] && !w.Called {
				return denied(a, "to read system.%s", w.Text)
			}
		}
	}
	databases, err := s.eng.pairs("SELECT name, '' FROM system.databases")
	if err != nil {
		return err
	}
	for _, w := range words {
		if _, ok := databases[w.Text]; !ok || a.MayUse(w.Text) || w.Text == "system" {
			continue
		}
		// Other statements name databases without a dot: SHOW TABLES FROM other.
		if w.Dotted && !w.Behind || !query && !w.Behind {
			return denied(a, "to use database %s", w.Text)
		}
	}
	return nil
}
