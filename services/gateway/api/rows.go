package api

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/store"
)

// rows runs a statement and returns its rows as objects in the form of messages: decimals as text, times as RFC 3339, nothing that is zero, empty
// or absent.
func (h *handler) rows(ctx context.Context, sql string) ([]json.RawMessage, error) {
	res, err := h.Store.Query(ctx, sql+" SETTINGS max_execution_time = 25")
	if err != nil {
		return nil, err
	}
	out := make([]json.RawMessage, 0, len(res.Rows))
	for _, row := range res.Rows {
		o, err := object(res, row)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

func object(res *store.Result, row []any) (json.RawMessage, error) {
	b := []byte{'{'}
	for i, name := range res.Columns {
		v := row[i]
		switch x := v.(type) {
		case nil:
			continue
		case json.Number: // a decimal
			if x == "0" {
				continue
			}
			v = string(x)
		case time.Time:
			v = x.UTC().Format(time.RFC3339Nano)
			if strings.Contains(res.Types[i], "Date") && !strings.Contains(res.Types[i], "DateTime") {
				v = x.UTC().Format(time.DateOnly)
			}
		case string:
			if x == "" {
				continue
			}
		case bool:
			if !x {
				continue
			}
		case uint64:
			if x == 0 {
				continue
			}
		case uint32:
			if x == 0 {
				continue
			}
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(strconv.AppendQuote(b, name), ':'), text...)
	}
	return append(b, '}'), nil
}

// matchAny is the condition that an expression matches one of the patterns.
func matchAny(expr string, patterns []string) string {
	parts := make([]string, len(patterns))
	for i, p := range patterns {
		if p == "*" {
			return "1"
		}
		parts[i] = store.MatchText(expr, p)
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}
