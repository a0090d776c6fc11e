package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// TestStatus runs services alone, as on other hosts, and looks at them through NATS and ClickHouse: all there, then without the lander, then without ClickHouse.
func TestStatus(t *testing.T) {
	st, engine := storetest.StartServer(t)
	raw, b := bustest.Start(t)
	env := []string{
		"HASHPIVOT_CLICKHOUSE__ADDR=" + engine.NativeAddr(), "HASHPIVOT_CLICKHOUSE__DATABASE=hashpivot", "HASHPIVOT_NATS__URL=" + raw.URL(), "HASHPIVOT_MODE=sim",
		"HASHPIVOT_ADMIN__ADDR=127.0.0.1:0", "HASHPIVOT_GATEWAY__ADDR=127.0.0.1:0",
	}
	const cut = "nats.shards.QUOTES=2"
	file := filepath.Join(t.TempDir(), "hashpivot.yaml")
	configure := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("gateway: {limits: {connections: 1000}}\n")
	alone := func(service string) (log *record, stop func()) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan int, 1)
		log = &record{}
		go func() { ended <- execute(ctx, []string{"--config", file, service, "--set", cut}, env, io.Discard, log) }()
		stop = sync.OnceFunc(func() {
			cancel()
			if code := <-ended; code != 0 {
				t.Errorf("%s: code %d\n%s", service, code, log)
			}
		})
		t.Cleanup(stop)
		return log, stop
	}
	status := func(code int) (rep statusReport) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := execute(t.Context(), []string{"status", "--json", "--set", cut}, env, &out, &errs); got != code {
			t.Fatalf("status: code %d, want %d\n%s%s", got, code, out.String(), errs.String())
		}
		if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		return rep
	}
	// until looks again and again: the services' work gives no event to wait on here.
	until := func(what string, ok func(statusReport) bool) statusReport {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			rep := status(0)
			if ok(rep) {
				return rep
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: not within a minute: %+v", what, rep)
			}
		}
	}
	_, stopLander := alone("lander")
	gate, _ := alone("gateway")

	at := time.Now().UTC()
	meta := market.Meta{Source: "sim-alpaca", EventTime: at, RecvTime: at}
	pub := b.NewPublisher(bus.PublisherConfig{})
	tell := func(events ...market.Event) {
		t.Helper()
		for _, ev := range events {
			if err := pub.Publish(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
		}
		if err := pub.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = pub.Close(context.Background()) }()
	trade := func(n int) market.Event {
		return &market.Trade{
			Meta: meta, Action: market.TradeNew, Symbol: "IREN", ID: fmt.Sprint(n), Exchange: "V", Tape: "C", PriceUSD: market.MustDecimal("49.25"), SizeShares: market.MustDecimal("100"),
		}
	}
	until("two processes", func(r statusReport) bool { return len(r.Processes) == 2 && r.Processes[0].Units > 0 })
	tell(&market.FeedEvent{Meta: meta, State: market.FeedConnected}, trade(1),
		&market.FeedGap{Meta: meta, GapID: "g1", Symbol: "*", From: at.Add(-time.Minute), State: market.GapOpen, Reason: "lost"},
		market.NewDeadFrame("sim-alpaca", "/v2/stream", "malformed", "no JSON", []byte("{"), at))
	rep := until("what was told", func(r statusReport) bool {
		return r.Streams[market.Trades].Rows == 1 && len(r.Feeds) == 1 && r.OpenGaps == 1 && len(r.Rejects) == 1
	})
	if rep.Mode != modeSim || rep.NATS == "" || rep.Click == "" || len(rep.Problems) != 0 || rep.RowsPerSecond == nil || rep.Feeds[0].State != "connected" || rep.Feeds[0].OpenGaps != 1 {
		t.Errorf("%+v", rep)
	}
	if p := rep.Processes; p[0].Service != "lander" || p[1].Service != "gateway" || !p[0].Ready || !p[1].Ready || p[0].Memory == 0 || p[0].Admin == "" || rep.Gateways.Gateways != 1 {
		t.Errorf("%+v %+v", p, rep.Gateways)
	}
	shards := map[string]bool{}
	for _, l := range rep.Landing {
		if l.Stream == market.Quotes {
			shards[l.Shard] = true
		}
	}
	if len(shards) != 3 || !shards["0/2"] || !shards["1/2"] || rep.Streams[market.Quotes].Shards != 2 || len(rep.Disks) == 0 {
		t.Errorf("shards %v, disks %v", shards, rep.Disks)
	}

	// Nobody lands: what waits is counted in messages, events and seconds.
	stopLander()
	tell(trade(2), trade(3))
	tell(trade(4))
	rep = until("one process", func(r statusReport) bool { return len(r.Processes) == 1 })
	if rep.RowsPerSecond != nil {
		t.Errorf("nobody lands, and %v rows a second do", *rep.RowsPerSecond)
	}
	for _, l := range rep.Landing {
		if l.Stream == market.Trades && (l.Events != 3 || l.Messages < 2 || l.Seconds <= 0 || l.AtLeast) {
			t.Errorf("behind: %+v", l)
		}
	}
	text := strings.Join(statusLines(rep, paint{}), "\n")
	for _, want := range []string{"sim data", "sim-alpaca  connected", "gaps: 1 open", "landing: nobody lands", "dead letters: 1 of UPSTREAM from sim-alpaca: malformed", "gateways: 1 with 0 clients", "0/2", "audit: none yet"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}

	// The gateway takes over what its file says now, and names what it cannot.
	configure("gateway: {limits: {connections: 900}, queue: 100000}\nlander: {max_rows: 7}\n")
	until("the change to be taken over", func(statusReport) bool {
		said := gate.String()
		return strings.Contains(said, `"applied":"gateway.limits.connections"`) && strings.Contains(said, `"keys":"gateway.queue"`)
	})

	screenOnTerminal(t, env)

	// Without ClickHouse the rest is still told.
	_ = st.Close()
	chembedtest.Close(t, engine)
	rep = status(1)
	if rep.NATS == "" || rep.Click != "" || len(rep.Problems) == 0 || len(rep.Streams) != 11 || len(rep.Processes) != 1 || rep.Processes[0].Ready || rep.Processes[0].Trouble["clickhouse"] == "" {
		t.Errorf("without ClickHouse: %+v", rep)
	}
	if text := strings.Join(statusLines(rep, paint{}), "\n"); !strings.Contains(text, "ClickHouse IS NOT REACHED") || !strings.Contains(text, "NOT READY clickhouse") {
		t.Errorf("without ClickHouse:\n%s", text)
	}
}

