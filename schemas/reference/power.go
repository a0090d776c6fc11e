package reference

import (
	_ "embed"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

//go:embed power.yaml
var powerYAML []byte

// Said is who said a fact, when, and whether that is more than general knowledge or an assumption.
type Said struct {
	At        time.Time `yaml:"at"`
	Confirmed bool      `yaml:"confirmed"`
	Source    string    `yaml:"source"`
}

func (s Said) check() error {
	if s.At.IsZero() || s.Source == "" {
		return fmt.Errorf("at and source are both needed")
	}
	return nil
}

// Machine is a bitcoin miner.
type Machine struct {
	Said   `yaml:",inline"`
	Name   string `yaml:"machine"`
	THPerS string `yaml:"th_per_s"` // decimal text, as JPerTH
	JPerTH string `yaml:"j_per_th"`
}

// GPUSystem is a whole machine with GPUs and what it draws at most.
type GPUSystem struct {
	Said      `yaml:",inline"`
	Name      string `yaml:"system"`
	GPU       string `yaml:"gpu"` // an id of gpus.yaml
	GPUs      uint32 `yaml:"gpus"`
	KW        string `yaml:"kw"`        // decimal text
	Reference bool   `yaml:"reference"` // the model is counted with this system
}

// The kinds of levels, and the names of those that the pivot is computed with.
const (
	PUE             = "pue"
	Utilisation     = "utilisation"
	FleetEfficiency = "fleet-efficiency" // J/TH
	PowerPrice      = "power-price"      // USD/MWh
	CapitalRatio    = "capital-ratio"
	CapitalPerMW    = "capital-per-mw" // USD per MW at the meter

	MiningPUE      = "mining"
	GPUPUE         = "gpu"
	GPUUtilisation = "gpu"
)

var levelKinds = []string{PUE, Utilisation, FleetEfficiency, PowerPrice, CapitalRatio, CapitalPerMW}

// Level is an assumption or a measurement that holds from a day on.
type Level struct {
	Said  `yaml:",inline"`
	Kind  string    `yaml:"kind"`
	Name  string    `yaml:"name"`
	From  time.Time `yaml:"from"`
	Value string    `yaml:"value"` // decimal text
}

// Power is the whole file.
type Power struct {
	Machines []Machine   `yaml:"asic_machines"`
	Systems  []GPUSystem `yaml:"gpu_systems"`
	Levels   []Level     `yaml:"levels"`
	// Version is the hash of the levels and systems, the same as that of their rows' inputs.
	Version string `yaml:"-"`
}

// LoadPower parses and checks the embedded facts.
func LoadPower() (*Power, error) {
	p, err := parsePower(powerYAML)
	if err != nil {
		return nil, fmt.Errorf("load power.yaml: %w", err)
	}
	return p, nil
}

// Level finds what holds on a day (its UTC date counts).
func (p *Power) Level(kind, name string, day time.Time) (Level, bool) {
	var found Level
	ok := false
	for _, l := range p.Levels {
		if l.Kind == kind && l.Name == name && !l.From.After(day) && (!ok || l.From.After(found.From)) {
			found, ok = l, true
		}
	}
	return found, ok
}

// Has reports whether there is any level of a kind and name.
func (p *Power) Has(kind, name string) bool {
	return slices.ContainsFunc(p.Levels, func(l Level) bool { return l.Kind == kind && l.Name == name })
}

// System finds the system that a GPU model is counted with.
func (p *Power) System(gpu string) (GPUSystem, bool) {
	i := slices.IndexFunc(p.Systems, func(s GPUSystem) bool { return s.Reference && s.GPU == gpu })
	if i < 0 {
		return GPUSystem{}, false
	}
	return p.Systems[i], true
}

// GPUs are the models that have a system, sorted.
func (p *Power) GPUs() []string {
	var out []string
	for _, s := range p.Systems {
		if s.Reference {
			out = append(out, s.GPU)
		}
	}
	slices.Sort(out)
	return out
}

func parsePower(text []byte) (*Power, error) {
	p := &Power{}
	if err := decode(text, p); err != nil {
		return nil, err
	}
	models, err := LoadGPUModels()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	check := func(name string, s Said, numbers ...string) error {
		if seen[name] {
			return fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if err := s.check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, n := range numbers {
			if err := stored(n); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	for _, m := range p.Machines {
		if err := check("machine "+m.Name, m.Said, m.THPerS, m.JPerTH); err != nil {
			return nil, err
		}
	}
	for _, s := range p.Systems {
		if err := check("system "+s.Name, s.Said, s.KW); err != nil {
			return nil, err
		}
		if _, ok := models.ByID(s.GPU); !ok || s.GPUs == 0 {
			return nil, fmt.Errorf("system %s: gpu %q is no id of gpus.yaml, or there are no gpus", s.Name, s.GPU)
		}
		if s.Reference {
			if err := check("reference system of "+s.GPU, s.Said); err != nil {
				return nil, err
			}
		}
	}
	for _, l := range p.Levels {
		if err := check(l.Kind+" "+l.Name+" from "+l.From.Format(time.DateOnly), l.Said, l.Value); err != nil {
			return nil, err
		}
		v, _ := new(big.Rat).SetString(l.Value)
		one := big.NewRat(1, 1)
		switch {
		case l.Name == "" || l.From.IsZero():
			return nil, fmt.Errorf("level %s %s: name and from are both needed", l.Kind, l.Name)
		case l.Kind == PUE && v.Cmp(one) < 0:
			return nil, fmt.Errorf("level %s %s: a PUE of %s is below 1", l.Kind, l.Name, l.Value)
		case l.Kind == Utilisation && v.Cmp(one) > 0:
			return nil, fmt.Errorf("level %s %s: a utilisation of %s is above 1", l.Kind, l.Name, l.Value)
		case !slices.Contains(levelKinds, l.Kind):
			return nil, fmt.Errorf("level %s %s: kind is none of %s", l.Kind, l.Name, strings.Join(levelKinds, ", "))
		}
	}
	for _, need := range [][2]string{{PUE, MiningPUE}, {PUE, GPUPUE}, {Utilisation, GPUUtilisation}} {
		if !p.Has(need[0], need[1]) {
			return nil, fmt.Errorf("level %s %s is missing", need[0], need[1])
		}
	}
	p.Version = version(p.systemRows(), p.levelRows())
	return p, nil
}

// stored reports whether a number is above 0 and has at most 8 digits behind the point and 10 before it, which is what Decimal(18, 8) holds.
func stored(text string) error {
	r, ok := new(big.Rat).SetString(text)
	if !ok || r.Sign() <= 0 || strings.ContainsAny(text, "eE/_ ") {
		return fmt.Errorf("%q is not a decimal above 0", text)
	}
	if whole, frac, _ := strings.Cut(text, "."); len(whole) > 10 || len(frac) > 8 {
		return fmt.Errorf("%q has more than 10 digits before the point or 8 behind it", text)
	}
	return nil
}

func (p *Power) machineRows() []string {
	var out []string
	for _, m := range p.Machines {
		out = append(out, row(append([]string{text(m.Name), number(m.THPerS, 8), number(m.JPerTH, 8)}, m.columns()...)...))
	}
	return out
}

func (p *Power) systemRows() []string {
	var out []string
	for _, s := range p.Systems {
		out = append(out, row(append([]string{text(s.Name), text(s.GPU), fmt.Sprint(s.GPUs), number(s.KW, 8), fmt.Sprint(s.Reference)}, s.columns()...)...))
	}
	return out
}

func (p *Power) levelRows() []string {
	var out []string
	for _, l := range p.Levels {
		out = append(out, row(append([]string{text(l.Kind), text(l.Name), day(l.From, first), number(l.Value, 8)}, l.columns()...)...))
	}
	return out
}

// columns of who said it: at, confirmed, source.
func (s Said) columns() []string {
	return []string{day(s.At, first), fmt.Sprint(s.Confirmed), text(s.Source)}
}
