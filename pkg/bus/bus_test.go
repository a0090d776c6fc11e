package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func start(t testing.TB) (*bus.Server, *bus.Bus) {
	t.Helper()
	cfg := bus.DefaultServerConfig()
	cfg.Addr, cfg.DataDir = "127.0.0.1:0", t.TempDir()
	srv, err := bus.StartServer(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return srv, connect(t, bus.DefaultConfig(), srv)
}

func connect(t testing.TB, cfg bus.Config, srv *bus.Server) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(cfg, srv, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

var at = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)

func trade(symbol string, n int) *market.Trade {
	return &market.Trade{
		Meta: market.Meta{Source: "test", EventTime: at.Add(time.Duration(n)), RecvTime: at}, Action: market.TradeNew, Symbol: symbol,
		ID: strconv.Itoa(n), Exchange: "V", PriceUSD: market.MustDecimal("1.25"), SizeShares: market.MustDecimal("100"),
	}
}

func TestStreamsAreDeclaredOnceAndAgain(t *testing.T) {
	_, b := start(t)
	if err := b.Ensure(t.Context()); err != nil {
		t.Fatalf("second time: %v", err)
	}
	for _, s := range market.Streams() {
		info, err := b.Info(t.Context(), s)
		if err != nil || info.LastSeq != 0 || info.Created.IsZero() {
			t.Errorf("%s: %+v, %v", s, info, err)
		}
	}
	if _, err := b.Info(t.Context(), "NOSUCH"); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("unknown stream: %v", err)
	}
}

