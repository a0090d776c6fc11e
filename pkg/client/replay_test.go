package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpivot/hashpivot/pkg/client"
	"github.com/hashpivot/hashpivot/pkg/live"
	livev1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/live/v1"
)

const replayName = "replay/1"

func (p *peer) acceptReplay(q live.Request) {
	p.send(live.Ack{Type: live.FrameAck, ID: q.ID, Op: q.Op, Sub: replayName})
}

var day = client.ReplaySpec{
	Specs: []live.Spec{{Channel: live.Trades, Symbols: []string{"CORZ"}}}, Start: time.Unix(0, 0), End: time.Unix(1000, 0), Speed: 10,
}

func (p *peer) replay(c *client.Client, spec client.ReplaySpec) *client.Replay {
	p.t.Helper()
	type result struct {
		r   *client.Replay
		err error
	}
	done := make(chan result)
	go func() {
		r, err := c.Replay(p.t.Context(), spec)
		done <- result{r, err}
	}()
	p.acceptReplay(p.ask(live.OpReplay))
	got := <-done
	if got.err != nil {
		p.t.Fatal(got.err)
	}
	return got.r
}

// order has a control acknowledged.
func (p *peer) order(do func(context.Context) error) live.Request {
	p.t.Helper()
	done := make(chan error)
	go func() { done <- do(p.t.Context()) }()
	q := p.ask(live.OpControl)
	p.send(live.Ack{Type: live.FrameAck, ID: q.ID, Op: q.Op, Sub: q.Sub})
	if err := <-done; err != nil {
		p.t.Error(err)
	}
	return q
}

// A replay whose connection is lost goes on at the very message, though several share its time.
func TestReplayGoesOn(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		r := p.replay(c, day)
		at := func(seq uint64, ns int64) *livev1.Message {
			m := trade(seq)
			m.GetTrades().Trades[0].Meta.EventTimeNs = ns
			return m
		}
		// By event time sequences need not rise.
		p.frame(&livev1.DataFrame{Sub: replayName, Messages: []*livev1.Message{at(9, 5e9), at(3, 6e9), at(8, 6e9)}})
		equal(t, take(t, r.Subscription, 3), []uint64{9, 3, 8})
		p.close(live.CloseSlow)
		p = g.next()
		q := p.ask(live.OpReplay)
		equal(t, q.Start.UnixNano(), int64(6e9))
		equal(t, *q.Speed, 10.0)
		p.acceptReplay(q)
		p.frame(&livev1.DataFrame{Sub: replayName, Messages: []*livev1.Message{at(3, 6e9), at(8, 6e9), at(10, 6e9), at(1, 7e9)}})
		p.send(live.Replay{Type: live.FrameReplay, Sub: replayName, State: "running"})
		p.send(live.Replay{Type: live.FrameReplay, Sub: replayName, State: "ended"})
		equal(t, take(t, r.Subscription, 2), []uint64{10, 1})
		if err := failure(t, r.Subscription); err != nil { // it just ends
			t.Error(err)
		}
		if err := r.Pause(t.Context()); err == nil {
			t.Error("a replay that has ended can be paused")
		}
	})
}

func TestReplayControls(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		r := p.replay(c, day)
		p.data(replayName, 5, 6)
		synctest.Wait()
		equal(t, p.order(func(ctx context.Context) error { return r.Seek(ctx, time.Unix(500, 0)) }).Start.Unix(), int64(500))
		p.data(replayName, 500)
		equal(t, take(t, r.Subscription, 1), []uint64{500}) // what waited was of before
		equal(t, p.order(r.Pause).Action, live.ActionPause)
		equal(t, *p.order(func(ctx context.Context) error { return r.SetSpeed(ctx, 0) }).Speed, 0.0)

		// One that is paused begins again when it is resumed, as it was left.
		p.close(live.CloseSlow)
		p = g.next()
		synctest.Wait()
		equal(t, len(p.requests), 0)
		if err := r.Resume(t.Context()); err != nil {
			t.Error(err)
		}
		q := p.ask(live.OpReplay)
		equal(t, q.Start.Unix(), int64(500))
		equal(t, *q.Speed, 0.0)
		p.acceptReplay(q)
		p.data(replayName, 500, 501)
		equal(t, take(t, r.Subscription, 1), []uint64{501})

		// The gateway knows nothing of before 500 now: a seek to there is another replay.
		done := make(chan error)
		go func() { done <- r.Seek(t.Context(), time.Unix(100, 0)) }()
		q = p.ask(live.OpControl)
		equal(t, q.Action, live.ActionStop)
		p.send(live.Ack{Type: live.FrameAck, ID: q.ID, Op: q.Op, Sub: q.Sub})
		equal(t, <-done, error(nil))
		p.data(replayName, 502) // was on its way
		q = p.ask(live.OpReplay)
		equal(t, q.Start.Unix(), int64(100))
		p.send(live.Ack{Type: live.FrameAck, ID: q.ID, Op: q.Op, Sub: "replay/2"})
		p.data("replay/2", 100)
		equal(t, take(t, r.Subscription, 1), []uint64{100})

		// A refusal changes nothing.
		go func() { done <- r.Seek(t.Context(), time.Unix(5000, 0)) }()
		p.data("replay/2", 101)
		p.refuse(p.ask(live.OpControl), live.CodeBadRequest)
		var refusal *live.Error
		if err := <-done; !errors.As(err, &refusal) {
			t.Errorf("%v", err)
		}
		equal(t, take(t, r.Subscription, 1), []uint64{101})
		r.Close()
		equal(t, p.ask(live.OpControl).Action, live.ActionStop)
	})
}

// A loop over a replay may steer it, even while so much waits that the socket is not read.
func TestReplaySteeredByItsReader(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{Buffer: 2})
		r := p.replay(c, day)
		go func() {
			for seq := uint64(1); seq <= 100; seq++ {
				p.data(replayName, seq)
			}
			q := p.ask(live.OpControl)
			p.send(live.Ack{Type: live.FrameAck, ID: q.ID, Op: q.Op, Sub: q.Sub})
			p.data(replayName, 900)
		}()
		var seqs []uint64
		for m, err := range r.Messages(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if seqs = append(seqs, m.Place.Seq); len(seqs) == 2 {
				break
			}
			if err := r.Seek(t.Context(), time.Unix(900, 0)); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, seqs, []uint64{1, 900})
	})
}

// What the gateway cannot read now is asked for again where the replay stands.
func TestReplayUnavailable(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		spec := day
		spec.Clock = live.ClockStream
		r := p.replay(c, spec)
		p.data(replayName, 5)
		p.send(live.ErrorFrame{Type: live.FrameError, Sub: replayName, Error: live.Error{Code: live.CodeUnavailable}})
		q := p.ask(live.OpReplay)
		equal(t, q.Start.Unix(), int64(5))
		p.acceptReplay(q)
		p.data(replayName, 5, 6)
		equal(t, take(t, r.Subscription, 2), []uint64{5, 6})
	})
}
