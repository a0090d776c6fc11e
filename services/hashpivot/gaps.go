package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

type gapsCmd struct {
	Source string   `help:"Of this source only." placeholder:"SOURCE"`
	Symbol string   `help:"Touching this symbol: its own lines and those of all symbols." placeholder:"SYMBOL"`
	State  []string `help:"open, partly, filled, given_up; several with commas." placeholder:"STATE" enum:"open,partly,filled,given_up"`
	Since  string   `help:"That reach beyond this time: a date, a time, or a duration before now (72h)." placeholder:"TIME"`
	Limit  int      `help:"The newest so many." default:"200"`
}

// gapLine is a line of the ledger as it stands now.
type gapLine struct {
	Source    string     `json:"source"`
	Symbol    string     `json:"symbol"`
	From      *time.Time `json:"from"`
	To        *time.Time `json:"to"` // null: not ended
	State     string     `json:"state"`
	Recovered uint64     `json:"recovered"`
	Reason    string     `json:"reason"`
	ID        string     `json:"gap_id"`
}

// Run prints the ledger, newest first.
func (c *gapsCmd) Run(a *app) error {
	where := []string{"1"}
	if c.Source != "" {
		where = append(where, "source = "+quote(c.Source))
	}
	if c.Symbol != "" {
		where = append(where, "symbol IN ('*', "+quote(strings.ToUpper(c.Symbol))+")")
	}
	if len(c.State) > 0 {
		states := make([]string, len(c.State))
		for i, s := range c.State {
			states[i] = quote(s)
		}
		where = append(where, "state IN ("+strings.Join(states, ", ")+")")
	}
	if c.Since != "" {
		t, err := run.ParseTime(c.Since, time.Now())
		if err != nil {
			return run.Usage(fmt.Errorf("--since: %w", err))
		}
		where = append(where, fmt.Sprintf("(to_time IS NULL OR to_time >= fromUnixTimestamp64Milli(%d, 'UTC'))", t.UnixMilli()))
	}
	if c.Limit < 1 {
		return run.Usage(fmt.Errorf("--limit %d: give at least 1", c.Limit))
	}
	b, _, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	res, err := b.store.Query(a.ctx, fmt.Sprintf(
		"SELECT source, symbol, from_time, to_time, toString(state), recovered, reason, gap_id FROM feed_gaps_now WHERE %s ORDER BY from_time DESC NULLS LAST, gap_id LIMIT %d",
		strings.Join(where, " AND "), c.Limit))
	if err != nil {
		return err
	}
	lines := make([]gapLine, 0, len(res.Rows))
	for _, r := range res.Rows {
		l := gapLine{Source: fmt.Sprint(r[0]), Symbol: fmt.Sprint(r[1]), State: fmt.Sprint(r[4]), Reason: fmt.Sprint(r[6]), ID: fmt.Sprint(r[7])}
		l.From, l.To = timeOrNil(r[2]), timeOrNil(r[3])
		l.Recovered, _ = r[5].(uint64)
		lines = append(lines, l)
	}
	if a.cli.JSON {
		enc := json.NewEncoder(a.stdout)
		for _, l := range lines {
			if err := enc.Encode(l); err != nil {
				return err
			}
		}
		return nil
	}
	printGaps(a, lines)
	return nil
}

func printGaps(a *app, lines []gapLine) {
	if len(lines) == 0 {
		a.printf("no gaps\n")
		return
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "source\tsymbol\tfrom (UTC)\tto (UTC)\tlength\tstate\trecovered\treason")
	for _, l := range lines {
		from, to, length := "-", "-", "-"
		if l.From != nil {
			from = l.From.Format(time.DateTime)
		}
		if l.To != nil {
			to = l.To.Format(time.DateTime)
		}
		if l.From != nil && l.To != nil {
			length = l.To.Sub(*l.From).Round(time.Millisecond).String()
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.Source, l.Symbol, from, to, length, l.State, l.Recovered, l.Reason)
	}
	_ = w.Flush()
}

func timeOrNil(v any) *time.Time {
	t, ok := v.(time.Time)
	if !ok {
		return nil
	}
	t = t.UTC()
	return &t
}

// quote writes a string literal of ClickHouse's SQL.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
