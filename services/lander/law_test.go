package lander_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/lander"
)

// all lands every stream, so that the lines of the gap ledger land too.
func all() lander.Config {
	cfg := small()
	cfg.Streams = nil
	return cfg
}

// gaps are the lines that the lander wrote into the gap ledger, as they landed.
func (w *world) gaps() string {
	w.t.Helper()
	return w.one("SELECT source, state, reason FROM feed_gaps_now ORDER BY gap_id")
}

func (w *world) cell() *bus.Cell { return w.bus.Cell(bus.LandingKey(market.Trades, bus.Shard{})) }

// change rewrites the record of TRADES as no lander would. A lander that runs may renew it meanwhile: then it is read again.
func (w *world) change(f func(rec map[string]any)) {
	w.t.Helper()
	for {
		data, rev, err := w.cell().Get(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		rec := map[string]any{}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber() // times in ns have more digits than a float holds
		if err := d.Decode(&rec); err != nil {
			w.t.Fatal(err)
		}
		f(rec)
		if data, err = json.Marshal(rec); err != nil {
			w.t.Fatal(err)
		}
		if _, err = w.cell().Swap(w.t.Context(), data, rev); err == nil {
			return
		} else if !errors.Is(err, bus.ErrConflict) {
			w.t.Fatal(err)
		}
	}
}

// land lands what is there and stops.
func (w *world) land(cfg lander.Config) {
	w.t.Helper()
	l, r := w.start(cfg)
	w.drained(l)
	r.stop(w.t)
}

func (w *world) refuses(cfg lander.Config, words string) {
	w.t.Helper()
	_, r := w.start(cfg)
	if err := r.wait(w.t); !errors.Is(err, lander.ErrNewLife) || !strings.Contains(err.Error(), words) {
		w.t.Errorf("ended with %v, want a refusal that speaks of %q", err, words)
	}
}

// TestStreamMadeAnewGoesOn: a stream that is deleted and made again has sequences that mean other messages. They land beside the old rows, and what the old stream may
// have held is a line in the gap ledger.
func TestStreamMadeAnewGoesOn(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("while landing %v", running), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.publish(0, 10)
			l, r := w.start(all())
			w.drained(l)
			if !running {
				r.stop(t)
			}
			bustest.DeleteStream(t, w.raw, market.Trades)
			if !running {
				if err := w.bus.Ensure(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.publish(10, 15)
				l, r = w.start(all())
			} else {
				w.publish(10, 15) // stored when the lander has declared the stream anew
			}
			w.drained(l)
			r.stop(t)
			if got := w.one("SELECT count(), uniqExact(trade_id), max(stream_seq) < 10 FROM trades"); !strings.HasPrefix(got, "[[15 15 ") {
				t.Errorf("rows %s", got)
			}
			if got := w.gaps(); !strings.Contains(got, "given_up") || !strings.Contains(got, "made again") {
				t.Errorf("gap ledger %s", got)
			}
		})
	}
}

// TestPurgedBeforeItLandedIsListed: messages that are gone before they landed are loss, and loss is a line in the gap ledger, never silence.
func TestPurgedBeforeItLandedIsListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 10 {
		w.publish(i, i+1)
	}
	w.land(all())
	for i := 10; i < 30; i++ {
		w.publish(i, i+1)
	}
	bustest.Purge(t, w.raw, market.Trades, 21) // 1-20
	bustest.DeleteMessage(t, w.raw, market.Trades, 25)
	w.land(all())
	w.publish(30, 31)
	bustest.Purge(t, w.raw, market.Trades, 32) // all, with nothing behind
	l, r := w.start(all())
	for !strings.Contains(w.gaps(), "31-31") {
		if t.Context().Err() != nil {
			t.Fatal("the loss at the end was not listed")
		}
		w.drained(l)
	}
	r.stop(t)
	if got := w.one("SELECT count(), uniqExact(trade_id) FROM trades"); got != "[[19 19]]" {
		t.Errorf("rows %s", got)
	}
	got := w.gaps()
	for _, want := range []string{"sequences 11-20 of stream TRADES were gone", "sequences 25-25 of stream TRADES were gone", "sequences 31-31 of stream TRADES were gone"} {
		if !strings.Contains(got, want) {
			t.Errorf("gap ledger %s lacks %q", got, want)
		}
	}
	if n := strings.Count(got, "given_up"); n != 3 {
		t.Errorf("%d lines in %s, want 3", n, got)
	}
}

