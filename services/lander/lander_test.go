package lander_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/lander"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// world is a real nats-server and a real ClickHouse, migrated.
type world struct {
	t     testing.TB
	bus   *bus.Bus
	store *store.Store
	pub   *bus.Publisher
	raw   *bus.Server
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return worldWith(t, storetest.Start(t))
}

func worldWith(t testing.TB, st *store.Store) *world {
	t.Helper()
	srv, b := bustest.Start(t)
	w := &world{t: t, bus: b, raw: srv, store: st, pub: b.NewPublisher(bus.PublisherConfig{})}
	t.Cleanup(func() { _ = w.pub.Close(context.Background()) })
	return w
}

var at = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)

func trade(n int) *market.Trade {
	return &market.Trade{
		Meta:   market.Meta{Source: "test", EventTime: at.Add(time.Duration(n) * time.Millisecond), RecvTime: at.Add(time.Duration(n) * time.Millisecond)},
		Action: market.TradeNew, Symbol: "IREN", ID: strconv.Itoa(n), Exchange: "V", Tape: "C", PriceUSD: market.MustDecimal("49.25"),
		SizeShares: market.MustDecimal("100"), Conditions: []string{"@"},
	}
}

func (w *world) publish(from, to int) {
	w.t.Helper()
	for i := from; i < to; i++ {
		if err := w.pub.Publish(w.t.Context(), trade(i)); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.pub.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// running is a lander at work.
type running struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (w *world) log() *slog.Logger { return chembedtest.Logger(w.t) }

func (w *world) deps() lander.Deps {
	return lander.Deps{Bus: w.bus, Store: w.store, Logger: w.log(), Watch: 50 * time.Millisecond, Zombies: time.Millisecond}
}

func (w *world) start(cfg lander.Config) (*lander.Lander, *running) {
	w.t.Helper()
	return w.startWith(cfg, w.deps())
}

func (w *world) startWith(cfg lander.Config, deps lander.Deps) (*lander.Lander, *running) {
	w.t.Helper()
	l, err := lander.New(cfg, deps)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = l.Run(ctx)
	}()
	w.t.Cleanup(func() { r.cancel(); <-r.done })
	return l, r
}

// wait waits until the lander ends by itself.
func (r *running) wait(t testing.TB) error {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		t.Fatal("the lander did not end")
	}
	return r.err
}

// stop ends the lander, which is no error.
func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
}

func small() lander.Config {
	cfg := lander.DefaultConfig()
	cfg.Streams = []market.Stream{market.Trades, market.Dead}
	cfg.MinInterval = time.Millisecond
	return cfg
}

func (w *world) drained(l *lander.Lander) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	if err := l.Drained(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) audit(published, landed, dead uint64) audit.Result {
	w.t.Helper()
	res, err := audit.Audit(w.t.Context(), w.bus, w.store, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	got := res.Streams[market.Trades]
	if got.Published != published || got.Landed != landed || got.Dead != dead || !res.Clean() {
		w.t.Errorf("audit %+v: want published %d, landed %d, dead %d, clean", res, published, landed, dead)
	}
	return res
}

func (w *world) one(sql string) string {
	w.t.Helper()
	res, err := w.store.Query(w.t.Context(), sql)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(res.Rows)
}

// place is where a trade stands in its stream.
func (w *world) place(id string) (seq uint64, idx uint32) {
	w.t.Helper()
	res, err := w.store.Query(w.t.Context(), "SELECT stream_seq, idx FROM trades WHERE trade_id = '"+id+"'")
	if err != nil || len(res.Rows) != 1 {
		w.t.Fatal(res.Rows, err)
	}
	return res.Rows[0][0].(uint64), res.Rows[0][1].(uint32)
}

func (w *world) exec(sql string) {
	w.t.Helper()
	if err := w.store.Exec(w.t.Context(), sql); err != nil {
		w.t.Fatal(err)
	}
}

func TestLandsEverythingOnceAcrossRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := small()
	cfg.MaxRows = 700 // many ranges
	for round := range 4 {
		w.publish(round*3000, round*3000+3000)
		l, r := w.start(cfg)
		if round%2 == 0 {
			w.drained(l)
		} // else: stopped in the middle of whatever it was doing
		r.stop(t)
	}
	l, r := w.start(cfg)
	w.drained(l)
	w.audit(12000, 12000, 0)
	if got := w.one("SELECT count(), uniqExact(trade_id), min(event_time) = '2026-11-20 14:30:00' FROM trades"); got != "[[12000 12000 1]]" {
		t.Errorf("rows %s", got)
	}
	r.stop(t)
}

