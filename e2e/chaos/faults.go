//go:build linux

package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errImpossible is of a fault that cannot be made here, for want of rights.
var errImpossible = errors.New("cannot be made here")

// syncWithin is how long replicas may take to have everything; what else is broken meanwhile is mended within it.
const syncWithin = 5 * time.Minute

// underWay are messages that a replica may be behind while others are published.
const underWay = 64

// parts are what a fault needs for itself: two faults never share one. A wipe needs every node: with a store gone, the loss of another node
// could lose what nobody may promise to keep.
func (f Fault) parts() []string {
	wire := func(a, b string) string { return min(a, b) + " - " + max(a, b) }
	// all are the nodes and what is between them.
	all := func() (out []string) {
		for i := range nodes {
			out = append(out, nodeName(i), wire(nodeName(i), nodeName((i+1)%nodes)))
		}
		return out
	}
	switch f.Kind {
	case Wipe, DiskFull:
		if f.On == engineName {
			return []string{f.On}
		}
		out := all()
		if f.Kind == Wipe { // the clients stand still for a moment
			out = append(out, loadName)
			for i := range maxLanders {
				out = append(out, landerName(i))
			}
		}
		return out
	case Cut, Latency, HalfOpen, Torn, LateAnswer:
		return []string{wire(f.On, f.And)}
	case ClockStep:
		return []string{"the clock of " + f.On}
	}
	if f.On == leaderName {
		// Which node that is turns out later.
		return []string{nodeName(0), nodeName(1), nodeName(2)}
	}
	return []string{f.On}
}

// maxLanders of a run.
const maxLanders = 16

// inflict makes the fault and returns when it has ended and the part works again as far as the fault was to blame.
func (s *system) inflict(ctx context.Context, f Fault) error {
	switch f.Kind {
	case Kill:
		return s.inflictKill(ctx, f)
	case Pause:
		return s.inflictPause(ctx, f)
	case Wipe:
		return s.inflictWipe(ctx, f)
	case Cut, Latency, HalfOpen, Torn, LateAnswer:
		return s.inflictWire(ctx, f)
	case EngineAway:
		s.engine.hold()
		defer s.engine.release()
		s.engine.kill()
		return pass(ctx, f.Hold)
	case Overload:
		return s.inflictOverload(ctx, f)
	case TooManyParts, ReadOnly:
		return s.inflictTables(ctx, f)
	case Memory:
		return s.inflictMemory(ctx, f)
	case DiskFull:
		return s.inflictDiskFull(ctx, f)
	case ClockStep:
		err := s.step(f.On, time.Duration(f.By)*time.Millisecond)
		_ = pass(ctx, f.Hold)
		return errors.Join(err, s.step(f.On, 0))
	}
	return fmt.Errorf("there is no fault %q", f.Kind)
}

// pass lets time go by; the end of the run is no error.
func pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

// target finds the process that a fault is on, and waits until it runs: what is down already cannot be hit.
func (s *system) target(ctx context.Context, name string) (*proc, error) {
	if name == leaderName {
		i := -1
		err := s.wait(ctx, "a leader of TRADES", startWithin, func(ctx context.Context) error {
			if i = s.leader(ctx, "TRADES"); i < 0 {
				return errors.New("there is none")
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		name = nodeName(i)
	}
	p := s.named(name)
	if p == nil {
		return nil, fmt.Errorf("there is no process %s", name)
	}
	return p, s.wait(ctx, name+" to run", startWithin, func(context.Context) error {
		if p.pid() == 0 {
			return errors.New("it does not")
		}
		return nil
	})
}

func (s *system) inflictKill(ctx context.Context, f Fault) error {
	p, err := s.target(ctx, f.On)
	if err != nil {
		return err
	}
	if f.On == engineName && f.And == "" {
		// The engine's own process; its parent starts it again.
		return s.wait(ctx, "the engine to kill", startWithin, func(context.Context) error {
			children := p.children()
			if len(children) == 0 {
				return errors.New("it does not run")
			}
			return syscall.Kill(children[0], syscall.SIGKILL) // gone meanwhile: tried again
		})
	}
	err = s.wait(ctx, p.name+" to kill", startWithin, func(context.Context) error {
		if !p.kill() {
			return errors.New("it does not run") // it ended by itself, and is started again
		}
		return nil
	})
	p.delay(f.Hold)
	_ = pass(ctx, f.Hold)
	return err
}

func (s *system) inflictPause(ctx context.Context, f Fault) error {
	p, err := s.target(ctx, f.On)
	if err != nil {
		return err
	}
	var pids []int
	err = s.wait(ctx, p.name+" to pause", startWithin, func(context.Context) error {
		if pids = []int{p.pid()}; pids[0] == 0 {
			return errors.New("it does not run")
		}
		return syscall.Kill(pids[0], syscall.SIGSTOP)
	})
	if err != nil {
		return err
	}
	if f.On == engineName {
		for _, child := range p.children() {
			if syscall.Kill(child, syscall.SIGSTOP) == nil { // else it has ended
				pids = append(pids, child)
			}
		}
	}
	defer func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT) // one that was killed meanwhile is gone
		}
	}()
	return pass(ctx, f.Hold)
}

