package nightly

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Why a child was ended.
var (
	errTimeLimit = errors.New("it ran longer than its time limit")
	errQuota     = errors.New("it wrote more than its output may hold")
)

// What a child is given to end by itself before it is killed, and what the killing of its children may take.
const (
	childGrace = 2 * time.Second
	killWithin = 5 * time.Second
)

// child is a process that we started, and everything that it starts.
type child struct {
	path  string
	args  []string
	env   []string
	dir   string
	limit time.Duration
	// maxMemory bounds the private memory of each process, quota what the directories watched may hold together; 0: no bound.
	maxMemory uint64
	quota     int64
	watched   []string
	owner     string // the directory that its mark names; within that of research
	output    io.Writer
}

// markVariable is in the environment of every child, and so of what it starts, wherever that moves: the directory and the pid of the owner.
const markVariable = "HASHPIVOT_NIGHTLY_OWNER"

// mark of the children of this process over a directory.
func mark(directory string) string {
	return markVariable + "=" + strconv.Itoa(os.Getpid()) + ":" + directory
}

// run starts the child and waits until it and all that it started are gone. The error wraps errTimeLimit, errQuota or the context's cause where
// those ended it.
func (c child) run(ctx context.Context) error {
	outer := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("%w of %s", errTimeLimit, c.limit))
	defer cancel()

	tag := mark(c.owner)
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Dir, cmd.Env = c.dir, append(c.env, tag)
	cmd.Stdout, cmd.Stderr = c.output, c.output
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	// Also what bounds the wait for the pipe when something that the child left behind holds it open.
	cmd.WaitDelay = childGrace
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", c.path, err)
	}
	limitErr := limitChild(cmd.Process.Pid, c.maxMemory, c.quota)
	if limitErr != nil {
		stop(limitErr)
	}
	var wg sync.WaitGroup
	if c.quota > 0 {
		wg.Go(func() { watchQuota(ctx, c.watched, c.quota, stop) })
	}
	err := cmd.Wait()
	cause := context.Cause(ctx)
	stop(nil)
	wg.Wait()
	if kerr := killAll(cmd.Process.Pid, tag); kerr != nil {
		err = errors.Join(err, kerr)
	}
	if c.quota > 0 && cause == nil && size(c.watched...) > c.quota { // between two looks
		cause = errQuota
	}
	switch {
	case limitErr != nil:
		return fmt.Errorf("limit %s: %w", c.path, limitErr)
	case outer.Err() != nil:
		return context.Cause(outer)
	case cause != nil:
		return cause
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it ended well; what held its output open is gone now
	}
	return err
}

// watchQuota ends the child when the directories hold more than they may.
func watchQuota(ctx context.Context, dirs []string, quota int64, stop context.CancelCauseFunc) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if n := size(dirs...); n > quota {
				stop(fmt.Errorf("%w: %d bytes of %d", errQuota, n, quota))
				return
			}
		}
	}
}

// size of what directories hold, bytes. Files that go while they are read count as nothing.
func size(dirs ...string) int64 {
	var n int64
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // gone meanwhile
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				n += info.Size()
			}
			return nil
		})
	}
	return n
}

// killAll kills the process group and everything that carries the mark, until nothing does.
func killAll(group int, tag string) error {
	_ = syscall.Kill(-group, syscall.SIGKILL)
	deadline := time.Now().Add(killWithin)
	for {
		left := marked(func(env string) bool { return env == tag })
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("kill what was left of it: processes %v do not end", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// sweep kills what children of an owner left behind that is no more: one that was killed could not clear up. It tells how many it found.
func sweep(directory string) int {
	n := 0
	for _, pid := range marked(func(env string) bool {
		owner, dir, ok := strings.Cut(strings.TrimPrefix(env, markVariable+"="), ":")
		pid, err := strconv.Atoi(owner)
		ours := dir == directory || strings.HasPrefix(dir, directory+string(filepath.Separator))
		return ok && err == nil && pid > 0 && pid != os.Getpid() && ours && syscall.Kill(pid, 0) == syscall.ESRCH
	}) {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}

// marked lists the processes whose environment has a mark that fits. Only a system with /proc knows any.
func marked(fits func(env string) bool) []int {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile("/proc/" + d.Name() + "/environ") // empty of a zombie, refused of a stranger's
		if err != nil || !bytes.Contains(env, []byte(markVariable+"=")) {
			continue
		}
		for kv := range strings.SplitSeq(string(env), "\x00") {
			if strings.HasPrefix(kv, markVariable+"=") && fits(kv) {
				out = append(out, pid)
			}
		}
	}
	return out
}
