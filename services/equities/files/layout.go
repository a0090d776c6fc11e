package files

import (
	"fmt"
	"slices"
	"strings"
)

// needs are the columns that a layout must have, by our names; "|" separates alternatives.
var needs = map[Layout][]string{
	Trades:   {"time", "price", "size"},
	Quotes:   {"time", "bid_price", "ask_price"},
	Bars:     {"time|date", "open", "high", "low", "close"},
	YahooCSV: {"date", "open", "high", "low", "close", "adj close", "volume"},
	Stooq:    {"date", "open", "high", "low", "close", "volume"},
	Closes:   {"date", "close"},
}

// exact layouts have no other columns than those that they need: what has more is no file of that provider.
var exact = []Layout{YahooCSV, Stooq, Closes}

// adjusted layouts have prices that are adjusted for splits, and some for dividends.
var adjusted = []Layout{YahooCSV, YahooJSON, Stooq, Closes}

func fits(l Layout, columns []string) bool {
	for _, need := range needs[l] {
		if !slices.ContainsFunc(strings.Split(need, "|"), func(n string) bool { return slices.Contains(columns, n) }) {
			return false
		}
	}
	return !slices.Contains(exact, l) || len(columns) == len(needs[l])
}

// layoutOf chooses a file's layout by its columns, or checks the one that is asked for.
func layoutOf(want Layout, columns []string) (Layout, error) {
	if slices.Contains(columns, chartColumn) {
		if want == Auto || want == "" || want == YahooJSON {
			return YahooJSON, nil
		}
		return "", fmt.Errorf("the file is a chart of Yahoo, not of the layout %s", want)
	}
	if want != "" && want != Auto {
		if want == YahooJSON || !fits(want, columns) {
			return "", fmt.Errorf("the layout %s needs the columns %s; the file has %s", want, strings.Join(needs[want], ", "), strings.Join(columns, ", "))
		}
		return want, nil
	}
	for _, l := range []Layout{YahooCSV, Stooq, Closes, Quotes, Trades, Bars} {
		if fits(l, columns) {
			return l, nil
		}
	}
	return "", fmt.Errorf("the columns %s are of no layout that is known: see docs/import.md", strings.Join(columns[:min(len(columns), 24)], ", "))
}
