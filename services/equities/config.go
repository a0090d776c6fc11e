// Package equities streams US equities into the system: trades with their corrections and cancels, quotes, bars with their revisions, halts
// and price bands, from every upstream that is switched on, side by side.
package equities

import (
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/services/equities/alpaca"
	"github.com/hashpivot/hashpivot/services/equities/engine"
	"github.com/hashpivot/hashpivot/services/equities/files"
	"github.com/hashpivot/hashpivot/services/equities/finnhub"
	"github.com/hashpivot/hashpivot/services/equities/massive"
)

// Config of the service.
type Config struct {
	// Symbols of every upstream without a list of its own.
	Symbols []string `koanf:"symbols"`
	// Calendar that staleness and final bars go by: "us", "always" for a simulator, which trades every day around the clock, or the path of
	// a calendar file.
	Calendar string `koanf:"calendar"`
	// StopAtEnd ends the service when the upstream says that its recording is over.
	StopAtEnd bool `koanf:"stop_at_end"`
	// Alpaca, Massive and Finnhub are on where their keys are set.
	Alpaca  alpaca.Config  `koanf:"alpaca"`
	Massive massive.Config `koanf:"massive"`
	Finnhub finnhub.Config `koanf:"finnhub"`
	// Files is on where its directory is set.
	Files    files.Config    `koanf:"files"`
	Backfill engine.Backfill `koanf:"backfill"`
	Stale    engine.Stale    `koanf:"stale"`
}

// DefaultConfig is four miners. Every upstream is off: the keys are missing.
func DefaultConfig() Config {
	return Config{
		Symbols: []string{"WGMI", "CORZ", "BTBT", "IREN"}, Calendar: "us",
		Alpaca: alpaca.DefaultConfig(), Massive: massive.DefaultConfig(), Finnhub: finnhub.DefaultConfig(), Files: files.DefaultConfig(),
		Backfill: engine.DefaultBackfill(), Stale: engine.DefaultStale(),
	}
}

// On reports whether any upstream is switched on.
func (c Config) On() bool {
	return c.Alpaca.Key != "" || c.Massive.Key != "" || c.Finnhub.Key != "" || c.Files.Dir != ""
}

// Sources are the names on the events of what is switched on, by configuration key.
func (c Config) Sources() map[string]string {
	out := map[string]string{}
	if c.Alpaca.Key != "" {
		out["equities.alpaca.source"] = c.Alpaca.Source
		if night, on := c.Alpaca.Night(); on {
			out["equities.alpaca.overnight.source"] = night.Source
		}
	}
	if c.Massive.Key != "" {
		out["equities.massive.source"] = c.Massive.Source
	}
	if c.Finnhub.Key != "" {
		out["equities.finnhub.source"] = c.Finnhub.Source
	}
	if c.Files.Dir != "" {
		out["equities.files.source"] = c.Files.Source
	}
	return out
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	if len(c.Symbols) == 0 {
		return fmt.Errorf("equities.symbols: is empty; list at least one symbol")
	}
	if err := engine.CheckSymbols(c.Symbols); err != nil {
		return fmt.Errorf("equities.symbols: %w", err)
	}
	if _, err := c.calendar(); err != nil {
		return fmt.Errorf("equities.calendar: %w", err)
	}
	if err := c.Backfill.Validate(); err != nil {
		return fmt.Errorf("equities.backfill.%w", err)
	}
	if err := c.Stale.Validate(); err != nil {
		return fmt.Errorf("equities.stale.%w", err)
	}
	if c.Alpaca.Key != "" || !c.On() { // with none switched on, Alpaca's missing key is what to say
		if err := c.Alpaca.Validate(); err != nil {
			return fmt.Errorf("equities.alpaca.%w", err)
		}
	}
	if c.Massive.Key != "" {
		if err := c.Massive.Validate(); err != nil {
			return fmt.Errorf("equities.massive.%w", err)
		}
	}
	if c.Finnhub.Key != "" {
		if err := c.Finnhub.Validate(); err != nil {
			return fmt.Errorf("equities.finnhub.%w", err)
		}
	}
	if c.Files.Dir != "" {
		if err := c.Files.Validate(); err != nil {
			return fmt.Errorf("equities.files.%w", err)
		}
		for key, source := range c.Sources() {
			if key != "equities.files.source" && source == c.Files.Source {
				return fmt.Errorf("equities.files.source: %s is the name of another upstream (%s); give the files a name of their own", source, key)
			}
		}
	}
	return nil
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
