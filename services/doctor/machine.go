//go:build unix

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Directory says whether a directory can be used by us, and by nobody else.
func Directory(name, dir string) Check {
	return Simple(name, func(context.Context) Finding {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			parent := existing(dir)
			if err := unix.Access(parent, unix.W_OK|unix.X_OK); err != nil {
				return fail("make it, owned by this user, or name another by --data-dir", "%s does not exist and cannot be made in %s: %s", dir, parent, err)
			}
			return okay("%s is not there yet and can be made", dir)
		}
		if err != nil {
			return fail("name another by --data-dir", "%s", err)
		}
		if !info.IsDir() {
			return fail("name another by --data-dir", "%s is no directory", dir)
		}
		if err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
			return fail("give it to this user (chown), or name another by --data-dir", "%s cannot be read and written: %s", dir, err)
		}
		if bad := unwritable(dir); bad != "" {
			return fail("give all of it to this user (chown -R): was it used by another, or by root?", "%s", bad)
		}
		if mode := info.Mode().Perm(); mode&0o007 != 0 {
			return warn("chmod 700: the streams and the database can be read by every account of this machine", "%s has mode %04o", dir, mode)
		}
		return okay("%s is ours", dir)
	})
}

// existing is the nearest directory above that exists.
func existing(dir string) string {
	for {
		up := filepath.Dir(dir)
		if up == dir {
			return up
		}
		if info, err := os.Stat(up); err == nil && info.IsDir() {
			return up
		}
		dir = up
	}
}

// unwritable names something below a data directory that this user cannot write, two levels deep.
func unwritable(dir string) string {
	for _, pattern := range []string{"*", "*/*"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is good
		for _, f := range found {
			info, err := os.Stat(f)
			if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
				continue
			}
			how := uint32(unix.W_OK)
			if info.IsDir() {
				how |= unix.X_OK
			}
			if err := unix.Access(f, how); err != nil {
				return fmt.Sprintf("%s cannot be written: %s", f, err)
			}
		}
	}
	return ""
}

// Bounds of a disk.
const (
	diskFail   = 1 << 30
	diskWarn   = 0.1 // of its size
	inodesFail = 10_000
	inodesWarn = 0.05
	fsyncTries = 5
	fsyncWarn  = 50 * time.Millisecond
)

// Disk says how much room there is where a directory is or will be, and may grow to: what the streams may still take.
func Disk(dir string, mayGrow uint64) Check {
	return Simple("disk", func(context.Context) Finding {
		at := dir
		if _, err := os.Stat(at); err != nil {
			at = existing(dir)
		}
		var s unix.Statfs_t
		if err := unix.Statfs(at, &s); err != nil {
			return fail("name another place by --data-dir", "ask how full the disk of %s is: %s", at, err)
		}
		free, size := s.Bavail*uint64(s.Bsize), s.Blocks*uint64(s.Bsize)
		return room(free, size, s.Ffree, s.Files, mayGrow)
	})
}

// room judges a disk.
func room(free, size, inodes, allInodes, mayGrow uint64) Finding {
	say := fmt.Sprintf("%s free of %s (%.0f %%)", gigabytes(free), gigabytes(size), percent(free, size))
	if allInodes > 0 {
		say += fmt.Sprintf(", %d inodes free (%.0f %%)", inodes, percent(inodes, allInodes))
	}
	const fix = "make room, or move data_dir to a larger disk"
	switch {
	case free < diskFail:
		return fail(fix, "%s", say)
	case allInodes > 0 && inodes < inodesFail:
		return fail("make room for files: ClickHouse keeps many small ones for some minutes", "%s", say)
	case float64(free) < diskWarn*float64(size):
		return warn(fix, "%s", say)
	case allInodes > 0 && float64(inodes) < inodesWarn*float64(allInodes):
		return warn("make room for files: ClickHouse keeps many small ones for some minutes", "%s", say)
	case free < mayGrow:
		return warn("lower nats.max_bytes, or make room: a full disk stops NATS and ClickHouse both, where a full stream only refuses",
			"%s; the streams alone may take %s (nats.max_bytes each)", say, gigabytes(mayGrow))
	}
	return okay("%s", say)
}

func percent(part, whole uint64) float64 { return 100 * float64(part) / float64(max(whole, 1)) }

func gigabytes(n uint64) string { return strconv.FormatFloat(float64(n)/1e9, 'f', 1, 64) + " GB" }

