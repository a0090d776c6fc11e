package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// command runs a program with input and returns what it printed.
func command(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %.200s", err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}

func want(got string, err error, wanted string) (string, error) {
	if err != nil {
		return "", err
	}
	if !strings.Contains(got, wanted) {
		return "", fmt.Errorf("got %.200q, want %q", got, wanted)
	}
	return "", nil
}

// wantError is for what must be refused with a word.
func wantError(got string, err error, word string) (string, error) {
	if all := fmt.Sprint(got, err); !strings.Contains(all, word) {
		return "", fmt.Errorf("got %.200q, want an error with %q", all, word)
	}
	return "", nil
}

func (t *trial) typesFile() ([][2]string, error) {
	b, err := os.ReadFile(filepath.Join(t.work, "types.tsv"))
	if err != nil {
		return nil, err
	}
	var out [][2]string
	for line := range strings.Lines(string(b)) {
		name, sql, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		out = append(out, [2]string{name, sql})
	}
	return out, nil
}

// exec runs statements by HTTP, for clients that do not know them.
func (t *trial) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		out, err := command(ctx, sql, "curl", "-sS", "--user", user+":"+password, "--data-binary", "@-", "http://127.0.0.1:"+t.httpPort+"/")
		if err != nil || out != "" {
			return errors.Join(err, fmt.Errorf("%s: %.200s", sql, out))
		}
	}
	return nil
}

// everyType tries each type and tells those that do not work.
func (t *trial) everyType(f func(name, sql string) error) (string, error) {
	types, err := t.typesFile()
	if err != nil {
		return "", err
	}
	var bad []string
	for _, x := range types {
		if err := f(x[0], x[1]); err != nil {
			bad = append(bad, fmt.Sprintf("%s (%.80s)", x[0], strings.ReplaceAll(err.Error(), "\n", " ")))
		}
	}
	score := fmt.Sprintf("%d of %d", len(types)-len(bad), len(types))
	if len(bad) > 0 {
		return "", fmt.Errorf("types: %s; not %s", score, strings.Join(bad, ", "))
	}
	return score, nil
}

// column is the type that a table's column can have.
func column(name string) string {
	if strings.HasPrefix(name, "Nested(") {
		return "Array(Tuple" + strings.TrimPrefix(name, "Nested") + ")"
	}
	return name
}

