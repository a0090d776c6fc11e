package conform

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

func contains(s, sub string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(sub)) }

// connectsAndStops: states in order, data, nothing refused, an end within five seconds that leaves no goroutine.
func connectsAndStops(t *testing.T, a Adapter) {
	leak := goleak.IgnoreCurrent()
	t.Run("run", func(t *testing.T) {
		r := live(t, a)
		r.flows("going on")
		if n := r.letters(r.mem.Events()); n > 0 {
			t.Errorf("%d dead letters of a sound upstream%s", n, r.story())
		}
		if took := r.end(); took > 5*time.Second {
			t.Errorf("the service took %s to end", took)
		}
		if r.err != nil {
			t.Errorf("the service ended with %v", r.err)
		}
		evs := r.mem.Events()
		if r.states(evs, market.FeedConnected) != 1 || r.states(evs, market.FeedStopped) != 1 {
			t.Errorf("connected and stopped are not told once%s", r.story())
		}
		r.once()
	})
	if err := goleak.Find(leak); err != nil {
		t.Errorf("the service left goroutines: %v", err)
	}
}

func badKey(t *testing.T, a Adapter) {
	if a.BadKey == "" {
		t.Log("does not apply: " + "the upstream needs no key")
		return
	}
	r := fresh(t, a)
	r.at.BadKey = true
	r.run(nil)
	r.refused(a.BadKey)
}

// slowSink blocks the sink for a while: the adapter must wait, not gather, and lose nothing.
func slowSink(t *testing.T, a Adapter) {
	r := fresh(t, a)
	g := &gate{Memory: r.mem}
	r.run(g)
	r.flows("at the start")
	from := time.Now()
	heap := heapInUse()
	g.shut()
	during(1500 * time.Millisecond)
	if grown := int64(heapInUse()) - int64(heap); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB while the sink took nothing", grown>>20)
	}
	g.open()
	r.flows("after the sink opened")
	r.flows("after the sink opened")
	r.isTrue(from)
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// gate is a sink that can be shut.
type gate struct {
	*feedtest.Memory
	mu sync.Mutex
	ch chan struct{} // nil: open
}

func (g *gate) shut() {
	g.mu.Lock()
	g.ch = make(chan struct{})
	g.mu.Unlock()
}

func (g *gate) open() {
	g.mu.Lock()
	close(g.ch)
	g.ch = nil
	g.mu.Unlock()
}

// Publish implements feed.Sink.
func (g *gate) Publish(ctx context.Context, ev market.Event) error {
	g.mu.Lock()
	ch := g.ch
	g.mu.Unlock()
	if ch != nil {
		select {
		case <-ch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return g.Memory.Publish(ctx, ev)
}

// historyFaults: the history that a hole is filled from fails in every way, and the hole is filled in the end.
func historyFaults(t *testing.T, a Adapter) {
	if !a.Fills {
		t.Log("does not apply: " + "the upstream has no history")
		return
	}
	for _, o := range []control.Order{
		{Fault: control.Status, Status: 500, Times: 2}, {Fault: control.HTML}, {Fault: control.ErrorBody}, {Fault: control.Truncate},
		{Fault: control.Status, Status: 429, Header: map[string]string{"Retry-After": "1"}},
	} {
		name := o.Fault
		if o.Status != 0 {
			name += " " + o.HTTPStatus()
		}
		t.Run(name, func(t *testing.T) {
			r := live(t, a)
			n, before := r.states(r.mem.Events(), market.FeedConnected), r.mem.Len()
			from := time.Now()
			asked := len(r.up.Target.Seen().Requests)
			r.order(o)
			r.order(control.Order{Fault: control.Drop})
			r.comesAgain(n)
			r.settled(before, string(market.FeedLost), string(market.FeedStale)) // either is filled from the history
			if at := r.up.Target.Seen().Requests[asked:]; o.Status == 429 && len(at) > 1 && at[1].Sub(at[0]) < time.Second {
				t.Errorf("the history was asked again %s after a 429 that asked for 1 s", at[1].Sub(at[0]))
			}
			r.isTrue(from)
		})
	}
}

// pageFault: pages without end are read up to a bound, the error is named, and the live feed goes on.
func pageFault(fault string) func(t *testing.T, a Adapter) {
	return func(t *testing.T, a Adapter) {
		if !a.Pages {
			t.Log("does not apply: " + "the history has no pages")
			return
		}
		a.ready = readyPages
		r := live(t, a)
		n := r.states(r.mem.Events(), market.FeedConnected)
		asked := len(r.up.Target.Seen().Requests)
		logged := r.log.len()
		r.order(control.Order{Fault: fault})
		r.order(control.Order{Fault: control.Drop})
		r.comesAgain(n)
		r.eventually("a word on the pages", func() bool {
			if got := len(r.up.Target.Seen().Requests) - asked; got > a.PagesAtMost {
				t.Fatalf("%d pages were read of an answer without end", got)
			}
			return r.says(logged, "page")
		})
		r.flows("beside the pages")
		r.clear(fault)
		r.once()
	}
}

// expiredCertificate: named, retried with back-off, no crash.
func expiredCertificate(t *testing.T, a Adapter) {
	r := fresh(t, a)
	srv := httptest.NewUnstartedServer(r.up.Handler)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{expired(t)}}
	accepted := &counted{Listener: srv.Listener}
	srv.Listener = accepted
	srv.StartTLS()
	t.Cleanup(srv.Close)
	r.at = Endpoint{HTTP: srv.URL, WS: "wss" + strings.TrimPrefix(srv.URL, "https"), Sim: r.up.Sim}
	r.run(nil)
	r.eventually("a word on the certificate", func() bool { return r.says(0, "certificate") && r.says(0, "expired") })
	during(time.Second)
	select {
	case <-r.done:
		t.Fatalf("the service ended over an expired certificate: %v", r.err)
	default:
	}
	if n := accepted.count(); n < 2 || n > 60 {
		t.Errorf("%d connections in a second and a bit: no back-off, or no retry", n)
	}
	if r.data(r.mem.Events()) > 0 {
		t.Error("data were taken over an expired certificate")
	}
	if took := r.end(); took > 5*time.Second {
		t.Errorf("the service took %s to end", took)
	}
}

type counted struct {
	net.Listener
	mu sync.Mutex
	n  int
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return conn, err
}

func (c *counted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func expired(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// restart: a second run over the same history publishes nothing twice and misses nothing.
func restart(t *testing.T, a Adapter) {
	r := live(t, a)
	r.flows("before the restart")
	from := time.Now()
	r.flows("before the restart")
	r.end()
	if r.err != nil {
		t.Errorf("the first run ended with %v", r.err)
	}
	r.run(nil)
	r.flows("after the restart")
	r.flows("after the restart")
	r.isTrue(from)
}
