package client_test

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpivot/hashpivot/pkg/client"
	"github.com/hashpivot/hashpivot/pkg/live"
	secret "github.com/hashpivot/hashpivot/pkg/run"
	livev1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/live/v1"
)

func equal[T any](t *testing.T, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

// What comes again after a connection was made again is not handed out again.
func TestResumeByLastMessage(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		var again []client.Reconnect
		c, p := g.connect(client.Config{OnReconnect: func(r client.Reconnect) { again = append(again, r) }})
		equal(t, c.Welcome().Mode, "sim") // known as soon as connected
		s := p.subscribe(c, trades, "TRADES:10", "e1")
		p.data(s.String(), 11, 12, 12, 11, 13)
		equal(t, take(t, s, 3), []uint64{11, 12, 13})
		p.send(live.Shutdown{Type: live.FrameShutdown, Resume: "token"})
		p.close(live.CloseShutdown)

		p = g.next()
		q := p.ask(live.OpSubscribe)
		equal(t, []string{q.From, q.Epoch}, []string{"TRADES:13:0", "e1"})
		p.accept(q, "TRADES:13:0", "e1")
		p.data(s.String(), 12, 13, 14)
		equal(t, take(t, s, 1), []uint64{14})
		equal(t, s.Dropped(), uint64(4))
		if len(again) != 1 || !strings.Contains(again[0].Cause.Error(), "4000") || again[0].Tries != 1 {
			t.Errorf("reconnects %+v", again)
		}
		cursor, epoch := s.Position()
		equal(t, cursor+" "+epoch, "TRADES:14:0 e1")
	})
}

// A subscription on which nothing comes goes on where the heartbeat said.
func TestResumeByHeartbeat(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		s := p.subscribe(c, trades, "TRADES:10", "e1")
		p.send(live.Heartbeat{Type: live.FrameHeartbeat, Positions: map[string]string{s.String(): "TRADES:40", "quotes/other": "QUOTES:1"}})
		synctest.Wait()
		if cursor, _ := s.Position(); cursor != "TRADES:40" {
			t.Errorf("position %s", cursor)
		}
		p.close(live.CloseSlow)
		p = g.next()
		equal(t, p.ask(live.OpSubscribe).From, "TRADES:40")
		// What was asked before it was answered is asked again, of the next.
		p.close(live.CloseSlow)
		p = g.next()
		p.accept(p.ask(live.OpSubscribe), "TRADES:40", "e1")
		p.data(s.String(), 40, 41)
		equal(t, take(t, s, 1), []uint64{41})
	})
}

// A heartbeat behind messages that nobody has read yet does not move the position past them.
func TestPositionIsWhatWasHandedOut(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		s := p.subscribe(c, trades, "TRADES:10", "e1")
		p.data(s.String(), 11, 12)
		p.send(live.Heartbeat{Type: live.FrameHeartbeat, Positions: map[string]string{s.String(): "TRADES:40"}})
		equal(t, take(t, s, 1), []uint64{11})
		synctest.Wait()
		cursor, _ := s.Position()
		equal(t, cursor, "TRADES:11:0")
	})
}

func TestFromCursor(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		spec := trades
		spec.From, spec.Epoch = "TRADES:7:2", "e1"
		var q live.Request
		go func() {
			q = p.ask(live.OpSubscribe)
			p.refuse(q, live.CodePurged)
		}()
		_, err := c.Subscribe(t.Context(), spec)
		var refusal *live.Error
		if !errors.As(err, &refusal) || refusal.Code != live.CodePurged || q.From != spec.From || q.Epoch != "e1" {
			t.Errorf("%v, %+v", err, q)
		}
		_, err = c.Subscribe(t.Context(), client.Spec{Channel: live.Bars, Symbols: []string{"CORZ"}})
		if !errors.As(err, &refusal) || refusal.Code != live.CodeBadInterval {
			t.Errorf("%v", err)
		}
	})
}

