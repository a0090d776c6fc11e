package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// TestStoppedWhileStarting: a service that is told to end while it waits for NATS ends with success, as one that runs does. It ended with 1, which a supervisor takes for a crash.
func TestStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats-server is not ready")
	}
	nc, err := nats.Connect(ns.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	asked := make(chan struct{}, 1)
	// A JetStream that takes requests and does not answer.
	if _, err := nc.Subscribe("$JS.API.>", func(*nats.Msg) {
		select {
		case asked <- struct{}{}:
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	env := []string{"HASHPIVOT_NATS__URL=" + ns.ClientURL(), "HASHPIVOT_CLICKHOUSE__ADDR=127.0.0.1:1", "HASHPIVOT_ADMIN__ADDR=127.0.0.1:0"}
	for _, name := range []string{"hashprice", "signals"} {
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		done := make(chan int, 1)
		go func() { done <- execute(ctx, []string{name}, env, &out, &out) }()
		select {
		case <-asked:
		case code := <-done:
			t.Fatalf("%s ended with %d before it asked: %s", name, code, out.String())
		}
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("%s: code %d, %s", name, code, out.String())
		}
	}
}
