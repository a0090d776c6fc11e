package dead_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/audit"
	"github.com/hashpivot/hashpivot/services/audit/dead"
	"github.com/hashpivot/hashpivot/services/lander"
)

func TestMain(m *testing.M) { storetest.Main(m) }

type world struct {
	t   *testing.T
	raw *bus.Server
	pub *bus.Publisher
	d   dead.Deps
}

// TestLetters runs all tests on one database, which each finds empty.
func TestLetters(t *testing.T) {
	st := storetest.Start(t)
	t.Run("fix, then replay", func(t *testing.T) { fixThenReplay(newWorld(t, st)) })
	t.Run("refused and discarded", func(t *testing.T) { refusedAndDiscarded(newWorld(t, st)) })
}

func newWorld(t *testing.T, st *store.Store) *world {
	t.Helper()
	for _, table := range []string{"trades", "dead_letters", "dead_marks", "audits", "audit_ranges"} {
		if err := st.Exec(t.Context(), "TRUNCATE TABLE "+table); err != nil {
			t.Fatal(err)
		}
	}
	raw, b := bustest.Start(t)
	w := &world{t: t, raw: raw, pub: b.NewPublisher(bus.PublisherConfig{}), d: dead.Deps{Bus: b, Store: st, Logger: chembedtest.Logger(t), By: "tester@here"}}
	t.Cleanup(func() { _ = w.pub.Close(context.Background()) })
	return w
}

func (w *world) lander() *lander.Lander {
	w.t.Helper()
	cfg := lander.DefaultConfig()
	cfg.MinInterval = time.Millisecond
	l, err := lander.New(cfg, lander.Deps{Bus: w.d.Bus, Store: w.d.Store, Logger: chembedtest.Logger(w.t)})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	return l
}

func (w *world) drained(l *lander.Lander) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := l.Drained(ctx); err != nil {
		w.t.Fatal(err)
	}
}

var at = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)

func trade(n int, price string) *market.Trade {
	return &market.Trade{
		Meta:   market.Meta{Source: "test", EventTime: at.Add(time.Duration(n) * time.Millisecond), RecvTime: at.Add(time.Duration(n) * time.Millisecond)},
		Action: market.TradeNew, Symbol: "IREN", ID: strconv.Itoa(n), Exchange: "V", Tape: "C", PriceUSD: market.MustDecimal(price), SizeShares: market.MustDecimal("100"),
	}
}

