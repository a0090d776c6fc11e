package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hashpivot/hashpivot/bench/child"
)

// serveNATS serves core NATS over nats-server's websocket listener, without TLS and compression; the publisher is a client in the same process.
func serveNATS() error {
	opts := &server.Options{
		ServerName: "bench", DontListen: true, NoSigs: true, NoLog: true,
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoTLS: true},
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		return errors.New("start the server: not ready in 10 s")
	}
	web, err := url.Parse(srv.WebsocketURL())
	if err != nil {
		return fmt.Errorf("read the server's address: %w", err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return fmt.Errorf("connect the publisher: %w", err)
	}
	var seq atomic.Uint64
	publish := func(ctx context.Context, flood bool, stamp time.Time, n int) (int, error) {
		subject := child.Common
		if flood {
			subject = child.Flood
		}
		for i := range n {
			if ctx.Err() != nil {
				return i, nil
			}
			if err := nc.Publish(subject, child.AppendMessage(nil, stamp, seq.Add(1))); err != nil {
				return i, err
			}
		}
		return n, nc.Flush()
	}
	return child.Main(web.Host, publish, func() error {
		nc.Close()
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil
	})
}
