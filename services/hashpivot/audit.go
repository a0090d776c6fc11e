package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/lander"
)

// errNotClean ends the program with code 1 after the result has been printed.
var errNotClean = errors.New("the audit is not clean")

type auditCmd struct {
	Stream []market.Stream `help:"Audit these streams only." placeholder:"STREAM"`
}

// Run audits and prints the balance.
func (c *auditCmd) Run(a *app) error {
	b, _, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	res, err := lander.Audit(a.ctx, b.bus, b.store, c.Stream)
	if err != nil {
		return err
	}
	if a.cli.JSON {
		line, err := json.Marshal(res)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
	} else {
		printAudit(a, res)
	}
	if !res.Clean() {
		return errNotClean
	}
	return nil
}

func printAudit(a *app, res lander.AuditResult) {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "stream\tpublished\tlanded\tdead\tpending\taged\t")
	for _, st := range market.Streams() {
		s, ok := res.Streams[st]
		if !ok {
			continue
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t\n", st, s.Published, s.Landed, s.Dead, s.Pending, s.Aged)
	}
	_ = w.Flush()
	for _, d := range res.Differences {
		a.printf("%s %d-%d: published %d, landed %d, dead %d, doubled %d\n", d.Stream, d.First, d.Last, d.Published, d.Landed, d.Dead, d.Doubled)
	}
	verdict := "clean: published = landed + dead (+ pending)"
	if !res.Clean() {
		verdict = "NOT CLEAN"
	}
	a.printf("lost %d, duplicates %d: %s\n", res.Lost, res.Duplicates, verdict)
}
