package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

var everything = []Kind{DailyBars, MinuteBars, Trades, Quotes}

// print of a trade of history.
func printAt(symbol string, id int, at time.Time) *market.Trade {
	return &market.Trade{
		Meta: market.Meta{EventTime: at}, Action: market.TradeNew, Symbol: symbol, ID: fmt.Sprint(id), Exchange: "V", PriceUSD: dec("10"), SizeShares: dec("1"),
	}
}

// What became of a hole is one line, and says no more than is true.
func TestHolesAreSettledHonestly(t *testing.T) {
	saturday := time.Date(2026, 11, 21, 15, 0, 0, 0, time.UTC)
	regular := time.Date(2026, 11, 24, 15, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		history History
		fetch   func(Query, Emit) error
		from    time.Time
		state   market.GapState
		reason  string
		rows    uint64
	}{
		"all has a history":      {History{Kinds: everything}, nil, regular, market.GapFilled, "lost", 0},
		"halts have none":        {History{Kinds: everything, Without: []string{"statuses", "lulds"}}, nil, regular, market.GapPartly, "lost; no history of statuses, lulds", 0},
		"nothing has":            {History{Without: []string{"trades"}}, nil, regular, market.GapGivenUp, "lost; no history of trades", 0},
		"the market was closed":  {History{Kinds: everything, Without: []string{"statuses"}}, nil, saturday, market.GapFilled, "lost", 0},
		"closed, and no history": {History{Without: []string{"trades"}}, nil, saturday, market.GapFilled, "lost", 0},
		"the plan has no quotes": {History{Kinds: everything}, func(q Query, emit Emit) error {
			if q.Kind == Quotes {
				return &NotServed{errors.New("upgrade your plan")}
			}
			if q.Kind == Trades {
				return emit(printAt("IREN", 1, regular.Add(time.Second)), Page{Recv: time.Now()}, nil)
			}
			return nil
		}, regular, market.GapPartly, "lost; no history of quotes (the plan does not have it)", 1},
	} {
		t.Run(name, func(t *testing.T) {
			mem := feedtest.NewMemory()
			e := newEngine(t, mem, &silent{c.history, c.fetch}, func(c *Config) { c.Backfill.MaxHole = 8760 * time.Hour })
			g, err := e.f.OpenGap(t.Context(), "*", c.from, time.Time{}, "lost")
			if err != nil {
				t.Fatal(err)
			}
			if err := e.fill(t.Context(), []job{{gap: g, to: c.from.Add(time.Minute)}}); err != nil {
				t.Fatal(err)
			}
			lines := feedtest.Of[*market.FeedGap](mem)
			last := lines[len(lines)-1]
			if len(lines) != 2 || last.GapID != g.GapID || last.State != c.state || last.Reason != c.reason || last.Recovered != c.rows {
				t.Errorf("%d lines, the last %+v, want %s %q with %d rows", len(lines), last, c.state, c.reason, c.rows)
			}
			// A hole that is settled as far as it can be is not read again at the next start.
			e = newEngine(t, mem, &silent{history: c.history}, nil)
			if err := e.restore(t.Context()); err != nil {
				t.Fatal(err)
			}
			e.queue()
			for _, x := range e.jobs.list {
				if x.gap.GapID == g.GapID {
					t.Errorf("the settled line is queued again: %+v", x.gap)
				}
			}
		})
	}
}

// What is older than max_hole is said, in the same line.
func TestOldHolesSayWhatWasNotRead(t *testing.T) {
	mem := feedtest.NewMemory()
	var asked []Query
	e := newEngine(t, mem, &silent{History{Kinds: everything}, func(q Query, _ Emit) error { asked = append(asked, q); return nil }}, nil)
	now := time.Now().UTC()
	g, err := e.f.OpenGap(t.Context(), "*", now.Add(-200*time.Hour), time.Time{}, reasonRestart)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.fill(t.Context(), []job{{gap: g, to: now}}); err != nil {
		t.Fatal(err)
	}
	lines := feedtest.Of[*market.FeedGap](mem)
	if last := lines[len(lines)-1]; last.State != market.GapPartly || !strings.Contains(last.Reason, "backfill.max_hole is 72h") {
		t.Errorf("line %+v", last)
	}
	for _, q := range asked {
		if q.Kind == Trades && now.Sub(q.From) > 73*time.Hour {
			t.Errorf("trades asked for from %s on", q.From)
		}
	}
}

