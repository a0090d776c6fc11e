package reference

import (
	"bytes"
	_ "embed"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed exchanges.yaml
var exchangesYAML []byte

// Exchange is a venue's code of an exchange.
type Exchange struct {
	Code string `yaml:"code"`
	Name string `yaml:"name"`
	// OffExchange: a reporting facility, no order book.
	OffExchange bool `yaml:"off_exchange"`
}

// Exchanges are the codes of one venue.
type Exchanges struct {
	Name   string     `yaml:"name"`
	At     time.Time  `yaml:"at"`
	Source string     `yaml:"source"`
	List   []Exchange `yaml:"exchanges"`
}

// Find looks a code up.
func (x Exchanges) Find(code string) (Exchange, bool) {
	for _, e := range x.List {
		if e.Code == code {
			return e, true
		}
	}
	return Exchange{}, false
}

// LoadExchanges parses and checks the embedded codes, by venue.
func LoadExchanges() (map[string]Exchanges, error) {
	x, err := parseExchanges(exchangesYAML)
	if err != nil {
		return nil, fmt.Errorf("load exchanges.yaml: %w", err)
	}
	return x, nil
}

func parseExchanges(text []byte) (map[string]Exchanges, error) {
	var file struct {
		Venues []Exchanges `yaml:"venues"`
	}
	if err := decode(text, &file); err != nil {
		return nil, err
	}
	out := map[string]Exchanges{}
	for _, v := range file.Venues {
		if _, twice := out[v.Name]; twice || v.Name == "" {
			return nil, fmt.Errorf("venue %q is there twice or has no name", v.Name)
		}
		if v.Source == "" || v.At.IsZero() {
			return nil, fmt.Errorf("venue %s: at and source are needed", v.Name)
		}
		seen := map[string]bool{}
		for _, e := range v.List {
			if e.Code == "" || e.Name == "" || seen[e.Code] {
				return nil, fmt.Errorf("venue %s: exchange %q is there twice, or has no code or name", v.Name, e.Code)
			}
			seen[e.Code] = true
		}
		out[v.Name] = v
	}
	return out, nil
}

// decode refuses keys that the type does not have: a misspelt one would be a fact lost.
func decode(text []byte, to any) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	return dec.Decode(to)
}
