package store_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// deafProxy stands between a client and the server and can be told to keep the server's answers from the client.
type deafProxy struct {
	ln     net.Listener
	server string
	deaf   atomic.Bool
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func newDeafProxy(t testing.TB, server string) *deafProxy {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &deafProxy{ln: ln, server: server}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *deafProxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, up)
		p.mu.Unlock()
		p.wg.Go(func() { _, _ = io.Copy(up, client); _ = up.Close() })
		p.wg.Go(func() { p.answers(client, up); _ = client.Close() })
	}
}

func (p *deafProxy) answers(client, up net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := up.Read(buf)
		if err != nil {
			return
		}
		if p.deaf.Load() {
			continue
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

// cut ends every connection.
func (p *deafProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// The server stores the block, and its answer never arrives: the client cannot know, inserts again, and nothing is doubled.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	direct, srv := storetest.StartServer(t)
	proxy := newDeafProxy(t, srv.NativeAddr())
	cfg := storetest.Config(srv)
	cfg.Addr = []string{proxy.ln.Addr().String()}
	st, err := store.Open(context.Background(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	b := trades(t, 100)
	var result error
	var wg sync.WaitGroup
	prepared := make(chan struct{})
	wg.Go(func() {
		result = st.InsertPaused(ctx, b, "x", func() {
			proxy.deaf.Store(true) // from the moment on when the block is sent
			close(prepared)
		})
	})
	<-prepared
	retry(ctx, t, func() error { // until the block is stored
		n, err := direct.MaxSeq(ctx, "TRADES")
		if err == nil && n == 0 {
			return io.EOF
		}
		return err
	})
	proxy.cut()
	wg.Wait()
	if result == nil || !store.IsTransient(result) {
		t.Fatalf("insert without an answer: %v, want a transient error", result)
	}
	proxy.deaf.Store(false)
	retry(ctx, t, func() error { return st.Insert(ctx, b, "x") })
	wantCounts(t, direct, 100, 0)
}