// A venue of REST answers, one after the other; the last is repeated.
func pagesOf(t *testing.T, answers ...string) (*Engine, *feedtest.Memory, func() error, *int) {
	t.Helper()
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a := answers[min(calls, len(answers)-1)]
		calls++
		_, _ = w.Write([]byte(strings.ReplaceAll(a, "#", fmt.Sprint(calls))))
	}))
	t.Cleanup(srv.Close)
	mem := feedtest.NewMemory()
	e := newEngine(t, mem, &silent{}, nil)
	t.Cleanup(e.http.CloseIdleConnections)
	return e, mem, func() error {
		return e.Pages(t.Context(), func(token string) feed.Request { return feed.Request{URL: srv.URL + "/v2/things?page_token=" + token} },
			func(body []byte, p Page) (int, string, error) {
				records, next, ok := strings.Cut(string(body), " ")
				if !ok {
					return 0, "", &feed.Malformed{Reason: feed.ReasonMalformed, Err: errors.New("no page")}
				}
				if p.Path != "/v2/things" || p.Recv.IsZero() || p.AsOf.After(p.Recv) {
					t.Errorf("page %+v", p)
				}
				return len(records), next, nil
			})
	}, &calls
}

func TestPagesWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []string
		calls   int
		endless bool
	}{
		"three pages":          {[]string{"xxx a", "xxx b", "xx "}, 3, false},
		"an empty last page":   {[]string{"xxx a", " "}, 2, false},
		"the same token":       {[]string{"xxx a"}, 2, true},
		"a loop of tokens":     {[]string{"xxx a", "xxx b", "xxx a"}, 3, true},
		"empty pages for ever": {[]string{" t#"}, emptyPages, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, read, calls := pagesOf(t, c.answers...)
			if err := read(); errors.Is(err, ErrEndlessHistory) != c.endless || !c.endless && err != nil || *calls != c.calls {
				t.Errorf("%d calls, error %v, want %d, endless %v", *calls, err, c.calls, c.endless)
			}
		})
	}
}

// HTML, or an error body with 200: each try is a dead letter, and the error names it.
func TestPagesThatAreNone(t *testing.T) {
	t.Parallel()
	_, mem, read, calls := pagesOf(t, "<html>")
	if err := read(); err == nil || !strings.Contains(err.Error(), "no page") {
		t.Errorf("error %v", err)
	}
	if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) != pageTries || *calls != pageTries || string(dead[0].Payload) != "<html>" || dead[0].Subject != "/v2/things" {
		t.Errorf("%d calls, %d dead letters", *calls, len(dead))
	}
}

