package store

import (
	"io/fs"
	"strings"
	"testing"

	schema "github.com/hashpivot/hashpivot/schemas/clickhouse"
)

// Every migration that was ever released, as a replicated database gets it: nothing of it is one server's own, and nothing but engine and tokens differs.
func TestReplicateEveryMigration(t *testing.T) {
	files, err := fs.Glob(schema.Migrations, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := fs.Glob(replicatedFiles{schema.Migrations}, "*.sql")
	if err != nil || len(listed) != len(files) || len(files) < 100 {
		t.Fatalf("%d of %d files, %v", len(listed), len(files), err)
	}
	tables := 0
	for _, f := range files {
		plain, err := fs.ReadFile(schema.Migrations, f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fs.ReadFile(replicatedFiles{schema.Migrations}, f)
		if err != nil {
			t.Fatal(err)
		}
		back := strings.NewReplacer(replicatedEngine, plainEngine, replicatedMemory, plainMemory).Replace(string(got))
		if back != string(plain) {
			t.Errorf("%s: more than engine and tokens differ:\n%s", f, got)
		}
		if strings.Contains(string(got), "ENGINE = MergeTree") || strings.Contains(string(got), "non_replicated") {
			t.Errorf("%s: is one server's own:\n%s", f, got)
		}
		tables += strings.Count(string(got), "ENGINE = ReplicatedMergeTree")
	}
	if tables < 36 {
		t.Errorf("only %d tables", tables)
	}
}

func TestReplicateRefuses(t *testing.T) {
	const good = "CREATE TABLE IF NOT EXISTS a (x UInt8)" + plainEngine + "ORDER BY x\n" + plainMemory + "fsync_after_insert = 1;"
	if _, err := replicate(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"CREATE TABLE IF NOT EXISTS a (x UInt8)\nENGINE = MergeTree ORDER BY x\n" + plainMemory + "fsync_after_insert = 1;",
		"CREATE TABLE IF NOT EXISTS a (x UInt8)\nENGINE = ReplacingMergeTree\nORDER BY x\n" + plainMemory + "fsync_after_insert = 1;",
		"CREATE TABLE IF NOT EXISTS a (x UInt8)" + plainEngine + "ORDER BY x;",
		"CREATE TABLE IF NOT EXISTS a (x UInt8)" + plainEngine + "ORDER BY x\nSETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1;",
		"CREATE MATERIALIZED VIEW a" + plainEngine + "ORDER BY x AS SELECT 1 AS x;",
		"CREATE TABLE IF NOT EXISTS a (x UInt8)\nENGINE = Log;",
	} {
		if got, err := replicate(bad); err == nil {
			t.Errorf("%q is made %q", bad, got)
		}
	}
}
