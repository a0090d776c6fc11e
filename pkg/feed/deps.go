package feed

import (
	"log/slog"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// Deps is what a feed service is given by the program that runs it.
type Deps struct {
	Sink    Sink
	History History
	Logger  *slog.Logger
	Metrics *Metrics
	Health  *run.Health      // nil: nobody asks
	Now     func() time.Time // nil: time.Now
	// Policy, if any, changes the policy that a feed would run with. Tests shorten its times.
	Policy func(Policy) Policy
}

// Config of a feed of one source over these dependencies.
func (d Deps) Config(source string) Config {
	return Config{Source: source, Sink: d.Sink, History: d.History, Logger: d.Logger, Metrics: d.Metrics, Now: d.Now, Policy: d.Policy}
}

// Watched is Config of a feed that is run, and so has to move: alone where the group is empty, else as one of the group.
func (d Deps) Watched(source, group string) Config {
	c := d.Config(source)
	c.Health, c.Group = d.Health, group
	return c
}
