package gateway

import (
	"bufio"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A client whose socket is full when its heartbeat is due is sent it when the socket takes something again. It was left out: under a load that fills sockets
// often, whole minutes passed without a ping, nobody owed a pong, and all clients were closed as silent.
func TestHeartbeatIsPutOffNotLeftOut(t *testing.T) {
	ours, other := pair(t)
	gw := &Gateway{cfg: DefaultConfig(), metrics: NewMetrics(prometheus.NewRegistry())}
	s := newShard(0, gw)
	c := &client{gw: gw, conn: ours, variant: variant{enc: encJSON}, shard: s, subs: map[string]*subscription{}}
	c.room = sync.NewCond(&c.mu)
	s.slots[1] = map[*client]struct{}{c: {}}

	c.blocked.Store(true)
	s.heartbeat()
	if len(c.queue) != 0 {
		t.Fatalf("%d frames wait for a client whose socket is full", len(c.queue))
	}
	c.blocked.Store(false)
	c.flush(s)
	if err := other.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if first, err := bufio.NewReader(other).ReadByte(); err != nil || first != 0x80|opPing {
		t.Errorf("the first byte after the socket was full is %#x (%v), want a ping", first, err)
	}
	if c.flush(s); c.owed || len(c.queue) != 0 {
		t.Error("the heartbeat is owed twice")
	}
}
