package reference

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

//go:embed conditions.yaml
var conditionsYAML []byte

// Flag is what a sale condition lets a print do. A greater one is stricter.
type Flag uint8

// The flags of a rule table.
const (
	Updates Flag = iota // G
	IfFirst             // Y: only if nothing has set it yet in the bar
	Never               // R
)

// Flags say what a print does to a bar.
type Flags struct{ OpenClose, HighLow, Volume Flag }

// Strictest of two conditions on one print.
func (f Flags) Strictest(g Flags) Flags {
	return Flags{max(f.OpenClose, g.OpenClose), max(f.HighLow, g.HighLow), max(f.Volume, g.Volume)}
}

// UnmarshalText reads GYR in the order open and close, high and low, volume.
func (f *Flags) UnmarshalText(text []byte) error {
	if len(text) != 3 {
		return fmt.Errorf("flags %q are not three letters of G, Y and R", text)
	}
	for i, to := range []*Flag{&f.OpenClose, &f.HighLow, &f.Volume} {
		switch text[i] {
		case 'G':
			*to = Updates
		case 'Y':
			*to = IfFirst
		case 'R':
			*to = Never
		default:
			return fmt.Errorf("flags %q are not three letters of G, Y and R", text)
		}
	}
	if f.Volume == IfFirst {
		return fmt.Errorf("flags %q: volume is either counted or not", text)
	}
	return nil
}

// Condition is a line of a venue's table.
type Condition struct {
	Code  string `yaml:"code"`
	Name  string `yaml:"name"`
	Tapes string `yaml:"tapes"` // letters of the tapes that it is for
	// Minute is for bars shorter than a day and for a session's daily bar, Daily for the bar of the whole trade date.
	Minute Flags `yaml:"minute"`
	Daily  Flags `yaml:"daily"`
}

// Conditions is the table of one venue.
type Conditions struct {
	Name   string      `yaml:"name"`
	Method string      `yaml:"method"` // with its version; it stands in every bar made with the table
	At     time.Time   `yaml:"at"`
	Source string      `yaml:"source"`
	List   []Condition `yaml:"conditions"`
}

// Find returns the rule of a code on a tape. On a tape that the table does not name for the code, the strictest of the code's rules holds.
func (c Conditions) Find(code, tape string) (rule Condition, ok bool) {
	for _, x := range c.List {
		switch {
		case x.Code != code:
		case tape != "" && strings.Contains(x.Tapes, tape):
			return x, true
		case !ok:
			rule, ok = x, true
		default:
			rule.Minute, rule.Daily = rule.Minute.Strictest(x.Minute), rule.Daily.Strictest(x.Daily)
		}
	}
	return rule, ok
}

// LoadConditions parses and checks the embedded tables, by venue.
func LoadConditions() (map[string]Conditions, error) {
	t, err := parseConditions(conditionsYAML)
	if err != nil {
		return nil, fmt.Errorf("load conditions.yaml: %w", err)
	}
	return t, nil
}

func parseConditions(text []byte) (map[string]Conditions, error) {
	var file struct {
		Venues []Conditions `yaml:"venues"`
	}
	if err := decode(text, &file); err != nil {
		return nil, err
	}
	out := map[string]Conditions{}
	for _, v := range file.Venues {
		if _, twice := out[v.Name]; twice || v.Name == "" {
			return nil, fmt.Errorf("venue %q is there twice or has no name", v.Name)
		}
		if v.Method == "" || v.Source == "" || v.At.IsZero() || len(v.List) == 0 {
			return nil, fmt.Errorf("venue %s: method, at, source and conditions are all needed", v.Name)
		}
		seen := map[string]bool{}
		for _, c := range v.List {
			if c.Code == "" || c.Name == "" || c.Tapes == "" {
				return nil, fmt.Errorf("venue %s: condition %q: code, name and tapes are all needed", v.Name, c.Code)
			}
			for _, tape := range c.Tapes {
				if !strings.ContainsRune("ABCO", tape) {
					return nil, fmt.Errorf("venue %s: condition %q: tape %q is none of A, B, C, O", v.Name, c.Code, tape)
				}
				key := c.Code + "|" + string(tape)
				if seen[key] {
					return nil, fmt.Errorf("venue %s: condition %q is there twice for tape %c", v.Name, c.Code, tape)
				}
				seen[key] = true
			}
		}
		out[v.Name] = v
	}
	return out, nil
}

// String is the flags as they are read.
func (f Flags) String() string {
	const letters = "GYR"
	return string([]byte{letters[f.OpenClose], letters[f.HighLow], letters[f.Volume]})
}

// conditionRows are the rules by tape, and for tapes that a table does not name.
func conditionRows(tables map[string]Conditions) []string {
	var out []string
	for _, venue := range slices.Sorted(maps.Keys(tables)) {
		table := tables[venue]
		seen := map[string]bool{}
		for _, c := range table.List {
			for _, tape := range append(strings.Split(c.Tapes, ""), "") {
				if seen[c.Code+"|"+tape] {
					continue
				}
				seen[c.Code+"|"+tape] = true
				rule, _ := table.Find(c.Code, tape)
				out = append(out, row(text(venue), text(table.Method), text(c.Code), text(tape), text(rule.Minute.String()), text(rule.Daily.String()),
					day(table.At, first), text(table.Source)))
			}
		}
	}
	return out
}
