//go:build linux

package chaos

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPowerFS: what was synced is there after a cut, what was only written is not, and names are as they were last.
func TestPowerFS(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no FUSE: %v", err)
	}
	ctx, end := context.WithCancel(context.Background())
	sp := newSpawner(ctx)
	t.Cleanup(func() { end(); <-sp.ended })
	dir := t.TempDir()
	p, err := newPowerFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(p.mountPoint, name) }
	do := func(f func() error) {
		t.Helper()
		if err := sp.do(f); err != nil {
			t.Fatal(err)
		}
	}
	do(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	})
	do(p.mount)
	write := func(f *os.File, text string, sync bool) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var files []*os.File
	do(func() error {
		for name, flag := range map[string]int{"a": 0, "b": 0, "c": os.O_SYNC, "gone": 0} {
			f, err := os.OpenFile(in(name), os.O_CREATE|os.O_RDWR|flag, 0o600)
			if err != nil {
				return err
			}
			files = append(files, f)
			write(f, "first ", name == "a")
			write(f, "second", false)
		}
		if err := os.Mkdir(in("dir"), 0o700); err != nil {
			return err
		}
		if err := os.Rename(in("a"), in("dir/a")); err != nil {
			return err
		}
		data, err := os.ReadFile(in("dir/a"))
		if string(data) != "first second" {
			t.Errorf("before the cut a holds %q", data)
		}
		if err != nil {
			return err
		}
		return os.Remove(in("gone"))
	})
	cutPower(p)
	do(func() error {
		for _, f := range files {
			if f.Name() == in("b") && f.Sync() == nil {
				t.Error("synced without power")
			}
			_ = f.Close()
		}
		return nil
	})
	deadline := time.Now().Add(30 * time.Second)
	for err = p.restore(sp.do); err != nil; err = p.restore(sp.do) {
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	do(func() error {
		for name, want := range map[string]string{"dir/a": "first ", "b": "", "c": "first second"} {
			data, err := os.ReadFile(in(name))
			if err != nil || string(data) != want {
				t.Errorf("after the cut %s holds %q (%v), want %q", name, data, err, want)
			}
		}
		if _, err := os.Stat(in("gone")); err == nil {
			t.Error("a deleted file is back")
		}
		return nil
	})
}
