package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/govalues/decimal"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/services/lander"
)

// landEvents are the trades of the publish and landing benchmarks: enough for several ranges of the greatest size.
const landEvents = 2_000_000

// tape makes trades as a busy day has them: a random walk in cents, odd lots, nanosecond stamps, a handful of exchanges and conditions.
type tape struct {
	rnd   *rand.Rand
	at    time.Time
	cents map[string]int64
	n     int
}

func newTape() *tape {
	return &tape{
		rnd: rand.New(rand.NewPCG(1, 2)), at: time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC),
		cents: map[string]int64{"WGMI": 4200, "CORZ": 1650, "BTBT": 210, "IREN": 4900},
	}
}

var (
	symbols    = []string{"WGMI", "CORZ", "BTBT", "IREN"}
	exchanges  = []string{"V", "D", "Q", "P", "K", "Z"}
	conditions = [][]string{{"@"}, {"@", "I"}, {"@", "F"}, {"@", "F", "I"}, {"@", "T"}}
)

func (t *tape) next() (*market.Trade, error) {
	sym := symbols[t.rnd.IntN(len(symbols))]
	t.cents[sym] = max(t.cents[sym]+int64(t.rnd.IntN(3))-1, 1)
	price, err := decimal.New(t.cents[sym], 2)
	if err != nil {
		return nil, err
	}
	size, err := decimal.New(int64(1+t.rnd.IntN(400)), 0)
	if err != nil {
		return nil, err
	}
	t.at = t.at.Add(time.Duration(t.rnd.IntN(20_000_000)))
	t.n++
	return &market.Trade{
		Meta:   market.Meta{Source: "sim-bench", EventTime: t.at, RecvTime: t.at.Add(time.Duration(500_000 + t.rnd.IntN(5_000_000)))},
		Action: market.TradeNew, Symbol: sym, ID: strconv.Itoa(50_000_000_000 + t.n), Exchange: exchanges[t.rnd.IntN(len(exchanges))], Tape: "C",
		PriceUSD: price, SizeShares: size, Conditions: conditions[t.rnd.IntN(len(conditions))],
	}, nil
}

// stream is an embedded nats-server with its connection.
type stream struct {
	srv *bus.Server
	bus *bus.Bus
}

