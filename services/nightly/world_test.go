package nightly

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/pkg/wire"
	"github.com/hashpivot/hashpivot/services/nightly/complete"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const (
	password = "sesame-open"
	hookKey  = "hook-key-1234"
)

// world is a real nats-server and a real ClickHouse, a webhook that remembers, and a log that can be read.
type world struct {
	t      *testing.T
	bus    *bus.Bus
	pub    *bus.Publisher
	store  *store.Store
	engine *chembed.Server
	landed map[market.Stream]uint64
	log    *logs
	hook   *httptest.Server

	mu      sync.Mutex
	notices []Notice
	refuse  int // so many posts are answered with 503 first
	audit   complete.Audit
	audits  int
	now     time.Time // zero: the clock
	tracer  trace.Tracer
}

// logs is a log that can be read.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	_, b := bustest.Start(t)
	st, engine := storetest.StartServer(t)
	w := &world{
		t: t, bus: b, store: st, engine: engine, pub: b.NewPublisher(bus.PublisherConfig{}), landed: map[market.Stream]uint64{}, log: &logs{}, audit: complete.Audit{Clean: true},
	}
	t.Cleanup(func() { _ = w.pub.Close(context.Background()) })
	w.hook = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var n Notice
		err := json.Unmarshal(body, &n)
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case w.refuse > 0:
			w.refuse--
			rw.WriteHeader(http.StatusServiceUnavailable)
		case err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.URL.Path != "/"+hookKey:
			rw.WriteHeader(http.StatusBadRequest)
		default:
			w.notices = append(w.notices, n)
		}
	}))
	t.Cleanup(w.hook.Close)
	return w
}

