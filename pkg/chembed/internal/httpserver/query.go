package httpserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// query is one request that carries a query.
type query struct {
	srv    *Server
	w      http.ResponseWriter
	r      *http.Request
	params url.Values

	account *access.Account
	run     *engine.Run
	out     *output
	started time.Time
}

// reserved parameters are the interface's own; every other one is a setting.
var reserved = map[string]bool{
	"query": true, "database": true, "user": true, "password": true, "quota_key": true, "query_id": true,
	"session_id": true, "session_timeout": true, "session_check": true, "compress": true, "decompress": true,
	"default_format": true, "client_protocol_version": true, "stacktrace": true, "buffer_size": true,
	"wait_end_of_query": true, "role": true, "close_session": true, "param": true,
}

func (q *query) answer() (err error) {
	q.started = time.Now()
	q.r = q.patiently(q.r)
	h := q.w.Header()
	id := q.params.Get("query_id")
	if id == "" {
		id = engine.NewQueryID()
	}
	h.Set("X-ClickHouse-Query-Id", id)
	h.Set(exceptionTagHeader, engine.NewQueryID()[:8]+engine.NewQueryID()[:8])
	h.Set("X-ClickHouse-Server-Display-Name", "hashpivot")
	h.Set("X-ClickHouse-Timezone", q.srv.cfg.Engine.Timezone)
	if tz := q.params.Get("session_timezone"); tz != "" {
		h.Set("X-ClickHouse-Timezone", tz)
	}
	if q.account, err = q.srv.authenticate(q.r, q.params); err != nil {
		return err
	}
	var tables []external
	if strings.HasPrefix(q.r.Header.Get("Content-Type"), "multipart/form-data") {
		if tables, err = q.readForm(); err != nil {
			return err
		}
		defer closeTables(tables)
	}
	body, err := q.body()
	if err != nil {
		return err
	}
	defer body.Close()
	sql, data, err := q.text(body)
	if err != nil {
		return err
	}
	st := sqltext.Parse(sql)
	if st.Kind != sqltext.KindInsert {
		if err := engine.CheckSingle(st); err != nil {
			return err
		}
	}
	settings, params, err := q.settings()
	if err != nil {
		return err
	}
	if role := q.params.Get("role"); role != "" {
		return engine.NewError(511, "UNKNOWN_ROLE", "There is no role `%s`: an embedded ClickHouse has no roles", role)
	}
	ctx := q.r.Context()
	sess, release, err := q.srv.session(q.account, q.params)
	if err != nil {
		return err
	}
	defer release()
	database := q.r.Header.Get("X-ClickHouse-Database")
	if v := q.params.Get("database"); v != "" {
		database = v
	}
	if database == "" && q.params.Get("session_id") == "" {
		if err := sess.UseAs(q.account, ""); err != nil {
			return err
		}
	}
	for _, t := range tables {
		if err := t.load(sess); err != nil {
			sess.DropExternal()
			return err
		}
	}
	q.run, err = sess.Begin(ctx, engine.Query{
		ID: id, Account: q.account, Remote: q.r.RemoteAddr, Agent: q.r.UserAgent(), HTTP: true, Statement: st, SQL: sql, Settings: settings, Database: database,
	})
	if err != nil {
		return err
	}
	defer func() { q.run.End(err) }()
	// A GET changes nothing: links are followed by machines.
	if (q.r.Method == http.MethodGet || q.r.Method == http.MethodHead) && sess.Changes(st) {
		return engine.NewError(engine.CodeReadOnly, "READONLY", "Cannot execute query in readonly mode: send what changes something by POST")
	}
	if st.Kind == sqltext.KindInsert {
		return q.insert(sess, st, io.MultiReader(strings.NewReader(st.InlineData(sql)), data), params)
	}
	return q.selectRows(ctx, sess, q.run.Statement, params)
}

// body is the request's, decompressed.
func (q *query) body() (io.ReadCloser, error) {
	body, err := decoded(q.r.Body, q.r.Header.Get("Content-Encoding"))
	if err != nil {
		return nil, err
	}
	if truth(q.params.Get("decompress")) {
		return &frameStream{frames: native.NewFrameReader(bufio.NewReaderSize(body, 64<<10)), under: body}, nil
	}
	return body, nil
}

// patientBody gives the client a limited time for each piece of its body: one that stops sending would hold its place for ever.
type patientBody struct {
	io.ReadCloser
	ctl      *http.ResponseController
	patience time.Duration
}

// patiently is the request with such a body. The request of net/http keeps its own: by what is left of it it knows whether the connection can go on.
func (q *query) patiently(r *http.Request) *http.Request {
	if r.Body == http.NoBody {
		return r
	}
	patience := bodyTimeout
	if s, err := strconv.ParseFloat(q.params.Get("http_receive_timeout"), 64); err == nil && s > 0 && s < bodyTimeout.Seconds() {
		patience = time.Duration(s * float64(time.Second))
	}
	out := *r
	out.Body = &patientBody{r.Body, http.NewResponseController(q.w), patience}
	return &out
}

