package engine

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// maxHeaders bounds how many columns of inserts are remembered.
const maxHeaders = 256

// headers remembers the columns that inserts take: describing them costs the engine as much as a small insert. What is remembered holds for one version of the
// schema. Every statement that may change it makes a new version, once before it runs and once after: what was read while it ran is of a version that is over when its
// client hears of its end.
type headers struct {
	mu      sync.Mutex
	version uint64
	checked bool // foreign is known
	foreign bool // a database of this version has tables that change without a statement here
	columns map[string][]Column
}

// renew begins a new version of the schema.
func (h *headers) renew() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.version++
	h.checked = false
	clear(h.columns)
}

func (h *headers) get(key string) (cols []Column, version uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.columns[key], h.version
}

// put remembers columns that were read while the schema had that version.
func (h *headers) put(key string, cols []Column, version uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.version != version {
		return
	}
	if h.columns == nil || len(h.columns) >= maxHeaders {
		h.columns = map[string][]Column{}
	}
	h.columns[key] = cols
}

// foreign says whether there is a database whose tables live elsewhere.
func (e *Engine) foreign(version uint64) bool {
	h := &e.headers
	h.mu.Lock()
	checked, foreign := h.checked && h.version == version, h.foreign
	h.mu.Unlock()
	if checked {
		return foreign
	}
	found, err := e.pairs("SELECT name, engine FROM system.databases WHERE engine NOT IN ('Atomic', 'Ordinary', 'Memory', 'Overlay')")
	foreign = err != nil || len(found) > 0
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.version == version {
		h.checked, h.foreign = true, foreign
	}
	return foreign
}

// changing is called before a statement that is not streamed; what it returns, after it.
func (s *Session) changing(st sqltext.Statement) (changed func()) {
	if st.Temporary {
		s.temporary = true
	}
	insert := len(st.Text) > 6 && strings.EqualFold(st.Text[:6], "INSERT")
	if insert || s.conn.Classify(st.Text).Class == libchdb.ClassReadOnly {
		return func() {}
	}
	s.eng.headers.renew()
	return s.eng.headers.renew
}

// insertable leaves out columns that are computed, whatever * is in this session.
const insertable = " SETTINGS asterisk_include_alias_columns = 0, asterisk_include_materialized_columns = 0"

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
	key := ""
	if len(params) == 0 {
		key = s.headerKey(in)
	}
	known, version := s.eng.headers.get(key)
	if key != "" && known != nil {
		return known, nil
	}
	described, err := s.describe("DESCRIBE TABLE (SELECT "+cols+" FROM "+target+insertable+")", params)
	if err == nil && key != "" && !s.eng.foreign(version) {
		s.eng.headers.put(key, described, version)
	}
	return described, err
}

// plainTarget is a table's name without anything that could make it a file's or a function's.
var plainTarget = regexp.MustCompile("^(`[A-Za-z0-9_]+`|[A-Za-z_][A-Za-z0-9_]*)(\\s*\\.\\s*(`[A-Za-z0-9_]+`|[A-Za-z_][A-Za-z0-9_]*))?$")

// indifferent are settings that change nothing about the columns, and that clients change from insert to insert.
var indifferent = map[string]bool{
	"insert_deduplication_token": true, "log_comment": true, "receive_timeout": true, "send_timeout": true, "max_execution_time": true, "max_memory_usage": true,
}

// headerKey names everything that the columns of an INSERT depend on beside the schema; empty where they are not to be remembered.
func (s *Session) headerKey(in sqltext.Insert) string {
	if s.temporary || len(s.external) > 0 || !plainTarget.MatchString(in.Target) {
		return ""
	}
	var b strings.Builder
	part := func(text string) {
		b.WriteString(text)
		b.WriteByte(0)
	}
	part(s.database)
	part(in.Target)
	part(in.Columns)
	for i, settings := range []map[string]string{s.own, s.applied} {
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			if !indifferent[name] {
				part(string(rune('a'+i)) + name)
				part(settings[name])
			}
		}
	}
	return b.String()
}
