// Package e2e tests the built binary as its users run it: real processes, real clients of other makers, signals and kills.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is what `make build` leaves; `make test` builds it first.
func binary(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../bin/hashpivot")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return path
}

// recordings are the real data that is never committed.
func recordings(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../shared/data")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "network", "btc_coinmetrics_daily.csv")); err != nil {
		t.Skipf("the recordings are not here: %v", err)
	}
	return dir
}

// proc is a running hashpivot.
type proc struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout *lines
	stderr *lines
	done   chan struct{}
	err    error
}

// lines keeps what a process prints and lets tests wait for it.
type lines struct {
	mu   sync.Mutex
	all  []string
	more chan struct{}
}

func (l *lines) read(r io.Reader) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<22)
	for sc.Scan() {
		l.mu.Lock()
		l.all = append(l.all, sc.Text())
		close(l.more)
		l.more = make(chan struct{})
		l.mu.Unlock()
	}
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

// start runs the binary in a process group of its own.
func start(t testing.TB, env []string, args ...string) *proc {
	t.Helper()
	return startProgram(t, env, binary(t), args...)
}

// startProgram runs any program so.
func startProgram(t testing.TB, env []string, path string, args ...string) *proc {
	t.Helper()
	p := &proc{
		t: t, cmd: exec.Command(path, args...), done: make(chan struct{}),
		stdout: &lines{more: make(chan struct{})}, stderr: &lines{more: make(chan struct{})},
	}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.stdout.read(stdout) })
	wg.Go(func() { p.stderr.read(stderr) })
	go func() {
		wg.Wait()
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// line waits for a line of standard output that match accepts.
func (p *proc) line(match func(string) bool) string {
	p.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		p.stdout.mu.Lock()
		more := p.stdout.more
		for _, l := range p.stdout.all {
			if match(l) {
				p.stdout.mu.Unlock()
				return l
			}
		}
		p.stdout.mu.Unlock()
		select {
		case <-more:
		case <-p.done:
			p.t.Fatalf("ended before it printed what was waited for: %v\n%s\n%s", p.err, p.stdout.text(), p.stderr.text())
		case <-deadline:
			p.t.Fatalf("did not print what was waited for\n%s\n%s", p.stdout.text(), p.stderr.text())
		}
	}
}

// wait waits for the end and returns the exit code.
func (p *proc) wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("did not end within %s\n%s", within, p.stderr.text())
		return -1
	}
}

// kill ends the whole process tree as a power cut would.
func (p *proc) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// instance is what up prints with --json.
type instance struct {
	PID            int    `json:"pid"`
	NATS           string `json:"nats"`
	ClickHouse     string `json:"clickhouse"`
	ClickHouseHTTP string `json:"clickhouse_http"`
	Database       string `json:"database"`
	Admin          string `json:"admin"`
	Gateway        string `json:"gateway"`
}

func (p *proc) instance() instance {
	p.t.Helper()
	var in instance
	text := p.line(func(l string) bool { return strings.HasPrefix(l, "{") })
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
	return in
}

// run runs a command to its end.
func run(t testing.TB, within time.Duration, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("hashpivot %s: not done within %s\n%s", strings.Join(args, " "), within, errs.String())
	}
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// query runs SQL on a data directory and returns its rows.
func query(t testing.TB, dir, sql string) []map[string]any {
	t.Helper()
	code, out, errs := run(t, time.Minute, "sql", "--json", "--data-dir", dir, sql)
	if code != 0 {
		t.Fatalf("sql %s: code %d\n%s", sql, code, errs)
	}
	var rows []map[string]any
	dec := json.NewDecoder(strings.NewReader(out))
	dec.UseNumber()
	for {
		var row map[string]any
		if err := dec.Decode(&row); errors.Is(err, io.EOF) {
			return rows
		} else if err != nil {
			t.Fatalf("sql %s: %v\n%s", sql, err, out)
		}
		rows = append(rows, row)
	}
}

// one is the single value of a query.
func one(t testing.TB, dir, sql string) string {
	t.Helper()
	rows := query(t, dir, sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("sql %s: %v, want one value", sql, rows)
	}
	for _, v := range rows[0] {
		return fmt.Sprint(v)
	}
	return ""
}

// until polls a condition; what it waits for is another process's work, which gives no event to wait on.
func until(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}
