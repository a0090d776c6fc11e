// Package capacity computes what a deployment needs from what was measured on the machine of DESIGN.md. It is arithmetic over Costs and nothing else:
// docs/capacity.md says what that is worth.
package capacity

import (
	"fmt"
	"math"
	"time"
)

// Need is what a deployment shall do.
type Need struct {
	// Events a second at the busiest, of Hours a day at that rate.
	Events float64 `json:"events"`
	Hours  float64 `json:"hours"`
	// Symbols that are equally busy, which is the dearest.
	Symbols int `json:"symbols"`
	// Streams and Tables are for how long each keeps what it has.
	Streams time.Duration `json:"streams_ns"`
	Tables  time.Duration `json:"tables_ns"`
	// Clients of the live feed, each with ClientEvents a second.
	Clients      int     `json:"clients"`
	ClientEvents float64 `json:"client_events"`
	// Spare is for a deployment that lives without any one of its machines: three copies of each stream and of each table with three Keepers, a second of every service.
	Spare bool `json:"spare"`
	// NodeCores and NodeMemory (bytes) of a machine.
	NodeCores  int     `json:"node_cores"`
	NodeMemory float64 `json:"node_memory"`
}

// Validate names what cannot be computed.
func (n Need) Validate() error {
	for _, x := range []struct {
		name        string
		value       float64
		least, most float64
	}{
		{"events", n.Events, 0.001, 1e9}, {"hours", n.Hours, 0.1, 24}, {"symbols", float64(n.Symbols), 1, 1e6}, {"clients", float64(n.Clients), 0, 1e7},
		{"client-events", n.ClientEvents, 0, 1e6}, {"node-cores", float64(n.NodeCores), 1, 1024}, {"streams (hours)", n.Streams.Hours(), 1, 24 * 366 * 10},
		{"tables (hours)", n.Tables.Hours(), 1, 24 * 366 * 100}, {"node-memory (GiB)", n.NodeMemory / gib, 1, 1 << 16},
	} {
		if !(x.value >= x.least && x.value <= x.most) { // NaN too
			return fmt.Errorf("%s: %v is not from %v to %v", x.name, x.value, x.least, x.most)
		}
	}
	return nil
}

// Part is one kind of process of the plan; its figures are of all instances together.
type Part struct {
	Name      string  `json:"name"`
	Instances int     `json:"instances"`
	Cores     float64 `json:"cores"`
	Memory    float64 `json:"memory"` // bytes
	DiskDay   float64 `json:"disk_day"`
	Disk      float64 `json:"disk"` // bytes, when what is kept is full
}

// Plan is what is needed for it.
type Plan struct {
	Need Need `json:"need"`
	// Deployments that the symbols must be shared among, each with a NATS and a database of its own: one upstream is read by one process, and one server syncs so many
	// messages.
	Deployments int `json:"deployments"`
	// PerMessage is how many events a message has at that rate, Messages how many of them a second there are.
	PerMessage float64 `json:"events_per_message"`
	Messages   float64 `json:"messages"`
	Parts      []Part  `json:"parts"`
	Total      Part    `json:"total"`
	Nodes      int     `json:"nodes"`
	// Keys of the configuration that the plan differs in from the defaults, or should be looked at.
	Keys []Key `json:"keys"`
}

// Key is one of the configuration's.
type Key struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Why   string `json:"why"`
}

const (
	mib = 1 << 20
	gib = 1 << 30
	// queued and batch are the publisher's bounds (bus.PublisherConfig): events that wait over all subjects, and of one message.
	queued, batch = 131_072, 512
	// gatewayCores is what one gateway is given; more of them is better than larger ones.
	gatewayCores = 2
)

// between is the cost of an event in messages of n events: so much an event and so much a message, through two measured points.
func between(full, small Cost, n float64) float64 {
	message := (small.Value - full.Value) / (1/smallMessage.Value - 1/fullMessage.Value)
	return max(full.Value+message*(1/n-1/fullMessage.Value), 0)
}

