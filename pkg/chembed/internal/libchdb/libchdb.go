// Package libchdb binds the C interface of libchdb, the ClickHouse engine as a
// shared library, without cgo.
//
// It is a thin layer: handles, byte slices and errors instead of pointers, and
// the rules of the C interface written where they bind. One process holds one
// engine on one data directory; connections to it are cheap, independent
// sessions, each running one statement at a time.
package libchdb

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// ErrConnect is returned when the engine refuses to open its data directory or
// a connection; it prints its reason on stderr.
var ErrConnect = errors.New("engine refused the connection")

// Library is the loaded shared library with the address of each function used.
type Library struct {
	connectMu sync.Mutex // chdb_connect races with itself in some builds

	fn functions
}

// functions holds the C entry points; the tag is the symbol's name. Every one of
// them is looked up at load, so a library of another version is refused at start
// and not in the middle of somebody's query.
type functions struct {
	version            uintptr
	connect            uintptr
	closeConn          uintptr
	queryParams        uintptr
	streamParams       uintptr
	streamFetch        uintptr
	streamCancel       uintptr
	destroyResult      uintptr
	resultBuffer       uintptr
	resultLength       uintptr
	resultRowsRead     uintptr
	resultStorageRows  uintptr
	resultStorageBytes uintptr
	resultRowsWritten  uintptr
	resultBytesWritten uintptr
	resultError        uintptr
	insertParams       uintptr
	insertAppend       uintptr
	insertDone         uintptr
	insertCancel       uintptr
	insertError        uintptr
	insertDestroy      uintptr
	classify           uintptr
	signalHandlers     uintptr
}

func (f *functions) symbols() map[string]*uintptr {
	return map[string]*uintptr{
		"chdb_version":                     &f.version,
		"chdb_connect":                     &f.connect,
		"chdb_close_conn":                  &f.closeConn,
		"chdb_query_with_params_n":         &f.queryParams,
		"chdb_stream_query_with_params_n":  &f.streamParams,
		"chdb_stream_fetch_result":         &f.streamFetch,
		"chdb_stream_cancel_query":         &f.streamCancel,
		"chdb_destroy_query_result":        &f.destroyResult,
		"chdb_result_buffer":               &f.resultBuffer,
		"chdb_result_length":               &f.resultLength,
		"chdb_result_rows_read":            &f.resultRowsRead,
		"chdb_result_storage_rows_read":    &f.resultStorageRows,
		"chdb_result_storage_bytes_read":   &f.resultStorageBytes,
		"chdb_result_rows_written":         &f.resultRowsWritten,
		"chdb_result_bytes_written":        &f.resultBytesWritten,
		"chdb_result_error":                &f.resultError,
		"chdb_stream_insert_with_params_n": &f.insertParams,
		"chdb_stream_append":               &f.insertAppend,
		"chdb_stream_done":                 &f.insertDone,
		"chdb_stream_cancel_insert":        &f.insertCancel,
		"chdb_stream_insert_error":         &f.insertError,
		"chdb_destroy_insert_stream":       &f.insertDestroy,
		"chdb_classify_query_n":            &f.classify,
		"chdb_set_signal_handlers_enabled": &f.signalHandlers,
	}
}

// Load opens the shared library at path, checks that it has every function used,
// and keeps it from touching the process's signal handlers.
func Load(path string) (*Library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load engine library %s: %w", path, err)
	}
	l := &Library{}
	for name, addr := range l.fn.symbols() {
		if *addr, err = purego.Dlsym(handle, name); err != nil || *addr == 0 {
			return nil, fmt.Errorf("load engine library %s: no symbol %s: it is not a libchdb of the pinned version", path, name)
		}
	}
	// Turning the engine's handlers off clears Go's own as well in some builds;
	// keepSignals puts back whatever was there.
	keepSignals(func() { purego.SyscallN(l.fn.signalHandlers, 0) })
	return l, nil
}

// Version is the library's own version, such as "26.7.3".
func (l *Library) Version() string {
	p, _, _ := purego.SyscallN(l.fn.version)
	return goString(p)
}

// Conn is one session on the engine. It runs one statement at a time; callers
// serialise, but for Close, which must come after everything else.
type Conn struct {
	lib *Library
	ref uintptr // chdb_connection *
}

// Connect opens a session. The arguments name the data directory (--path=) and,
// for the process's first connection, server settings; --setting=value sets a
// query setting for this session.
func (l *Library) Connect(args ...string) (*Conn, error) {
	argv := make([][]byte, 0, len(args)+1)
	argv = append(argv, []byte("hashpivot\x00"))
	for _, a := range args {
		argv = append(argv, append([]byte(a), 0))
	}
	ptrs := make([]*byte, len(argv)+1)
	for i := range argv {
		ptrs[i] = &argv[i][0]
	}
	l.connectMu.Lock()
	defer l.connectMu.Unlock()
	var ref uintptr
	keepSignals(func() {
		ref, _, _ = purego.SyscallN(l.fn.connect, uintptr(len(argv)), uintptr(unsafe.Pointer(&ptrs[0])))
	})
	if ref == 0 {
		return nil, ErrConnect
	}
	return &Conn{lib: l, ref: ref}, nil
}

