package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
	"github.com/hashpivot/hashpivot/services/gateway/api"
)

var (
	noon  = time.Date(2026, 11, 20, 17, 0, 0, 0, time.UTC)
	epoch = noon.Add(-time.Hour).UnixNano()
	dec   = market.MustDecimal
)

// world is a store with something of everything, landed up to sequence 40.
func world(t *testing.T) (http.Handler, map[string]string) {
	t.Helper()
	st := storetest.Start(t)
	b := st.NewBatch()
	told := map[string]string{}
	seq := map[market.Stream]uint64{}
	put := func(ev market.Event) {
		s := ev.Stream()
		seq[s]++
		at := market.Place{Stream: s, Seq: seq[s], StreamTime: noon.Add(time.Duration(seq[s]) * time.Second)}
		if err := b.Add(ev, at); err != nil {
			t.Fatal(err)
		}
		told[live.At(at).String()] = string(live.AppendJSON(nil, ev, at))
	}
	meta := func(d time.Duration, rev uint32) market.Meta {
		return market.Meta{EventTime: noon.Add(d), RecvTime: noon.Add(d), Source: "sim-alpaca", Rev: rev}
	}
	for i := range 50 {
		m := meta(-time.Duration(i)*time.Second, 0)
		put(&market.Trade{Meta: m, Action: market.TradeNew, Symbol: []string{"CORZ", "IREN"}[i%2], ID: fmt.Sprint(i), PriceUSD: dec("16.42"), SizeShares: dec("100")})
	}
	for i := range 10 {
		put(&market.Bar{
			Meta: meta(time.Duration(i)*time.Minute, 0), Symbol: "CORZ", Interval: market.Interval1m, OpenUSD: dec("10"), HighUSD: dec(fmt.Sprint(11 + i)), LowUSD: dec("9"),
			CloseUSD: dec(fmt.Sprint(10 + i)), Volume: dec("100"), VWAPUSD: dec(fmt.Sprint(10 + i)), TradeCount: 3, Final: true,
		})
	}
	revised := &market.Bar{
		Meta: meta(9*time.Minute, 1), Symbol: "CORZ", Interval: market.Interval1m, OpenUSD: dec("10"), HighUSD: dec("20"), LowUSD: dec("9"), CloseUSD: dec("15.5"),
		Volume: dec("300"), VWAPUSD: dec("12"), TradeCount: 4, Final: true,
	}
	put(revised)
	put(&market.Hashprice{Meta: meta(0, 0), Method: "tip144", HashpriceUSD: dec("48.1"), HashpriceBTC: dec("0.0005"), Difficulty: dec("1"), BTCUSD: dec("90000")})
	put(&market.Hashprice{Meta: meta(0, 1), Method: "tip144", HashpriceUSD: dec("48.2"), HashpriceBTC: dec("0.0005"), Difficulty: dec("1"), BTCUSD: dec("90000")})
	put(&market.Hashprice{Meta: meta(2*time.Hour, 0), Method: "tip144", HashpriceUSD: dec("49"), HashpriceBTC: dec("0.0005"), Difficulty: dec("1"), BTCUSD: dec("90000")})
	put(&market.Rate{Meta: meta(0, 0), GPU: "h100-sxm", Class: market.OnDemand, Method: "median", Version: 2, USDPerGPUHour: dec("2.1")})
	put(&market.Signal{Meta: meta(0, 0), Name: "pivot-premium", Symbol: "h100-sxm", Value: dec("1.5"), Unit: "ratio"})
	put(&market.BTCPrice{Meta: meta(0, 0), PriceUSD: dec("90000")})
	put(&market.Block{Meta: meta(0, 0), Height: 5, Hash: "stale", Difficulty: dec("1"), FeesSat: 1, RewardSat: 1})
	put(&market.Block{Meta: meta(-time.Minute, 1), Height: 5, Hash: "true", Difficulty: dec("1"), FeesSat: 2, RewardSat: 2})
	put(&market.FeedGap{Meta: meta(0, 0), GapID: "g1", Symbol: "*", From: noon, State: market.GapOpen})
	put(&market.FeedGap{Meta: meta(0, 1), GapID: "g1", Symbol: "*", From: noon, To: noon.Add(time.Minute), State: market.GapFilled, Recovered: 7, Reason: "lost"})
	// Of an earlier life of the stream, whose sequences went further.
	earlier := &market.FeedGap{Meta: meta(-time.Hour, 0), GapID: "g0", Symbol: "*", From: noon.Add(-time.Hour), State: market.GapOpen, To: noon.Add(-time.Minute)}
	earlier.Source = "sim-earlier"
	place := market.Place{Stream: market.Feeds, Seq: 900, StreamTime: noon.Add(-time.Minute)}
	if err := b.Add(earlier, place); err != nil {
		t.Fatal(err)
	}
	told[live.At(place).String()] = string(live.AppendJSON(nil, earlier, place))
	if err := st.Insert(context.Background(), b, "x"); err != nil {
		t.Fatal(err)
	}
	return api.New(api.Deps{
		Store: st, Logger: slog.New(slog.DiscardHandler), Epoch: func(market.Stream) int64 { return epoch },
		Landed: func(_ context.Context, s market.Stream) (uint64, int64, error) { return min(seq[s], 40), epoch, nil },
		Snapshot: func(_ context.Context, s live.Spec) ([]json.RawMessage, live.Cursor, error) {
			return []json.RawMessage{}, live.Cursor{Stream: s.Stream(), Seq: 9, Idx: live.Whole}, nil
		},
		Authorize: func(r *http.Request, c live.Channel, symbols []string) error {
			if r.Header.Get("Authorization") == "no" {
				return live.Errorf(live.CodeUnauthorised, "no")
			}
			return nil
		},
	}), told
}

