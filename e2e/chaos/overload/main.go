//go:build linux

// Command overload is `make overload`: it offers the pipeline several times what it lands, and says where the pressure showed and what became of it all.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/e2e/chaos"
)

func main() {
	chaos.RunChildIfRequested()
	cfg := chaos.DefaultOverloadConfig()
	minutes := flag.Float64("minutes", cfg.For.Minutes(), "how long the load lasts")
	flag.StringVar(&cfg.Binary, "binary", cfg.Binary, "the hashpivot that is tested")
	flag.StringVar(&cfg.Dir, "dir", "", "for everything; default: a temporary one")
	flag.DurationVar(&cfg.Measure, "measure", cfg.Measure, "how long the capacity is measured before")
	flag.Float64Var(&cfg.Times, "times", cfg.Times, "the capacity is offered")
	flag.IntVar(&cfg.Land, "land", cfg.Land, "about how many rows a second the way to ClickHouse lets through; 0: as many as the machine lands")
	flag.Int64Var(&cfg.Disk, "disk", cfg.Disk, "bytes that everything may take")
	flag.BoolVar(&cfg.Keep, "keep", false, "keep the directory of a good run too")
	flag.Parse()
	cfg.For = time.Duration(*minutes * float64(time.Minute))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	rep, err := chaos.RunOverload(ctx, cfg)
	stop()
	fmt.Println(rep.JSON())
	if err != nil {
		fmt.Fprintln(os.Stderr, "overload:", err)
		os.Exit(1)
	}
}
