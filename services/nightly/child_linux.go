package nightly

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes: a group of its own, and no longer life than ours.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// limitChild bounds a process that has just been started, and what it will start: private memory, a file's size, no core dumps. An address-space
// limit would stop numerical libraries, which reserve far more than they use.
func limitChild(pid int, memory uint64, file int64) error {
	set := func(what int, value uint64) error {
		err := unix.Prlimit(pid, what, &unix.Rlimit{Cur: value, Max: value}, nil)
		if errors.Is(err, unix.ESRCH) { // it has ended already
			return nil
		}
		return err
	}
	if err := set(unix.RLIMIT_CORE, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if memory > 0 {
		if err := set(unix.RLIMIT_DATA, memory); err != nil {
			return fmt.Errorf("bound memory: %w", err)
		}
	}
	if file > 0 {
		if err := set(unix.RLIMIT_FSIZE, uint64(file)); err != nil {
			return fmt.Errorf("bound files: %w", err)
		}
	}
	return nil
}
