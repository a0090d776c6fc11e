package reference

import (
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestConditionTables(t *testing.T) {
	tables, err := LoadConditions()
	if err != nil {
		t.Fatal(err)
	}
	alpaca, massive := tables["alpaca"], tables["massive"]
	if len(alpaca.List) != 32 || len(massive.List) != 36 {
		t.Errorf("%d and %d conditions", len(alpaca.List), len(massive.List))
	}
	f := func(text string) (f Flags) {
		if err := f.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, c := range []struct {
		table         Conditions
		code, tape    string
		minute, daily string
	}{
		{alpaca, "@", "C", "GGG", "GGG"},
		{alpaca, "T", "C", "GGG", "RRG"},
		{alpaca, "B", "A", "RRG", "RRG"}, // average price on A and B,
		{alpaca, "B", "C", "GGG", "GGG"}, // bunched on C,
		{alpaca, "B", "N", "RRG", "RRG"}, // the strictest where nobody knows
		{alpaca, "Q", "C", "RRR", "RRR"},
		{alpaca, "9", "C", "RRR", "GGR"},
		{alpaca, "Z", "A", "RRG", "YGG"},
		{massive, "12", "C", "GGG", "RRG"},
		{massive, "10", "C", "YGG", "YGG"},
		{massive, "38", "A", "GGR", "GGR"},
	} {
		got, ok := c.table.Find(c.code, c.tape)
		if !ok || got.Minute != f(c.minute) || got.Daily != f(c.daily) {
			t.Errorf("%s %q on %s: %+v, want %s and %s", c.table.Name, c.code, c.tape, got, c.minute, c.daily)
		}
	}
	if _, ok := alpaca.Find("?", "C"); ok {
		t.Error("an unknown code has a rule")
	}
}

func TestTablesRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		text     []byte
		old, new string
		want     string
		parse    func([]byte) error
	}{
		"flag":       {conditionsYAML, "minute: GGG", "minute: GGX", "three letters", conditionsError},
		"volume":     {conditionsYAML, "minute: GGG", "minute: GGY", "counted or not", conditionsError},
		"twice":      {conditionsYAML, `code: "A"`, `code: "@"`, "twice", conditionsError},
		"tape":       {conditionsYAML, "tapes: AB,", "tapes: AX,", "none of A", conditionsError},
		"unsourced":  {conditionsYAML, "method: alpaca-conditions/1", `method: ""`, "all needed", conditionsError},
		"exchange":   {exchangesYAML, "code: B,", "code: A,", "twice", exchangesError},
		"instrument": {instrumentsYAML, "from: 2020-09-01", "from: 2018-03-20", "does not follow", instrumentsError},
		"no source":  {instrumentsYAML, `source: "public offering of 17 November 2021"`, `source: ""`, "all needed", instrumentsError},
		"kind":       {actionsYAML, "kind: split", "kind: splot", "neither", actionsError},
		"shares":     {actionsYAML, `shares_new: "4"`, `shares_new: "0"`, "above 0", actionsError},
		"misspelt":   {actionsYAML, "ex_date: 2021", "exdate: 2021", "exdate", actionsError},
	} {
		text := strings.Replace(string(c.text), c.old, c.new, 1)
		if text == string(c.text) {
			t.Errorf("%s: nothing to replace", name)
		}
		if err := c.parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func conditionsError(b []byte) error  { _, err := parseConditions(b); return err }
func exchangesError(b []byte) error   { _, err := parseExchanges(b); return err }
func instrumentsError(b []byte) error { _, err := parseInstruments(b); return err }
func actionsError(b []byte) error     { _, err := ParseActions(b); return err }

func TestInstrumentsOverTime(t *testing.T) {
	list, err := LoadInstruments()
	if err != nil {
		t.Fatal(err)
	}
	at := func(id, date string) (name, symbol string) {
		d, _ := time.Parse(time.DateOnly, date)
		for _, x := range list {
			if x.ID == id && !d.Before(x.From) && (x.To.IsZero() || !d.After(x.To)) {
				return x.Name, x.Symbol
			}
		}
		return "", ""
	}
	for _, c := range [][4]string{
		{"btbt", "2019-05-01", "Golden Bull Limited", "DNJR"},
		{"btbt", "2026-11-20", "Bit Digital", "BTBT"},
		{"iren", "2024-10-29", "Iris Energy Limited", "IREN"},
		{"iren", "2026-11-20", "IREN Limited", "IREN"},
		{"corz", "2024-01-23", "", ""},
		{"corz", "2024-01-24", "Core Scientific", "CORZ"},
		{"wgmi", "2026-11-20", "CoinShares Bitcoin Mining ETF", "WGMI"},
	} {
		if name, symbol := at(c[0], c[1]); name != c[2] || symbol != c[3] {
			t.Errorf("%s on %s is %q %q, want %q %q", c[0], c[1], symbol, name, c[3], c[2])
		}
	}
	x, err := LoadExchanges()
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := x["alpaca"].Find("D"); !ok || !e.OffExchange {
		t.Errorf("Alpaca's D is %+v", e)
	}
	if e, ok := x["massive"].Find("11"); !ok || e.Name != "NYSE Arca" {
		t.Errorf("Massive's 11 is %+v", e)
	}
}

func TestAdjustments(t *testing.T) {
	actions, err := ParseActions([]byte(`actions:
  - {symbol: X, kind: split, ex_date: 2026-01-10, shares_new: "1", shares_old: "3", source: test}
  - {symbol: X, kind: split, ex_date: 2026-03-10, shares_new: "2", shares_old: "1", source: test}
  - {symbol: X, kind: distribution, ex_date: 2026-03-10, amount_usd: "1", prior_close_usd: "10", source: test}
`))
	if err != nil {
		t.Fatal(err)
	}
	list, err := Adjustments(actions)
	if err != nil {
		t.Fatal(err)
	}
	find := func(price, asOf string) (split, total *big.Rat) {
		p, _ := time.Parse(time.DateOnly, price)
		a, _ := time.Parse(time.DateOnly, asOf)
		split, total = big.NewRat(1, 1), big.NewRat(1, 1)
		n := 0
		for _, x := range list {
			if (x.From.IsZero() || !p.Before(x.From)) && p.Before(x.To) && !a.Before(x.AsOfFrom) && (x.AsOf.IsZero() || a.Before(x.AsOf)) {
				split, total = x.Split, x.Total
				n++
			}
		}
		if n > 1 {
			t.Errorf("%d factors for %s as of %s", n, price, asOf)
		}
		return split, total
	}
	for _, c := range []struct {
		price, asOf  string
		split, total *big.Rat
	}{
		{"2026-01-09", "2026-01-09", big.NewRat(1, 1), big.NewRat(1, 1)}, // not yet
		{"2026-01-09", "2026-01-10", big.NewRat(3, 1), big.NewRat(3, 1)},
		{"2026-01-09", "2026-03-09", big.NewRat(3, 1), big.NewRat(3, 1)},
		{"2026-01-09", "2026-03-10", big.NewRat(3, 2), big.NewRat(27, 20)}, // all three
		{"2026-01-10", "2026-03-10", big.NewRat(1, 2), big.NewRat(9, 20)},
		{"2026-03-10", "2027-01-01", big.NewRat(1, 1), big.NewRat(1, 1)},
	} {
		if split, total := find(c.price, c.asOf); split.Cmp(c.split) != 0 || total.Cmp(c.total) != 0 {
			t.Errorf("%s as of %s: %s and %s, want %s and %s", c.price, c.asOf, split, total, c.split, c.total)
		}
	}
	if _, err := ParseActions([]byte(`actions: [{symbol: X, kind: distribution, ex_date: 2026-03-10, amount_usd: "10", prior_close_usd: "10", source: t}]`)); err == nil {
		t.Error("a distribution of the whole price is taken")
	}
}
