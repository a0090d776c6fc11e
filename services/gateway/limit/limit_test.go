package limit_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/services/gateway/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var one, two = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")

// refusals counts what the hook was told.
type refusals struct {
	mu sync.Mutex
	of map[string]int
}

func (r *refusals) add(whose, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[string]int{}
	}
	r.of[whose+" "+what]++
}

func limiter(t *testing.T, change func(*limit.Config)) (*limit.Limiter, *refusals) {
	t.Helper()
	c, told := limit.DefaultConfig(), &refusals{}
	if change != nil {
		change(&c)
	}
	l, err := limit.New(c, told.add)
	if err != nil {
		t.Fatal(err)
	}
	return l, told
}

func connect(t *testing.T, l *limit.Limiter, addr netip.Addr) *limit.Lease {
	t.Helper()
	s, err := l.Connect(addr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refused holds that err is a refusal that a client can be told.
func refused(t *testing.T, told *refusals, err error, what string) {
	t.Helper()
	if err == nil || live.AsError(err).Code != live.CodeTooMany || len(live.AsError(err).Message) < 20 || told.of[what] == 0 {
		t.Errorf("got %v, told %v, want a refusal of %s", err, told.of, what)
	}
}

func TestConnections(t *testing.T) {
	l, told := limiter(t, func(c *limit.Config) { c.Connections, c.AddressConnections = 3, 2 })
	a, b := connect(t, l, one), connect(t, l, one)
	_, err := l.Connect(one)
	refused(t, told, err, "address connections")
	c := connect(t, l, two)
	_, err = l.Connect(two)
	refused(t, told, err, "gateway connections")
	a.Close()
	a.Close()
	if n := l.Connections(); n != 2 {
		t.Errorf("got %d connections, want 2: one was given back twice", n)
	}
	connect(t, l, one).Close()
	b.Close()
	c.Close()
	if n := l.Connections(); n != 0 {
		t.Errorf("got %d connections, want 0", n)
	}
}

func TestSubject(t *testing.T) {
	l, told := limiter(t, func(c *limit.Config) { c.SubjectConnections, c.SubjectSubscriptions = 3, 5 })
	a, b, c := connect(t, l, one), connect(t, l, two), connect(t, l, two)
	grant := func(s *limit.Lease, identity string, most int) {
		t.Helper()
		if err := s.Grant(identity, most); err != nil {
			t.Error(err)
		}
	}
	counted := func(id string, conns, subs int64) {
		t.Helper()
		if gotConns, gotSubs := l.Counted(id); gotConns != conns || gotSubs != subs {
			t.Errorf("%s: got %d connections and %d subscriptions, want %d and %d", id, gotConns, gotSubs, conns, subs)
		}
	}
	grant(a, "desk", 0)
	grant(a, "desk", 0) // a fresh token of the same subject
	grant(b, "desk", 2)
	refused(t, told, c.Grant("desk", 2), "subject connections")
	grant(c, "", 0)
	grant(c, "desk", 3)
	counted("subject desk", 3, 0)

	// Subscriptions from before go with the connection.
	d := connect(t, l, two)
	if err := d.Subscribe(4); err != nil {
		t.Fatal(err)
	}
	grant(d, "other", 0)
	counted("subject other", 1, 4)
	if err := a.Subscribe(3); err != nil {
		t.Fatal(err)
	}
	refused(t, told, b.Subscribe(3), "subject subscriptions")
	counted("address 192.0.2.2", 3, 4)
	c.Close()
	refused(t, told, d.Grant("desk", 0), "subject subscriptions")
	counted("subject desk", 2, 3)
	counted("subject other", 1, 4)
	d.Unsubscribe(2)
	grant(d, "desk", 0)
	counted("subject desk", 3, 5)
	counted("subject other", 0, 0)
	d.Unsubscribe(100)
	counted("subject desk", 3, 3)
	for _, s := range []*limit.Lease{a, b, d} {
		s.Close()
	}
	counted("subject desk", 0, 0)
	counted("address 192.0.2.1", 0, 0)
	if err := a.Grant("desk", 0); err == nil {
		t.Error("a closed connection was granted something")
	}
	if err := a.Subscribe(1); err == nil {
		t.Error("a closed connection subscribed")
	}
	a.Unsubscribe(1)
	counted("address 192.0.2.1", 0, 0)
}

func TestRequestsAndFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, told := limiter(t, func(c *limit.Config) { c.Requests, c.RequestBurst, c.Strikes = 10, 5, 3 })
		s, other := connect(t, l, one), connect(t, l, one)
		for range 5 {
			if err := s.Request(); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			err := s.Request()
			refused(t, told, err, "connection requests")
			if limit.Flood(err) {
				t.Fatalf("a flood too early: %v", err)
			}
		}
		err := s.Request()
		refused(t, told, err, "connection requests")
		if !limit.Flood(err) {
			t.Errorf("got %v, want a flood", err)
		}
		if err := other.Request(); err != nil {
			t.Errorf("another connection was refused: %v", err)
		}
		time.Sleep(time.Second)
		if err := s.Request(); err != nil {
			t.Errorf("after a rest: %v", err)
		}
	})
}

func TestRequestsOfAnAddressAndASubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, told := limiter(t, func(c *limit.Config) {
			c.AddressRequests, c.AddressRequestBurst, c.SubjectRequests, c.SubjectRequestBurst = 1, 4, 1, 6
		})
		a, b := connect(t, l, one), connect(t, l, one)
		for _, s := range []*limit.Lease{a, b, a, b} {
			if err := s.Request(); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, told, a.Request(), "address requests")
		refused(t, told, l.HTTP(one), "address requests")

		for range 6 {
			if err := l.Subject("desk"); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, told, l.Subject("desk"), "subject requests")
		if err := l.Subject("other"); err != nil {
			t.Error(err)
		}
		s := connect(t, l, two)
		if err := s.Grant("desk", 0); err != nil {
			t.Fatal(err)
		}
		refused(t, told, s.Request(), "subject requests")
	})
}

func TestConnectsAndSubscribes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, told := limiter(t, func(c *limit.Config) {
			c.AddressConnects, c.AddressConnectBurst, c.Subscribes, c.SubscribeBurst, c.Subscriptions, c.AddressSubscriptions = 1, 2, 1, 3, 4, 6
		})
		s := connect(t, l, one)
		connect(t, l, one).Close()
		_, err := l.Connect(one)
		refused(t, told, err, "address connects")
		time.Sleep(time.Second)
		other := connect(t, l, one)

		for range 3 {
			if err := s.Subscribe(1); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, told, s.Subscribe(1), "connection subscribes")
		time.Sleep(3 * time.Second)
		refused(t, told, s.Subscribe(2), "connection subscriptions")
		if err := s.Subscribe(1); err != nil {
			t.Fatal(err)
		}
		refused(t, told, other.Subscribe(3), "address subscriptions")
		// What a resume brings at once may be more than the burst.
		s.Unsubscribe(4)
		time.Sleep(3 * time.Second)
		if err := s.Subscribe(4); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHistoryIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := limiter(t, func(c *limit.Config) { c.HistoryBytes = 100_000 })
		s := connect(t, l, one)
		begin := time.Now()
		if err := s.Wait(t.Context(), 350_000); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin).Round(time.Millisecond); took != 2500*time.Millisecond {
			t.Errorf("350 kB at 100 kB/s with 100 kB at once took %v, want 2.5s", took)
		}
		// The address is one, however many connections it has.
		again := connect(t, l, one)
		begin = time.Now()
		if err := again.Wait(t.Context(), 50_000); err != nil || time.Since(begin).Round(time.Millisecond) != 500*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if err := s.Wait(ctx, 1_000_000); err == nil {
			t.Error("the wait outlived its context")
		}
		free, _ := limiter(t, nil)
		if err := connect(t, free, one).Wait(t.Context(), 1<<30); err != nil {
			t.Error(err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	l, _ := limiter(t, func(c *limit.Config) { c.Remembered, c.AddressConnections = 50, 1 })
	held := connect(t, l, one)
	for i := range 5000 {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		connect(t, l, addr).Close()
		_ = l.HTTP(addr)
		_ = l.Subject(fmt.Sprint("subject ", i))
	}
	if busy, idle := l.Kept(); busy != 1 || idle > 50 {
		t.Errorf("kept %d busy and %d idle accounts, want 1 and at most 50", busy, idle)
	}
	// Who is connected is never forgotten.
	if _, err := l.Connect(one); err == nil {
		t.Error("the count of a connected address was forgotten")
	}
	held.Close()
	connect(t, l, one).Close()
}

func TestAddresses(t *testing.T) {
	f := func(addr, want string) {
		t.Helper()
		a, _ := netip.ParseAddr(addr)
		if got := limit.AddressKey(a); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	f("192.0.2.1", "192.0.2.1")
	f("::ffff:192.0.2.1", "192.0.2.1")
	f("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64")
	f("2001:db8:1:2::1", "2001:db8:1:2::/64")
	f("fe80::1%eth0", "fe80::/64")
	f("::1", "::/64")
	f("", "invalid IP")
}

func TestManyAtOnceGiveEverythingBack(t *testing.T) {
	l, _ := limiter(t, func(c *limit.Config) {
		c.Connections, c.AddressConnections, c.SubjectConnections, c.AddressConnectBurst, c.AddressConnects = 40, 15, 12, 1e6, 1e6
		c.SubjectSubscriptions, c.AddressSubscriptions = 30, 40
	})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			addr := []netip.Addr{one, two}[g%2]
			for i := range 200 {
				s, err := l.Connect(addr)
				if err != nil {
					continue
				}
				_ = s.Subscribe(i % 4)
				_ = s.Grant([]string{"", "desk", "other"}[i%3], 0)
				_ = s.Request()
				_ = s.Subscribe(i % 3)
				s.Unsubscribe(i % 2)
				_ = s.Grant("desk", 0)
				var both sync.WaitGroup
				both.Go(s.Close)
				s.Close()
				both.Wait()
			}
		})
	}
	wg.Wait()
	for _, id := range []string{"address 192.0.2.1", "address 192.0.2.2", "subject desk", "subject other"} {
		if conns, subs := l.Counted(id); conns != 0 || subs != 0 {
			t.Errorf("%s: %d connections and %d subscriptions are left", id, conns, subs)
		}
	}
	if busy, _ := l.Kept(); busy != 0 || l.Connections() != 0 {
		t.Errorf("%d accounts and %d connections are left", busy, l.Connections())
	}
}

