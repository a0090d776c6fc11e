package store

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	schema "github.com/hashpivot/hashpivot/schemas/clickhouse"
)

// The engine makes every table of the migrations as a replicated one, with the settings that it remembers tokens by. It has a Keeper of its own in memory. As a library it
// has no interserver port, so its replica is never active and takes no rows: what the tables do is not shown here, only that they are made.
func TestReplicatedTablesAreMade(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "engine.xml")
	if err := os.WriteFile(file, []byte(`<clickhouse>
    <zookeeper><implementation>testkeeper</implementation></zookeeper>
    <macros><shard>1</shard><replica>r1</replica></macros>
    <default_replica_path>/clickhouse/tables/{database}/{table}/{shard}</default_replica_path>
    <default_replica_name>{replica}</default_replica_name>
</clickhouse>`), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := chembedtest.Start(t, func(c *chembed.Config) { c.ServerSettings = map[string]string{"config-file": file} })
	cfg := DefaultConfig()
	cfg.Addr, cfg.Database = []string{srv.NativeAddr()}, "default"
	st, err := Open(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	files, err := fs.Glob(schema.Migrations, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	tables := uint64(0)
	for _, f := range files {
		text, err := fs.ReadFile(replicatedFiles{schema.Migrations}, f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "CREATE TABLE") {
			continue
		}
		tables++
		if err := st.Exec(t.Context(), strings.TrimSuffix(strings.TrimSpace(string(text)), ";")); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	res, err := st.Query(t.Context(), "SELECT count() FROM system.tables WHERE database = 'default' AND engine = 'ReplicatedMergeTree' AND create_table_query LIKE "+
		"'% replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 3153600000, min_compressed_bytes_to_fsync_after_fetch = 1%'")
	if err != nil || res.Rows[0][0] != tables || tables < 36 {
		t.Errorf("%v of %d tables, %v", res, tables, err)
	}
}
