package alpaca

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
	"github.com/hashpivot/hashpivot/services/equities/engine"
)

// tape asks the simulator's history for all prints and quotes of a span: the truth.
func (v *venue) tape(t testing.TB, from, to time.Time) (prints map[string]string, quotes int) {
	t.Helper()
	prints = map[string]string{}
	for _, name := range []string{"trades", "quotes"} {
		token := ""
		for {
			url := fmt.Sprintf("%s/v2/stocks/%s?symbols=%s&limit=10000&start=%s&end=%s&page_token=%s", v.url, name, strings.Join(v.Symbols(), ","),
				from.UTC().Format(time.RFC3339Nano), to.UTC().Format(time.RFC3339Nano), token)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("APCA-API-KEY-ID", "key")
			req.Header.Set("APCA-API-SECRET-KEY", "secret")
			req.Close = true
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s %v %.200s", url, resp.Status, err, body)
			}
			var page struct {
				Trades map[string][]struct {
					I int64
					P json.Number
					S json.Number
					U string
				}
				Quotes map[string][]json.RawMessage
				Next   string `json:"next_page_token"`
			}
			if err := json.Unmarshal(body, &page); err != nil {
				t.Fatal(err)
			}
			for symbol, list := range page.Trades {
				for _, p := range list {
					prints[fmt.Sprintf("%s %d", symbol, p.I)] = fmt.Sprintf("%s x %s %s", p.P, p.S, p.U)
				}
			}
			for _, list := range page.Quotes {
				quotes += len(list)
			}
			if token = page.Next; token == "" {
				break
			}
		}
	}
	return prints, quotes
}

// checkTape compares what was published with the truth: every print exactly once, with its last price, and those that were cancelled or
// replaced known as such.
func checkTape(t *testing.T, v *venue, mem *feedtest.Memory, from, to time.Time) (prints int) {
	t.Helper()
	t.Helper()
	truth, quotes := v.tape(t, from, to)
	got := map[string]string{}
	in := func(at time.Time) bool { return !at.Before(from) && !at.After(to) }
	// A correction may come live before backfill brings the print that it corrects: prints first, then what became of them.
	trades := feedtest.Of[*market.Trade](mem)
	for _, x := range trades {
		key, what := x.Symbol+" "+x.ID, fmt.Sprintf("%s x %s ", x.PriceUSD, x.SizeShares)
		if x.Action != market.TradeNew || !in(x.EventTime) {
			continue
		}
		if had, twice := got[key]; twice {
			t.Fatalf("print %s was published twice: %s and %s", key, had, what)
		}
		got[key] = what
	}
	for _, x := range trades {
		key, what := x.Symbol+" "+x.ID, fmt.Sprintf("%s x %s ", x.PriceUSD, x.SizeShares)
		switch x.Action {
		case market.TradeCorrection:
			original := x.Symbol + " " + x.OriginalID
			if _, ok := got[original]; ok {
				got[original] = fmt.Sprintf("%s x %s incorrect", x.OriginalPriceUSD, x.OriginalSizeShares)
				if had, twice := got[key]; twice {
					t.Fatalf("correction %s was published twice: %s and %s", key, had, what)
				}
				got[key] = what + "corrected"
			}
		case market.TradeCancel:
			if had, ok := got[key]; ok {
				if strings.HasSuffix(had, "canceled") || strings.HasSuffix(had, "incorrect") {
					t.Fatalf("print %s was cancelled or corrected twice: %s, %s", key, had, x.CancelCode)
				}
				fate := x.CancelCode
				if fate == "C" {
					fate = "canceled"
				}
				got[key] = what + fate
			}
		}
	}
	bad := 0
	for key, want := range truth {
		// History tells a correction as a print of its own.
		have, ok := got[key]
		if ok && (have == want || strings.TrimSuffix(want, "corrected") == have) {
			continue
		}
		if bad++; bad < 5 {
			t.Errorf("print %s: published %q, truth %q", key, have, want)
		}
	}
	for key, have := range got {
		if _, ok := truth[key]; !ok {
			t.Fatalf("print %s (%s) never happened", key, have)
		}
	}
	n := 0
	for _, q := range feedtest.Of[*market.Quote](mem) {
		if in(q.EventTime) {
			n++
		}
	}
	if n != quotes {
		t.Errorf("%d quotes published, truth %d", n, quotes)
	}
	return len(truth)
}

