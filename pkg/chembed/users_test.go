package chembed_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"golang.org/x/crypto/bcrypt"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

func users(t testing.TB) map[string]chembed.User {
	sum := sha256.Sum256([]byte("hashed"))
	crypted, err := bcrypt.GenerateFromPassword([]byte("crypted"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]chembed.User{
		"admin":    {},
		"sha":      {PasswordSHA256: hex.EncodeToString(sum[:])},
		"bcrypt":   {PasswordBcrypt: string(crypted)},
		"reader":   {Password: "r", ReadOnly: 1},
		"analyst":  {Password: "a", ReadOnly: 2, Bounds: map[string]chembed.Bound{"max_threads": {Max: "4"}, "max_memory_usage": {Max: "1000000000"}, "max_result_rows": {Const: true}}},
		"tenant":   {Password: "t", Databases: []string{"mine"}},
		"guest":    {Password: "g", ReadOnly: 2, Databases: []string{"mine"}},
		"far":      {Networks: []string{"10.1.0.0/16", "2001:db8::/32"}},
		"near":     {Networks: []string{"127.0.0.0/8"}},
		"limited":  {Quotas: []chembed.Quota{{Interval: 24 * time.Hour, Queries: 3}}},
		"spending": {Quotas: []chembed.Quota{{Interval: 24 * time.Hour, ReadRows: 10}}},
		"defaults": {Settings: map[string]string{"max_block_size": "123"}},
	}
}

// What users may do, by both protocols: the same rules stand in front of the engine for both.
func TestUsers(t *testing.T) {
	srv := chembedtest.Start(t, func(c *chembed.Config) { c.Users = users(t) })
	c := httpClient(t)
	ctx := context.Background()
	passwords := map[string]string{"sha": "hashed", "bcrypt": "crypted", "reader": "r", "analyst": "a", "tenant": "t", "guest": "g"}
	admin := open(t, srv, func(o *clickhouse.Options) { o.Auth.Username = "admin" })
	secret := filepath.Join(t.TempDir(), "secret.csv")
	if err := os.WriteFile(secret, []byte("1\n2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"CREATE DATABASE mine", "CREATE DATABASE theirs",
		"CREATE TABLE mine.t (a UInt64) ENGINE = MergeTree ORDER BY a", "INSERT INTO mine.t SELECT number FROM numbers(100)",
		"CREATE TABLE theirs.t (a UInt64) ENGINE = MergeTree ORDER BY a", "INSERT INTO theirs.t SELECT number + 1000 FROM numbers(100)",
		"CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a", "INSERT INTO t VALUES (7)",
	} {
		mustExec(t, admin, sql)
	}
	// try runs a statement by HTTP and by the native protocol and returns the codes; 0 is success.
	try := func(user, password, database, sql string) (code, body string) {
		t.Helper()
		v := url.Values{"user": {user}, "password": {password}, "database": {database}}
		resp, body := do(t, srv, c, request{params: v, body: strings.NewReader(sql)})
		code = resp.Header.Get("X-ClickHouse-Exception-Code")
		return code, body
	}
	f := func(user, sql, code, want string) {
		t.Helper()
		got, body := try(user, passwords[user], "", sql)
		if got != code || !strings.Contains(body, want) {
			t.Errorf("%s: %s: code %q, %.300s; want code %q with %q", user, sql, got, body, code, want)
		}
	}
	for user, password := range map[string]string{"sha": "hashed", "bcrypt": "crypted", "reader": "r", "near": "", "admin": ""} {
		f2 := func(password, code string) {
			t.Helper()
			if got, body := try(user, password, "", "SELECT 1"); got != code {
				t.Errorf("%s with %q: code %q %s, want %q", user, password, got, body, code)
			}
		}
		f2(password, "")
		f2(password, "") // again: bcrypt remembers
		if password != "" {
			f2(password+"x", "516")
			f2("", "516")
		}
	}
	f("far", "SELECT 1", "516", "AUTHENTICATION_FAILED")
	f("nobody", "SELECT 1", "516", "AUTHENTICATION_FAILED")
	f("defaults", "SELECT getSetting('max_block_size')", "", "123\n")

	// Whatever a read-only user tries: the data, the settings and the files stay as they are.
	for _, user := range []string{"reader", "analyst"} {
		f(user, "SELECT count() FROM t", "", "1\n")
		f(user, "SELECT count() FROM numbers(5)", "", "5\n")
		f(user, "SHOW TABLES", "", "t\n")
		f(user, "DESCRIBE TABLE t", "", "UInt64")
		f(user, "EXPLAIN SELECT a FROM t", "", "")
		for _, sql := range []string{
			"INSERT INTO t VALUES (1)", "INSERT INTO t SELECT 1", "INSERT INTO FUNCTION file('x.csv', 'CSV', 'a UInt64') SELECT 1",
			"CREATE TABLE u (a UInt8) ENGINE = Memory", "CREATE TEMPORARY TABLE u (a UInt8)", "DROP TABLE t", "TRUNCATE TABLE t", "ALTER TABLE t ADD COLUMN b UInt8",
			"ALTER TABLE t DELETE WHERE 1", "DELETE FROM t WHERE 1", "OPTIMIZE TABLE t FINAL", "RENAME TABLE t TO u", "SYSTEM FLUSH LOGS", "SYSTEM SHUTDOWN",
			"CREATE DATABASE d", "CREATE FUNCTION f AS x -> x", "BACKUP TABLE t TO File('b')", "SET readonly = 0", "SELECT 1 SETTINGS readonly = 0",
			"SELECT (SELECT 1 SETTINGS readonly = 0)", "SELECT 1; DROP TABLE t", "SELECT 1 -- '\n; DROP TABLE t", "/* SELECT */ DROP TABLE t", "ATTACH TABLE u",
			"KILL MUTATION WHERE 1", "EXPLAIN SELECT * FROM t; DROP TABLE t", "SET max_threads = 1, readonly = 0",
		} {
			if code, body := try(user, passwords[user], "", sql); code == "" {
				t.Errorf("%s: %s was let through: %s", user, sql, body)
			}
		}
		for _, sql := range []string{
			"SELECT * FROM file('" + secret + "', 'CSV', 'a UInt64')", "SELECT * FROM `file`('" + secret + "')", "SELECT file('" + secret + "')",
			"SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a UInt64')", "SELECT * FROM remote('127.0.0.1:1', system.one)",
			"SELECT * FROM executable('x.sh', 'CSV', 'a UInt64')", "SELECT * FROM s3('http://127.0.0.1:1/b/k')", "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
			"SELECT * FROM (SELECT * FROM file('" + secret + "'))", "SELECT 1 WHERE 1 IN (SELECT a FROM file('" + secret + "', 'CSV', 'a UInt64'))",
			"WITH x AS (SELECT * FROM FILE('" + secret + "')) SELECT * FROM x", "DESCRIBE TABLE file('" + secret + "')",
			"SELECT 1 INTO OUTFILE '" + secret + ".out'", "SELECT 1 INTO OUTFILE '" + secret + ".out' FORMAT CSV", "SELECT * FROM `" + secret + "`", "SELECT * FROM '" + secret + "'",
			"SELECT * FROM cluster('default', system.one)", "SELECT ‘ ' ’, * FROM file('" + secret + "') -- '",
		} {
			if code, body := try(user, passwords[user], "", sql); code == "" {
				t.Errorf("%s: %s was let through: %s", user, sql, body)
			}
		}
	}
	if _, err := os.Stat(secret + ".out"); err == nil {
		t.Error("a read-only user wrote a file")
	}
	f("reader", "SELECT 1 SETTINGS max_threads = 1", "164", "")
	f("reader", "SET max_threads = 1", "164", "")
	f("analyst", "SELECT getSetting('max_threads') SETTINGS max_threads = 3", "", "3\n")
	f("analyst", "SELECT 1 SETTINGS max_threads = 5", "452", "max_threads")
	f("analyst", "SELECT 1 SETTINGS max_threads = 0", "452", "max_threads")
	f("analyst", "SELECT 1 SETTINGS max_memory_usage = '100Gi'", "452", "max_memory_usage")
	f("analyst", "SET max_threads = 500", "452", "max_threads")
	f("analyst", "SET max_threads = DEFAULT", "452", "max_threads")
	f("analyst", "SELECT * FROM (SELECT 1 SETTINGS max_threads = 99)", "452", "max_threads")
	f("analyst", "SELECT 1 SETTINGS max_result_rows = 5", "452", "max_result_rows")
	f("analyst", "SELECT 1 SETTINGS compatibility = '20.1'", "452", "compatibility")

	// A user with databases of its own sees nothing of the others.
	for _, user := range []string{"tenant", "guest"} {
		f(user, "SELECT currentDatabase(), count() FROM t", "", "mine\t100\n")
		f(user, "SELECT max(a) FROM mine.t", "", "99\n")
		f(user, "SELECT name FROM system.databases ORDER BY name", "", "mine\nsystem\n")
		f(user, "SELECT count() FROM system.tables WHERE database = 'theirs'", "", "0\n")
		f(user, "SELECT count() FROM system.columns WHERE database = 'theirs'", "", "0\n")
		f(user, "SELECT value FROM system.settings WHERE name = 'readonly'", "", "")
		for _, sql := range []string{
			"SELECT * FROM theirs.t", "SELECT * FROM `theirs`.t", "SELECT * FROM default.t", "SELECT 1 IN theirs.t", "SELECT * FROM t JOIN theirs.t AS u USING a", "USE theirs",
			"SELECT * FROM merge('theirs', 't')", "SHOW TABLES FROM theirs", "DESCRIBE TABLE theirs.t", "SHOW CREATE TABLE theirs.t", "EXISTS TABLE theirs.t",
			"SELECT joinGet('theirs.t', 'a', 1)", "SELECT hasColumnInTable('theirs', 't', 'a')", "SELECT query FROM system.query_log", "SELECT * FROM system.parts",
			"SELECT (SELECT max(a) FROM theirs.t)", "CREATE VIEW v AS SELECT * FROM theirs.t", "CREATE TABLE x AS theirs.t", "CREATE DATABASE d", "DROP DATABASE theirs",
			"INSERT INTO theirs.t VALUES (1)", "CREATE TABLE x (a UInt64) ENGINE = File(CSV, '" + secret + "')", "CREATE TABLE x (a UInt64) ENGINE = Merge('theirs', 't')",
			"ALTER TABLE t ATTACH PARTITION tuple() FROM theirs.t", "RENAME TABLE t TO theirs.x", "SELECT 1 SETTINGS additional_table_filters = {}", "SYSTEM FLUSH LOGS",
			"INSERT INTO t VALUES ((SELECT max(a) FROM theirs.t))", "SELECT * FROM file('" + secret + "')", "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(CLICKHOUSE(DB 'theirs' TABLE 't')) LAYOUT(FLAT()) LIFETIME(0)",
			"EXPLAIN SELECT * FROM theirs.t", "INSERT INTO t SELECT a FROM theirs.t",
		} {
			if code, body := try(user, passwords[user], "", sql); code == "" {
				t.Errorf("%s: %s was let through: %s", user, sql, body)
			}
		}
		if code, _ := try(user, passwords[user], "theirs", "SELECT 1"); code != "497" {
			t.Errorf("%s: the database of the URL: code %q", user, code)
		}
	}
	f("tenant", "CREATE TABLE own (a UInt64) ENGINE = MergeTree ORDER BY a", "", "")
	f("tenant", "INSERT INTO own VALUES (1), (2)", "", "")
	f("tenant", "INSERT INTO own SELECT a FROM mine.t", "", "")
	f("tenant", "SELECT count() FROM mine.own", "", "102\n")
	f("tenant", "DROP TABLE own", "", "")
	f("guest", "DROP TABLE t", "164", "")

	// Quotas count both protocols together.
	limited := open(t, srv, func(o *clickhouse.Options) { o.Auth.Username = "limited" })
	for range 2 {
		if err := limited.Exec(ctx, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
	}
	f("limited", "SELECT 1", "", "1\n")
	f("limited", "SELECT 1", "201", "queries = 4/3")
	wantCode(t, limited.Exec(ctx, "SELECT 1"), 201)
	f("spending", "SELECT count() FROM (SELECT a FROM mine.t)", "", "")
	f("spending", "SELECT sum(a) FROM mine.t", "", "")
	f("spending", "SELECT 1", "201", "read_rows")

	// The same by the native protocol.
	reader := open(t, srv, func(o *clickhouse.Options) { o.Auth = clickhouse.Auth{Username: "reader", Password: "r"} })
	if rows, err := reader.Query(ctx, "SELECT * FROM t WHERE 0"); err != nil || len(rows.Columns()) != 1 {
		t.Errorf("the columns of a result without rows: %v", err)
	} else {
		_ = rows.Close()
	}
	wantCode(t, reader.Exec(ctx, "DROP TABLE t"), 164)
	wantCode(t, reader.Exec(ctx, "SELECT * FROM file('"+secret+"')"), 497)
	_, err := reader.PrepareBatch(ctx, "INSERT INTO t")
	wantCode(t, err, 164)
	wantCode(t, reader.Exec(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"readonly": 0})), "SELECT 1"), 164)
	if n := count(t, reader, "t"); n != 1 {
		t.Errorf("%d rows", n)
	}
	for _, database := range []string{"theirs", "default"} {
		conn := open(t, srv, func(o *clickhouse.Options) {
			o.Auth = clickhouse.Auth{Username: "tenant", Password: "t", Database: database}
		})
		wantCode(t, conn.Ping(ctx), 497)
	}
	wantCode(t, open(t, srv, func(o *clickhouse.Options) { o.Auth.Username = "default" }).Ping(ctx), 516)
	if n := count(t, admin, "t"); n != 1 {
		t.Errorf("%d rows after all of it, want 1", n)
	}
	if n := count(t, admin, "theirs.t"); n != 100 {
		t.Errorf("%d rows of theirs after all of it, want 100", n)
	}
}