// TestEngineKilledWhileLanding: kill -9 of the engine at any moment costs neither a row nor a double.
func TestEngineKilledWhileLanding(t *testing.T) {
	t.Parallel()
	st, engine := storetest.StartServer(t, func(*chembed.Config) {})
	w := worldWith(t, st)
	cfg := small()
	cfg.MaxRows = 500
	l, _ := w.start(cfg)
	for round := range 6 {
		w.publish(round*2000, round*2000+2000)
		// No such process: it is already down from the last kill, which is as good.
		if err := syscall.Kill(engine.Pid(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	w.drained(l)
	w.audit(12000, 12000, 0)
}

func TestWhatCannotLandIsDeadOnceAndTheRestLands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(0, 10)
	bustest.Foreign(t, w.raw, "md.v1.trade.foreign.IREN", []byte("not protobuf"))
	bad := trade(10)
	bad.PriceUSD = market.MustDecimal("0") // only a foreign publisher sends it: feeds refuse it at the door
	for _, ev := range []market.Event{trade(11), bad, trade(12)} {
		if err := w.pub.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	w.publish(13, 20)
	for range 2 { // the second lander replays the same range: the letters must not double
		l, r := w.start(small())
		w.drained(l)
		r.stop(t)
	}
	w.audit(21, 19, 2)
	got := w.one("SELECT dead_stream, reason, dead_idx FROM dead_letters ORDER BY dead_seq")
	if got != "[[TRADES malformed -1] [TRADES impossible_price 0]]" && got != "[[TRADES malformed -1] [TRADES impossible_price 1]]" {
		t.Errorf("dead letters %s", got)
	}
}

func TestAuditSeesLossAndDoubles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := small()
	w.publish(0, 100)
	w.publish(100, 200)
	w.publish(200, 300)
	l, r := w.start(cfg)
	w.drained(l)
	r.stop(t)
	// Move the record on, so that what is in the table is settled.
	w.publish(300, 301)
	l, r = w.start(cfg)
	w.drained(l)
	r.stop(t)
	w.audit(301, 301, 0)
	w.exec("ALTER TABLE trades DELETE WHERE trade_id = '5' SETTINGS mutations_sync = 2")
	w.exec("INSERT INTO trades SELECT * FROM trades WHERE trade_id = '250' SETTINGS insert_deduplicate = 0")
	res, err := audit.Audit(t.Context(), w.bus, w.store, []market.Stream{market.Trades})
	if err != nil {
		t.Fatal(err)
	}
	if res.Lost != 1 || res.Duplicates != 1 || res.Clean() || len(res.Differences) != 2 {
		t.Errorf("audit %+v: want one lost, one doubled", res)
	}
}

// TestHolesHoldNothing: messages that were deleted before they landed leave holes; the ranges go over them.
func TestHolesHoldNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 20 {
		w.publish(i, i+1)
	}
	for _, seq := range []uint64{1, 7, 8, 20} {
		bustest.DeleteMessage(t, w.raw, market.Trades, seq)
	}
	w.publish(20, 21)
	l, r := w.start(small())
	w.drained(l)
	r.stop(t)
	w.audit(17, 17, 0)
}

// TestForgottenTokensDoNotDouble: after a power cut the engine may have the rows of the last range and not its tokens. The range was
// inserted again then, and every row of it stood twice.
func TestForgottenTokensDoNotDouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(0, 500)
	l, r := w.start(small())
	w.drained(l)
	r.stop(t)
	w.exec("ALTER TABLE trades MODIFY SETTING non_replicated_deduplication_window = 0")
	l, r = w.start(small())
	w.drained(l)
	r.stop(t)
	w.audit(500, 500, 0)
}
