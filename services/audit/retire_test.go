package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/audit"
)

// Old rows go by whole partitions once the stream holds their messages no more, also when it is interrupted; what is left of the ranges is held to the last bit.
func whatIsRemoved(w *world) {
	old := func(n int) *market.Trade {
		e := trade(n)
		e.EventTime = e.EventTime.AddDate(0, -2, 0)
		return e
	}
	for i := range 20 {
		w.tell(old(i))
	}
	w.publish(20, 20)
	w.land()
	w.publish(40, 1) // an audit writes down what lies behind the range that landed last
	w.land()
	if res := w.audit(audit.Order{Record: true}); !res.Clean() {
		w.t.Fatalf("%+v", res)
	}
	deps := audit.Deps{Bus: w.bus, Store: w.store, Logger: chembedtest.Logger(w.t), Version: "test"}
	keep, now := audit.Retention{"trades": 30 * 24 * time.Hour}, at.AddDate(0, 0, 7)
	plan := func() audit.Removal {
		w.t.Helper()
		p, err := audit.Plan(w.t.Context(), deps, keep, now)
		if err != nil || len(p) != 1 {
			w.t.Fatalf("%+v, %v", p, err)
		}
		return p[0]
	}
	if p := plan(); p.Partition != "202609" || !strings.Contains(p.Waits, "still holds the messages of 20 rows") {
		w.t.Errorf("while the stream holds the messages: %+v", p)
	} else if err := audit.Retire(w.t.Context(), deps, p); err == nil {
		w.t.Error("rows were removed whose messages the stream holds")
	}

	// The stream now ends within the recent ones. The first try dies right after it was written down.
	bustest.Purge(w.t, w.raw, market.Trades, 31)
	p := plan()
	if p.Waits != "" || p.Rows != 20 || p.Bytes == 0 {
		w.t.Errorf("%+v", p)
	}
	if err := w.store.AddRetirement(w.t.Context(), p.Retirement, false); err != nil {
		w.t.Fatal(err)
	}
	whole := func(what string) {
		w.t.Helper()
		res := w.audit(audit.Order{Record: true})
		if s := res.Streams[market.Trades]; !res.Clean() || res.Unverified != 0 || s.Aged != 10 || s.Verified != 10 || s.Landed != 11 || len(res.Damaged) > 0 {
			w.t.Errorf("%s: %+v\n%+v %v %v", what, s, res.UnverifiedSpans, res.Differences, res.Damaged)
		}
	}
	whole("an audit goes on with it")
	if got := w.one("SELECT count(), min(stream_seq) FROM trades"); got != "[[21 21]]" {
		w.t.Errorf("left: %s", got)
	}
	if got := w.one("SELECT state, row_count, keep_s FROM retirements ORDER BY state"); got != "[[begun 20 2592000] [done 20 2592000]]" {
		w.t.Errorf("written down: %s", got)
	}
	// The second one dies before it says that it is done.
	w.exec("ALTER TABLE retirements DELETE WHERE state = 'done' SETTINGS mutations_sync = 2")
	whole("gone on with behind the checksums")

	w.exec("ALTER TABLE trades UPDATE trade_number = 0, trade_text = 'x' WHERE stream_seq = 25 SETTINGS mutations_sync = 2")
	if res := w.audit(audit.Order{}); res.Altered == 0 {
		w.t.Errorf("a row that was altered beside what was removed is not seen: %+v %v", res.Streams[market.Trades], res.UnverifiedSpans)
	}
}

func TestRetentionConfig(t *testing.T) {
	for want, keep := range map[string]audit.Retention{
		"there is no such table of events": {"nope": 1000 * time.Hour},
		"1h0m0s is less than 168h0m0s":     {"quotes": time.Hour},
	} {
		if err := keep.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", keep, err, want)
		}
	}
	if err := (audit.Retention{"quotes": 2160 * time.Hour}).Validate(); err != nil {
		t.Error(err)
	}
}
