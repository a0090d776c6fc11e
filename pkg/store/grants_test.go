package store_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// what is tried by every user, by what it comes to.
var deeds = map[string]string{
	"read":             "SELECT count() FROM hashpivot.trades",
	"read a view":      "SELECT count() FROM hashpivot.bars_now",
	"read as of":       "SELECT count() FROM hashpivot.trades_as_of(as_of = now64(9))",
	"land":             "INSERT INTO hashpivot.trades SELECT * FROM hashpivot.trades WHERE 0 SETTINGS asterisk_include_alias_columns = 0",
	"land letters":     "INSERT INTO hashpivot.dead_letters SELECT * FROM hashpivot.dead_letters WHERE 0",
	"write audits":     "INSERT INTO hashpivot.audits SELECT * FROM hashpivot.audits WHERE 0",
	"write marks":      "INSERT INTO hashpivot.dead_marks SELECT * FROM hashpivot.dead_marks WHERE 0",
	"write figures":    "INSERT INTO hashpivot.research_results SELECT * FROM hashpivot.research_results WHERE 0",
	"write facts":      "INSERT INTO hashpivot.instruments SELECT * FROM hashpivot.instruments WHERE 0",
	"retire":           "ALTER TABLE hashpivot.trades DELETE WHERE 0",
	"change rows":      "ALTER TABLE hashpivot.trades UPDATE size_shares = 0 WHERE 0",
	"change a table":   "ALTER TABLE hashpivot.trades ADD COLUMN IF NOT EXISTS mine UInt8",
	"make a table":     "CREATE TABLE IF NOT EXISTS hashpivot.mine (a UInt8) ENGINE = MergeTree ORDER BY a",
	"make a view":      "CREATE VIEW IF NOT EXISTS hashpivot.mine_too AS SELECT 1 AS a",
	"drop a view":      "DROP VIEW hashpivot.bars_now",
	"drop a table":     "DROP TABLE hashpivot.trades",
	"drop a column":    "ALTER TABLE hashpivot.trades DROP COLUMN IF EXISTS no_such_column",
	"empty":            "TRUNCATE TABLE hashpivot.audits",
	"drop all":         "DROP DATABASE hashpivot",
	"make a database":  "CREATE DATABASE IF NOT EXISTS hashpivot_sim",
	"another database": "CREATE DATABASE IF NOT EXISTS mine",
	"read another":     "SELECT * FROM secret.x",
	"write another":    "INSERT INTO secret.x VALUES ('y')",
	"read a file":      "SELECT * FROM file('/etc/passwd', 'LineAsString')",
	"write a file":     "INSERT INTO FUNCTION file('x.csv', 'CSV', 'a UInt8') SELECT 1",
	"call out":         "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
	"ask a server":     "SELECT * FROM remote('127.0.0.1:1', system.one)",
	"run a program":    "SELECT * FROM executable('true', 'TSV', 'a UInt8')",
	"make users":       "CREATE USER mine",
	"grant":            "GRANT SELECT ON *.* TO default",
	"stop the server":  "SYSTEM SHUTDOWN",
	"back up":          "BACKUP DATABASE hashpivot TO Null",
	"bring up":         bringUp,
	"stop merges":      "SYSTEM STOP MERGES hashpivot.trades",
	"write without":    "SET async_insert = 1", // settings are a user's own
}

// bringUp waits for a replica that lags; this engine's tables are not replicated, which is said to who may ask.
const bringUp = "SYSTEM SYNC REPLICA hashpivot.trades LIGHTWEIGHT"

// mayDo is what each may, in this test's own words; what is not here must be refused.
var mayDo = map[string][]string{
	"migrate": {"read", "read a view", "read as of", "land", "land letters", "write audits", "write marks", "write figures", "write facts", "retire", "change rows", "change a table", "make a table",
		"make a view", "drop a column", "make a database"},
	"lander":  {"read", "read a view", "read as of", "land", "land letters"},
	"gateway": {"read", "read a view", "read as of"},
	"audit":   {"read", "read a view", "read as of", "write audits", "retire"},
	"nightly": {"read", "read a view", "read as of", "write figures"},
	"ops":     {"read", "read a view", "read as of", "write audits", "write marks", "retire"},
	"backup":  {"read", "read a view", "read as of", "back up"},
	"up": {"read", "read a view", "read as of", "land", "land letters", "write audits", "write marks", "write figures", "write facts", "retire", "change rows", "change a table", "make a table",
		"make a view", "drop a column", "make a database"},
	"quant": {"read", "read a view", "read as of"},
}

