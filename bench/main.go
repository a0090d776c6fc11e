// Command bench measures the system and prints one JSON line a figure: {"name","value","unit","ratio","ratio_to"}. A ratio is taken in the
// same run as what it is a ratio to, because machines are noisy.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	prog "github.com/hashpivot/hashpivot/pkg/run"
)

// figure is a measured number. Ratio is Value over the figure named RatioTo; 0 where there is none.
type figure struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Ratio   float64 `json:"ratio"`
	RatioTo string  `json:"ratio_to"`
}

// benchmarks by name, in the order in which all are run.
var benchmarks = []struct {
	name string
	run  func(context.Context, func(figure)) error
}{
	{"publish", publish},
	{"trace", tracing},
	{"ingest", ingest},
	{"ingest_many", ingestMany},
	{"landing", landingFull},
	{"landing_symbols", landingSymbols},
	{"landing_memory", landingMemory},
	{"capacity", capacity},
	{"landing_peer", landingPeer},
	{"outage", outage},
	{"latency", latency},
	{"fanout", fanout},
	{"soak", soak},
	{"queries", queries},
	{"cookbook", cookbook},
	{"clickhouse", clickhouseBench},
	{"clickhouse_soak", clickhouseSoak},
}

func main() {
	chembed.RunChildIfRequested()
	prog.TuneGC() // as the binary does
	name := flag.String("name", "", "run this one only")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the benchmark's own process to this file")
	serve := flag.String("serve", "", "be the server of this name for another bench: gateway or engine")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := func() error { return run(ctx, *name, os.Stdout) }
	switch *serve {
	case "gateway":
		do = serveGateway
	case "engine":
		do = serveEngine
	}
	err := profiled(*profile, do)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func profiled(file string, do func() error) error {
	if file == "" {
		return do()
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("create profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("start profile: %w", err)
	}
	err = do()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

func run(ctx context.Context, name string, out io.Writer) error {
	var names []string
	enc := json.NewEncoder(out)
	for _, b := range benchmarks {
		names = append(names, b.name)
		if name != "" && name != b.name {
			continue
		}
		var werr error
		err := b.run(ctx, func(f figure) {
			if err := enc.Encode(f); err != nil {
				werr = err
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if werr != nil {
			return fmt.Errorf("print a figure of %s: %w", b.name, werr)
		}
	}
	if name != "" && !slices.Contains(names, name) {
		return fmt.Errorf("no benchmark is called %q; there are %s", name, strings.Join(names, ", "))
	}
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