func (s *system) inflictWipe(ctx context.Context, f Fault) error {
	p, err := s.target(ctx, f.On)
	if err != nil {
		return err
	}
	// Nothing may be under way: what two nodes have acknowledged and the third does not have yet is lost with one of the two, as Raft has it.
	clients := append([]*proc{s.load}, s.landers...)
	for _, c := range clients {
		c.signal(syscall.SIGSTOP)
	}
	resume := sync.OnceFunc(func() {
		for _, c := range clients {
			c.signal(syscall.SIGCONT)
		}
	})
	defer resume()
	if err := s.wait(ctx, "the replicas to be in sync before a store is wiped", syncWithin, s.inSync(0)); err != nil {
		return err
	}
	p.hold()
	p.kill()
	err = s.spawn.do(func() error {
		entries, err := os.ReadDir(s.path(f.On))
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(s.path(f.On, e.Name())))
		}
		return err
	})
	p.release()
	resume()
	if err != nil {
		return fmt.Errorf("wipe the store of %s: %w", f.On, err)
	}
	return s.wait(ctx, f.On+" to have everything again", syncWithin, s.inSync(underWay))
}

func (s *system) inflictWire(ctx context.Context, f Fault) error {
	var wires []*line
	if f.And == "all nodes" {
		for i := range nodes {
			wires = append(wires, s.wires.between(f.On, nodeName(i))...)
		}
	} else {
		wires = s.wires.between(f.On, f.And)
	}
	if len(wires) == 0 {
		return fmt.Errorf("%s and %s do not talk to each other", f.On, f.And)
	}
	both := func(kind string, attributes map[string]any) []toxic {
		return []toxic{{kind, "upstream", attributes}, {kind, "downstream", attributes}}
	}
	var toxics []toxic
	switch f.Kind {
	case Latency:
		toxics = both("latency", map[string]any{"latency": f.By, "jitter": f.By / 2})
	case HalfOpen:
		toxics = both("timeout", map[string]any{"timeout": 0})
	case Torn:
		toxics = []toxic{{"limit_data", "upstream", map[string]any{"bytes": f.By}}}
	case LateAnswer:
		toxics = []toxic{{"latency", "downstream", map[string]any{"latency": (s.cfg.ReadTimeout + time.Second).Milliseconds()}}}
	}
	var errs []error
	for _, w := range wires {
		if f.Kind == Cut {
			w.cut()
		}
		for _, t := range toxics {
			errs = append(errs, w.add(t))
		}
	}
	_ = pass(ctx, f.Hold)
	for _, w := range wires {
		errs = append(errs, w.mend())
	}
	return errors.Join(errs...)
}

