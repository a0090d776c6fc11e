// Package chembedtest starts a real ClickHouse for tests.
//
//	func TestMain(m *testing.M) { chembedtest.Main(m) }
//
//	func TestStore(t *testing.T) {
//		srv := chembedtest.Start(t)
//		conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{srv.NativeAddr()}})
//		...
package chembedtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

// Main is for TestMain: it lets the test binary become the engine process, runs
// the tests, and fails if they leave goroutines behind.
func Main(m *testing.M, opts ...goleak.Option) {
	chembed.RunChildIfRequested()
	goleak.VerifyTestMain(ending{m}, opts...)
}

// ending closes the shared server behind the last test.
type ending struct{ *testing.M }

func (e ending) Run() int {
	code := e.M.Run()
	if err := shared.close(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "close the shared ClickHouse:", err)
		return max(code, 1)
	}
	return code
}

// shared is the one server that tests of a process have together.
var shared sharedServer

type sharedServer struct {
	mu  sync.Mutex
	srv *chembed.Server
	dir string
}

// Shared is a server that all tests of the process have together: each uses a database of its own and leaves the engine alone. It is closed by Main.
func Shared(t testing.TB) *chembed.Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.srv != nil {
		return shared.srv
	}
	dir, err := os.MkdirTemp("", "chembedtest")
	if err != nil {
		t.Fatal(err)
	}
	shared.dir = dir
	cfg := config(dir)
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	shared.srv = start(t, cfg)
	return shared.srv
}

func (s *sharedServer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" {
		return nil
	}
	var err error
	if s.srv != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = s.srv.Close(ctx)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Option changes the configuration of the server.
type Option func(*chembed.Config)

// Start runs a server on free ports in a temporary directory until the test ends.
// Without the engine's library it fails the test and says how to get it.
func Start(t testing.TB, opts ...Option) *chembed.Server {
	t.Helper()
	cfg := Config(t)
	for _, o := range opts {
		o(&cfg)
	}
	srv := start(t, cfg)
	t.Cleanup(func() { Close(t, srv) })
	return srv
}

func start(t testing.TB, cfg chembed.Config) *chembed.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	srv, err := chembed.Start(ctx, cfg)
	if errors.Is(err, chembed.ErrLibraryMissing) {
		t.Fatalf("%v\nThis test needs the real ClickHouse engine. Run at the top of the checkout:\n\t%s", err, chembed.FetchCommand)
	}
	if err != nil {
		t.Fatalf("start ClickHouse: %v", err)
	}
	return srv
}

// Config is what Start uses: free ports, a temporary directory, a quick restart
// and the test's own log.
func Config(t testing.TB) chembed.Config {
	cfg := config(t.TempDir())
	cfg.Logger = Logger(t)
	return cfg
}

func config(dir string) chembed.Config {
	cfg := chembed.DefaultConfig()
	cfg.DataDir = dir
	cfg.NativeAddr, cfg.HTTPAddr = "127.0.0.1:0", "127.0.0.1:0"
	cfg.DrainTimeout = 2 * time.Second
	cfg.RestartMin = 20 * time.Millisecond
	return cfg
}

// Close ends a server that Start did not start.
func Close(t testing.TB, srv *chembed.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := srv.Close(ctx); err != nil {
		t.Errorf("close ClickHouse: %v", err)
	}
}

// Logger writes to the test's log. HASHPIVOT_TEST_LOG=debug shows everything.
func Logger(t testing.TB) *slog.Logger {
	level := slog.LevelWarn
	if os.Getenv("HASHPIVOT_TEST_LOG") == "debug" {
		level = slog.LevelDebug
	}
	w := &testWriter{t: t}
	t.Cleanup(w.end)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// testWriter stops writing when the test has ended; logging after it panics.
type testWriter struct {
	mu    sync.Mutex
	t     testing.TB
	ended bool
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.t.Log(strings.TrimSuffix(string(bytes.Clone(p)), "\n"))
	}
	return len(p), nil
}

func (w *testWriter) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}
