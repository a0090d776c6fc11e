package signals

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/session"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

// record of Alpaca's history, as its REST writes it.
type tradeRecord struct {
	T time.Time   `json:"t"`
	X string      `json:"x"`
	P json.Number `json:"p"`
	S json.Number `json:"s"`
	C []string    `json:"c"`
	I json.Number `json:"i"`
	Z string      `json:"z"`
	U string      `json:"u"`
}

type barRecord struct {
	T  time.Time   `json:"t"`
	O  json.Number `json:"o"`
	H  json.Number `json:"h"`
	L  json.Number `json:"l"`
	C  json.Number `json:"c"`
	V  json.Number `json:"v"`
	N  uint64      `json:"n"`
	VW json.Number `json:"vw"`
}

func (r tradeRecord) trade(symbol string) market.Trade {
	return market.Trade{
		Meta: market.Meta{EventTime: r.T, RecvTime: r.T, Source: "alpaca"}, Action: market.TradeNew, Symbol: symbol, ID: r.I.String(), Exchange: r.X, Tape: r.Z,
		PriceUSD: market.MustDecimal(r.P.String()), SizeShares: market.MustDecimal(r.S.String()), Conditions: r.C,
	}
}

// TestMinutesOfTheSimulator holds our minute bars against those that Alpaca's simulator makes in its own way, of the same prints.
func TestMinutesOfTheSimulator(t *testing.T) {
	t.Parallel()
	w, err := world.New(world.Config{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	sim, err := alpaca.New(alpaca.Config{World: w, Seed: 7, Symbols: []string{"CORZ", "IREN"}, Rate: 200, Steady: true, FaultEvery: 40})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim.Handler())
	defer func() {
		sim.Close()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	}()
	end := time.Now().UTC().Truncate(time.Minute).Add(-time.Minute) // long enough ago for every late print and correction
	start := end.Add(-10 * time.Minute)
	get := func(path, symbol, extra string, page func(body []byte) (next *string)) {
		token := ""
		for {
			u := fmt.Sprintf("%s/v2/stocks/%s?symbols=%s&start=%s&end=%s&limit=10000%s", srv.URL, path, symbol, start.Format(time.RFC3339),
				end.Add(-time.Nanosecond).Format(time.RFC3339Nano), extra)
			if token != "" {
				u += "&page_token=" + url.QueryEscape(token)
			}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
			req.Header.Set("APCA-API-KEY-ID", "key")
			req.Header.Set("APCA-API-SECRET-KEY", "secret")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s %v %s", u, resp.Status, err, body)
			}
			next := page(body)
			if next == nil {
				return
			}
			token = *next
		}
	}
	cal, err := session.NewAlways()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, symbol := range []string{"CORZ", "IREN"} {
		var prints []market.Trade
		fates := map[string]int{}
		get("trades", symbol, "", func(body []byte) *string {
			var page struct {
				Trades map[string][]tradeRecord `json:"trades"`
				Next   *string                  `json:"next_page_token"`
			}
			if err := json.Unmarshal(body, &page); err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Trades[symbol] {
				fates[r.U]++
				x := r.trade(symbol)
				prints = append(prints, x)
				if r.U == "canceled" || r.U == "incorrect" {
					x.Action = market.TradeCancel
					prints = append(prints, x)
				}
			}
			return page.Next
		})
		ours := map[int64]market.Bar{}
		for _, b := range Build(prints, alpacaRules(t), cal, []market.Interval{market.Interval1m}) {
			ours[b.EventTime.Unix()] = b
		}
		theirs := 0
		get("bars", symbol, "&timeframe=1Min", func(body []byte) *string {
			var page struct {
				Bars map[string][]barRecord `json:"bars"`
				Next *string                `json:"next_page_token"`
			}
			if err := json.Unmarshal(body, &page); err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Bars[symbol] {
				theirs++
				b, ok := ours[r.T.Unix()]
				if !ok {
					t.Errorf("%s %s: we have no bar", symbol, r.T)
					continue
				}
				got := fmt.Sprintf("%s %s %s %s %s %d", b.OpenUSD, b.HighUSD, b.LowUSD, b.CloseUSD, b.Volume, b.TradeCount)
				want := fmt.Sprintf("%s %s %s %s %s %d", r.O, r.H, r.L, r.C, r.V, r.N)
				if got != want {
					t.Errorf("%s %s: ours %s, theirs %s", symbol, r.T, got, want)
				}
				diff, err := b.VWAPUSD.Sub(market.MustDecimal(r.VW.String()))
				if err != nil || diff.Abs().Cmp(market.MustDecimal("0.000001")) > 0 {
					t.Errorf("%s %s: average price %s, theirs %s", symbol, r.T, b.VWAPUSD, r.VW)
				}
				compared++
			}
			return page.Next
		})
		if theirs != len(ours) {
			t.Errorf("%s: we have %d bars, they %d", symbol, len(ours), theirs)
		}
		if fates["canceled"] == 0 || fates["incorrect"] == 0 || len(prints) < 5000 {
			t.Errorf("%s: too little happened: %d prints, %v", symbol, len(prints), fates)
		}
	}
	if compared < 18 {
		t.Errorf("only %d bars were compared", compared)
	}
}

