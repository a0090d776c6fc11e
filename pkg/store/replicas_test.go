package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// played is a replica as far as it is asked to come up to the others: the engine at hand is a library, which has no replicas.
type played struct {
	driver.Conn // nil: nothing else is asked

	mu    sync.Mutex
	err   error // of every request, until it is changed
	asked []string
}

func (p *played) Exec(_ context.Context, sql string, _ ...any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, sql)
	return p.err
}

func (p *played) Ping(context.Context) error { return p.err }

func (p *played) turn(err error) (asked []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, asked, p.asked = err, p.asked, nil
	return asked
}

// replicasOf is a store on n of them.
func replicasOf(n int) (*Store, []*played) {
	cfg := DefaultConfig()
	cfg.Replicated, cfg.Addr = true, nil
	s := &Store{}
	var all []*played
	for i := range n {
		p := &played{}
		cfg.Addr = append(cfg.Addr, fmt.Sprintf("r%d:9000", i+1))
		s.replicas = append(s.replicas, &replica{addr: cfg.Addr[i], conn: p, through: map[life]uint64{}})
		all = append(all, p)
	}
	s.cfg = cfg
	return s, all
}

var (
	errLags = error(&clickhouse.Exception{Code: 159, Message: "SYNC REPLICA hashpivot.trades: command timed out"})
	errAway = error(&net.OpError{Op: "dial", Err: errors.New("connection refused")})
)

// What decides is read from a replica that came up to the others: who lags or is away is passed over, and if all do, nothing is read.
func TestReadsFromWhoIsUpToDate(t *testing.T) {
	s, r := replicasOf(3)
	want := func(i int) {
		t.Helper()
		conn, err := s.upToDate(t.Context(), "trades", "bars")
		if err != nil || conn != driver.Conn(r[i]) {
			t.Fatalf("%v, %v: want replica %d", conn, err, i+1)
		}
		if asked := r[i].turn(nil); !slices.Equal(asked, []string{"SYSTEM SYNC REPLICA hashpivot.trades LIGHTWEIGHT", "SYSTEM SYNC REPLICA hashpivot.bars LIGHTWEIGHT"}) {
			t.Errorf("replica %d was asked %q", i+1, asked)
		}
	}
	want(0)
	r[0].turn(errLags)
	r[1].turn(errAway)
	want(2)
	r[0].turn(nil)
	want(2) // who was well lately is asked first
	if asked := r[0].turn(nil); asked != nil {
		t.Errorf("the first was asked %q", asked)
	}
	r[2].turn(errLags)
	want(0)
	for _, p := range r {
		p.turn(errLags)
	}
	if conn, err := s.upToDate(t.Context(), "trades"); conn != nil || !IsTransient(err) || IsRefused(err) {
		t.Errorf("nobody is up to date: %v, %v", conn, err)
	}
}

// A replica is brought up once for a sequence of a stream's life, and the next one goes on from there when it is away.
func TestReachedIsRemembered(t *testing.T) {
	s, r := replicasOf(2)
	life1, life2 := time.Unix(1, 0), time.Unix(2, 0)
	want := func(since time.Time, through uint64, i int, syncs int) {
		t.Helper()
		conn, err := s.reached(t.Context(), market.Trades, since, through)
		if err != nil || conn != driver.Conn(r[i]) {
			t.Fatalf("%v, %v: want replica %d", conn, err, i+1)
		}
		if asked := r[i].turn(nil); len(asked) != syncs {
			t.Errorf("up to %d: asked %q, want %d", through, asked, syncs)
		}
	}
	want(life1, 100, 0, 1)
	want(life1, 100, 0, 0)
	want(life1, 99, 0, 0)
	want(life1, 101, 0, 1)
	want(life2, 5, 0, 1) // its sequences mean other messages
	want(life1, 0, 0, 1) // as it stands now
	want(life1, 0, 0, 1)
	r[0].turn(errAway)
	want(life1, 100, 1, 1)
}

// Rows that stand have landed when a quorum is known to have them.
func TestSecureWantsAQuorum(t *testing.T) {
	f := func(n int, quorum string, bad int, landed bool) {
		t.Helper()
		s, r := replicasOf(n)
		s.cfg.InsertQuorum = quorum
		for _, p := range r[:bad] {
			p.turn(errLags)
		}
		err := s.secure(t.Context(), []string{"trades"})
		if (err == nil) != landed || err != nil && (!IsTransient(err) || !strings.Contains(err.Error(), fmt.Sprintf("only %d of %d", n-bad, n))) {
			t.Errorf("%d of %d replicas, quorum %s: %v", n-bad, n, quorum, err)
		}
	}
	f(1, "auto", 0, true)
	f(2, "auto", 0, true)
	f(2, "auto", 1, false)
	f(2, "1", 1, true)
	f(3, "auto", 1, true)
	f(3, "auto", 2, false)
	f(3, "3", 1, false)
	f(5, "auto", 2, true)
	f(5, "auto", 3, false)
}

// An insert goes to the next replica after an error that is the replica's, once, however many inserts met it; and stays after any other.
func TestInsertsLeaveAReplicaThatCannot(t *testing.T) {
	s, _ := replicasOf(3)
	s.leave(0, &clickhouse.Exception{Code: 242})
	s.leave(0, &clickhouse.Exception{Code: 242})
	if at := s.first.Load(); at != 1 {
		t.Errorf("goes to replica %d, want 2", at+1)
	}
	s.leave(1, &clickhouse.Exception{Code: 241})
	s.leave(1, errAway)
	if at := s.first.Load(); at != 1 {
		t.Errorf("goes to replica %d, want 2", at+1)
	}
	s.leave(1, &clickhouse.Exception{Code: 319})
	s.leave(2, &clickhouse.Exception{Code: 999})
	if at := s.first.Load(); at != 0 {
		t.Errorf("goes to replica %d, want 1", at+1)
	}
}
