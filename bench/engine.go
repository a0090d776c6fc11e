package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

var (
	engineDir    = flag.String("engine-dir", "", "of -serve engine: its data directory")
	engineNative = flag.String("engine-native", "127.0.0.1:0", "of -serve engine: where it listens")
	engineHTTP   = flag.String("engine-http", "127.0.0.1:0", "of -serve engine: where it listens for HTTP")
)

// engineUp is what -serve engine prints when it is ready.
type engineUp struct {
	Native string `json:"native"`
	HTTP   string `json:"http"`
	PID    int    `json:"pid"` // of the engine itself
}

// serveEngine runs ClickHouse in a process of its own until standard input ends.
func serveEngine() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := engineConfig(*engineDir)
	cfg.NativeAddr, cfg.HTTPAddr = *engineNative, *engineHTTP
	srv, err := chembed.Start(ctx, cfg)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(engineUp{srv.NativeAddr(), srv.HTTPAddr(), srv.Pid()}); err != nil {
		return fmt.Errorf("tell the address: %w", err)
	}
	go func() { // reads until the process ends: a read of standard input cannot be interrupted
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return srv.Close(end)
}

// engineProcess is ClickHouse as a process that can be killed, with all that it has: nothing answers in its place.
type engineProcess struct {
	dir string
	log *os.File
	engineUp
	cmd *exec.Cmd
	in  io.WriteCloser
}

func startEngine(ctx context.Context, dir string) (*engineProcess, error) {
	log, err := os.OpenFile(dir+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the engine's log: %w", err)
	}
	e := &engineProcess{dir: dir, log: log, engineUp: engineUp{Native: "127.0.0.1:0", HTTP: "127.0.0.1:0"}}
	if err := e.start(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// engineStart is for how long the engine of a life before may hold its directory and addresses.
const engineStart = 30 * time.Second

// start starts it, at the addresses of its last life.
func (e *engineProcess) start(ctx context.Context) error {
	deadline := time.Now().Add(engineStart)
	for {
		err := e.try(ctx)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		if perr := pause(ctx, 200*time.Millisecond); perr != nil {
			return errors.Join(err, perr)
		}
	}
}

func (e *engineProcess) try(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the benchmark's own binary: %w", err)
	}
	e.cmd = exec.CommandContext(ctx, self, "-serve", "engine", "-engine-dir", e.dir, "-engine-native", e.Native, "-engine-http", e.HTTP)
	e.cmd.Stderr = e.log
	if e.in, err = e.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	if err := e.cmd.Start(); err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	scan := bufio.NewScanner(out)
	if !scan.Scan() {
		_ = e.cmd.Wait()
		return fmt.Errorf("start the engine: it ended: %s; it said last: %s", e.cmd.ProcessState, tail(e.log.Name()))
	}
	if err := json.Unmarshal(scan.Bytes(), &e.engineUp); err != nil {
		return fmt.Errorf("start the engine: read what it says: %w", err)
	}
	return nil
}

// kill ends it and its engine at once: the engine dies with the thread that started it.
func (e *engineProcess) kill() {
	_ = e.cmd.Process.Kill()
	_ = syscall.Kill(e.PID, syscall.SIGKILL)
	_ = e.cmd.Wait()
}

// close ends it in order.
func (e *engineProcess) close() error {
	if e.cmd.ProcessState != nil {
		return nil // it was killed, or did not start
	}
	_ = e.in.Close()
	if err := e.cmd.Wait(); err != nil {
		return fmt.Errorf("stop the engine: %w", err)
	}
	return nil
}
