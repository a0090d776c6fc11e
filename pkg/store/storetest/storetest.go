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
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// Main is for TestMain: the test binary is the engine's executable too, and no goroutine may be left at the end.
func Main(m *testing.M, opts ...goleak.Option) { chembedtest.Main(m, opts...) }

// Start runs an engine until the test ends and returns a store with a migrated database in it.
func Start(t testing.TB, opts ...chembedtest.Option) *store.Store {
	t.Helper()
	st, _ := StartServer(t, opts...)
	return st
}

// StartServer is Start for tests that also need the engine, to kill it for instance.
func StartServer(t testing.TB, opts ...chembedtest.Option) (*store.Store, *chembed.Server) {
	t.Helper()
	srv := chembedtest.Start(t, opts...)
	st := Open(t, srv)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := st.Migrate(ctx); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return st, srv
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
	st, err := store.Open(context.Background(), Config(srv), chembedtest.Logger(t))
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