// record keeps what was written.
type record struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// screenOnTerminal holds that on a terminal the screen is drawn again and again, in its second buffer, and that what stood there comes back.
func screenOnTerminal(t *testing.T, env []string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	defer func() { _ = master.Close() }()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 12, Col: 60}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		ended <- execute(ctx, []string{"status", "--every", "100ms"}, env, slave, &errs)
		_ = slave.Close()
	}()
	var seen strings.Builder
	buf := make([]byte, 64<<10)
	for {
		n, err := master.Read(buf)
		seen.Write(buf[:n])
		if strings.Count(seen.String(), "\x1b[H") >= 2 {
			cancel()
		}
		if err != nil { // the other end is closed
			break
		}
	}
	text := seen.String()
	if code := <-ended; code != 0 {
		t.Errorf("code %d: %s", code, errs.String())
	}
	if !strings.HasPrefix(text, "\x1b[?1049h") || !strings.HasSuffix(text, "\x1b[?1049l") || !strings.Contains(text, "hashpivot") || !strings.Contains(text, "lines more") {
		t.Errorf("the terminal got %q", text)
	}
	frame, _, _ := strings.Cut(text[strings.LastIndex(text, "\x1b[H"):], "\x1b[J")
	if rows := strings.Split(frame, "\r\n"); len(rows) != 12 {
		t.Errorf("a screen of %d lines on a terminal of 12", len(rows))
	}
}

func TestClip(t *testing.T) {
	f := func(line string, width int, want string) {
		t.Helper()
		if got := clip(line, width); got != want {
			t.Errorf("clip(%q, %d) = %q, want %q", line, width, got, want)
		}
	}
	f("abc", 5, "abc")
	f("abcdef", 3, "abc")
	f("a\x1b[32mbcd\x1b[0me", 2, "a\x1b[32mb\x1b[0m")
	f("äöü", 2, "äö")
}