func openStream(ctx context.Context, dir string) (*stream, error) {
	cfg := bus.DefaultServerConfig()
	cfg.Addr, cfg.DataDir = "127.0.0.1:0", filepath.Join(dir, "nats")
	srv, err := bus.StartServer(cfg, quiet())
	if err != nil {
		return nil, err
	}
	b, err := bus.Connect(bus.DefaultConfig(), srv, quiet())
	if err != nil {
		srv.Close()
		return nil, err
	}
	s := &stream{srv, b}
	if err := b.Ensure(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stream) close() {
	s.bus.Close()
	s.srv.Close()
}

// fill publishes n trades and returns how long that took, every message synced to the disk.
func (s *stream) fill(ctx context.Context, n int) (time.Duration, error) {
	t := newTape()
	trades := make([]*market.Trade, n)
	for i := range trades {
		var err error
		if trades[i], err = t.next(); err != nil {
			return 0, err
		}
	}
	p := s.bus.NewPublisher(bus.PublisherConfig{})
	start := time.Now()
	for _, tr := range trades {
		if err := p.Publish(ctx, tr); err != nil {
			return 0, err
		}
	}
	err := p.Close(ctx)
	return time.Since(start), err
}

// publish measures durable events a second into JetStream.
func publish(ctx context.Context, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := openStream(ctx, dir)
	if err != nil {
		return err
	}
	defer s.close()
	took, err := s.fill(ctx, landEvents)
	if err != nil {
		return err
	}
	print(figure{Name: "publish_durable", Value: rate(landEvents, took), Unit: "events/s"})
	return nil
}

func rate(n int, d time.Duration) float64 { return float64(int(float64(n) / d.Seconds())) }

// landing measures the lander over a full stream against the bare engine with the same blocks.
func landing(ctx context.Context, print func(figure)) error {
	dir, err := os.MkdirTemp("", "hashpivot-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := openStream(ctx, dir)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.fill(ctx, landEvents); err != nil {
		return err
	}
	runtime.GC() // what was published is garbage now, and none of the lander's
	landed, blocks, create, err := land(ctx, s, dir)
	if err != nil {
		return err
	}
	cfg := engineConfig(filepath.Join(dir, "bare"))
	bare, err := chembed.RunBareInsert(ctx, cfg, chembed.BareInsert{Setup: []string{create}, Insert: "INSERT INTO trades", Blocks: blocks, Token: "bench"})
	if err != nil {
		return err
	}
	limit := figure{Name: "engine_bare_insert", Value: rate(int(bare.Rows), bare.Elapsed), Unit: "rows/s"}
	print(limit)
	got := rate(landEvents, landed)
	print(figure{Name: "lander", Value: got, Unit: "rows/s", Ratio: got / limit.Value, RatioTo: limit.Name})
	return nil
}

func engineConfig(dir string) chembed.Config {
	c := chembed.DefaultConfig()
	c.DataDir, c.NativeAddr, c.HTTPAddr, c.Logger = dir, "127.0.0.1:0", "127.0.0.1:0", quiet()
	return c
}

// land runs the lander until the stream is empty, and returns the time, the landed blocks in Native and the table's statement.
func land(ctx context.Context, s *stream, dir string) (time.Duration, [][]byte, string, error) {
	fail := func(err error) (time.Duration, [][]byte, string, error) { return 0, nil, "", err }
	engine, err := chembed.Start(ctx, engineConfig(filepath.Join(dir, "clickhouse")))
	if err != nil {
		return fail(err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = engine.Close(end)
	}()
	cfg := store.DefaultConfig()
	cfg.Addr = []string{engine.NativeAddr()}
	st, err := store.Open(ctx, cfg, quiet())
	if err != nil {
		return fail(err)
	}
	defer func() { _ = st.Close() }()
	if err := st.Migrate(ctx); err != nil {
		return fail(err)
	}
	lcfg := lander.DefaultConfig()
	lcfg.Streams = []market.Stream{market.Trades}
	l, err := lander.New(lcfg, lander.Deps{Bus: s.bus, Store: st, Logger: quiet()})
	if err != nil {
		return fail(err)
	}
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- l.Run(lctx) }()
	err = l.Drained(ctx)
	took := time.Since(start)
	stop()
	if err := errors.Join(err, <-done); err != nil {
		return fail(err)
	}
	res, err := st.Query(ctx, "SELECT count() FROM trades")
	if err != nil {
		return fail(err)
	}
	if n := fmt.Sprint(res.Rows[0][0]); n != strconv.Itoa(landEvents) {
		return fail(fmt.Errorf("%s rows landed, not %d", n, landEvents))
	}
	res, err = st.Query(ctx, "SHOW CREATE TABLE trades")
	if err != nil {
		return fail(err)
	}
	create := strings.Replace(fmt.Sprint(res.Rows[0][0]), cfg.Database+".trades", "trades", 1)
	// The blocks that the lander sent: ranges of its greatest size in the order of the stream.
	q := url.Values{
		"query":          {"SELECT * FROM " + cfg.Database + ".trades ORDER BY stream_seq, idx FORMAT Native"},
		"max_block_size": {strconv.Itoa(lcfg.MaxRows)}, "max_threads": {"1"},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+engine.HTTPAddr()+"/?"+q.Encode(), nil)
	if err != nil {
		return fail(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fail(err)
	}
	if resp.StatusCode != http.StatusOK {
		return fail(fmt.Errorf("read the landed blocks: HTTP %d %.200s", resp.StatusCode, body))
	}
	blocks, err := chembed.NativeBlocks(body)
	return took, blocks, create, err
}