// inflictOverload uses up the queries that may run at once.
func (s *system) inflictOverload(ctx context.Context, f Fault) error {
	ctx, cancel := context.WithTimeout(ctx, f.Hold)
	defer cancel()
	var wg sync.WaitGroup
	for range maxQueries {
		wg.Go(func() {
			for ctx.Err() == nil {
				// An error is the same overload, or the engine is away for another reason.
				if _, err := s.sql(ctx, "SELECT sleepEachRow(0.5) FROM numbers(20) SETTINGS max_block_size = 1", "default"); err != nil {
					_ = pass(ctx, 20*time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// landTables are those that the load generator's events land in.
var landTables = []string{"trades", "quotes", "halts", "dead_letters"}

// inflictTables makes the tables refuse inserts, for a reason that ClickHouse itself finds.
func (s *system) inflictTables(ctx context.Context, f Fault) error {
	set, reset := "parts_to_delay_insert = 1, parts_to_throw_insert = 1", "parts_to_delay_insert, parts_to_throw_insert"
	if f.Kind == ReadOnly {
		set, reset = "table_readonly = 1", "table_readonly"
	}
	alter := func(how string) error {
		return s.wait(context.WithoutCancel(ctx), "the tables to be changed", 90*time.Second, func(ctx context.Context) error {
			for _, t := range landTables {
				if _, err := s.sql(ctx, "ALTER TABLE "+t+" "+how, database); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := alter("MODIFY SETTING " + set)
	_ = pass(ctx, f.Hold)
	return errors.Join(err, alter("RESET SETTING "+reset))
}

// inflictMemory has queries hold what the engine may use, so that inserts do not fit in.
func (s *system) inflictMemory(ctx context.Context, f Fault) error {
	ctx, cancel := context.WithTimeout(ctx, f.Hold)
	defer cancel()
	hog := fmt.Sprintf("SELECT sleepEachRow(3), length(groupArray(rand64(number))) FROM numbers(%d) SETTINGS max_memory_usage = 0", engineMemory/8/hogs)
	var wg sync.WaitGroup
	for range 2 * hogs {
		wg.Go(func() {
			for ctx.Err() == nil {
				// Most of them are refused too.
				if _, err := s.sql(ctx, hog, "default"); err != nil {
					_ = pass(ctx, 5*time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// engineMemory bounds all queries of the engine together; hogs are the queries that share it.
const (
	engineMemory = 700 << 20
	hogs         = 6
)

// Small file systems, which a file can fill: ext4 in an image, because that is what the data stands on in production; on a full tmpfs the engine's
// merges leave empty parts behind (docs/chaos.md). They are in a mount namespace of the processes' own, and go with the last of them.

var imageMiB = map[string]int{nodeName(nodes - 1): 512, engineName: 6144}

// ownMounts gives the processes a mount namespace of their own.
func (s *system) ownMounts() error {
	err := s.spawn.do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	})
	if err != nil {
		return fmt.Errorf("make a mount namespace, which needs root: %w", err)
	}
	return nil
}

func (s *system) mount() error {
	err := s.ownMounts()
	for dir, mib := range imageMiB {
		image := s.path(dir + ".img")
		if err == nil {
			err = os.WriteFile(image, nil, 0o600)
		}
		if err == nil {
			err = os.Truncate(image, int64(mib)<<20)
		}
		// What was merged stays for eight minutes, and small inserts are many small files: an inode for each block.
		for _, args := range [][]string{{"mkfs.ext4", "-q", "-m", "0", "-i", "4096", image}, {"mount", "-o", "loop", image, s.path(dir)}} {
			if err == nil {
				err = s.command(args...)
			}
		}
	}
	if err != nil {
		s.cfg.note("disks cannot be filled here: %v", err)
		return nil
	}
	s.mounted = true
	return nil
}

// command runs a program where the processes are.
func (s *system) command(args ...string) error {
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it ends by itself
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := s.spawn.start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%v: %w: %s", args, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

// save copies what is on the small file systems to where it outlives them.
func (s *system) save() {
	for _, p := range s.procs() {
		p.hold()
		p.kill()
	}
	for _, dir := range []string{nodeName(nodes - 1), engineName} {
		if err := s.command("cp", "-a", s.path(dir), s.path(dir+"-saved")); err != nil {
			s.cfg.note("save %s: %v", dir, err)
		}
	}
}

// inflictDiskFull fills the file system of a store.
func (s *system) inflictDiskFull(ctx context.Context, f Fault) error {
	if !s.mounted {
		return errImpossible
	}
	p, err := s.target(ctx, f.On)
	if err != nil {
		return err
	}
	if f.On != engineName {
		// JetStream takes a node with a full disk out until it is started again: the other two must be able to go on.
		if err := s.wait(ctx, "the replicas to be in sync before a disk is filled", syncWithin, s.inSync(underWay)); err != nil {
			return err
		}
	}
	filler := s.path(f.On, "filler")
	err = s.spawn.do(func() error { return fill(filler) })
	if err != nil {
		return err
	}
	_ = pass(ctx, f.Hold)
	if err := s.spawn.do(func() error { return os.Remove(filler) }); err != nil {
		return err
	}
	if f.On == engineName {
		return nil
	}
	p.kill()
	return s.wait(ctx, f.On+" to work again after its disk was full", syncWithin, s.inSync(underWay))
}

// fill writes a file until nothing more fits.
func fill(path string) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer f.Close()
	for size, chunk := int64(0), int64(1<<30); chunk > 0; {
		err := unix.Fallocate(int(f.Fd()), 0, size, chunk)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOSPC):
			chunk /= 2
		case err != nil:
			return fmt.Errorf("fill the disk: %w", err)
		default:
			size += chunk
		}
	}
	return nil
}
