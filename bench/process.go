package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program under measurement that is killed and started again: RSS and processor time are read from outside.
type process struct {
	name    string
	command []string
	log     *os.File // what it says on stderr

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	cpu    float64 // seconds of those that were killed
	starts int
}

func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.CommandContext(ctx, p.command[0], p.command[1:]...)
	cmd.Stderr, cmd.Stdout = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, exited := make(chan error, 1), make(chan struct{})
	go func() { // ends with the process, which end waits for
		// The kernel kills the child when the thread that started it ends, so that must last as long.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s (make bench builds it): %w", p.name, err)
	}
	p.cmd, p.exited = cmd, exited
	p.starts++
	return nil
}

// end signals the process and waits for it; its processor time is kept.
func (p *process) end(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	timer := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	<-p.exited
	timer.Stop()
	s := p.cmd.ProcessState
	p.cpu += (s.UserTime() + s.SystemTime()).Seconds()
	p.cmd = nil
}

func (p *process) kill() { p.end(syscall.SIGKILL) }

// alive returns an error if the process has ended by itself.
func (p *process) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return fmt.Errorf("%s does not run", p.name)
	}
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended: %s; it said last: %s", p.name, p.cmd.ProcessState, tail(p.log.Name()))
	default:
		return nil
	}
}

// tail is the end of a log.
func tail(file string) string {
	const most = 2 << 10
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data[max(len(data)-most, 0):])
}

// rss is the process's resident memory, MiB.
func (p *process) rss() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 64)
			return n / 1024
		}
	}
	return 0
}

// cpuSeconds is the processor time of the process and of those of it that ended before.
func (p *process) cpuSeconds() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return p.cpu
	}
	return p.cpu + cpuSecondsOf(p.cmd.Process.Pid)
}

// cpuSecondsOf reads a process's user and system time, of its threads that have ended too.
func cpuSecondsOf(pid int) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	const utime, stime, ticks = 11, 12, 100 // a second, on every Linux
	if len(fields) <= stime {
		return 0
	}
	u, _ := strconv.ParseFloat(fields[utime], 64)
	s, _ := strconv.ParseFloat(fields[stime], 64)
	return (u + s) / ticks
}

// runOnce runs a program to its end and returns what it printed; a code other than 0 is no error where allowed.
func runOnce(ctx context.Context, allowed int, command ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == allowed {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", strings.Join(command, " "), err)
	}
	return out, nil
}
