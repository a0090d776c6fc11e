package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

// widen asks for a pipe of pipeSize. Where it is not to be had, the pipe works as it is.
func widen(p *os.File) {
	if raw, err := p.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
