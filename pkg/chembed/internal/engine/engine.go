// Package engine runs statements for the protocol servers: sessions with
// settings on top of libchdb, limits, cancellation.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// ClickHouse error codes that the protocol layer raises by itself.
const (
	CodeUnknownPacket   = 99
	CodeUnexpected      = 101
	CodeBadArguments    = 36
	CodeNotImplemented  = 48
	CodeSyntax          = 62
	CodeUnknownSetting  = 115
	CodeIncorrectData   = 117
	CodeTimeout         = 159
	CodeReadOnly        = 164
	CodeTooMany         = 202
	CodeSocketTimeout   = 209
	CodeNetwork         = 210
	CodeSessionNotFound = 372
	CodeSessionLocked   = 373
	CodeCancelled       = 394
	CodeConstraint      = 452
	CodeUnknownFormat   = 73
	CodeAuth            = 516
)

// NewError is an exception of the protocol layer in ClickHouse's shape.
func NewError(code int, name, format string, args ...any) error {
	return &libchdb.Error{Code: code, Name: name, Text: fmt.Sprintf(format, args...)}
}

// AsException gives any error ClickHouse's shape.
func AsException(err error) *libchdb.Error {
	var e *libchdb.Error
	if errors.As(err, &e) {
		return e
	}
	return &libchdb.Error{Code: libchdb.CodeUnknown, Name: "UNKNOWN_EXCEPTION", Text: err.Error()}
}

// Config says how the engine is opened and limited. Zero means no limit.
type Config struct {
	Library     string
	DataDir     string
	ServerArgs  []string          // --name=value server settings
	Defaults    map[string]string // query settings of every session
	Concurrency int               // statements at once; more wait
	QueueWait   time.Duration     // how long they wait
	Logger      *slog.Logger
}

// Engine is the one engine of the process.
type Engine struct {
	cfg  Config
	lib  *libchdb.Library
	args []string

	slots   chan struct{}
	ids     atomic.Uint64
	reg     registry
	headers headers

	// defaults are the values of all settings where no client changed them, types what they hold.
	defaults, types map[string]string
	// reaching are the table functions that reach out of the engine's own tables.
	reaching map[string]bool

	adminMu sync.Mutex
	admin   *libchdb.Conn // keeps the engine up, and kills queries of the others

	// Version is what SELECT version() says, such as "26.7.2.1"; Timezone the
	// engine's default; both asked once.
	Version, Timezone string
}

// Open loads the library and opens the data directory.
func Open(cfg Config) (*Engine, error) {
	lib, err := libchdb.Load(cfg.Library)
	if err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, lib: lib}
	e.args = append(e.args, "--path="+cfg.DataDir)
	e.args = append(e.args, cfg.ServerArgs...)
	for k, v := range cfg.Defaults {
		e.args = append(e.args, "--"+k+"="+v)
	}
	if cfg.Concurrency > 0 {
		e.slots = make(chan struct{}, cfg.Concurrency)
	}
	if e.admin, err = lib.Connect(e.args...); err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", cfg.DataDir, err)
	}
	if err := e.unlimited(); err != nil {
		e.admin.Close()
		return nil, fmt.Errorf("take the limits off the engine's own session: %w", err)
	}
	r, err := e.admin.Query("SELECT version(), timezone()", "TSV")
	if err != nil {
		e.admin.Close()
		return nil, fmt.Errorf("ask the engine's version: %w", err)
	}
	e.Version, e.Timezone, _ = strings.Cut(strings.TrimSpace(string(r.Bytes())), "\t")
	r.Free()
	if err := e.learn(); err != nil {
		e.admin.Close()
		return nil, err
	}
	return e, nil
}

// unlimited frees the session that looks after the others from what bounds theirs.
func (e *Engine) unlimited() error {
	var limits []string
	for name := range e.cfg.Defaults {
		if strings.HasPrefix(name, "max_") {
			limits = append(limits, name+" = DEFAULT")
		}
	}
	if len(limits) == 0 {
		return nil
	}
	return e.admin.Exec("SET " + strings.Join(limits, ", "))
}

// Close shuts the engine down. All sessions must be closed before.
func (e *Engine) Close() {
	e.adminMu.Lock()
	defer e.adminMu.Unlock()
	e.admin.Close()
}

// acquire takes a place among the running statements.
func (e *Engine) acquire(ctx context.Context) error {
	if e.slots == nil {
		return nil
	}
	select {
	case e.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(e.cfg.QueueWait)
	defer timer.Stop()
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return NewError(CodeCancelled, "QUERY_WAS_CANCELLED", "Query was cancelled while it waited for its turn")
	case <-timer.C:
		return NewError(CodeTooMany, "TOO_MANY_SIMULTANEOUS_QUERIES",
			"Too many simultaneous queries: %d are running and none ended within %s", cap(e.slots), e.cfg.QueueWait)
	}
}

