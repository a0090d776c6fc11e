package gateway

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// lonely is a client of a shard that does not run, and the other end of its connection.
func lonely(t *testing.T) (*client, net.Conn) {
	t.Helper()
	ours, other := pair(t)
	gw := &Gateway{cfg: DefaultConfig(), metrics: NewMetrics(prometheus.NewRegistry())}
	s := newShard(0, gw)
	c := &client{gw: gw, conn: ours, variant: variant{enc: encJSON}, shard: s, subs: map[string]*subscription{}, flushed: make(chan struct{}), log: slog.New(slog.DiscardHandler)}
	c.room = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancelCause(t.Context())
	s.slots[1] = map[*client]struct{}{c: {}}
	return c, other
}

// A client whose socket is full when its heartbeat is due is sent it when the socket takes something again. It was left out: under a load that fills sockets
// often, whole minutes passed without a ping, nobody owed a pong, and all clients were closed as silent.
func TestHeartbeatIsPutOffNotLeftOut(t *testing.T) {
	c, other := lonely(t)
	s := c.shard
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

// Clients of a soak that had fallen behind were closed as silent while they read as fast as they could: megabytes stood in their sockets before the ping.
func TestReadingIsASignOfLife(t *testing.T) {
	c, other := lonely(t)
	if err := c.conn.SetReadDeadline(time.Unix(1, 0)); err != nil { // the pong is overdue
		t.Fatal(err)
	}
	c.blocked.Store(true)
	rest := make([]byte, 16<<20) // more than the sockets hold
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		c.wait(rest, false)
	}()
	if _, err := io.CopyN(io.Discard, other, int64(len(rest))); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c.conn.TCPConn, make([]byte, 1)); err != nil {
		t.Errorf("the client that has read everything is given up: %v", err)
	}
	<-waited // or it finds the connection closed when the test has ended
}

// A gateway whose clients fell behind for a moment stayed behind for good: each socket that had room again began a round, and what was cut for it was a
// message or two. In a soak it gave 1.47 million deliveries/s so, of 3.2 that it could, and 1.95 were asked for.
func TestCrowdedRoundsGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shard{members: 80}
		last := time.Now()
		for _, tt := range []struct {
			full int64
			want time.Duration
		}{{10, 0}, {11, crowdedRound}} {
			s.full.Store(tt.full)
			begin := time.Now()
			if !s.uncrowd(t.Context(), last) || time.Since(begin) != tt.want {
				t.Errorf("with %d of 80 sockets full, a round waits %s, want %s", tt.full, time.Since(begin), tt.want)
			}
		}
	})
}

// What comes while a shard goes round its clients is given to those that it has not come to yet; whoever was served before has it in the next round, so that each has
// everything once. Neither right behind another cut, nor for who has much to be sent: there larger chunks are cheaper.
func TestWhatComesWithinARoundIsGivenToTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShard(0, &Gateway{cfg: DefaultConfig()})
		top := newTopic(&selection{id: "s"}, variant{enc: encJSON}, 1)
		var readers []*reader
		for range 3 {
			readers = append(readers, top.attach(&client{shard: s}, &subscription{}, 1<<20))
		}
		seq := uint64(0)
		come := func(bytes int) {
			seq++
			it := &item{at: market.Place{Stream: market.Trades, Seq: seq, StreamTime: time.Now()}, json: make([]byte, bytes)}
			top.append(batch{items: []*item{it}}, []*shard{s})
		}
		got := make([]int, len(readers))
		take := func(i, want int) {
			t.Helper()
			_, _, items, slow := readers[i].take(nil, maxWrite, 1<<20, false)
			if got[i] += items; items != want || slow {
				t.Errorf("client %d is given %d messages at %d, want %d; too slow: %v", i, items, seq, want, slow)
			}
		}
		come(100)
		top.collect(0, 1<<20, nil)
		take(0, 1)
		come(100)
		take(1, 1) // the cut before was just now
		time.Sleep(cutGap)
		take(2, 2)
		top.collect(0, 1<<20, nil)
		for i, want := range []int{1, 1, 0} {
			take(i, want)
		}
		time.Sleep(cutGap)
		come(cutBehind + 1)
		take(0, 0)
		top.collect(0, 1<<20, nil)
		for i := range readers {
			take(i, 1)
			if uint64(got[i]) != seq || !readers[i].drained() {
				t.Errorf("client %d has %d messages of %d", i, got[i], seq)
			}
		}
	})
}
