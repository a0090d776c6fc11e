package run

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestWatch: a write, a replacement by rename as editors do it, and SIGHUP each count once; a touch that changes nothing does not.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hashpivot.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "a: 1")
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 16)
	done := make(chan error, 1)
	go func() {
		done <- Watch(ctx, file, func() {
			text, _ := os.ReadFile(file)
			seen <- string(text)
		})
	}()
	wait := func(want string) {
		t.Helper()
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("read %q, want %q", got, want)
			}
		case <-time.After(60 * time.Second):
			t.Fatalf("the change to %q was not seen", want)
		}
	}
	// The first signal also tells that the watcher runs; until it has registered, a SIGHUP would end the process, so it is held by the test.
	held := make(chan os.Signal, 1)
	signal.Notify(held, syscall.SIGHUP)
	defer signal.Stop(held)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for ready := false; !ready; {
		select {
		case got := <-seen:
			if got != "a: 1" {
				t.Fatalf("read %q", got)
			}
			ready = true
		case <-time.After(50 * time.Millisecond): // the watcher had not registered yet: signal again
			if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
	}
	for len(seen) > 0 {
		<-seen
	}
	write(file, "a: 2")
	wait("a: 2")
	write(file+".new", "a: 3")
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	wait("a: 3")
	write(file, "a: 3")
	write(filepath.Join(dir, "other"), "x")
	write(file, "a: 4")
	wait("a: 4")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(seen) != 0 {
		t.Errorf("%d changes too many", len(seen))
	}
}