// What the gateway no longer has is told between the messages where it belongs, and never passed over in silence.
func TestGap(t *testing.T) {
	for _, code := range []string{live.CodePurged, live.CodeOtherEpoch, live.CodeBadCursor} {
		t.Run(code, func(t *testing.T) {
			run(t, func(t *testing.T, g *gateway) {
				var gaps []client.Gap
				c, p := g.connect(client.Config{OnGap: func(_ *client.Subscription, gap client.Gap) { gaps = append(gaps, gap) }})
				s := p.subscribe(c, trades, "TRADES:10", "e1")
				p.data(s.String(), 11, 12)
				synctest.Wait()
				p.close(live.CloseSlow)
				p = g.next()
				p.refuse(p.ask(live.OpSubscribe), code)
				q := p.ask(live.OpSubscribe)
				equal(t, q.From+" "+q.Epoch, "live ")
				p.accept(q, "TRADES:5", "e2")
				p.data(s.String(), 6)
				equal(t, take(t, s, 2), []uint64{11, 12})
				equal(t, len(gaps), 0)
				equal(t, take(t, s, 1), []uint64{6})
				equal(t, len(gaps), 1)
				equal(t, gaps[0].From.String()+" "+gaps[0].To.String()+" "+gaps[0].Cause.Code, "TRADES:12:0 TRADES:5 "+code)
			})
		})
		t.Run(code+" untold", func(t *testing.T) {
			run(t, func(t *testing.T, g *gateway) {
				c, p := g.connect(client.Config{})
				s := p.subscribe(c, trades, "TRADES:10", "e1")
				p.close(live.CloseSlow)
				p = g.next()
				p.refuse(p.ask(live.OpSubscribe), code)
				var refusal *live.Error
				if err := failure(t, s); !errors.As(err, &refusal) || refusal.Code != code {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// A gateway that acknowledges another epoch without a word is not believed.
func TestEpochChangedSilently(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		s := p.subscribe(c, trades, "TRADES:10", "e1")
		p.close(live.CloseSlow)
		p = g.next()
		name := p.accept(p.ask(live.OpSubscribe), "TRADES:10", "e2")
		equal(t, p.ask(live.OpUnsubscribe).Sub, name)
		p.data(name, 11)
		if err := failure(t, s); err == nil || !strings.Contains(err.Error(), live.CodeOtherEpoch) {
			t.Errorf("%v", err)
		}
	})
}

// History that cannot be read now is asked for again, while other subscriptions go on.
func TestUnavailableIsAskedAgain(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		s := p.subscribe(c, trades, "TRADES:10", "e1")
		p.data(s.String(), 11)
		p.send(live.ErrorFrame{Type: live.FrameError, Sub: s.String(), Error: live.Error{Code: live.CodeUnavailable}})
		p.data(s.String(), 12) // was on its way, and comes again
		for range 3 {
			q := p.ask(live.OpSubscribe)
			equal(t, q.From, "TRADES:11:0")
			p.refuse(q, live.CodeUnavailable)
		}
		p.accept(p.ask(live.OpSubscribe), "TRADES:11:0", "e1")
		p.data(s.String(), 12, 13)
		equal(t, take(t, s, 3), []uint64{11, 12, 13})
	})
}

func TestMuteGateway(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		s := p.subscribe(c, trades, "TRADES:10", "e1")
		begun := time.Now()
		time.Sleep(65 * time.Second) // of the bubble: its answers to our pings keep the connection
		p.deaf.Store(true)
		p2 := g.next()
		if d := time.Since(begun); d < 80*time.Second || d > 90*time.Second {
			t.Errorf("given up after %s", d)
		}
		equal(t, len(p.pings), 8)
		p2.accept(p2.ask(live.OpSubscribe), "TRADES:10", "e1")
		p2.data(s.String(), 11)
		equal(t, take(t, s, 1), []uint64{11})
	})
}

func TestFatalClose(t *testing.T) {
	for _, code := range []int{live.CloseMalformed, live.CloseUnauthorised, live.CloseTooMany, 1007, 1009} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			run(t, func(t *testing.T, g *gateway) {
				c, p := g.connect(client.Config{})
				s := p.subscribe(c, trades, "TRADES:10", "e1")
				p.data(s.String(), 11)
				p.send(live.ErrorFrame{Type: live.FrameError, Error: live.Error{Code: live.CodeForbidden, Message: "not you"}})
				p.close(code)
				<-c.Done()
				equal(t, take(t, s, 1), []uint64{11})
				if err := failure(t, s); err == nil || !strings.Contains(err.Error(), "not you") || !errors.Is(c.Err(), err) {
					t.Errorf("%v", err)
				}
				if _, err := c.Subscribe(t.Context(), trades); err == nil {
					t.Error("a client that has ended subscribes")
				}
			})
		})
	}
}

func TestExpiredTokenIsRenewed(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		g.token = "first"
		var asked atomic.Int32
		c, p := g.connect(client.Config{TokenFunc: func(context.Context) (secret.Secret, error) {
			return []secret.Secret{"first", "second", "first"}[asked.Add(1)-1], nil
		}})
		synctest.Wait()
		g.token = "second"
		p.close(live.CloseExpired)
		p = g.next()
		synctest.Wait()
		// One that is refused is not tried again.
		p.close(live.CloseExpired)
		<-c.Done()
		equal(t, asked.Load(), int32(3))
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), live.CodeUnauthorised) || strings.Contains(err.Error(), "first") {
			t.Errorf("%v", err)
		}
	})
}

