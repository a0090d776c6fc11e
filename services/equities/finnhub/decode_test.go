package finnhub

import (
	"bufio"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

func TestTrades(t *testing.T) {
	m, err := decode([]byte(`{"data":[{"c":["1","8","24","12"],"p":122.1,"s":"TSLA","t":1672348887195,"v":1},{"p":0.00012345,"s":"X","t":1672348887195,"v":0.011467},{"c":null,"p":1e2,"s":"X","t":1672348887195,"v":2}],"type":"trade"}`))
	if err != nil || m.kind != "trade" || len(m.prints) != 3 {
		t.Fatalf("%+v, %v", m, err)
	}
	p := m.prints[0].trade
	if p.Symbol != "TSLA" || p.PriceUSD.String() != "122.1" || p.SizeShares.String() != "1" || len(p.Conditions) != 4 || p.Conditions[2] != "24" ||
		!p.EventTime.Equal(time.UnixMilli(1672348887195)) || p.Exchange != "" || p.Tape != "" {
		t.Errorf("print %+v", p)
	}
	if p := m.prints[1].trade; p.Conditions != nil || p.PriceUSD.String() != "0.00012345" || p.SizeShares.String() != "0.011467" {
		t.Errorf("print %+v", p)
	}
	if p := m.prints[2].trade; p == nil || p.Conditions != nil {
		t.Errorf("print %+v", m.prints[2])
	}
}

func TestBadMessages(t *testing.T) {
	for text, want := range map[string]market.Reason{
		``: feed.ReasonType, `[]`: feed.ReasonType, `{"data":[`: feed.ReasonMalformed, `{}`: market.ReasonMissing, `{"type":"news"}`: feed.ReasonUnknownType,
		`{"type":7}`: feed.ReasonType, `{"type":"trade"}`: market.ReasonMissing, `{"type":"trade","data":{}}`: feed.ReasonType,
	} {
		if _, err := decode([]byte(text)); feed.ReasonOf(err, "") != want {
			t.Errorf("%q: %v, want the reason %s", text, err, want)
		}
	}
	for text, want := range map[string]market.Reason{
		`{"p":"1","s":"X","t":1672348887195,"v":1}`: feed.ReasonType, `{"p":1,"s":"X","t":1.5,"v":1}`: feed.ReasonType, `{"s":"X","t":1672348887195,"v":1}`: market.ReasonMissing,
		`{"p":1,"s":"X","t":-5,"v":1}`: market.ReasonTime, `{"p":12345678901234567890123,"s":"X","t":1672348887195,"v":1}`: market.ReasonPrecision, `7`: feed.ReasonType,
	} {
		if _, err := decodeTrade([]byte(text)); feed.ReasonOf(err, "") != want {
			t.Errorf("%q: %v, want the reason %s", text, err, want)
		}
	}
}

// Two equal prints are two trades; the same numbers of another symbol are another print.
func TestEqualPrintsAreToldApart(t *testing.T) {
	ids := newOrdinals()
	p := &market.Trade{Symbol: "IREN", PriceUSD: market.MustDecimal("42.10"), SizeShares: market.MustDecimal("100"), Conditions: []string{"1", "8"}}
	p.EventTime = time.UnixMilli(1672348887195)
	q := *p
	q.Symbol, q.PriceUSD = "CORZ", market.MustDecimal("42.1")
	for i, want := range []string{"1672348887195-42.1-100-1,8-0", "1672348887195-42.1-100-1,8-1"} {
		if got := ids.id(p); got != want {
			t.Errorf("id %d is %s, want %s", i, got, want)
		}
	}
	if got := ids.id(&q); got != "1672348887195-42.1-100-1,8-0" {
		t.Errorf("id %s", got)
	}
	ids.n = 1
	for i := range 10 {
		p.EventTime = p.EventTime.Add(time.Millisecond)
		ids.id(p)
		if len(ids.now)+len(ids.old) > 4 {
			t.Fatalf("%d ordinals are kept after %d prints", len(ids.now)+len(ids.old), i)
		}
	}
}

func TestCandles(t *testing.T) {
	bars, err := decodeCandles([]byte(`{"c":[217.68,217.3],"h":[222.49,217.50000000000003],"l":[217.19,217.1],"o":[221.03,217.2],"s":"ok","t":[1569297600,1569297660],"v":[33463820,12.5]}`), "AAPL")
	if err != nil || len(bars) != 2 || bars[1].HighUSD.Trim(0).String() != "217.5" || bars[0].EventTime.Unix() != 1569297600 || bars[1].Volume.Trim(0).String() != "12.5" {
		t.Fatalf("%+v, %v", bars, err)
	}
	if bars, err := decodeCandles([]byte(`{"s":"no_data"}`), "AAPL"); err != nil || len(bars) != 0 {
		t.Errorf("%v, %v", bars, err)
	}
	for _, text := range []string{`{"s":"ok"}`, `{"s":"ok","t":[1],"o":[],"h":[1],"l":[1],"c":[1],"v":[1]}`, `{"s":"later"}`, `{"error":"x"}`, `<html>`,
		`{"s":"ok","t":[1.5],"o":[1],"h":[1],"l":[1],"c":[1],"v":[1]}`, `{"s":"ok","t":["1"],"o":[1],"h":[1],"l":[1],"c":[1],"v":[1]}`} {
		if _, err := decodeCandles([]byte(text), "AAPL"); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func TestCaptures(t *testing.T) {
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "data", "captures", "finnhub_ws_messages.jsonl"))
	if err != nil {
		t.Skip("no captures: ", err)
	}
	defer func() { _ = f.Close() }()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
		m, err := decode(s.Bytes())
		if err != nil {
			t.Errorf("%s: %v", s.Bytes(), err)
		}
		for _, p := range m.prints {
			if p.err != nil {
				t.Errorf("%s: %v", p.raw, p.err)
			}
		}
	}
	if n == 0 {
		t.Error("no capture")
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"data":[{"c":null,"p":7296.89,"s":"BINANCE:BTCUSDT","t":1575526691134,"v":0.011467}],"type":"trade"}`, `{"type":"ping"}`,
		`{"msg":"Subscribing to too many symbols","type":"error"}`, `{"type":"trade","data":[null,{},[],{"p":1e999,"t":1e3}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decode(data)
		if err != nil {
			if feed.ReasonOf(err, "") == "" {
				t.Fatalf("an error without a reason: %v", err)
			}
			return
		}
		ids := newOrdinals()
		for _, p := range m.prints {
			if p.err == nil {
				ids.id(p.trade)
				p.trade.Source, p.trade.RecvTime = "x", time.Now()
				_ = p.trade.Validate()
			}
		}
	})
}

func FuzzCandles(f *testing.F) {
	f.Add([]byte(`{"c":[217.68],"h":[222.49],"l":[217.19],"o":[221.03],"s":"ok","t":[1569297600],"v":[33463820]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		bars, err := decodeCandles(data, "X")
		if err != nil && feed.ReasonOf(err, "") == "" {
			t.Fatalf("an error without a reason: %v", err)
		}
		for _, b := range bars {
			b.Source, b.RecvTime = "x", time.Now()
			_ = b.Validate()
		}
	})
}