func (b *patientBody) Read(p []byte) (int, error) {
	_ = b.ctl.SetReadDeadline(time.Now().Add(b.patience))
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		// From here on net/http reads on, to learn when the client goes away. Behind any other end it reads what is left of the body, which shall not take long.
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}

// frameStream is the content of native compressed frames.
type frameStream struct {
	frames *native.FrameReader
	rest   []byte
	under  io.Closer
}

func (f *frameStream) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		b, err := f.frames.Next()
		if err != nil {
			return 0, err
		}
		f.rest = b
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *frameStream) Close() error { f.frames.Close(); return f.under.Close() }

// text finds the query, in the URL, in the body or begun in the one and continued
// in the other, and what of the body is data.
func (q *query) text(body io.Reader) (sql string, data io.Reader, err error) {
	sql = q.params.Get("query")
	if sql != "" {
		st := sqltext.Parse(sql)
		if st.Kind == sqltext.KindInsert {
			return sql, body, nil
		}
	}
	// The first part of the body shows whether it is an INSERT with data behind.
	head, err := io.ReadAll(io.LimitReader(body, maxInsertHeader))
	if err != nil {
		return "", nil, bodyError(err)
	}
	full := string(head)
	if sql != "" && full != "" {
		full = sql + "\n" + full
	} else if sql != "" {
		full = sql
	}
	if st := sqltext.Parse(full); st.Kind == sqltext.KindInsert && st.Insert.Named {
		return full[:st.Insert.Data], io.MultiReader(strings.NewReader(full[st.Insert.Data:]), body), nil
	}
	whole := bytes.NewBufferString(full)
	n, err := io.Copy(whole, io.LimitReader(body, maxQueryText+1))
	if err != nil {
		return "", nil, bodyError(err)
	}
	if n > maxQueryText {
		return "", nil, engine.NewError(engine.CodeSyntax, "SYNTAX_ERROR", "Query is longer than %d bytes", maxQueryText)
	}
	if n > 0 {
		full = whole.String()
	}
	return full, http.NoBody, nil
}

func bodyError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return engine.NewError(engine.CodeSocketTimeout, "SOCKET_TIMEOUT", "The request's body stopped coming: the next piece of it was waited for in vain")
	}
	if errors.Is(err, native.ErrMalformed) {
		return engine.NewError(engine.CodeIncorrectData, "INCORRECT_DATA", "%v", err)
	}
	return engine.NewError(engine.CodeNetwork, "NETWORK_ERROR", "Cannot read the request's body: %v", err)
}

// settings splits the URL's parameters into the engine's settings and the query's
// parameters.
func (q *query) settings() ([]engine.Setting, []engine.Param, error) {
	var settings []engine.Setting
	var params []engine.Param
	for name, values := range q.params {
		value := values[len(values)-1]
		switch {
		case reserved[name]:
		case strings.HasPrefix(name, "param_"):
			params = append(params, engine.Param{Name: name[len("param_"):], Value: value})
		default:
			settings = append(settings, engine.Setting{Name: name, Value: value, Important: true})
		}
	}
	return settings, params, nil
}

// format is the output's: the query's own, the client's wish, or the default.
func (q *query) format(st sqltext.Statement) string {
	for _, f := range []string{st.Format, q.params.Get("default_format"), q.r.Header.Get("X-ClickHouse-Format")} {
		if f != "" {
			return f
		}
	}
	return "TabSeparated"
}

func (q *query) selectRows(ctx context.Context, sess *engine.Session, st sqltext.Statement, params []engine.Param) error {
	format := q.format(st)
	if !validFormat(format) {
		return engine.NewError(engine.CodeUnknownFormat, "UNKNOWN_FORMAT", "Unknown format %s", format)
	}
	h := q.w.Header()
	h.Set("X-ClickHouse-Format", format)
	h.Set("Content-Type", contentType(format))
	out, err := q.newOutput()
	if err != nil {
		return err
	}
	q.out = out
	if truth(q.params.Get("send_progress_in_http_headers")) {
		stop := out.tellProgress(sess, q.r, q.params.Get("http_headers_progress_interval_ms"), q.started)
		defer stop()
	}
	var stats engine.Stats
	switch {
	case format == "Native":
		stats, err = q.nativeRows(ctx, sess, st, params)
	case rowByRow(sess, st, format):
		stats, err = sess.Pieces(ctx, st, format, params, func(piece []byte, _ engine.Stats) error { _, err := out.Write(piece); return err })
	default:
		stats, err = q.document(ctx, sess, st, format, params)
	}
	if err != nil {
		return err
	}
	out.summary(summary(stats, stats.ReadRows, time.Since(q.started)))
	return out.Close()
}

