package gateway_test

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/gateway"
)

// TestOneCursor is the promise: whatever the start, however often the connection or the gateway dies, a client receives exactly the rows of
// its range, in order.
func TestOneCursor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	const total = 3000
	symbols := []string{"CORZ", "IREN", "BRK.B"}
	publish := func(from, to int) {
		for n := from; n < to; {
			var evs []market.Event
			for range 1 + rand.IntN(20) {
				evs = append(evs, trade(symbols[rand.IntN(len(symbols))], n))
				if n++; n == to {
					break
				}
			}
			w.publish(evs...)
		}
	}
	publish(0, total/3)
	info, err := w.bus.Info(t.Context(), market.Trades)
	if err != nil {
		t.Fatal(err)
	}
	w.land(info.LastSeq / 2)

	var mu sync.Mutex
	var gateways []*gateway.Gateway
	var stops []func()
	for range 2 {
		g, stop := w.gateway(func(c *gateway.Config) { c.Recent, c.Queue = 1<<20, 64<<10 })
		gateways, stops = append(gateways, g), append(stops, stop)
	}
	pick := func() *gateway.Gateway {
		mu.Lock()
		defer mu.Unlock()
		return gateways[rand.IntN(len(gateways))]
	}

	var clients sync.WaitGroup
	type result struct {
		spec  live.Spec
		start string
		got   []string
	}
	results := make([]result, 8)
	for i := range results {
		res := &results[i]
		res.spec = live.Spec{Channel: live.Trades, Symbols: [][]string{{"*"}, {"CORZ"}, {"BRK.B", "I*"}}[i%3]}
		res.start = live.Cursor{Stream: market.Trades, Seq: rand.Uint64N(info.LastSeq), Idx: [2]uint32{live.Whole, 1}[i%2]}.String()
		clients.Go(func() {
			at := res.start
			for {
				done, err := receive(t, pick, res.spec, &at, &res.got)
				if done {
					return
				}
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
	publish(total/3, 2*total/3)
	// One gateway ends, another takes its place.
	stops[0]()
	g, _ := w.gateway(nil)
	mu.Lock()
	gateways[0] = g
	mu.Unlock()
	if info, err = w.bus.Info(t.Context(), market.Trades); err != nil {
		t.Fatal(err)
	}
	w.land(info.LastSeq - 10)
	publish(2*total/3, total)
	if info, err = w.bus.Info(t.Context(), market.Trades); err != nil {
		t.Fatal(err)
	}
	w.publish(trade("END", total))
	w.land(info.LastSeq + 1)
	clients.Wait()

	for i, res := range results {
		from, err := live.ParseCursor(res.start)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		err = w.store.Events(t.Context(), store.EventQuery{
			Stream: market.Trades, Keys: res.spec.Symbols, AfterSeq: from.Seq, AfterIdx: from.Idx, Limit: 2 * total,
		}, func(ev market.Event, at market.Place) error {
			if ev.(*market.Trade).Symbol != "END" {
				want = append(want, string(live.AppendJSON(nil, ev, at)))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(res.got, want) {
			t.Errorf("client %d from %s of %v: got %d messages, the table has %d", i, res.start, res.spec.Symbols, len(res.got), len(want))
		}
	}
}

// receive takes what comes behind at until the connection ends, which it does itself now and then. It ends at the trade of END.
func receive(t *testing.T, pick func() *gateway.Gateway, spec live.Spec, at *string, got *[]string) (done bool, _ error) {
	d := websocket.Dialer{HandshakeTimeout: 10 * time.Second}
	ws, _, err := d.Dial("ws://"+pick().Addr()+"/v1/ws", nil)
	if err != nil {
		return false, nil // it ended just now
	}
	p := &peer{t, ws}
	defer p.hangUp()
	symbols := append([]string{"END"}, spec.Symbols...)
	if err := ws.WriteJSON(live.Request{Op: live.OpSubscribe, ID: "1", Channel: spec.Channel, Symbols: symbols, From: *at}); err != nil {
		return false, nil
	}
	budget := 50 + rand.IntN(1500)
	for {
		f, err := p.read()
		if err != nil {
			return false, nil
		}
		switch f.Type {
		case live.FrameError:
			if f.Code == live.CodeUnavailable {
				return false, nil
			}
			return false, errors.New(f.Code + ": " + f.Message)
		case live.FrameSkipped, live.FrameSlow:
			return false, errors.New("a client that reads was told that it is slow")
		case live.FrameHeartbeat:
			for _, pos := range f.Positions {
				*at = pos
			}
		}
		for _, m := range f.Messages {
			*at = m.Cursor
			if m.Symbol == "END" {
				return true, nil
			}
			*got = append(*got, string(m.raw))
			if budget--; budget == 0 {
				return false, nil
			}
		}
	}
}

// TestRate holds that what was left out to keep a rate is counted exactly.
func TestRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	g, _ := w.gateway(nil)
	p := dial(t, g, nil)
	ack := p.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"CORZ", "IREN"}, MaxRate: 20, From: "snapshot"})
	if got := ack.Subscriptions[0].Sub; got != "quotes/CORZ,IREN@20" {
		t.Fatalf("the subscription is named %q", got)
	}
	const n = 1000
	began := time.Now()
	for i := range n {
		w.publish(quote([]string{"CORZ", "IREN", "WGMI"}[i%3], i))
	}
	want := 0
	for i := range n {
		if i%3 != 2 {
			want++
		}
	}
	got, skipped := 0, 0
	for got+skipped < want {
		f := p.next()
		if f.Type != live.FrameData {
			continue
		}
		got += len(f.Messages)
		for _, s := range f.Skipped {
			skipped += int(s.Count)
			from, err1 := live.ParseCursor(s.From)
			to, err2 := live.ParseCursor(s.To)
			if err1 != nil || err2 != nil || from.After(to) || s.Symbol == "WGMI" || s.Symbol == "" {
				t.Fatalf("skipped %+v", s)
			}
		}
	}
	if got+skipped != want {
		t.Errorf("%d received and %d skipped are not the %d that were published", got, skipped, want)
	}
	// Two symbols, 20 times a second each. A frame may hold two windows where the machine is slow.
	if most := 2 * (2 + int(time.Since(began).Seconds()*20)); got > most {
		t.Errorf("%d messages are more than the rate allows (%d)", got, most)
	}
}

// TestSlowClient holds that a client that does not read is told exactly what it missed, and that its neighbour gets everything.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	g, _ := w.gateway(func(c *gateway.Config) { c.Queue, c.Heartbeat, c.Stuck = 64<<10, time.Minute, 5*time.Minute })
	// Its receive buffer is the kernel's own, which holds less than a tenth of what is published. Made smaller on an open connection, the kernel dropped what it had
	// already offered to take, and the other side's retransmission, backed off meanwhile, came after the test's patience.
	slow, quick := dial(t, g, nil), dial(t, g, nil)
	slow.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}})
	quick.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}})
	// The neighbour keeps up by construction: what is published at a time is less than the bound, and it has all of it before the next comes.
	const n, step = 20_000, 160
	for from := 0; from < n; from += step {
		batch := make([]market.Event, step)
		for i := range batch {
			batch[i] = quote("S"+strconv.Itoa(i%50), from+i)
		}
		w.publish(batch...)
		for got := 0; got < step; {
			f := quick.next()
			if f.Type == live.FrameSlow || len(f.Skipped) > 0 {
				t.Fatalf("the neighbour of a slow client was told %+v", f)
			}
			got += len(f.Messages)
		}
	}
	// Now it reads: what it got and what it was told to have missed are everything.
	got, skipped, told := 0, 0, false
	for got+skipped < n {
		f, err := slow.read()
		if err != nil {
			t.Fatalf("after %d messages received and %d skipped of %d: %v", got, skipped, n, err)
		}
		told = told || f.Type == live.FrameSlow
		got += len(f.Messages)
		for _, s := range f.Skipped {
			if !told {
				t.Fatal("messages were skipped before the client was told that it is slow")
			}
			skipped += int(s.Count)
		}
	}
	if got+skipped != n || skipped == 0 {
		t.Errorf("%d received and %d skipped, of %d", got, skipped, n)
	}
}

