package capacity

// Cost is one figure that the computation stands on, and where it comes from.
type Cost struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// From is the command that prints it, or, where nothing was measured, whose advice it is.
	From     string `json:"from"`
	Measured bool   `json:"measured"`
}

const benchCapacity = "make bench NAME=capacity"

// The costs. All times are of the machine of DESIGN.md, "Measured": two shared cores of a virtual machine; those of capacity were taken on 27 November 2026 while others
// used it too (load 27 to 38), which makes processor times too high rather than too low.
var (
	// Full messages (4 symbols) and small ones (10,000 symbols): what lies between is a line through both. A message costs its sync, whatever it holds.
	fullMessage  = Cost{"events of a full message", 511, "events/message", benchCapacity, true}
	smallMessage = Cost{"events of a message of 10,000 busy symbols", 7.5, "events/message", benchCapacity, true}
	storedFull   = Cost{"JetStream's disk, full messages", 60.9, "bytes/event", benchCapacity, true}
	storedSmall  = Cost{"JetStream's disk, small messages", 94.8, "bytes/event", benchCapacity, true}
	brokerFull   = Cost{"nats-server, full messages", 0.51, "us/event", benchCapacity, true}
	brokerSmall  = Cost{"nats-server, small messages", 26.1, "us/event", benchCapacity, true}
	publishFull  = Cost{"publisher, full messages", 1.67, "us/event", benchCapacity, true}
	publishSmall = Cost{"publisher, small messages", 6.55, "us/event", benchCapacity, true}
	landerFull   = Cost{"lander, full messages", 0.98, "us/row", benchCapacity, true}
	landerSmall  = Cost{"lander, small messages", 2.05, "us/row", benchCapacity, true}
	engineFull   = Cost{"ClickHouse, inserting, full messages", 0.90, "us/row", benchCapacity, true}
	engineSmall  = Cost{"ClickHouse, inserting, small messages", 1.50, "us/row", benchCapacity, true}
	landerAlive  = Cost{"lander, a stream that is alive (100 events/s), with nats-server", 0.085, "cores/stream", benchCapacity, true}
	engineAlive  = Cost{"ClickHouse, a stream that is alive (100 events/s)", 0.206, "cores/stream", benchCapacity, true}

	feedEvent     = Cost{"feed, from frame to acknowledgement, nats-server included", 2e6 / 388_000, "us/event", "make bench NAME=ingest", true}
	feedMost      = Cost{"events that one feed publishes", 388_000, "events/s", "make bench NAME=ingest", true}
	messagesASec  = Cost{"small messages that one server syncs", 4_000, "messages/s", "make bench NAME=ingest_many", true}
	landerMost    = Cost{"rows that one stream or shard lands", 708_000, "rows/s", "make bench NAME=landing_peer", true}
	landerMemory  = Cost{"lander, a stream or shard that is behind", 558, "MiB", "make bench NAME=landing_memory ROWS=60000000", true}
	rowBytes      = Cost{"a trade on ClickHouse's disk", 11.3, "bytes/row", "go test ./pkg/store -run '^$' -bench BytesPerRow -benchtime 1x", true}
	barBytes      = Cost{"a bar on ClickHouse's disk", 31, "bytes/row", "go test ./pkg/store -run '^$' -bench BytesPerRow -benchtime 1x", true}
	auditRow      = Cost{"audit, a row, ClickHouse included", 2.86, "us/row", "go test ./services/audit -run '^$' -bench . -benchtime 1x", true}
	delivery      = Cost{"gateway, an event to a client, the clients included", 2e6 / 1_750_000, "us/delivery", "make bench NAME=soak MINUTES=3", true}
	gatewayMemory = Cost{"gateway, under that load", 179, "MiB", "make bench NAME=soak MINUTES=3", true}
	clientMemory  = Cost{"gateway, an idle connection", 9680, "bytes", "make bench NAME=fanout", true}

	feedMemory   = Cost{"feed", 512, "MiB", "the limit of docker-compose.yml", false}
	brokerMemory = Cost{"nats-server", 1024, "MiB", "the limit of docker-compose.yml", false}
	messageID    = Cost{"nats-server, a message id that is remembered (2 minutes)", 150, "bytes/message", "an estimate", false}
	keeperMemory = Cost{"ClickHouse Keeper", 1024, "MiB", "the limit of docker-compose.yml", false}
	engineMemory = Cost{"ClickHouse, for each core, and at least 8 GiB", 4096, "MiB/core", "ClickHouse's own advice", false}
	aliveStreams = Cost{"streams that are alive: TRADES, QUOTES, BARS, SIGNALS", 4, "streams", "an assumption", false}
	barRows      = Cost{"rows of a 1 s bar, provisional and final", 2, "rows/bar", "an assumption", false}
	headroom     = Cost{"cores over what the stated rate takes, for bursts and for catching up", 2, "times", "an assumption", false}
)

// Costs lists them in the order in which they are used.
func Costs() []Cost {
	return []Cost{
		fullMessage, smallMessage, messagesASec, feedEvent, feedMost, publishFull, publishSmall, brokerFull, brokerSmall, storedFull, storedSmall,
		landerFull, landerSmall, landerAlive, landerMost, landerMemory, engineFull, engineSmall, engineAlive, rowBytes, barBytes, auditRow,
		delivery, gatewayMemory, clientMemory,
		feedMemory, brokerMemory, messageID, keeperMemory, engineMemory, aliveStreams, barRows, headroom,
	}
}
