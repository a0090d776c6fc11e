package reference

import (
	"fmt"
	"hash/fnv"
	"math/big"
	"strings"
	"time"
)

// Facts are the statements that fill the reference tables with all embedded facts. Each is idempotent.
func Facts() ([]string, error) {
	instruments, err := LoadInstruments()
	if err != nil {
		return nil, err
	}
	actions, err := LoadActions()
	if err != nil {
		return nil, err
	}
	out, err := Statements(instruments, actions)
	if err != nil {
		return nil, err
	}
	power, err := LoadPower()
	if err != nil {
		return nil, err
	}
	contracts, events, err := LoadContracts()
	if err != nil {
		return nil, err
	}
	companies, err := LoadCompanies()
	if err != nil {
		return nil, err
	}
	claims, err := LoadClaims()
	if err != nil {
		return nil, err
	}
	conditions, err := LoadConditions()
	if err != nil {
		return nil, err
	}
	more, err := fill(
		filling{"sale_conditions", "venue, method, code, tape, minute, daily, at, source", conditionRows(conditions)},
		filling{"asic_machines", "machine, th_per_s, j_per_th, at, confirmed, source", power.machineRows()},
		filling{"gpu_systems", "system, gpu, gpus, kw, reference, at, confirmed, source", power.systemRows()},
		filling{"reference_levels", "kind, name, from_date, value, at, confirmed, source", power.levelRows()},
		filling{"ai_contracts", "symbol, counterparty, kind, signed, exact, mw, gpus, value_usd, years, title, at, confirmed, source", contractRows(contracts)},
		filling{"market_events", "date, symbol, kind, exact, title, at, confirmed, source", eventRows(events)},
		filling{"companies", "symbol, from_date, exact, segment, basis, share, revenue_usd, period, at, confirmed, source", companies.businessRows()},
		filling{"gpu_fleets", "symbol, from_date, exact, servers, gpus_per_server, gpu, at, confirmed, source", companies.fleetRows()},
		filling{"claims", "id, claim, stated_value, unit, stated_on, computed_unit, query, at, confirmed, source", claimRows(claims)},
	)
	return append(out, more...), err
}

// filling is a table with rows as tuples of literals.
type filling struct {
	table, columns string
	rows           []string
}

// fill makes one statement a table. Facts that are the table's newest version already are not inserted again, whoever runs it and however often.
func fill(tables ...filling) ([]string, error) {
	var out []string
	for _, t := range tables {
		if len(t.rows) == 0 {
			return nil, fmt.Errorf("fill table %s: there are no rows, and an empty version could not be told from none", t.table)
		}
		v := version(t.rows)
		parts := make([]string, strings.Count(t.columns, ",")+1)
		for i := range parts {
			parts[i] = fmt.Sprintf("x.%d", i+1)
		}
		out = append(out, fmt.Sprintf("INSERT INTO %s (%s, version, loaded_at) SELECT %s, '%s', now64(9) FROM (SELECT arrayJoin([%s]) AS x) "+
			"WHERE (SELECT argMax(version, loaded_at) FROM %s) != '%s'",
			t.table, t.columns, strings.Join(parts, ", "), v, strings.Join(t.rows, ", "), t.table, v))
	}
	return out, nil
}

// TradeDate is a date of the exchanges' calendar. The spans of its sessions are in seconds from New York's midnight of the date, negative on the evening before.
type TradeDate struct {
	Date     time.Time
	Sessions []SessionSpan
}

// SessionSpan is a session of a trade date.
type SessionSpan struct {
	Kind        string // pre, regular, after or overnight
	Open, Close int
}

// FillTradeDates is the statement that fills the table trade_dates. They are told by the calendar, which is no part of this package, and come as one text: as
// literals they would be more than the engine parses.
func FillTradeDates(dates []TradeDate) (string, error) {
	if len(dates) == 0 {
		return "", fmt.Errorf("fill table trade_dates: there are no dates")
	}
	lines := make([]string, 0, len(dates))
	for _, d := range dates {
		line := d.Date.Format(time.DateOnly)
		for _, s := range d.Sessions {
			line += fmt.Sprintf(" %s:%d:%d", s.Kind, s.Open, s.Close)
		}
		lines = append(lines, line)
	}
	v := version(lines)
	return fmt.Sprintf("INSERT INTO trade_dates (date, sessions, version, loaded_at) "+
		"SELECT toDate(x[1]), arrayMap(s -> (splitByChar(':', s)[1], toInt32(splitByChar(':', s)[2]), toInt32(splitByChar(':', s)[3])), arraySlice(x, 2)), '%s', now64(9) "+
		"FROM (SELECT splitByChar(' ', arrayJoin(splitByChar('\\n', %s))) AS x) WHERE (SELECT argMax(version, loaded_at) FROM trade_dates) != '%s'",
		v, text(strings.Join(lines, "\n")), v), nil
}

// version is the hash of rows.
func version(lists ...[]string) string {
	h := fnv.New64a()
	for i, rows := range lists {
		if i > 0 {
			_, _ = h.Write([]byte{0})
		}
		_, _ = h.Write([]byte(strings.Join(rows, "\n")))
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// The bounds of an open-ended span of dates, which a Date can hold.
const (
	first = "1970-01-01"
	last  = "2149-06-06"
)

func row(values ...string) string { return "(" + strings.Join(values, ", ") + ")" }

// text is a string literal.
func text(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(s) + "'"
}

func day(t time.Time, open string) string {
	if !t.IsZero() {
		open = t.UTC().Format(time.DateOnly)
	}
	return "toDate('" + open + "')"
}

// number is a decimal literal; an absent one is 0.
func number(s string, scale int) string {
	if s == "" {
		s = "0"
	}
	return fmt.Sprintf("toDecimal128('%s', %d)", s, scale)
}

func factor(r *big.Rat) string {
	return fmt.Sprintf("toDecimal256('%s', %d)", r.FloatString(FactorScale), FactorScale)
}
