package engine

import (
	"fmt"
	"regexp"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
)

// Backfill says what is fetched from history for a symbol that was never published, each as a date, an RFC 3339 time, or a duration
// before now ("720h"); empty: nothing. A symbol that was published goes on from its last event.
type Backfill struct {
	DailyFrom  string `koanf:"daily_from"`
	MinuteFrom string `koanf:"minute_from"`
	TicksFrom  string `koanf:"ticks_from"`
	// MaxHole bounds how far back a hole is filled with trades and quotes; of an older one the ledger says what was not read.
	MaxHole time.Duration `koanf:"max_hole"`
	// Restore is how far back published ticks are read at a start at most, so that they are recognised; open gaps reach back further.
	Restore time.Duration `koanf:"restore"`
}

// DefaultBackfill is a year of daily bars and a day of minutes.
func DefaultBackfill() Backfill {
	return Backfill{DailyFrom: "8760h", MinuteFrom: "24h", MaxHole: 72 * time.Hour, Restore: 96 * time.Hour}
}

// Validate names the first key that is wrong.
func (b Backfill) Validate() error {
	for _, x := range []struct {
		key  string
		text string
	}{{"daily_from", b.DailyFrom}, {"minute_from", b.MinuteFrom}, {"ticks_from", b.TicksFrom}} {
		if _, err := run.ParseTime(x.text, time.Now()); err != nil {
			return fmt.Errorf("%s: %w", x.key, err)
		}
	}
	switch {
	case b.MaxHole < 0:
		return fmt.Errorf("max_hole: %s is below 0", b.MaxHole)
	case b.Restore < 0:
		return fmt.Errorf("restore: %s is below 0", b.Restore)
	}
	return nil
}

// oldest is the earliest of the three beginnings; now without any.
func (b Backfill) oldest(now time.Time) time.Time {
	from := now
	for _, text := range []string{b.DailyFrom, b.MinuteFrom, b.TicksFrom} {
		if t, err := run.ParseTime(text, now); err == nil && !t.IsZero() && t.Before(from) {
			from = t
		}
	}
	return from
}

// Stale is for how long silence is in order while a session is open; 0: for ever. While the market is closed silence is in order.
type Stale struct {
	Regular   time.Duration `koanf:"regular"`
	Extended  time.Duration `koanf:"extended"` // before the opening and after the close
	Overnight time.Duration `koanf:"overnight"`
}

// DefaultStale suits four symbols of one exchange.
func DefaultStale() Stale {
	return Stale{Regular: time.Minute, Extended: 15 * time.Minute, Overnight: time.Hour}
}

// Validate names the first key that is wrong.
func (s Stale) Validate() error {
	for _, x := range []struct {
		key string
		d   time.Duration
	}{{"regular", s.Regular}, {"extended", s.Extended}, {"overnight", s.Overnight}} {
		if x.d < 0 {
			return fmt.Errorf("%s: %s is below 0", x.key, x.d)
		}
	}
	return nil
}

// Config of an engine.
type Config struct {
	// Source is the name on every event.
	Source  string
	Symbols []string
	// Calendar that staleness and final bars go by.
	Calendar session.Calendar
	// StopAtEnd ends the engine when the upstream says that its recording is over.
	StopAtEnd bool
	Backfill  Backfill
	Stale     Stale
}

var symbolPattern = regexp.MustCompile(`^[A-Z][A-Z0-9./-]{0,15}$`)

// CheckSymbols refuses a list with what is no symbol, or with one twice.
func CheckSymbols(symbols []string) error {
	seen := map[string]bool{}
	for _, s := range symbols {
		if !symbolPattern.MatchString(s) {
			return fmt.Errorf("%.32q is no symbol; write it as the venue does, such as BRK.B", s)
		}
		if seen[s] {
			return fmt.Errorf("%s is there twice", s)
		}
		seen[s] = true
	}
	return nil
}
