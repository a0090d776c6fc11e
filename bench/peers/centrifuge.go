package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/hashpivot/hashpivot/bench/child"
)

// serveCentrifuge serves a node with the memory broker, JSON protocol. What differs from its defaults is what its documentation advises: no bound on
// the messages of a frame, pooled write buffers, small read buffers, commands off the read loop, no compression. With a delay messages wait for each
// other so long before they are written together, by its timers.
func serveCentrifuge(delay time.Duration) error {
	node, err := centrifuge.New(centrifuge.Config{LogLevel: centrifuge.LogLevelNone})
	if err != nil {
		return fmt.Errorf("make the node: %w", err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}, MaxMessagesInFrame: -1, WriteDelay: delay, WriteWithTimer: delay > 0}, nil
	})
	node.OnConnect(func(c *centrifuge.Client) {
		c.OnSubscribe(func(_ centrifuge.SubscribeEvent, answer centrifuge.SubscribeCallback) {
			answer(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		return fmt.Errorf("run the node: %w", err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize: 512, UseWriteBufferPool: true, ProcessCommandsOffReadLoop: true,
		PingPongConfig: centrifuge.PingPongConfig{PongTimeout: -1}, // the clients do not look for pings among messages
	}))
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- web.Serve(listener) }()
	var seq atomic.Uint64
	publish := func(ctx context.Context, flood bool, stamp time.Time, n int) (int, error) {
		channel := child.Common
		if flood {
			channel = child.Flood
		}
		for i := range n {
			if ctx.Err() != nil {
				return i, nil
			}
			if _, err := node.Publish(channel, child.AppendMessage(nil, stamp, seq.Add(1))); err != nil {
				return i, err
			}
		}
		return n, nil
	}
	return child.Main(listener.Addr().String(), publish, func() error {
		ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
		defer stop()
		err := errors.Join(node.Shutdown(ctx), web.Shutdown(ctx))
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
}
