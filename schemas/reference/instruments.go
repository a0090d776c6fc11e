package reference

import (
	_ "embed"
	"fmt"
	"math/big"
	"time"
)

var (
	//go:embed instruments.yaml
	instrumentsYAML []byte
	//go:embed actions.yaml
	actionsYAML []byte
)

// Instrument is what an instrument was called and where it was listed for a while.
type Instrument struct {
	ID      string    `yaml:"id"` // ours; it outlives names and tickers
	Symbol  string    `yaml:"symbol"`
	Name    string    `yaml:"name"`
	Listing string    `yaml:"listing"`
	Tape    string    `yaml:"tape"`
	From    time.Time `yaml:"from"` // first trade date
	To      time.Time `yaml:"to"`   // last trade date; zero: until the next line of the instrument, or now
	Exact   bool      `yaml:"exact"`
	Source  string    `yaml:"source"`
}

// The kinds of corporate actions.
const (
	Split        = "split"
	Distribution = "distribution"
)

// Action is a split or a distribution. Numbers are decimal text.
type Action struct {
	Symbol string    `yaml:"symbol"`
	Kind   string    `yaml:"kind"`
	ExDate time.Time `yaml:"ex_date"` // first trade date at the new price
	// SharesNew for SharesOld, of a split.
	SharesNew string `yaml:"shares_new"`
	SharesOld string `yaml:"shares_old"`
	// AmountUSD per share and the raw close of the trade date before ExDate, of a distribution.
	AmountUSD     string `yaml:"amount_usd"`
	PriorCloseUSD string `yaml:"prior_close_usd"`
	Source        string `yaml:"source"`
}

// Factor by which a price before ExDate is multiplied, exact.
func (a Action) Factor() (*big.Rat, error) {
	read := func(what, text string) (*big.Rat, error) {
		r, ok := new(big.Rat).SetString(text)
		if !ok || r.Sign() <= 0 {
			return nil, fmt.Errorf("%s %q is not a number above 0", what, text)
		}
		return r, nil
	}
	var num, den *big.Rat
	var err error
	switch a.Kind {
	case Split:
		if num, err = read("shares_old", a.SharesOld); err != nil {
			return nil, err
		}
		if den, err = read("shares_new", a.SharesNew); err != nil {
			return nil, err
		}
		if a.AmountUSD != "" || a.PriorCloseUSD != "" {
			return nil, fmt.Errorf("a split has no amount and no close")
		}
	case Distribution:
		amount, err := read("amount_usd", a.AmountUSD)
		if err != nil {
			return nil, err
		}
		if den, err = read("prior_close_usd", a.PriorCloseUSD); err != nil {
			return nil, err
		}
		if num = new(big.Rat).Sub(den, amount); num.Sign() <= 0 {
			return nil, fmt.Errorf("the distribution of %s is not below the close of %s", a.AmountUSD, a.PriorCloseUSD)
		}
		if a.SharesNew != "" || a.SharesOld != "" {
			return nil, fmt.Errorf("a distribution has no shares")
		}
	default:
		return nil, fmt.Errorf("kind %q is neither split nor distribution", a.Kind)
	}
	return new(big.Rat).Quo(num, den), nil
}

// LoadInstruments parses and checks the embedded instruments.
func LoadInstruments() ([]Instrument, error) {
	list, err := parseInstruments(instrumentsYAML)
	if err != nil {
		return nil, fmt.Errorf("load instruments.yaml: %w", err)
	}
	return list, nil
}

func parseInstruments(text []byte) ([]Instrument, error) {
	var file struct {
		Instruments []Instrument `yaml:"instruments"`
	}
	if err := decode(text, &file); err != nil {
		return nil, err
	}
	last := map[string]int{}
	for i, x := range file.Instruments {
		at := x.From.Format(time.DateOnly)
		if x.ID == "" || x.Symbol == "" || x.Name == "" || x.Listing == "" || x.Tape == "" || x.From.IsZero() || x.Source == "" {
			return nil, fmt.Errorf("instrument %s from %s: id, symbol, name, listing, tape, from and source are all needed", x.ID, at)
		}
		if !x.To.IsZero() && x.To.Before(x.From) {
			return nil, fmt.Errorf("instrument %s from %s ends before it begins", x.ID, at)
		}
		if j, ok := last[x.ID]; ok {
			before := &file.Instruments[j]
			if !x.From.After(before.From) || !before.To.IsZero() && !x.From.After(before.To) {
				return nil, fmt.Errorf("instrument %s from %s does not follow its line from %s", x.ID, at, before.From.Format(time.DateOnly))
			}
			if before.To.IsZero() {
				before.To = x.From.AddDate(0, 0, -1)
			}
		}
		last[x.ID] = i
	}
	return file.Instruments, nil
}

// LoadActions parses and checks the embedded corporate actions.
func LoadActions() ([]Action, error) {
	list, err := ParseActions(actionsYAML)
	if err != nil {
		return nil, fmt.Errorf("load actions.yaml: %w", err)
	}
	return list, nil
}

// ParseActions reads and checks corporate actions in the format of actions.yaml.
func ParseActions(text []byte) ([]Action, error) {
	var file struct {
		Actions []Action `yaml:"actions"`
	}
	if err := decode(text, &file); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, a := range file.Actions {
		name := fmt.Sprintf("%s of %s on %s", a.Kind, a.Symbol, a.ExDate.Format(time.DateOnly))
		if a.Symbol == "" || a.ExDate.IsZero() || a.Source == "" {
			return nil, fmt.Errorf("%s: symbol, ex_date and source are all needed", name)
		}
		if seen[name] {
			return nil, fmt.Errorf("%s is there twice; add up what is distributed on one day", name)
		}
		seen[name] = true
		if _, err := a.Factor(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return file.Actions, nil
}
