package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/store"
	schema "github.com/hashpivot/hashpivot/schemas/clickhouse"
)

// The template is a migrated database as the statements that make another like it: what the migrations leave, without the way to it, which takes five times as
// long. A test of the store holds that the two are the same.
var template struct {
	sync.Mutex
	statements []string // of the database templateName
}

// templateName stands in the statements wherever the name of the database must: no word of theirs is like it.
const templateName = "hashpivot_storetest_template"

// migrated makes cfg's database on srv, migrated.
func migrated(t testing.TB, srv *chembed.Server, cfg store.Config) {
	t.Helper()
	admin := cfg
	admin.Database = "default"
	st := open(t, admin)
	// Nobody cuts the power before a test's first statement.
	ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"fsync_metadata": 0}))
	for _, sql := range statements(t, srv, st) {
		sql = strings.ReplaceAll(sql, templateName, cfg.Database)
		if err := st.Exec(ctx, sql); err != nil {
			t.Fatalf("make database %s of the template: %v\n%.200s", cfg.Database, err, sql)
		}
	}
}

// statements reads the template once a process.
func statements(t testing.TB, srv *chembed.Server, st *store.Store) []string {
	t.Helper()
	template.Lock()
	defer template.Unlock()
	if template.statements == nil {
		template.statements = readTemplate(t, srv, st)
	}
	return template.statements
}

// readTemplate has the template from the user's cache directory, where the first test after a change of the migrations leaves it.
func readTemplate(t testing.TB, srv *chembed.Server, st *store.Store) []string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	file := filepath.Join(dir, "hashpivot", "storetest", templateKey(t)+".json")
	var statements []string
	if text, err := os.ReadFile(file); err == nil && json.Unmarshal(text, &statements) == nil {
		return statements
	}
	statements = makeTemplate(t, srv, st)
	if err := keep(file, statements); err != nil {
		t.Logf("keep the template, without which each package migrates: %v", err)
	}
	return statements
}

// templateKey tells one set of migrations, on one engine, from another.
func templateKey(t testing.TB) string {
	t.Helper()
	h := sha256.New()
	_, _ = fmt.Fprintln(h, "1", chembed.LibraryVersion) // 1: how the template is written
	files, err := fs.Glob(schema.Migrations, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := fs.ReadFile(schema.Migrations, f)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintln(h, f, len(text))
		_, _ = h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// keep leaves the file whole or not at all: the tests of other packages read it meanwhile.
func keep(file string, statements []string) error {
	text, err := json.Marshal(statements)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), "new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(text); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// makeTemplate migrates a database and reads what has become of it.
func makeTemplate(t testing.TB, srv *chembed.Server, st *store.Store) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg := Config(srv)
	cfg.Database = templateName
	if err := open(t, cfg).Migrate(ctx); err != nil {
		t.Fatalf("migrate the template: %v", err)
	}
	rows := func(sql string) [][]any {
		t.Helper()
		res, err := st.Query(ctx, sql)
		if err != nil {
			t.Fatalf("read the template: %v", err)
		}
		return res.Rows
	}
	statements := []string{"CREATE DATABASE " + templateName}
	// A view is made with its columns and looks at nothing else, so the order does not matter.
	for _, r := range rows("SELECT create_table_query FROM system.tables WHERE database = '" + templateName + "' ORDER BY name") {
		statements = append(statements, r[0].(string))
	}
	var versions []string
	for _, r := range rows("SELECT version_id, is_applied FROM " + templateName + ".goose_db_version ORDER BY version_id") {
		versions = append(versions, fmt.Sprintf("(%d, %d)", r...))
	}
	statements = append(statements, "INSERT INTO "+templateName+".goose_db_version (version_id, is_applied) VALUES "+strings.Join(versions, ", "),
		// Each database has an identity of its own.
		"INSERT INTO "+templateName+".deployment SELECT generateUUIDv4(), now64(9)")
	if err := st.Exec(ctx, "DROP DATABASE "+templateName+" SYNC"); err != nil {
		t.Fatalf("drop the template: %v", err)
	}
	return statements
}
