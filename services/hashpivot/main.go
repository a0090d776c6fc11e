// Command hashpivot is the market-data pipeline in one binary: every service, all of them together, and the operator's commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/run"
)

func main() {
	// The embedded ClickHouse engine runs in a child process of this same binary; in it, this call never returns.
	chembed.RunChildIfRequested()
	run.TuneGC()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		// A second signal ends at once: the first one's orderly end may be what hangs.
		<-ctx.Done()
		stop()
	}()
	os.Exit(execute(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
