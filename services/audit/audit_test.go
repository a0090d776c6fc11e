package audit_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/lander"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// world is a real nats-server, a real ClickHouse and a real lander.
type world struct {
	t     *testing.T
	raw   *bus.Server
	bus   *bus.Bus
	store *store.Store
	pub   *bus.Publisher
}

// TestAudit runs all tests on one database, which each finds empty.
func TestAudit(t *testing.T) {
	st := storetest.Start(t)
	for _, test := range []struct {
		name string
		run  func(*world)
	}{
		{"finds what is lost, doubled and altered", findsLostDoubledAltered},
		{"what the stream holds no more", whatIsGone},
		{"checksums of an older version", olderVersion},
		{"at least", atLeast},
		{"on a schedule", onSchedule},
		{"what is removed", whatIsRemoved},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(newWorld(t, st)) })
	}
}

func newWorld(t *testing.T, st *store.Store) *world {
	t.Helper()
	w := &world{t: t, store: st}
	for _, table := range []string{"trades", "feed_events", "feed_gaps", "dead_letters", "audits", "audit_ranges", "retirements"} {
		w.exec("TRUNCATE TABLE " + table)
	}
	w.raw, w.bus = bustest.Start(t)
	w.pub = w.bus.NewPublisher(bus.PublisherConfig{})
	t.Cleanup(func() { _ = w.pub.Close(context.Background()) })
	return w
}

