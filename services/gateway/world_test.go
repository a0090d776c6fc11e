package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/pkg/wire"
	"github.com/hashpivot/hashpivot/services/gateway"
)

func TestMain(m *testing.M) { chembedtest.Main(m) }

// world is a real nats-server and a real ClickHouse. What lands in it is the test's to say.
type world struct {
	t       *testing.T
	bus     *bus.Bus
	pub     *bus.Publisher
	store   *store.Store // nil: without tables
	history gateway.History
	tracer  trace.Tracer // nil: nothing is traced

	mu     sync.Mutex
	landed uint64 // of TRADES
}

// newWorld makes one; without tables there is no engine to wait for.
func newWorld(t *testing.T, tables bool) *world {
	t.Helper()
	_, b := bustest.Start(t)
	w := &world{t: t, bus: b, history: noTables{}, pub: b.NewPublisher(bus.PublisherConfig{})}
	if tables {
		w.store = storetest.Start(t)
		w.history = w.store
	}
	t.Cleanup(func() { _ = w.pub.Close(context.Background()) })
	return w
}

// gateway runs a gateway until stop is called.
func (w *world) gateway(change func(*gateway.Config)) (g *gateway.Gateway, stop func()) {
	w.t.Helper()
	cfg := gateway.DefaultConfig()
	cfg.Addr = "127.0.0.1:0"
	cfg.Limits.AddressConnects, cfg.Limits.AddressConnectBurst = 1e6, 1e6
	if change != nil {
		change(&cfg)
	}
	g, err := gateway.New(cfg, gateway.Deps{
		Log: gateway.JetStream(w.bus), History: w.history, Mode: "sim", Once: w.bus, Logger: slog.New(slog.DiscardHandler),
		Metrics: gateway.NewMetrics(prometheus.NewRegistry()), Tracer: w.tracer,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the gateway ended with %v", err)
		}
	})
	w.t.Cleanup(stop)
	select {
	case <-g.Ready():
	case <-time.After(60 * time.Second):
		w.t.Fatal("the gateway is not ready")
	}
	return g, stop
}

var begin = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)

func trade(symbol string, n int) *market.Trade {
	at := begin.Add(time.Duration(n) * time.Millisecond)
	return &market.Trade{
		Meta: market.Meta{Source: "test", EventTime: at, RecvTime: at}, Action: market.TradeNew, Symbol: symbol, ID: strconv.Itoa(n), Exchange: "V", Tape: "C",
		PriceUSD: market.MustDecimal("49.25"), SizeShares: market.MustDecimal("100"), Conditions: []string{"@"},
	}
}

func quote(symbol string, n int) *market.Quote {
	at := begin.Add(time.Duration(n) * time.Millisecond)
	return &market.Quote{
		Meta: market.Meta{Source: "test", EventTime: at, RecvTime: at}, Symbol: symbol, BidExchange: "V", AskExchange: "V", BidPriceUSD: market.MustDecimal("49.25"),
		AskPriceUSD: market.MustDecimal("49.27"), BidSizeShares: market.MustDecimal("100"), AskSizeShares: market.MustDecimal(strconv.Itoa(n + 1)),
	}
}

// publish stores the events and waits until they are.
func (w *world) publish(events ...market.Event) {
	w.t.Helper()
	for _, ev := range events {
		if err := w.pub.Publish(w.t.Context(), ev); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.pub.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// land puts what TRADES holds up to seq into the tables, and says so as the lander does.
func (w *world) land(seq uint64) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	info, err := w.bus.Info(w.t.Context(), market.Trades)
	if err != nil {
		w.t.Fatal(err)
	}
	first := w.landed + 1
	b := w.store.NewBatch()
	for s := first; s <= seq; s++ {
		m, err := w.bus.Get(w.t.Context(), market.Trades, s)
		if err != nil {
			w.t.Fatal(err)
		}
		events, err := wire.Decode(market.Trades, m.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		for i, ev := range events {
			if err := b.Add(ev, market.Place{Stream: market.Trades, Seq: s, Idx: uint32(i), StreamTime: m.StreamTime()}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if b.Rows() > 0 {
		if err := w.store.Insert(w.t.Context(), b, fmt.Sprintf("TRADES:%d-%d", first, seq)); err != nil {
			w.t.Fatal(err)
		}
	}
	w.landed = max(seq, w.landed)
	cell := w.bus.Cell(bus.LandingKey(market.Trades, bus.Shard{}))
	_, rev, err := cell.Get(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := json.Marshal(bus.Landing{Created: info.Created.UnixNano(), First: w.landed + 1, Last: w.landed + 1})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := cell.Swap(w.t.Context(), text, rev); err != nil {
		w.t.Fatal(err)
	}
}

// told is any frame.
type told struct {
	Type          string
	ID            string
	Op            string
	Sub           string
	Code          string
	Message       string
	State         string
	Position      string
	Resume        string
	Time          time.Time
	Positions     map[string]string
	Messages      []message
	Skipped       []live.Skipped
	Subscriptions []live.Subscription
}

type message struct {
	raw    json.RawMessage
	Type   string
	Cursor string
	Symbol string
}

func (m *message) UnmarshalJSON(data []byte) error {
	type plain message
	m.raw = slices.Clone(data)
	return json.Unmarshal(data, (*plain)(m))
}

// peer is a client of a test.
type peer struct {
	t  *testing.T
	ws *websocket.Conn
}

func dial(t *testing.T, g *gateway.Gateway, header http.Header) *peer {
	t.Helper()
	d := websocket.Dialer{HandshakeTimeout: 10 * time.Second, EnableCompression: header.Get("Compress") != ""}
	ws, resp, err := d.Dial("ws://"+g.Addr()+"/v1/ws", header)
	if err != nil {
		t.Fatalf("dial: %v (%v)", err, resp)
	}
	t.Cleanup(func() { _ = ws.Close() })
	p := &peer{t, ws}
	if f := p.next(); f.Type != live.FrameWelcome {
		t.Fatalf("the first frame is %q", f.Type)
	}
	return p
}

// read is the next frame, or the error that ended the connection.
func (p *peer) read() (told, error) {
	_ = p.ws.SetReadDeadline(time.Now().Add(60 * time.Second))
	_, data, err := p.ws.ReadMessage()
	if err != nil {
		return told{}, err
	}
	var f told
	if err := json.Unmarshal(data, &f); err != nil {
		p.t.Errorf("frame %.200s: %v", data, err)
	}
	return f, nil
}

func (p *peer) next() told {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return f
}

// until reads on to the first frame of the type; what comes before is handed to each.
func (p *peer) until(typ string, each func(told)) told {
	p.t.Helper()
	for {
		f := p.next()
		if f.Type == typ {
			return f
		}
		if f.Type == live.FrameError {
			p.t.Fatalf("error %s: %s", f.Code, f.Message)
		}
		if each != nil {
			each(f)
		}
	}
}

func (p *peer) send(req any) {
	p.t.Helper()
	if err := p.ws.WriteJSON(req); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// subscribe asks and waits for the acknowledgement.
func (p *peer) subscribe(req live.Request) told {
	p.t.Helper()
	req.Op, req.ID = live.OpSubscribe, "s"
	p.send(req)
	return p.until(live.FrameAck, nil)
}

// hangUp ends the connection without a close frame, as a dead machine does.
func (p *peer) hangUp() {
	if tcp, ok := p.ws.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = p.ws.NetConn().Close()
}
