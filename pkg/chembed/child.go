package chembed

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/pkg/certs"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/httpserver"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/tcpserver"
)

// RunChildIfRequested turns the process into the engine if it was started as one,
// and returns at once if not. It must be the first statement of main, and of
// TestMain in packages that start a server.
func RunChildIfRequested() {
	if os.Getenv(childEnv) != childVersion {
		return
	}
	os.Exit(runChild())
}

// runChild is the engine process. It ends by os.Exit, which runs no C destructor:
// those of the engine race its own threads.
func runChild() int {
	_ = os.Unsetenv(childEnv) // whatever the engine starts is no engine
	control := os.NewFile(fdControl, "control")
	status := json.NewEncoder(os.NewFile(fdStatus, "status"))
	// The descriptors must not leak into anything that the engine executes.
	for _, fd := range []int{fdControl, fdStatus} {
		syscall.CloseOnExec(fd)
	}
	// Interrupts go to the whole foreground process group; the parent decides.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))

	fatal := func(kind string, err error) int {
		_ = status.Encode(childStatus{Fatal: kind, Message: err.Error()})
		return 1
	}
	in := bufio.NewReader(control)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fatal(fatalOther, fmt.Errorf("read configuration from the parent: %w", err))
	}
	var cfg childConfig
	if err := json.Unmarshal(line, &cfg); err != nil {
		return fatal(fatalOther, fmt.Errorf("read configuration from the parent: %w", err))
	}
	for i := range cfg.Listeners {
		syscall.CloseOnExec(fdSockets + i)
	}
	// From here on the end of the control pipe, by the parent's wish or death, is
	// the end. While the engine still opens its directory there is nothing to save.
	ctx, stop := context.WithCancel(context.Background())
	var mu sync.Mutex
	opened := false
	go func() {
		_, _ = io.Copy(io.Discard, in)
		mu.Lock()
		defer mu.Unlock()
		if !opened {
			os.Exit(0)
		}
		stop()
	}()

	if err := checkLock(cfg.DataDir); err != nil {
		return fatal(fatalLocked, err)
	}
	if err := mendTokens(cfg.DataDir, log); err != nil {
		return fatal(fatalDataDir, err)
	}
	eng, err := engine.Open(engine.Config{
		Library: cfg.Library, DataDir: cfg.DataDir, ServerArgs: serverArgs(cfg.ServerSettings), Defaults: cfg.Settings,
		Concurrency: cfg.MaxConcurrentQueries, QueueWait: cfg.QueueWait, Logger: log,
	})
	if err != nil {
		kind := fatalLibrary
		if errors.Is(err, libchdb.ErrConnect) {
			kind = fatalDataDir
		}
		return fatal(kind, err)
	}
	mu.Lock()
	opened = true
	mu.Unlock()

	if cfg.Bare != nil {
		return measure(eng, cfg.Bare, status)
	}
	users, err := access.New(cfg.Users)
	if err != nil {
		return fatal(fatalOther, err)
	}
	tcp := tcpserver.New(tcpserver.Config{Engine: eng, Access: users, MaxConnections: cfg.MaxConnections, Logger: log})
	http := httpserver.New(httpserver.Config{Engine: eng, Access: users, MaxConnections: cfg.MaxConnections, Logger: log})
	// The parent has checked it. An engine that comes up again must not stay away for a certificate that has ended meanwhile.
	secret := cfg.certificate().Later(log)
	var wg sync.WaitGroup
	var listeners []net.Listener
	for i, kind := range cfg.Listeners {
		ln, err := socket(fdSockets + i)
		if err != nil {
			return fatal(fatalOther, err)
		}
		serve := tcp.Serve
		if kind.http() {
			serve = http.Serve
		}
		if kind.tls() {
			ln = tls.NewListener(ln, secret)
		}
		listeners = append(listeners, ln)
		wg.Go(func() {
			if err := serve(ln); err != nil {
				log.Error("serve", "error", err)
				stop()
			}
		})
	}
	if err := status.Encode(childStatus{Ready: true, Version: eng.Version}); err != nil {
		stop() // the parent is gone
	}
	<-ctx.Done()

	drain, cancel := context.WithTimeout(context.Background(), cfg.Drain)
	defer cancel()
	for _, ln := range listeners {
		_ = ln.Close()
	}
	wg.Go(func() { http.Shutdown(drain) })
	wg.Go(func() { tcp.Shutdown(drain) })
	wg.Wait()
	eng.Close()
	return 0
}

// measure runs a BareInsert in place of the servers.
func measure(eng *engine.Engine, req *bareRequest, status *json.Encoder) int {
	_ = status.Encode(childStatus{Ready: true, Version: eng.Version})
	res, err := req.run(eng)
	if err != nil {
		_ = status.Encode(childStatus{Fatal: fatalOther, Message: err.Error()})
	} else {
		_ = status.Encode(childStatus{Bare: &res})
	}
	eng.Close()
	return 0
}

func serverArgs(settings map[string]string) []string {
	var out []string
	for k, v := range settings {
		out = append(out, "--"+k+"="+v)
	}
	return out
}

// certificate of the sockets with TLS.
func (c *childConfig) certificate() certs.Server {
	return certs.Server{Section: "clickhouse.server", CertFile: c.CertFile, KeyFile: c.KeyFile, ClientCAFile: c.ClientCAFile}
}

// socket takes over a listening socket of the parent's.
func socket(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over listening socket %d: %w", fd, err)
	}
	return ln, nil
}

// lockPatience is how long a dead owner's lock may outlive it: a killed process's
// threads, and with them its files, end a little after the process itself.
const lockPatience = 5 * time.Second

// ownerPatience is for an owner that still looks alive: on a busy machine a process that was killed goes on looking so for a moment, and who is
// started right behind it would be refused.
const ownerPatience = 2 * time.Second

// checkLock looks at the lock that the engine takes on its directory, to tell this
// mistake from all others: the engine itself says no more than that it failed.
func checkLock(dir string) error {
	begin := time.Now()
	for ; ; time.Sleep(10 * time.Millisecond) {
		owner, locked := lockOwner(dir)
		if !locked {
			return nil
		}
		waited := time.Since(begin)
		if owner != "" && !ended(owner) && waited > ownerPatience || waited > lockPatience {
			if owner == "" {
				return fmt.Errorf("another process has %s open", dir)
			}
			return fmt.Errorf("process %s has %s open", owner, dir)
		}
	}
}

// lockOwner tries the engine's lock, and reads the PID that its owner wrote.
func lockOwner(dir string) (pid string, locked bool) {
	f, err := os.OpenFile(filepath.Join(dir, "status"), os.O_RDWR, 0)
	if err != nil {
		return "", false // not there yet
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return "", false
	}
	b, _ := io.ReadAll(io.LimitReader(f, 4096))
	for _, l := range strings.Split(string(b), "\n") {
		if pid, ok := strings.CutPrefix(l, "PID: "); ok {
			return strings.TrimSpace(pid), true
		}
	}
	return "", true
}

// ended says whether a process is known to be dead, or dying.
func ended(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}
