package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// errNotWhole ends the program with code 1 after a status of which something could not be read.
var errNotWhole = errors.New("not everything could be read")

type statusCmd struct {
	Once  bool          `help:"Print it once, also on a terminal."`
	Every time.Duration `help:"How often the screen is made anew." default:"2s"`
}

// statusReport is the whole pipeline at a moment. docs/operators.md describes it.
type statusReport struct {
	At       time.Time `json:"at"`
	Version  string    `json:"version"`
	Mode     mode      `json:"mode"`
	Database string    `json:"database"`
	NATS     string    `json:"nats"`       // version; empty: not reached
	Click    string    `json:"clickhouse"` // version; empty: not reached
	// Problems are the parts that could not be read.
	Problems []problem `json:"problems"`

	Feeds []feedStatus `json:"feeds"`
	// OpenGaps are not settled, Missing are those of which something is missing for good.
	OpenGaps uint64 `json:"open_gaps"`
	Missing  uint64 `json:"gaps_missing"`

	Streams map[market.Stream]streamStatus `json:"streams"`
	Landing []landingStatus                `json:"landing"`
	// RowsPerSecond landed, of all streams; absent until it has been measured.
	RowsPerSecond *float64       `json:"rows_per_second,omitempty"`
	Rejects       []rejectStatus `json:"dead_letters"`

	Leases    []leaseStatus   `json:"leases"`
	Processes []processStatus `json:"processes"`
	Gateways  gatewayStatus   `json:"gateways"`
	Audits    []auditStatus   `json:"audits"`
	Nightly   []nightStatus   `json:"nightly"`
	Disks     []diskStatus    `json:"disks"`
}

type problem struct {
	Part  string `json:"part"`
	Error string `json:"error"`
}

type streamStatus struct {
	Messages uint64    `json:"messages"`
	LastSeq  uint64    `json:"last_seq"`
	Landed   uint64    `json:"landed_seq"`
	Behind   uint64    `json:"behind"`
	Bytes    uint64    `json:"bytes"`
	MaxBytes int64     `json:"max_bytes"`
	LastTime time.Time `json:"last_time,omitzero"`
	Shards   int       `json:"shards,omitempty"`
	Rows     uint64    `json:"rows"`
	// RowsPerSecond that landed since the status before; absent in the first.
	RowsPerSecond *float64 `json:"rows_per_second,omitempty"`
}

// landingStatus is how far behind the landing of a stream, or a shard of one, is.
type landingStatus struct {
	Stream market.Stream `json:"stream"`
	Shard  string        `json:"shard,omitempty"` // such as 0/4; empty: all that was stored while the stream was not cut
	// Messages are not known to have landed, with Events, which are counted up to a bound: AtLeast says that there are more.
	Messages uint64 `json:"messages"`
	Events   uint64 `json:"events"`
	AtLeast  bool   `json:"at_least,omitempty"`
	// Seconds since JetStream stored the oldest of them, by JetStream's clock.
	Seconds float64 `json:"seconds"`
}

type feedStatus struct {
	Source string    `json:"source"`
	State  string    `json:"state"`
	Detail string    `json:"detail,omitempty"`
	Since  time.Time `json:"since"`
	// LastEvent was received then, as the process that has the feed says; absent where none answers.
	LastEvent time.Time `json:"last_event,omitzero"`
	OpenGaps  uint64    `json:"open_gaps"`
}

type rejectStatus struct {
	Of     string    `json:"of"`
	Source string    `json:"source"`
	Reason string    `json:"reason"`
	Count  uint64    `json:"count"`
	Last   time.Time `json:"last"`
}

type leaseStatus struct {
	bus.Holder
	// Expired: the holder has not renewed it in its time.
	Expired bool `json:"expired"`
}

// processStatus is a process that answers on the health subject.
type processStatus struct {
	Service string            `json:"service"`
	Holder  string            `json:"holder"`
	Version string            `json:"version"`
	Admin   string            `json:"admin"`
	Started time.Time         `json:"started"`
	Ready   bool              `json:"ready"`
	Trouble map[string]string `json:"trouble,omitempty"`
	Memory  uint64            `json:"memory_bytes"`
	// Units are the streams and shards that it lands; Refused those that stand still because something does not belong together.
	Units   int `json:"units,omitempty"`
	Refused int `json:"refused,omitempty"`
}

// gatewayStatus is all gateways together.
type gatewayStatus struct {
	Gateways      int    `json:"gateways"`
	Clients       uint64 `json:"clients"`
	Subscriptions uint64 `json:"subscriptions"`
	// Dispatched messages, once for all clients that share a selection; Deliveries, once a client, of gateways that count them; SentBytes to all; Skipped are what slow
	// clients were told they missed.
	Dispatched uint64 `json:"dispatched"`
	Deliveries uint64 `json:"deliveries,omitempty"`
	SentBytes  uint64 `json:"sent_bytes"`
	Skipped    uint64 `json:"skipped"`
	// By the second since the status before; absent in the first.
	DispatchedPerSecond *float64 `json:"dispatched_per_second,omitempty"`
	DeliveriesPerSecond *float64 `json:"deliveries_per_second,omitempty"`
	BytesPerSecond      *float64 `json:"bytes_per_second,omitempty"`
}

// nightStatus is the last run of a trade date.
type nightStatus struct {
	TradeDate string `json:"trade_date"`
	nightlyRun
}

type diskStatus struct {
	Of    string `json:"of"`
	Free  uint64 `json:"free_bytes"`
	Total uint64 `json:"total_bytes"`
}

// Run shows the pipeline: on a terminal again and again, else once.
func (c *statusCmd) Run(a *app) error {
	if c.Every < 100*time.Millisecond {
		return run.Usage(errors.New("--every: less than 100ms would look at nothing else"))
	}
	b, cfg, err := a.attachAs(true)
	if err != nil {
		return err
	}
	defer b.close()
	g := newGatherer(b, cfg)
	if tty := terminal(a.stdout); tty != nil && !c.Once && !a.cli.JSON {
		return c.live(a, g, tty)
	}
	// Rates want two looks, a second apart.
	second := time.After(time.Second)
	g.gather(a.ctx)
	select {
	case <-a.ctx.Done():
		return a.ctx.Err()
	case <-second:
	}
	rep := g.gather(a.ctx)
	if a.cli.JSON {
		line, err := json.Marshal(rep)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
	} else {
		for _, line := range statusLines(rep, newPaint(a.stdout)) {
			a.printf("%s\n", line)
		}
	}
	if len(rep.Problems) > 0 {
		return errNotWhole
	}
	return nil
}

// live makes the screen anew until a signal.
func (c *statusCmd) live(a *app, g *gatherer, tty *os.File) error {
	s := openScreen(tty)
	defer s.close()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	paint := newPaint(tty)
	var lines []string
	for {
		ctx, cancel := context.WithTimeout(a.ctx, gatherWithin)
		rep := g.gather(ctx)
		cancel()
		if a.ctx.Err() == nil {
			lines = statusLines(rep, paint)
			s.draw(lines)
		}
		for waiting := true; waiting; {
			select {
			case <-a.ctx.Done():
				return nil
			case <-resized:
				s.draw(lines)
			case <-tick.C:
				waiting = false
			}
		}
	}
}