func TestExpiredTokenWithoutNext(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		g.token = "first"
		c, p := g.connect(client.Config{Token: "first"})
		synctest.Wait()
		p.close(live.CloseExpired)
		<-c.Done()
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), "TokenFunc") {
			t.Errorf("%v", err)
		}
	})
}

// A snapshot comes whole, in any order and in several frames; what follows begins behind it.
func TestSnapshot(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		begun := 0
		c, p := g.connect(client.Config{OnSnapshot: func(*client.Subscription) { begun++ }})
		spec := trades
		spec.From = "snapshot"
		s := p.subscribe(c, spec, "TRADES:20", "e1")
		p.send(live.Heartbeat{Type: live.FrameHeartbeat, Positions: map[string]string{s.String(): "TRADES:20"}})
		for _, seqs := range [][]uint64{{7, 3}, {19, 5}} {
			f := &livev1.DataFrame{Sub: s.String(), Snapshot: true, Position: "TRADES:20"}
			for _, seq := range seqs {
				f.Messages = append(f.Messages, trade(seq))
			}
			p.frame(f)
		}
		p.data(s.String(), 19, 20, 21)
		for m, err := range s.Messages(t.Context()) {
			if err != nil || m.Snapshot != (m.Place.Seq < 20) {
				t.Errorf("%s: snapshot %t, %v", m.Cursor(), m.Snapshot, err)
			}
			if m.Place.Seq == 21 {
				break
			}
		}
		equal(t, begun, 1)
		// One that nobody asked for tells all that there is, what was handed out before too; it may be nothing.
		p.frame(&livev1.DataFrame{Sub: s.String(), Snapshot: true, Position: "TRADES:30", Messages: []*livev1.Message{trade(20), trade(24)}})
		p.data(s.String(), 30, 31)
		p.frame(&livev1.DataFrame{Sub: s.String(), Snapshot: true, Position: "TRADES:40"})
		p.data(s.String(), 39, 41)
		equal(t, take(t, s, 4), []uint64{20, 24, 31, 41})
		equal(t, begun, 3)
		p.close(live.CloseSlow)
		equal(t, g.next().ask(live.OpSubscribe).From, "TRADES:41:0")
	})
}

func TestClientSnapshot(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		for _, n := range []int{2, 0} {
			go func() {
				q := p.ask(live.OpSubscribe)
				f := &livev1.DataFrame{Sub: p.accept(q, "TRADES:20", "e1"), Snapshot: true, Position: "TRADES:20"}
				for i := range n {
					f.Messages = append(f.Messages, trade(uint64(i+1)))
				}
				p.frame(f)
			}()
			all, err := c.Snapshot(t.Context(), trades)
			if err != nil || len(all) != n {
				t.Errorf("%d messages, %v", len(all), err)
			}
			p.ask(live.OpUnsubscribe)
		}
	})
}

// What was skipped is told where it belongs.
func TestSkipped(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		var told []string
		c, p := g.connect(client.Config{OnSkipped: func(_ *client.Subscription, all []live.Skipped) {
			for _, s := range all {
				told = append(told, s.From+" to "+s.To)
			}
		}, OnLive: func(_ *client.Subscription, at live.Cursor) { told = append(told, "live at "+at.String()) }})
		s := p.subscribe(c, trades, "TRADES:10", "e1")
		p.data(s.String(), 11)
		p.send(live.Live{Type: live.FrameLive, Sub: s.String(), Position: "TRADES:12"})
		p.frame(&livev1.DataFrame{
			Sub: s.String(), Messages: []*livev1.Message{trade(16)}, Skipped: []*livev1.Skipped{{Symbol: "CORZ", Count: 2, From: "TRADES:13:0", To: "TRADES:15:0"}},
		})
		p.send(live.Slow{Type: live.FrameSlow, Sub: s.String()})
		p.send(live.SkippedFrame{Type: live.FrameSkipped, Sub: s.String(), Skipped: []live.Skipped{{Count: 9, From: "TRADES:17:0", To: "TRADES:29:0"}}})
		p.data(s.String(), 28) // the last value of a symbol that was skipped
		equal(t, take(t, s, 1), []uint64{11})
		equal(t, len(told), 0)
		equal(t, take(t, s, 1), []uint64{16})
		equal(t, told, []string{"live at TRADES:12", "TRADES:13:0 to TRADES:15:0"})
		equal(t, take(t, s, 1), []uint64{28})
		equal(t, told[2:], []string{"TRADES:17:0 to TRADES:29:0"})
	})
}

