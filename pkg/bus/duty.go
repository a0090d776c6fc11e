package bus

import (
	"slices"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Duty is what a service, or the operator's commands, do in NATS. It is the one place where that is said: which streams a service looks for when it starts and
// what its user may do (see Rights) follow from it.
type Duty struct {
	// User is the name of the user in NATS, which is that of the service.
	User string
	// Does says what it is for, in a sentence.
	Does string
	// Publishes, Reads and Copies are streams; the last are copied whole.
	Publishes, Reads, Copies []market.Stream
	// Rejects: it keeps frames of upstreams that it cannot read. Buries: it keeps messages that cannot land. Both in DEAD.
	Rejects, Buries bool
	// Declares: it creates and updates the streams and buckets.
	Declares bool
	// Asks: it asks leaders of streams, where replicas may lag.
	Asks bool
	// Claims: it claims one-time ids.
	Claims bool
	// Examines: it asks all processes how they do, which every other duty answers.
	Examines bool
	// Changes, Looks and Lists are cells of the bucket of records, with wildcards: those that are changed, those that are read, and those whose keys are watched.
	Changes, Looks, Lists []string
}

// Cells of the bucket of records.
const (
	cellMode     = "mode"
	cellLandings = "lander.>"
	cellRoster   = rosterPrefix + "lander.*"
	cellLeases   = leasePrefix + "*"
)

// subjectHealth is where processes are asked how they do, and every one of hashpivot's answers. Nothing is sent unasked.
const subjectHealth = "hashpivot.health"

// derivedFrom are the streams that signals are made of, and those that they go into.
var derivedFrom = []market.Stream{market.Trades, market.Bars, market.Hashprices, market.Rates, market.Signals, market.Feeds}

// live are the streams that dashboards see: all but the dead letters.
var live = slices.DeleteFunc(market.Streams(), func(s market.Stream) bool { return s == market.Dead })

// duties are in the order in which the data flows.
var duties = []Duty{
	{
		User: "migrate", Does: "declares the streams and buckets, and marks them with the mode", Declares: true,
		Changes: []string{cellMode, "lander.*"}, // a stream that is cut is noted in its lander's record
	},
	{
		User: "equities", Does: "trades, quotes, bars and halts from venues", Rejects: true, Changes: []string{leasePrefix + "equities"},
		Publishes: []market.Stream{market.Trades, market.Quotes, market.Bars, market.Halts, market.Feeds},
		Reads:     []market.Stream{market.Trades, market.Quotes, market.Bars, market.Halts, market.Feeds},
	},
	{
		User: "hashprice", Does: "blocks, fees, prices and the hashprice", Rejects: true, Changes: []string{leasePrefix + "hashprice"},
		Publishes: []market.Stream{market.Network, market.Bars, market.Hashprices, market.Signals, market.Feeds},
		Reads:     []market.Stream{market.Network, market.Bars, market.Hashprices, market.Signals, market.Feeds},
	},
	{
		User: "gpurates", Does: "offers and rates of GPUs", Rejects: true, Changes: []string{leasePrefix + "gpurates"},
		Publishes: []market.Stream{market.Offers, market.Rates, market.Feeds}, Reads: []market.Stream{market.Offers, market.Rates, market.Feeds},
	},
	{
		User: "import", Does: "the command import: files as a source like any other", Rejects: true,
		Publishes: []market.Stream{market.Trades, market.Quotes, market.Bars, market.Feeds}, Reads: []market.Stream{market.Trades, market.Quotes, market.Bars, market.Feeds},
	},
	{
		User: "signals", Does: "bars from prints, and signals", Publishes: []market.Stream{market.Bars, market.Signals}, Reads: derivedFrom, Changes: []string{leasePrefix + "signals"},
	},
	{
		User: "lander", Does: "from the streams into ClickHouse", Publishes: []market.Stream{market.Feeds}, Reads: market.Streams(), Buries: true, Asks: true,
		Changes: []string{cellLandings, cellRoster}, Lists: []string{cellRoster, "lander.*.*.*"},
	},
	{
		User: "gateway", Does: "the live feed and history for dashboards", Reads: live, Claims: true, Looks: []string{cellLandings},
	},
	{
		User: "audit", Does: "compares what was published with what has landed", Reads: market.Streams(), Changes: []string{leasePrefix + "audit"}, Looks: []string{cellLandings},
	},
	{
		User: "backup", Does: "the command backup; restore takes a user that may do everything", Copies: market.Streams(),
	},
	{
		User: "nightly", Does: "the research notebooks", Reads: market.Streams(), Changes: []string{leasePrefix + "nightly"}, Looks: []string{cellLandings, cellLeases},
		Lists: []string{leasePrefix + ">"},
	},
	{
		User: "ops", Does: "the operator's commands: status, audit, dead, tail, gaps, rates, adopt", Publishes: market.Streams(), Reads: market.Streams(), Asks: true,
		Rejects: true, Examines: true, Changes: []string{cellLandings}, Looks: []string{cellLeases, cellRoster}, Lists: []string{leasePrefix + ">", "lander.*.*.*", cellRoster},
	},
	{
		User: "up", Does: "the command up against a NATS of its own: all services in one process", Publishes: market.Streams(), Reads: market.Streams(), Rejects: true, Buries: true,
		Declares: true, Asks: true, Claims: true, Changes: []string{cellMode, cellLandings, cellRoster, cellLeases}, Lists: []string{leasePrefix + ">", "lander.*.*.*", cellRoster},
	},
}

// Duties lists all.
func Duties() []Duty { return slices.Clone(duties) }

// DutyOf finds that of a service.
func DutyOf(user string) (Duty, bool) {
	for _, d := range duties {
		if d.User == user {
			return d, true
		}
	}
	return Duty{}, false
}

// Streams are those that must be there for the duty to be done; none: all.
func (d Duty) Streams() []market.Stream {
	var out []market.Stream
	if d.Declares {
		return out
	}
	for _, s := range market.Streams() {
		if slices.Contains(d.Reads, s) || slices.Contains(d.Publishes, s) || slices.Contains(d.Copies, s) || s == market.Dead && (d.Rejects || d.Buries) {
			out = append(out, s)
		}
	}
	return out
}
