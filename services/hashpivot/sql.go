package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

type sqlCmd struct {
	Query string `arg:"" optional:"" help:"The query; standard input where it is absent."`
}

// Run runs a query and prints its rows as a table, or as one JSON object a row.
func (c *sqlCmd) Run(a *app) error {
	query := c.Query
	if query == "" {
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			return fmt.Errorf("read query from standard input: %w", err)
		}
		query = string(text)
	}
	query = strings.TrimRight(strings.TrimSpace(query), ";")
	if query == "" {
		return run.Usage(fmt.Errorf("there is no query; give it as an argument or on standard input"))
	}
	b, _, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	if a.cli.JSON {
		var names []string
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		return b.store.QueryEach(a.ctx, query, func(columns, _ []string) error { names = columns; return nil }, func(row []any) error {
			// Column order is the query's, which a map would lose.
			var line strings.Builder
			line.WriteByte('{')
			for i, v := range row {
				if i > 0 {
					line.WriteByte(',')
				}
				key, err := json.Marshal(names[i])
				if err != nil {
					return err
				}
				val, err := json.Marshal(v)
				if err != nil {
					return fmt.Errorf("column %s: %w", names[i], err)
				}
				line.Write(key)
				line.WriteByte(':')
				line.Write(val)
			}
			line.WriteByte('}')
			return enc.Encode(json.RawMessage(line.String()))
		})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	n := 0
	none := false
	err = b.store.QueryEach(a.ctx, query, func(columns, _ []string) error {
		if none = len(columns) == 0; none {
			return nil // a statement that has no result
		}
		_, err := fmt.Fprintln(w, strings.Join(columns, "\t"))
		return err
	}, func(row []any) error {
		n++
		for i, v := range row {
			if i > 0 {
				_, _ = io.WriteString(w, "\t")
			}
			_, _ = io.WriteString(w, cell(v))
		}
		_, err := io.WriteString(w, "\n")
		return err
	})
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if none {
		_, _ = fmt.Fprintln(a.stderr, "done")
	} else {
		_, _ = fmt.Fprintf(a.stderr, "%d rows\n", n)
	}
	return nil
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04:05.999999999")
	case string:
		return strings.NewReplacer("\t", `\t`, "\n", `\n`).Replace(v)
	}
	return fmt.Sprint(v)
}