// Close ends the session. Closing the last one shuts the engine down.
func (c *Conn) Close() {
	if c.ref == 0 {
		return
	}
	c.lib.connectMu.Lock()
	defer c.lib.connectMu.Unlock()
	purego.SyscallN(c.lib.fn.closeConn, c.ref)
	c.ref = 0
}

// handle is the chdb_connection inside the pointer that chdb_connect returned.
func (c *Conn) handle() uintptr { return *(*uintptr)(pointer(c.ref)) }

// Param is a server-side query parameter: the value of {name:Type}.
type Param struct{ Name, Value string }

// paramArrays are the four parallel arrays that the C interface takes.
type paramArrays struct {
	names, values   []*byte
	nameLen, valLen []uintptr
}

func newParamArrays(params []Param) *paramArrays {
	a := &paramArrays{}
	for _, p := range params {
		a.names = append(a.names, bytePtr(p.Name))
		a.values = append(a.values, bytePtr(p.Value))
		a.nameLen = append(a.nameLen, uintptr(len(p.Name)))
		a.valLen = append(a.valLen, uintptr(len(p.Value)))
	}
	return a
}

// call runs a function of the *_with_params_n family.
func (c *Conn) call(fn uintptr, sql, format string, params []Param) uintptr {
	if len(params) == 0 {
		r, _, _ := purego.SyscallN(fn, c.handle(),
			uintptr(unsafe.Pointer(bytePtr(sql))), uintptr(len(sql)),
			uintptr(unsafe.Pointer(bytePtr(format))), uintptr(len(format)),
			0, 0, 0, 0, 0)
		return r
	}
	a := newParamArrays(params)
	r, _, _ := purego.SyscallN(fn, c.handle(),
		uintptr(unsafe.Pointer(bytePtr(sql))), uintptr(len(sql)),
		uintptr(unsafe.Pointer(bytePtr(format))), uintptr(len(format)),
		uintptr(unsafe.Pointer(&a.names[0])), uintptr(unsafe.Pointer(&a.nameLen[0])),
		uintptr(unsafe.Pointer(&a.values[0])), uintptr(unsafe.Pointer(&a.valLen[0])),
		uintptr(len(params)))
	return r
}

// Query runs a statement to its end and holds its whole output. Only for
// statements with small output; SELECTs go through Stream.
func (c *Conn) Query(sql, format string, params ...Param) (*Result, error) {
	return c.lib.result(c.call(c.lib.fn.queryParams, sql, format, params))
}

// Exec runs a statement for its effect.
func (c *Conn) Exec(sql string) error {
	r, err := c.Query(sql, "Null")
	r.Free()
	return err
}

// Result is output held in the engine's memory until Free.
type Result struct {
	lib *Library
	ref uintptr
}

// result takes ownership of a chdb_result; on error it is freed already.
func (l *Library) result(ref uintptr) (*Result, error) {
	if ref == 0 {
		return nil, parseError("engine returned no result")
	}
	r := &Result{lib: l, ref: ref}
	if err := r.err(); err != nil {
		r.Free()
		return nil, err
	}
	return r, nil
}

func (r *Result) err() error {
	p, _, _ := purego.SyscallN(r.lib.fn.resultError, r.ref)
	if p == 0 {
		return nil
	}
	return parseError(goString(p))
}

// Bytes is the output; it is the engine's memory and dies with Free.
func (r *Result) Bytes() []byte {
	if r == nil || r.ref == 0 {
		return nil
	}
	n, _, _ := purego.SyscallN(r.lib.fn.resultLength, r.ref)
	p, _, _ := purego.SyscallN(r.lib.fn.resultBuffer, r.ref)
	if p == 0 || n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(pointer(p)), int(n))
}

// Stats are a statement's counters.
type Stats struct {
	ReadRows, ReadBytes       uint64 // from storage
	WrittenRows, WrittenBytes uint64 // into tables, materialized views included
	ResultRows                uint64
}

// Add sums the counters of a stream's chunks.
func (s *Stats) Add(o Stats) {
	s.ReadRows += o.ReadRows
	s.ReadBytes += o.ReadBytes
	s.WrittenRows += o.WrittenRows
	s.WrittenBytes += o.WrittenBytes
	s.ResultRows += o.ResultRows
}

// Stats reads the counters of the statement, or of one chunk of a stream.
func (r *Result) Stats() Stats {
	if r == nil || r.ref == 0 {
		return Stats{}
	}
	get := func(fn uintptr) uint64 {
		v, _, _ := purego.SyscallN(fn, r.ref)
		return uint64(v)
	}
	f := &r.lib.fn
	return Stats{
		ReadRows: get(f.resultStorageRows), ReadBytes: get(f.resultStorageBytes),
		WrittenRows: get(f.resultRowsWritten), WrittenBytes: get(f.resultBytesWritten),
		ResultRows: get(f.resultRowsRead),
	}
}