func (w *world) tell(events ...market.Event) {
	w.t.Helper()
	for _, ev := range events {
		if err := w.pub.Publish(w.t.Context(), ev); err != nil {
			w.t.Fatal(err)
		}
		if err := w.pub.Flush(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) letters(q store.LetterQuery, ids ...dead.ID) []store.Letter {
	w.t.Helper()
	q.Payloads = true
	out, err := dead.Select(w.t.Context(), w.d, q, ids)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) replay(l store.Letter) dead.Outcome {
	w.t.Helper()
	o, err := dead.Replay(w.t.Context(), w.d, l, false)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := dead.Await(ctx, w.d, &o); err != nil {
		w.t.Fatal(err)
	}
	return o
}

// balance holds that published = landed + dead.
func (w *world) balance(published, landed, gone uint64) {
	w.t.Helper()
	res, err := audit.Audit(w.t.Context(), w.d.Bus, w.d.Store, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if s := res.Streams[market.Trades]; !res.Clean() || s.Published != published || s.Landed != landed || s.Dead != gone || res.Unverified != 0 {
		w.t.Errorf("audit %+v: want published %d, landed %d, dead %d, clean", res, published, landed, gone)
	}
}

func (w *world) one(sql string) string {
	w.t.Helper()
	res, err := w.d.Store.Query(w.t.Context(), sql)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(res.Rows)
}

// An older version could not read a message and buried it. This one can: the letter is replayed, lands through the real lander like any other message, once however
// often it is replayed, and the balance holds on both messages.
func fixThenReplay(w *world) {
	t := w.t
	w.tell(trade(1, "49.25"))
	w.tell(trade(2, "49.26"), trade(3, "49.27"))
	ctx := t.Context()
	info, err := w.d.Bus.Info(ctx, market.Trades)
	if err != nil {
		t.Fatal(err)
	}
	// What an older lander left behind: messages 1 to 3 are done with, 1 and 3 landed, 2 dead as a whole.
	m, err := w.d.Bus.Get(ctx, market.Trades, 2)
	if err != nil {
		t.Fatal(err)
	}
	b := store.NewBatch()
	for _, seq := range []uint64{1, 3} {
		m, err := w.d.Bus.Get(ctx, market.Trades, seq)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Add(trade(int(seq), map[uint64]string{1: "49.25", 3: "49.27"}[seq]), market.Place{Stream: market.Trades, Seq: seq, StreamTime: m.StreamTime()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.d.Store.Insert(ctx, b, "older"); err != nil {
		t.Fatal(err)
	}
	d := market.NewDeadFrame("lander", m.Subject, "malformed", "field 99 is unknown to this version", m.Data, m.Time)
	d.Of, d.Created, d.Seq = string(market.Trades), info.Created.Unix(), 2
	if err := w.d.Bus.PublishOnce(ctx, d); err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(lander.Record{Landing: bus.Landing{Created: info.Created.UnixNano(), First: 4, Last: 3}, Owner: "older", Written: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.d.Bus.Cell(bus.LandingKey(market.Trades, bus.Shard{})).Swap(ctx, record, 0); err != nil {
		t.Fatal(err)
	}

	l := w.lander()
	w.drained(l)
	w.balance(3, 2, 1)
	letters := w.letters(store.LetterQuery{Of: "TRADES", Reason: "malf*", First: 2, Last: 2})
	if len(letters) != 1 {
		t.Fatalf("%d letters", len(letters))
	}
	if o, err := dead.Replay(ctx, w.d, letters[0], true); err != nil || o.Fate != "would_replay" || o.Events != 1 {
		t.Errorf("dry: %+v, %v", o, err)
	}
	w.balance(3, 2, 1)
	o := w.replay(letters[0])
	if o.Fate != "replayed" || o.Landed != 1 || o.DiedAgain != 0 || o.ReplaySeq != 4 {
		t.Errorf("replayed %+v", o)
	}
	w.drained(l)
	w.balance(4, 3, 1)
	// Again, by one who does not know of the mark; then by one who does.
	if o := w.replay(letters[0]); o.ReplaySeq != 4 || !strings.Contains(o.Why, "published again before") {
		t.Errorf("replayed again %+v", o)
	}
	marked := w.letters(store.LetterQuery{}, dead.ID{Seq: letters[0].At.Seq, All: true})
	if o := w.replay(marked[0]); o.Fate != "already" || o.ReplaySeq != 4 || !strings.Contains(o.Why, "tester@here") {
		t.Errorf("replayed once more %+v", o)
	}
	if o, err := dead.Discard(ctx, w.d, marked[0], "why"); err != nil || o.Fate != "refused" {
		t.Errorf("discarded %+v, %v", o, err)
	}
	w.drained(l)
	w.balance(4, 3, 1)
	if got := w.one("SELECT count(), uniqExact(trade_id), uniqExact(price_usd) FROM trades"); got != "[[3 3 3]]" {
		t.Errorf("trades %s", got)
	}
	if got := w.one("SELECT fate, marked_by, replay_stream, replay_seq FROM dead_letters_now"); got != "[[replayed tester@here TRADES 4]]" {
		t.Errorf("letters %s", got)
	}
	if left := w.letters(store.LetterQuery{Fates: []string{"dead"}}); len(left) != 0 {
		t.Errorf("left %+v", left)
	}
}

// What cannot be replayed honestly is refused with the reason, and stays as it is; what is discarded stays dead.
func refusedAndDiscarded(w *world) {
	t := w.t
	l := w.lander()
	bustest.Foreign(t, w.raw, "md.v1.trade.foreign.IREN", []byte("not protobuf"))
	bustest.Foreign(t, w.raw, "md.v1.trade.foreign.IREN", append([]byte("not protobuf"), make([]byte, 100_000)...))
	w.tell(trade(1, "0"))
	for i := range 2 { // a feed's letters share a subject, and so a message
		if err := w.pub.Publish(t.Context(), market.NewDeadFrame("alpaca", "/v2/stream", "malformed", fmt.Sprint("frame ", i), []byte("{"), at)); err != nil {
			t.Fatal(err)
		}
	}
	bustest.Foreign(t, w.raw, "md.v1.dead.TRADES.1-2-3", []byte("a letter that does not decode"))
	w.tell(trade(2, "1"))
	w.drained(l)
	w.balance(4, 1, 3)
	all := w.letters(store.LetterQuery{})
	refused := map[string]string{}
	for _, x := range all {
		o := w.replay(x)
		if o.Fate != "refused" {
			t.Errorf("letter %+v: %+v", x, o)
		}
		refused[x.Of+" "+string(x.Reason)+" "+strconv.FormatUint(x.PayloadBytes, 10)] = o.Why
	}
	for of, words := range map[string]string{
		"TRADES malformed 12": "this version cannot read it either", "TRADES malformed 100012": "this version cannot read it either", "UPSTREAM malformed 1": "only the adapter can",
		"DEAD malformed 29": "this version cannot read it either",
	} {
		if !strings.Contains(refused[of], words) {
			t.Errorf("%s: %q", of, refused[of])
		}
	}
	price := w.letters(store.LetterQuery{Reason: "*price*"})
	if len(price) != 1 {
		t.Fatalf("letters of price: %+v", price)
	}
	if o := w.replay(price[0]); !strings.Contains(o.Why, "cannot land it either") {
		t.Errorf("%+v", o)
	}
	if n := len(w.letters(store.LetterQuery{Of: market.Upstream, Source: "alp*"})); n != 2 {
		t.Errorf("%d letters of alpaca", n)
	}
	if n := len(w.letters(store.LetterQuery{Of: "TRADES", First: 2, Last: 2})); n != 1 {
		t.Errorf("%d letters of message 2", n)
	}
	// A message that the letter has in part only, and that the stream does not hold any more.
	bustest.DeleteMessage(t, w.raw, market.Trades, 2)
	if o := w.replay(w.letters(store.LetterQuery{Of: "TRADES", First: 2, Last: 2})[0]); !strings.Contains(o.Why, "65536 of its 100012 bytes") {
		t.Errorf("%+v", o)
	}
	for range 2 {
		o, err := dead.Discard(t.Context(), w.d, w.letters(store.LetterQuery{}, dead.ID{Seq: price[0].At.Seq, Idx: price[0].At.Idx})[0], "a test")
		if err != nil || o.Fate != "discarded" && o.Fate != "already" {
			t.Errorf("%+v, %v", o, err)
		}
	}
	if got := w.one("SELECT fate, marked_by, why FROM dead_letters_now WHERE fate != 'dead'"); got != "[[discarded tester@here a test]]" {
		t.Errorf("letters %s", got)
	}
	if got := w.one("SELECT count() FROM dead_letters"); got != fmt.Sprintf("[[%d]]", len(all)) {
		t.Errorf("%s letters, want %d: none is ever taken away", got, len(all))
	}
	if _, err := dead.Select(t.Context(), w.d, store.LetterQuery{}, []dead.ID{{Seq: 4711, All: true}}); err == nil || !strings.Contains(err.Error(), "hashpivot dead list") {
		t.Errorf("a letter that does not exist: %v", err)
	}
	for _, text := range []string{"", "0", "x", "1:", "1:x", "-1", "1:99999999999"} {
		if _, err := dead.ParseID(text); err == nil {
			t.Errorf("%q was read as a letter", text)
		}
	}
	if n, err := dead.Behind(t.Context(), w.d.Bus); err != nil || n != 0 {
		t.Errorf("%d behind, %v", n, err)
	}
}