func get(t *testing.T, h http.Handler, path string, query string, into any) int {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path+"?"+query, nil)
	h.ServeHTTP(w, r)
	described(t, r, w)
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%s?%s: %d %s: %v", path, query, w.Code, w.Body, err)
	}
	if w.Code != http.StatusOK {
		t.Logf("%s?%s: %d %s", path, query, w.Code, w.Body)
	}
	return w.Code
}

type page struct {
	Epoch    string
	Messages []json.RawMessage
	Next     *string
	Through  string
}

func TestAPI(t *testing.T) {
	h, told := world(t)
	t.Run("history", func(t *testing.T) { testHistory(t, h, told) })
	t.Run("values", func(t *testing.T) { testValues(t, h, told) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, h) })
}

// History is what was sent live, each message once, in order, and nothing that has not landed whole.
func testHistory(t *testing.T, h http.Handler, told map[string]string) {
	for _, order := range []string{"place", "event_time"} {
		for _, limit := range []int{7, 1000} {
			var cursors []string
			from := ""
			for {
				var p page
				if get(t, h, "/v1/history", fmt.Sprintf("channel=trades&symbols=CORZ&limit=%d&order=%s&from=%s", limit, order, url.QueryEscape(from)), &p) != http.StatusOK {
					t.Fatal("refused")
				}
				for _, m := range p.Messages {
					var c struct{ Cursor string }
					_ = json.Unmarshal(m, &c)
					if string(m) != told[c.Cursor] {
						t.Errorf("history differs from live:\n%s\n%s", m, told[c.Cursor])
					}
					cursors = append(cursors, c.Cursor)
				}
				if p.Next == nil {
					break
				}
				from = *p.Next
			}
			if len(cursors) != 20 {
				t.Errorf("order %s in pages of %d: %d messages, want the 20 that have landed: %v", order, limit, len(cursors), cursors)
			}
			if first := map[string]string{"place": "TRADES:1:0", "event_time": "TRADES:39:0"}[order]; cursors[0] != first {
				t.Errorf("order %s begins with %s", order, cursors[0])
			}
		}
	}
	for query, want := range map[string]int{
		"from=TRADES:10:0&to=TRADES:12": 2, "from=TRADES:10&to=TRADES:12:0": 2, "from=2026-11-20T17:00:11Z&to=2026-11-20T17:00:13Z": 2, "from=TRADES:900": 0, "to=1990-01-01T00:00:00Z": 0,
	} {
		var p page
		if get(t, h, "/v1/history", "channel=trades&symbols=*&"+query, &p); len(p.Messages) != want {
			t.Errorf("%s: %d messages, want %d", query, len(p.Messages), want)
		}
	}
}

