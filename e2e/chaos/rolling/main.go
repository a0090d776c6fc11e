//go:build linux

// Command rolling is `make rolling`: it restarts every service, one process at a time, under load, and says what was lost, doubled and delayed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashpivot/hashpivot/e2e/chaos"
)

func main() {
	chaos.RunChildIfRequested()
	cfg := chaos.DefaultRollConfig()
	flag.StringVar(&cfg.Binary, "binary", cfg.Binary, "the hashpivot that is tested")
	flag.StringVar(&cfg.Dir, "dir", "", "for everything; default: a temporary one")
	flag.IntVar(&cfg.Rate, "rate", cfg.Rate, "events a second of the equities' tape")
	flag.IntVar(&cfg.Clients, "clients", cfg.Clients, "that follow the live feed")
	flag.IntVar(&cfg.Rounds, "rounds", cfg.Rounds, "of restarts")
	flag.DurationVar(&cfg.Quiet, "quiet", cfg.Quiet, "how long all works before the first restart")
	flag.DurationVar(&cfg.Settle, "settle", cfg.Settle, "how long all works after each")
	flag.BoolVar(&cfg.Keep, "keep", false, "keep the directory of a good run too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	rep, err := chaos.Roll(ctx, cfg)
	stop()
	fmt.Println(rep.JSON())
	if err != nil {
		fmt.Fprintln(os.Stderr, "rolling:", err)
		os.Exit(1)
	}
}
