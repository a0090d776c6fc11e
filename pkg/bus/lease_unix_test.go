//go:build unix

package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// TestLeaseChild is the process that TestFrozenHolderStopsPublishing freezes.
func TestLeaseChild(t *testing.T) {
	url := os.Getenv("LEASE_CHILD_NATS_URL")
	if url == "" {
		return // it is a part of TestFrozenHolderStopsPublishing, which has run it or will
	}
	cfg := bus.DefaultConfig()
	cfg.URL = url
	b, err := bus.Connect(cfg, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l := b.Lease("frozen", "child", 0)
	err = l.Hold(t.Context(), func(ctx context.Context) error {
		p := b.NewPublisher(bus.PublisherConfig{Gate: l.Gate()})
		defer func() { _ = p.Close(context.WithoutCancel(ctx)) }()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			if err := p.Publish(ctx, trade("CHILD", i)); err != nil {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		if !errors.Is(context.Cause(ctx), bus.ErrLeaseLost) {
			<-ctx.Done()
		}
		fmt.Println("lost:", context.Cause(ctx))
		os.Exit(0)
		return nil
	})
	t.Fatal(err)
}

// A holder that is stopped with SIGSTOP and goes on when another holds the lease publishes nothing more.
func TestFrozenHolderStopsPublishing(t *testing.T) {
	srv, b := start(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe, "-test.run=^TestLeaseChild$")
	child.Env = append(os.Environ(), "LEASE_CHILD_NATS_URL="+srv.URL())
	child.Stdout, child.Stderr = t.Output(), t.Output()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	r, err := b.Read(t.Context(), market.Trades, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 20 {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l := b.Lease("frozen", "parent", 0)
	p := b.NewPublisher(bus.PublisherConfig{})
	second, _ := standby(t, l, func(ctx context.Context) error {
		if err := p.Publish(ctx, trade("PARENT", 0)); err != nil {
			return err
		}
		if err := p.Flush(ctx); err != nil {
			return err
		}
		return untilDone(ctx)
	})
	at := time.Now()
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	took := within(t, "the taking over", second, 5*time.Second)
	t.Logf("taken over %s after the holder froze", took.Sub(at))
	for info := (bus.Info{}); info.LastSeq < 1; { // the marker is stored
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		n := 0
		err := b.Replay(ctx, market.Trades, "test", time.Time{}, func(ev market.Event, pl market.Place) error {
			if ev.(*market.Trade).Symbol == "PARENT" {
				n++
				info.LastSeq = pl.Seq
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	parent, last := uint64(0), map[string]uint64{}
	err = b.Replay(t.Context(), market.Trades, "test", time.Time{}, func(ev market.Event, pl market.Place) error {
		tr := ev.(*market.Trade)
		if tr.Symbol == "PARENT" {
			parent = pl.Seq
		}
		last[tr.Symbol+" "+strconv.FormatBool(parent > 0)] = pl.Seq
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if late := last["CHILD true"]; late > 0 {
		t.Errorf("the holder that was frozen published message %d after its follower had begun with %d", late, parent)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
