package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

const (
	chSoakWriters   = 16 // native, with deduplication tokens
	chSoakReaders   = 16 // native, checking what the writers wrote
	chSoakQueries   = 16 // HTTP, in several formats and compressions
	chSoakHTTPIn    = 8  // HTTP inserts with tokens
	chSoakCancel    = 8  // native, giving up in the middle
	chSoakBatch     = 1000
	chSoakKillEvery = 20 * time.Second
)

// chSoak are the clients of a soak and what they found.
type chSoak struct {
	srv     *chembed.Server
	conn    driver.Conn
	web     *http.Client
	writers []atomic.Uint64 // rows that each writer was told are stored

	answers, retries, cancels atomic.Uint64
	mu                        sync.Mutex
	wrong                     []string
}

// clickhouseSoak holds the embedded ClickHouse under 64 mixed clients while its engine is killed every 20 s: no wrong answer, no error but those that
// clients retry, every acknowledged row there once, and nothing that grows.
func clickhouseSoak(ctx context.Context, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg := engineConfig(dir)
	cfg.RestartMax = time.Second
	before := runtime.NumGoroutine()
	srv, err := chembed.Start(ctx, cfg)
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			_ = srv.Close(context.WithoutCancel(ctx))
		}
	}()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{srv.NativeAddr()}, MaxOpenConns: 64, MaxIdleConns: 64, DialTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionLZ4},
	})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	s := &chSoak{srv: srv, conn: conn, web: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}, writers: make([]atomic.Uint64, chSoakWriters+chSoakHTTPIn)}
	defer s.web.CloseIdleConnections()
	if err := conn.Exec(ctx, "CREATE TABLE soak (w UInt32, a UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY (w, a) SETTINGS non_replicated_deduplication_window = 100000"); err != nil {
		return err
	}
	span := time.Duration(*soakMinutes * float64(time.Minute))
	load, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	var wg sync.WaitGroup
	for kind, n := range map[string]int{"write": chSoakWriters, "read": chSoakReaders, "query": chSoakQueries, "http": chSoakHTTPIn, "cancel": chSoakCancel} {
		for i := range n {
			wg.Go(func() {
				for round := 0; load.Err() == nil; round++ {
					s.act(ctx, load, kind, i, round)
				}
			})
		}
	}
	kills := 0
	var second, last chUse
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	start, killed := time.Now(), time.Now()
	for load.Err() == nil {
		select {
		case <-tick.C:
		case <-load.Done():
			continue
		}
		since := time.Since(start)
		switch {
		case since > span/4 && since < span/2:
			second = second.most(chUseOf(srv.Pid()))
		case since > span*3/4:
			last = last.most(chUseOf(srv.Pid()))
		}
		if time.Since(killed) >= chSoakKillEvery && span-since > 5*time.Second {
			killed = time.Now()
			if err := syscall.Kill(srv.Pid(), syscall.SIGKILL); err == nil {
				kills++
			}
		}
	}
	wg.Wait()
	if err := s.check(ctx); err != nil {
		return err
	}
	print(figure{Name: "clickhouse_soak_minutes", Value: span.Minutes(), Unit: "min"})
	print(figure{Name: "clickhouse_soak_kills", Value: float64(kills), Unit: "kills"})
	print(figure{Name: "clickhouse_soak_answers", Value: float64(s.answers.Load()), Unit: "answers"})
	print(figure{Name: "clickhouse_soak_retries", Value: float64(s.retries.Load()), Unit: "retries"})
	print(figure{Name: "clickhouse_soak_cancels", Value: float64(s.cancels.Load()), Unit: "cancels"})
	print(figure{Name: "clickhouse_soak_wrong", Value: float64(len(s.wrong)), Unit: "answers"})
	for _, x := range []struct {
		what, unit   string
		second, last float64
	}{
		{"engine_rss", "MB", second.rss, last.rss}, {"engine_fds", "descriptors", second.engineFDs, last.engineFDs}, {"fds", "descriptors", second.fds, last.fds},
		{"goroutines", "goroutines", second.goroutines, last.goroutines}, {"children", "processes", second.children, last.children},
	} {
		f := figure{Name: "clickhouse_soak_" + x.what, Value: x.last, Unit: x.unit}
		if x.second > 0 {
			f.Ratio, f.RatioTo = x.last/x.second, "the second quarter"
		}
		print(f)
	}
	_ = conn.Close()
	s.web.CloseIdleConnections()
	closed = true
	if err := srv.Close(ctx); err != nil {
		return err
	}
	left := 0
	for range 200 { // goroutines end a little after what they served
		if left = runtime.NumGoroutine() - before; left <= 0 {
			break
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	print(figure{Name: "clickhouse_soak_goroutines_left", Value: float64(max(left, 0)), Unit: "goroutines"})
	if len(s.wrong) > 0 {
		return fmt.Errorf("%d wrong answers; the first: %s", len(s.wrong), s.wrong[0])
	}
	return nil
}

// act is one thing that a client of a kind does.
func (s *chSoak) act(ctx, load context.Context, kind string, i, round int) {
	switch kind {
	case "write":
		at := s.writers[i].Load()
		token := fmt.Sprintf("w%d-%d", i, round)
		if s.retry(ctx, load, func() error { return s.insert(ctx, uint32(i), at, token) }) {
			s.writers[i].Add(chSoakBatch)
		}
	case "http":
		w := chSoakWriters + i
		at := s.writers[w].Load()
		var body bytes.Buffer
		for n := range uint64(chSoakBatch) {
			fmt.Fprintf(&body, "%d,%d,s%d\n", w, at+n, n%10)
		}
		data := body.Bytes()
		v := url.Values{"query": {"INSERT INTO soak FORMAT CSV"}, "insert_deduplication_token": {fmt.Sprintf("h%d-%d", i, round)}}
		if s.retry(ctx, load, func() error { _, err := s.post(ctx, v, "", data); return err }) {
			s.writers[w].Add(chSoakBatch)
		}
	case "read":
		s.retry(ctx, load, func() error { return s.read(ctx) })
	case "query":
		s.query(ctx, load, i, round)
	case "cancel":
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		rows, err := s.conn.Query(short, "SELECT number, sipHash64(number) FROM numbers(1000000000000)")
		if err == nil {
			for rows.Next() {
			}
			err = rows.Err()
			_ = rows.Close()
		}
		if err == nil {
			s.report("a query of 10^12 rows ended well within 50 ms")
		} else if short.Err() == nil && !chRetryable(err) {
			s.report("cancel: " + err.Error())
		}
		s.cancels.Add(1)
		_ = pause(load, 100*time.Millisecond)
	}
}

func (s *chSoak) insert(ctx context.Context, w uint32, at uint64, token string) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
	b, err := s.conn.PrepareBatch(ctx, "INSERT INTO soak (w, a, s)")
	if err != nil {
		return err
	}
	for n := range uint64(chSoakBatch) {
		if err := b.Append(w, at+n, "s"+strconv.FormatUint(n%10, 10)); err != nil {
			return err
		}
	}
	return b.Send()
}

