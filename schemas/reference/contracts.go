package reference

import (
	_ "embed"
	"fmt"
	"slices"
	"time"
)

//go:embed contracts.yaml
var contractsYAML []byte

// Contract is what a company agreed on with somebody who needs power for AI.
type Contract struct {
	Said         `yaml:",inline"`
	Symbol       string    `yaml:"symbol"`
	Counterparty string    `yaml:"counterparty"`
	Kind         string    `yaml:"kind"` // colocation or cloud
	Signed       time.Time `yaml:"signed"`
	Exact        bool      `yaml:"exact"`     // false: the day is not certain
	MW           string    `yaml:"mw"`        // critical IT load, decimal text
	GPUs         uint32    `yaml:"gpus"`      // 0: not told
	ValueUSD     string    `yaml:"value_usd"` // of the first term
	Years        string    `yaml:"years"`     // empty: not told
	Title        string    `yaml:"title"`
}

// The kinds of market events.
const (
	AIContract = "ai-contract"
	Halving    = "halving"
	IPO        = "ipo"
	Merger     = "merger"
	Other      = "other"
)

// Event is a day that a chart should mark.
type Event struct {
	Said   `yaml:",inline"`
	Date   time.Time `yaml:"date"`
	Symbol string    `yaml:"symbol"` // empty: of the whole network
	Kind   string    `yaml:"kind"`
	Exact  bool      `yaml:"exact"` // false: the day is not certain
	Title  string    `yaml:"title"`
}

// LoadContracts parses and checks the embedded contracts and events. The contracts are among the events.
func LoadContracts() ([]Contract, []Event, error) {
	contracts, events, err := parseContracts(contractsYAML)
	if err != nil {
		return nil, nil, fmt.Errorf("load contracts.yaml: %w", err)
	}
	return contracts, events, nil
}

func parseContracts(text []byte) ([]Contract, []Event, error) {
	var file struct {
		Contracts []Contract `yaml:"contracts"`
		Events    []Event    `yaml:"events"`
	}
	if err := decode(text, &file); err != nil {
		return nil, nil, err
	}
	for _, c := range file.Contracts {
		name := fmt.Sprintf("contract of %s with %s on %s", c.Symbol, c.Counterparty, c.Signed.Format(time.DateOnly))
		numbers := []string{c.MW, c.ValueUSD}
		if c.Years != "" {
			numbers = append(numbers, c.Years)
		}
		for _, n := range numbers {
			if err := stored(n); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		if c.Symbol == "" || c.Counterparty == "" || c.Kind != "colocation" && c.Kind != "cloud" {
			return nil, nil, fmt.Errorf("%s: symbol, counterparty and kind (colocation or cloud) are all needed", name)
		}
		file.Events = append(file.Events, Event{Said: c.Said, Date: c.Signed, Symbol: c.Symbol, Kind: AIContract, Exact: c.Exact, Title: c.Title})
	}
	seen := map[string]bool{}
	for _, e := range file.Events {
		name := fmt.Sprintf("event %s %q on %s", e.Kind, e.Title, e.Date.Format(time.DateOnly))
		if err := e.check(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		switch {
		case !slices.Contains([]string{AIContract, Halving, IPO, Merger, Other}, e.Kind):
			return nil, nil, fmt.Errorf("%s: kind is none of ai-contract, halving, ipo, merger, other", name)
		case e.Date.IsZero() || e.Title == "":
			return nil, nil, fmt.Errorf("%s: date and title are both needed", name)
		case seen[name]:
			return nil, nil, fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
	slices.SortStableFunc(file.Events, func(a, b Event) int { return a.Date.Compare(b.Date) })
	return file.Contracts, file.Events, nil
}

func contractRows(list []Contract) []string {
	var out []string
	for _, c := range list {
		out = append(out, row(append([]string{
			text(c.Symbol), text(c.Counterparty), text(c.Kind), day(c.Signed, first), fmt.Sprint(c.Exact), number(c.MW, 8), fmt.Sprint(c.GPUs),
			number(c.ValueUSD, 8), number(c.Years, 8), text(c.Title),
		}, c.columns()...)...))
	}
	return out
}

func eventRows(list []Event) []string {
	var out []string
	for _, e := range list {
		out = append(out, row(append([]string{day(e.Date, first), text(e.Symbol), text(e.Kind), fmt.Sprint(e.Exact), text(e.Title)}, e.columns()...)...))
	}
	return out
}