// Fsync measures how long the disk of a directory takes to sync, on a file without a name, which leaves nothing behind. ttl is that of the leases: whoever cannot
// renew in time loses them.
func Fsync(dir string, ttl time.Duration) Check {
	return Simple("fsync", func(ctx context.Context) Finding {
		if _, err := os.Stat(dir); err != nil {
			return skip("%s is not there yet", dir)
		}
		took, err := fsyncs(ctx, dir)
		if err != nil {
			return skip("%s", err)
		}
		return slow(took, ttl)
	})
}

// slow judges how long syncs took.
func slow(took []time.Duration, ttl time.Duration) Finding {
	slices.Sort(took)
	middle, worst := took[len(took)/2], took[len(took)-1]
	say := fmt.Sprintf("%s in the middle, %s at worst of %d", middle.Round(10*time.Microsecond), worst.Round(10*time.Microsecond), len(took))
	const fix = "use a local disk, or find who else writes to it; raise lease.ttl for a disk that stays slow"
	switch {
	case middle >= ttl/4: // a renewal's time is up
		return fail(fix, "%s: leases (lease.ttl %s) will be lost", say, ttl)
	case middle >= fsyncWarn || worst >= ttl/4:
		return warn(fix, "%s", say)
	}
	return okay("%s", say)
}

// fsyncs writes a block and syncs it, some times.
func fsyncs(ctx context.Context, dir string) ([]time.Duration, error) {
	f, err := nameless(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing in it counts
	block := make([]byte, 4096)
	var out []time.Duration
	for range fsyncTries {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, fmt.Errorf("write a block to the disk of %s: %w", dir, err)
		}
		if err := f.Sync(); err != nil {
			return nil, fmt.Errorf("sync a block to the disk of %s: %w", dir, err)
		}
		out = append(out, time.Since(start))
		if ctx.Err() != nil {
			break // what was measured says enough
		}
	}
	return out, nil
}

// Addresses says whether what we shall listen on is free.
func Addresses(keys map[string]string) Check {
	return Simple("addresses", func(ctx context.Context) Finding {
		var taken, asked []string
		for key, addr := range keys {
			var lc net.ListenConfig
			l, err := lc.Listen(ctx, "tcp", addr)
			if err != nil {
				taken = append(taken, key+": "+err.Error())
				continue
			}
			_ = l.Close()
			asked = append(asked, addr)
		}
		if len(taken) > 0 {
			slices.Sort(taken)
			return fail("stop what has it, give another address by that key, or --free-ports", "%s", strings.Join(taken, "; "))
		}
		slices.Sort(asked)
		return okay("free: %s", strings.Join(asked, ", "))
	})
}

// Files says whether the limit of open files is enough. pid is of a process of ours that runs; 0: ours, which is what one that is started here has.
func Files(pid int, want uint64) Check {
	return Simple("open files", func(context.Context) Finding {
		var limit unix.Rlimit
		err := openFiles(pid, &limit)
		if err != nil {
			return skip("ask for the limit of open files: %s", err)
		}
		whose := "here"
		if pid != 0 {
			whose = fmt.Sprintf("of process %d", pid)
		}
		// A program of Go's raises its soft limit to the hard one.
		say := fmt.Sprintf("at most %d open files %s, wanted are %d", limit.Max, whose, want)
		const fix = "raise it: LimitNOFILE= of the systemd unit, ulimits of the container, or ulimit -n; or lower gateway.limits.connections"
		switch {
		case limit.Max < want/4:
			return fail(fix, "%s", say)
		case limit.Max < want:
			return warn(fix, "%s", say)
		}
		return okay("%s", say)
	})
}

// Memory says whether there is enough: in all what the control group or the machine has, free what is left of it now.
func Memory(want uint64) Check {
	return Simple("memory", func(context.Context) Finding {
		all, free, where, err := memory()
		if err != nil {
			return skip("ask for the memory: %s", err)
		}
		return enough(all, free, want, where)
	})
}

// enough judges the memory.
func enough(all, free, want uint64, where string) Finding {
	say := fmt.Sprintf("%s of %s free %s, wanted are %s", gigabytes(free), gigabytes(all), where, gigabytes(want))
	const fix = "give it more, or lower clickhouse.max_memory, lander.max_rows and lander.max_bytes"
	switch {
	case all < want/2 || free < want/4:
		return fail(fix, "%s", say)
	case all < want || free < want/2:
		return warn(fix, "%s", say)
	}
	return okay("%s", say)
}
