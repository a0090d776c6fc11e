//go:build linux

package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spawner starts processes from one thread that lives as long as the harness: the kernel kills a child when the thread that started it ends
// (PR_SET_PDEATHSIG), so whatever ends the harness ends them.
type spawner struct {
	todo  chan func()
	ended chan struct{}
}

func newSpawner(ctx context.Context) *spawner {
	s := &spawner{todo: make(chan func()), ended: make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		defer close(s.ended)
		for {
			select {
			case f := <-s.todo:
				f()
			case <-ctx.Done():
				return // the thread ends, and with it what is still running
			}
		}
	}()
	return s
}

// do runs f on the spawner's thread, which sees what the processes see where they have a mount namespace of their own.
func (s *spawner) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case s.todo <- func() { done <- f() }:
		return <-done
	case <-s.ended:
		return errors.New("the harness has ended")
	}
}

func (s *spawner) start(cmd *exec.Cmd) error { return s.do(cmd.Start) }

// spec says how to run a process.
type spec struct {
	name string
	path string
	args []string
	env  []string
	// again starts it again whenever it ends.
	again bool
}

// proc is a supervised process. Faults go on over its restarts.
type proc struct {
	spec
	spawn *spawner
	log   *os.File
	note  func(format string, args ...any)

	mu      sync.Mutex
	cmd     *exec.Cmd // nil: not running now
	ended   chan struct{}
	from    time.Time // not started before
	held    int       // not started while above 0
	changed chan struct{}
	starts  int
	exits   map[string]int // by how it ended, those of our kills excepted
	exit    string         // how it ended last
	killed  bool
	stop    context.CancelFunc
	gone    chan struct{}
}

// run starts supervising.
func (s *spawner) run(ctx context.Context, sp spec, dir string, note func(string, ...any)) (*proc, error) {
	f, err := os.OpenFile(filepath.Join(dir, sp.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	p := &proc{spec: sp, spawn: s, log: f, note: note, changed: make(chan struct{}), exits: map[string]int{}, stop: stop, gone: make(chan struct{})}
	go p.supervise(ctx)
	return p, nil
}

func (p *proc) supervise(ctx context.Context) {
	defer close(p.gone)
	defer p.log.Close()
	for p.allowed(ctx) {
		began := time.Now()
		if err := p.once(ctx); err != nil {
			p.note("%s: %v", p.name, err)
			return
		}
		if !p.again {
			return
		}
		if time.Since(began) < time.Second { // it ended at once: not so fast
			p.delay(500 * time.Millisecond)
		}
	}
}

// allowed waits until the process may be started; false when ctx has ended.
func (p *proc) allowed(ctx context.Context) bool {
	for {
		p.mu.Lock()
		wait, held, changed := time.Until(p.from), p.held > 0, p.changed
		p.mu.Unlock()
		if ctx.Err() != nil {
			return false
		}
		if !held && wait <= 0 {
			return true
		}
		if held {
			wait = time.Hour
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-changed:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

func (p *proc) once(ctx context.Context) error {
	cmd := exec.Command(p.path, p.args...) //nolint:noctx // it is killed by its supervisor
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	_, _ = fmt.Fprintf(p.log, "---- %s: start %d\n", time.Now().Format(time.RFC3339Nano), p.starts+1)
	if err := p.spawn.start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.path, err)
	}
	ended := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.ended, p.killed = cmd, ended, false
	p.starts++
	p.mu.Unlock()
	end := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer end()
	err := cmd.Wait()
	how := "exit 0"
	if err != nil {
		how = err.Error()
	}
	_, _ = fmt.Fprintf(p.log, "---- %s: %s\n", time.Now().Format(time.RFC3339Nano), how)
	p.mu.Lock()
	p.cmd, p.exit = nil, how
	if !p.killed && ctx.Err() == nil {
		p.exits[how]++
	}
	p.mu.Unlock()
	close(ended)
	return nil
}

// delay lets the process not be started before d has passed.
func (p *proc) delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := time.Now().Add(d); t.After(p.from) {
		p.from = t
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// hold keeps the process from being started until release; holds add up.
func (p *proc) hold() { p.holdBy(1) }

func (p *proc) release() { p.holdBy(-1) }

func (p *proc) holdBy(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held += n
	close(p.changed)
	p.changed = make(chan struct{})
}

// signal reaches the whole group of the process; false if it does not run.
func (p *proc) signal(sig syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	if sig == syscall.SIGKILL {
		p.killed = true
	}
	return syscall.Kill(-p.cmd.Process.Pid, sig) == nil
}

// kill ends the process as the kernel's out-of-memory killer would, and waits until it has ended.
func (p *proc) kill() bool {
	p.mu.Lock()
	ended := p.ended
	running := p.cmd != nil
	p.mu.Unlock()
	if !running || !p.signal(syscall.SIGKILL) {
		return false
	}
	<-ended
	return true
}

// pid of the process; 0 if it does not run.
func (p *proc) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// children of the process.
func (p *proc) children() []int {
	pid := p.pid()
	if pid == 0 {
		return nil
	}
	var out []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		for f := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// terminate asks the process to end in good order and waits for it; it is not started again.
func (p *proc) terminate(ctx context.Context) error {
	p.hold()
	p.mu.Lock()
	ended := p.ended
	running := p.cmd != nil
	p.killed = true // its end is our wish
	p.mu.Unlock()
	if !running {
		return nil
	}
	if err := syscall.Kill(p.pid(), syscall.SIGTERM); err != nil {
		return fmt.Errorf("terminate %s: %w", p.name, err)
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("terminate %s: %w", p.name, context.Cause(ctx))
	}
}

// lastExit is how the process ended last.
func (p *proc) lastExit() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

func (p *proc) counts() (starts int, exits map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	exits = map[string]int{}
	for k, v := range p.exits {
		exits[k] = v
	}
	return p.starts, exits
}

// lastLines of a process's log, for the report of a failure.
func lastLines(path string, n int) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 64<<10 {
		_, _ = f.Seek(-64<<10, io.SeekEnd)
	}
	var lines []string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		lines = append(lines, sc.Text())
		if len(lines) > n {
			lines = lines[1:]
		}
	}
	return lines
}
