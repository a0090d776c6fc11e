package chembed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// process is one run of the engine process.
type process struct {
	cmd    *exec.Cmd
	pid    int
	output tail

	controlOnce sync.Once
	control     *os.File

	status chan childStatus // its lines; closed at its end
	exited chan struct{}    // closed when it has been waited for and its output read
	err    error            // of Wait, once exited is closed
}

// launch starts an engine process and waits until it accepts connections.
func (s *Server) launch(ctx context.Context) (*process, error) {
	p, err := s.spawn()
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*process, error) {
		p.closeControl()
		p.kill()
		<-p.exited
		return nil, err
	}
	select {
	case st, ok := <-p.status:
		switch {
		case ok && st.Ready:
			s.mu.Lock()
			s.version = st.Version
			s.mu.Unlock()
			return p, nil
		case ok:
			return fail(s.fatalError(st, p))
		}
		<-p.exited
		return fail(fmt.Errorf("%w: %s ended (%s) without a word; its main must call chembed.RunChildIfRequested first. Last output: %s",
			ErrNotAChild, s.exe, p.exit(), p.output.String()))
	case <-ctx.Done():
		return fail(fmt.Errorf("start embedded ClickHouse on %s: not ready: %w. Last output: %s", s.child.DataDir, ctx.Err(), p.output.String()))
	}
}

// fatalError makes the child's last word an error of ours.
func (s *Server) fatalError(st childStatus, p *process) error {
	switch st.Fatal {
	case fatalLocked:
		return fmt.Errorf("%w: %s: stop it, or choose another data directory", ErrDataDirLocked, st.Message)
	case fatalLibrary:
		return fmt.Errorf("%w: %s: install version %s with '%s'", ErrLibraryInvalid, st.Message, LibraryVersion, FetchCommand)
	case fatalDataDir:
		// The engine's reason is on its stderr, which ends after this message.
		p.closeControl()
		<-p.exited
		return fmt.Errorf("%w: %s: %s", ErrDataDirUnusable, st.Message, p.output.String())
	}
	return fmt.Errorf("start embedded ClickHouse: %s", st.Message)
}

// spawn starts the process with its pipes and sockets.
func (s *Server) spawn() (*process, error) {
	p := &process{exited: make(chan struct{}), status: make(chan childStatus, 4)}
	var parentSide, childSide []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close()
		}
	}
	failed := func(err error) (*process, error) {
		closeAll(parentSide)
		closeAll(childSide)
		return nil, fmt.Errorf("start engine process %s: %w", s.exe, err)
	}
	pipe := func(childReads bool) (parent, child *os.File, err error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		parent, child = r, w
		if childReads {
			parent, child = w, r
		}
		parentSide, childSide = append(parentSide, parent), append(childSide, child)
		return parent, child, nil
	}
	control, controlChild, err := pipe(true)
	if err != nil {
		return failed(err)
	}
	status, statusChild, err := pipe(false)
	if err != nil {
		return failed(err)
	}
	output, outputChild, err := pipe(false)
	if err != nil {
		return failed(err)
	}
	var sockets []*os.File
	for _, ln := range s.listeners { // one that measures has none
		f, err := dupSocket(ln.TCPListener)
		if err != nil {
			return failed(err)
		}
		sockets = append(sockets, f)
		childSide = append(childSide, f)
	}
	p.control = control

	cmd := exec.Command(s.exe, s.cfg.ChildArgs...)
	cmd.Args[0] = "hashpivot-clickhouse"
	cmd.Env = append(os.Environ(), childEnv+"="+childVersion)
	cmd.Stdin = nil // /dev/null: an INSERT in text reads it as data
	cmd.Stdout, cmd.Stderr = outputChild, outputChild
	cmd.ExtraFiles = append([]*os.File{controlChild, statusChild}, sockets...)
	cmd.SysProcAttr = childAttributes()
	p.cmd = cmd

	started := make(chan error, 1)
	waited := make(chan error, 1)
	go func() {
		// The kernel kills the child when the thread that started it ends, not the
		// process (PR_SET_PDEATHSIG): the thread must last as long as the child.
		// Never unlocked, it ends with this goroutine.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			waited <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return failed(err)
	}
	closeAll(childSide)
	p.pid = cmd.Process.Pid

	line, err := json.Marshal(s.child)
	if err == nil {
		_, err = control.Write(append(line, '\n'))
	}
	if err != nil {
		p.closeControl() // the child reads an end where its configuration should be
	}

	var readers sync.WaitGroup
	readers.Go(func() { p.readStatus(status) })
	readers.Go(func() { p.readOutput(output, s.log.With("component", "clickhouse")) })
	go func() {
		p.err = <-waited
		p.closeControl()
		// What the engine executed may hold the pipes open beyond its end.
		deadline := time.Now().Add(time.Second)
		_ = status.SetReadDeadline(deadline)
		_ = output.SetReadDeadline(deadline)
		readers.Wait()
		_ = status.Close()
		_ = output.Close()
		close(p.exited)
	}()
	return p, nil
}