// TestStuckClient holds that a client that never reads is closed.
func TestStuckClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	g, _ := w.gateway(func(c *gateway.Config) {
		c.Queue, c.Stuck, c.Linger = 64<<10, 300*time.Millisecond, 100*time.Millisecond
	})
	p := dial(t, g, nil)
	p.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}})
	for i := 0; g.Clients() > 0; i++ {
		batch := make([]market.Event, 2000)
		for k := range batch {
			batch[k] = quote("S"+strconv.Itoa(k%20), i*2000+k)
		}
		w.publish(batch...)
		if i > 5000 {
			t.Fatal("a client that reads nothing was never closed")
		}
	}
}

// TestResumeElsewhere takes a token of one gateway to another.
func TestResumeElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	g1, stop := w.gateway(func(c *gateway.Config) { c.Heartbeat = 2 * time.Second })
	p := dial(t, g1, nil)
	p.subscribe(live.Request{Channel: live.Trades, Symbols: []string{"CORZ"}})
	p.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}})
	w.publish(trade("CORZ", 1), quote("IREN", 1))
	seen := 0
	count := func(f told) { seen += len(f.Messages) }
	for seen < 2 {
		count(p.next())
	}
	go stop()
	f := p.until(live.FrameShutdown, count)
	if f.Resume == "" {
		t.Fatal("a shutdown without a token")
	}
	if _, err := p.read(); !websocket.IsCloseError(err, live.CloseShutdown) {
		t.Fatalf("closed with %v, not with %d", err, live.CloseShutdown)
	}
	w.publish(trade("CORZ", 2), trade("IREN", 3), quote("IREN", 2))
	g2, _ := w.gateway(nil)
	q := dial(t, g2, nil)
	q.send(live.Request{Op: live.OpResume, ID: "r", Resume: f.Resume})
	got := map[string]int{}
	ack := q.until(live.FrameAck, nil)
	if len(ack.Subscriptions) != 2 {
		t.Fatalf("resumed %d subscriptions of 2", len(ack.Subscriptions))
	}
	for got["trade"]+got["quote"] < 2 {
		for _, m := range q.next().Messages {
			got[m.Type]++
		}
	}
	if got["trade"] != 1 || got["quote"] != 1 {
		t.Errorf("after the resume came %v", got)
	}
}