func TestPublisherKeepsOrderAndBatches(t *testing.T) {
	_, b := start(t)
	p := b.NewPublisher(bus.PublisherConfig{MaxQueued: 1000, MaxBatch: 64})
	const n = 5000
	for i := range n {
		for _, sym := range []string{"IREN", "BRK.B"} {
			if err := p.Publish(t.Context(), trade(sym, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := p.Stats()
	if st.Events != 2*n || st.Messages >= n || st.Retries != 0 {
		t.Errorf("stats %+v: want %d events in far fewer messages", st, 2*n)
	}
	if err := p.Publish(t.Context(), trade("IREN", 1)); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("publish after close: %v", err)
	}
	next := map[string]int{}
	place := map[uint64]uint32{}
	err := b.Replay(t.Context(), market.Trades, "test", time.Time{}, func(ev market.Event, pl market.Place) error {
		tr := ev.(*market.Trade)
		if tr.ID != strconv.Itoa(next[tr.Symbol]) {
			return fmt.Errorf("%s: id %s, want %d", tr.Symbol, tr.ID, next[tr.Symbol])
		}
		next[tr.Symbol]++
		if pl.Idx != place[pl.Seq] {
			return fmt.Errorf("message %d: idx %d, want %d", pl.Seq, pl.Idx, place[pl.Seq])
		}
		place[pl.Seq]++
		return nil
	})
	if err != nil || next["IREN"] != n || next["BRK.B"] != n {
		t.Errorf("replayed %v, %v", next, err)
	}
	for tokens, want := range map[string]int{"test BRK.B": n, "* *": 2 * n, "test WGMI": 0} {
		got := 0
		err := b.Replay(t.Context(), market.Trades, "test", time.Time{}, func(market.Event, market.Place) error { got++; return nil }, strings.Fields(tokens)...)
		if err != nil || got != want {
			t.Errorf("tokens %s: %d events, %v; want %d", tokens, got, err, want)
		}
	}
	if err := b.Replay(t.Context(), market.Trades, "other", time.Time{}, func(market.Event, market.Place) error {
		return errors.New("an event of another source")
	}); err != nil {
		t.Error(err)
	}
}

func TestReaderStartsAnywhereAndCounts(t *testing.T) {
	_, b := start(t)
	p := b.NewPublisher(bus.PublisherConfig{})
	for i := range 10 {
		if err := p.Publish(t.Context(), trade("IREN", i)); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := b.Read(t.Context(), market.Trades, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for want := uint64(7); want <= 10; want++ {
		m, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.Seq != want || m.Events != 1 || m.Pending != 10-want || m.Subject != "md.v1.trade.test.IREN" {
			t.Errorf("message %+v, want sequence %d", m, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beyond the end: %v", err)
	}
	sum := 0
	if err := b.ScanCounts(t.Context(), market.Trades, 3, func(m bus.Msg) error { sum += m.Events; return nil }); err != nil || sum != 8 {
		t.Errorf("counted %d events from 3 on, %v", sum, err)
	}
	m, err := b.Get(t.Context(), market.Trades, 5)
	if err != nil || m.Seq != 5 {
		t.Errorf("get 5: %+v, %v", m, err)
	}
	events, err := wire.Decode(market.Trades, m.Data)
	if err != nil || len(events) != 1 {
		t.Errorf("decode: %v, %v", events, err)
	}
}

func TestCellIsComparedAndSwapped(t *testing.T) {
	_, b := start(t)
	c := b.Cell("lander.TRADES")
	if v, rev, err := c.Get(t.Context()); v != nil || rev != 0 || err != nil {
		t.Fatalf("fresh cell: %q %d %v", v, rev, err)
	}
	r1, err := c.Swap(t.Context(), []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Swap(t.Context(), []byte("zombie"), 0); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("second creation: %v", err)
	}
	r2, err := c.Swap(t.Context(), []byte("two"), r1)
	if err != nil || r2 <= r1 {
		t.Fatalf("swap: %d %v", r2, err)
	}
	if _, err := c.Swap(t.Context(), []byte("zombie"), r1); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("stale swap: %v", err)
	}
	// The answer to a swap was lost and the swap is tried again: it was ours.
	if rev, err := c.Swap(t.Context(), []byte("two"), r1); err != nil || rev != r2 {
		t.Errorf("repeated swap: %d %v, want %d", rev, err, r2)
	}
	if v, rev, err := c.Get(t.Context()); string(v) != "two" || rev != r2 || err != nil {
		t.Errorf("cell: %q %d %v", v, rev, err)
	}
}

func TestPublishOnceIsForEver(t *testing.T) {
	_, b := start(t)
	letter := &market.DeadLetter{
		Meta: market.Meta{Source: "lander", EventTime: at, RecvTime: at}, Of: "TRADES", Created: 1, Seq: 17, Idx: -1, Reason: "malformed",
	}
	for range 3 {
		if err := b.PublishOnce(t.Context(), letter); err != nil {
			t.Fatal(err)
		}
	}
	info, err := b.Info(t.Context(), market.Dead)
	if err != nil || info.Messages != 1 {
		t.Errorf("%d letters, %v", info.Messages, err)
	}
}

// TestPublisherOutlivesTheServer: the server is stopped and started under a publisher over TCP; every event arrives once, in order.
func TestPublisherOutlivesTheServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scfg := bus.ServerConfig{Addr: l.Addr().String(), DataDir: t.TempDir(), Sync: "always"}
	_ = l.Close()
	srv, err := bus.StartServer(scfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	cfg := bus.DefaultConfig()
	cfg.URL = srv.URL()
	b := connect(t, cfg, nil)
	p := b.NewPublisher(bus.PublisherConfig{MaxQueued: 100})
	const n = 600
	for i := range n {
		if i == 200 {
			srv.Close()
			if srv, err = bus.StartServer(scfg, quiet); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Publish(t.Context(), trade("IREN", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := 0
	err = b.Replay(t.Context(), market.Trades, "test", time.Time{}, func(ev market.Event, _ market.Place) error {
		if id := ev.(*market.Trade).ID; id != strconv.Itoa(want) {
			return fmt.Errorf("id %s, want %d", id, want)
		}
		want++
		return nil
	})
	if err != nil || want != n {
		t.Errorf("%d events, %v", want, err)
	}
	b.Close()
	srv.Close()
}

func TestServerRefusesWhatCannotWork(t *testing.T) {
	srv, _ := start(t)
	dir := t.TempDir()
	f := func(cfg bus.ServerConfig, want error) {
		t.Helper()
		s, err := bus.StartServer(cfg, quiet)
		if err == nil {
			s.Close()
		}
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", cfg, err, want)
		}
	}
	addr := srv.URL()[len("nats://"):]
	f(bus.ServerConfig{Addr: addr, DataDir: dir, Sync: "always"}, bus.ErrAddr)
	f(bus.ServerConfig{Addr: "127.0.0.1:0", DataDir: "/proc/none", Sync: "always"}, bus.ErrDataDir)
	f(bus.ServerConfig{Addr: "127.0.0.1", DataDir: dir, Sync: "always"}, nil)
	f(bus.ServerConfig{Addr: "127.0.0.1:0", DataDir: dir, Sync: "sometimes"}, nil)
	one, err := bus.StartServer(bus.ServerConfig{Addr: "127.0.0.1:0", DataDir: dir, Sync: "1m"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	f(bus.ServerConfig{Addr: "127.0.0.1:0", DataDir: dir, Sync: "always"}, bus.ErrDataDir)
}

func TestSubjectTokens(t *testing.T) {
	f := func(text, token string) {
		t.Helper()
		if got := bus.EscapeToken(text); got != token {
			t.Errorf("escape %q: %q, want %q", text, got, token)
		}
		if got, err := bus.UnescapeToken(token); got != text || err != nil {
			t.Errorf("unescape %q: %q %v", token, got, err)
		}
	}
	f("IREN", "IREN")
	f("BRK.B", "BRK%2EB")
	f("", "%")
	f("a b>*%", "a%20b%3E%2A%25")
	for _, bad := range []string{"%2", "%zz", "a%"} {
		if _, err := bus.UnescapeToken(bad); err == nil {
			t.Errorf("unescaped %q", bad)
		}
	}
	if s, ok := bus.StreamOf("md.v1.gpu.offer.vast.h100-sxm"); s != market.Offers || !ok {
		t.Error(s, ok)
	}
	if s, ok := bus.StreamOf("md.v1.dead.TRADES.1-2-3"); s != market.Dead || !ok {
		t.Error(s, ok)
	}
	if s, ok := bus.StreamOf("md.v1.trade.x"); ok {
		t.Error(s, ok)
	}
}

func TestStreamsOfFilter(t *testing.T) {
	f := func(filter string, want ...market.Stream) {
		t.Helper()
		if got := bus.StreamsOf(filter); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	f("md.v1.>", market.Streams()...)
	f("md.v1.trade.>", market.Trades)
	f("md.v1.*.alpaca.IREN", market.Trades, market.Quotes, market.Bars, market.Halts, market.Network, market.Signals, market.Dead)
	f("md.v1.gpu.*.vast.h200", market.Offers, market.Rates)
	f("elsewhere.>")
	if !bus.Matches("md.v1.trade.*.IREN", "md.v1.trade.alpaca.IREN") || bus.Matches("md.v1.trade.*", "md.v1.trade.alpaca.IREN") {
		t.Error("wildcards")
	}
}

func FuzzEscapeToken(f *testing.F) {
	f.Add("BRK.B")
	f.Add("\x00é*>.")
	f.Fuzz(func(t *testing.T, s string) {
		tok := bus.EscapeToken(s)
		for _, c := range []byte(tok) {
			if c == '.' || c == '*' || c == '>' || c <= ' ' || c > '~' {
				t.Fatalf("%q holds %q", tok, c)
			}
		}
		if back, err := bus.UnescapeToken(tok); back != s || err != nil {
			t.Fatalf("%q -> %q -> %q, %v", s, tok, back, err)
		}
	})
}

func TestConfigNamesTheKey(t *testing.T) {
	f := func(change func(*bus.Config), key string) {
		t.Helper()
		c := bus.DefaultConfig()
		change(&c)
		err := c.Validate()
		if err == nil || err.Error()[:len(key)] != key {
			t.Errorf("error %v does not begin with %s", err, key)
		}
	}
	f(func(c *bus.Config) { c.URL = "http://user:secret@x" }, "nats.url")
	f(func(c *bus.Config) { c.URL = "::" }, "nats.url")
	f(func(c *bus.Config) { c.Replicas = 0 }, "nats.replicas")
	f(func(c *bus.Config) { c.MaxBytes = 0 }, "nats.max_bytes")
	f(func(c *bus.Config) { c.MaxAge = time.Second }, "nats.max_age")
	if err := bus.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

// BenchmarkPublish is durable events a second into one server on this disk, every message synced.
func BenchmarkPublish(b *testing.B) {
	_, bs := start(b)
	p := bs.NewPublisher(bus.PublisherConfig{})
	symbols := []string{"WGMI", "CORZ", "BTBT", "IREN"}
	b.ResetTimer()
	for i := range b.N {
		if err := p.Publish(b.Context(), trade(symbols[i%4], i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	st := p.Stats()
	b.ReportMetric(float64(st.Events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(st.Events)/float64(st.Messages), "events/message")
}
