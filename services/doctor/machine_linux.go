package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// nameless opens a file that has no name and is gone with us.
func nameless(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a file without a name in %s: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), "nameless"), nil
}

// openFiles reads the limit of a process, 0 being this one.
func openFiles(pid int, limit *unix.Rlimit) error {
	return unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, limit)
}

// memory of the machine, or of our control group where that has less.
func memory() (all, free uint64, where string, _ error) {
	all, free, err := meminfo()
	if err != nil {
		return 0, 0, "", err
	}
	where = "on this machine"
	if limit, used, ok := cgroup(); ok && limit < all {
		all, free, where = limit, min(free, limit-min(used, limit)), "in this control group"
	}
	return all, free, where, nil
}

func meminfo() (all, free uint64, _ error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "MemTotal:":
			all = n << 10
		case "MemAvailable:":
			free = n << 10
		}
	}
	if all == 0 {
		return 0, 0, errors.New("/proc/meminfo has no MemTotal")
	}
	return all, free, nil
}

// cgroup is the limit and the use of our control group, of version 2.
func cgroup() (limit, used uint64, ok bool) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, 0, false
	}
	_, path, found := strings.Cut(strings.TrimSpace(string(text)), "0::")
	if !found {
		return 0, 0, false
	}
	number := func(name string) (uint64, bool) {
		text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", path, name))
		if err != nil {
			return 0, false
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64) // "max" is none
		return n, err == nil
	}
	limit, ok = number("memory.max")
	used, _ = number("memory.current")
	return limit, used, ok
}
