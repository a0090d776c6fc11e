package reference

import (
	"strings"
	"testing"
)

func TestLevelsAreCompleteAndSourced(t *testing.T) {
	l, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, symbol := range []string{"WGMI", "CORZ", "BTBT", "IREN"} {
		found := false
		for _, e := range l.Equities {
			found = found || e.Symbol == symbol
		}
		if !found {
			t.Errorf("no level for %s", symbol)
		}
	}
	if len(l.GPUs) < 8 {
		t.Errorf("only %d GPU levels", len(l.GPUs))
	}
	if l.Newest().Year() != 2026 {
		t.Errorf("newest level is of %s", l.Newest())
	}
	if d, _ := l.NetworkFact(Difficulty); d.Float() < 1e14 {
		t.Errorf("difficulty %v", d.Float())
	}
}

func TestLevelsRefuseWhatIsUnsourcedOrDoubled(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"unsourced": {`source: "close, Yahoo Finance"}`, `source: ""}`, "source"},
		"doubled":   {"symbol: CORZ", "symbol: WGMI", "twice"},
		"negative":  {`value: "51.46"`, `value: "-1"`, "not a number above 0"},
		"not one":   {`value: "51.46"`, `value: "NaN"`, "not a number above 0"},
		"misspelt":  {"beta_btc: 0.71", "beta_bct: 0.71", "beta_bct"},
		"missing":   {"key: difficulty", "key: difficult", "difficulty is missing"},
	} {
		text := strings.Replace(string(levelsYAML), c.old, c.new, 1)
		if _, err := parseLevels([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
