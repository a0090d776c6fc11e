//go:build linux

package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A clock that can be stepped. Go reads the clock through the vDSO, where no preloaded library can stand between, and a time namespace shifts
// the monotonic clocks only. So the programs are built once more with one change to the standard library: time.Now adds what a file says,
// which the harness writes while they run. Timers and time.Since go by the monotonic clock, as they do when a real clock is stepped.

// clockEnv names the file with the offset in nanoseconds.
const clockEnv = "CHAOS_CLOCK_OFFSET_NS"

const clockSource = `package time

import (
	"syscall"
	"unsafe"
)

var chaosClock = func() *int64 {
	path, ok := syscall.Getenv("` + clockEnv + `")
	if !ok {
		return new(int64)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("open the clock: " + err.Error())
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("map the clock: " + err.Error())
	}
	_ = syscall.Close(fd)
	return (*int64)(unsafe.Pointer(&b[0]))
}()

func chaosStep(sec int64, nsec int32) (int64, int32) {
	if chaosClock == nil { // before our own init
		return sec, nsec
	}
	off := *(*int64)(unsafe.Pointer(chaosClock))
	sec, nsec = sec+off/1e9, nsec+int32(off%1e9)
	if nsec >= 1e9 {
		sec, nsec = sec+1, nsec-1e9
	} else if nsec < 0 {
		sec, nsec = sec-1, nsec+1e9
	}
	return sec, nsec
}
`

// buildWithClock builds hashpivot and this harness's command into dir. It builds the standard library anew, which takes minutes the first time.
func buildWithClock(ctx context.Context, dir string) error {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find Go's source: %w", err)
	}
	src := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time")
	text, err := os.ReadFile(filepath.Join(src, "time.go"))
	if err != nil {
		return err
	}
	old := []byte("\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {")
	if bytes.Count(text, old) != 1 {
		return fmt.Errorf("%s has changed: this harness knows time.Now of Go 1.26", src)
	}
	text = bytes.Replace(text, old, []byte("\tsec, nsec, mono := runtimeNow()\n\tsec, nsec = chaosStep(sec, nsec)\n\tif mono == 0 {"), 1)
	replace := map[string]string{}
	for name, content := range map[string][]byte{"time.go": text, "chaos_clock.go": []byte(clockSource)} {
		file := filepath.Join(dir, "clock-"+name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
		replace[filepath.Join(src, name)] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return err
	}
	for out, pkg := range map[string]string{"hashpivot": "./services/hashpivot", "chaos": "./e2e/chaos/cmd"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", file, "-o", filepath.Join(dir, out), pkg)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s with a clock that can be stepped: %w: %s", pkg, err, text)
		}
	}
	return nil
}

// clockPrograms finds or builds the programs.
func clockPrograms(cfg Config) (dir string, err error) {
	if dir, err = filepath.Abs(cfg.Clock); err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "chaos")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	cfg.note("building programs whose clock can be stepped, into %s", dir)
	return dir, buildWithClock(context.Background(), dir)
}

// clockFile of a process; made if it is not there.
func (s *system) clockFile(name string) (string, error) {
	file := s.path("clock-" + name)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	return file, os.WriteFile(file, make([]byte, 8), 0o600)
}

// step sets a process's clock, which its next lives have too.
func (s *system) step(name string, by time.Duration) error {
	f, err := os.OpenFile(s.path("clock-"+name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(by)) //nolint:gosec // the bits of it
	_, err = f.WriteAt(b[:], 0)
	return err
}
