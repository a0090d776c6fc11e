// Package signals derives from what other services published: bars from prints by the venues' sale-condition rules, rebuilt whenever a
// print is late, corrected or cancelled, and checked against the venues' own bars (docs/bars.md is the method); and the pivot: what a
// megawatt-hour earns in GPUs against what it earns in mining (docs/quants.md); and the exposures: how much of a miner's returns hashprice, bitcoin
// and the GPU index explain (docs/exposure.md).
package signals

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// Config of the service.
type Config struct {
	Enabled bool `koanf:"enabled"`
	// Calendar of sessions and trade dates: "us", "always" where simulators trade around the clock, or the path
	// of a calendar file.
	Calendar string `koanf:"calendar"`
	Bars     Bars   `koanf:"bars"`
	// Rules are the sale-condition tables by the beginning of a source's name, without sim- or rec-: alpaca, massive or none. The longest
	// beginning wins; a source that none fits has none: every print counts as a regular one, and the bars' method says so.
	Rules map[string]string `koanf:"rules"`
	Pivot Pivot             `koanf:"pivot"`
	// Exposure says which betas, correlations and explained shares are published; docs/exposure.md has the definitions.
	Exposure Exposure `koanf:"exposure"`
}

// Exposure of miners to hashprice, bitcoin and the GPU index.
type Exposure struct {
	Enabled bool     `koanf:"enabled"`
	Symbols []string `koanf:"symbols"`
	// Window is over how many trade days.
	Window int `koanf:"window"`
	// Every is the least time between two tellings of a symbol and factor; of what changes meanwhile the last state is told.
	Every time.Duration `koanf:"every"`
}

// Pivot says which values of GPUs against mining are published; docs/quants.md has the definitions.
type Pivot struct {
	Enabled bool `koanf:"enabled"`
	// GPUs are the models; empty: all that the reference has the power of.
	GPUs []string `koanf:"gpus"`
	// Fleet is whose efficiency mining is computed with: a name of the levels of kind fleet-efficiency.
	Fleet string `koanf:"fleet"`
	// Every is the least time between two live values of one name and symbol; of what changes meanwhile the last state is told.
	Every time.Duration `koanf:"every"`
	// Settle is how long an input waits for inputs of other streams with earlier times before a live value is made of it.
	Settle time.Duration `koanf:"settle"`
}

// Bars says which bars are made, and when they are told.
type Bars struct {
	// Intervals are any that market.Interval allows.
	Intervals []market.Interval `koanf:"intervals"`
	// Grace is how long after its end a bar is first told: the stream trails the tape.
	Grace time.Duration `koanf:"grace"`
	// ReviseEvery is the least time between two revisions of a bar; what changes it meanwhile is told together.
	ReviseEvery time.Duration `koanf:"revise_every"`
	// FinalAfter the end of a trade date its bars are final.
	FinalAfter time.Duration `koanf:"final_after"`
	// Retain is for how many closed trade dates prints are held in memory. A print of an older one has its date read again from the stream.
	Retain int `koanf:"retain"`
	// Restore is how far back the streams are read at a start. It must cover the time that the service was away.
	Restore time.Duration `koanf:"restore"`
	// Check are the intervals of the venues' own bars that ours are held against: 1m, 1d; empty: none. With the calendar "always" days are
	// not: a simulated market without sessions draws its daily bars instead of adding its prints up.
	Check []market.Interval `koanf:"check"`
	// Settle is how long both bars must have stood unchanged before they are compared; the venue revises a minute 30 s after its end.
	Settle time.Duration `koanf:"settle"`
}