// dupSocket makes a second descriptor of a listening socket, for the child. The
// listener's own File would do, but os/exec takes its descriptor by Fd, which turns
// the socket, and so ours, to blocking: an Accept in it could not be interrupted.
func dupSocket(ln *net.TCPListener) (*os.File, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	err = raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("duplicate listening socket %s: %w", ln.Addr(), err)
	}
	return os.NewFile(uintptr(fd), "listener "+ln.Addr().String()), nil
}

// closeControl asks the child to end.
func (p *process) closeControl() { p.controlOnce.Do(func() { _ = p.control.Close() }) }

// kill ends the child at once.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// exit describes how the process ended.
func (p *process) exit() string {
	if p.err != nil {
		return p.err.Error()
	}
	return "exit status 0"
}

func (p *process) readStatus(r io.Reader) {
	defer close(p.status)
	dec := json.NewDecoder(r)
	for {
		var st childStatus
		if err := dec.Decode(&st); err != nil {
			return
		}
		select {
		case p.status <- st:
		default: // nobody reads more than the first
		}
	}
}

// readOutput passes the child's lines on to the log: its own, which are JSON, at
// their level, the engine's as they are.
func (p *process) readOutput(r io.Reader, log *slog.Logger) {
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, prefix, err := lines.ReadLine()
		if err != nil {
			return
		}
		for prefix && err == nil { // the rest of an overlong line is dropped
			_, prefix, err = lines.ReadLine()
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if logOwn(log, line) {
			continue
		}
		p.output.add(string(line))
		level := slog.LevelInfo
		if bytes.Contains(line, []byte("<Error>")) || bytes.Contains(line, []byte("Exception")) {
			level = slog.LevelError
		} else if bytes.Contains(line, []byte("<Fatal>")) || bytes.Contains(line, []byte("<Warning>")) {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, string(line))
	}
}

// logOwn passes on a record of the child's own logger.
func logOwn(log *slog.Logger, line []byte) bool {
	if line[0] != '{' {
		return false
	}
	var rec map[string]any
	if json.Unmarshal(line, &rec) != nil {
		return false
	}
	msg, ok := rec["msg"].(string)
	if !ok {
		return false
	}
	var level slog.Level
	if s, ok := rec["level"].(string); !ok || level.UnmarshalText([]byte(s)) != nil {
		return false
	}
	var attrs []slog.Attr
	for k, v := range rec {
		if k != "msg" && k != "level" && k != "time" {
			attrs = append(attrs, slog.Any(k, v))
		}
	}
	log.LogAttrs(context.Background(), level, msg, attrs...)
	return true
}

// tail keeps the last lines of output, for the error that names the reason and for a crash report.
type tail struct {
	mu    sync.Mutex
	lines []string
}

const (
	tailLines   = 12  // in an error
	reportLines = 500 // in a crash report
)

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	if len(t.lines) > reportLines {
		t.lines = append(t.lines[:0], t.lines[reportLines/5:]...)
	}
}

func (t *tail) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

func (t *tail) String() string {
	lines := t.all()
	if len(lines) == 0 {
		return "(none)"
	}
	return strings.Join(lines[max(0, len(lines)-tailLines):], " | ")
}
