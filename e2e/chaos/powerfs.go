//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// powerFS is a file system whose power can be cut. Processes see every write at once, as through a page cache. Beside it grows what a disk would
// hold: names (create, rename, delete) and truncations at once and in order, as a journal has them; data only when it is synced, by fsync,
// fdatasync or O_SYNC, or half a minute after it was written, which is when Linux writes back by itself. After a cut, the disk is what is left.
type powerFS struct {
	mountPoint, live, disk string

	mu     sync.Mutex
	cut    bool
	files  map[uint64]*powerFile // by inode under live
	server *fuse.Server
	synced int64 // bytes
	stop   chan struct{}
}

// writeBackAfter is how long Linux keeps what nobody syncs: dirty_expire_centisecs.
const writeBackAfter = 30 * time.Second

// powerFile is a file's two sides.
type powerFile struct {
	live, disk *os.File
	dirty      []extent
}

type extent struct {
	from, to int64
	since    time.Time
}

// newPowerFS mounts an empty one under dir. Call mount on the thread whose mount namespace shall have it.
func newPowerFS(dir string) (*powerFS, error) {
	p := &powerFS{mountPoint: filepath.Join(dir, "mnt"), live: filepath.Join(dir, "live"), disk: filepath.Join(dir, "disk"), files: map[uint64]*powerFile{}}
	for _, d := range []string{p.mountPoint, p.live, p.disk} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *powerFS) mount() error {
	root := &fs.LoopbackRoot{Path: p.live}
	var st syscall.Stat_t
	if err := syscall.Stat(p.live, &st); err != nil {
		return err
	}
	root.Dev = st.Dev
	node := &powerNode{LoopbackNode: fs.LoopbackNode{RootData: root}, p: p}
	root.RootNode = node
	server, err := fs.Mount(p.mountPoint, node, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, AllowOther: true, FsName: "power", Name: "power", MaxWrite: 1 << 20, Options: []string{"default_permissions"},
	}})
	if err != nil {
		return fmt.Errorf("mount %s: %w", p.mountPoint, err)
	}
	// The processes must not inherit it: one that holds it, and a file of the mount, cannot end when we have ended.
	if err := closeOnExec("/dev/fuse"); err != nil {
		return err
	}
	p.server, p.stop = server, make(chan struct{})
	go p.writeBack(p.stop)
	return nil
}

// closeOnExec marks what we have open of a path.
func closeOnExec(path string) error {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && target == path {
			fd, err := strconv.Atoi(e.Name())
			if err != nil {
				return err
			}
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
				return err
			}
		}
	}
	return nil
}

// unmount ends the file system.
func (p *powerFS) unmount() error {
	err := p.server.Unmount()
	if err == nil {
		close(p.stop)
	}
	return err
}

// writeBack does what the kernel's flusher does, until the file system is unmounted.
func (p *powerFS) writeBack(stop chan struct{}) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		p.mu.Lock()
		for _, f := range p.files {
			if len(f.dirty) > 0 && time.Since(f.dirty[0].since) > writeBackAfter {
				_ = p.toDisk(f) // without power it stays where it is
			}
		}
		p.mu.Unlock()
	}
}

// cutPower stops the disk: nothing reaches it any more. The processes above have to be killed then.
func cutPower(all ...*powerFS) {
	for _, p := range all {
		p.mu.Lock()
		p.cut = true
	}
	for _, p := range all {
		p.mu.Unlock()
	}
}

