package bus_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// standby holds a lease in the background and tells when it began.
func standby(t *testing.T, l *bus.Lease, fn func(context.Context) error) (began chan time.Time, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	began = make(chan time.Time, 16)
	done := make(chan error, 1)
	go func() {
		done <- l.Hold(ctx, func(ctx context.Context) error {
			began <- time.Now()
			return fn(ctx)
		})
	}()
	var stopped atomic.Bool
	stop = func() error {
		if !stopped.CompareAndSwap(false, true) {
			return nil
		}
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(60 * time.Second):
			t.Fatal("Hold does not end")
			return nil
		}
	}
	t.Cleanup(func() { _ = stop() })
	return began, stop
}

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func within(t *testing.T, what string, began chan time.Time, d time.Duration) time.Time {
	t.Helper()
	select {
	case at := <-began:
		return at
	case <-time.After(d):
		t.Fatalf("%s did not happen within %s", what, d)
		return time.Time{}
	}
}

func TestLeaseIsHandedOverAtACleanStop(t *testing.T) {
	srv, b := start(t)
	other := connect(t, bus.DefaultConfig(), srv)
	first, stop := standby(t, b.Lease("alpaca", "one", 0), untilDone)
	within(t, "the first taking", first, time.Second)
	l := other.Lease("alpaca", "two", 0)
	second, stopSecond := standby(t, l, untilDone)
	select {
	case <-second:
		t.Fatal("two hold the lease")
	case <-time.After(4 * time.Second): // longer than the TTL: the first renews
	}
	if l.Valid() || l.Gate()() == nil {
		t.Error("a standby's lease is valid")
	}
	holders, err := b.Holders(t.Context())
	if err != nil || len(holders) != 1 || holders[0].Lease != "alpaca" || holders[0].Holder != "one" || !holders[0].Held || holders[0].TTL != bus.DefaultLeaseTTL ||
		time.Since(holders[0].Renewed) > 2*time.Second {
		t.Errorf("holders %+v, %v", holders, err)
	}
	at := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if took := within(t, "the taking over", second, 5*time.Second).Sub(at); took > time.Second {
		t.Errorf("taken over %s after a clean stop", took)
	}
	if !l.Valid() {
		t.Error("the new holder's lease is not valid")
	}
	if err := stopSecond(); err != nil {
		t.Fatal(err)
	}
	if l.Valid() {
		t.Error("a released lease is valid")
	}
}

// The holder's connection is gone: it stops by itself before the standby begins.
func TestLeaseIsTakenOverWhenTheConnectionIsGone(t *testing.T) {
	srv, b := start(t)
	holder, err := bus.Connect(bus.DefaultConfig(), srv, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	ended := make(chan time.Time, 1)
	first, stop := standby(t, holder.Lease("alpaca", "one", 0), func(ctx context.Context) error {
		<-ctx.Done()
		if err := context.Cause(ctx); !errors.Is(err, bus.ErrLeaseLost) {
			t.Errorf("the context of a lost lease ends with %v", err)
		}
		ended <- time.Now()
		return nil
	})
	within(t, "the first taking", first, time.Second)
	second, _ := standby(t, b.Lease("alpaca", "two", 0), untilDone)
	time.Sleep(time.Second) // some renewals
	at := time.Now()
	holder.Close()
	left := within(t, "the holder's end", ended, 5*time.Second)
	took := within(t, "the taking over", second, 5*time.Second)
	if !left.Before(took) {
		t.Errorf("the holder stopped %s after the standby began", left.Sub(took))
	}
	t.Logf("the holder stopped after %s, the standby began after %s", left.Sub(at), took.Sub(at))
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestLeaseEndsWithItsWork(t *testing.T) {
	_, b := start(t)
	want := errors.New("bad key")
	l := b.Lease("vast", "one", 0)
	if err := l.Hold(t.Context(), func(context.Context) error { return want }); !errors.Is(err, want) {
		t.Errorf("Hold ends with %v", err)
	}
	// Released: the next one need not wait.
	begin := time.Now()
	if err := b.Lease("vast", "two", 0).Hold(t.Context(), func(context.Context) error { return nil }); err != nil || time.Since(begin) > time.Second {
		t.Errorf("the next holder: %v after %s", err, time.Since(begin))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.Hold(ctx, untilDone); err != nil {
		t.Errorf("Hold ends with %v when its context does", err)
	}
}

func TestGateShutsAPublisherForEver(t *testing.T) {
	_, b := start(t)
	var shut atomic.Bool
	no := errors.New("no longer ours")
	p := b.NewPublisher(bus.PublisherConfig{Gate: func() error {
		if shut.Load() {
			return no
		}
		return nil
	}})
	if err := errors.Join(p.Publish(t.Context(), trade("IREN", 1)), p.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	shut.Store(true)
	if err := p.Publish(t.Context(), trade("IREN", 2)); err != nil {
		t.Fatal(err)
	}
	if err := p.Flush(t.Context()); !errors.Is(err, no) {
		t.Errorf("flush of what the gate refused: %v", err)
	}
	shut.Store(false)
	if err := p.Publish(t.Context(), trade("IREN", 3)); !errors.Is(err, no) {
		t.Errorf("publish after the gate refused once: %v", err)
	}
	_ = p.Close(t.Context())
	n := 0
	err := b.Replay(t.Context(), market.Trades, "test", time.Time{}, func(market.Event, market.Place) error { n++; return nil })
	if err != nil || n != 1 {
		t.Errorf("%d events were stored, %v; want the one before the gate shut", n, err)
	}
}