func TestLostRecordIsRebuiltFromTheTables(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := small()
	cfg.MaxRows = 100
	for i := range 10 {
		w.publish(i*50, i*50+50)
	}
	w.land(cfg)
	w.publish(500, 600)
	bustest.LoseCell(t, w.raw, bus.LandingKey(market.Trades, bus.Shard{}))
	w.land(cfg)
	w.audit(600, 600, 0)

	w.publish(600, 700)
	w.change(func(rec map[string]any) { clear(rec) }) // damaged
	w.land(cfg)
	w.audit(700, 700, 0)
}

// TestTornRangeWithoutItsRecordIsCompleted: the record is lost and the last range had landed in one of its two partitions only.
func TestTornRangeWithoutItsRecordIsCompleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(0, 100)
	december := func(n int) {
		for i := range n {
			tr := trade(100 + i)
			tr.EventTime = tr.EventTime.AddDate(0, 1, 0)
			if err := w.pub.Publish(t.Context(), tr); err != nil {
				t.Fatal(err)
			}
		}
	}
	december(50)
	w.publish(150, 200)
	w.land(small())
	w.exec("ALTER TABLE trades DROP PARTITION 202612")
	w.exec("ALTER TABLE trades MODIFY SETTING non_replicated_deduplication_window = 0")
	bustest.LoseCell(t, w.raw, bus.LandingKey(market.Trades, bus.Shard{}))
	w.land(small())
	w.audit(200, 200, 0)
}

func TestRefusesWhatDoesNotBelongTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(0, 10)
	w.land(small())

	// Another database under the same NATS.
	var was any
	w.change(func(rec map[string]any) {
		was, rec["database"] = rec["database"], "0b2f6d3e-0000-4000-8000-000000000000"
	})
	w.refuses(small(), "lands into database 0b2f6d3e")
	w.change(func(rec map[string]any) { rec["database"] = was })

	// NATS lost its end.
	var first, last, at any
	w.change(func(rec map[string]any) {
		first, last = rec["first"], rec["last"]
		rec["first"], rec["last"] = 1001, 1000
	})
	w.refuses(small(), "NATS has lost messages")
	w.change(func(rec map[string]any) {
		at, rec["first"], rec["last"], rec["last_time"] = rec["last_time"], first, last, "2026-11-20T00:00:00Z"
	})
	w.refuses(small(), "given their sequences out again")
	w.change(func(rec map[string]any) { rec["last_time"] = at })

	// NATS lost its end and the record with it: rows stand behind both.
	w.change(func(rec map[string]any) {
		first, last, at = rec["first"], rec["last"], rec["last_time"]
		rec["first"], rec["last"] = 1, 0
		delete(rec, "last_time")
	})
	w.refuses(small(), "the record too")
	w.change(func(rec map[string]any) { rec["first"], rec["last"], rec["last_time"] = first, last, at })

	w.publish(10, 20)
	w.land(small())
	w.audit(20, 20, 0)

	// Rows that this stream never held, and no record.
	bustest.LoseCell(t, w.raw, bus.LandingKey(market.Trades, bus.Shard{}))
	w.exec("INSERT INTO trades SELECT * REPLACE(toUInt32(idx + 1000) AS idx, toUInt64(0) AS trade_number, trade_id || 'x' AS trade_text) FROM trades WHERE stream_seq = 1 SETTINGS insert_deduplicate = 0")
	w.refuses(small(), "the rows came from another NATS")
}