func testValues(t *testing.T, h http.Handler, told map[string]string) {
	for query, want := range map[string]string{
		"/v1/bars?symbol=CORZ&interval=5m&from=2026-11-20T17:00:00Z&to=2026-11-20T17:10:00Z": `{"symbol":"CORZ","interval":"5m","of":"1m","adjusted":"false","bars":[` +
			`{"time":"2026-11-20T17:00:00Z","source":"sim-alpaca","open_usd":"10","high_usd":"15","low_usd":"9","close_usd":"14","volume":"500","vwap_usd":"12","trade_count":15,"final":true},` +
			`{"time":"2026-11-20T17:05:00Z","source":"sim-alpaca","open_usd":"10","high_usd":"20","low_usd":"9","close_usd":"15.5","volume":"700","vwap_usd":"14.57142857","trade_count":16,"final":true}],"next":null}`,
		"/v1/bars?symbol=CORZ&interval=10m&adjusted=true&from=2026-11-20T17:00:00Z&to=2026-11-20T17:10:00Z": `{"symbol":"CORZ","interval":"10m","of":"1m","adjusted":"true","bars":[` +
			`{"time":"2026-11-20T17:00:00Z","source":"sim-alpaca","open_usd":"10","high_usd":"20","low_usd":"9","close_usd":"15.5","volume":"1200","vwap_usd":"13.5","trade_count":31,"final":true}],"next":null}`,
		"/v1/bars?symbol=CORZ&interval=5m&limit=1&from=2026-11-20T17:00:00Z&to=2026-11-20T17:10:00Z": `{"symbol":"CORZ","interval":"5m","of":"1m","adjusted":"false","bars":[` +
			`{"time":"2026-11-20T17:00:00Z","source":"sim-alpaca","open_usd":"10","high_usd":"15","low_usd":"9","close_usd":"14","volume":"500","vwap_usd":"12","trade_count":15,"final":true}],"next":"2026-11-20T17:05:00Z"}`,
		"/v1/series?channel=hashprice&symbol=tip144&field=hashprice_usd&interval=1h&from=2026-11-20T17:00:00Z&to=2026-11-20T20:00:00Z": `{"channel":"hashprice","symbol":"tip144","field":"hashprice_usd","interval":"1h","points":[` +
			`{"time":"2026-11-20T17:00:00Z","source":"sim-alpaca","method":"tip144","value":"48.2","event_time":"2026-11-20T17:00:00Z"},` +
			`{"time":"2026-11-20T19:00:00Z","source":"sim-alpaca","method":"tip144","value":"49","event_time":"2026-11-20T19:00:00Z"}]}`,
		"/v1/series?channel=rates&symbol=h100-sxm/on-demand&field=usd_per_gpu_hour&interval=1d&from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z": `{"channel":"rates","symbol":"h100-sxm/on-demand","field":"usd_per_gpu_hour","interval":"1d","points":[` +
			`{"time":"2026-11-20T00:00:00Z","source":"sim-alpaca","method":"median/2","value":"2.1","event_time":"2026-11-20T17:00:00Z"}]}`,
		"/v1/series?channel=network&symbol=block&field=fees_sat&interval=1h&from=2026-11-20T16:00:00Z&to=2026-11-20T18:00:00Z": `{"channel":"network","symbol":"block","field":"fees_sat","interval":"1h","points":[` +
			`{"time":"2026-11-20T16:00:00Z","source":"sim-alpaca","value":"2","event_time":"2026-11-20T16:59:00Z"}]}`,
		"/v1/gaps":         `{"gaps":[` + told["FEEDS:2:0"] + `,` + told["FEEDS:900:0"] + `],"next":null}`,
		"/v1/gaps?limit=1": `{"gaps":[` + told["FEEDS:2:0"] + `],"next":"2026-11-20T17:00:02Z/FEEDS:2:0"}`,
		"/v1/gaps?limit=1&before=2026-11-20T17:00:02Z/FEEDS:2:0": `{"gaps":[` + told["FEEDS:900:0"] + `],"next":null}`,
		"/v1/instruments":                               `{"instruments":[]}`,
		"/v1/events?from=2026-01-01T00:00:00Z":          `{"events":[],"contracts":[]}`,
		"/v1/snapshot?channel=quotes&symbols=CORZ,IREN": fmt.Sprintf(`{"epoch":"%d","position":"QUOTES:9","messages":[]}`, epoch),
	} {
		path, q, _ := strings.Cut(query, "?")
		var got json.RawMessage
		if get(t, h, path, q, &got); string(got) != want {
			t.Errorf("%s:\n%s\nwant\n%s", query, got, want)
		}
	}
	for _, query := range []string{"signals&symbol=pivot-premium/h100-sxm&field=value", "network&symbol=btcusd&field=price_usd", "quotes&symbol=CORZ&field=bid_price_usd"} {
		var got struct{ Points []json.RawMessage }
		if get(t, h, "/v1/series", "interval=1w&channel="+query+"&to=2026-11-21T00:00:00Z", &got) != http.StatusOK {
			t.Error(query)
		}
	}
}