// land runs a lander until everything has landed.
func (w *world) land() {
	w.t.Helper()
	cfg := lander.DefaultConfig()
	cfg.MinInterval = time.Millisecond
	l, err := lander.New(cfg, lander.Deps{Bus: w.bus, Store: w.store, Logger: chembedtest.Logger(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	rctx, stop := context.WithCancel(ctx)
	go func() { done <- l.Run(rctx) }()
	err = l.Drained(ctx)
	stop()
	if rerr := <-done; err != nil || rerr != nil {
		w.t.Fatal(err, rerr)
	}
}

var at = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)

func meta(n int) market.Meta {
	return market.Meta{Source: "test", EventTime: at.Add(time.Duration(n) * time.Millisecond), RecvTime: at.Add(time.Duration(n) * time.Millisecond)}
}

func trade(n int) *market.Trade {
	return &market.Trade{
		Meta: meta(n), Action: market.TradeNew, Symbol: "IREN", ID: strconv.Itoa(n), Exchange: "V", Tape: "C", PriceUSD: market.MustDecimal("49.25"),
		SizeShares: market.MustDecimal("100"), Conditions: []string{"@"},
	}
}

// publish stores n trades from the number from on, each in a message of its own.
func (w *world) publish(from, n int) {
	w.t.Helper()
	for i := from; i < from+n; i++ {
		w.tell(trade(i))
	}
}

// tell stores the events; those of one subject in one message, as far as they are handed over together.
func (w *world) tell(events ...market.Event) {
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

func (w *world) exec(sql string) {
	w.t.Helper()
	if err := w.store.Exec(w.t.Context(), sql); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) one(sql string) string {
	w.t.Helper()
	res, err := w.store.Query(w.t.Context(), sql)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(res.Rows)
}

func (w *world) audit(o audit.Order) audit.Result {
	w.t.Helper()
	res, err := audit.Run(w.t.Context(), audit.Deps{Bus: w.bus, Store: w.store, Logger: chembedtest.Logger(w.t), Version: "test"}, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// want holds what an audit of TRADES found, in words.
func (w *world) want(res audit.Result, want string) {
	w.t.Helper()
	s := res.Streams[market.Trades]
	got := fmt.Sprintf("published %d, landed %d, dead %d, pending %d, lost %d, doubled %d, altered %d, aged %d, verified %d, unverified %d",
		s.Published, s.Landed, s.Dead, s.Pending, s.Lost, s.Doubled, s.Altered, s.Aged, s.Verified, s.Unverified)
	short := strings.NewReplacer(", dead 0", "", ", pending 0", "", ", lost 0", "", ", doubled 0", "", ", altered 0", "", ", aged 0", "", ", verified 0", "", ", unverified 0", "").Replace(got)
	if short != want {
		w.t.Errorf("audit of TRADES: %s\nwant %s\n%+v", short, want, res)
	}
}

func differences(res audit.Result) string {
	var out []string
	for _, d := range res.Differences {
		out = append(out, fmt.Sprintf("%s %d-%d lost %d doubled %d altered %d", d.Stream, d.First, d.Last, d.Lost, d.Doubled, d.Altered))
	}
	return strings.Join(out, "\n")
}

const settled = " SETTINGS mutations_sync = 2"

// A row that is missing, one that stands twice and one that says something else are each found, counted as what they are, and named by their sequence.
func findsLostDoubledAltered(w *world) {
	t := w.t
	w.publish(0, 60)
	var many []market.Event
	for i := 60; i < 80; i++ {
		many = append(many, trade(i))
	}
	w.tell(many...) // fewer messages than events
	w.tell(&market.FeedEvent{Meta: meta(0), State: market.FeedConnected, Detail: "so"}, &market.FeedGap{Meta: meta(1), GapID: "g", Symbol: "*", From: at, Reason: "r", State: market.GapOpen})
	bustest.Foreign(t, w.raw, "md.v1.trade.foreign.IREN", []byte("not protobuf"))
	w.land()
	w.publish(100, 1) // the record moves on with it: what was before is settled
	w.land()

	only := audit.Order{Streams: []market.Stream{market.Trades}}
	res := w.audit(audit.Order{})
	w.want(res, "published 82, landed 81, dead 1")
	if !res.Clean() || res.Unverified != 0 || res.Streams[market.Feeds].Published != 2 || res.Streams[market.Feeds].Landed != 2 || res.Streams[market.Dead].Landed != 1 {
		t.Errorf("audit %+v: want all clean", res)
	}

	seq := func(id int) string {
		return strings.Trim(w.one(fmt.Sprintf("SELECT stream_seq FROM trades WHERE trade_id = '%d'", id)), "[]")
	}
	w.exec("ALTER TABLE trades DELETE WHERE trade_id = '5'" + settled)
	w.want(w.audit(only), "published 82, landed 80, dead 1, lost 1")
	w.exec("INSERT INTO trades SELECT * FROM trades WHERE trade_id = '30' SETTINGS insert_deduplicate = 0")
	w.want(w.audit(only), "published 82, landed 80, dead 1, lost 1, doubled 1")
	// One event of a message of many, by a hundred-millionth of a dollar.
	w.exec("ALTER TABLE trades UPDATE price_usd = price_usd + 0.00000001 WHERE trade_id = '70'" + settled)
	w.exec("ALTER TABLE trades UPDATE condition_codes = '@,,' WHERE trade_id IN ('71', '33')" + settled)
	res = w.audit(only)
	w.want(res, "published 82, landed 80, dead 1, lost 1, doubled 1, altered 3")
	if res.Clean() || res.AtLeast {
		t.Errorf("audit %+v: not clean, and exact", res)
	}
	want := map[string]string{seq(4): "", seq(6): ""}
	for _, d := range res.Differences {
		for s := d.First; s <= d.Last; s++ {
			want[fmt.Sprint(s)] = fmt.Sprintf("lost %d doubled %d altered %d", d.Lost, d.Doubled, d.Altered)
		}
	}
	if n, _ := strconv.Atoi(seq(4)); want[strconv.Itoa(n+1)] != "lost 1 doubled 0 altered 0" {
		t.Errorf("the lost row is not named: %s", differences(res))
	}
	if want[seq(33)] != "lost 0 doubled 0 altered 1" || want[strings.Fields(strings.ReplaceAll(seq(30), "]", ""))[0]] != "lost 0 doubled 1 altered 0" || want[seq(4)] != "" {
		t.Errorf("differences\n%s", differences(res))
	}

	// The same number of rows and the same number of places: a lost row hidden by a doubled one of the same message is no way out.
	w.exec("ALTER TABLE trades DELETE WHERE trade_id = '75'" + settled)
	w.exec("INSERT INTO trades SELECT * FROM trades WHERE trade_id = '76' SETTINGS insert_deduplicate = 0")
	w.want(w.audit(only), "published 82, landed 79, dead 1, lost 2, doubled 2, altered 3")

	// Rows that no message explains: behind the end of the stream.
	w.exec("INSERT INTO trades SELECT * REPLACE (stream_seq + 100000 AS stream_seq, toUnixTimestamp64Nano(now64(9)) - intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000 AS stream_after_event_ns) FROM trades WHERE trade_id = '40'")
	w.want(w.audit(only), "published 82, landed 79, dead 1, lost 2, doubled 3, altered 3")

	// A letter and a row: one of them is too many.
	w.exec("INSERT INTO trades SELECT * REPLACE ((SELECT any(dead_seq) FROM dead_letters) AS stream_seq, toUnixTimestamp64Nano(now64(9)) - intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000 AS stream_after_event_ns) FROM trades WHERE trade_id = '41'")
	w.want(w.audit(only), "published 82, landed 80, dead 1, lost 2, doubled 4, altered 3")

	// What is behind the record is pending, and what was never looked at because it is older is not counted.
	w.publish(200, 5)
	w.want(w.audit(only), "published 87, landed 80, dead 1, pending 5, lost 2, doubled 4, altered 3")
	res = w.audit(audit.Order{Streams: only.Streams, Since: time.Now().Add(-time.Millisecond)})
	if s := res.Streams[market.Trades]; s.Lost != 0 || s.Altered != 0 {
		t.Errorf("since: %+v", res)
	}
	if _, err := audit.Run(t.Context(), audit.Deps{Bus: w.bus, Store: w.store}, audit.Order{Since: time.Now().Add(time.Hour)}); err == nil || !strings.Contains(err.Error(), "not over yet") {
		t.Errorf("since tomorrow: %v", err)
	}
	if _, err := audit.Run(t.Context(), audit.Deps{Bus: w.bus, Store: w.store}, audit.Order{Streams: []market.Stream{"NOPE"}}); err == nil || !strings.Contains(err.Error(), "the streams are") {
		t.Errorf("a stream that does not exist: %v", err)
	}
	bustest.DeleteStream(t, w.raw, market.Quotes)
	if _, err := audit.Audit(t.Context(), w.bus, w.store, nil); err == nil || !strings.Contains(err.Error(), "QUOTES") || !strings.Contains(err.Error(), "nats.url") {
		t.Errorf("a stream that was deleted: %v", err)
	}
}

// Rows of messages that the stream holds no more are held against what an earlier audit wrote down; what no audit saw is said to be unverified.
func whatIsGone(w *world) {
	t := w.t
	only := audit.Order{Streams: []market.Stream{market.Trades}}
	record := audit.Order{Streams: only.Streams, Record: true, By: "test"}
	w.publish(0, 100)
	w.land()
	w.publish(100, 1)
	w.land()
	w.want(w.audit(record), "published 101, landed 101")
	if got := w.one("SELECT count(), sum(row_count), min(first_seq), max(last_seq) FROM audit_ranges WHERE stream = 'TRADES'"); got != "[[1 100 1 100]]" {
		t.Errorf("ranges %s: want what is settled", got)
	}
	if got := w.one("SELECT count(), countIf(clean), any(kind), any(by), sum(published) FROM audits"); got != "[[1 1 full test 101]]" {
		t.Errorf("audits %s", got)
	}

	// Aged out, in the middle of a range.
	bustest.Purge(t, w.raw, market.Trades, 41)
	w.want(w.audit(only), "published 61, landed 61, aged 40, verified 40")
	// Deleted from the middle.
	bustest.DeleteMessage(t, w.raw, market.Trades, 50)
	bustest.DeleteMessage(t, w.raw, market.Trades, 99)
	w.want(w.audit(only), "published 59, landed 59, aged 42, verified 42")
	// All of it: nothing of the range is held any more, and the last one was never seen by an audit.
	bustest.Purge(t, w.raw, market.Trades, 0)
	res := w.audit(only)
	w.want(res, "published 0, landed 0, aged 101, verified 100, unverified 1")
	if !res.Clean() || len(res.UnverifiedSpans) != 1 || !strings.Contains(res.UnverifiedSpans[0].Why, "no audit saw") {
		t.Errorf("spans %+v", res.UnverifiedSpans)
	}

	w.exec("ALTER TABLE trades UPDATE size_shares = 1 WHERE trade_id = '7'" + settled)
	res = w.audit(only)
	w.want(res, "published 0, landed 0, altered 1, aged 101, unverified 1")
	if !res.AtLeast || res.Clean() {
		t.Errorf("audit %+v", res)
	}
	w.exec("ALTER TABLE trades DELETE WHERE trade_id IN ('7', '8')" + settled)
	w.want(w.audit(only), "published 0, landed 0, lost 2, aged 99, unverified 1")
	w.exec("INSERT INTO trades SELECT * FROM trades WHERE trade_id IN ('1', '2', '3') SETTINGS insert_deduplicate = 0")
	w.want(w.audit(only), "published 0, landed 0, doubled 1, aged 102, unverified 1")
	w.exec("ALTER TABLE trades DELETE WHERE trade_id IN ('1', '2', '3')" + settled)
	w.want(w.audit(only), "published 0, landed 0, lost 5, aged 96, unverified 1")

	// Rows of audit_ranges that say what cannot be are told, and no reason to stop.
	w.exec("INSERT INTO audit_ranges SELECT * REPLACE (99 AS first_seq, 3 AS last_seq) FROM audit_ranges")
	w.exec("INSERT INTO audit_ranges SELECT * REPLACE (20000 AS first_seq, 20001 AS last_seq, 'price_usd) FROM numbers(1)' AS columns) FROM audit_ranges AS r WHERE r.first_seq = 1")
	res = w.audit(only)
	w.want(res, "published 0, landed 0, lost 5, aged 96, unverified 1")
	if len(res.Damaged) != 2 {
		t.Errorf("damaged %q", res.Damaged)
	}
	w.exec("ALTER TABLE audit_ranges DELETE WHERE first_seq != 1" + settled)

	// Another life: the sequences begin anew, and mean other messages.
	bustest.DeleteStream(t, w.raw, market.Trades)
	if err := w.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.publish(1000, 20)
	res = w.audit(only)
	w.want(res, "published 20, landed 0, pending 20, lost 5, aged 96, unverified 1")
	if len(res.Differences) != 1 || res.Differences[0].Life == nil || !res.Differences[0].Gone {
		t.Errorf("differences %+v", res.Differences)
	}
}

// A version that writes more columns, or others, leaves checksums of its own behind: rows are held against the columns that were summed up then.
func olderVersion(w *world) {
	t := w.t
	only := audit.Order{Streams: []market.Stream{market.Trades}}
	w.publish(0, 30)
	w.land()
	w.publish(30, 1)
	w.land()
	w.audit(audit.Order{Streams: only.Streams, Record: true})
	cols := store.ChecksumColumns("trades")
	old := strings.NewReplacer("recv_to_stream_ns", "recv_time", "stream_after_event_ns", "stream_time", "trade_number,trade_text", "trade_id", "condition_codes", "conditions").Replace(strings.Join(cols[:len(cols)-1], ","))
	w.exec("INSERT INTO audit_ranges SELECT * REPLACE ('" + old + "' AS columns, (SELECT sum(xxh3(formatRow('RowBinary', " + old + "))) FROM trades WHERE stream_seq <= 30) AS checksum, now64(9) AS audited_at) FROM audit_ranges")
	bustest.Purge(t, w.raw, market.Trades, 0)
	w.want(w.audit(only), "published 0, landed 0, aged 31, verified 30, unverified 1")
	w.exec("ALTER TABLE trades UPDATE size_shares = 1 WHERE trade_id = '7'" + settled)
	w.want(w.audit(only), "published 0, landed 0, altered 1, aged 31, unverified 1")
	w.exec("ALTER TABLE audit_ranges UPDATE columns = 'gone_column' WHERE 1" + settled)
	res := w.audit(only)
	w.want(res, "published 0, landed 0, aged 31, unverified 31")
	if len(res.Damaged) != 1 {
		t.Errorf("damaged %q", res.Damaged)
	}
}

// Where nearly everything differs, an audit looks into some of it and says that there is at least so much.
func atLeast(w *world) {
	const messages = 1100 // more than are compared row by row
	for i := range messages {
		ev := trade(i)
		ev.Symbol = "S" + strconv.Itoa(i) // a message of its own
		if err := w.pub.Publish(w.t.Context(), ev); err != nil {
			w.t.Fatal(err)
		}
	}
	w.tell()
	w.publish(5000, 1)
	w.land()
	w.publish(5001, 1)
	w.land()
	only := audit.Order{Streams: []market.Stream{market.Trades}}
	w.want(w.audit(only), "published 1102, landed 1102")
	w.exec("ALTER TABLE trades UPDATE price_usd = price_usd * 2 WHERE 1" + settled)
	res := w.audit(only)
	w.want(res, "published 1102, landed 1102, altered 1102")
	if res.Clean() || !res.AtLeast || len(res.Differences) == 0 {
		w.t.Errorf("audit %+v", res)
	}
}

// The scheduled audit looks at what is new, leaves a row for each stream and the checksums, and tells its metrics.
func onSchedule(w *world) {
	t := w.t
	reg := prometheus.NewRegistry()
	deps := audit.Deps{Bus: w.bus, Store: w.store, Logger: chembedtest.Logger(t), Version: "v1"}
	cfg := audit.DefaultConfig()
	cfg.Every = time.Second
	s, err := audit.NewService(cfg, deps, audit.NewMetrics(reg))
	if err != nil {
		t.Fatal(err)
	}
	w.publish(0, 30)
	w.land()
	w.publish(30, 1)
	w.land()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	wait := func(sql, want string) {
		t.Helper()
		end, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
		defer tick.Stop()
		for got := w.one(sql); got != want; got = w.one(sql) {
			select {
			case <-tick.C: // rows of another goroutine: there is no event to wait on
			case <-end:
				t.Fatalf("%s: %s, want %s", sql, got, want)
			}
		}
	}
	// The first is a full one; then one of what is new, which settles nothing further.
	wait("SELECT count() > 1, countIf(kind = 'full'), min(clean), any(by), any(code_version), max(settled_seq) FROM audits WHERE stream = 'TRADES'", "[[1 1 true service v1 30]]")
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := w.one("SELECT count(), sum(row_count) FROM audit_ranges WHERE stream = 'TRADES'"); got != "[[1 30]]" {
		t.Errorf("ranges %s: a range is written down once", got)
	}
	w.publish(31, 5)
	w.land()
	w.publish(36, 1)
	w.land()
	w.exec("ALTER TABLE trades DELETE WHERE trade_id IN ('33', '34')" + settled)
	res, err := s.Once(t.Context(), audit.KindNew)
	if err != nil || res.Lost != 2 {
		t.Errorf("audit %+v, %v", res, err)
	}
	if got := w.one("SELECT clean, lost, doubled, exact, position(detail, 'lost') > 0, error FROM audits_now WHERE stream = 'TRADES' AND kind = 'new'"); got != "[[false 2 0 true 1 ]]" {
		t.Errorf("audits %s", got)
	}
	got, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, f := range got {
		for _, m := range f.GetMetric() {
			labels := fmt.Sprint(m.GetLabel())
			if f.GetName() == "hashpivot_audit_lost_events" && strings.Contains(labels, "TRADES") && strings.Contains(labels, "\"new\"") && m.GetGauge().GetValue() == 2 {
				told++
			}
		}
	}
	if told != 1 {
		t.Errorf("metrics %v: want two lost events of TRADES", got)
	}
	for _, bad := range []audit.Config{{Every: -1, Share: 1}, {Every: time.Millisecond, Share: 1}, {Every: time.Hour, FullEvery: time.Minute, Share: 1}, {Share: 0}, {Share: 2}, {Threads: -1, Share: 1}} {
		if _, err := audit.NewService(bad, deps, nil); err == nil || !strings.HasPrefix(err.Error(), "audit.") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
