//go:build unix && !linux

package doctor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// nameless opens a file whose name is gone at once.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".doctor")
	if err != nil {
		return nil, fmt.Errorf("make a file in %s: %w", dir, err)
	}
	return f, os.Remove(f.Name())
}

// openFiles reads the limit of this process: that of another cannot be asked for here.
func openFiles(_ int, limit *unix.Rlimit) error { return unix.Getrlimit(unix.RLIMIT_NOFILE, limit) }

func memory() (all, free uint64, where string, _ error) {
	return 0, 0, "", errors.New("this system does not tell it by a file")
}
