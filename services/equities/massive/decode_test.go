package massive

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

func one(t *testing.T, text string) message {
	t.Helper()
	list, err := newDecoder("lots").frame([]byte("[" + text + "]"))
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %v, %v", text, list, err)
	}
	return list[0]
}

func event[T market.Event](t *testing.T, text string) T {
	t.Helper()
	m := one(t, text)
	ev, ok := m.event.(T)
	if !ok {
		t.Fatalf("%s: %+v", text, m)
	}
	meta := ev.GetMeta()
	meta.Source, meta.RecvTime = "massive", meta.EventTime
	if err := ev.Validate(); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return ev
}

func TestStreamEvents(t *testing.T) {
	p := event[*market.Trade](t, `{"ev":"T","sym":"MSFT","x":4,"i":"12345","z":3,"p":114.125,"s":100,"ds":"100.5","c":[0,12],"t":1536036818784,"q":3681328,"trfi":202,"trft":1536036818700}`)
	if p.ID != "12345@202" || p.Exchange != "4" || p.Tape != "C" || p.PriceUSD.String() != "114.125" || p.SizeShares.String() != "100.5" ||
		!slices.Equal(p.Conditions, []string{"0", "12"}) || p.Sequence != 3681328 || !p.EventTime.Equal(time.UnixMilli(1536036818784)) {
		t.Errorf("print %+v", p)
	}
	if p := event[*market.Trade](t, `{"ev":"T","sym":"MSFT","x":4,"i":77,"p":1,"s":3,"t":1536036818784}`); p.ID != "77" || p.SizeShares.String() != "3" || p.Conditions != nil {
		t.Errorf("an old print %+v", p)
	}
	q := event[*market.Quote](t, `{"ev":"Q","sym":"MSFT","bx":4,"bp":114.125,"bs":100,"ax":7,"ap":114.128,"as":160,"c":0,"i":[604],"t":1536036818784,"q":50385480,"z":3}`)
	if q.BidSizeShares.String() != "10000" || q.AskSizeShares.String() != "16000" || q.BidExchange != "4" || !slices.Equal(q.Conditions, []string{"0", "i604"}) ||
		!q.EventTime.Equal(time.UnixMilli(1536036818784).Add(385480)) {
		t.Errorf("quote %+v at %s", q, q.EventTime)
	}
	b := event[*market.Bar](t, `{"ev":"AM","sym":"GTE","v":4110,"av":9470157,"op":0.4372,"vw":0.44880000000000003,"o":0.4488,"c":0.4486,"h":0.4489,"l":0.4486,"a":0.4352,"z":685,"s":1610144640000,"e":1610144700000}`)
	if b.Interval != market.Interval1m || b.VWAPUSD.Trim(0).String() != "0.4488" || b.Volume.String() != "4110" || !b.EventTime.Equal(time.UnixMilli(1610144640000)) || b.TradeCount != 0 {
		t.Errorf("bar %+v", b)
	}
	h := event[*market.Halt](t, `{"ev":"LULD","T":"MSFT","h":218.96,"l":198.11,"i":[21,22],"z":3,"t":1601316752683746,"q":290317}`)
	if h.Kind != market.HaltLULD || h.Symbol != "MSFT" || h.LimitUpUSD.String() != "218.96" || h.LimitDownUSD.String() != "198.11" || h.Indicator != "21,22" ||
		!h.EventTime.Equal(time.UnixMicro(1601316752683746)) {
		t.Errorf("band %+v", h)
	}
	i := event[*market.Imbalance](t, `{"ev":"NOI","T":"NTEST.Q","t":1601318039223013600,"at":930,"a":"M","i":44,"x":10,"o":-480,"p":440,"b":25.03}`)
	if i.Symbol != "NTEST.Q" || i.AuctionTime != "930" || i.Auction != "M" || i.Exchange != "10" || i.ImbalanceShares.String() != "-480" ||
		i.PairedShares.String() != "440" || i.ClearingPriceUSD.String() != "25.03" || i.EventTime.UnixNano() != 1601318039223013600 {
		t.Errorf("imbalance %+v", i)
	}
	if m := one(t, `{"ev":"FMV","fmv":189.22,"sym":"AAPL","t":1678220098130}`); m.ignored != "FMV" {
		t.Errorf("%+v", m)
	}
}

// T is LULD's symbol and t its time: names must be told apart by their case.
func TestNamesAreExact(t *testing.T) {
	if m := one(t, `{"ev":"T","sym":"MSFT","x":4,"I":"9","p":1,"s":1,"t":1536036818784}`); feed.ReasonOf(m.err, "") != market.ReasonMissing {
		t.Errorf("I is taken for i: %+v", m)
	}
}