// toldAfter holds once the stream has come to the time: the tape is told in order, however far behind the clock.
func toldAfter(at time.Time) func([]market.Event) bool {
	return func(events []market.Event) bool {
		for i := len(events) - 1; i >= 0 && i > len(events)-200; i-- {
			if x, ok := events[i].(*market.Trade); ok && !x.Backfill && x.EventTime.After(at) {
				return true
			}
		}
		return false
	}
}

// The promise of the feed: connections break, each hole is filled from history, and every print is published exactly once.
func TestDropsAreFilledExactly(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"json", "msgpack"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			v := newVenue(t, alpaca.Config{Rate: 500, FaultEvery: 8, LateBy: time.Second, FateBy: 500 * time.Millisecond})
			cfg := v.config()
			cfg.Alpaca.Encoding, cfg.Alpaca.PageLimit = encoding, 150
			r := start(t, cfg, feedtest.NewMemory())
			r.until("the stream", atLeast[*market.Trade](20, nil))
			begin := time.Now()
			for i := 1; i <= 3; i++ {
				v.DropAll()
				r.until("a loss", atLeast(i, state(market.FeedLost)))
				r.until("a connection", atLeast(i+1, state(market.FeedConnected)))
				n := count(r.mem.Events(), func(x *market.Trade) bool { return !x.Backfill })
				r.until("live prints", atLeast(n+100, func(x *market.Trade) bool { return !x.Backfill }))
			}
			r.until("filled holes", atLeast(4, gap(market.GapFilled))) // the start's and three
			// What was told within the last seconds may still be corrected, or come late: wait until the venue has told it all.
			end := time.Now()
			r.until("everything told", toldAfter(end.Add(2*time.Second)))
			if err := r.end(); err != nil {
				t.Fatal(err)
			}
			if n := checkTape(t, v, r.mem, begin, end); n < 50 {
				t.Errorf("the truth has only %d prints", n)
			}
			if count(r.mem.Events(), func(g *market.FeedGap) bool { return gap(market.GapFilled)(g) && g.Recovered > 0 }) == 0 {
				t.Error("no hole recovered anything")
			}
			if n := count(r.mem.Events(), func(x *market.Trade) bool { return x.Backfill && x.Action == market.TradeNew }); n == 0 {
				t.Error("no print is marked as backfilled")
			}
			if n := count[*market.DeadLetter](r.mem.Events(), nil); n > 0 {
				t.Errorf("%d dead letters: %s", n, feedtest.Of[*market.DeadLetter](r.mem)[0].Detail)
			}
		})
	}
}

// A process that dies leaves a hole that nobody announced. The next one finds its beginning in what was published.
func TestRestartFillsTheHole(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 400, FaultEvery: 20, LateBy: time.Second, FateBy: 500 * time.Millisecond})
	mem := feedtest.NewMemory()
	r := start(t, v.config(), mem)
	r.until("the stream", atLeast[*market.Trade](50, nil))
	begin := feedtest.Of[*market.Trade](mem)[20].EventTime
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	before := mem.Len()
	r = start(t, v.config(), mem)
	r.until("the hole of the restart", atLeast(2, gap(market.GapFilled)))
	r.until("live prints", func(events []market.Event) bool {
		return count(events[before:], func(x *market.Trade) bool { return !x.Backfill }) > 50
	})
	end := time.Now()
	r.until("everything told", toldAfter(end.Add(2*time.Second)))
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if n := checkTape(t, v, mem, begin, end); n < 50 {
		t.Errorf("the truth has only %d prints", n)
	}
}

func TestMuteStreamIsTornDown(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 300, Steady: true})
	cfg := v.config()
	cfg.Stale.Regular = 1500 * time.Millisecond
	r := start(t, cfg, feedtest.NewMemory())
	r.until("the stream", atLeast[*market.Trade](20, nil))
	v.Mute(true)
	r.until("the end of a mute session", atLeast(1, state(market.FeedStale)))
	v.Mute(false)
	r.until("a connection", atLeast(2, state(market.FeedConnected)))
	r.until("the hole", atLeast(1, func(g *market.FeedGap) bool {
		return gap(market.GapFilled)(g) && strings.HasPrefix(g.Reason, "stale") && g.Recovered > 0
	}))
}