func TestCallsKeepTheirPause(t *testing.T) {
	t.Parallel()
	e, _, read, _ := pagesOf(t, "xxx a", "xxx b", "xx ")
	e.up = &silent{history: History{CallEvery: 60 * time.Millisecond}}
	begin := time.Now()
	if err := read(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 120*time.Millisecond {
		t.Errorf("three calls took %s", took)
	}
}

// A delayed stream's holes are moved to the venue's time: what was missed is that much older.
func TestHolesOfADelayedStream(t *testing.T) {
	now := time.Date(2026, 11, 24, 18, 0, 0, 0, time.UTC)
	j := newJobs()
	j.connected([]market.FeedGap{
		{GapID: "lost", From: now.Add(-time.Minute), Reason: "lost"}, {GapID: "restart", From: now.Add(-20 * time.Minute), Reason: reasonRestart},
	}, now, 0, 15*time.Minute)
	for _, x := range j.list {
		want := now.Add(-16 * time.Minute)
		if x.gap.GapID == "restart" {
			want = now.Add(-20 * time.Minute)
		}
		if !x.gap.From.Equal(want) || !x.to.Equal(now.Add(-15*time.Minute)) {
			t.Errorf("%s is from %s to %s", x.gap.GapID, x.gap.From, x.to)
		}
	}
}

// tape is a history of a print a minute.
func tape(q Query, emit Emit, n *int) error {
	if q.Kind != Trades {
		return nil
	}
	for at := q.From.Truncate(time.Minute).Add(time.Minute); !at.After(q.To); at = at.Add(time.Minute) {
		if err := emit(printAt(q.Symbols[0], int(at.Unix()/60), at), Page{Recv: time.Now()}, nil); err != nil {
			return err
		}
		*n++
	}
	return nil
}

// A backfill on demand goes on where it was interrupted, and publishes nothing twice.
func TestBackfillIsResumable(t *testing.T) {
	mem := feedtest.NewMemory()
	from, to := time.Date(2026, 11, 16, 14, 0, 0, 0, time.UTC), time.Date(2026, 11, 24, 21, 0, 0, 0, time.UTC) // seven trade dates
	req := Request{From: from, To: to, Symbols: []string{"IREN", "CORZ"}}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	up := &silent{history: History{Kinds: everything, Without: []string{"lulds"}}}
	up.fetch = func(q Query, emit Emit) error {
		if err := tape(q, emit, &n); err != nil {
			return err
		}
		if n > 3000 && q.Kind == Trades {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	if err := newEngine(t, mem, up, nil).Backfill(ctx, req, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	// The killed run lost what was not flushed.
	mem.Crash(func(n int) int { return n / 2 })
	first := len(feedtest.Of[*market.Trade](mem))
	up.fetch = func(q Query, emit Emit) error { return tape(q, emit, &n) }
	var last Progress
	if err := newEngine(t, mem, up, nil).Backfill(t.Context(), req, func(p Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, x := range feedtest.Of[*market.Trade](mem) {
		if ids[x.Identity()] {
			t.Fatalf("%s was published twice", x.Identity())
		}
		ids[x.Identity()] = true
		if !x.Backfill {
			t.Fatal("a print is not marked as backfilled")
		}
	}
	if last.Done != 14 || last.Total != 14 || last.Skipped == 0 || int(last.Rows) != len(ids)-first {
		t.Errorf("progress %+v of %d prints, %d of them by the first run", last, len(ids), first)
	}
	state := map[string]market.GapState{}
	for _, g := range feedtest.Of[*market.FeedGap](mem) {
		state[g.GapID] = g.State
	}
	if len(state) != 14 {
		t.Errorf("%d lines of the ledger, want one a symbol and trade date", len(state))
	}
	for id, s := range state {
		if s != market.GapFilled {
			t.Errorf("line %s is %s", id, s)
		}
	}
	calls := n
	if err := newEngine(t, mem, up, nil).Backfill(t.Context(), req, nil); err != nil || n != calls {
		t.Errorf("a third run read %d prints, %v", n-calls, err)
	}
}

// What the running service owes is its own to fill, and the live edge is left alone.
func TestBackfillLeavesTheRunningServiceAlone(t *testing.T) {
	mem := feedtest.NewMemory()
	e := newEngine(t, mem, &silent{history: History{Kinds: everything}}, nil)
	from := time.Date(2026, 11, 16, 14, 0, 0, 0, time.UTC)
	if _, err := e.f.OpenGap(t.Context(), "IREN", from.Add(24*time.Hour), from.Add(25*time.Hour), "lost"); err != nil {
		t.Fatal(err)
	}
	n := 0
	up := &silent{History{Kinds: everything}, func(q Query, emit Emit) error {
		if q.To.After(time.Now().Add(-liveEdge)) {
			t.Errorf("asked for %s up to %s", q.Kind, q.To)
		}
		return tape(q, emit, &n)
	}}
	var last Progress
	if err := newEngine(t, mem, up, nil).Backfill(t.Context(), Request{From: from, To: from.Add(48 * time.Hour)}, func(p Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if last.Total != 6 || last.Left != 1 || last.Rows == 0 {
		t.Errorf("progress %+v, want 6 units of which one is left", last)
	}
	if err := newEngine(t, mem, up, nil).Backfill(t.Context(), Request{From: time.Now().Add(-time.Minute)}, nil); err == nil {
		t.Error("the live edge was taken")
	}
	if err := newEngine(t, mem, &silent{}, nil).Backfill(t.Context(), Request{From: from}, nil); err == nil {
		t.Error("an upstream without history was taken")
	}
}

// A history that was interrupted hours ago is fetched again: what of it was published is recognised, although newer ticks lie in a short window.
func TestInterruptedHistoryIsRecognised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		e := newEngine(t, mem, &silent{history: History{Kinds: everything}}, nil)
		if err := e.restore(t.Context()); err != nil { // opens the history's line
			t.Fatal(err)
		}
		old := printAt("IREN", 1, time.Now().Add(-20*time.Hour))
		if err := e.recorded(t.Context(), old, Page{Recv: time.Now()}, nil, func(market.Event) {}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		for i := range 20 {
			live := printAt("IREN", 2+i, time.Now())
			live.RecvTime = time.Now()
			if _, err := e.Live(t.Context(), live, "stream", nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		e = newEngine(t, mem, &silent{history: History{Kinds: everything}}, nil)
		if err := e.restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !e.f.Has(old) {
			t.Error("what the interrupted history published is forgotten")
		}
	})
}

// Ticks that are older than the hole can reach are not read: a standby must take over in seconds.
func TestRestoreReadsNoMoreThanItMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		e := newEngine(t, mem, &silent{history: History{Kinds: everything}}, nil)
		var first, last *market.Trade
		for i := range 120 {
			last = printAt("IREN", i, time.Now())
			last.RecvTime = time.Now()
			if first == nil {
				first = last
			}
			if _, err := e.Live(t.Context(), last, "stream", nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		e = newEngine(t, mem, &silent{history: History{Kinds: everything}}, nil)
		if err := e.restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !e.f.Has(last) || e.f.Has(first) {
			t.Errorf("the last print is known: %v; that of two hours ago: %v", e.f.Has(last), e.f.Has(first))
		}
		gaps := e.f.OpenGaps() // the history of CORZ, which was never published, and the restart's
		if len(gaps) != 2 || gaps[1].Reason != reasonRestart || !gaps[1].From.Equal(last.EventTime) {
			t.Errorf("open lines %+v", gaps)
		}
	})
}

// A symbol that the venue does not stream has a line that stays open: its own ticks are read back to its beginning, not everybody's.
func TestLineOfOneSymbolCostsItsOwnSubjectOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := feedtest.NewMemory()
		e := newEngine(t, mem, &silent{history: History{Kinds: everything}}, nil)
		if _, err := e.f.OpenGap(t.Context(), "CORZ", time.Now(), time.Time{}, reasonUnserved+": 405"); err != nil {
			t.Fatal(err)
		}
		tick := func(symbol string, id int) *market.Trade {
			x := printAt(symbol, id, time.Now())
			if err := e.recorded(t.Context(), x, Page{Recv: time.Now()}, nil, func(market.Event) {}); err != nil {
				t.Fatal(err)
			}
			return x
		}
		of, others := tick("CORZ", 1), tick("IREN", 1)
		for i := range 300 {
			time.Sleep(time.Minute)
			tick("IREN", 2+i)
		}
		e = newEngine(t, mem, &silent{history: History{Kinds: everything}}, nil)
		if err := e.restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !e.f.Has(of) || e.f.Has(others) {
			t.Errorf("the symbol's own print is known: %v; another's of then: %v", e.f.Has(of), e.f.Has(others))
		}
	})
}
