package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// proxy stands before the engine and does what networks do.
type proxy struct {
	ln     net.Listener
	target string
	deaf   atomic.Bool // requests go through, answers do not
	closed atomic.Bool // who comes is turned away
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func startProxy(ctx context.Context, target string) (*proxy, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &proxy{ln: ln, target: target, conns: map[net.Conn]struct{}{}}
	p.wg.Go(func() { p.accept(ctx) })
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) accept(ctx context.Context) {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		if p.closed.Load() {
			refuse(client)
			continue
		}
		up, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.target)
		if err != nil {
			refuse(client)
			continue
		}
		// A dial to a port where nobody listens can find itself, and would then hold the port that the engine wants again.
		if up.LocalAddr().String() == up.RemoteAddr().String() {
			refuse(up)
			refuse(client)
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[up] = struct{}{}, struct{}{}
		p.mu.Unlock()
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(up, client); _ = up.Close() })
		both.Go(func() { p.answers(client, up); _ = client.Close() })
		p.wg.Go(func() {
			both.Wait()
			p.mu.Lock()
			delete(p.conns, client)
			delete(p.conns, up)
			p.mu.Unlock()
		})
	}
}

// refuse ends a connection with a reset, which is what a port without a listener says.
func refuse(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func (p *proxy) answers(client, up net.Conn) {
	buf := make([]byte, 64<<10)
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

// cut resets every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		refuse(c)
	}
}

// refuse turns everybody away from now on, or no more.
func (p *proxy) refuse(on bool) {
	p.closed.Store(on)
	if on {
		p.cut()
	}
}

// lose swallows the answers from now on; ended, it resets the connections, so that nobody takes a later answer for the one that was lost.
func (p *proxy) lose(on bool) {
	if !on {
		p.cut()
	}
	p.deaf.Store(on)
}

func (p *proxy) close() {
	_ = p.ln.Close()
	p.cut()
	p.wg.Wait()
}