func TestBadFramesAreCountedAndKept(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 100, Steady: true})
	cfg := v.config()
	r := start(t, cfg, feedtest.NewMemory())
	r.until("the stream", atLeast[*market.Trade](5, nil))
	at := time.Now().UTC().Format(time.RFC3339Nano)
	good := `{"T":"t","S":"IREN","i":1,"x":"V","p":36.8,"s":100,"t":"` + at + `","c":["@"],"z":"C","new":{"deep":[1,{"a":null}]}}`
	for _, c := range []struct {
		name, frame string
		reason      market.Reason
	}{
		{"no JSON", "hello", feed.ReasonMalformed},
		{"empty", "", feed.ReasonMalformed},
		{"an object", good, feed.ReasonMalformed},
		{"cut short", "[" + good + `,{"T":"t","S":"IR`, feed.ReasonMalformed},
		{"nested too deep", strings.Repeat("[", 10_000), feed.ReasonMalformed},
		{"a number for a symbol", `[{"T":"t","S":5}]`, feed.ReasonType},
		{"text for a price", strings.Replace("["+good+"]", "36.8", `"36.8"`, 1), feed.ReasonType},
		{"an object for conditions", strings.Replace("["+good+"]", `["@"]`, `{"a":1}`, 1), feed.ReasonType},
		{"a fraction for an id", strings.Replace("["+good+"]", `"i":1`, `"i":1.5`, 1), feed.ReasonType},
		{"no price", strings.Replace("["+good+"]", `"p":36.8,`, "", 1), market.ReasonMissing},
		{"price 0", strings.Replace("["+good+"]", "36.8", "0", 1), market.ReasonPrice},
		{"price below 0", strings.Replace("["+good+"]", "36.8", "-1", 1), market.ReasonPrice},
		{"too many digits", strings.Replace("["+good+"]", "36.8", "36.80000000000000000000001", 1), market.ReasonPrecision},
		{"size 0", strings.Replace("["+good+"]", `"s":100`, `"s":0`, 1), market.ReasonSize},
		{"next year", strings.Replace("["+good+"]", at, time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339), 1), market.ReasonFuture},
		{"no date", strings.Replace("["+good+"]", at, "yesterday", 1), feed.ReasonType},
		{"an unknown type", `[{"T":"zz","S":"IREN"}]`, feed.ReasonUnknownType},
		{"a symbol not asked for", strings.Replace("["+good+"]", "IREN", "EVIL", 1), feed.ReasonProtocol},
		{"a bar below its low", `[{"T":"b","S":"IREN","o":1,"h":2,"l":1.5,"c":1.6,"v":10,"n":1,"vw":1.5,"t":"` + at + `"}]`, market.ReasonIncoherent},
	} {
		n := count(r.mem.Events(), rejected(c.reason))
		v.Inject([]byte(c.frame), false)
		r.until("the dead letter of "+c.name, atLeast(n+1, rejected(c.reason)))
	}
	v.Inject([]byte{0xc1, 0xff}, true)
	r.until("the dead letter of a binary frame", atLeast(2, rejected(feed.ReasonProtocol)))
	for _, d := range feedtest.Of[*market.DeadLetter](r.mem) {
		if d.Detail == "" || d.PayloadBytes != uint64(len(d.Payload)) && len(d.Payload) != market.MaxDeadPayload {
			t.Errorf("dead letter %+v", d)
		}
	}
	// The good print in the cut frame was not lost with it, and an imbalance is nothing bad.
	r.until("the good print", atLeast(1, func(x *market.Trade) bool { return x.ID == "1" && x.PriceUSD.String() == "36.8" }))
	dead := count[*market.DeadLetter](r.mem.Events(), nil)
	v.Inject([]byte(`[{"T":"i","S":"IREN","p":9.12,"t":"`+at+`","z":"C"}]`), false)
	n := count[*market.Trade](r.mem.Events(), nil)
	r.until("the feed going on", atLeast[*market.Trade](n+20, nil))
	if got := count[*market.DeadLetter](r.mem.Events(), nil); got != dead {
		t.Errorf("an imbalance made %d dead letters", got-dead)
	}
	if im := feedtest.Of[*market.Imbalance](r.mem); len(im) != 1 || im[0].PriceUSD.String() != "9.12" || im[0].Tape != "C" {
		t.Errorf("imbalances %+v", im)
	}
	if n := count(r.mem.Events(), state(market.FeedLost)); n > 0 {
		t.Errorf("the stream was lost %d times", n)
	}
	// A huge frame ends the connection, not the feed.
	v.Inject(bytes.Repeat([]byte(" "), 5<<20), false)
	r.until("the dead letter of a huge frame", atLeast(1, rejected(feed.ReasonTooLarge)))
	r.until("a new connection", atLeast(2, state(market.FeedConnected)))
}

