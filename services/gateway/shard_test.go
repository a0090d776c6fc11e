package gateway

import (
	"bufio"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A client whose socket is full when its heartbeat is due is sent it when the socket takes something again. It was left out: under a load that fills sockets
// often, whole minutes passed without a ping, nobody owed a pong, and all clients were closed as silent.
func TestHeartbeatIsPutOffNotLeftOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	other, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	ours, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ours.Close() }()

	gw := &Gateway{cfg: DefaultConfig(), metrics: NewMetrics(prometheus.NewRegistry())}
	s := &shard{gw: gw, wake: make(chan struct{}, 1), slots: make([]map[*client]struct{}, heartbeatSlots)}
	c := &client{gw: gw, conn: &conn{TCPConn: ours.(*net.TCPConn)}, variant: variant{enc: encJSON}, shard: s, subs: map[string]*subscription{}}
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
