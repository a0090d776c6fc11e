package reference

import (
	"math/big"
	"strings"
	"testing"
	"time"
)

func on(t *testing.T, date string) time.Time {
	t.Helper()
	d, err := time.Parse(time.DateOnly, date)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPowerHolds(t *testing.T) {
	p, err := LoadPower()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.GPUs(), " "); got != "a100-sxm4 b200 b300 gb200 h100-sxm h200" {
		t.Errorf("models with a system: %s", got)
	}
	if s, ok := p.System("h100-sxm"); !ok || s.KW != "10.2" || s.GPUs != 8 || !s.Confirmed {
		t.Errorf("h100-sxm is counted with %+v", s)
	}
	if _, ok := p.System("rtx-4090"); ok {
		t.Error("a model without a system has one")
	}
	for _, c := range []struct{ kind, name, day, want string }{
		{FleetEfficiency, "fleet", "2023-12-31", ""},
		{FleetEfficiency, "fleet", "2024-01-01", "34"},
		{FleetEfficiency, "fleet", "2024-12-31", "34"},
		{FleetEfficiency, "fleet", "2026-11-25", "22"},
		{FleetEfficiency, "iren", "2026-11-25", "15"},
		{PUE, MiningPUE, "2024-04-20", "1.03"},
		{PUE, GPUPUE, "2026-11-25", "1.3"},
		{Utilisation, GPUUtilisation, "2026-11-25", "0.7"},
		{Utilisation, "nobody", "2026-11-25", ""},
	} {
		if l, ok := p.Level(c.kind, c.name, on(t, c.day)); l.Value != c.want || ok != (c.want != "") {
			t.Errorf("%s %s on %s is %q, want %q", c.kind, c.name, c.day, l.Value, c.want)
		}
	}
	// W / (TH/s) is J/TH: one retailer's page had 26.7 J/TH for an S21+.
	for _, m := range p.Machines {
		if m.Name == "Antminer S21" && (m.JPerTH != "17.5" || m.THPerS != "200") {
			t.Errorf("%+v: 3500 W at 200 TH/s are 17.5 J/TH", m)
		}
	}
}

// Core Scientific's contracts add up to what the company published: 270 MW and $4.7 billion in June 2024, 500 MW and $8.7 billion in October.
func TestContractsAddUp(t *testing.T) {
	contracts, events, err := LoadContracts()
	if err != nil {
		t.Fatal(err)
	}
	sum := func(until string) (mw, usd float64) {
		for _, c := range contracts {
			if c.Symbol == "CORZ" && c.Years != "" && !c.Signed.After(on(t, until)) {
				x, _ := new(big.Rat).SetString(c.MW)
				y, _ := new(big.Rat).SetString(c.ValueUSD)
				a, _ := x.Float64()
				b, _ := y.Float64()
				mw, usd = mw+a, usd+b
			}
		}
		return mw, usd
	}
	for _, c := range []struct {
		until   string
		mw, usd float64
	}{{"2024-06-30", 270, 4.725e9}, {"2024-10-22", 502, 8.725e9}, {"2026-01-01", 572, 9.925e9}} {
		if mw, usd := sum(c.until); mw != c.mw || usd != c.usd {
			t.Errorf("until %s: %v MW, %v USD, want %v and %v", c.until, mw, usd, c.mw, c.usd)
		}
	}
	kinds := map[string]int{}
	for i, e := range events {
		kinds[e.Kind]++
		if i > 0 && e.Date.Before(events[i-1].Date) {
			t.Errorf("%s stands behind %s", e.Date, events[i-1].Date)
		}
	}
	if kinds[AIContract] != len(contracts) || kinds[Halving] != 1 || kinds[Merger] != 2 || kinds[IPO] != 1 {
		t.Errorf("events by kind: %v", kinds)
	}
	for _, e := range events {
		if e.Kind == Halving && (!e.Date.Equal(on(t, "2024-04-20")) || e.Symbol != "" || !strings.Contains(e.Title, "840000")) {
			t.Errorf("the halving is %+v", e)
		}
	}
}

func TestPowerAndContractsRefuse(t *testing.T) {
	power := func(b []byte) error { _, err := parsePower(b); return err }
	contracts := func(b []byte) error { _, _, err := parseContracts(b); return err }
	for name, c := range map[string]struct {
		text     []byte
		old, new string
		want     string
		parse    func([]byte) error
	}{
		"unsourced level":   {powerYAML, `source: "air-cooled mining, general knowledge"`, `source: ""`, "source", power},
		"undated system":    {powerYAML, "reference: true, at: 2020-05-14,", "reference: true,", "at and source", power},
		"unknown model":     {powerYAML, "gpu: a100-sxm4", "gpu: a100-sxm5", "no id of gpus.yaml", power},
		"no gpus":           {powerYAML, "gpu: b300, gpus: 8", "gpu: b300, gpus: 0", "there are no gpus", power},
		"two references":    {powerYAML, `kw: "132", reference: false`, `kw: "132", reference: true`, "twice", power},
		"doubled level":     {powerYAML, "name: hyperscale", "name: direct-liquid", "twice", power},
		"pue below 1":       {powerYAML, `value: "1.03"`, `value: "0.97"`, "below 1", power},
		"utilisation":       {powerYAML, `value: "0.7"`, `value: "70"`, "above 1", power},
		"kind":              {powerYAML, "kind: utilisation", "kind: utilization", "none of", power},
		"missing":           {powerYAML, "kind: pue, name: mining", "kind: pue, name: miners", "is missing", power},
		"exponent":          {powerYAML, `j_per_th: "17.5"`, `j_per_th: "175e-1"`, "not a decimal", power},
		"fraction":          {powerYAML, `j_per_th: "17.5"`, `j_per_th: "35/2"`, "not a decimal", power},
		"too precise":       {powerYAML, `j_per_th: "17.5"`, `j_per_th: "17.123456789"`, "digits", power},
		"misspelt":          {powerYAML, "confirmed: true", "confirm: true", "confirm", power},
		"contract's kind":   {contractsYAML, "kind: cloud", "kind: clouds", "colocation or cloud", contracts},
		"contract's power":  {contractsYAML, `mw: "40"`, `mw: "-40"`, "not a decimal above 0", contracts},
		"contract's source": {contractsYAML, `source: "WhiteFiber, release of 2025-12-18, with`, `source: "", was: "`, "was", contracts},
		"event's kind":      {contractsYAML, "kind: halving, exact", "kind: halvening, exact", "none of", contracts},
		"event's title":     {contractsYAML, `title: "IREN energises Sweetwater 1, 1.4 GW"`, `title: ""`, "title", contracts},
		"event's source":    {contractsYAML, `source: "IREN, 2026-05-01"`, `source: ""`, "at and source", contracts},
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
