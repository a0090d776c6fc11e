package conform

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

// patience is for how long a case waits for what must happen. Only a failure takes so long: a machine may be busy with other tests.
const patience = 3 * time.Minute

// rig is a simulator with the adapter's service running against it.
type rig struct {
	t   *testing.T
	a   Adapter
	up  Upstream
	at  Endpoint
	mem *feedtest.Memory
	log *logbook

	stop context.CancelFunc
	done chan struct{}
	err  error
}

// fresh starts the simulator, not the service.
func fresh(t *testing.T, a Adapter) *rig {
	t.Helper()
	r := &rig{t: t, a: a, up: a.Start(t), mem: feedtest.NewMemory(), log: &logbook{t: t}}
	srv := httptest.NewServer(r.up.Handler)
	r.at = Endpoint{HTTP: srv.URL, WS: "ws" + strings.TrimPrefix(srv.URL, "http"), Sim: r.up.Sim}
	t.Cleanup(func() {
		r.end()
		_ = r.up.Target.Clear("")
		if r.up.Close != nil {
			r.up.Close()
		}
		srv.CloseClientConnections()
		srv.Close()
	})
	return r
}

// run starts the service with a sink over the rig's memory.
func (r *rig) run(sink feed.Sink) {
	r.t.Helper()
	if sink == nil {
		sink = r.mem
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.done = cancel, make(chan struct{})
	deps := feed.Deps{Sink: sink, History: r.mem, Logger: slog.New(r.log), Policy: r.a.policy}
	done := r.done
	go func() {
		defer close(done)
		r.err = r.a.Run(ctx, r.at, deps)
	}()
}

// end stops the service and says how long that took.
func (r *rig) end() time.Duration {
	if r.stop == nil {
		return 0
	}
	begin := time.Now()
	r.stop()
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		r.t.Fatal("the service does not end")
	}
	return time.Since(begin)
}

// live starts the service and waits until it tells data.
func live(t *testing.T, a Adapter) *rig {
	t.Helper()
	r := fresh(t, a)
	r.run(nil)
	r.flows("at the start")
	return r
}

func (r *rig) order(o control.Order) {
	r.t.Helper()
	if err := r.up.Target.Order(o); err != nil {
		r.t.Fatalf("order %s: %v", o.Fault, err)
	}
}

func (r *rig) clear(fault string) {
	r.t.Helper()
	if err := r.up.Target.Clear(fault); err != nil {
		r.t.Fatal(err)
	}
}

// until waits for a state of the events.
func (r *rig) until(what string, ok func([]market.Event) bool) {
	r.t.Helper()
	if !r.wait(patience, ok) {
		r.inVain(what)
	}
}

// again does something until a state of the events follows from it.
func (r *rig) again(what string, do func(), ok func([]market.Event) bool) {
	r.t.Helper()
	const each = 3 * time.Second
	for range patience / each {
		do()
		if r.wait(each, ok) {
			return
		}
	}
	r.inVain(what)
}

// wait reports whether a state of the events is there within the time. A service that ends by itself will tell no more.
func (r *rig) wait(limit time.Duration, ok func([]market.Event) bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := r.done
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return r.mem.Wait(ctx, ok)
}

func (r *rig) inVain(what string) {
	r.t.Helper()
	select {
	case <-r.done:
		r.t.Fatalf("waited in vain for %s: the service ended: %v%s", what, r.err, r.story())
	default:
		r.t.Fatalf("waited in vain for %s%s", what, r.story())
	}
}

// story tells what happened, for a failure.
func (r *rig) story() string {
	var b strings.Builder
	data, dead := 0, 0
	for _, ev := range r.mem.Events() {
		switch x := ev.(type) {
		case *market.FeedEvent:
			fmt.Fprintf(&b, "\n  %s %s %s %s", x.EventTime.Format("05.000"), x.Source, x.State, x.Detail)
		case *market.FeedGap:
			fmt.Fprintf(&b, "\n  %s gap %s rev %d %s: %s, %d recovered", x.EventTime.Format("05.000"), x.GapID, x.Rev, x.Reason, x.State, x.Recovered)
		case *market.DeadLetter:
			if dead++; dead < 5 {
				fmt.Fprintf(&b, "\n  dead letter %s: %.120s", x.Reason, x.Detail)
			}
		default:
			if r.isData(ev) {
				data++
			}
		}
	}
	fmt.Fprintf(&b, "\n  %d data events, %d dead letters; the log's end:\n%s", data, dead, r.log.tail())
	return b.String()
}

func (r *rig) isData(ev market.Event) bool {
	if s := ev.Stream(); s == market.Feeds || s == market.Dead || ev.GetMeta().Source != r.a.Source {
		return false
	}
	return r.a.Data == nil || r.a.Data(ev)
}

func (r *rig) data(events []market.Event) (n int) {
	for _, ev := range events {
		if r.isData(ev) {
			n++
		}
	}
	return n
}

// flows waits for data that were not there.
func (r *rig) flows(when string) {
	r.t.Helper()
	n := r.data(r.mem.Events())
	r.until("data "+when, func(evs []market.Event) bool { return r.data(evs) >= n+3 })
}

// states counts the source's changes to a state, from the event on.
func (r *rig) states(events []market.Event, s market.FeedState) (n int) {
	for _, ev := range events {
		if x, ok := ev.(*market.FeedEvent); ok && x.State == s && x.Source == r.a.Source {
			n++
		}
	}
	return n
}

