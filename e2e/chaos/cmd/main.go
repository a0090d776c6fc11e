//go:build linux

// Command cmd is `make chaos`: it runs the pipeline as processes of its own and breaks them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/e2e/chaos"
)

func main() {
	chaos.RunChildIfRequested()
	cfg := chaos.DefaultConfig()
	cfg.Seed = uint64(time.Now().UnixNano()) % 1_000_000
	minutes := flag.Float64("minutes", 10, "how long faults are made")
	report := flag.String("report", "", "file that the run's JSON is added to")
	sets := flag.String("lander-set", "", "settings for the landers, key=value, with commas between")
	flag.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "of the schedule; the same seed makes the same faults")
	flag.IntVar(&cfg.Faults, "faults", 0, "make at most so many")
	flag.IntVar(&cfg.Landers, "landers", cfg.Landers, "at once")
	flag.IntVar(&cfg.Shards, "shards", cfg.Shards, "of the stream TRADES")
	flag.IntVar(&cfg.Rate, "rate", cfg.Rate, "events a second")
	flag.IntVar(&cfg.CheckEvery, "check-every", cfg.CheckEvery, "faults, let everything land and compare; 0: at the end only")
	flag.StringVar(&cfg.Sync, "sync", cfg.Sync, "sync_interval of the NATS nodes")
	flag.StringVar(&cfg.Binary, "binary", cfg.Binary, "the hashpivot that is tested")
	flag.StringVar(&cfg.Dir, "dir", "", "for everything; default: a temporary one")
	powerCut := flag.String("power-cut", "", "instead of the schedule, cut the power of nats, engine or all, at the file system")
	warm := flag.Duration("warm", 0, "how long all works before each cut of the power")
	cuts := flag.Int("cuts", 5, "of the power")
	flag.StringVar(&cfg.Clock, "clock", "", "directory for programs whose clock can be stepped, built there; run it at the top of the checkout")
	flag.BoolVar(&cfg.Keep, "keep", false, "keep the directory of a clean run too")
	flag.Parse()
	if *sets != "" {
		cfg.LanderSet = strings.Split(*sets, ",")
	}
	cfg.For = time.Duration(*minutes * float64(time.Minute))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var rep interface{ JSON() string }
	var err error
	if *powerCut != "" {
		rep, err = chaos.CutPower(ctx, chaos.PowerConfig{Config: cfg, Cuts: *cuts, What: *powerCut, Warm: *warm})
	} else {
		rep, err = chaos.Run(ctx, cfg)
	}
	stop()
	fmt.Println(rep.JSON())
	if *report != "" {
		if rerr := chaos.Append(*report, rep); rerr != nil {
			fmt.Fprintln(os.Stderr, "chaos:", rerr)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}
