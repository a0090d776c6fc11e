// Package load is many websocket clients on one machine, as cheap as they can be made, so that what is measured is the server: they wait in an
// epoll each of a few goroutines reads, count messages and take latencies. All servers are read by the same code. Linux only.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Group is the clients of one server.
type Group struct {
	p       Protocol
	addr    unix.SockaddrInet4
	pollers []*poller
	conns   []*conn
	next    int // poller of the next connection
}

// Pollers is how many goroutines read. One reads more than a server gives that shares two cores with it.
const Pollers = 1

// RaiseFileLimit lets the process, and its children, have as many descriptors as it may, and reports how many these are.
func RaiseFileLimit() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read the limit of file descriptors: %w", err)
	}
	l.Cur = l.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("raise the limit of file descriptors: %w", err)
	}
	return l.Cur, nil
}

// NewGroup is a group without clients.
func NewGroup(addr string, p Protocol) (*Group, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().Is4() {
		return nil, fmt.Errorf("parse the address %q: not IPv4 and a port: %w", addr, err)
	}
	g := &Group{p: p, addr: unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}}
	for range Pollers {
		l, err := newPoller(p)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.pollers = append(g.pollers, l)
	}
	return g, nil
}

// Close ends all clients.
func (g *Group) Close() error {
	var errs []error
	for _, l := range g.pollers {
		errs = append(errs, l.close())
	}
	g.pollers = nil
	return errors.Join(errs...)
}

// Connect adds n clients and waits until the server has greeted each.
func (g *Group) Connect(ctx context.Context, n int) error {
	made := make([]*conn, n)
	dial, dctx := errgroup.WithContext(ctx)
	dial.SetLimit(8)
	for i := range made {
		dial.Go(func() error {
			if dctx.Err() != nil {
				return dctx.Err()
			}
			var err error
			made[i], err = connect(g.addr, g.p, 0)
			return err
		})
	}
	err := dial.Wait()
	g.asked(true)
	defer g.asked(false)
	for _, c := range made {
		if c == nil {
			continue
		}
		g.conns = append(g.conns, c)
		err = errors.Join(err, g.pollers[g.next%len(g.pollers)].add(c))
		g.next++
	}
	if err != nil {
		return fmt.Errorf("connect %d clients: %w", n, err)
	}
	if g.p.Hello == "" {
		return nil
	}
	return g.acknowledged(ctx, made, 1)
}

// Subscribe subscribes every client to the channel and waits for the answers.
func (g *Group) Subscribe(ctx context.Context, channel string, id int) error {
	message := g.p.Subscribe(channel, id)
	g.asked(true)
	defer g.asked(false)
	for i, c := range g.conns {
		if err := c.send(g.p, message); err != nil {
			return fmt.Errorf("subscribe client %d: %w", i, err)
		}
	}
	return g.acknowledged(ctx, g.conns, 1)
}

// acknowledged waits until each connection has n acknowledgements, and takes them.
func (g *Group) acknowledged(ctx context.Context, conns []*conn, n int64) error {
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i, c := range conns {
		for c.acks.Load() < n {
			if c.closed.Load() {
				return fmt.Errorf("client %d was closed (code %d) before its request was answered", i, g.code())
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for the answer to client %d: %w", i, ctx.Err())
			case <-tick.C:
			}
		}
		c.acks.Add(-n)
	}
	return nil
}

func (g *Group) asked(now bool) {
	for _, l := range g.pollers {
		l.asked.Store(now)
	}
}

func (g *Group) code() int64 {
	code := int64(0)
	for _, l := range g.pollers {
		code = max(code, l.code.Load())
	}
	return code
}

// Counts is what the clients received since they connected.
type Counts struct {
	Least, All    uint64 // messages: of the slowest client, of all together
	Frames, Bytes uint64
	Lost          uint64 // connections that the server closed
	Code          int64  // with which code the last time
}

// Counts reads the counts.
func (g *Group) Counts() Counts {
	r := Counts{Least: math.MaxUint64, Code: g.code()}
	for _, c := range g.conns {
		n := c.count.Load()
		r.Least = min(r.Least, n)
		r.All += n
	}
	for _, l := range g.pollers {
		r.Frames += l.frames.Load()
		r.Bytes += l.bytes.Load()
		r.Lost += l.lost.Load()
	}
	return r
}

// Measure begins to take latencies; what was taken before is forgotten.
func (g *Group) Measure() {
	for _, l := range g.pollers {
		l.mu.Lock()
		l.hist = Histogram{}
		l.measure = true
		l.mu.Unlock()
	}
}

// Measured ends that and returns them.
func (g *Group) Measured() *Histogram {
	all := &Histogram{}
	for _, l := range g.pollers {
		l.mu.Lock()
		l.measure = false
		all.Add(&l.hist)
		l.mu.Unlock()
	}
	return all
}

// Stuck is a client that subscribes and reads nothing, with a small buffer of the kernel's so that the server soon feels it.
type Stuck struct{ c *conn }

// Stick connects such a client and subscribes it to the channels.
func (g *Group) Stick(channels ...string) (*Stuck, error) {
	c, err := connect(g.addr, g.p, 4<<10)
	if err != nil {
		return nil, fmt.Errorf("connect the stuck client: %w", err)
	}
	for id, channel := range channels {
		if err := c.send(g.p, g.p.Subscribe(channel, id)); err != nil {
			_ = unix.Close(c.fd)
			return nil, fmt.Errorf("subscribe the stuck client: %w", err)
		}
	}
	return &Stuck{c: c}, nil
}

// Close ends it.
func (s *Stuck) Close() { _ = unix.Close(s.c.fd) }