// Free releases the output. It may be called on nil and twice.
func (r *Result) Free() {
	if r == nil || r.ref == 0 {
		return
	}
	purego.SyscallN(r.lib.fn.destroyResult, r.ref)
	r.ref = 0
}

// Stream is a running SELECT whose output is fetched piece by piece.
type Stream struct {
	conn *Conn
	ref  uintptr
}

// Stream starts a SELECT. The caller must Close it.
func (c *Conn) Stream(sql, format string, params ...Param) (*Stream, error) {
	r, err := c.lib.result(c.call(c.lib.fn.streamParams, sql, format, params))
	if err != nil {
		return nil, err
	}
	return &Stream{conn: c, ref: r.ref}, nil
}

// Next returns the next piece of output, or nil at the end. The caller frees it.
func (s *Stream) Next() (*Result, error) {
	ref, _, _ := purego.SyscallN(s.conn.lib.fn.streamFetch, s.conn.handle(), s.ref)
	r, err := s.conn.lib.result(ref)
	if err != nil {
		return nil, err
	}
	if len(r.Bytes()) == 0 {
		r.Free()
		return nil, nil
	}
	return r, nil
}

// Close ends the stream, cancelling the query if it is still running.
func (s *Stream) Close() {
	if s.ref == 0 {
		return
	}
	purego.SyscallN(s.conn.lib.fn.streamCancel, s.conn.handle(), s.ref)
	purego.SyscallN(s.conn.lib.fn.destroyResult, s.ref)
	s.ref = 0
}

// Insert is an INSERT that is being fed with data.
type Insert struct {
	lib *Library
	ref uintptr
}

// Insert starts an INSERT given without VALUES or FORMAT, to be fed in format.
// Nothing is committed before Done. The caller must Close it.
func (c *Conn) Insert(sql, format string, params ...Param) (*Insert, error) {
	ref := c.call(c.lib.fn.insertParams, sql, format, params)
	if ref == 0 {
		return nil, parseError("engine returned no insert stream")
	}
	in := &Insert{lib: c.lib, ref: ref}
	if err := in.err(); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

func (in *Insert) err() error {
	p, _, _ := purego.SyscallN(in.lib.fn.insertError, in.ref)
	if p == 0 {
		return nil
	}
	return parseError(goString(p))
}

// Append hands over the next bytes; they are copied. It blocks while the engine
// is behind, and returns false once the insert has gone wrong: Done tells why.
func (in *Insert) Append(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	r, _, _ := purego.SyscallN(in.lib.fn.insertAppend, in.ref, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int32(r) == 0
}

// Done ends the input and commits.
func (in *Insert) Done() (Stats, error) {
	ref, _, _ := purego.SyscallN(in.lib.fn.insertDone, in.ref)
	r, err := in.lib.result(ref)
	if err != nil {
		return Stats{}, err
	}
	defer r.Free()
	return r.Stats(), nil
}

// Cancel drops what has not been committed.
func (in *Insert) Cancel() { purego.SyscallN(in.lib.fn.insertCancel, in.ref) }

// Close releases the stream, cancelling it unless Done was called.
func (in *Insert) Close() {
	if in.ref == 0 {
		return
	}
	purego.SyscallN(in.lib.fn.insertDestroy, in.ref)
	in.ref = 0
}

// Class says what a statement does to state that outlives it.
type Class uint32

// The classes, in ascending order of how restricted a statement is.
const (
	ClassReadOnly Class = iota // SELECT, SHOW, DESCRIBE, EXPLAIN, EXISTS
	ClassMutating              // INSERT, CREATE, ALTER, DROP ... inside databases
	ClassGlobal                // functions, named collections, access
	ClassControl               // USE, SET, SYSTEM, KILL, INTO OUTFILE: session or process state
	ClassUnknown               // did not parse
)

// Analysis is what the engine's own parser says of a text.
type Analysis struct {
	Statements int
	Class      Class
}

// Classify parses sql with the engine's parser without running it.
func (c *Conn) Classify(sql string) Analysis {
	out := struct{ size, statements, flags, class uint32 }{size: 16, class: uint32(ClassUnknown)}
	r, _, _ := purego.SyscallN(c.lib.fn.classify, c.handle(),
		uintptr(unsafe.Pointer(bytePtr(sql))), uintptr(len(sql)), 0, 0,
		uintptr(unsafe.Pointer(&out)))
	if int32(r) != 0 {
		return Analysis{Class: ClassUnknown}
	}
	return Analysis{Statements: int(out.statements), Class: Class(out.class)}
}

// bytePtr points at a string's bytes, or at a byte of no meaning when empty: the
// engine takes the length beside it.
func bytePtr(s string) *byte {
	if s == "" {
		return new(byte)
	}
	return unsafe.StringData(s)
}

// pointer turns an address in the engine's memory, which the collector neither
// moves nor owns, into a pointer.
func pointer(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

func goString(addr uintptr) string {
	if addr == 0 {
		return ""
	}
	p := (*byte)(pointer(addr))
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}