// TestAdoptsADatabase: a NATS that is gone for good leaves a database whose rows no record explains. It is refused, until somebody says that it is meant.
func TestAdoptsADatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(0, 10)
	w.land(all())
	bustest.DeleteStream(t, w.raw, market.Trades)
	bustest.LoseCell(t, w.raw, bus.LandingKey(market.Trades, bus.Shard{}))
	if err := w.bus.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.publish(10, 15)
	w.refuses(all(), "hashpivot adopt")
	for i, want := range []bool{true, false} {
		got, err := lander.Adopt(t.Context(), w.deps(), market.Trades)
		if err != nil || got != want {
			t.Errorf("adopt %d: %v, %v, want %v", i, got, err, want)
		}
	}
	w.land(all())
	if got := w.one("SELECT count(), uniqExact(trade_id) FROM trades"); got != "[[15 15]]" {
		t.Errorf("rows %s", got)
	}
	if got := w.gaps(); !strings.Contains(got, "another NATS was given up") {
		t.Errorf("gap ledger %s", got)
	}
}

// TestAnotherVersionBeganTheRange: a binary was replaced between a crash and the replay of its range, and makes a row of what the old one had dead-lettered, or the other
// way round. Every event stays either landed or dead.
func TestAnotherVersionBeganTheRange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(0, 5)
	bad := trade(5)
	bad.PriceUSD = market.MustDecimal("0")
	if err := w.pub.Publish(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	w.publish(6, 10)
	w.land(small())
	w.audit(10, 9, 1)
	info, err := w.bus.Info(t.Context(), market.Trades)
	if err != nil {
		t.Fatal(err)
	}
	// The old version had landed the block without one event that this one accepts: its letter stands, and no row.
	var letter *market.DeadLetter
	seq, idx := w.place("7")
	letter = market.NewDeadFrame("lander", "md.v1.trade.test.IREN", market.ReasonValue, "an old version did not like it", nil, time.Now())
	letter.Of, letter.Created, letter.Seq, letter.Idx = string(market.Trades), info.Created.Unix(), seq, int32(idx)
	if err := w.bus.PublishOnce(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	w.exec("ALTER TABLE trades DELETE WHERE trade_id = '7' SETTINGS mutations_sync = 2")
	// And it had landed an event that lacks here without a letter: a block of an older layout.
	w.exec("ALTER TABLE trades DELETE WHERE trade_id = '3' SETTINGS mutations_sync = 2")
	w.change(func(rec map[string]any) { rec["decoder"], rec["first"], rec["last"] = 99, 1, info.LastSeq })
	w.land(small())
	w.audit(10, 8, 2)
	if got := w.one("SELECT count(), countIf(trade_id = '3'), countIf(trade_id = '7') FROM trades"); got != "[[8 1 0]]" {
		t.Errorf("rows %s", got)
	}
}

// TestTokenUsedUpWithoutRows: ClickHouse writes a token down before the rows have their name, and may be killed in between (a soak of the embedded engine with 86 kills lost an acknowledged insert once, by this as far as can be told). What is
// sent again under that token is taken for a repetition, answered, and not stored.
func TestTokenUsedUpWithoutRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(0, 10)
	w.land(small())
	info, err := w.bus.Info(t.Context(), market.Trades)
	if err != nil {
		t.Fatal(err)
	}
	// The rows are taken away as only such a death does, which leaves the tokens: that of the range is used by the first round, the next one by each further one.
	for round := range 4 {
		if err := w.store.Exec(t.Context(), "ALTER TABLE trades DELETE WHERE 1 SETTINGS mutations_sync = 2"); err != nil {
			t.Fatal(err)
		}
		w.change(func(rec map[string]any) { rec["first"], rec["last"] = 1, info.LastSeq })
		w.land(small())
		if got := w.one("SELECT count(), uniqExact(stream_seq, idx) FROM trades"); got != "[[10 10]]" {
			t.Errorf("round %d: rows %s", round, got)
		}
	}
	w.audit(10, 10, 0)
}