// What is wrong is told with its code and never an internal error; nothing from outside becomes a part of a statement.
func testRefusals(t *testing.T, h http.Handler) {
	for query, want := range map[string]string{
		"/v1/history?channel=x&symbols=*":                                          live.CodeBadChannel,
		"/v1/history?channel=trades":                                               live.CodeBadSymbol,
		"/v1/history?channel=bars&symbols=*":                                       live.CodeBadInterval,
		"/v1/history?channel=trades&symbols=*&from=live":                           live.CodeBadFrom,
		"/v1/history?channel=trades&symbols=*&from=QUOTES:1":                       live.CodeBadCursor,
		"/v1/history?channel=trades&symbols=*&limit=0":                             live.CodeBadRequest,
		"/v1/history?channel=trades&symbols=*&epoch=1":                             live.CodeOtherEpoch,
		"/v1/history?channel=trades&symbols=*&order=x":                             live.CodeBadRequest,
		"/v1/history?channel=trades&symbols=*&color=red":                           live.CodeBadRequest,
		"/v1/history?channel=trades&symbols=*&limit=1&limit=2":                     live.CodeBadRequest,
		"/v1/bars?symbol=CORZ&interval=5x":                                         live.CodeBadInterval,
		"/v1/bars?symbol=CORZ&interval=99999w":                                     live.CodeBadInterval,
		"/v1/bars?symbol=*&interval=5m":                                            live.CodeBadSymbol,
		"/v1/bars?symbol=CORZ&interval=1s&from=2000-01-01T00:00:00Z":               live.CodeBadRequest,
		"/v1/series?channel=hashprice&symbol=tip144&field=inputs;DROP&interval=1h": live.CodeBadRequest,
		"/v1/series?channel=bars&symbol=CORZ&field=close_usd&interval=1h":          live.CodeBadChannel,
		"/v1/gaps?before=FEEDS:1":                                                  live.CodeBadCursor,
		"/v1/gaps?before=2026-11-20T17:00:00Z/TRADES:1":                            live.CodeBadCursor,
		"/v1/nothing": live.CodeBadRequest,
	} {
		path, q, _ := strings.Cut(query, "?")
		var e live.Error
		if status := get(t, h, path, strings.ReplaceAll(q, ";", "%3B"), &e); status < 400 || status >= 500 || e.Code != want {
			t.Errorf("%s: %d %s, want %s", query, status, e.Code, want)
		}
	}
	for _, evil := range []string{`x' OR 1=1 --`, `\`, `';DROP TABLE trades;--`} {
		var got struct{ Gaps []json.RawMessage }
		if status := get(t, h, "/v1/gaps", "state="+url.QueryEscape(evil), &got); status != http.StatusOK || len(got.Gaps) != 0 {
			t.Errorf("state %q: %d, %d gaps", evil, status, len(got.Gaps))
		}
	}
	for _, path := range []string{"/v1/history?channel=trades&symbols=*", "/v1/gaps", "/v1/instruments", "/v1/events"} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "no")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/gaps", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

var _ api.Store = (*store.Store)(nil)
