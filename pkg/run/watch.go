package run

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a file must have been left alone before it is read: editors write in several steps.
const settle = 100 * time.Millisecond

// Watch calls changed each time the content of the file has changed, and on each SIGHUP, until ctx ends. An empty name watches the signal
// alone. The directory is watched, not the file: editors and config maps replace it.
func Watch(ctx context.Context, file string, changed func()) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	var events chan fsnotify.Event
	var failures chan error
	if file != "" {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			return fmt.Errorf("watch %s: %w", file, err)
		}
		defer func() { _ = w.Close() }()
		if err := w.Add(filepath.Dir(file)); err != nil {
			return fmt.Errorf("watch %s: %w", file, err)
		}
		events, failures = w.Events, w.Errors
	}
	last := digest(file)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			last = digest(file)
			changed()
		case <-events:
			timer.Reset(settle)
		case <-timer.C:
			if now := digest(file); now != last && now != (sum{}) {
				last = now
				changed()
			}
		case err := <-failures:
			return fmt.Errorf("watch %s: %w; SIGHUP and a restart still read it", file, err)
		}
	}
}

type sum [sha256.Size]byte

// digest is zero for a file that cannot be read: it is about to be replaced.
func digest(file string) sum {
	if file == "" {
		return sum{}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return sum{}
	}
	return sha256.Sum256(text)
}
