package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/capacity"
)

type sizeCmd struct {
	Events       float64       `help:"Events a second at the busiest." required:"" placeholder:"N"`
	Hours        float64       `help:"Hours a day at that rate; 6.5 are a US trading day." default:"24"`
	Symbols      int           `help:"Symbols, equally busy." default:"100"`
	Streams      time.Duration `help:"How long the streams keep trades and quotes (nats.max_age)." default:"720h"`
	Tables       time.Duration `help:"How long the tables keep them." default:"8760h"`
	Clients      int           `help:"Clients of the live feed." default:"100"`
	ClientEvents float64       `help:"Events a second to each of them." default:"50"`
	Spare        bool          `help:"Live without any one machine: three copies of the streams, two of the tables, a second of every service."`
	NodeCores    int           `help:"Cores of a machine." default:"8"`
	NodeMemory   float64       `help:"GiB of memory of a machine." default:"32"`
	Costs        bool          `help:"List the measured costs instead, and where each comes from."`
}

// Run computes a deployment.
func (c *sizeCmd) Run(a *app) error {
	if c.Costs {
		return printCosts(a)
	}
	p, err := capacity.Compute(capacity.Need{
		Events: c.Events, Hours: c.Hours, Symbols: c.Symbols, Streams: c.Streams, Tables: c.Tables, Clients: c.Clients, ClientEvents: c.ClientEvents, Spare: c.Spare,
		NodeCores: c.NodeCores, NodeMemory: c.NodeMemory * (1 << 30),
	})
	if err != nil {
		return run.Usage(fmt.Errorf("--%w", err))
	}
	if a.cli.JSON {
		line, err := json.Marshal(p)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
		return nil
	}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	a.printf("%s events/s for %s h a day, %d symbols; %d clients with %s events/s each\n", number(c.Events), number(c.Hours), c.Symbols, c.Clients, number(c.ClientEvents))
	a.printf("%.0f messages/s of %.1f events\n\n", p.Messages, p.PerMessage)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "part\tinstances\tcores\tmemory\tdisk a day\tdisk\t")
	for _, x := range append(p.Parts, p.Total) {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%.2f\t%s\t%s\t%s\t\n", x.Name, x.Instances, x.Cores, binary(x.Memory), binary(x.DiskDay), binary(x.Disk))
	}
	_ = w.Flush()
	a.printf("\nmachines of %d cores and %g GiB: %d\n", c.NodeCores, c.NodeMemory, p.Nodes)
	if p.Deployments > 1 {
		a.printf("one process reads an upstream: share the symbols among %d deployments, each with a NATS and a database of its own\n", p.Deployments)
	}
	for _, k := range p.Keys {
		a.printf("%s: %s    # %s\n", k.Key, k.Value, k.Why)
	}
	return nil
}

func printCosts(a *app) error {
	if a.cli.JSON {
		enc := json.NewEncoder(a.stdout)
		for _, c := range capacity.Costs() {
			if err := enc.Encode(c); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, c := range capacity.Costs() {
		how := "measured"
		if !c.Measured {
			how = "not measured"
		}
		_, _ = fmt.Fprintf(w, "%s\t%.4g %s\t%s\t%s\n", c.Name, c.Value, c.Unit, how, c.From)
	}
	return w.Flush()
}

// binary writes a number of bytes for people; nothing where there is none.
func binary(b float64) string {
	if b == 0 {
		return "-"
	}
	unit := 0
	for b >= 1000 && unit < 5 { // three digits at most
		b /= 1024
		unit++
	}
	return fmt.Sprintf("%.3g %s", b, []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}[unit])
}