// service makes one over the world.
func (w *world) service(change func(*Config)) *Service {
	w.t.Helper()
	cfg := DefaultConfig()
	script, err := filepath.Abs("testdata/notebooks.py")
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.Python, cfg.Notebooks, cfg.Directory, cfg.Calendar = script, []string{"ok"}, w.t.TempDir(), "always"
	cfg.Backoff, cfg.Retries, cfg.Chromium, cfg.CheckEvery = time.Millisecond, 0, Off, time.Second
	cfg.Webhook.URL = run.Secret(w.hook.URL + "/" + hookKey)
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, Deps{
		Bus: w.bus, Store: w.store, Mode: "sim", Mark: "sim-", Version: "test", Tracer: w.tracer, Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		ClickHouse: ClickHouse{URL: "http://" + w.engine.HTTPAddr(), Database: "hashpivot", User: "default", Password: password},
		Audit: func(context.Context) (complete.Audit, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.audits++
			return w.audit, nil
		},
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.now.IsZero() {
				return time.Now()
			}
			return w.now
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s.webhookWait = time.Millisecond
	return s
}

func (w *world) setNow(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = t
}

// told are the notices, and forgets them.
func (w *world) told() []Notice {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.notices
	w.notices = nil
	return out
}

// publish stores events; land brings all that is stored into the tables and writes the record as a lander does: the last range stays in flight.
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

func (w *world) land() {
	w.t.Helper()
	for _, st := range market.Streams() {
		w.landOne(st, true)
	}
}

// landOne writes the record of a stream down and, unless it is cut off there, inserts the range.
func (w *world) landOne(st market.Stream, insert bool) {
	w.t.Helper()
	ctx := w.t.Context()
	info, err := w.bus.Info(ctx, st)
	if err != nil {
		w.t.Fatal(err)
	}
	first := w.landed[st] + 1
	if info.LastSeq < first {
		return
	}
	cell := w.bus.Cell(bus.LandingKey(st, bus.Shard{}))
	_, rev, err := cell.Get(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	record, _ := json.Marshal(bus.Landing{Created: info.Created.UnixNano(), First: first, Last: info.LastSeq})
	if _, err := cell.Swap(ctx, record, rev); err != nil {
		w.t.Fatal(err)
	}
	if !insert {
		return
	}
	b := w.store.NewBatch()
	for s := first; s <= info.LastSeq; s++ {
		m, err := w.bus.Get(ctx, st, s)
		if err != nil {
			w.t.Fatal(err)
		}
		events, err := wire.Decode(st, m.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		for i, ev := range events {
			if err := b.Add(ev, market.Place{Stream: st, Seq: s, Idx: uint32(i), StreamTime: m.StreamTime()}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if err := w.store.Insert(ctx, b, fmt.Sprintf("%s:%d-%d", st, first, info.LastSeq)); err != nil {
		w.t.Fatal(err)
	}
	w.landed[st] = info.LastSeq
}

func meta(source string, at time.Time) market.Meta {
	return market.Meta{Source: source, EventTime: at, RecvTime: at}
}

func one(text string) market.Decimal { return market.MustDecimal(text) }

func bar(d session.Date, final bool, rev uint32) *market.Bar {
	m := meta("sim-alpaca-prints", time.Date(d.Year, d.Month, d.Day, 5, 0, 0, 0, time.UTC))
	m.Rev = rev
	return &market.Bar{
		Meta: m, Symbol: "IREN", Interval: market.Interval1d, OpenUSD: one("50"), HighUSD: one("51"), LowUSD: one("49"), CloseUSD: one("50"), Volume: one("100"), VWAPUSD: one("50"),
		TradeCount: 3, Final: final, TradeDate: d.String(), Method: "alpaca-conditions/1",
	}
}

func state(source string, st market.FeedState, at time.Time) *market.FeedEvent {
	return &market.FeedEvent{Meta: meta(source, at), State: st}
}

func hashpriceOf(d session.Date) *market.Hashprice {
	return &market.Hashprice{
		Meta: meta("sim-hashpivot", midnight(d)), Method: "daily", Height: 900000, Difficulty: one("126271255279306.8"), SubsidySat: 312500000, MeanFeesSat: one("1000000"),
		FeeWindowBlocks: 144, BTCUSD: one("90000"), BTCUSDSource: "sim-coinbase", HashpriceBTC: one("0.0005"), HashpriceSat: one("50000"), HashpriceUSD: one("45"), NetworkEHs: one("900"),
	}
}

func rateOf(d session.Date, gpu string) *market.Rate {
	return &market.Rate{Meta: meta("sim-hashpivot", midnight(d).Add(time.Hour)), GPU: gpu, Class: market.OnDemand, Method: "gpu-wmedian", Version: 1, USDPerGPUHour: one("2.5"), SampleOffers: 3, SampleGPUs: 24}
}

// whole publishes and lands everything that makes a date complete.
func (w *world) whole(s *Service, d session.Date) {
	w.t.Helper()
	day := s.cal.day(d)
	w.publish(state("sim-alpaca", market.FeedConnected, day.begin.Add(-time.Hour)), bar(d, true, 0), hashpriceOf(d), rateOf(d, "h100-sxm"))
	w.land()
}

// query is one value.
func (w *world) query(sql string) string {
	w.t.Helper()
	res, err := w.store.Query(w.t.Context(), sql)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(res.Rows)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// pids reads the processes of a notebook that spawns some, once it has.
func pids(t *testing.T, root string) []int {
	t.Helper()
	var data []byte
	eventually(t, "the notebook's processes are known", func() bool {
		files, _ := filepath.Glob(filepath.Join(root, "*", "*", ".work-*", "out", "pids"))
		if len(files) == 0 {
			return false
		}
		var err error
		data, err = os.ReadFile(files[0])
		return err == nil
	})
	var out []int
	for f := range strings.FieldsSeq(string(data)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	if len(out) != 3 {
		t.Fatalf("pids %q", data)
	}
	return out
}

// gone waits until none of the processes runs; a zombie that nobody reaps runs no more.
func gone(t *testing.T, list []int) {
	t.Helper()
	for _, pid := range list {
		eventually(t, fmt.Sprintf("process %d is gone", pid), func() bool {
			if syscall.Kill(pid, 0) == syscall.ESRCH {
				return true
			}
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
}
