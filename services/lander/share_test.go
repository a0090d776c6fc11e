package lander_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// spread publishes n trades of several symbols.
func (w *world) spread(from, to int) {
	w.t.Helper()
	for i := from; i < to; i++ {
		tr := trade(i)
		tr.Symbol = "S" + strconv.Itoa(i%13)
		if err := w.pub.Publish(w.t.Context(), tr); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.pub.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// cut declares TRADES with so many shards, as a start with another configuration does.
func (w *world) cut(n int) {
	w.t.Helper()
	cfg := bus.DefaultConfig()
	cfg.Shards = map[market.Stream]int{market.Trades: n}
	b, err := bus.Connect(cfg, w.raw, w.log())
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Close()
	if err := b.Ensure(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// TestLandersShareAStream: a stream is cut while it lands, again into another number, and landers come and go; nothing is lost, nothing doubled, and what the records
// say of the whole stream is true.
func TestLandersShareAStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := small()
	cfg.MaxRows = 200
	w.spread(0, 1000)
	first, r1 := w.start(cfg)
	w.drained(first)
	w.cut(4)
	w.spread(1000, 3000)
	second, r2 := w.start(cfg)
	w.drained(first)
	w.drained(second)
	w.cut(3)
	w.spread(3000, 5000)
	third, r3 := w.start(cfg)
	w.spread(5000, 6000)
	r1.stop(t)
	w.spread(6000, 7000)
	r3.stop(t)
	w.drained(second)
	w.audit(7000, 7000, 0)
	_ = third
	// Quiet shards follow, so that the whole stream counts as landed.
	for {
		at, ok, err := w.bus.Landing(t.Context(), market.Trades)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		info, err := w.bus.Info(t.Context(), market.Trades)
		if err != nil {
			t.Fatal(err)
		}
		if at.First == info.LastSeq+1 {
			break
		}
		if at.First > info.LastSeq+1 {
			t.Fatalf("landing %+v is ahead of the stream's %d", at, info.LastSeq)
		}
	}
	r2.stop(t)
	if got := w.one("SELECT count(), uniqExact(trade_id), uniqExact(symbol) FROM trades"); got != "[[7000 7000 13]]" {
		t.Errorf("rows %s", got)
	}
	// Of one symbol the rows are in the order in which they were published.
	if got := w.one("SELECT count() FROM (SELECT toUInt32(trade_id) AS id, lagInFrame(id, 1, 0) OVER (PARTITION BY symbol ORDER BY stream_seq, idx) AS before FROM trades) WHERE before > id"); got != "[[0]]" {
		t.Errorf("rows out of order: %s", got)
	}
}

// TestTakesOverFromALanderThatIsGone: one that no longer renews its place keeps its units for the time of its lease and not longer.
func TestTakesOverFromALanderThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := w.bus.Roster("lander", "nobody", string(market.Trades)+","+string(market.Dead), time.Second, nil)
	if err := gone.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.publish(0, 100)
	deps := w.deps()
	deps.TTL = time.Second
	l, r := w.startWith(small(), deps)
	w.drained(l)
	w.audit(100, 100, 0)
	r.stop(t)

	deps.Dead = func(holder string) bool { return holder == "nobody" }
	if err := gone.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.publish(100, 200)
	l, _ = w.startWith(small(), deps)
	w.drained(l)
	w.audit(200, 200, 0)
}

// TestFencedLanderComesBack: a lander of an older kind, which knows no list, takes a stream over by the record alone. Ours gives way and then takes it back.
func TestFencedLanderComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(0, 100)
	deps := w.deps()
	deps.TTL = time.Second
	l, _ := w.startWith(small(), deps)
	w.drained(l)
	w.change(func(rec map[string]any) { rec["owner"] = "another" })
	w.publish(100, 200)
	w.drained(l)
	w.audit(200, 200, 0)
}

// TestStreamThatIsBornCut: a stream that is made with shards, as a first start with nats.shards makes it, lands at once, and who waits for that waits for the shards too. Nothing
// had written down that it is cut: for five seconds the whole of it, which holds no message, was all that was landed, and waited for.
func TestStreamThatIsBornCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bustest.DeleteStream(t, w.raw, market.Trades)
	w.cut(2)
	w.spread(0, 2000)
	deps := w.deps()
	deps.Watch = time.Hour
	l, _ := w.startWith(small(), deps)
	w.drained(l)
	w.audit(2000, 2000, 0)
}
