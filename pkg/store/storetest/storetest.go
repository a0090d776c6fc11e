// Package storetest gives tests a migrated store on a real ClickHouse engine.
//
//	func TestMain(m *testing.M) { storetest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		st := storetest.Start(t)
//		...
package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// Main is for TestMain: the test binary is the engine's executable too, and no goroutine may be left at the end.
func Main(m *testing.M, opts ...goleak.Option) { chembedtest.Main(m, opts...) }

// databases counts those of the shared engine.
var databases atomic.Int64

// Start returns a store with a migrated database of its own on the engine that all tests of the process share.
func Start(t testing.TB) *store.Store {
	t.Helper()
	srv := chembedtest.Shared(t)
	cfg := Config(srv)
	cfg.Database = fmt.Sprint("test_", databases.Add(1))
	migrated(t, srv, cfg)
	return open(t, cfg)
}

// StartServer is Start with an engine of the test's own, to kill it for instance.
func StartServer(t testing.TB, opts ...chembedtest.Option) (*store.Store, *chembed.Server) {
	t.Helper()
	srv := chembedtest.Start(t, opts...)
	migrated(t, srv, Config(srv))
	return Open(t, srv), srv
}

// Config of a store on srv.
func Config(srv *chembed.Server) store.Config {
	cfg := store.DefaultConfig()
	cfg.Addr = []string{srv.NativeAddr()}
	return cfg
}

// Open returns another store on srv, as another process would have it, closed when the test ends.
func Open(t testing.TB, srv *chembed.Server) *store.Store {
	t.Helper()
	return open(t, Config(srv))
}

func open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	st, err := store.Open(context.Background(), cfg, chembedtest.Logger(t))
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return st
}
