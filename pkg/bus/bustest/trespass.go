package bustest

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// published is a subject of each stream, as a client would publish to it.
var published = map[market.Stream][]string{
	market.Trades: {"md.v1.trade.x.TEST"}, market.Quotes: {"md.v1.quote.x.TEST"}, market.Bars: {"md.v1.bar.1m.TEST"},
	market.Halts: {"md.v1.halt.x.TEST", "md.v1.imbalance.x.TEST"}, market.Network: {"md.v1.network.block.x"}, market.Hashprices: {"md.v1.hashprice.x"},
	market.Offers: {"md.v1.gpu.offer.x.y"}, market.Rates: {"md.v1.gpu.rate.x.y"}, market.Signals: {"md.v1.signal.x.TEST"}, market.Feeds: {"md.v1.feed.x"},
}

// may is what each user may, told here once more and in other words than by bus, beside what all may: what is not here must be refused.
var may = map[string][]string{
	"migrate":   {"create", "update", "account", "mode", "landing", "read landing"},
	"equities":  {"TRADES", "QUOTES", "BARS", "HALTS", "FEEDS", "reject", "own lease", "read TRADES", "read QUOTES", "read BARS", "read HALTS", "read FEEDS"},
	"hashprice": {"NETWORK", "BARS", "HASHPRICE", "SIGNALS", "FEEDS", "reject", "own lease", "read NETWORK", "read BARS", "read HASHPRICE", "read SIGNALS", "read FEEDS"},
	"gpurates":  {"OFFERS", "RATES", "FEEDS", "reject", "own lease", "read OFFERS", "read RATES", "read FEEDS"},
	"import":    {"TRADES", "QUOTES", "BARS", "FEEDS", "reject", "read TRADES", "read QUOTES", "read BARS", "read FEEDS"},
	"signals":   {"BARS", "SIGNALS", "own lease", "read TRADES", "read BARS", "read HASHPRICE", "read RATES", "read SIGNALS", "read FEEDS"},
	"lander":    append([]string{"FEEDS", "bury", "landing", "landing of a shard", "roster", "read landing", "read roster"}, each("read ", "ask the leader of ")...),
	"gateway":   append([]string{"once", "read landing"}, slices.DeleteFunc(each("read "), func(s string) bool { return s == "read DEAD" })...),
	"audit":     append([]string{"own lease", "read landing"}, each("read ")...),
	"backup":    {"copy"},
	"nightly":   append([]string{"own lease", "read landing", "read leases"}, each("read ")...),
	"ops": append([]string{"reject", "landing", "landing of a shard", "read landing", "read leases", "read roster", "ask health", "account"},
		slices.DeleteFunc(each("", "read ", "ask the leader of "), func(s string) bool { return s == "DEAD" })...),
	"up": append([]string{"create", "update", "account", "mode", "reject", "bury", "landing", "landing of a shard", "roster", "own lease", "lease of another", "once",
		"read landing", "read leases", "read roster"}, slices.DeleteFunc(each("", "read ", "ask the leader of "), func(s string) bool { return s == "DEAD" })...),
}

// each is something with every stream.
func each(what ...string) (out []string) {
	for _, w := range what {
		for _, s := range market.Streams() {
			out = append(out, w+string(s))
		}
	}
	return out
}

// May lists what the user may of all that Trespass tries.
func May(user string) []string {
	all := append([]string{"read mode", "hear own answers"}, may[user]...)
	if user != "ops" {
		all = append(all, "hear health")
	}
	return all
}