func (t *trial) curl(ctx context.Context) error {
	version, err := command(ctx, "", "curl", "--version")
	if err != nil {
		return err
	}
	name := strings.Join(strings.Fields(version)[:2], " ")
	url := "http://127.0.0.1:" + t.httpPort + "/"
	curl := func(body string, args ...string) (string, error) {
		return command(ctx, body, "curl", append([]string{"-sS", "--user", user + ":" + password, "--data-binary", "@-"}, args...)...)
	}
	run := func(sql string, args ...string) (string, error) { return curl(sql, append(args, url)...) }
	t.cell(name, "connect", func() (string, error) { return want2(command(ctx, "", "curl", "-sS", url+"ping"))("Ok.\n") })
	t.cell(name, "auth failure", func() (string, error) {
		out, err := command(ctx, "", "curl", "-sS", "--user", user+":wrong", url+"?query=SELECT+1")
		return wantError(out, err, "Code: 516.")
	})
	t.cell(name, "select", func() (string, error) {
		if _, err := want2(run("SELECT number FROM numbers(3) FORMAT JSONCompact"))(`"data"`); err != nil {
			return "", err
		}
		return want2(command(ctx, "", "curl", "-sS", "-H", "X-ClickHouse-User: "+user, "-H", "X-ClickHouse-Key: "+password, url+"?query=SELECT+5"))("5\n")
	})
	t.cell(name, "insert", func() (string, error) {
		if _, err := run("CREATE OR REPLACE TABLE cu (a UInt64, b String) ENGINE = MergeTree ORDER BY a"); err != nil {
			return "", err
		}
		if out, err := curl("1,x\n2,y\n", url+"?query=INSERT+INTO+cu+FORMAT+CSV"); err != nil || out != "" {
			return "", errors.Join(err, fmt.Errorf("%s", out))
		}
		return want2(run("SELECT sum(a), count() FROM cu"))("3\t2\n")
	})
	t.cell(name, "types", func() (string, error) {
		return t.everyType(func(kind, sql string) error {
			for _, format := range []string{"Native", "RowBinary", "TSV", "JSONEachRow"} {
				if _, err := run("CREATE OR REPLACE TABLE ct (v " + column(kind) + ") ENGINE = Memory"); err != nil {
					return err
				}
				file := filepath.Join(t.work, "curl.out")
				if _, err := run("SELECT "+sql+" AS v FORMAT "+format, "-o", file); err != nil {
					return err
				}
				out, err := command(ctx, "", "curl", "-sS", "--user", user+":"+password, "--data-binary", "@"+file, url+"?query=INSERT+INTO+ct+FORMAT+"+format)
				if err != nil || out != "" {
					return errors.Join(err, fmt.Errorf("%s: %s", format, out))
				}
				before, err1 := run("SELECT toString(" + sql + ")")
				after, err2 := run("SELECT toString(v) FROM ct")
				if err := errors.Join(err1, err2); err != nil || before != after {
					return errors.Join(err, fmt.Errorf("%s: %q came back as %q", format, before, after))
				}
			}
			return nil
		})
	})
	t.cell(name, "parameters", func() (string, error) {
		return want2(curl("SELECT {n:UInt8} + 1, {s:String}", url+"?param_n=41&param_s=it%27s"))("42\tit\\'s\n")
	})
	t.cell(name, "sessions", func() (string, error) {
		if _, err := curl("CREATE TEMPORARY TABLE tmp AS SELECT 5 AS five", url+"?session_id=cu"); err != nil {
			return "", err
		}
		if _, err := want2(curl("SELECT five FROM tmp", url+"?session_id=cu"))("5\n"); err != nil {
			return "", err
		}
		out, err := run("SELECT five FROM tmp")
		return wantError(out, err, "Code: 60.")
	})
	t.cell(name, "cancel", func() (string, error) {
		_, _ = curl("SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1", "--max-time", "1", url+"?query_id=cu-cancel")
		for range 100 {
			if out, err := run("SELECT count() FROM system.processes WHERE query_id = 'cu-cancel'"); err == nil && out == "0\n" {
				return "by closing the connection", nil
			}
			time.Sleep(100 * time.Millisecond)
		}
		return "", errors.New("the query runs on")
	})
	t.cell(name, "error in mid-stream", func() (string, error) {
		out, err := run("SELECT number, throwIf(number = 2999999) FROM numbers(3000000)")
		if err == nil {
			return "", errors.New("curl took it for whole")
		}
		return wantError(out, nil, "__exception__")
	})
	t.cell(name, "compression", func() (string, error) {
		return want2(curl("SELECT number FROM numbers(100000)", "--compressed", url+"?enable_http_compression=1"))("\n99999\n")
	})
	t.cell(name, "external tables", func() (string, error) {
		return want2(command(ctx, "1\n2\n", "curl", "-sS", "--user", user+":"+password, "-F", "query=SELECT sum(id) FROM ids", "-F", "ids_structure=id UInt8", "-F", "ids=@-;filename=ids", url))("3\n")
	})
	t.cell(name, "totals", func() (string, error) {
		return want2(run("SELECT number % 3 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k FORMAT JSON"))(`"totals"`)
	})
	file := filepath.Join(t.work, "rows.out")
	defer os.Remove(file)
	t.cell(name, "rows out", func() (string, error) {
		if _, err := run(fmt.Sprintf("SELECT number, number * 2 FROM numbers(%d) FORMAT CSV", t.rows), "-o", file); err != nil {
			return "", err
		}
		out, err := command(ctx, "", "wc", "-l", file)
		return want(out, err, fmt.Sprint(t.rows))
	})
	t.cell(name, "rows in", func() (string, error) {
		if _, err := run("CREATE OR REPLACE TABLE cm (a UInt64, b UInt64) ENGINE = MergeTree ORDER BY a"); err != nil {
			return "", err
		}
		if out, err := command(ctx, "", "curl", "-sS", "--user", user+":"+password, "--data-binary", "@"+file, url+"?query=INSERT+INTO+cm+FORMAT+CSV"); err != nil || out != "" {
			return "", errors.Join(err, fmt.Errorf("%s", out))
		}
		return want2(run("SELECT count(), uniqExact(a) FROM cm"))(fmt.Sprintf("%d\t%d\n", t.rows, t.rows))
	})
	return nil
}

// want2 lets a command's two results be compared.
func want2(got string, err error) func(string) (string, error) {
	return func(wanted string) (string, error) { return want(got, err, wanted) }
}