// TestManyComeAsItEnds holds that the welcome is what a client hears first, and that a gateway that ends takes no more clients than it waits for: a heartbeat or a shutdown came before
// the welcome of a client that was slow to be greeted, and who was taken over while the gateway waited for its readers was one more to wait for.
func TestManyComeAsItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	g, stop := w.gateway(func(c *gateway.Config) { c.Heartbeat = 100 * time.Millisecond })
	ws := func() (string, error) {
		c, _, err := websocket.DefaultDialer.Dial("ws://"+g.Addr()+"/v1/ws", nil)
		if err != nil {
			return "", err
		}
		defer func() { _ = c.Close() }()
		var f told
		err = c.ReadJSON(&f)
		return f.Type, err
	}
	sse := func() (string, error) {
		resp, err := http.Get("http://" + g.Addr() + "/v1/stream?channel=trades&symbols=*")
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		return strings.TrimSpace(strings.TrimPrefix(line, "event: ")), err
	}
	var warm, working sync.WaitGroup
	for i := range 8 {
		first := []func() (string, error){ws, sse}[i%2]
		warm.Add(1)
		working.Go(func() {
			for n := 0; ; n++ {
				heard, err := first()
				if err == nil && heard != live.FrameWelcome {
					t.Errorf("a client hears %q first", heard)
				}
				if n < 40 && err != nil {
					t.Errorf("client %d: %v", n, err)
				}
				if n == 40 || n < 40 && err != nil {
					warm.Done()
				}
				if err != nil {
					return // at last it has ended
				}
			}
		})
	}
	warm.Wait()
	stop()
	working.Wait()
}

// TestSnapshotThenLive holds that a snapshot has the last of each symbol and what follows comes once.
func TestSnapshotThenLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	w.publish(quote("CORZ", 1), quote("IREN", 2), quote("CORZ", 3))
	g, _ := w.gateway(nil)
	p := dial(t, g, nil)
	p.subscribe(live.Request{Channel: live.Quotes, Symbols: []string{"*"}, From: "snapshot"})
	f := p.until(live.FrameSnapshot, nil)
	if len(f.Messages) != 2 || f.Messages[0].Symbol == f.Messages[1].Symbol || !strings.Contains(string(slices.Concat(f.Messages[0].raw, f.Messages[1].raw)), `"ask_size_shares":"4"`) {
		t.Fatalf("the snapshot is %v", f.Messages)
	}
	w.publish(quote("CORZ", 4))
	if f := p.until(live.FrameData, nil); len(f.Messages) != 1 || f.Messages[0].Symbol != "CORZ" {
		t.Errorf("after the snapshot came %+v", f)
	}
}