// Compute makes the plan.
func Compute(n Need) (Plan, error) {
	if err := n.Validate(); err != nil {
		return Plan{}, err
	}
	p := Plan{Need: n, Deployments: 1}
	// A publisher's messages hold what gathers while the one before is synced, and what its queue can hold of a symbol.
	share := func(d int) (events float64, symbols int, most float64) {
		symbols = max(n.Symbols/d, 1)
		return n.Events / float64(d), symbols, math.Max(1, math.Min(batch, queued/float64(symbols)))
	}
	for ; ; p.Deployments++ {
		events, _, most := share(p.Deployments)
		if events*headroom.Value <= math.Min(feedMost.Value, messagesASec.Value*most) {
			break
		}
	}
	events, _, most := share(p.Deployments)
	p.PerMessage = math.Min(math.Max(1, events/messagesASec.Value), most)
	p.Messages = n.Events / p.PerMessage

	streamCopies, tableCopies, second := 1.0, 1.0, 1
	if n.Spare {
		streamCopies, tableCopies, second = 3, 3, 2
	}
	d := float64(p.Deployments)
	day := n.Events * n.Hours * 3600
	us := func(cost, rate float64) float64 { return cost / 1e6 * rate * headroom.Value }

	broker := between(brokerFull, brokerSmall, p.PerMessage)
	feed := feedEvent.Value - brokerFull.Value - publishFull.Value + between(publishFull, publishSmall, p.PerMessage)
	feeds := Part{
		Name: "feeds", Instances: 3 * second * p.Deployments, // equities, hashprice, gpurates; the second of each stands by
		Cores:  us(feed, n.Events),
		Memory: feedMemory.Value * mib * float64(3*second) * d,
	}
	signals := Part{
		Name: "signals", Instances: second * p.Deployments, // it reads every print once, as the lander does
		Cores: us(between(landerFull, landerSmall, p.PerMessage), n.Events), Memory: 4 * feedMemory.Value * mib * float64(second) * d,
	}
	stored := between(storedFull, storedSmall, p.PerMessage)
	nats := Part{
		Name: "nats", Instances: int(streamCopies) * p.Deployments, Cores: us(broker, n.Events) * streamCopies,
		Memory:  (brokerMemory.Value*mib*d + messageID.Value*p.Messages*120) * streamCopies,
		DiskDay: day * stored * streamCopies,
	}
	nats.Disk = nats.DiskDay * n.Streams.Hours() / 24

	units := math.Ceil(n.Events / d * headroom.Value / landerMost.Value)
	lander := Part{
		Name: "lander", Instances: second * p.Deployments,
		Cores:  us(between(landerFull, landerSmall, p.PerMessage), n.Events) + landerAlive.Value*aliveStreams.Value*d,
		Memory: landerMemory.Value * mib * units * float64(second) * d, // each can take over all
	}
	bars := math.Min(n.Events, float64(n.Symbols)) * barRows.Value
	clickhouse := Part{
		Name: "clickhouse", Instances: int(tableCopies),
		Cores:   (us(between(engineFull, engineSmall, p.PerMessage), n.Events+bars) + engineAlive.Value*aliveStreams.Value*d) * tableCopies,
		DiskDay: (n.Events*rowBytes.Value + bars*barBytes.Value) * n.Hours * 3600 * tableCopies,
	}
	clickhouse.Memory = math.Max(8*gib*tableCopies, clickhouse.Cores*engineMemory.Value*mib)
	clickhouse.Disk = clickhouse.DiskDay * n.Tables.Hours() / 24
	audit := Part{Name: "audit", Instances: p.Deployments, Cores: auditRow.Value / 1e6 * n.Events, Memory: feedMemory.Value * mib * d}

	gateway := Part{Name: "gateway", Cores: us(delivery.Value, float64(n.Clients)*n.ClientEvents)}
	gateway.Instances = max(int(math.Ceil(gateway.Cores/gatewayCores)), 1)*p.Deployments + (second-1)*p.Deployments
	gateway.Memory = gatewayMemory.Value*mib*float64(gateway.Instances) + clientMemory.Value*float64(n.Clients)*headroom.Value

	p.Parts = []Part{feeds, signals, nats, lander, clickhouse, audit, gateway}
	if n.Spare {
		p.Parts = append(p.Parts, Part{Name: "keeper", Instances: 3, Memory: 3 * keeperMemory.Value * mib})
	}
	p.Total.Name = "all"
	for _, x := range p.Parts {
		p.Total.Instances += x.Instances
		p.Total.Cores += x.Cores
		p.Total.Memory += x.Memory
		p.Total.DiskDay += x.DiskDay
		p.Total.Disk += x.Disk
	}
	p.Nodes = int(math.Ceil(math.Max(p.Total.Cores/float64(n.NodeCores), p.Total.Memory/n.NodeMemory)))
	if n.Spare {
		p.Nodes = max(p.Nodes+1, 3) // one may be away
	}
	p.keys(nats, streamCopies, units, n)
	return p, nil
}

func (p *Plan) keys(nats Part, copies, units float64, n Need) {
	add := func(key, value, why string) { p.Keys = append(p.Keys, Key{key, value, why}) }
	// All may be of one stream.
	bytes := nats.Disk / copies / float64(p.Deployments) * 1.2
	add("nats.max_age", n.Streams.String(), "how long trades and quotes stay in their streams: longer than ClickHouse may ever be away")
	add("nats.max_bytes", fmt.Sprintf("%.0f", math.Max(math.Ceil(bytes/gib), 1)*gib), "what one stream may hold: a full stream refuses. The server's max_file_store must be above 11 times that, the disk need not be")
	if units > 1 {
		add("nats.shards.TRADES", fmt.Sprintf("%.0f", units), "one stream is landed by one insert at a time; the same for QUOTES")
	}
	if n.Spare {
		add("nats.replicas", "3", "copies of each stream")
		add("clickhouse.replicated", "true", "copies of each table; name every replica in clickhouse.addr")
	}
}