// TestCapturedPrints builds bars of real prints. The captures hold no bar of the same minutes, so only what can be said of the prints is.
func TestCapturedPrints(t *testing.T) {
	const dir = "../../../shared/data/captures/"
	f, err := os.Open(dir + "alpaca_trades.json.gz")
	if err != nil {
		t.Skipf("the captures are not here: %v", err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	type page struct {
		Trades json.RawMessage `json:"trades"`
		Bars   json.RawMessage `json:"bars"`
	}
	prints, bars := map[string][]market.Trade{}, map[string][]barRecord{}
	take := func(p page) {
		var trades map[string][]tradeRecord
		if json.Unmarshal(p.Trades, &trades) == nil { // latest prints have another shape, and other markets none of the fields
			for symbol, list := range trades {
				for _, r := range list {
					if !r.T.IsZero() && r.P != "" && r.X != "" && r.U == "" {
						prints[symbol] = append(prints[symbol], r.trade(symbol))
					}
				}
			}
		}
		var list map[string][]barRecord
		if json.Unmarshal(p.Bars, &list) == nil {
			for symbol, l := range list {
				bars[symbol] = append(bars[symbol], l...)
			}
		}
	}
	var first page
	if err := json.NewDecoder(z).Decode(&first); err != nil {
		t.Fatal(err)
	}
	take(first)
	g, err := os.Open(dir + "alpaca_rest_captured.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	lines := bufio.NewScanner(g)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l struct {
			Src  string `json:"src"`
			Body page   `json:"body"`
		}
		if json.Unmarshal(lines.Bytes(), &l) == nil && strings.HasSuffix(l.Src, "marketdata/rest_test.go") {
			take(l.Body)
		}
	}
	// One second of AAPL of 13 October 2021, before the opening: extended hours, sweeps and odd lots.
	var got []string
	for _, b := range Build(prints["AAPL"][:5], alpacaRules(t), us(t), []market.Interval{market.Interval1m, market.Interval1d}) {
		got = append(got, fmt.Sprint(b.Interval, " ", b.Session, " ", b.EventTime.Format(time.RFC3339), " ", line(b)))
	}
	want := "1m pre 2021-10-13T08:00:00Z 140.2 140.2 140.2 140.2 724 140.2 5 2021-10-13 alpaca-conditions/1"
	if !strings.Contains(strings.Join(got, "\n"), want) {
		t.Errorf("bars\n%s\nwant among them\n%s", strings.Join(got, "\n"), want)
	}
	for _, g := range got {
		if strings.HasPrefix(g, "1d  ") {
			t.Errorf("prints of extended hours make a bar of the trade date: %s", g)
		}
	}
	// Odd lots make no price, so the trade of 5 shares of F has no bar of its own.
	for _, b := range Build(prints["F"], alpacaRules(t), us(t), []market.Interval{market.Interval1s}) {
		if b.EventTime.Second() == 17 {
			t.Errorf("an odd lot made a bar: %+v", b)
		}
	}
	shared := 0
	for symbol, list := range bars {
		ours := map[int64]bool{}
		for _, b := range Build(prints[symbol], alpacaRules(t), us(t), []market.Interval{market.Interval1m}) {
			ours[b.EventTime.Unix()] = true
		}
		for _, b := range list {
			if ours[b.T.Unix()] {
				shared++
			}
		}
	}
	t.Logf("minutes with captured prints and a captured bar: %d", shared)
}
