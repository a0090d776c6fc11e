package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/audit"
)

type retentionCmd struct {
	Apply bool `help:"Remove what is due. An audit must be clean first."`
}

// removalLine is a removal as it is printed.
type removalLine struct {
	Table     string    `json:"table"`
	Partition string    `json:"partition"`
	Rows      uint64    `json:"rows"`
	Bytes     uint64    `json:"bytes"`
	Oldest    time.Time `json:"oldest"`
	Newest    time.Time `json:"newest"`
	State     string    `json:"state"` // due, removed, or why it waits
}

// Run shows the plan, or carries it out.
func (c *retentionCmd) Run(a *app) error {
	b, cfg, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	keep := cfg.Audit.Retention
	if len(keep) == 0 {
		return run.Usage(errors.New("audit.retention names no table: all rows are kept; set for instance audit.retention.quotes=2160h"))
	}
	deps := audit.Deps{Bus: b.bus, Store: b.store, Logger: a.log, Version: version()}
	if c.Apply {
		res, err := audit.Run(a.ctx, deps, audit.Order{Record: true, By: "retention"})
		if err != nil {
			return err
		}
		if !res.Clean() {
			return fmt.Errorf("remove old rows: %w; look into it first (hashpivot audit), for what is removed cannot be looked into any more", errNotClean)
		}
	}
	plan, err := audit.Plan(a.ctx, deps, keep, time.Now())
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if !a.cli.JSON {
		_, _ = fmt.Fprintln(w, "table\tpartition\trows\tMiB\tfrom\tto\t")
	}
	for _, r := range plan {
		line := removalLine{r.Table, r.Partition, r.Rows, r.Bytes, r.Oldest, r.Newest, "due"}
		switch {
		case r.Waits != "":
			line.State = r.Waits
		case c.Apply:
			if err := audit.Retire(a.ctx, deps, r); err != nil {
				return err
			}
			line.State = "removed"
		}
		if a.cli.JSON {
			text, err := json.Marshal(line)
			if err != nil {
				return err
			}
			a.printf("%s\n", text)
			continue
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%.1f\t%s\t%s\t%s\n", line.Table, line.Partition, line.Rows, float64(line.Bytes)/(1<<20), line.Oldest.Format(time.DateOnly), line.Newest.Format(time.DateOnly), line.State)
	}
	return w.Flush()
}