// TestGrants has the real engine read the users as they are printed for a server, and hold each to them: its own one user is given the grants of each in turn. That
// tables of system want a grant is a server's setting (select_from_system_db_requires_grant), which this engine does not have.
func TestGrants(t *testing.T) {
	if testing.Short() {
		t.Skip("an engine for each user")
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	var users bytes.Buffer
	if err := store.WriteUsers(&users, []string{"hashpivot", "hashpivot_sim"}, func(user string) string { return "PASSWORD_OF_" + strings.ToUpper(user) }); err != nil {
		t.Fatal(err)
	}
	for _, g := range store.Grants() {
		t.Setenv("PASSWORD_OF_"+strings.ToUpper(g.User), "x")
	}
	engine := func(t *testing.T, database string, settings map[string]string) *store.Store {
		t.Helper()
		srv := chembedtest.Start(t, func(c *chembed.Config) { c.DataDir, c.ServerSettings = data, settings })
		cfg := store.DefaultConfig()
		cfg.Addr, cfg.Database = []string{srv.NativeAddr()}, database
		st, err := store.Open(t.Context(), cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		return st
	}
	t.Run("tables", func(t *testing.T) {
		// Only what is tried: an engine opens each table that there is.
		made := storetest.Start(t)
		res, err := made.Query(t.Context(), "SELECT replaceAll(create_table_query, concat(database, '.'), 'hashpivot.') FROM system.tables WHERE database = currentDatabase() AND name IN "+
			"('trades', 'bars', 'bars_now', 'trades_as_of', 'dead_letters', 'audits', 'dead_marks', 'research_results', 'instruments') ORDER BY engine = 'View'")
		if err != nil || len(res.Rows) != 9 {
			t.Fatal(res, err)
		}
		statements := []string{"CREATE DATABASE hashpivot"}
		for _, r := range res.Rows {
			statements = append(statements, r[0].(string))
		}
		st := engine(t, "default", nil)
		for _, sql := range append(statements, "CREATE DATABASE secret", "CREATE TABLE secret.x (a String) ENGINE = MergeTree ORDER BY a") {
			if err := st.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	})
	for _, g := range store.Grants() {
		t.Run(g.User, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "engine.xml")
			if err := os.WriteFile(config, fmt.Appendf(nil, "<clickhouse><users_config>%s</users_config></clickhouse>", asDefault(t, users.String(), g.User)), 0o600); err != nil {
				t.Fatal(err)
			}
			database := "hashpivot"
			if g.Server {
				database = "system"
			}
			st := engine(t, database, map[string]string{"config-file": config})
			may := map[string]bool{"write without": true, "bring up": g.Profile == ""}
			for _, deed := range mayDo[g.User] {
				may[deed] = true
			}
			for deed, sql := range deeds {
				if g.Owns && strings.HasPrefix(deed, "drop a") && deed != "drop a column" {
					continue // it may, and the others need them
				}
				err := st.Exec(context.WithoutCancel(t.Context()), sql)
				if code, _ := store.Code(err); sql == bringUp && code == 36 {
					err = nil
				}
				if may[deed] && err != nil {
					t.Errorf("may not %s: %v", deed, err)
				}
				if !may[deed] && !store.IsDenied(err) && (deed != "run a program" || err == nil) {
					t.Errorf("%s is not refused: %v", deed, err)
				}
			}
		})
	}
}

// asDefault writes the users with one of them as the user of the engine itself, and returns the file.
func asDefault(t *testing.T, users, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(users, "<"+name+">\n            <password")
	if !ok {
		t.Fatalf("there is no user %s in\n%s", name, users)
	}
	body, _, _ := strings.Cut(rest, "</"+name+">")
	_, body, _ = strings.Cut(body, "\n") // its password
	users = strings.Replace(users, `<default remove="remove"/>`, "<default>\n<password></password>\n"+body+"</default>", 1)
	users = strings.NewReplacer("<users>", "<quotas><default/></quotas>\n<users>", "<profiles>", "<profiles><default/>").Replace(users) // of the image's users.xml
	file := filepath.Join(t.TempDir(), "users.xml")
	if err := os.WriteFile(file, []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