func TestBadPacksAreCountedAndKept(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 100, Steady: true})
	cfg := v.config()
	cfg.Alpaca.Encoding = "msgpack"
	r := start(t, cfg, feedtest.NewMemory())
	r.until("the stream", atLeast[*market.Trade](5, nil))
	for _, frame := range []string{
		"",                           // nothing
		"\xc1",                       // no type
		"\xdd\xff\xff\xff\xff",       // four billion elements, none of them there
		"\x91\xdf\xff\xff\xff\xff",   // the same of fields
		"\x91\xdb\xff\xff\xff\xffab", // a string of four gigabytes
		strings.Repeat("\x91", 10_000),
		"\x91\x81\xa1T",
	} {
		n := count(r.mem.Events(), rejected(feed.ReasonMalformed))
		v.Inject([]byte(frame), true)
		r.until(fmt.Sprintf("the dead letter of %.20q", frame), atLeast(n+1, rejected(feed.ReasonMalformed)))
	}
	v.Inject([]byte("\x91\x82\xa1T\xa1t\xa1S\x05"), true)
	r.until("the dead letter of a number for a symbol", atLeast(1, rejected(feed.ReasonType)))
	n := count[*market.Trade](r.mem.Events(), nil)
	r.until("the feed going on", atLeast[*market.Trade](n+20, nil))
	if n := count(r.mem.Events(), state(market.FeedLost)); n > 0 {
		t.Errorf("the stream was lost %d times", n)
	}
}

func TestRefusalsNameTheCure(t *testing.T) {
	for name, c := range map[string]struct {
		sim  alpaca.Config
		edit func(*testConfig)
		want string
	}{
		"bad key":     {alpaca.Config{Key: "right", Secret: "right"}, nil, "equities.alpaca.key"},
		"not in plan": {alpaca.Config{NotInPlan: []string{"lulds"}}, nil, "plan"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVenue(t, c.sim)
			cfg := v.config()
			r := start(t, cfg, feedtest.NewMemory())
			err := r.wait()
			if err == nil || !strings.Contains(err.Error(), c.want) || !feed.IsRefused(err) {
				t.Fatalf("error %v, want a refusal with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "secret\"") {
				t.Errorf("the error tells the secret: %v", err)
			}
			if count(r.mem.Events(), state(market.FeedRefused)) != 1 {
				t.Error("the refusal was not published")
			}
		})
	}
}

func TestConnectionLimitIsRetried(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 100, Steady: true})
	first := start(t, v.config(), feedtest.NewMemory())
	first.until("the first stream", atLeast[*market.Trade](1, nil))
	second := start(t, v.config(), feedtest.NewMemory())
	second.until("the opening of the ledger", atLeast[*market.FeedGap](1, nil))
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	second.until("the stream, once the first is gone", atLeast[*market.Trade](1, nil))
}

