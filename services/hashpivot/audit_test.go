package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/lander"
)

// The operator's way from an audit to dead letters and back, by the commands.
func TestAuditAndDeadCommands(t *testing.T) {
	t.Parallel()
	st, engine := storetest.StartServer(t)
	raw, b := bustest.Start(t)
	ctx := t.Context()
	env := []string{"HASHPIVOT_CLICKHOUSE__ADDR=" + engine.NativeAddr(), "HASHPIVOT_CLICKHOUSE__DATABASE=hashpivot", "HASHPIVOT_NATS__URL=" + raw.URL()}
	f := func(code int, want string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := execute(ctx, args, env, &out, &errs); got != code || !strings.Contains(out.String()+errs.String(), want) {
			t.Errorf("%v: code %d\n%s%swant %d, %s", args, got, out.String(), errs.String(), code, want)
		}
		return out.String()
	}

	// A message that this version reads, and a letter of it that another one wrote; a frame; and bytes that nobody reads.
	pub := b.NewPublisher(bus.PublisherConfig{})
	defer func() { _ = pub.Close(context.Background()) }()
	when := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	tell := func(ev market.Event) {
		t.Helper()
		if err := pub.Publish(ctx, ev); err != nil {
			t.Fatal(err)
		}
		if err := pub.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	tell(&market.FeedEvent{Meta: market.Meta{Source: "alpaca", EventTime: when, RecvTime: when}, State: market.FeedConnected, Detail: "first"})
	info, err := b.Info(ctx, market.Feeds)
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Get(ctx, market.Feeds, 1)
	if err != nil {
		t.Fatal(err)
	}
	d := market.NewDeadFrame("lander", m.Subject, "malformed", "an older version could not read it", m.Data, m.Time)
	d.Of, d.Created, d.Seq = string(market.Feeds), info.Created.Unix(), 1
	if err := b.PublishOnce(ctx, d); err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(lander.Record{Landing: bus.Landing{Created: info.Created.UnixNano(), First: 2, Last: 1}, Owner: "older", Written: when})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Cell(bus.LandingKey(market.Feeds, bus.Shard{})).Swap(ctx, record, 0); err != nil {
		t.Fatal(err)
	}
	tell(market.NewDeadFrame("alpaca", "/v2/stream", "malformed", "no JSON", []byte("{"), when))
	bustest.Foreign(t, raw, "md.v1.trade.foreign.IREN", []byte("not protobuf"))
	l, err := lander.New(lander.DefaultConfig(), lander.Deps{Bus: b, Store: st, Logger: chembedtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	lctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- l.Run(lctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := l.Drained(wait); err != nil {
		t.Fatal(err)
	}

	f(0, "every row is what its message says", "audit")
	f(0, `"lost":0`, "audit", "--json", "--stream", "TRADES", "--stream", "FEEDS", "--since", "1h")
	f(2, "the streams are", "audit", "--stream", "NOPE")
	f(2, "not over yet", "audit", "--since", "2100-01-01")
	f(2, "is neither a date", "audit", "--since", "yesterday")
	f(2, "--every audits all streams", "audit", "--every", "1h", "--stream", "TRADES")
	f(0, "audit full", "status")

	list := f(0, "md.v1.feed.alpaca", "dead", "list", "--json")
	if n := strings.Count(list, "\n"); n != 3 {
		t.Errorf("%d letters: %s", n, list)
	}
	f(0, "an older version could not read it", "dead", "--stream", "FEEDS", "--reason", "mal*", "--first", "1", "--last", "1")
	f(0, "no dead letters", "dead", "list", "--source", "nobody")
	f(0, "first", "dead", "show", "1")
	f(0, "illegal wireType", "dead", "show", "3:0")
	f(1, "there is no dead letter 99", "dead", "show", "99")
	f(2, "names no dead letter", "dead", "show", "x")
	f(2, "there is no stream", "dead", "list", "--stream", "NOPE")
	f(2, "name it by --stream", "dead", "list", "--first", "3")
	f(2, "is behind --last", "dead", "list", "--stream", "TRADES", "--first", "3", "--last", "2")
	f(2, "say which letters", "dead", "replay")
	f(2, "either by their numbers or by the flags", "dead", "replay", "1", "--all")
	f(1, "only the adapter can", "dead", "replay", "--stream", "UPSTREAM")
	f(0, "would replay", "dead", "replay", "1", "--dry-run")
	f(0, "replayed as FEEDS 2, 1 of 1 events landed", "dead", "replay", "--stream", "FEEDS")
	f(0, "no letters", "dead", "replay", "--stream", "FEEDS")
	f(0, `"fate":"already"`, "dead", "replay", "1", "--json")
	f(0, "discarded: seen", "dead", "discard", "--all", "--why", "seen")
	f(0, "no dead letters", "dead", "list", "--fate", "dead")
	f(0, "clean", "audit")
	if res, err := st.Query(ctx, "SELECT fate, count() FROM dead_letters_now GROUP BY fate ORDER BY fate"); err != nil || len(res.Rows) != 2 {
		t.Errorf("%v, %v", res, err)
	}
	if err := st.Exec(ctx, "ALTER TABLE feed_events UPDATE detail = 'another' WHERE 1 SETTINGS mutations_sync = 2"); err != nil {
		t.Fatal(err)
	}
	f(1, "NOT CLEAN", "audit", "--no-record")
	f(1, `"altered":1`, "audit", "--json")
	f(0, "NOT CLEAN: lost 0, doubled 0, altered 1", "status")
}