func TestBadEvents(t *testing.T) {
	for text, want := range map[string]market.Reason{
		`7`: feed.ReasonType, `{}`: market.ReasonMissing, `{"ev":"ZZ"}`: feed.ReasonUnknownType, `{"ev":5}`: feed.ReasonType,
		`{"ev":"T","sym":"X","i":"1","p":"1","s":1,"t":1536036818784}`:                              feed.ReasonType,
		`{"ev":"T","sym":"X","i":"","p":1,"s":1,"t":1536036818784}`:                                 market.ReasonMissing,
		`{"ev":"T","sym":"X","i":"1","p":1,"s":1,"t":15360}`:                                        market.ReasonTime,
		`{"ev":"T","sym":"X","i":"1","p":1,"s":1,"ds":"x","t":1536036818784}`:                       market.ReasonPrecision,
		`{"ev":"T","sym":"X","i":"1","p":1,"s":1,"t":1536036818784,"c":[1.5]}`:                      feed.ReasonType,
		`{"ev":"T","sym":"X","i":"1","p":1,"s":1,"t":1536036818784,"q":-1}`:                         market.ReasonValue,
		`{"ev":"Q","sym":"X","bp":1,"bs":999999999999999999,"t":1536036818784,"q":1}`:               market.ReasonPrecision,
		`{"ev":"Q","sym":"X","bp":1,"bs":1,"ap":2,"as":1,"t":1536036818784}`:                        market.ReasonMissing,
		`{"ev":"AM","sym":"X","o":1,"h":1,"l":1,"v":1,"s":1610144640000}`:                           market.ReasonMissing,
		`{"ev":"LULD","sym":"X","h":1,"l":1,"t":1601316752683746}`:                                  market.ReasonMissing,
		`{"ev":"T","sym":"` + strings.Repeat("X", 500) + `","i":"1","p":1,"s":1,"t":1536036818784}`: feed.ReasonType,
	} {
		if m := one(t, text); feed.ReasonOf(m.err, "") != want || m.event != nil {
			t.Errorf("%s: %v, want the reason %s", text, m.err, want)
		}
	}
	for _, text := range []string{``, `{}`, `[`, `[{"ev":"T"}`, `[] []`, `<html>`} {
		if _, err := newDecoder("lots").frame([]byte(text)); feed.ReasonOf(err, "") == "" {
			t.Errorf("frame %q: %v", text, err)
		}
	}
}

// A print and a quote are the same fact on the stream, which has milliseconds, and in the history, which has nanoseconds.
func TestHistoryAndStreamAreTheSameFacts(t *testing.T) {
	p := event[*market.Trade](t, `{"ev":"T","sym":"IREN","x":4,"i":"1","z":3,"p":171.55,"s":100,"c":[12,41],"t":1517562000016,"q":1063,"trfi":202}`)
	r, correction, err := restTrade([]byte(`{"conditions":[12,41],"correction":0,"decimal_size":"100","exchange":4,"id":"1","participant_timestamp":1517562000015577000,"price":171.55,"sequence_number":1063,"sip_timestamp":1517562000016036600,"size":100,"tape":3,"trf_id":202,"trf_timestamp":0}`), "IREN")
	if err != nil || correction != 0 {
		t.Fatal(correction, err)
	}
	r.Source = p.Source
	if p.Identity() != r.Identity() || !slices.Equal(p.Conditions, r.Conditions) || p.Sequence != r.Sequence || p.Tape != r.Tape {
		t.Errorf("%+v is not %+v", p, r)
	}
	q := event[*market.Quote](t, `{"ev":"Q","sym":"IREN","bx":4,"bp":114.125,"bs":1,"ax":7,"ap":114.128,"as":2,"c":1,"i":[604],"t":1517562000016,"q":1064,"z":3}`)
	h, err := newDecoder("lots").restQuote([]byte(`{"ask_exchange":7,"ask_price":114.128,"ask_size":2,"bid_exchange":4,"bid_price":114.125,"bid_size":1,"conditions":[1],"indicators":[604],"participant_timestamp":1517562000015577000,"sequence_number":1064,"sip_timestamp":1517562000016036600,"tape":3}`), "IREN")
	if err != nil {
		t.Fatal(err)
	}
	h.Source = q.Source
	if q.Identity() != h.Identity() || !slices.Equal(q.Conditions, h.Conditions) {
		t.Errorf("%s is not %s", q.Identity(), h.Identity())
	}
}

