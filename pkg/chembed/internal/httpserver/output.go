package httpserver

import (
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
)

// holdBack is how much output waits for the query's end before the headers go
// out: a short result so has its summary in the headers, and an error its status.
const holdBack = 64 << 10

// writeTimeout is how long one piece of output may take to leave.
const writeTimeout = 5 * time.Minute

// output is the response's body.
type output struct {
	w        http.ResponseWriter
	ctl      *http.ResponseController
	ctx      context.Context
	run      *engine.Run
	encoder  io.WriteCloser // over the response, or nil
	held     []byte
	sent     bool
	encoding string
	limit    int

	headMu sync.Mutex // over sent, for who tells progress while the query runs
}

// maxHeld bounds what wait_end_of_query keeps in memory; a longer result is
// streamed after that.
const maxHeld = 64 << 20

func (q *query) newOutput() (*output, error) {
	o := &output{w: q.w, ctl: http.NewResponseController(q.w), ctx: q.r.Context(), run: q.run, limit: holdBack}
	if truth(q.params.Get("wait_end_of_query")) {
		o.limit = maxHeld
	}
	switch {
	case truth(q.params.Get("compress")):
		o.encoder = framesCloser{native.NewFrameWriter(rawWriter{o}, native.MethodLZ4)}
	case truth(q.params.Get("enable_http_compression")):
		o.encoding = chooseEncoding(q.r.Header.Get("Accept-Encoding"))
		enc, err := encoder(rawWriter{o}, o.encoding)
		if err != nil {
			return nil, err
		}
		o.encoder = enc
	}
	return o, nil
}

type framesCloser struct{ *native.FrameWriter }

func (f framesCloser) Close() error {
	err := f.Flush()
	f.FrameWriter.Close()
	return err
}

// rawWriter writes to the response behind the encoder.
type rawWriter struct{ o *output }

func (r rawWriter) Write(p []byte) (int, error) {
	_ = r.o.ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
	n := 0
	err := r.o.run.Unhurried(r.o.ctx, func() (err error) {
		n, err = r.o.w.Write(p)
		return err
	})
	return n, err
}

func (o *output) Write(p []byte) (int, error) {
	if !o.sent {
		if len(o.held)+len(p) <= o.limit {
			o.held = append(o.held, p...)
			return len(p), nil
		}
		if err := o.start(); err != nil {
			return 0, err
		}
	}
	return o.write(p)
}

func (o *output) write(p []byte) (int, error) {
	if o.encoder != nil {
		return o.encoder.Write(p)
	}
	return rawWriter{o}.Write(p)
}

// start sends the headers and what was held back.
func (o *output) start() error {
	o.headMu.Lock()
	o.sent = true
	o.headMu.Unlock()
	if o.encoding != "" {
		o.w.Header().Set("Content-Encoding", o.encoding)
	}
	o.w.WriteHeader(http.StatusOK)
	held := o.held
	o.held = nil
	if len(held) == 0 {
		return nil
	}
	_, err := o.write(held)
	return err
}

// slowProgress is after how many headers of progress they become rarer: clients take some hundred headers, and queries run for hours.
const slowProgress = 50

// tellProgress sends a header at intervals while the query runs, until the first byte of the result.
func (o *output) tellProgress(sess *engine.Session, r *http.Request, interval string, started time.Time) (stop func()) {
	every := 100 * time.Millisecond
	if ms, err := strconv.Atoi(interval); err == nil && ms > 0 {
		every = max(time.Duration(ms)*time.Millisecond, 10*time.Millisecond)
	}
	status := "HTTP/1.0 200 OK"
	if r.ProtoAtLeast(1, 1) {
		status = "HTTP/1.1 200 OK"
	}
	c, ok := r.Context().Value(connKey{}).(*earlyConn)
	if !ok || r.Method == http.MethodHead {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		timer := time.NewTimer(every)
		defer timer.Stop()
		for n := 1; ; n++ {
			select {
			case <-done:
				return
			case <-timer.C:
			}
			stats, total := sess.Progress()
			if !o.tell(c, status, summary(stats, total, time.Since(started))) {
				return
			}
			if n >= slowProgress && n%10 == 0 {
				every *= 2
			}
			timer.Reset(every)
		}
	}()
	return func() { close(done); <-ended }
}

// tell sends one header of progress; false means that it is too late for another.
func (o *output) tell(c *earlyConn, status, progress string) bool {
	o.headMu.Lock()
	defer o.headMu.Unlock()
	if o.sent {
		return false
	}
	_ = o.ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.early(status, []byte("X-ClickHouse-Progress: "+progress+"\r\n")) == nil
}

// summary sets the header, if headers have not gone yet.
func (o *output) summary(v string) {
	if !o.sent {
		o.w.Header().Set("X-ClickHouse-Summary", v)
	}
}

// Close sends what is left.
func (o *output) Close() error {
	if !o.sent {
		if err := o.start(); err != nil {
			return err
		}
	}
	if o.encoder != nil {
		return o.encoder.Close()
	}
	return nil
}

