//go:build linux

// Command upgrade is `make upgrade`: it runs an earlier version, opens its data directory with this one, and goes back.
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
	cfg := chaos.DefaultUpgradeConfig()
	flag.StringVar(&cfg.From, "from", cfg.From, "the earlier version: a tag or commit")
	flag.StringVar(&cfg.Binary, "binary", cfg.Binary, "the present version")
	flag.StringVar(&cfg.Dir, "dir", "", "for everything; default: a temporary one")
	flag.IntVar(&cfg.Rate, "rate", cfg.Rate, "events a second of the equities' tape")
	flag.DurationVar(&cfg.Work, "work", cfg.Work, "how long the earlier version works before each of its ends")
	flag.BoolVar(&cfg.Keep, "keep", false, "keep the directory of a good run too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	rep, err := chaos.Upgrade(ctx, cfg)
	stop()
	fmt.Println(rep.JSON())
	if err != nil {
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		os.Exit(1)
	}
}
