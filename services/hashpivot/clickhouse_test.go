package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The command serves ClickHouse's protocols with the users of the configuration, and ends in order by the signal's context.
func TestClickHouseCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := "clickhouse:\n  server:\n    users:\n      quant: {password: secret, readonly: 2, bounds: {max_threads: {max: 4}}}\n      reader: {password: secret, readonly: 1}\n      admin: {no_password: true}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	pr, pw := io.Pipe()
	code := make(chan int, 1)
	var stderr strings.Builder
	go func() {
		code <- execute(ctx, []string{"--config", file, "--json", "--data-dir", dir, "clickhouse", "--native", "127.0.0.1:0", "--http", "127.0.0.1:0"}, nil, pw, &stderr)
		_ = pw.Close()
	}()
	line, err := bufio.NewReader(pr).ReadString('\n')
	if err != nil {
		t.Fatalf("no line of addresses: %v; exit code %d: %s", err, <-code, stderr.String())
	}
	var up struct{ Native, HTTP, Version string }
	if err := json.Unmarshal([]byte(line), &up); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	get := func(user, password, sql string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+up.HTTP+"/", strings.NewReader(sql))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for _, c := range []struct {
		user, password, sql string
		status              int
		want                string
	}{
		{"admin", "", "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a", 200, ""},
		{"quant", "secret", "SELECT count() FROM t", 200, "0\n"},
		{"admin", "", "CREATE TABLE computed (a UInt8, twice UInt16 ALIAS 2 * a) ENGINE = MergeTree ORDER BY a", 200, ""},
		{"admin", "", "INSERT INTO computed VALUES (1)", 200, ""},
		{"admin", "", "SELECT * FROM computed", 200, "1\t2\n"}, // as recv_time and trade_id are
		{"quant", "secret", "SELECT * FROM computed", 200, "1\t2\n"},
		{"reader", "secret", "SELECT * FROM computed", 200, "1\t2\n"},
		{"quant", "secret", "SELECT * FROM computed SETTINGS asterisk_include_alias_columns = 0", 200, "1\n"},
		{"quant", "secret", "INSERT INTO t VALUES (1)", 500, "READONLY"},
		{"quant", "secret", "SELECT 1 SETTINGS max_threads = 5", 500, "max_threads"},
		{"quant", "wrong", "SELECT 1", 403, "AUTHENTICATION_FAILED"},
		{"default", "", "SELECT 1", 403, "AUTHENTICATION_FAILED"},
	} {
		if status, body := get(c.user, c.password, c.sql); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %s: %d %q, want %d with %q", c.user, c.sql, status, body, c.status, c.want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
}

func TestClickHouseCommandRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  []string
		want string
	}{
		"misspelt password":    {[]string{"clickhouse.server.users.quant.pasword=x"}, "unknown key pasword"},
		"no password":          {[]string{"clickhouse.server.users.quant.readonly=1"}, "no_password"},
		"bad sha256":           {[]string{"clickhouse.server.users.quant.password_sha256=abc"}, "64 hexadecimal"},
		"bad network":          {[]string{"clickhouse.server.users.quant.password=x", "clickhouse.server.users.quant.networks=nowhere"}, "nowhere"},
		"TLS without its file": {[]string{"clickhouse.server.https_addr=127.0.0.1:0"}, "TLSCertFile"},
		"external":             {[]string{"clickhouse.addr=127.0.0.1:1"}, "clickhouse.addr"},
		"no library":           {[]string{"clickhouse.library=/nowhere/libchdb.so"}, "fetch-libchdb.sh"},
	} {
		args := []string{"--data-dir", t.TempDir()}
		for _, s := range c.set {
			args = append(args, "--set", s)
		}
		var stdout, stderr strings.Builder
		code := execute(t.Context(), append(args, "clickhouse", "--native", "127.0.0.1:0", "--http", "127.0.0.1:0"), nil, &stdout, &stderr)
		if code != 2 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: exit code %d: %q, want 2 with %q", name, code, stderr.String(), c.want)
		}
	}
}
