package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
)

type sqlCmd struct {
	Query  string `arg:"" optional:"" help:"The query; standard input where it is absent."`
	Format string `help:"table, csv (RFC 4180, the first line names the columns) or json (an object a row); --json is the last one too." placeholder:"FORMAT"`
	Null   string `help:"CSV: how a NULL is written; text that reads like it is quoted." default:"\\N" placeholder:"TEXT"`
}

// Run runs a query and prints its rows as they come: an answer of any size takes constant memory.
func (c *sqlCmd) Run(a *app) error {
	format := c.Format
	switch {
	case format == "":
		if format = "table"; a.cli.JSON {
			format = "json"
		}
	case format != "table" && format != "csv" && format != "json":
		return run.Usage(fmt.Errorf("--format: %.32q is none of table, csv, json", format))
	case a.cli.JSON && format != "json":
		return run.Usage(fmt.Errorf("--json and --format %s ask for different things; give one of them", format))
	}
	if strings.ContainsAny(c.Null, ",\"\r\n") {
		return run.Usage(fmt.Errorf("--null: %.32q has a comma, a quotation mark or a line end, and would have to be quoted as text is", c.Null))
	}
	query := c.Query
	if query == "" {
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			return fmt.Errorf("read query from standard input: %w", err)
		}
		query = string(text)
	}
	query = strings.TrimRight(strings.TrimSpace(query), "; \t\n")
	if query == "" {
		return run.Usage(fmt.Errorf("there is no query; give it as an argument or on standard input"))
	}
	b, _, err := a.attachStore()
	if err != nil {
		return err
	}
	defer b.close()
	var out rowWriter
	switch format {
	case "json":
		out = newJSONRows(a.stdout)
	case "csv":
		out = newCSVRows(a.stdout, c.Null)
	default:
		out = newTableRows(a.stdout)
	}
	n := 0
	none := false
	err = b.store.QueryEach(a.ctx, query, func(columns, types []string) error {
		if none = len(columns) == 0; none {
			return nil // a statement that has no result
		}
		return out.head(columns, types)
	}, func(row []any) error {
		n++
		return out.row(row)
	})
	// What came before an error is printed: it is what the server answered.
	if ferr := out.flush(); err == nil {
		err = ferr
	}
	if err != nil || format != "table" {
		return err
	}
	if none {
		_, _ = fmt.Fprintln(a.stderr, "done")
	} else {
		_, _ = fmt.Fprintf(a.stderr, "%d rows\n", n)
	}
	return nil
}

// attachStore is attach for commands that read the database alone: where a ClickHouse is known they need no NATS.
func (a *app) attachStore() (*backends, *config, error) {
	cfg, _, err := a.loadBeside()
	if err != nil {
		return nil, nil, err
	}
	if len(cfg.ClickHouse.Addr) == 0 {
		return a.attach()
	}
	if a.cli.LogLevel == "" && cfg.Log.Level == "info" {
		cfg.Log.Level = "warn"
	}
	if err := a.logger(cfg); err != nil {
		return nil, nil, err
	}
	b := &backends{log: a.log}
	b.store, err = store.Open(a.ctx, cfg.ClickHouse.Config, a.log)
	return b, cfg, err
}