// debian is clickhouse-client as Debian has it, of 2018.
func (t *trial) debian(ctx context.Context) error {
	version, err := command(ctx, "", "clickhouse-client", "--version")
	if err != nil {
		return fmt.Errorf("%w: apt-get install clickhouse-client", err)
	}
	f := strings.Fields(version)
	name := "clickhouse-client " + strings.TrimSuffix(f[len(f)-1], ".")
	run := func(input, sql string, args ...string) (string, error) {
		return command(ctx, input, "clickhouse-client", append([]string{"--host", "127.0.0.1", "--port", t.nativePort, "--user", user, "--password", password, "--query", sql}, args...)...)
	}
	t.cell(name, "connect", func() (string, error) { return want2(run("", "SELECT 1"))("1\n") })
	t.cell(name, "auth failure", func() (string, error) {
		out, err := command(ctx, "", "clickhouse-client", "--host", "127.0.0.1", "--port", t.nativePort, "--user", user, "--password", "wrong", "--query", "SELECT 1")
		return wantError(out, err, "Code: 516.")
	})
	t.cell(name, "select", func() (string, error) {
		return want2(run("", "SELECT number, toString(number) FROM numbers(3) FORMAT CSV", "--max_threads", "2", "--max_block_size", "2"))("2,\"2\"\n")
	})
	t.cell(name, "insert", func() (string, error) {
		if err := t.exec(ctx, "CREATE OR REPLACE TABLE de (a UInt64, b String) ENGINE = MergeTree ORDER BY a"); err != nil {
			return "", err
		}
		if _, err := run("1\tx\n2\ty\n", "INSERT INTO de FORMAT TSV"); err != nil {
			return "", err
		}
		return want2(run("", "SELECT sum(a), count() FROM de"))("3\t2\n")
	})
	t.cell(name, "types", func() (string, error) {
		return t.everyType(func(kind, sql string) error {
			// The client parses what it sends, and knows the SQL of its day.
			err := t.exec(ctx, "CREATE OR REPLACE TABLE dv (v "+column(kind)+") ENGINE = Memory", "CREATE OR REPLACE TABLE dt (v "+column(kind)+") ENGINE = Memory", "INSERT INTO dv SELECT "+sql)
			if err != nil {
				return err
			}
			value, err := run("", "SELECT v FROM dv FORMAT TSV")
			if err != nil {
				return err
			}
			if _, err := run(value, "INSERT INTO dt FORMAT TSV"); err != nil {
				return err
			}
			after, err := run("", "SELECT v FROM dt FORMAT TSV")
			if err == nil && after != value {
				err = fmt.Errorf("%q came back as %q", value, after)
			}
			return err
		})
	})
	t.cell(name, "cancel", func() (string, error) {
		short, cancel := context.WithTimeout(ctx, time.Second)
		_, _ = command(short, "", "clickhouse-client", "--host", "127.0.0.1", "--port", t.nativePort, "--user", user, "--password", password, "--query_id", "de-cancel",
			"--query", "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
		cancel()
		for range 100 {
			if out, err := run("", "SELECT count() FROM system.processes WHERE query_id = 'de-cancel'"); err == nil && out == "0\n" {
				return "by closing the connection", nil
			}
			time.Sleep(100 * time.Millisecond)
		}
		return "", errors.New("the query runs on")
	})
	t.cell(name, "error in mid-stream", func() (string, error) {
		out, err := run("", "SELECT number, throwIf(number = 2999999) FROM numbers(3000000) FORMAT Null")
		return wantError(out, err, "Code: 395.")
	})
	t.cell(name, "compression", func() (string, error) {
		for _, c := range []string{"0", "1"} {
			if _, err := want2(run("", "SELECT count(), sum(number) FROM (SELECT number FROM numbers(100000))", "--compression", c))("100000\t4999950000\n"); err != nil {
				return "", err
			}
		}
		return "none, LZ4", nil
	})
	t.cell(name, "external tables", func() (string, error) {
		return want2(run("1\n2\n", "SELECT sum(_1) FROM ids", "--external", "--file=-", "--name=ids", "--types=UInt8"))("3\n")
	})
	t.cell(name, "totals", func() (string, error) {
		return want2(run("", "SELECT number % 3 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k FORMAT JSON", "--extremes", "1"))(`"totals"`)
	})
	file := filepath.Join(t.work, "rows.out")
	defer os.Remove(file)
	sh := func(line string) (string, error) { return command(ctx, "", "sh", "-c", line) }
	client := fmt.Sprintf("clickhouse-client --host 127.0.0.1 --port %s --user %s --password \"%s\"", t.nativePort, user, password)
	t.cell(name, "rows out", func() (string, error) {
		if _, err := sh(fmt.Sprintf("%s --query 'SELECT number, number * 2 FROM numbers(%d) FORMAT TSV' > %s", client, t.rows, file)); err != nil {
			return "", err
		}
		return want2(sh("wc -l " + file))(fmt.Sprint(t.rows))
	})
	t.cell(name, "rows in", func() (string, error) {
		if err := t.exec(ctx, "CREATE OR REPLACE TABLE dm (a UInt64, b UInt64) ENGINE = MergeTree ORDER BY a"); err != nil {
			return "", err
		}
		if _, err := sh(client + " --query 'INSERT INTO dm FORMAT TSV' < " + file); err != nil {
			return "", err
		}
		return want2(run("", "SELECT count(), uniqExact(a) FROM dm"))(fmt.Sprintf("%d\t%d\n", t.rows, t.rows))
	})
	return nil
}
