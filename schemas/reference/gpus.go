package reference

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed gpus.yaml
var gpusYAML []byte

// GPUModel is the identity of a card, and what providers call it; gpus.yaml says what the fields mean.
type GPUModel struct {
	ID        string              `yaml:"id"`
	Vendor    string              `yaml:"vendor"`
	Model     string              `yaml:"model"`
	Also      []string            `yaml:"also"`
	Form      string              `yaml:"form"`
	MemoryGiB uint32              `yaml:"memory_gib"`
	Names     map[string][]string `yaml:"names"`
	Main      bool                `yaml:"main"`
	Azure     map[string]uint32   `yaml:"azure"`
}

// GPUModels is the table of identities.
type GPUModels struct {
	At      time.Time         `yaml:"at"`
	Sources map[string]string `yaml:"sources"`
	Models  []GPUModel        `yaml:"gpus"`

	byID   map[string]*GPUModel
	byName map[string][]*GPUModel // "provider name", folded
	bySpec map[string][]*GPUModel // model, folded
}

// LoadGPUModels parses and checks the embedded table.
func LoadGPUModels() (*GPUModels, error) {
	m, err := parseGPUModels(gpusYAML)
	if err != nil {
		return nil, fmt.Errorf("load gpus.yaml: %w", err)
	}
	return m, nil
}

// ByID finds a model by its identity.
func (m *GPUModels) ByID(id string) (*GPUModel, bool) {
	x, ok := m.byID[id]
	return x, ok
}

// ByName finds what a provider calls by a name, with the memory of one card as it reports it (MiB; 0: it does not).
func (m *GPUModels) ByName(provider, name string, memoryMiB uint32) (*GPUModel, bool) {
	return one(m.byName[provider+" "+fold(name)], memoryMiB, true)
}

// BySpec finds a model by a provider's structured fields. It never guesses: what fits two models fits none.
func (m *GPUModels) BySpec(model, form string, memoryMiB uint32) (*GPUModel, bool) {
	list := m.bySpec[fold(model)]
	f := formOf(form)
	if f == "" {
		f = formOf(model)
	}
	if f != "" {
		var same []*GPUModel
		for _, x := range list {
			if x.Form == f || x.Form == "" {
				same = append(same, x)
			}
		}
		list = same
	}
	return one(list, memoryMiB, false)
}

// AzureSize finds the model and number of GPUs of a size of virtual machine.
func (m *GPUModels) AzureSize(sku string) (*GPUModel, uint32, bool) {
	for i := range m.Models {
		if n, ok := m.Models[i].Azure[sku]; ok {
			return &m.Models[i], n, true
		}
	}
	return nil, 0, false
}

// AzureSizes are all sizes of the table.
func (m *GPUModels) AzureSizes() []string {
	var out []string
	for _, x := range m.Models {
		for sku := range x.Azure {
			out = append(out, sku)
		}
	}
	return out
}

// one chooses by memory. Without a memory it is the only one, or, where that is allowed, the main one.
func one(list []*GPUModel, memoryMiB uint32, main bool) (*GPUModel, bool) {
	var fit []*GPUModel
	for _, x := range list {
		if memoryMiB == 0 || x.Holds(memoryMiB) {
			fit = append(fit, x)
		}
	}
	if len(fit) > 1 && main {
		for _, x := range fit {
			if x.Main {
				return x, true
			}
		}
	}
	if len(fit) != 1 {
		return nil, false
	}
	return fit[0], true
}

// Holds reports whether a card of this model may report so much memory: cards keep some for themselves, and some providers count in powers of
// ten, so 7 % either way is allowed.
func (x *GPUModel) Holds(memoryMiB uint32) bool {
	return math.Abs(float64(memoryMiB)/1024/float64(x.MemoryGiB)-1) <= 0.07
}

// formOf is the form factor that a text names; empty: it names none.
func formOf(s string) string {
	s = fold(s)
	for _, f := range []string{"sxm", "nvl", "pcie", "oam"} {
		if strings.Contains(s, f) {
			return f
		}
	}
	return ""
}

// fold takes case and punctuation away.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, s)
}

func parseGPUModels(text []byte) (*GPUModels, error) {
	m := &GPUModels{byID: map[string]*GPUModel{}, byName: map[string][]*GPUModel{}, bySpec: map[string][]*GPUModel{}}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(m); err != nil {
		return nil, err
	}
	if m.At.IsZero() || len(m.Sources) == 0 {
		return nil, errors.New("at and sources are needed")
	}
	skus := map[string]bool{}
	for i := range m.Models {
		x := &m.Models[i]
		switch {
		case x.ID == "" || x.ID != strings.ToLower(x.ID) || strings.ContainsAny(x.ID, " ._"):
			return nil, fmt.Errorf("id %q is not of lower case letters, digits and dashes", x.ID)
		case m.byID[x.ID] != nil:
			return nil, fmt.Errorf("%s is there twice", x.ID)
		case x.Vendor == "" || x.Model == "" || x.MemoryGiB == 0:
			return nil, fmt.Errorf("%s: vendor, model and memory_gib are all needed", x.ID)
		case x.Form != "" && x.Form != "superchip" && formOf(x.Form) != x.Form:
			return nil, fmt.Errorf("%s: form %q is none of sxm, pcie, nvl, oam, superchip", x.ID, x.Form)
		}
		m.byID[x.ID] = x
		spelled := map[string]bool{}
		for _, s := range append([]string{x.Model}, x.Also...) {
			if f := fold(s); !spelled[f] {
				spelled[f] = true
				m.bySpec[f] = append(m.bySpec[f], x)
			}
		}
		for provider, names := range x.Names {
			for _, n := range names {
				key := provider + " " + fold(n)
				for _, y := range m.byName[key] {
					if y != x && y.Holds(x.MemoryGiB*1024) {
						return nil, fmt.Errorf("%s and %s are both %q at %s, with the same memory", x.ID, y.ID, n, provider)
					}
				}
				m.byName[key] = append(m.byName[key], x)
			}
		}
		for sku, n := range x.Azure {
			if n == 0 || skus[sku] {
				return nil, fmt.Errorf("%s: Azure's %s has no GPUs or is there twice", x.ID, sku)
			}
			skus[sku] = true
		}
	}
	return m, nil
}
