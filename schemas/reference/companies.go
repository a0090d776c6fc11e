package reference

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"
)

//go:embed companies.yaml
var companiesYAML []byte

//go:embed claims.yaml
var claimsYAML []byte

// Business is what a company lives from, from a day on.
type Business struct {
	Said       `yaml:",inline"`
	Symbol     string    `yaml:"symbol"`
	From       time.Time `yaml:"from"`
	Exact      bool      `yaml:"exact"` // false: the day is the first of its period
	Segment    string    `yaml:"segment"`
	Basis      string    `yaml:"basis"`
	Share      string    `yaml:"share"`       // decimal text up to 1; empty: not told
	RevenueUSD string    `yaml:"revenue_usd"` // decimal text; empty: not told
	Period     string    `yaml:"period"`      // of the revenue
}

// GPUFleet are the GPUs of a company from a day on.
type GPUFleet struct {
	Said          `yaml:",inline"`
	Symbol        string    `yaml:"symbol"`
	From          time.Time `yaml:"from"`
	Exact         bool      `yaml:"exact"`
	Servers       uint32    `yaml:"servers"`
	GPUsPerServer uint32    `yaml:"gpus_per_server"`
	GPU           string    `yaml:"gpu"` // an id of gpus.yaml
}

// Companies is the whole file.
type Companies struct {
	Businesses []Business `yaml:"companies"`
	GPUFleets  []GPUFleet `yaml:"gpu_fleets"`
}

var (
	segments = []string{"self-mining", "hosting", "colocation", "ai-cloud", "eth-treasury", "ai-subsidiary", "sector-fund", "total"}
	bases    = []string{"revenue", "contracted", "target", "stake", "mandate"}
	periods  = []string{"month", "quarter", "year"}
)

// LoadCompanies parses and checks the embedded facts.
func LoadCompanies() (*Companies, error) {
	c, err := parseCompanies(companiesYAML)
	if err != nil {
		return nil, fmt.Errorf("load companies.yaml: %w", err)
	}
	return c, nil
}

func parseCompanies(text []byte) (*Companies, error) {
	c := &Companies{}
	if err := decode(text, c); err != nil {
		return nil, err
	}
	models, err := LoadGPUModels()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	check := func(name, symbol string, from time.Time, s Said) error {
		if seen[name] {
			return fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if symbol == "" || from.IsZero() {
			return fmt.Errorf("%s: symbol and from are both needed", name)
		}
		if err := s.check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	for _, b := range c.Businesses {
		name := fmt.Sprintf("company %s %s %s from %s", b.Symbol, b.Segment, b.Basis, b.From.Format(time.DateOnly))
		if b.RevenueUSD != "" { // a target and a contract may begin on one day
			name += " of " + b.RevenueUSD
		}
		if err := check(name, b.Symbol, b.From, b.Said); err != nil {
			return nil, err
		}
		for _, n := range []string{b.Share, b.RevenueUSD} {
			if n == "" {
				continue
			}
			if err := stored(n); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		switch {
		case !slices.Contains(segments, b.Segment):
			return nil, fmt.Errorf("%s: segment is none of %s", name, strings.Join(segments, ", "))
		case !slices.Contains(bases, b.Basis):
			return nil, fmt.Errorf("%s: basis is none of %s", name, strings.Join(bases, ", "))
		case (b.RevenueUSD == "") != (b.Period == "") || b.Period != "" && !slices.Contains(periods, b.Period):
			return nil, fmt.Errorf("%s: a revenue, and only a revenue, has a period: %s", name, strings.Join(periods, ", "))
		case b.Share > "1":
			return nil, fmt.Errorf("%s: a share of %s is above 1", name, b.Share)
		}
	}
	for _, f := range c.GPUFleets {
		name := fmt.Sprintf("gpu fleet %s %s from %s", f.Symbol, f.GPU, f.From.Format(time.DateOnly))
		if err := check(name, f.Symbol, f.From, f.Said); err != nil {
			return nil, err
		}
		if _, ok := models.ByID(f.GPU); !ok || f.Servers == 0 || f.GPUsPerServer == 0 {
			return nil, fmt.Errorf("%s: gpu is no id of gpus.yaml, or there are no servers or gpus", name)
		}
	}
	return c, nil
}

func (c *Companies) businessRows() []string {
	var out []string
	for _, b := range c.Businesses {
		out = append(out, row(append([]string{
			text(b.Symbol), day(b.From, first), fmt.Sprint(b.Exact), text(b.Segment), text(b.Basis), optional(b.Share), optional(b.RevenueUSD), text(b.Period),
		}, b.columns()...)...))
	}
	return out
}

func (c *Companies) fleetRows() []string {
	var out []string
	for _, f := range c.GPUFleets {
		out = append(out, row(append([]string{
			text(f.Symbol), day(f.From, first), fmt.Sprint(f.Exact), fmt.Sprint(f.Servers), fmt.Sprint(f.GPUsPerServer), text(f.GPU),
		}, f.columns()...)...))
	}
	return out
}

// optional is a decimal literal that may be NULL.
func optional(s string) string {
	if s == "" {
		return "CAST(NULL, 'Nullable(Decimal(38, 8))')"
	}
	return "toNullable(" + number(s, 8) + ")"
}

// Claim is something that was said, with the query that tests it.
type Claim struct {
	Said         `yaml:",inline"`
	ID           string    `yaml:"id"`
	Claim        string    `yaml:"claim"`
	StatedValue  string    `yaml:"stated_value"` // decimal text
	Unit         string    `yaml:"unit"`
	StatedOn     time.Time `yaml:"stated_on"`
	ComputedUnit string    `yaml:"computed_unit"`
	Query        string    `yaml:"query"` // one statement that returns one row: computed, verdict, note
}

// Verdicts are what the query of a claim may say.
var Verdicts = []string{"holds", "holds roughly", "does not hold", "cannot be told"}

// Latest stands in the query of a claim where the moment does as of which it is asked.
const Latest = "2200-01-01 00:00:00"

// LoadClaims parses and checks the embedded claims.
func LoadClaims() ([]Claim, error) {
	claims, err := parseClaims(claimsYAML)
	if err != nil {
		return nil, fmt.Errorf("load claims.yaml: %w", err)
	}
	return claims, nil
}

func parseClaims(text []byte) ([]Claim, error) {
	var file struct {
		Claims []Claim `yaml:"claims"`
	}
	if err := decode(text, &file); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, c := range file.Claims {
		switch {
		case c.ID == "" || seen[c.ID]:
			return nil, fmt.Errorf("claim %q has no id or is there twice", c.ID)
		case c.Claim == "" || c.Unit == "" || c.ComputedUnit == "" || c.StatedOn.IsZero():
			return nil, fmt.Errorf("claim %s: claim, unit, computed_unit and stated_on are all needed", c.ID)
		case !strings.Contains(c.Query, Latest):
			return nil, fmt.Errorf("claim %s: the query is missing, or has no %q to be asked as of a moment", c.ID, Latest)
		}
		seen[c.ID] = true
		if err := stored(c.StatedValue); err != nil {
			return nil, fmt.Errorf("claim %s: %w", c.ID, err)
		}
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("claim %s: %w", c.ID, err)
		}
	}
	return file.Claims, nil
}

func claimRows(list []Claim) []string {
	var out []string
	for _, c := range list {
		out = append(out, row(append([]string{
			text(c.ID), text(c.Claim), number(c.StatedValue, 8), text(c.Unit), day(c.StatedOn, first), text(c.ComputedUnit), text(c.Query),
		}, c.columns()...)...))
	}
	return out
}