// await takes a place for a statement that had one, however long it takes.
func (e *Engine) await(ctx context.Context) error {
	if e.slots == nil {
		return nil
	}
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return NewError(CodeCancelled, "QUERY_WAS_CANCELLED", "Query was cancelled while it waited for its turn")
	}
}

// release gives the place back.
func (e *Engine) release() {
	if e.slots != nil {
		<-e.slots
	}
}

// kill asks the engine to stop what the session of that tag runs.
func (e *Engine) kill(tag string) {
	e.adminMu.Lock()
	defer e.adminMu.Unlock()
	err := e.admin.Exec("KILL QUERY WHERE Settings['" + tagSetting + "'] = '" + tag + "' ASYNC")
	if err != nil {
		e.cfg.Logger.Warn("kill query", "error", err)
	}
}

// Setting is a query setting as a client sent it.
type Setting struct {
	Name, Value string
	Important   bool // an unknown one is an error, else it is ignored
}

// tagSetting marks what a session runs, to be found again in system.processes: the engine tells no query id. Of its settings this one changes nothing outside of
// ClickHouse's cloud, so that no client misses it; who names it is refused.
const tagSetting = "distributed_cache_file_cache_name"

// Session is one client's state in the engine. Its methods are called one at a time.
type Session struct {
	eng  *Engine
	conn *libchdb.Conn
	tag  string // what its queries carry in tagSetting

	database string
	applied  map[string]string // per-query settings in force, by value
	own      map[string]string // what the client SET, as written
	spoilt   bool              // state that cannot be undone: not for others

	temporary bool // tables of its own may stand in front of others' names

	run      *Run     // of the moment
	external []string // temporary tables that came with the query
}