// Who does not read holds up the socket, not the memory.
func TestBackPressure(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{Buffer: 10})
		s := p.subscribe(c, trades, "TRADES:0", "e1")
		p.deaf.Store(true) // its answer would wait behind the data
		var sent atomic.Uint64
		go func() {
			for seq := uint64(1); seq <= 1000; seq++ {
				p.data(s.String(), seq)
				sent.Store(seq)
			}
		}()
		synctest.Wait()
		if n := sent.Load(); n < 11 || n > 100 { // a frame or two, and what the reader's own buffer holds
			t.Fatalf("%d messages were taken", n)
		}
		time.Sleep(5 * time.Minute) // of the bubble: not reading is no reason to give up the gateway
		// A request made by who ought to read is answered all the same.
		asked := make(chan error)
		go func() {
			_, err := c.Subscribe(t.Context(), client.Spec{Channel: live.Quotes, Symbols: []string{"CORZ"}})
			asked <- err
		}()
		p.accept(p.ask(live.OpSubscribe), "QUOTES:1", "q1")
		if err := <-asked; err != nil {
			t.Error(err)
		}
		var want []uint64
		for seq := range uint64(1000) {
			want = append(want, seq+1)
		}
		equal(t, take(t, s, 1000), want)
	})
}

// Whoever breaks the protocol is left, with a back-off that grows.
func TestNonsense(t *testing.T) {
	for name, do := range map[string]func(p *peer, sub string){
		"no JSON":      func(p *peer, _ string) { p.write(1, []byte("{")) },
		"no protobuf":  func(p *peer, _ string) { p.write(2, []byte{1}) },
		"unknown sub":  func(p *peer, _ string) { p.data("trades/IREN", 11) },
		"other stream": func(p *peer, sub string) { p.frame(&livev1.DataFrame{Sub: sub, Snapshot: true, Position: "QUOTES:3"}) },
		"heartbeat's cursor": func(p *peer, sub string) {
			p.send(live.Heartbeat{Type: "heartbeat", Positions: map[string]string{sub: "TRADES:-1"}})
		},
		"heartbeat's stream": func(p *peer, sub string) {
			p.send(live.Heartbeat{Type: "heartbeat", Positions: map[string]string{sub: "QUOTES:1"}})
		},
		"skipped": func(p *peer, sub string) {
			p.send(live.SkippedFrame{Type: "skipped", Sub: sub, Skipped: []live.Skipped{{Count: 1}}})
		},
		"live": func(p *peer, sub string) { p.send(live.Live{Type: "live", Sub: sub}) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, g *gateway) {
				c, p := g.connect(client.Config{})
				s := p.subscribe(c, trades, "TRADES:10", "e1")
				begun := time.Now()
				for range 6 {
					p.send(live.Heartbeat{Type: "heartbeat"})
					p.write(1, []byte(`{"type":"of a later version"}`))
					do(p, s.String())
					p = g.next()
					p.accept(p.ask(live.OpSubscribe), "TRADES:10", "e1")
				}
				if d := time.Since(begun); d < 6*time.Second {
					t.Errorf("6 connections in %s", d)
				}
				p.data(s.String(), 11)
				equal(t, take(t, s, 1), []uint64{11})
			})
		})
	}
}

func TestDialRefused(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		g.token = "good"
		dial := func(cfg client.Config) error {
			cfg.NetDial = g.dial
			c, err := client.Dial(t.Context(), cfg)
			if err == nil {
				c.Close()
			}
			return err
		}
		if err := dial(client.Config{URL: "127.0.0.1:8080"}); err == nil {
			t.Error("no scheme")
		}
		if err := dial(client.Config{URL: "ws://127.0.0.1", Token: "bad"}); err == nil || !strings.Contains(err.Error(), live.CodeUnauthorised) {
			t.Errorf("%v", err)
		}
		g.welcome.Version = "2"
		if err := dial(client.Config{URL: "ws://127.0.0.1"}); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("%v", err)
		}
		g.welcome.Type = "hello"
		if err := dial(client.Config{URL: "ws://127.0.0.1"}); err == nil {
			t.Error("no welcome")
		}
	})
}

// Subscribe ends with its context, and what is acknowledged afterwards is taken back.
func TestSubscribeGivenUp(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Subscribe(ctx, trades); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		name := p.accept(p.ask(live.OpSubscribe), "TRADES:10", "e1")
		p.data(name, 11)
		equal(t, p.ask(live.OpUnsubscribe).Sub, name)
	})
}

func TestClose(t *testing.T) {
	run(t, func(t *testing.T, g *gateway) {
		c, p := g.connect(client.Config{})
		s := p.subscribe(c, trades, "TRADES:10", "e1")
		other := p.subscribe(c, client.Spec{Channel: live.Feeds, Symbols: []string{"*"}}, "FEEDS:1", "f1")
		p.data(s.String(), 11)
		s.Close()
		equal(t, p.ask(live.OpUnsubscribe).Sub, s.String())
		p.data(s.String(), 12)
		if err := failure(t, s); err != nil {
			t.Errorf("%v", err)
		}
		c.Close()
		<-p.gone
		if err := failure(t, other); !errors.Is(err, client.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}