// restore unmounts, throws away what was not on the disk, and mounts again. do runs something in the mount namespace.
func (p *powerFS) restore(do func(func() error) error) error {
	err := do(func() error {
		if err := syscall.Unmount(p.mountPoint, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", p.mountPoint, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.server.Wait()
	close(p.stop)
	for _, f := range p.files {
		_ = f.live.Close()
		_ = f.disk.Close()
	}
	p.files, p.cut = map[uint64]*powerFile{}, false
	if err := os.RemoveAll(p.live); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", p.disk, p.live).CombinedOutput(); err != nil { //nolint:noctx // it copies a few MiB
		return fmt.Errorf("bring back what was on the disk: %w: %s", err, out)
	}
	return do(p.mount)
}

// powerNode is a file or directory.
type powerNode struct {
	fs.LoopbackNode
	p *powerFS
}

// WrapChild implements fs.NodeWrapChilder: what is found or made in one of ours is one of ours.
func (n *powerNode) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &powerNode{LoopbackNode: fs.LoopbackNode{RootData: ops.(*fs.LoopbackNode).RootData}, p: n.p}
}

// at is the node's place on the disk, or that of a name in it.
func (n *powerNode) at(name ...string) string {
	return filepath.Join(append([]string{n.p.disk, n.Path(n.Root())}, name...)...)
}

// change does something to the names under live and on the disk, as one.
func (n *powerNode) change(live func() syscall.Errno, disk func() error) syscall.Errno {
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	if n.p.cut {
		return syscall.EIO
	}
	if errno := live(); errno != 0 {
		return errno
	}
	return fs.ToErrno(disk())
}

// opened registers an open file. p.mu is held.
func (p *powerFS) opened(n *powerNode, lf fs.FileHandle, diskPath string) (*powerFile, syscall.Errno) {
	var attr fuse.AttrOut
	f := lf.(*fs.LoopbackFile)
	if errno := f.Getattr(context.Background(), &attr); errno != 0 {
		return nil, errno
	}
	if pf := p.files[attr.Ino]; pf != nil {
		return pf, 0
	}
	disk, err := os.OpenFile(diskPath, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // under our own directory
	if err != nil {
		return nil, fs.ToErrno(err)
	}
	fd, _ := f.PassthroughFd()
	live, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fs.ToErrno(errors.Join(err, disk.Close()))
	}
	pf := &powerFile{live: live, disk: disk}
	p.files[attr.Ino] = pf
	return pf, 0
}

// Create implements fs.NodeCreater.
func (n *powerNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	if n.p.cut {
		return nil, nil, 0, syscall.EIO
	}
	inode, lf, fl, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	pf, errno := n.p.opened(n, lf, n.at(name))
	if errno != 0 {
		return nil, nil, 0, errno
	}
	if flags&syscall.O_TRUNC != 0 {
		if err := pf.disk.Truncate(0); err != nil {
			return nil, nil, 0, fs.ToErrno(err)
		}
	}
	_ = os.Chmod(n.at(name), os.FileMode(mode).Perm())
	return inode, &powerHandle{LoopbackFile: lf.(*fs.LoopbackFile), p: n.p, f: pf, sync: flags&syscall.O_DSYNC != 0}, fl, 0
}

// Open implements fs.NodeOpener.
func (n *powerNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	lf, fl, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	pf, errno := n.p.opened(n, lf, n.at())
	if errno != 0 {
		return nil, 0, errno
	}
	if flags&syscall.O_TRUNC != 0 && !n.p.cut {
		if err := pf.disk.Truncate(0); err != nil {
			return nil, 0, fs.ToErrno(err)
		}
	}
	return &powerHandle{LoopbackFile: lf.(*fs.LoopbackFile), p: n.p, f: pf, sync: flags&syscall.O_DSYNC != 0}, fl, 0
}

// Mkdir implements fs.NodeMkdirer.
func (n *powerNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (inode *fs.Inode, errno syscall.Errno) {
	errno = n.change(func() (e syscall.Errno) {
		inode, e = n.LoopbackNode.Mkdir(ctx, name, mode, out)
		return e
	}, func() error { return os.Mkdir(n.at(name), os.FileMode(mode).Perm()) })
	return inode, errno
}

// Rmdir implements fs.NodeRmdirer.
func (n *powerNode) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.change(func() syscall.Errno { return n.LoopbackNode.Rmdir(ctx, name) }, func() error { return os.Remove(n.at(name)) })
}

// Unlink implements fs.NodeUnlinker.
func (n *powerNode) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.change(func() syscall.Errno { return n.LoopbackNode.Unlink(ctx, name) }, func() error { return os.Remove(n.at(name)) })
}

// Rename implements fs.NodeRenamer.
func (n *powerNode) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	dst, ok := to.(*powerNode)
	if !ok {
		return syscall.EXDEV
	}
	return n.change(func() syscall.Errno { return n.LoopbackNode.Rename(ctx, name, to, newName, flags) }, func() error {
		return unix.Renameat2(unix.AT_FDCWD, n.at(name), unix.AT_FDCWD, dst.at(newName), uint(flags))
	})
}

