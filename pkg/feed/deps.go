package feed

import (
	"log/slog"
	"time"
)

// Deps is what a feed service is given by the program that runs it.
type Deps struct {
	Sink    Sink
	History History
	Logger  *slog.Logger
	Metrics *Metrics
	Now     func() time.Time // nil: time.Now
	// Policy, if any, changes the policy that a feed would run with. Tests shorten its times.
	Policy func(Policy) Policy
}

// Config of a feed of one source over these dependencies.
func (d Deps) Config(source string) Config {
	return Config{Source: source, Sink: d.Sink, History: d.History, Logger: d.Logger, Metrics: d.Metrics, Now: d.Now, Policy: d.Policy}
}