func TestPages(t *testing.T) {
	const path = "/v3/trades/IREN"
	p, err := parsePage([]byte(`{"status":"OK","request_id":"x","next_url":"https://api.polygon.io/v3/trades/IREN?cursor=abc&apiKey=hush","results":[{"a":1},{}]}`), path)
	if err != nil || len(p.records) != 2 || p.next != "/v3/trades/IREN?cursor=abc" {
		t.Errorf("%+v, %v: the next page is asked for at our host, without a key in the URL", p, err)
	}
	if p, err := parsePage([]byte(`{"status":"OK","count":0}`), path); err != nil || len(p.records) != 0 || p.next != "" {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := parsePage([]byte(`{"status":"OK","next_url":"https://x/v2/aggs/ticker/IREN/range/1/minute/5/9?limit=1"}`), "/v2/aggs/ticker/IREN/range/1/minute/"); err != nil {
		t.Errorf("the next page of bars: %v", err)
	}
	for _, text := range []string{
		`{"status":"ERROR","error":"You've exceeded the maximum requests per minute, please wait"}`, `{"status":"ERROR","error":"Unknown API Key"}`,
		`{"status":"NOT_AUTHORIZED","message":"no"}`, `{"status":"LATER"}`, `{}`, `[]`, `{"status":"OK","results":{}}`, `{"status":"OK","results":[`,
		`{"status":"OK","next_url":"https://evil/other?x=1"}`, `{"status":"OK","next_url":"https://x/v3/trades/IRENX?x=1"}`, `{"status":"OK","next_url":"://"}`,
	} {
		if p, err := parsePage([]byte(text), path); err == nil {
			t.Errorf("%s is taken: %+v", text, p)
		}
	}
	if _, err := parsePage([]byte(`{"status":"OK","next_url":"https://x/v2/aggs/ticker/IREN/range/1/minute/../../../v1/x"}`), "/v2/aggs/ticker/IREN/range/1/minute/"); err == nil {
		t.Error("a next page that climbs out is taken")
	}
}

func TestCaptures(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", "data", "captures", "massive_polygon_ws_examples.json"))
	if err != nil {
		t.Skip("no captures: ", err)
	}
	var list []struct {
		Path    string
		Example json.RawMessage
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, x := range list {
		if !strings.HasPrefix(x.Path, "/stocks/") {
			continue
		}
		n++
		m := one(t, string(x.Example))
		if m.err != nil || m.event == nil {
			t.Errorf("%s: %v", x.Path, m.err)
			continue
		}
		meta := m.event.GetMeta()
		meta.Source, meta.RecvTime = "massive", meta.EventTime
		if err := m.event.Validate(); err != nil {
			t.Errorf("%s: %v", x.Path, err)
		}
	}
	if n < 6 {
		t.Errorf("%d examples of stocks", n)
	}
}

func FuzzFrame(f *testing.F) {
	for _, s := range []string{
		`[{"ev":"T","sym":"MSFT","x":4,"i":"12345","z":3,"p":114.125,"s":100,"c":[0,12],"t":1536036818784,"q":3681328}]`,
		`[{"ev":"Q","sym":"MSFT","bx":4,"bp":114.125,"bs":100,"ax":7,"ap":114.128,"as":160,"c":0,"i":[604],"t":1536036818784,"q":50385480,"z":3}]`,
		`[{"ev":"AM","sym":"GTE","v":4110,"vw":0.4488,"o":0.4488,"c":0.4486,"h":0.4489,"l":0.4486,"s":1610144640000}]`,
		`[{"ev":"LULD","T":"MSFT","h":218.96,"l":198.11,"i":[21],"z":3,"t":1601316752683746}]`,
		`[{"ev":"NOI","T":"NTEST.Q","t":1601318039223013600,"at":930,"a":"M","x":10,"o":480,"p":440,"b":25.03}]`,
		`[{"ev":"status","status":"success","message":"subscribed to: T.IREN"},{"ev":"status"}]`, `[null,{},[],{"ev":"T","p":1e999}]`,
	} {
		f.Add([]byte(s))
	}
	d := newDecoder("lots")
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := d.frame(data)
		if err != nil && feed.ReasonOf(err, "") == "" {
			t.Fatalf("an error without a reason: %v", err)
		}
		for _, m := range list {
			switch {
			case m.err != nil && feed.ReasonOf(m.err, "") == "":
				t.Fatalf("an error without a reason: %v", m.err)
			case m.event != nil:
				m.event.GetMeta().Source, m.event.GetMeta().RecvTime = "x", time.Now()
				_ = m.event.Validate()
				_ = m.event.Identity()
			}
		}
	})
}

func FuzzHistory(f *testing.F) {
	f.Add([]byte(`{"status":"OK","next_url":"https://x/v3/trades/IREN?cursor=1","results":[{"correction":12,"decimal_size":"100","exchange":4,"id":"1","price":171.55,"sequence_number":1063,"sip_timestamp":1517562000016036600,"size":100,"tape":3}]}`))
	f.Add([]byte(`{"status":"OK","results":[{"ask_price":1,"ask_size":2,"bid_price":1,"bid_size":1,"conditions":[1],"sequence_number":1064,"sip_timestamp":1517562000016036600}]}`))
	f.Add([]byte(`{"status":"OK","results":[{"v":70790813,"vw":131.6292,"o":130.465,"c":130.15,"h":133.41,"l":129.89,"t":1673240400000,"n":645365}]}`))
	d := newDecoder("shares")
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePage(data, "/v3/trades/IREN")
		if err != nil {
			return
		}
		for _, raw := range p.records {
			_, _, err1 := restTrade(raw, "IREN")
			_, err2 := d.restQuote(raw, "IREN")
			_, err3 := restBar(raw, "IREN", market.Interval1m)
			for _, err := range []error{err1, err2, err3} {
				if err != nil && feed.ReasonOf(err, "") == "" {
					t.Fatalf("an error without a reason: %v", err)
				}
			}
		}
	})
}