func TestConfigIsChecked(t *testing.T) {
	f := func(want string, change func(*limit.Config)) {
		t.Helper()
		c := limit.DefaultConfig()
		change(&c)
		if _, err := limit.New(c, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f("limits.connections", func(c *limit.Config) { c.Connections = 0 })
	f("limits.requests", func(c *limit.Config) { c.Requests = -1 })
	f("limits.remembered", func(c *limit.Config) { c.Remembered = 0 })
	f("limits.history_bytes", func(c *limit.Config) { c.HistoryBytes = 1 })
}

// TestSet: limits change for addresses and connections that are there; who has more than a new bound keeps it and gets no more.
func TestSet(t *testing.T) {
	l, _ := limiter(t, func(c *limit.Config) { c.AddressConnections, c.Subscriptions = 3, 5 })
	a, b, c := connect(t, l, one), connect(t, l, one), connect(t, l, one)
	if _, err := l.Connect(one); err == nil {
		t.Fatal("a fourth connection under a bound of three")
	}
	if err := a.Subscribe(5); err != nil {
		t.Fatal(err)
	}
	next := l.Config()
	next.AddressConnections, next.Subscriptions, next.Requests, next.RequestBurst = 2, 6, 1, 1
	bad := next
	bad.Strikes = 0
	if err := l.Set(bad); err == nil || l.Config().AddressConnections != 3 {
		t.Errorf("bad limits: %v, in force %+v", err, l.Config())
	}
	if err := l.Set(next); err != nil {
		t.Fatal(err)
	}
	a.Adapt()
	if err := a.Subscribe(1); err != nil {
		t.Errorf("a sixth subscription under a new bound of six: %v", err)
	}
	if err := a.Subscribe(1); err == nil {
		t.Error("a seventh")
	}
	if first, second := a.Request(), a.Request(); first != nil || second == nil {
		t.Errorf("two requests at once under a burst of one: %v, %v", first, second)
	}
	if err := b.Request(); err != nil {
		t.Errorf("who did not adapt: %v", err)
	}
	c.Close()
	if _, err := l.Connect(one); err == nil {
		t.Error("a third connection under a new bound of two")
	}
	b.Close()
	connect(t, l, one).Close()
	a.Close()
	next.AddressConnections = 4
	if err := l.Set(next); err != nil { // nobody is there now, and the address is remembered
		t.Fatal(err)
	}
	for range 4 {
		defer connect(t, l, one).Close()
	}
}