// DefaultConfig makes all bars of the US tape.
func DefaultConfig() Config {
	return Config{
		Enabled: true, Calendar: "us",
		Rules: map[string]string{"alpaca": "alpaca", "massive": "massive", "finnhub": "none"},
		Bars: Bars{
			Intervals: []market.Interval{market.Interval1s, market.Interval1m, "5m", "15m", market.Interval1h, market.Interval1d},
			Grace:     500 * time.Millisecond, ReviseEvery: 5 * time.Second, FinalAfter: 15 * time.Minute, Retain: 2, Restore: 96 * time.Hour,
			Check: []market.Interval{market.Interval1m, market.Interval1d}, Settle: 45 * time.Second,
		},
		Pivot:    Pivot{Enabled: true, GPUs: []string{}, Fleet: "fleet", Every: 10 * time.Second, Settle: time.Second},
		Exposure: Exposure{Enabled: true, Symbols: []string{"WGMI", "CORZ", "BTBT", "IREN"}, Window: 60, Every: 5 * time.Minute},
	}
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("signals.%s: %s", key, fmt.Sprintf(format, args...))
	}
	if _, err := c.calendar(); err != nil {
		return bad("calendar", "%s", err)
	}
	if len(c.Bars.Intervals) == 0 {
		return bad("bars.intervals", "is empty; name some such as 1s, 1m, 5m, 1h, 1d, or set signals.enabled to false")
	}
	seen := map[market.Interval]bool{}
	for _, i := range c.Bars.Intervals {
		if i.Duration() == 0 || seen[i] {
			return bad("bars.intervals", "%.16q is there twice, or no length that fills a minute, an hour or a day evenly, such as 30s, 5m, 4h, 1d", string(i))
		}
		seen[i] = true
	}
	for _, i := range c.Bars.Check {
		if i != market.Interval1m && i != market.Interval1d {
			return bad("bars.check", "%.16q is none of 1m, 1d", string(i))
		}
		if !seen[i] {
			return bad("bars.check", "%s is not among signals.bars.intervals, so there is no bar of ours to check", string(i))
		}
	}
	for _, d := range []struct {
		key   string
		value time.Duration
		least time.Duration
	}{
		{"bars.grace", c.Bars.Grace, 0}, {"bars.revise_every", c.Bars.ReviseEvery, 100 * time.Millisecond}, {"bars.final_after", c.Bars.FinalAfter, 0},
		{"bars.restore", c.Bars.Restore, time.Hour}, {"bars.settle", c.Bars.Settle, 0},
	} {
		if d.value < d.least {
			return bad(d.key, "%s is less than %s", d.value, d.least)
		}
	}
	if c.Bars.Retain < 1 || c.Bars.Retain > 30 {
		return bad("bars.retain", "%d is not from 1 to 30", c.Bars.Retain)
	}
	for prefix, name := range c.Rules {
		if prefix == "" || strings.HasPrefix(prefix, "sim-") || strings.HasPrefix(prefix, "rec-") {
			return bad("rules", "%.32q is no beginning of a source's name; leave sim- and rec- out", prefix)
		}
		if !slices.Contains([]string{"alpaca", "massive", noRules}, name) {
			return bad("rules", "%s: %.32q is none of alpaca, massive, none", prefix, name)
		}
	}
	if err := c.Pivot.validate(bad); err != nil {
		return err
	}
	return c.Exposure.validate(bad)
}

func (p Pivot) validate(bad func(key, format string, args ...any) error) error {
	power, err := reference.LoadPower()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, gpu := range p.GPUs {
		if _, ok := power.System(gpu); !ok || seen[gpu] {
			return bad("pivot.gpus", "%.64q is there twice, or the reference has no power of it; it has %s", gpu, strings.Join(power.GPUs(), ", "))
		}
		seen[gpu] = true
	}
	if !power.Has(reference.FleetEfficiency, p.Fleet) {
		return bad("pivot.fleet", "%.64q is no fleet of the reference", p.Fleet)
	}
	if p.Every < 100*time.Millisecond {
		return bad("pivot.every", "%s is less than 100ms", p.Every)
	}
	if p.Settle < 0 || p.Settle > time.Minute {
		return bad("pivot.settle", "%s is not from 0 to 1m", p.Settle)
	}
	return nil
}

func (x Exposure) validate(bad func(key, format string, args ...any) error) error {
	if len(x.Symbols) == 0 || len(x.Symbols) > 200 {
		return bad("exposure.symbols", "has %d symbols, not from 1 to 200; set signals.exposure.enabled to false for none", len(x.Symbols))
	}
	seen := map[string]bool{}
	for _, symbol := range x.Symbols {
		if symbol == "" || symbol != strings.ToUpper(symbol) || strings.HasSuffix(symbol, "-USD") || seen[symbol] {
			return bad("exposure.symbols", "%.32q is no ticker in capitals, or is there twice", symbol)
		}
		seen[symbol] = true
	}
	if x.Window < exposurePairs || x.Window > 1000 {
		return bad("exposure.window", "%d is not from %d to 1000 trade days", x.Window, exposurePairs)
	}
	if x.Every < time.Second {
		return bad("exposure.every", "%s is less than 1s", x.Every)
	}
	return nil
}

// checks is Check without what cannot be held against anything.
func (c Config) checks() []market.Interval {
	return slices.DeleteFunc(slices.Clone(c.Bars.Check), func(i market.Interval) bool { return c.Calendar == "always" && i == market.Interval1d })
}

func (c Config) calendar() (session.Calendar, error) {
	switch c.Calendar {
	case "always":
		return session.NewAlways()
	case "us":
		return session.US()
	}
	cal, err := session.Load(c.Calendar)
	if err != nil {
		return nil, fmt.Errorf("%.64q is none of us, always, and no calendar file: %w", c.Calendar, err)
	}
	return cal, nil
}