// attempts are all that a user could try, by what it would come to: subjects to publish to, and subjects to listen on.
func attempts(user string) (publish, listen map[string][]string) {
	const js, records = "$JS.API.", "KV_hashpivot"
	get := func(key string) string { return js + "DIRECT.GET." + records + ".$KV.hashpivot." + key }
	publish = map[string][]string{
		"reject": {"md.v1.dead.UPSTREAM.x"}, "bury": {"md.v1.dead.TRADES.1-1-1", "md.v1.dead.FEEDS.1-1-1"},
		"mode": {"$KV.hashpivot.mode"}, "landing": {"$KV.hashpivot.lander.TRADES"}, "landing of a shard": {"$KV.hashpivot.lander.TRADES.4.1"},
		"roster": {"$KV.hashpivot.roster.lander.x"}, "own lease": {"$KV.hashpivot.lease." + user}, "lease of another": {"$KV.hashpivot.lease.somebody"},
		"cell of another": {"$KV.hashpivot.x", "$KV.hashpivot.x.y"}, "once": {"$KV.hashpivot_once.x"},
		"read mode": {get("mode")}, "read landing": {get("lander.TRADES")}, "read leases": {get("lease.somebody")}, "read roster": {get("roster.lander.x")},
		"read cell of another": {get("x"), get("x.y")}, "read ids": {js + "DIRECT.GET.KV_hashpivot_once", js + "CONSUMER.CREATE.KV_hashpivot_once.x"},
		"read all records": {
			js + "DIRECT.GET." + records, js + "STREAM.MSG.GET." + records, js + "CONSUMER.CREATE." + records + ".x", js + "CONSUMER.CREATE." + records + ".x.$KV.hashpivot.>",
			js + "CONSUMER.CREATE." + records, js + "CONSUMER.DURABLE.CREATE." + records + ".x", js + "CONSUMER.MSG.NEXT." + records + ".x",
		},
		"account": {js + "INFO"}, "create another": {js + "STREAM.CREATE.MINE", js + "STREAM.CREATE.KV_mine"},
		"list": {js + "STREAM.LIST", js + "STREAM.NAMES", js + "STREAM.TEMPLATE.NAMES"}, "lead": {js + "META.LEADER.STEPDOWN", js + "SERVER.REMOVE"},
		"ask the system": {"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.$G.CONNZ", "$SYS.SERVER.ACCOUNT.$G.CONNS"},
		"ask health":     {"hashpivot.health"}, "answer for others": {"_INBOX_somebody.x.y", "_INBOX.x.y"}, "something else": {"x", "md.v2.trade.x.TEST", "md.v1.x"},
	}
	streams := []string{records, "KV_hashpivot_once"}
	for _, s := range market.Streams() {
		streams = append(streams, string(s))
		name := string(s)
		if s != market.Dead {
			publish[name] = published[s]
		}
		publish["read "+name] = []string{
			js + "CONSUMER.CREATE." + name + ".x", js + "CONSUMER.CREATE." + name + ".x.md.v1.x", js + "CONSUMER.MSG.NEXT." + name + ".x", js + "DIRECT.GET." + name,
		}
		publish["ask the leader of "+name] = []string{js + "STREAM.MSG.GET." + name}
	}
	for _, name := range streams {
		copied := "copy"
		if strings.HasPrefix(name, "KV_") {
			copied = "copy records"
		}
		for what, subjects := range map[string][]string{
			"create": {"STREAM.CREATE." + name}, "update": {"STREAM.UPDATE." + name}, "delete": {"STREAM.DELETE." + name}, "purge": {"STREAM.PURGE." + name},
			"delete a message": {"STREAM.MSG.DELETE." + name}, copied: {"STREAM.SNAPSHOT." + name}, "restore": {"STREAM.RESTORE." + name},
			"move":          {"STREAM.LEADER.STEPDOWN." + name, "STREAM.PEER.REMOVE." + name, "CONSUMER.LEADER.STEPDOWN." + name + ".x"},
			"see consumers": {"CONSUMER.LIST." + name, "CONSUMER.NAMES." + name}, "make a lasting consumer": {"CONSUMER.DURABLE.CREATE." + name + ".x", "CONSUMER.CREATE." + name},
			"stop consumers": {"CONSUMER.PAUSE." + name + ".x", "CONSUMER.RESET." + name + ".x"},
		} {
			for _, s := range subjects {
				publish[what] = append(publish[what], js+s)
			}
		}
		// Nobody of ours acknowledges, in either form.
		publish["acknowledge"] = append(publish["acknowledge"], "$JS.ACK."+name+".x.1.1.1.1.1", "$JS.ACK._.hash."+name+".x.1.1.1.1.1.x")
	}
	listen = map[string][]string{
		"hear own answers": {"_INBOX_" + user + ".>"}, "hear answers of others": {"_INBOX.>", "_INBOX_somebody.>", "*.>", ">"},
		"hear events": {"md.v1.>", "md.v1.trade.x.TEST"}, "hear records": {"$KV.>", "$KV.hashpivot.mode"}, "hear JetStream": {"$JS.>", "$JS.API.>", "$JS.ACK.>"},
		"hear the system": {"$SYS.>", "$SYS.ACCOUNT.>"}, "hear health": {"hashpivot.health"},
	}
	return publish, listen
}

// Trespass tries everything as the user but what is to be left out, and tells by what it would have come to whether the server refused it. What is half refused is
// an error.
func Trespass(t testing.TB, url, user string, leave []string, opts ...nats.Option) (refused map[string]bool) {
	t.Helper()
	var mu sync.Mutex
	said := map[bool]map[string]bool{false: {}, true: {}} // subjects, of subscriptions or not
	nc, err := nats.Connect(url, append(opts, nats.CustomInboxPrefix("_INBOX_"+user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if !errors.Is(err, nats.ErrPermissionViolation) {
			return
		}
		what, rest, _ := strings.Cut(err.Error(), `"`)
		subject, _, _ := strings.Cut(rest, `"`)
		mu.Lock()
		said[strings.Contains(what, "Subscription")][subject] = true
		mu.Unlock()
	}))...)
	if err != nil {
		t.Fatalf("connect as %s: %v", user, err)
	}
	defer nc.Close()
	publish, listen := attempts(user)
	for _, what := range leave {
		delete(publish, what)
		delete(listen, what)
	}
	refused = map[string]bool{}
	try := func(all map[string][]string, do func(subject string) error) {
		for _, what := range slices.Sorted(maps.Keys(all)) {
			for _, subject := range all[what] {
				if err := do(subject); err != nil {
					t.Fatalf("%s: %s: %v", user, subject, err)
				}
			}
		}
		// The server has read all that was sent before, and answered, when it answers this.
		if err := nc.FlushTimeout(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	try(publish, func(subject string) error { return nc.Publish(subject, nil) })
	try(listen, func(subject string) error { _, err := nc.SubscribeSync(subject); return err })
	// The error handler has a goroutine of its own, behind the answer to the flush: once the connection is closed, it has run for all.
	told := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(told) })
	nc.Close()
	<-told
	mu.Lock()
	defer mu.Unlock()
	for listening, all := range map[bool]map[string][]string{false: publish, true: listen} {
		for what, subjects := range all {
			n := 0
			for _, s := range subjects {
				if said[listening][s] {
					n++
				}
			}
			refused[what] = n == len(subjects)
			if n != 0 && n != len(subjects) {
				t.Errorf("%s: %s: refused %d of %d: %v", user, what, n, len(subjects), subjects)
			}
		}
	}
	return refused
}