// rowFormats have nothing before, between and behind their rows: the documents of blocks, put together, are the document of them all.
var rowFormats = map[string]bool{
	"TabSeparated": true, "TSV": true, "TabSeparatedRaw": true, "TSVRaw": true, "CSV": true, "JSONEachRow": true, "JSONLines": true, "NDJSON": true, "RowBinary": true,
}

// rowByRow says whether a result can go out block by block, which spares it the way through a pipe. Settings of the output, and totals, put more around the rows.
func rowByRow(sess *engine.Session, st sqltext.Statement, format string) bool {
	if !rowFormats[format] || strings.Contains(st.Text, "output_format_") || strings.Contains(st.Text, "extremes") || sqltext.HasTotals(st.Text) {
		return false
	}
	return !sess.Sets(func(name string) bool { return name == "extremes" || strings.HasPrefix(name, "output_format_") })
}

// nativeRows streams blocks, dressed for the client's protocol version.
func (q *query) nativeRows(ctx context.Context, sess *engine.Session, st sqltext.Statement, params []engine.Param) (engine.Stats, error) {
	rev, _ := strconv.ParseUint(q.params.Get("client_protocol_version"), 10, 32)
	var w native.Walker
	dress := native.OutOptions(rev)
	dress.OutInfo = rev > 0
	blocks := 0
	stats, err := sess.Blocks(ctx, st, params, func(block []byte, _ engine.Stats) error {
		blocks++
		if rev == 0 {
			_, err := q.out.Write(block)
			return err
		}
		if blocks == 1 { // see the native server: an error must come before the output
			src := native.Bytes(block)
			if _, err := w.Walk(&src, func([]byte) error { return nil }, native.Options{}); err != nil {
				return engine.NewError(engine.CodeNotImplemented, "NOT_IMPLEMENTED", "%v", err)
			}
		}
		src := native.Bytes(block)
		_, err := w.Walk(&src, func(b []byte) error { _, err := q.out.Write(b); return err }, dress)
		return err
	})
	return stats, err
}

// document pipes what the engine renders to the client.
func (q *query) document(ctx context.Context, sess *engine.Session, st sqltext.Statement, format string, params []engine.Param) (engine.Stats, error) {
	pr, pw, err := engine.Pipe()
	if err != nil {
		return engine.Stats{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	copied := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(q.out, struct{ io.Reader }{pr}, make([]byte, documentPiece))
		if err != nil {
			cancel()
			// The engine must not be left in front of a full pipe.
			_, _ = io.Copy(io.Discard, pr)
		}
		copied <- err
	}()
	stats, err := sess.Document(ctx, st, format, params, pw)
	_ = pw.Close()
	copyErr := <-copied
	_ = pr.Close()
	if copyErr != nil {
		return stats, copyErr
	}
	return stats, err
}

// documentPiece is how much of a document is passed on at once.
const documentPiece = 256 << 10

func validFormat(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// insert streams the data into the engine. It is committed when the whole body has
// come: a client that goes away inserts nothing.
func (q *query) insert(sess *engine.Session, st sqltext.Statement, data io.Reader, params []engine.Param) error {
	feed, err := sess.Insert(st.Insert, st.Insert.Format, params)
	if err != nil {
		return err
	}
	// client_protocol_version is about output: clients send blocks at revision 0,
	// which is the engine's.
	if err := feedBytes(feed, data); err != nil {
		feed.Abort()
		return err
	}
	stats, err := feed.Commit()
	if err != nil {
		return err
	}
	q.w.Header().Set("X-ClickHouse-Summary", summary(stats, stats.ReadRows, time.Since(q.started)))
	q.w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	q.w.WriteHeader(http.StatusOK)
	return nil
}

// feedBytes returns an error when the data ends early; when the engine fails, it
// stops, and Commit says why.
func feedBytes(feed *engine.Feed, data io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, eof, err := readUpTo(data, buf)
		if err != nil {
			return bodyError(err)
		}
		if n > 0 && !feed.Append(buf[:n]) || eof {
			return nil
		}
	}
}

// readUpTo fills buf, or reads up to the end. Unlike io.ReadFull it tells an end
// from a body that was cut short, for which net/http says io.ErrUnexpectedEOF.
func readUpTo(r io.Reader, buf []byte) (n int, eof bool, err error) {
	for n < len(buf) {
		k, err := r.Read(buf[n:])
		n += k
		if err == io.EOF {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

func summary(s engine.Stats, total uint64, elapsed time.Duration) string {
	b, _ := json.Marshal(map[string]string{
		"read_rows": strconv.FormatUint(s.ReadRows, 10), "read_bytes": strconv.FormatUint(s.ReadBytes, 10),
		"written_rows": strconv.FormatUint(s.WrittenRows, 10), "written_bytes": strconv.FormatUint(s.WrittenBytes, 10),
		"total_rows_to_read": strconv.FormatUint(total, 10), "result_rows": strconv.FormatUint(s.ResultRows, 10), "result_bytes": "0",
		"elapsed_ns": strconv.FormatInt(elapsed.Nanoseconds(), 10),
	})
	return string(b)
}
