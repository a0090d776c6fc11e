package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
)

func TestConfigNamesTheWrongKey(t *testing.T) {
	if err := store.DefaultConfig().Validate(); err != nil {
		t.Fatalf("default: %v", err)
	}
	for key, edit := range map[string]func(*store.Config){
		"addr":              func(c *store.Config) { c.Addr = nil },
		"addr: ":            func(c *store.Config) { c.Addr = []string{"clickhouse"} },
		"database":          func(c *store.Config) { c.Database = "a; DROP DATABASE b" },
		"compression":       func(c *store.Config) { c.Compression = "gzip" },
		"ca_file":           func(c *store.Config) { c.CAFile = "ca.pem" },
		"dial_timeout":      func(c *store.Config) { c.DialTimeout = 0 },
		"read_timeout":      func(c *store.Config) { c.ReadTimeout = -time.Second },
		"max_conns":         func(c *store.Config) { c.MaxConns = 0 },
		"insert_quorum":     func(c *store.Config) { c.InsertQuorum = "most" },
		"insert_quorum: ":   func(c *store.Config) { c.Addr, c.Replicated, c.InsertQuorum = []string{"a:1", "b:1"}, true, "3" },
		"insert_quorum: \"": func(c *store.Config) { c.InsertQuorum = "0" },
		"max_result_rows":   func(c *store.Config) { c.MaxResultRows = 0 },
	} {
		cfg := store.DefaultConfig()
		edit(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
		if _, err := store.Open(context.Background(), cfg, nil); err == nil {
			t.Errorf("%s: opened nevertheless", key)
		}
	}
}

// A store may be opened before its server is there; the first use says that it is not, may be tried again, and tells no password.
func TestOpenWithoutServer(t *testing.T) {
	t.Run("one", func(t *testing.T) { withoutServer(t, "127.0.0.1:1") })
	t.Run("replicas", func(t *testing.T) { withoutServer(t, "127.0.0.1:1", "127.0.0.1:2") })
}

func withoutServer(t *testing.T, addr ...string) {
	cfg := store.DefaultConfig()
	cfg.Addr, cfg.Replicated, cfg.Password = addr, len(addr) > 1, run.Secret("hunter2-hunter2")
	st, err := store.Open(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	ctx := context.Background()
	for name, f := range map[string]func() error{
		"ping":    func() error { return st.Ping(ctx) },
		"migrate": func() error { return st.Migrate(ctx) },
		"insert":  func() error { return st.Insert(ctx, trades(t, 1), "x") },
		"counts":  func() error { _, err := st.Counts(ctx); return err },
		"places":  func() error { _, err := st.Places(ctx, market.Trades, time.Time{}, 1, 2); return err },
	} {
		err := f()
		if !store.IsTransient(err) || store.IsSchema(err) {
			t.Errorf("%s without a server: %v, want a transient error", name, err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v", err, cfg), "hunter2") {
			t.Errorf("%s: the password is told", name)
		}
	}
}
