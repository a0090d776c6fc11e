// Command compat tries the embedded ClickHouse with the clients that people have, and prints what works as a table: the one of pkg/chembed/README.md. Each
// cell is a test against the real client; what does not work is in the table too, with the client's own words below it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

//go:embed clients
var clients embed.FS

// The user of all clients, and how long one of them may take.
const (
	user, password = "compat", "it's secret"
	clientTime     = 20 * time.Minute
)

// operations are the table's columns.
var operations = []string{
	"connect", "auth failure", "select", "insert", "types", "parameters", "sessions", "cancel", "error in mid-stream", "compression", "external tables",
	"totals", "rows out", "rows in",
}

// cell is what an operation did with a client.
type cell struct {
	client, operation string
	ok                bool
	note              string
}

func main() {
	chembed.RunChildIfRequested()
	cache := flag.String("cache", ".cache/compat", "directory of the clients, fetched by pip, npm and mvn")
	rows := flag.Int("rows", 1_000_000, "rows out and in; 10000000 is what is published")
	only := flag.String("only", "", "run the clients whose name holds this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *cache, *rows, *only); err != nil {
		fmt.Fprintln(os.Stderr, "compat:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, cache string, rows int, only string) error {
	dir, err := os.MkdirTemp("", "hashpivot-compat-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	work := filepath.Join(dir, "clients")
	if err := unpack(work); err != nil {
		return err
	}
	cfg := chembed.DefaultConfig()
	cfg.DataDir, cfg.NativeAddr, cfg.HTTPAddr = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	cfg.Users = map[string]chembed.User{user: {Password: password}}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	srv, err := chembed.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = srv.Close(context.WithoutCancel(ctx)) }()
	if cache, err = filepath.Abs(cache); err != nil {
		return err
	}
	t := &trial{srv: srv, rows: rows, cache: cache, work: work}
	_, t.nativePort, _ = net.SplitHostPort(srv.NativeAddr())
	_, t.httpPort, _ = net.SplitHostPort(srv.HTTPAddr())
	for _, c := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"clickhouse-go", t.clickhouseGo}, {"ch-go", t.chGo}, {"curl", t.curl}, {"clickhouse-client", t.debian}, {"python", t.python}, {"node", t.node}, {"jdbc", t.jdbc},
	} {
		if !strings.Contains(c.name, only) {
			continue
		}
		cctx, cancel := context.WithTimeout(ctx, clientTime)
		if err := c.run(cctx); err != nil {
			fmt.Fprintf(os.Stderr, "compat: %s cannot be tried here: %v\n", c.name, err)
		}
		cancel()
	}
	t.print(srv.Version())
	if srv.Restarts() > 0 {
		return fmt.Errorf("the engine died %d times", srv.Restarts())
	}
	return nil
}

func unpack(to string) error {
	return fs.WalkDir(clients, "clients", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("clients", path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := clients.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}

// trial is one run of all clients.
type trial struct {
	srv                  *chembed.Server
	nativePort, httpPort string
	rows                 int
	cache, work          string
	cells                []cell
}

// cell runs an operation of a client within this process.
func (t *trial) cell(client, operation string, f func() (note string, err error)) {
	note, err := f()
	c := cell{client, operation, err == nil, note}
	if err != nil {
		c.note = err.Error()
	}
	t.cells = append(t.cells, c)
	fmt.Fprintln(os.Stderr, c.client, c.operation, c.ok, c.note)
}

// script runs a client of its own process, which prints a line for each cell.
func (t *trial) script(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CH_NATIVE="+t.nativePort, "CH_HTTP="+t.httpPort, "CH_USER="+user, "CH_PASSWORD="+password, fmt.Sprint("CH_ROWS=", t.rows),
		"CH_TYPES="+filepath.Join(t.work, "types.tsv"), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		if f := strings.Split(lines.Text(), "\t"); len(f) == 4 {
			t.cells = append(t.cells, cell{f[0], f[1], f[2] == "ok", f[3]})
			fmt.Fprintln(os.Stderr, f)
		}
	}
	return err
}

// once runs a command unless the file that it makes is there.
func once(ctx context.Context, file, dir, name string, args ...string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %.500s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (t *trial) python(ctx context.Context) error {
	venv := filepath.Join(t.cache, "venv")
	bin := filepath.Join(venv, "bin", "python")
	err := errors.Join(
		once(ctx, bin, t.cache, "python3", "-m", "venv", venv),
		once(ctx, filepath.Join(venv, "bin", "installed"), t.cache, bin, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", filepath.Join(t.work, "requirements.txt")),
	)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(venv, "bin", "installed"), nil, 0o600); err != nil {
		return err
	}
	return errors.Join(t.script(ctx, t.work, bin, "connect.py"), t.script(ctx, t.work, bin, "driver.py"))
}

func (t *trial) node(ctx context.Context) error {
	dir := filepath.Join(t.cache, "node")
	if err := once(ctx, filepath.Join(dir, "node_modules", "@clickhouse", "client"), dir, "npm", "install", "--silent", "--no-save", "--prefix", dir, "@clickhouse/client@1.23.1"); err != nil {
		return err
	}
	src, err := os.ReadFile(filepath.Join(t.work, "client.mjs"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "client.mjs"), src, 0o600); err != nil { // modules are looked for from where it lies
		return err
	}
	return t.script(ctx, dir, "node", "client.mjs")
}

func (t *trial) jdbc(ctx context.Context) error {
	lib, src := filepath.Join(t.cache, "jdbc"), filepath.Join(t.work, "jdbc")
	err := once(ctx, filepath.Join(lib, "clickhouse-jdbc-0.10.0.jar"), lib, "mvn", "-q", "-B", "-f", filepath.Join(src, "pom.xml"),
		"org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies", "-DoutputDirectory="+lib)
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "javac", "-d", src, filepath.Join(src, "Compat.java")).CombinedOutput(); err != nil {
		return fmt.Errorf("javac: %w: %s", err, out)
	}
	return t.script(ctx, src, "java", "-cp", src+":"+filepath.Join(lib, "*"), "Compat")
}

// print writes the table, and what the cells that are not plainly good say.
func (t *trial) print(version string) {
	var names []string
	notes := map[[2]string]cell{}
	for _, c := range t.cells {
		if !slices.Contains(names, c.client) {
			names = append(names, c.client)
		}
		notes[[2]string{c.client, c.operation}] = c
	}
	fmt.Printf("Engine %s, native revision as each client asks for it, %d rows out and in.\n\n| client |", version, t.rows)
	for _, o := range operations {
		fmt.Printf(" %s |", o)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(operations)))
	for _, n := range names {
		fmt.Printf("| %s |", n)
		for _, o := range operations {
			c, ok := notes[[2]string{n, o}]
			switch {
			case !ok:
				fmt.Print("  |")
			case c.ok:
				fmt.Print(" yes |")
			default:
				head, _, partly := strings.Cut(c.note, "; not ")
				if i := strings.LastIndex(head, ": "); partly && strings.Contains(head, " of ") {
					fmt.Printf(" %s |", strings.TrimSpace(head[i+1:]))
				} else {
					fmt.Print(" **no** |")
				}
			}
		}
		fmt.Println()
	}
	fmt.Println()
	for _, c := range t.cells {
		if !c.ok {
			fmt.Printf("- %s, %s: %s\n", c.client, c.operation, c.note)
		}
	}
}
