package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// The operator's way from a deployment on servers of its own to a data directory made of its backup.
func TestBackupCommands(t *testing.T) {
	dir, fresh := t.TempDir(), filepath.Join(t.TempDir(), "fresh")
	_, engine := storetest.StartServer(t, func(c *chembed.Config) { c.ServerSettings = map[string]string{"backups.allowed_path": dir} })
	raw, b := bustest.Start(t)
	pub := b.NewPublisher(bus.PublisherConfig{})
	when := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	if err := pub.Publish(t.Context(), &market.FeedEvent{Meta: market.Meta{Source: "alpaca", EventTime: when, RecvTime: when}, State: market.FeedConnected}); err != nil {
		t.Fatal(err)
	}
	if err := pub.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Cell("mode").Swap(t.Context(), []byte(modeLive), 0); err != nil {
		t.Fatal(err)
	}
	servers := []string{"HASHPIVOT_CLICKHOUSE__ADDR=" + engine.NativeAddr(), "HASHPIVOT_NATS__URL=" + raw.URL()}
	f := func(env []string, code int, want string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := execute(t.Context(), append(args, "--set", "backup.dir="+dir), env, &out, &errs); got != code || !strings.Contains(out.String()+errs.String(), want) {
			t.Errorf("%v: code %d\n%s%swant %d, %s", args, got, out.String(), errs.String(), code, want)
		}
	}
	first := filepath.Join(dir, "first")
	f(servers, 0, "whole, of", "backup", "first")
	f(servers, 1, "give another name", "backup", "first")
	f(servers, 2, "is not a name", "backup", "../first")
	f(servers, 2, "either the name", "backup", "second", "--list")
	f(servers, 0, first, "backup", "--list")
	f(servers, 0, `"mode":"live"`, "backup", "--check", first, "--json")
	f(servers, 1, "is not empty", "restore", first)
	f(nil, 1, "was never finished", "restore", dir, "--data-dir", fresh)
	f(nil, 2, "an old one is never written over", "restore", first)
	f(nil, 2, "cannot be restored as other", "restore", first, "--data-dir", fresh, "--set", "clickhouse.database=other")
	f(nil, 0, "every row is what its message says", "restore", first, "--data-dir", fresh)
	f(nil, 1, "is not empty", "restore", first, "--data-dir", fresh)
	f(nil, 0, "clean", "audit", "--data-dir", fresh)
}
