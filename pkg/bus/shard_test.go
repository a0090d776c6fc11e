package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

func of(symbol, id string) *market.Trade {
	now := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	return &market.Trade{
		Meta: market.Meta{Source: "test", EventTime: now, RecvTime: now}, Action: market.TradeNew, Symbol: symbol, ID: id, Exchange: "V", Tape: "C",
		PriceUSD: market.MustDecimal("1"), SizeShares: market.MustDecimal("1"),
	}
}

// TestCutStreamReadsAsBefore: a stream that is cut into shards gives the same messages under the same subjects to all who read it, those from before the cut too; its
// shards share the messages out, and a symbol is in one of them.
func TestCutStreamReadsAsBefore(t *testing.T) {
	srv, b := bustest.Start(t)
	ctx := t.Context()
	publish := func(symbol string, ids ...string) {
		t.Helper()
		p := b.NewPublisher(bus.PublisherConfig{})
		for _, id := range ids {
			if err := p.Publish(ctx, of(symbol, id)); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	publish("IREN", "1")
	cfg := bus.DefaultConfig()
	cfg.Shards = map[market.Stream]int{market.Trades: 3}
	cut, err := bus.Connect(cfg, srv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	for range 2 { // again is nothing new
		if err := cut.Ensure(ctx); err != nil {
			t.Fatal(err)
		}
	}
	symbols := []string{"WGMI", "CORZ", "BTBT", "IREN", "BRK.B"}
	for _, s := range symbols {
		publish(s, "2", "3")
	}
	info, err := b.Info(ctx, market.Trades)
	if err != nil || info.Shards != 3 {
		t.Fatal(info, err)
	}
	l, ok, err := b.Landing(ctx, market.Trades)
	if err != nil || !ok || !slices.Equal(l.Cuts, []bus.Cut{{Of: 3, From: 2}}) || l.First != 1 {
		t.Errorf("landing %+v, %v, %v", l, ok, err)
	}

	subjects := map[string]int{}
	if err := b.ScanAll(ctx, market.Trades, func(m bus.Msg) error { subjects[m.Subject]++; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(subjects) != 5 || subjects["md.v1.trade.test.IREN"] < 2 || subjects["md.v1.trade.test.BRK%2EB"] == 0 {
		t.Errorf("subjects %v", subjects)
	}
	n := 0
	if err := b.Replay(ctx, market.Trades, "test", time.Time{}, func(ev market.Event, _ market.Place) error {
		if ev.(*market.Trade).Symbol == "IREN" {
			n++
		}
		return nil
	}, "test", "IREN"); err != nil || n != 3 {
		t.Errorf("replay gave %d trades of IREN, %v", n, err)
	}
	m, err := b.Get(ctx, market.Trades, info.LastSeq)
	if err != nil || m.Subject != "md.v1.trade.test.BRK%2EB" {
		t.Errorf("message %+v, %v", m, err)
	}

	seen := map[uint64]string{}
	home := map[string]string{}
	for _, shard := range []bus.Shard{{}, {Of: 3, Index: 0}, {Of: 3, Index: 1}, {Of: 3, Index: 2}} {
		last, ok, err := b.LastStored(ctx, market.Trades, shard)
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.ReadShard(ctx, market.Trades, shard, 1)
		if err != nil {
			t.Fatal(err)
		}
		var at uint64
		for left := r.Pending(); left > 0; left-- {
			m, err := r.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			next, found, err := b.NextStored(ctx, market.Trades, shard, at+1)
			if err != nil || !found || next.Seq != m.Seq || !next.Time.Equal(m.Time) {
				t.Errorf("behind %d of shard %s the leader has %+v, %v, %v, and the reader %d", at, shard, next, found, err, m.Seq)
			}
			if was := seen[m.Seq]; was != "" {
				t.Errorf("message %d is in shards %s and %s", m.Seq, was, shard)
			}
			at, seen[m.Seq] = m.Seq, "shard "+shard.String()
			if shard.Of > 0 {
				if was := home[m.Subject]; was != "" && was != shard.String() {
					t.Errorf("%s is in shards %s and %s", m.Subject, was, shard)
				}
				home[m.Subject] = shard.String()
			}
		}
		r.Close()
		if ok != (at > 0) || last.Seq != at {
			t.Errorf("shard %s ends at %d, the leader says %+v, %v", shard, at, last, ok)
		}
		if _, found, err := b.NextStored(ctx, market.Trades, shard, at+1); err != nil || found {
			t.Errorf("behind the end of shard %s: %v, %v", shard, found, err)
		}
	}
	if len(seen) != int(info.Messages) {
		t.Errorf("the shards have %d messages, the stream %d", len(seen), info.Messages)
	}
	if at, ok, err := b.StoredAt(ctx, market.Trades, info.LastSeq); err != nil || !ok || !at.Time.Equal(info.LastTime) {
		t.Errorf("stored at the end: %+v, %v, %v; want %s", at, ok, err, info.LastTime)
	}
}

func TestShardsAreChecked(t *testing.T) {
	for stream, n := range map[market.Stream]int{market.Halts: 2, market.Dead: 2, "NONE": 2, market.Trades: 65, market.Quotes: 0} {
		cfg := bus.DefaultConfig()
		cfg.Shards = map[market.Stream]int{stream: n}
		if err := cfg.Validate(); err == nil {
			t.Errorf("%d shards of %s pass", n, stream)
		}
	}
}

// TestRoster: who renews is in every list, who leaves is in none, and who only stops to renew is counted out after its time.
func TestRoster(t *testing.T) {
	_, b := bustest.Start(t)
	ctx := t.Context()
	const ttl = 2 * time.Second
	one := b.Roster("test", "one", "a", ttl, nil)
	two := b.Roster("test", "two", "b", ttl, nil)
	three := b.Roster("test", "three", "", ttl, func(holder string) bool { return holder == "one" })
	renew := func(rs ...*bus.Roster) {
		t.Helper()
		for _, r := range rs {
			for r.Renew(ctx) != nil { // a renewal may take a quarter of the time only
				if ctx.Err() != nil {
					t.Fatal(ctx.Err())
				}
			}
		}
	}
	names := func(r *bus.Roster) (out []string) {
		t.Helper()
		list, err := r.Members(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			out = append(out, m.Holder+m.Note)
		}
		slices.Sort(out)
		return out
	}
	if one.Valid() {
		t.Error("valid before it was entered")
	}
	until := func(r *bus.Roster, want ...string) {
		t.Helper()
		end, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		for !slices.Equal(names(r), want) {
			if end.Err() != nil {
				t.Fatalf("list %v, want %v", names(r), want)
			}
			renew(r)
		}
	}
	renew(one, two)
	until(one, "onea", "twob")
	until(one, "onea") // two does not renew
	for two.Valid() {
		if ctx.Err() != nil {
			t.Fatal("two believes to be there still")
		}
	}
	renew(one, three)
	until(three, "three") // it knows that one is dead
	renew(two)
	until(two, "onea", "three", "twob")
	if err := two.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	if two.Valid() {
		t.Error("valid after it has left")
	}
	defer func() {
		if err := errors.Join(one.Leave(ctx), three.Leave(ctx)); err != nil {
			t.Error(err)
		}
	}()
	list, err := one.Members(ctx)
	if err != nil || slices.ContainsFunc(list, func(m bus.Member) bool { return m.Holder == "two" }) {
		t.Errorf("list %v, %v after two has left", list, err)
	}
}