// fail tells the client of an error: with its status if nothing has gone out, else
// in the stream, which is then broken off so that nobody takes it for whole.
func (q *query) fail(err error) {
	e := engine.AsException(err)
	text := fmt.Sprintf("%s (version %s (official build))\n", e.Error(), q.srv.cfg.Engine.Version)
	if q.out != nil && q.out.sent {
		// The framing that clients look for, with the tag that the headers named, so
		// that data cannot pass for it.
		tag := q.w.Header().Get(exceptionTagHeader)
		_, _ = q.out.write([]byte(fmt.Sprintf("\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n", tag, text, len(text), tag)))
		if q.out.encoder != nil {
			_ = q.out.encoder.Close()
		}
		_ = q.out.ctl.Flush()
		panic(http.ErrAbortHandler)
	}
	h := q.w.Header()
	h.Del("Content-Encoding")
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("X-ClickHouse-Exception-Code", fmt.Sprint(e.Code))
	if e.Code == engine.CodeAuth {
		h.Set("WWW-Authenticate", `Basic realm="ClickHouse server HTTP API"`)
	}
	q.w.WriteHeader(statusOf(e.Code))
	_, _ = io.WriteString(q.w, text)
}

const exceptionTagHeader = "X-ClickHouse-Exception-Tag"

// statusOf maps error codes to HTTP as the server does.
func statusOf(code int) int {
	switch code {
	case engine.CodeAuth, 192, 193, 194: // authentication, unknown user, wrong or required password
		return http.StatusForbidden
	case 26, 27, 36, 38, 41, 42, 43, 44, 53, 62, 69, 70, 72, 117, 130, 131, 168, 190, 321, 376, 377:
		return http.StatusBadRequest
	case 16, 28, 46, 47, 50, 56, 60, 63, 71, 73, 81, 115, 118, 372:
		return http.StatusNotFound
	case engine.CodeTimeout:
		return http.StatusRequestTimeout
	case 223: // too big AST and the like
		return http.StatusRequestEntityTooLarge
	case engine.CodeNotImplemented:
		return http.StatusNotImplemented
	case engine.CodeTooMany, engine.CodeNetwork, 209, 439:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func chooseEncoding(accept string) string {
	offered := map[string]bool{}
	for _, part := range strings.Split(accept, ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.ReplaceAll(params, " ", "") != "q=0" {
			offered[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	for _, name := range []string{"zstd", "lz4", "gzip", "deflate", "br"} {
		if offered[name] {
			return name
		}
	}
	return ""
}

func encoder(w io.Writer, encoding string) (io.WriteCloser, error) {
	switch encoding {
	case "gzip":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "deflate":
		return zlib.NewWriterLevel(w, flate.BestSpeed)
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	case "lz4":
		return lz4.NewWriter(w), nil
	case "br":
		return brotli.NewWriterLevel(w, brotli.BestSpeed), nil
	}
	return nil, nil
}

// decoded is body behind its Content-Encoding.
func decoded(body io.ReadCloser, encoding string) (io.ReadCloser, error) {
	bad := func(err error) error {
		return engine.NewError(engine.CodeIncorrectData, "INCORRECT_DATA", "Cannot decompress the request's body: %v", err)
	}
	switch strings.ToLower(encoding) {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		r, err := gzip.NewReader(body)
		if err != nil {
			return nil, bad(err)
		}
		return both{r, body}, nil
	case "deflate":
		r, err := zlib.NewReader(body)
		if err != nil {
			return nil, bad(err)
		}
		return both{r, body}, nil
	case "zstd":
		r, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
		if err != nil {
			return nil, bad(err)
		}
		return both{r.IOReadCloser(), body}, nil
	case "lz4":
		return both{io.NopCloser(lz4.NewReader(body)), body}, nil
	case "br":
		return both{io.NopCloser(brotli.NewReader(body)), body}, nil
	}
	return nil, engine.NewError(engine.CodeNotImplemented, "NOT_IMPLEMENTED",
		"Unknown Content-Encoding %q: gzip, deflate, zstd, lz4 and br are understood", encoding)
}

// both closes the decoder and what is under it.
type both struct {
	io.ReadCloser
	under io.Closer
}

func (b both) Close() error { return errors.Join(b.ReadCloser.Close(), b.under.Close()) }

func contentType(format string) string {
	switch {
	case strings.HasPrefix(format, "JSON") && strings.Contains(format, "EachRow"), format == "JSONLines", format == "NDJSON":
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8; header=" + header(format)
	case strings.HasPrefix(format, "TabSeparated"), strings.HasPrefix(format, "TSV"):
		return "text/tab-separated-values; charset=UTF-8"
	case format == "XML":
		return "application/xml; charset=UTF-8"
	case format == "Parquet", format == "Arrow", format == "ArrowStream", format == "ORC", format == "Avro",
		format == "Native", strings.HasPrefix(format, "RowBinary"), format == "MsgPack", format == "Npy":
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}

func header(format string) string {
	if strings.Contains(format, "WithNames") {
		return "present"
	}
	return "absent"
}