// read checks that every writer's rows are whole batches, each there once.
func (s *chSoak) read(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, "SELECT w, count(), max(a) + 1, uniqExact(a) FROM soak GROUP BY w")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var w uint32
		var n, next, distinct uint64
		if err := rows.Scan(&w, &n, &next, &distinct); err != nil {
			return err
		}
		if n != next || n != distinct || n%chSoakBatch != 0 {
			s.report(fmt.Sprintf("writer %d: %d rows, next %d, %d distinct", w, n, next, distinct))
		}
	}
	return rows.Err()
}

// query asks by HTTP for what has one right answer.
func (s *chSoak) query(ctx, load context.Context, i, round int) {
	n := 1000 + (i*7919+round*104729)%100_000
	want := strconv.Itoa(n * (n - 1) / 2)
	encoding := []string{"", "gzip", "zstd", "lz4", "br", "deflate"}[round%6]
	s.retry(ctx, load, func() error {
		if round%2 == 0 {
			got, err := s.post(ctx, url.Values{"query": {"SELECT sum(number) FROM numbers({n:UInt64})"}, "param_n": {strconv.Itoa(n)}}, "", nil)
			if err == nil && strings.TrimSpace(string(got)) != want {
				s.report(fmt.Sprintf("sum of %d numbers: %q, want %s", n, got, want))
			}
			return err
		}
		got, err := s.post(ctx, url.Values{"query": {fmt.Sprintf("SELECT number FROM numbers(%d) FORMAT CSV", n)}, "enable_http_compression": {"1"}}, encoding, nil)
		if err == nil && encoding == "" && bytes.Count(got, []byte("\n")) != n {
			s.report(fmt.Sprintf("%d lines of %d", bytes.Count(got, []byte("\n")), n))
		}
		return err
	})
}

