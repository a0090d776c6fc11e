// Package reference holds facts that the system is given and does not measure: each with its value, its unit, its date and its source.
package reference

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed levels.yaml
var levelsYAML []byte

// Fact is a dated, sourced value.
type Fact struct {
	Value  string    `yaml:"value"` // decimal text
	Unit   string    `yaml:"unit"`
	At     time.Time `yaml:"at"` // when it was true, UTC
	Source string    `yaml:"source"`
}

// Float is the value as a float, for simulators; Load has checked that it is one.
func (f Fact) Float() float64 {
	v, err := strconv.ParseFloat(f.Value, 64)
	if err != nil {
		return math.NaN()
	}
	return v
}

// Equity is the level of a stock and how it has moved with the factors.
type Equity struct {
	Fact   `yaml:",inline"`
	Symbol string `yaml:"symbol"`
	Name   string `yaml:"name"`
	Tape   string `yaml:"tape"` // A NYSE, B Arca and regional, C Nasdaq
	// BetaBTC and BetaAI are daily regression coefficients, IdioVol the residual's standard deviation per day.
	BetaBTC float64 `yaml:"beta_btc"`
	BetaAI  float64 `yaml:"beta_ai"`
	IdioVol float64 `yaml:"idio_vol"`
}

// Network is a level of the bitcoin network; Key is one of the constants below.
type Network struct {
	Fact `yaml:",inline"`
	Key  string `yaml:"key"`
}

// The keys of the network levels.
const (
	BTCUSD          = "btc_usd"
	BlockHeight     = "block_height"
	Difficulty      = "difficulty"
	FeesBTCPerBlock = "fees_btc_per_block"
	SubsidyBTC      = "subsidy_btc"
)

// GPU is the rental rate of a model on Vast.ai, on demand.
type GPU struct {
	Fact      `yaml:",inline"`
	Key       string `yaml:"key"`  // normalised, such as h100-sxm
	Name      string `yaml:"name"` // the marketplace's own
	MemoryMiB uint32 `yaml:"memory_mib"`
}

// Factors are the volatilities of what moves the equities together: standard deviation of the daily log return.
type Factors struct {
	BTCVol float64 `yaml:"btc_vol"`
	AIVol  float64 `yaml:"ai_vol"`
	Source string  `yaml:"source"`
}

// Levels is the whole file.
type Levels struct {
	Factors  Factors   `yaml:"factors"`
	Equities []Equity  `yaml:"equities"`
	Network  []Network `yaml:"network"`
	GPUs     []GPU     `yaml:"gpus"`
}

// Load parses and checks the embedded levels.
func Load() (Levels, error) {
	l, err := parseLevels(levelsYAML)
	if err != nil {
		return Levels{}, fmt.Errorf("load levels.yaml: %w", err)
	}
	return l, nil
}

// NetworkFact finds a level of the network by its key.
func (l Levels) NetworkFact(key string) (Fact, bool) {
	for _, n := range l.Network {
		if n.Key == key {
			return n.Fact, true
		}
	}
	return Fact{}, false
}

// Newest is the date of the newest level.
func (l Levels) Newest() time.Time {
	var t time.Time
	note := func(f Fact) {
		if f.At.After(t) {
			t = f.At
		}
	}
	for _, e := range l.Equities {
		note(e.Fact)
	}
	for _, n := range l.Network {
		note(n.Fact)
	}
	for _, g := range l.GPUs {
		note(g.Fact)
	}
	return t
}

func parseLevels(text []byte) (Levels, error) {
	var l Levels
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&l); err != nil {
		return l, err
	}
	seen := map[string]bool{}
	check := func(kind, key string, f Fact) error {
		name := kind + " " + key
		v := f.Float()
		switch {
		case key == "":
			return fmt.Errorf("a %s without a key", kind)
		case seen[name]:
			return fmt.Errorf("%s is there twice", name)
		case math.IsNaN(v) || math.IsInf(v, 0) || v <= 0:
			return fmt.Errorf("%s: value %q is not a number above 0", name, f.Value)
		case f.Unit == "" || f.Source == "" || f.At.IsZero():
			return fmt.Errorf("%s: unit, at and source are all needed", name)
		}
		seen[name] = true
		return nil
	}
	for _, e := range l.Equities {
		if err := check("equity", e.Symbol, e.Fact); err != nil {
			return l, err
		}
	}
	for _, n := range l.Network {
		if err := check("network level", n.Key, n.Fact); err != nil {
			return l, err
		}
	}
	for _, g := range l.GPUs {
		if err := check("gpu", g.Key, g.Fact); err != nil {
			return l, err
		}
	}
	for _, key := range []string{BTCUSD, BlockHeight, Difficulty, FeesBTCPerBlock, SubsidyBTC} {
		if _, ok := l.NetworkFact(key); !ok {
			return l, fmt.Errorf("network level %s is missing", key)
		}
	}
	return l, nil
}
