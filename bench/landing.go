package main

import (
	"context"
	"errors"
	"flag"
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

var (
	landRows  = flag.Int("max-rows", 0, "of landing: lander.max_rows (default: the lander's)")
	landBytes = flag.Int("max-bytes", 0, "of landing: lander.max_bytes (default: the lander's)")
)

// landEvents are the trades of the publish and landing benchmarks: enough for many ranges of the greatest size.
const landEvents = 6_000_000

// tape makes trades as a busy day has them: a random walk in cents, odd lots, nanosecond stamps, a handful of exchanges and conditions.
type tape struct {
	rnd     *rand.Rand
	at      time.Time
	symbols []string
	cents   map[string]int64
	n       int
	// run is how many prints of one symbol follow each other; 1 is a tape, more makes fuller messages of the same symbols.
	run, left int
	symbol    string
}

func newTape() *tape {
	t := newTapeOf([]string{"WGMI", "CORZ", "BTBT", "IREN"}, 1)
	t.cents = map[string]int64{"WGMI": 4200, "CORZ": 1650, "BTBT": 210, "IREN": 4900}
	return t
}

func newTapeOf(symbols []string, run int) *tape {
	t := &tape{
		rnd: rand.New(rand.NewPCG(1, 2)), at: time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC), symbols: symbols, cents: map[string]int64{}, run: run,
	}
	for i, s := range symbols {
		t.cents[s] = int64(1000 + 7*i)
	}
	return t
}

var (
	exchanges  = []string{"V", "D", "Q", "P", "K", "Z"}
	conditions = [][]string{{"@"}, {"@", "I"}, {"@", "F"}, {"@", "F", "I"}, {"@", "T"}}
)

