package bus_test

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// muteProxy forwards connections until they are made mute: then it takes what is sent and passes nothing on, and neither side is told.
type muteProxy struct {
	net.Listener
	mu    sync.Mutex
	mute  chan struct{}
	conns []net.Conn
	wg    sync.WaitGroup
}

func newMuteProxy(t *testing.T, to string) *muteProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &muteProxy{Listener: l, mute: make(chan struct{})}
	p.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			mute := p.mute
			p.mu.Unlock()
			p.wg.Go(func() { pass(in, out, mute) })
			p.wg.Go(func() { pass(out, in, mute) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func pass(from, to net.Conn, mute chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			select {
			case <-mute:
			default:
				_ = to.Close()
			}
			return
		}
		select {
		case <-mute:
			_, _ = io.Copy(io.Discard, from)
			return
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// silence makes the connections of now mute; new ones work.
func (p *muteProxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.mute)
	p.mute = make(chan struct{})
}

// TestMuteConnection: a connection over which nothing comes any more, and which nobody has ended, held publishers up for six minutes.
func TestMuteConnection(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for pings that are not answered, some ten seconds")
	}
	srv, _ := bustest.Start(t)
	p := newMuteProxy(t, strings.TrimPrefix(srv.URL(), "nats://"))
	cfg := bus.DefaultConfig()
	cfg.URL = "nats://" + p.Addr().String()
	b, err := bus.Connect(cfg, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Info(t.Context(), market.Trades); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.silence()
	for {
		if _, err = b.Info(t.Context(), market.Trades); err == nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("still mute: %v", err)
		}
	}
}