// Link implements fs.NodeLinker.
func (n *powerNode) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (inode *fs.Inode, errno syscall.Errno) {
	src, ok := target.(*powerNode)
	if !ok {
		return nil, syscall.EXDEV
	}
	errno = n.change(func() (e syscall.Errno) {
		inode, e = n.LoopbackNode.Link(ctx, target, name, out)
		return e
	}, func() error { return os.Link(src.at(), n.at(name)) })
	return inode, errno
}

// Symlink implements fs.NodeSymlinker.
func (n *powerNode) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (inode *fs.Inode, errno syscall.Errno) {
	errno = n.change(func() (e syscall.Errno) {
		inode, e = n.LoopbackNode.Symlink(ctx, target, name, out)
		return e
	}, func() error { return os.Symlink(target, n.at(name)) })
	return inode, errno
}

// Setattr implements fs.NodeSetattrer: a new size is a change of names' kind.
func (n *powerNode) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	var lf fs.FileHandle
	var pf *powerFile
	if h, ok := f.(*powerHandle); ok {
		lf, pf = h.LoopbackFile, h.f
	}
	return n.change(func() syscall.Errno { return n.LoopbackNode.Setattr(ctx, lf, in, out) }, func() error {
		size, ok := in.GetSize()
		if !ok {
			return nil
		}
		if pf != nil {
			return pf.disk.Truncate(int64(size))
		}
		return os.Truncate(n.at(), int64(size))
	})
}

// powerHandle is an open file.
type powerHandle struct {
	*fs.LoopbackFile
	p    *powerFS
	f    *powerFile
	sync bool // O_SYNC or O_DSYNC
}

// PassthroughFd of the embedded file would let the kernel write around us.
func (h *powerHandle) PassthroughFd() (int, bool) { return 0, false }

// Write implements fs.FileWriter.
func (h *powerHandle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	n, errno := h.LoopbackFile.Write(ctx, data, off)
	if errno != 0 {
		return n, errno
	}
	h.f.touch(off, off+int64(n))
	if h.sync {
		return n, h.p.toDisk(h.f)
	}
	return n, 0
}

// Allocate implements fs.FileAllocater.
func (h *powerHandle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	errno := h.LoopbackFile.Allocate(ctx, off, size, mode)
	if errno == 0 {
		h.f.touch(int64(off), int64(off+size))
	}
	return errno
}

// Fsync implements fs.FileFsyncer.
func (h *powerHandle) Fsync(context.Context, uint32) syscall.Errno {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	return h.p.toDisk(h.f)
}

// Setattr implements fs.FileSetattrer; the node does it.
func (h *powerHandle) Setattr(context.Context, *fuse.SetAttrIn, *fuse.AttrOut) syscall.Errno {
	return syscall.ENOTSUP
}

func (f *powerFile) touch(from, to int64) {
	if n := len(f.dirty); n > 0 && f.dirty[n-1].to == from {
		f.dirty[n-1].to = to
		return
	}
	f.dirty = append(f.dirty, extent{from, to, time.Now()})
}

// toDisk brings a file's data to the disk. p.mu is held.
func (p *powerFS) toDisk(f *powerFile) syscall.Errno {
	if p.cut {
		return syscall.EIO
	}
	buf := make([]byte, 256<<10)
	for _, e := range f.dirty {
		for at := e.from; at < e.to; {
			n, err := f.live.ReadAt(buf[:min(int64(len(buf)), e.to-at)], at)
			if n == 0 {
				break // it was truncated since
			}
			if _, werr := f.disk.WriteAt(buf[:n], at); werr != nil {
				return fs.ToErrno(werr)
			}
			at += int64(n)
			p.synced += int64(n)
			if err != nil {
				break
			}
		}
	}
	f.dirty = f.dirty[:0]
	return 0
}

var (
	_ fs.NodeCreater   = (*powerNode)(nil)
	_ fs.NodeOpener    = (*powerNode)(nil)
	_ fs.NodeRenamer   = (*powerNode)(nil)
	_ fs.NodeSetattrer = (*powerNode)(nil)
	_ fs.FileWriter    = (*powerHandle)(nil)
	_ fs.FileFsyncer   = (*powerHandle)(nil)
)