func TestHistoryFaultsAreSurvived(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 100, Steady: true})
	v.FailHTTP(alpaca.Fault{Status: 500}, alpaca.Fault{Body: "<html>"}, alpaca.Fault{Truncate: true}, alpaca.Fault{Body: `{"bars":5,"next_page_token":null}`},
		alpaca.Fault{Body: `{"bars":{"IREN":[{"t":"2026-11-02T05:00:00Z","o":"x"}]},"next_page_token":null}`})
	cfg := v.config()
	cfg.Backfill.DailyFrom = "480h"
	r := start(t, cfg, feedtest.NewMemory())
	r.until("the history", atLeast(1, gap(market.GapFilled)))
	// The record of a wrong type was refused alone, and its page counted as read: 20 days of the others come with the next kinds only.
	if n := count(r.mem.Events(), rejected(feed.ReasonMalformed)); n != 1 {
		t.Errorf("%d malformed pages, want 1", n)
	}
	if n := count(r.mem.Events(), rejected(feed.ReasonType)); n != 2 {
		t.Errorf("%d pages or records of a wrong type, want 2", n)
	}
}

func TestRateLimitIsKept(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 50, Steady: true})
	v.FailHTTP(alpaca.Fault{Status: http.StatusTooManyRequests, Body: `{"message":"too many requests"}`})
	cfg := v.config()
	cfg.Backfill.DailyFrom = "240h"
	r := start(t, cfg, feedtest.NewMemory())
	r.until("the history after a 429", atLeast(1, gap(market.GapFilled)))
}

// The free plan streams few symbols: what fits is streamed, the rest is in the ledger, a line each.
func TestSymbolLimitDropsToWhatFits(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 200, Steady: true, SymbolLimit: 3})
	r := start(t, v.config(), feedtest.NewMemory())
	r.until("the stream", atLeast[*market.Trade](100, nil))
	var lines []string
	for _, g := range feedtest.Of[*market.FeedGap](r.mem) {
		if g.Symbol != "*" {
			lines = append(lines, g.Symbol+" "+string(g.State)+" "+g.Reason)
		}
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "IREN open unserved: ") || !strings.Contains(lines[0], "405") {
		t.Errorf("lines of single symbols: %q, want one of IREN", lines)
	}
	if n := count(r.mem.Events(), func(x *market.Trade) bool { return x.Symbol == "IREN" && !x.Backfill }); n > 0 {
		t.Errorf("%d prints of a symbol that is not streamed", n)
	}
	// Taking one out makes room, without a reconnect: IREN is streamed and its hole is filled.
	if err := r.e.SetSymbols(t.Context(), []string{"WGMI", "CORZ", "IREN"}); err != nil {
		t.Fatal(err)
	}
	r.until("prints of IREN", atLeast(20, func(x *market.Trade) bool { return x.Symbol == "IREN" && !x.Backfill }))
	r.until("its hole", atLeast(1, func(g *market.FeedGap) bool {
		return g.Symbol == "IREN" && g.State == market.GapPartly && g.Recovered > 0
	}))
	if n := count(r.mem.Events(), state(market.FeedConnected)); n != 1 {
		t.Errorf("connected %d times", n)
	}
}

// Symbols come and go while the stream runs.
func TestSymbolsChangeWithoutAReconnect(t *testing.T) {
	for _, encoding := range []string{"json", "msgpack"} {
		t.Run(encoding, func(t *testing.T) {
			t.Parallel()
			v := newVenue(t, alpaca.Config{Rate: 300, Steady: true})
			cfg := v.config()
			cfg.Alpaca.Encoding, cfg.Symbols = encoding, []string{"WGMI", "CORZ"}
			cfg.Backfill.DailyFrom = "240h"
			r := start(t, cfg, feedtest.NewMemory())
			of := func(symbol string) func(*market.Trade) bool {
				return func(x *market.Trade) bool { return x.Symbol == symbol && !x.Backfill }
			}
			r.until("the stream", atLeast(20, of("WGMI")))
			set := func(symbols ...string) {
				t.Helper()
				if err := r.e.SetSymbols(t.Context(), symbols); err != nil {
					t.Fatal(err)
				}
			}
			set("CORZ", "IREN")
			r.until("the new one", atLeast(20, of("IREN")))
			r.until("its history", atLeast(1, func(g *market.FeedGap) bool {
				return g.Symbol == "IREN" && g.State == market.GapFilled && g.Recovered > 5
			}))
			gone := count(r.mem.Events(), of("WGMI"))
			r.until("more", atLeast(count(r.mem.Events(), of("CORZ"))+40, of("CORZ")))
			if n := count(r.mem.Events(), of("WGMI")); n > gone {
				t.Errorf("%d prints of a symbol that was removed", n-gone)
			}
			set("CORZ", "IREN", "WGMI")
			r.until("the old one again", atLeast(gone+20, of("WGMI")))
			r.until("what it missed", atLeast(1, func(g *market.FeedGap) bool {
				return g.Symbol == "WGMI" && strings.HasPrefix(g.Reason, "added") && g.State == market.GapPartly && g.Recovered > 0
			}))
			if err := r.e.SetSymbols(t.Context(), []string{"CORZ", "corz"}); err == nil {
				t.Error("a bad symbol was taken")
			}
			if err := r.end(); err != nil {
				t.Fatal(err)
			}
			if n := count(r.mem.Events(), state(market.FeedConnected)); n != 1 {
				t.Errorf("connected %d times", n)
			}
			if n := count[*market.DeadLetter](r.mem.Events(), nil); n > 0 {
				t.Errorf("%d dead letters: %s", n, feedtest.Of[*market.DeadLetter](r.mem)[0].Detail)
			}
		})
	}
}