// letters counts the source's dead letters.
func (r *rig) letters(events []market.Event) (n int) {
	for _, ev := range events {
		if x, ok := ev.(*market.DeadLetter); ok && x.Source == r.a.Source {
			n++
		}
	}
	return n
}

// comesAgain waits for a connection more than there were, and data on it.
func (r *rig) comesAgain(connected int) {
	r.t.Helper()
	r.until("a new connection", func(evs []market.Event) bool { return r.states(evs, market.FeedConnected) > connected })
	r.flows("on the new connection")
}

// loses ends the connection by an order, and waits until the service is back, has told the hole as that of a connection that was lost, and has settled it. A machine that hangs
// may let the feed find the connection mute before it finds it ended: then it is ended again.
func (r *rig) loses(o control.Order) {
	r.t.Helper()
	for range 3 {
		before, n := r.mem.Len(), r.states(r.mem.Events(), market.FeedConnected)
		r.order(o)
		r.comesAgain(n)
		r.settled(before, string(market.FeedLost), string(market.FeedStale))
		for _, ev := range r.mem.Events()[before:] {
			if g, ok := ev.(*market.FeedGap); ok && g.Source == r.a.Source && g.Reason == string(market.FeedLost) {
				return
			}
		}
	}
	r.t.Errorf("an ended connection is never told as lost%s", r.story())
}

// settled waits until a gap of the reason was opened and settled as it should be.
func (r *rig) settled(before int, reasons ...string) {
	r.t.Helper()
	r.until("a gap "+strings.Join(reasons, " or ")+" opened and settled", func(evs []market.Event) bool {
		last := map[string]*market.FeedGap{}
		opened := map[string]bool{}
		for i, ev := range evs {
			g, ok := ev.(*market.FeedGap)
			if !ok || g.Source != r.a.Source {
				continue
			}
			for _, want := range reasons {
				if i >= before && g.Reason == want && g.State == market.GapOpen {
					opened[g.GapID] = true
				}
			}
			if old := last[g.GapID]; old == nil || old.Rev <= g.Rev {
				last[g.GapID] = g
			}
		}
		for id := range opened {
			switch last[id].State {
			case market.GapFilled:
				return true
			case market.GapGivenUp:
				if !r.a.Fills {
					return true
				}
			}
		}
		return false
	})
}

// once fails where a fact was published twice.
func (r *rig) once() {
	r.t.Helper()
	_, _, twice := feedtest.Diff(r.mem, r.mem)
	if len(twice) > 0 {
		r.t.Errorf("%d facts were published twice, the first %.200s", len(twice), twice[0])
	}
}

// isTrue checks what was published since from against the simulator.
func (r *rig) isTrue(from time.Time) {
	r.t.Helper()
	to := time.Now()
	r.once()
	if r.a.Check == nil {
		return
	}
	if r.a.Settle > 0 {
		r.until("everything told", func(evs []market.Event) bool {
			for i := len(evs) - 1; i >= 0; i-- {
				if r.isData(evs[i]) && evs[i].GetMeta().EventTime.After(to.Add(r.a.Settle)) {
					return true
				}
			}
			return false
		})
	}
	// What came live does not tell that what is fetched from history has come too.
	r.until("every gap settled", func(evs []market.Event) bool { return r.unsettled(evs) == 0 })
	r.end()
	r.a.Check(r.t, r.at, r.mem, from, to)
}

// says reports whether the text stands in a state's detail, in the ledger, in a dead letter, or in the log from a line on.
func (r *rig) says(from int, text string) bool {
	text = strings.ToLower(text)
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	for _, ev := range r.mem.Events() {
		switch x := ev.(type) {
		case *market.FeedEvent:
			if has(x.Detail) {
				return true
			}
		case *market.FeedGap:
			if has(x.Reason) {
				return true
			}
		case *market.DeadLetter:
			if has(x.Detail) || has(string(x.Reason)) {
				return true
			}
		}
	}
	return has(r.log.since(from))
}

// eventually asks again until ok holds or patience ends. It is for what happens outside of the events.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			r.t.Fatalf("waited in vain for %s%s", what, r.story())
		}
	}
}

// during lets so much time pass: some cases assert that nothing happens in it.
func during(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}

// logbook keeps the last log lines.
type logbook struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
	gone  int // lines before these
}

func (l *logbook) Enabled(context.Context, slog.Level) bool { return true }
func (l *logbook) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logbook) WithGroup(string) slog.Handler            { return l }

func (l *logbook) Handle(ctx context.Context, rec slog.Record) error {
	var b bytes.Buffer
	if err := slog.NewTextHandler(&b, nil).Handle(ctx, rec); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 2000 {
		l.lines = append(l.lines[:0], l.lines[1000:]...)
		l.gone += 1000
	}
	l.lines = append(l.lines, b.String())
	if os.Getenv("TEST_LOG") != "" {
		_, _ = l.t.Output().Write(b.Bytes())
	}
	return nil
}

// len counts the lines so far.
func (l *logbook) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gone + len(l.lines)
}

// since are the lines from the nth on, as far as they are kept.
func (l *logbook) since(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, n-l.gone):], "")
}

func (l *logbook) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-8):], "")
}
