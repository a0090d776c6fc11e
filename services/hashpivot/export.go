package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/export"
)

type exportCmd struct {
	Table     string   `help:"Table or view without parameters." placeholder:"TABLE"`
	Query     string   `help:"Any SELECT instead, such as that of a view with parameters." placeholder:"SQL"`
	Name      string   `help:"With --query: directory of its files." placeholder:"NAME"`
	From      string   `help:"From: a date, a time, or a duration before now (72h); a partition is always whole." placeholder:"TIME"`
	To        string   `help:"Up to, exclusive." placeholder:"TIME"`
	Symbols   []string `help:"These symbols only, with commas." placeholder:"SYMBOL"`
	AsOf      string   `help:"As it was known at this moment." placeholder:"TIME"`
	Partition string   `help:"A file a day, month or none of event_time (or of the column minute or day of a view)." default:"day" placeholder:"PERIOD"`
	BySymbol  bool     `help:"And a file a symbol."`
	Out       string   `required:"" help:"Directory." placeholder:"DIR"`
}

// Run exports, and prints each file that was written.
func (c *exportCmd) Run(a *app) error {
	opt := export.Options{Table: c.Table, Query: c.Query, Name: c.Name, Symbols: c.Symbols, Partition: c.Partition, BySymbol: c.BySymbol, Dir: c.Out, Version: version()}
	now := time.Now().UTC()
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"from", c.From, &opt.From}, {"to", c.To, &opt.To}, {"as-of", c.AsOf, &opt.AsOf}} {
		var err error
		if *t.to, err = run.ParseTime(t.text, now); err != nil {
			return run.Usage(fmt.Errorf("--%s: %w", t.flag, err))
		}
	}
	if err := opt.Validate(); err != nil {
		return run.Usage(err)
	}
	b, _, err := a.attachStore()
	if err != nil {
		return err
	}
	defer b.close()
	res, err := export.Run(a.ctx, b.store, opt, func(f export.File) error {
		if a.cli.JSON {
			return json.NewEncoder(a.stdout).Encode(f)
		}
		a.printf("%s: %d rows, %d bytes (%s)\n", f.Path, f.Rows, f.Bytes, f.Why)
		return nil
	})
	if err != nil {
		return err
	}
	if a.cli.JSON {
		return json.NewEncoder(a.stdout).Encode(res)
	}
	a.printf("%s: %d files in %s: %d new, %d written again, %d were whole; %d rows, %d bytes written in %.1f s\n",
		res.Name, res.Files, res.Dir, res.New, res.Changed, res.Whole, res.Rows, res.Bytes, res.Seconds)
	if res.Vanished > 0 {
		a.printf("%d files hold rows that the database has no more; they were left as they are\n", res.Vanished)
	}
	return nil
}