// A venue whose clock is hours off: every event is refused, the error has a name, and the ledger has the hole.
func TestClockHoursOff(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 100, Steady: true})
	r := start(t, v.config(), feedtest.NewMemory())
	r.until("the stream", atLeast[*market.Trade](5, nil))
	v.Mute(true)
	at := time.Now().Add(3 * time.Hour).UTC().Format(time.RFC3339Nano)
	tell := func() {
		for i := range 25 {
			v.Inject(fmt.Appendf(nil, `[{"T":"t","S":"IREN","i":%d,"x":"V","p":36.8,"s":100,"t":"%s","c":["@"],"z":"C"}]`, i, at), false)
		}
	}
	lost := atLeast(1, func(f *market.FeedEvent) bool {
		return f.State == market.FeedLost && strings.Contains(f.Detail, "clock is ahead of ours")
	})
	// A slow machine may end the session for its silence just before the venue speaks: the next one is told the same.
	sessions := func(evs []market.Event) int { return count(evs, state(market.FeedConnected)) }
	for told := 0; !lost(r.mem.Events()); {
		if n := sessions(r.mem.Events()); n > told {
			told = n
			tell()
		}
		r.until("the end of the session", func(evs []market.Event) bool { return lost(evs) || sessions(evs) > told })
	}
	v.Mute(false)
	r.until("the hole", atLeast(1, func(g *market.FeedGap) bool { return gap(market.GapFilled)(g) && strings.HasPrefix(g.Reason, "lost") }))
	if n := count(r.mem.Events(), rejected(market.ReasonFuture)); n < 10 {
		t.Errorf("%d dead letters of the future", n)
	}
	for _, x := range feedtest.Of[*market.Trade](r.mem) {
		if x.EventTime.After(time.Now().Add(time.Minute)) {
			t.Fatalf("print of the future %+v", x)
		}
	}
}

type lines chan<- string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}

// A venue that answers history with a page that has always a successor: the error has a name and the line stays open, the stream goes on.
func TestEndlessHistoryHarmsOnlyItself(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Rate: 200, Steady: true})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"bars":{},"trades":{},"quotes":{},"next_page_token":"again"}`))
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	cfg := v.config()
	cfg.Alpaca.RESTURL, cfg.Backfill.DailyFrom = srv.URL, "240h"
	logged := make(chan string, 100)
	mem := feedtest.NewMemory()
	d := deps(t, mem)
	d.Logger = slog.New(slog.NewTextHandler(lines(logged), nil))
	e, err := cfg.engine(d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	for line := ""; !strings.Contains(line, engine.ErrEndlessHistory.Error()); line = <-logged {
	}
	n := count[*market.Trade](mem.Events(), nil)
	if !mem.Wait(t.Context(), atLeast[*market.Trade](n+20, nil)) {
		t.Error("the stream does not go on")
	}
	if gaps := e.Feed().OpenGaps(); len(gaps) != 1 || gaps[0].State != market.GapOpen {
		t.Errorf("open lines %+v", gaps)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