// NewSession opens a session on the default database.
func (e *Engine) NewSession() (*Session, error) {
	s := &Session{eng: e, tag: strconv.FormatUint(e.ids.Add(1), 36), database: "default"}
	if err := s.connect(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Session) connect() error {
	conn, err := s.eng.lib.Connect(append(s.eng.args[:len(s.eng.args):len(s.eng.args)], "--"+tagSetting+"="+s.tag)...)
	if err != nil {
		return NewError(CodeNetwork, "NETWORK_ERROR", "The engine does not open another session: %v", err)
	}
	s.conn, s.temporary = conn, false
	s.applied = map[string]string{}
	s.own = map[string]string{}
	return nil
}

// Close ends the session.
func (s *Session) Close() { s.conn.Close() }

// Spoilt says that the session must not be handed to another client.
func (s *Session) Spoilt() bool { return s.spoilt || len(s.own) > 0 }

// Sets says whether a setting that the test is true for is in force in the session, other than by default.
func (s *Session) Sets(test func(name string) bool) bool {
	for _, settings := range []map[string]string{s.own, s.applied, s.eng.cfg.Defaults} {
		for name := range settings {
			if test(name) {
				return true
			}
		}
	}
	return false
}

// pinned settings are ours: an asynchronous insert would be acknowledged before it
// is stored, and parallel replicas and the like do not exist here.
func pinned(name string) bool { return name == "async_insert" }

// Prepare puts the settings of the coming query into force, and takes those of
// the one before out of it.
func (s *Session) Prepare(settings []Setting) error {
	want := make(map[string]string, len(settings))
	important := map[string]bool{}
	for _, st := range settings {
		if pinned(st.Name) {
			continue
		}
		if st.Name == tagSetting {
			return errTagSetting()
		}
		want[st.Name] = st.Value
		important[st.Name] = st.Important
	}
	if _, ok := s.applied["readonly"]; ok && s.applied["readonly"] != want["readonly"] {
		// Read-only mode cannot be left again; a new session can.
		if err := s.reconnect(); err != nil {
			return err
		}
	}
	var set []string
	for name, v := range want {
		if old, ok := s.applied[name]; !ok || old != v {
			if !validName(name) {
				return NewError(CodeUnknownSetting, "UNKNOWN_SETTING", "Unknown setting '%s'", name)
			}
			set = append(set, name)
		}
	}
	var reset []string
	for name := range s.applied {
		if _, ok := want[name]; !ok {
			reset = append(reset, name)
		}
	}
	if len(set) == 0 && len(reset) == 0 {
		return nil
	}
	var b strings.Builder
	item := func(name, value string) {
		if b.Len() == 0 {
			b.WriteString("SET ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(name)
		b.WriteString(" = ")
		b.WriteString(value)
	}
	readonly := ""
	for _, name := range reset {
		value := "DEFAULT"
		if v, ok := s.own[name]; ok {
			value = v
		} else if v, ok := s.eng.cfg.Defaults[name]; ok {
			value = sqltext.Quote(v)
		}
		item(name, value)
	}
	for _, name := range set {
		if name == "readonly" {
			readonly = want[name] // last: nothing can be set after it
			continue
		}
		item(name, sqltext.Quote(want[name]))
	}
	if readonly != "" {
		item("readonly", sqltext.Quote(readonly))
	}
	if err := s.conn.Exec(b.String()); err != nil {
		return s.prepareOneByOne(want, important, err)
	}
	s.applied = want
	return nil
}

// prepareOneByOne finds the setting that the engine refused, in a new session.
// Like a server, it drops those that are unknown and not important.
func (s *Session) prepareOneByOne(want map[string]string, important map[string]bool, cause error) error {
	if AsException(cause).Code != CodeUnknownSetting {
		_ = s.reconnect()
		return cause
	}
	if err := s.reconnect(); err != nil {
		return err
	}
	for name, v := range want {
		if name == "readonly" {
			continue
		}
		err := s.conn.Exec("SET " + name + " = " + sqltext.Quote(v))
		switch {
		case err == nil:
			s.applied[name] = v
		case AsException(err).Code == CodeUnknownSetting && !important[name]:
			// Taken as applied, so that it is not tried again with every query.
			s.applied[name] = v
		default:
			return err
		}
	}
	if v, ok := want["readonly"]; ok {
		if err := s.conn.Exec("SET readonly = " + sqltext.Quote(v)); err != nil {
			return err
		}
		s.applied["readonly"] = v
	}
	return nil
}

// reconnect starts the session anew, keeping what the client SET and its
// database. Its temporary tables are lost.
func (s *Session) reconnect() error {
	s.conn.Close()
	own, database := s.own, s.database
	if err := s.connect(); err != nil {
		return err
	}
	for name, v := range own {
		if err := s.conn.Exec("SET " + name + " = " + v); err != nil {
			return err
		}
	}
	s.own = own
	s.database = "default"
	return s.Use(database)
}

func validName(s string) bool {
	for _, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// Use changes the session's database.
func (s *Session) Use(database string) error {
	if database == "" {
		database = "default"
	}
	if database == s.database {
		return nil
	}
	if err := s.conn.Exec("USE " + sqltext.QuoteName(database)); err != nil {
		return err
	}
	s.database = database
	return nil
}

// Changes says whether a statement, by the engine's own parser, leaves anything
// behind. Text that does not parse changes nothing, and the engine says so better.
func (s *Session) Changes(st sqltext.Statement) bool {
	if st.Kind == sqltext.KindInsert {
		return true
	}
	class := s.conn.Classify(st.Text).Class
	return class != libchdb.ClassReadOnly && class != libchdb.ClassUnknown
}

// note keeps what a statement that ran did to the session's state.
func (s *Session) note(st sqltext.Statement) {
	switch {
	case st.Kind == sqltext.KindSet:
		for name, v := range sqltext.Assignments(st.Text) {
			s.own[name] = v
			delete(s.applied, name)
			if name == "readonly" {
				s.spoilt = true
			}
		}
	case st.Kind == sqltext.KindUse:
		r, err := s.conn.Query("SELECT currentDatabase()", "TSVRaw")
		if err == nil {
			s.database = strings.TrimSuffix(string(r.Bytes()), "\n")
			r.Free()
		}
		s.spoilt = true
	case st.Temporary:
		s.spoilt = true
	}
}

// errTagSetting refuses to have what a session is known by changed.
func errTagSetting() error {
	return NewError(CodeConstraint, "SETTING_CONSTRAINT_VIOLATION", "Setting %s should not be changed: queries are found again by it", tagSetting)
}

// namesTag says whether a statement names tagSetting, wherever that is.
func namesTag(st sqltext.Statement) bool {
	text := st.Text
	if st.Kind == sqltext.KindInsert {
		text = st.Insert.Header
	}
	if !strings.Contains(text, tagSetting) && !strings.Contains(text, "\\") {
		return false
	}
	return slices.ContainsFunc(sqltext.Words(text), func(w sqltext.Word) bool { return w.Text == tagSetting })
}

// cancelEvery is how often a kill is repeated: a query that has only just been
// handed over is not in the process list yet.
const cancelEvery = 50 * time.Millisecond

// watch kills what the session runs once ctx ends, until the returned stop is
// called; stop waits for it.
func (s *Session) watch(ctx context.Context) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(ended)
		tick := time.NewTicker(cancelEvery)
		defer tick.Stop()
		for {
			s.eng.kill(s.tag)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		close(done)
		if !unwatch() {
			<-ended
		}
	}
}