func (s *chSoak) post(ctx context.Context, v url.Values, encoding string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.srv.HTTPAddr()+"/?"+v.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", encoding)
	resp, err := s.web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		code, _ := strconv.ParseInt(resp.Header.Get("X-ClickHouse-Exception-Code"), 10, 32)
		return nil, &clickhouse.Exception{Code: int32(code), Message: string(got)}
	}
	return got, nil
}

// retry does what clients do: again after errors that pass, until it is done. false: the soak ended before, and the outcome of a write is not known.
func (s *chSoak) retry(ctx, load context.Context, f func() error) bool {
	for {
		err := f()
		if err == nil {
			s.answers.Add(1)
			return true
		}
		if !chRetryable(err) {
			s.report(err.Error())
			return false
		}
		s.retries.Add(1)
		// A write that was begun is brought to its end, so that its count is known.
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return false
		}
		_ = load
	}
}

func (s *chSoak) report(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, text)
}

// check compares what is stored with what was acknowledged.
func (s *chSoak) check(ctx context.Context) error {
	for w := range s.writers {
		var n uint64
		for {
			err := s.conn.QueryRow(ctx, "SELECT count() FROM soak WHERE w = ?", uint32(w)).Scan(&n)
			if err == nil {
				break
			}
			if !chRetryable(err) {
				return err
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		if want := s.writers[w].Load(); n != want {
			s.report(fmt.Sprintf("writer %d: %d rows are stored of %d", w, n, want))
		}
	}
	return nil
}

// chRetryable says whether an error is one that passes: the connection's, or that the engine is away.
func chRetryable(err error) bool {
	if ex, ok := errors.AsType[*clickhouse.Exception](err); ok {
		return ex.Code == 210 || ex.Code == 202 || ex.Code == 209
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, clickhouse.ErrAcquireConnTimeout) || errors.Is(err, net.ErrClosed) {
		return true
	}
	for _, s := range []string{"unexpected EOF", "connection reset", "broken pipe", "EOF", "use of closed network connection", "connection is closed"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

// chUse is what the server and its engine take.
type chUse struct{ rss, engineFDs, fds, goroutines, children float64 }

func (u chUse) most(o chUse) chUse {
	return chUse{max(u.rss, o.rss), max(u.engineFDs, o.engineFDs), max(u.fds, o.fds), max(u.goroutines, o.goroutines), max(u.children, o.children)}
}

func chUseOf(engine int) chUse {
	u := chUse{goroutines: float64(runtime.NumGoroutine())}
	count := func(pattern string) float64 {
		names, _ := filepath.Glob(pattern)
		return float64(len(names))
	}
	u.fds, u.engineFDs = count("/proc/self/fd/*"), count(fmt.Sprintf("/proc/%d/fd/*", engine))
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", engine)); err == nil {
		var size, resident float64
		if _, err := fmt.Sscan(string(b), &size, &resident); err == nil {
			u.rss = resident * float64(os.Getpagesize()) / (1 << 20)
		}
	}
	if names, err := filepath.Glob("/proc/self/task/*/children"); err == nil {
		for _, name := range names {
			if b, err := os.ReadFile(name); err == nil {
				u.children += float64(len(strings.Fields(string(b))))
			}
		}
	}
	return u
}