func (t *tape) next() (*market.Trade, error) {
	if t.left == 0 {
		t.symbol, t.left = t.symbols[t.rnd.IntN(len(t.symbols))], t.run
	}
	t.left--
	sym := t.symbol
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
		Meta:   market.Meta{Source: "sim-bench", EventTime: t.at, RecvTime: t.at.Add(time.Duration(500_000 + t.rnd.IntN(5_000_000))).Truncate(time.Microsecond)},
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
func (s *stream) fill(ctx context.Context, t *tape, n int) (took time.Duration, _ error) {
	p := s.bus.NewPublisher(bus.PublisherConfig{})
	trades := make([]*market.Trade, 0, 500_000)
	for n > 0 {
		trades = trades[:min(n, cap(trades))]
		n -= len(trades)
		for i := range trades { // outside of what is measured
			var err error
			if trades[i], err = t.next(); err != nil {
				return 0, err
			}
		}
		start := time.Now()
		for _, tr := range trades {
			if err := p.Publish(ctx, tr); err != nil {
				return 0, err
			}
		}
		if n == 0 {
			err := p.Close(ctx)
			return took + time.Since(start), err
		}
		if err := p.Flush(ctx); err != nil {
			return 0, err
		}
		took += time.Since(start)
	}
	return took, nil
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
	took, err := s.fill(ctx, newTape(), landEvents)
	if err != nil {
		return err
	}
	print(figure{Name: "publish_durable", Value: rate(landEvents, took), Unit: "events/s"})
	return nil
}

func rate(n int, d time.Duration) float64 { return float64(int(float64(n) / d.Seconds())) }

// landingFull measures the lander over a full stream against the bare engine with the same blocks.
func landingFull(ctx context.Context, print func(figure)) error {
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
	if _, err := s.fill(ctx, newTape(), landEvents); err != nil {
		return err
	}
	runtime.GC() // what was published is garbage now, and none of the lander's
	var bare chembed.BareInsert
	l, err := land(ctx, s, dir, landEvents, &bare)
	if err != nil {
		return err
	}
	res, err := chembed.RunBareInsert(ctx, engineConfig(filepath.Join(dir, "bare")), bare)
	if err != nil {
		return err
	}
	limit := figure{Name: "engine_bare_insert", Value: rate(int(res.Rows), res.Elapsed), Unit: "rows/s"}
	print(limit)
	got := rate(landEvents, l.took)
	print(figure{Name: "lander", Value: got, Unit: "rows/s", Ratio: got / limit.Value, RatioTo: limit.Name})
	print(figure{Name: "lander_cpu", Value: l.cpu * 1e6 / landEvents, Unit: "us/row"}) // with nats-server, which is embedded
	print(figure{Name: "lander_engine_cpu", Value: l.engineCPU * 1e6 / landEvents, Unit: "us/row"})
	return nil
}

func engineConfig(dir string) chembed.Config {
	c := chembed.DefaultConfig()
	c.DataDir, c.NativeAddr, c.HTTPAddr, c.Logger = dir, "127.0.0.1:0", "127.0.0.1:0", quiet()
	return c
}

// tables are an engine with the schema.
type tables struct {
	engine   *chembed.Server
	store    *store.Store
	database string
}

func openTables(ctx context.Context, dir string) (*tables, error) {
	engine, err := chembed.Start(ctx, engineConfig(dir))
	if err != nil {
		return nil, err
	}
	t := &tables{engine: engine}
	cfg := store.DefaultConfig()
	cfg.Addr, t.database = []string{engine.NativeAddr()}, cfg.Database
	if t.store, err = store.Open(ctx, cfg, quiet()); err == nil {
		err = t.store.Migrate(ctx)
	}
	if err != nil {
		t.close(ctx)
		return nil, err
	}
	return t, nil
}

func (t *tables) close(ctx context.Context) {
	if t.store != nil {
		_ = t.store.Close()
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = t.engine.Close(end)
}

// landing is what it took to land a stream.
type landing struct {
	took           time.Duration
	messages       uint64
	cpu, engineCPU float64 // seconds, of this process and of the engine's
}

// land runs the lander until the stream of n trades is empty. It fills bare, if there is one, with the landed blocks and the table's statement.
func land(ctx context.Context, s *stream, dir string, n int, bare *chembed.BareInsert) (landing, error) {
	var out landing
	t, err := openTables(ctx, filepath.Join(dir, "clickhouse"))
	if err != nil {
		return out, err
	}
	defer t.close(ctx)
	engine, st, database := t.engine, t.store, t.database
	info, err := s.bus.Info(ctx, market.Trades)
	if err != nil {
		return out, err
	}
	out.messages = info.Messages
	lcfg := lander.DefaultConfig()
	lcfg.Streams = []market.Stream{market.Trades}
	if *landRows > 0 {
		lcfg.MaxRows = *landRows
	}
	if *landBytes > 0 {
		lcfg.MaxBytes = *landBytes
	}
	l, err := lander.New(lcfg, lander.Deps{Bus: s.bus, Store: st, Logger: quiet()})
	if err != nil {
		return out, err
	}
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	start, cpu, engineCPU := time.Now(), cpuSeconds(), cpuSecondsOf(engine.Pid())
	go func() { done <- l.Run(lctx) }()
	err = l.Drained(ctx)
	out.took, out.cpu, out.engineCPU = time.Since(start), cpuSeconds()-cpu, cpuSecondsOf(engine.Pid())-engineCPU
	stop()
	if err := errors.Join(err, <-done); err != nil {
		return out, err
	}
	res, err := st.Query(ctx, "SELECT count() FROM trades")
	if err != nil {
		return out, err
	}
	if got := fmt.Sprint(res.Rows[0][0]); got != strconv.Itoa(n) {
		return out, fmt.Errorf("%s rows landed, not %d", got, n)
	}
	if bare == nil {
		return out, nil
	}
	*bare, err = landedBlocks(ctx, st, engine.HTTPAddr(), database, lcfg.MaxRows)
	return out, err
}

// landedBlocks are the blocks that the lander sent: ranges of its greatest size in the order of the stream.
func landedBlocks(ctx context.Context, st *store.Store, addr, database string, rows int) (chembed.BareInsert, error) {
	fail := func(err error) (chembed.BareInsert, error) { return chembed.BareInsert{}, err }
	res, err := st.Query(ctx, "SHOW CREATE TABLE trades")
	if err != nil {
		return fail(err)
	}
	create := strings.Replace(fmt.Sprint(res.Rows[0][0]), database+".trades", "trades", 1)
	q := url.Values{
		"query":          {"SELECT * FROM " + database + ".trades ORDER BY stream_seq, idx FORMAT Native"},
		"max_block_size": {strconv.Itoa(rows)}, "max_threads": {"1"},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/?"+q.Encode(), nil)
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
	return chembed.BareInsert{Setup: []string{create}, Insert: "INSERT INTO trades", Blocks: blocks, Token: "bench"}, err
}
