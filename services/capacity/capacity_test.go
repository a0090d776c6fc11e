package capacity

import (
	"math"
	"strings"
	"testing"
	"time"
)

func need() Need {
	return Need{
		Events: 10_000, Hours: 24, Symbols: 100, Streams: 30 * 24 * time.Hour, Tables: 365 * 24 * time.Hour, Clients: 100, ClientEvents: 50, NodeCores: 8, NodeMemory: 32 * gib,
	}
}

func part(t *testing.T, p Plan, name string) Part {
	t.Helper()
	for _, x := range p.Parts {
		if x.Name == name {
			return x
		}
	}
	t.Fatalf("no %s among %+v", name, p.Parts)
	return Part{}
}

func compute(t *testing.T, n Need) Plan {
	t.Helper()
	p, err := Compute(n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// At the two points that were measured, the line through them says what was measured.
func TestBetweenGoesThroughWhatWasMeasured(t *testing.T) {
	for _, c := range []struct{ full, small Cost }{{storedFull, storedSmall}, {brokerFull, brokerSmall}, {landerFull, landerSmall}, {publishFull, publishSmall}, {engineFull, engineSmall}} {
		for n, want := range map[float64]float64{fullMessage.Value: c.full.Value, smallMessage.Value: c.small.Value} {
			if got := between(c.full, c.small, n); math.Abs(got-want) > 1e-9 {
				t.Errorf("%s at %g events a message: %g, want %g", c.full.Name, n, got, want)
			}
		}
		if one := between(c.full, c.small, 1); one <= c.small.Value {
			t.Errorf("%s: a message of one event costs %g, one of %g events %g", c.full.Name, one, smallMessage.Value, c.small.Value)
		}
	}
}

func TestDiskIsBytesTimesTime(t *testing.T) {
	n := need()
	p := compute(t, n)
	events := n.Events * 86400
	ch := part(t, p, "clickhouse")
	bars := 100 * barRows.Value * barBytes.Value * 86400
	if want := events*rowBytes.Value + bars; math.Abs(ch.DiskDay-want) > 1 || math.Abs(ch.Disk-365*want) > 365 {
		t.Errorf("ClickHouse: %g bytes a day, %g in all; want %g and %g", ch.DiskDay, ch.Disk, want, 365*want)
	}
	nats := part(t, p, "nats")
	if want := events * between(storedFull, storedSmall, p.PerMessage); math.Abs(nats.DiskDay-want) > 1 || math.Abs(nats.Disk-30*want) > 30 {
		t.Errorf("NATS: %g bytes a day, %g in all; want %g", nats.DiskDay, nats.Disk, want)
	}
	half := n
	half.Hours = 12
	if got := compute(t, half); math.Abs(2*got.Total.Disk-p.Total.Disk) > 1 || got.Total.Cores != p.Total.Cores {
		t.Errorf("half the hours: %g bytes and %g cores; the whole day %g and %g", got.Total.Disk, got.Total.Cores, p.Total.Disk, p.Total.Cores)
	}
}

// More is never cheaper.
func TestGrowsWithTheRate(t *testing.T) {
	n := need()
	var last Plan
	for i, rate := range []float64{1, 10, 1_000, 10_000, 100_000, 1_000_000, 10_000_000} {
		n.Events = rate
		p := compute(t, n)
		if i > 0 && (p.Total.Cores < last.Total.Cores || p.Total.Memory < last.Total.Memory || p.Total.Disk <= last.Total.Disk || p.Nodes < last.Nodes || p.Deployments < last.Deployments ||
			p.PerMessage < last.PerMessage && p.Deployments == last.Deployments) {
			t.Errorf("%g events/s: %+v and before %+v", rate, p, last)
		}
		last = p
	}
	if last.Deployments < 10_000_000/int(feedMost.Value) {
		t.Errorf("ten million events a second by %d deployments", last.Deployments)
	}
}

func TestSpareLivesWithoutAnyOne(t *testing.T) {
	n := need()
	n.Spare = true
	p := compute(t, n)
	for name, least := range map[string]int{"feeds": 6, "signals": 2, "nats": 3, "lander": 2, "clickhouse": 3, "keeper": 3, "gateway": 2} {
		if got := part(t, p, name).Instances; got < least {
			t.Errorf("%d of %s", got, name)
		}
	}
	one := compute(t, need())
	if p.Nodes < 3 || part(t, p, "nats").Disk != 3*part(t, one, "nats").Disk || part(t, p, "clickhouse").Disk != 3*part(t, one, "clickhouse").Disk {
		t.Errorf("%+v", p)
	}
}

// What a stream may hold is what it must: the bound that a plan advises is above what the plan stores.
func TestAdvisedBoundIsAboveWhatIsStored(t *testing.T) {
	for _, rate := range []float64{10, 10_000, 1_000_000} {
		n := need()
		n.Events = rate
		p := compute(t, n)
		for _, k := range p.Keys {
			if k.Key == "nats.max_bytes" {
				var bytes float64
				for _, c := range k.Value {
					bytes = bytes*10 + float64(c-'0')
				}
				if stored := part(t, p, "nats").Disk / float64(p.Deployments); bytes < stored {
					t.Errorf("%g events/s: %s %s, and %g are stored", rate, k.Key, k.Value, stored)
				}
			}
		}
	}
}

func TestRefusesWhatCannotBe(t *testing.T) {
	f := func(want string, change func(*Need)) {
		t.Helper()
		n := need()
		change(&n)
		if _, err := Compute(n); err == nil || !strings.HasPrefix(err.Error(), want+":") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f("events", func(n *Need) { n.Events = 0 })
	f("events", func(n *Need) { n.Events = math.NaN() })
	f("events", func(n *Need) { n.Events = math.Inf(1) })
	f("hours", func(n *Need) { n.Hours = 25 })
	f("symbols", func(n *Need) { n.Symbols = 0 })
	f("clients", func(n *Need) { n.Clients = -1 })
	f("streams (hours)", func(n *Need) { n.Streams = 0 })
	f("node-cores", func(n *Need) { n.NodeCores = 0 })
}