// TestReplay holds that a replay sends the rows of its span in the order of its clock, and that it pauses.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	var evs []market.Event
	for n := range 300 {
		evs = append(evs, trade([]string{"CORZ", "IREN"}[n%2], (n*7)%300)) // out of order
	}
	w.publish(evs...)
	info, err := w.bus.Info(t.Context(), market.Trades)
	if err != nil {
		t.Fatal(err)
	}
	w.land(info.LastSeq)
	g, _ := w.gateway(nil)
	p := dial(t, g, nil)
	speed := 1.0
	p.send(live.Request{
		Op: live.OpReplay, ID: "r", Subscriptions: []live.Spec{{Channel: live.Trades, Symbols: []string{"CORZ"}}, {Channel: live.Trades, Symbols: []string{"IREN"}}},
		Start: begin, End: begin.Add(250 * time.Millisecond), Speed: &speed,
	})
	if ack := p.until(live.FrameAck, nil); ack.Sub != "replay/1" {
		t.Fatalf("the replay is named %q", ack.Sub)
	}
	var times []string
	for {
		f := p.next()
		if f.Type == live.FrameReplay && f.State == "ended" {
			break
		}
		for _, m := range f.Messages {
			_, rest, _ := strings.Cut(string(m.raw), `"event_time":"`)
			stamp, _, _ := strings.Cut(rest, `"`)
			times = append(times, stamp)
		}
	}
	if len(times) != 250 || !slices.IsSortedFunc(times, compareTimes) {
		t.Errorf("the replay sent %d messages, sorted %v", len(times), slices.IsSortedFunc(times, compareTimes))
	}
	zero, slow := 0.0, 0.1
	p.send(live.Request{Op: live.OpReplay, ID: "r2", Subscriptions: []live.Spec{{Channel: live.Trades, Symbols: []string{"*"}}}, Start: begin, End: begin.Add(time.Hour), Speed: &slow})
	p.until(live.FrameAck, nil)
	p.send(live.Request{Op: live.OpControl, ID: "c", Sub: "replay/2", Action: live.ActionPause})
	for f := p.next(); f.Type != live.FrameReplay || f.State != "paused"; f = p.next() {
	}
	p.send(live.Request{Op: live.OpControl, ID: "c2", Sub: "replay/2", Action: live.ActionSpeed, Speed: &zero})
	p.send(live.Request{Op: live.OpControl, ID: "c3", Sub: "replay/2", Action: live.ActionSeek, Start: begin.Add(290 * time.Millisecond)})
	p.send(live.Request{Op: live.OpControl, ID: "c4", Sub: "replay/2", Action: live.ActionResume})
	var tail []string
	for {
		f := p.next()
		if f.Type == live.FrameReplay && f.State == "ended" {
			break
		}
		for _, m := range f.Messages {
			tail = append(tail, m.Cursor)
		}
	}
	if len(tail) < 10 {
		t.Errorf("after the seek came %d messages", len(tail))
	}
}

func compareTimes(a, b string) int {
	x, _ := time.Parse(time.RFC3339Nano, a)
	y, _ := time.Parse(time.RFC3339Nano, b)
	return x.Compare(y)
}

// TestServerSentEvents goes on behind the last event's id.
func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	g, _ := w.gateway(nil)
	w.publish(trade("CORZ", 1), trade("CORZ", 2), trade("CORZ", 3))
	events := func(lastID string, want int) []string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Addr()+"/v1/stream?channel=trades&symbols=CORZ&from=TRADES:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		if lastID != "" {
			req.Header.Set("Last-Event-ID", lastID)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("content type %q", resp.Header.Get("Content-Type"))
		}
		var ids []string
		got, present := 0, false
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				ids = append(ids, id)
			}
			got += strings.Count(lines.Text(), `"type":"trade"`)
			present = present || lines.Text() == "event: live"
			if present && got >= want && lines.Text() == "" { // what is not history yet comes live
				return ids
			}
		}
		t.Fatal("the events ended")
		return nil
	}
	first := events("", 3)
	if len(first) == 0 {
		t.Fatal("no data came")
	}
	if again := events(first[len(first)-1], 0); len(again) != 0 {
		t.Errorf("behind the last event came %v", again)
	}
}
