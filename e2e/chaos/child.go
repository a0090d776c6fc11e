//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hashpivot/hashpivot/pkg/chembed"
)

// childEnv makes the harness's own executable one of the processes of the system under test.
const childEnv = "HASHPIVOT_CHAOS_CHILD"

// childConfig is what a child is told.
type childConfig struct {
	Role string `json:"role"`
	// nats
	File string `json:"file,omitempty"`
	// engine
	DataDir string `json:"data_dir,omitempty"`
	Native  string `json:"native,omitempty"`
	HTTP    string `json:"http,omitempty"`
	// MaxQueries bounds the queries that run at once, so that they can be used up.
	MaxQueries int `json:"max_queries,omitempty"`
	// load
	Load *loadConfig `json:"load,omitempty"`
	// flood
	Flood *floodConfig `json:"flood,omitempty"`
}

// RunChildIfRequested becomes a process of the system under test where the harness has started this one as such; otherwise it returns. Call
// it first in main.
func RunChildIfRequested() {
	chembed.RunChildIfRequested()
	text := os.Getenv(childEnv)
	if text == "" {
		return
	}
	var cfg childConfig
	err := json.Unmarshal([]byte(text), &cfg)
	if err == nil {
		// The engine's process is started from this one and would be this child again.
		if err = os.Unsetenv(childEnv); err == nil {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			err = runChild(ctx, cfg)
			stop()
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "chaos:", cfg.Role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// childSpec is how the harness starts a child of its own executable.
func childSpec(name string, cfg childConfig, again bool) (spec, error) {
	exe, err := os.Executable()
	if err != nil {
		return spec{}, err
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		return spec{}, err
	}
	return spec{name: name, path: exe, env: []string{childEnv + "=" + string(text)}, again: again}, nil
}

func runChild(ctx context.Context, cfg childConfig) error {
	switch cfg.Role {
	case "nats":
		return runNATS(ctx, cfg.File)
	case "engine":
		return runEngine(ctx, cfg)
	case "load":
		return runLoad(ctx, *cfg.Load)
	case "flood":
		return runFlood(ctx, *cfg.Flood)
	}
	return fmt.Errorf("there is no role %q", cfg.Role)
}

// runNATS is nats-server's own main, with a configuration file.
func runNATS(ctx context.Context, file string) error {
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		return err
	}
	opts.NoSigs = true
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	stop := context.AfterFunc(ctx, s.Shutdown)
	defer stop()
	s.WaitForShutdown()
	return nil
}

// runEngine is the embedded ClickHouse alone.
func runEngine(ctx context.Context, cfg childConfig) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	c := chembed.DefaultConfig()
	c.DataDir, c.NativeAddr, c.HTTPAddr, c.Logger = cfg.DataDir, cfg.Native, cfg.HTTP, log
	c.MaxConcurrentQueries, c.QueueWait = cfg.MaxQueries, 2*time.Second
	c.MaxMemory = engineMemory
	srv, err := chembed.Start(ctx, c)
	if err != nil {
		return err
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return srv.Close(end)
}
