package alpaca

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// The venue's own samples, as its documentation and its client's tests print them.
var samples = []string{
	`[{"T":"success","msg":"connected"}]`,
	`[{"T":"error","code":406,"msg":"connection limit exceeded"}]`,
	`[{"T":"subscription","trades":["CORZ","WGMI"],"quotes":["IREN"],"bars":["*"],"updatedBars":["*"],"dailyBars":["IREN"],"statuses":["*"],"lulds":["IREN"],"imbalances":["IREN"],"corrections":["CORZ","WGMI"],"cancelErrors":["CORZ","WGMI"]}]`,
	`[{"T":"t","i":96921,"S":"AAPL","x":"D","p":126.55,"s":1,"t":"2021-02-22T15:51:44.208Z","c":["@","I"],"z":"C"}]`,
	`[{"T":"q","S":"AMD","bx":"U","bp":87.66,"bs":1,"ax":"Q","ap":87.68,"as":4,"t":"2021-02-22T15:51:45.335689322Z","c":["R"],"z":"C"}]`,
	`[{"T":"b","S":"SPY","o":388.985,"h":389.13,"l":388.975,"c":389.12,"v":49378,"n":461,"vw":389.062,"t":"2021-02-22T19:15:00Z"}]`,
	`[{"T":"s","S":"AAPL","sc":"H","sm":"Trading Halt","rc":"T12","rm":"Trading Halted; For information requested by NASDAQ","t":"2021-02-22T19:15:00Z","z":"C"}]`,
	`[{"T":"l","S":"IREN","u":4.21,"d":3.22,"i":"B","t":"2024-07-05T13:34:45.565Z","z":"C"}]`,
	`[{"T":"i","S":"INAQU","p":9.12,"t":"2024-12-13T19:58:09.242138635Z","z":"C"}]`,
	`[{"T":"x","S":"GOOGL","i":465,"x":"D","p":1800.99,"s":100,"a":"C","z":"C","t":"2021-03-02T16:37:01.8Z"}]`,
	`[{"T":"c","S":"EEM","x":"M","oi":52983525033527,"op":39.1582,"os":440000,"oc":[" ","7","V"],"ci":52983525034326,"cp":39.1809,"cs":440000,"cc":[" ","7","Z","V"],"z":"B","t":"2021-03-02T16:37:01.8Z"}]`,
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func dec(text string) market.Decimal { return market.MustDecimal(text) }

// decodeAll decodes a frame with a decoder that takes all symbols.
func decodeAll(t testing.TB, data []byte, binary bool) []message {
	t.Helper()
	var out []message
	if err := newDecoder(nil).frame(data, binary, func(m message) error {
		m.raw = nil
		out = append(out, m)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// toPack turns a JSON sample into MsgPack as the venue does: floats for prices, integers, timestamps.
func toPack(t testing.TB, sample string) []byte {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(sample))
	d.UseNumber()
	var list []map[string]any
	if err := d.Decode(&list); err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		for k, v := range m {
			if n, ok := v.(json.Number); ok {
				if i, err := n.Int64(); err == nil {
					m[k] = i
				} else if f, err := n.Float64(); err == nil {
					m[k] = f
				}
			}
			if s, ok := v.(string); ok && k == "t" {
				m[k] = at(t, s)
			}
		}
	}
	data, err := msgpack.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestDecodesTheVenuesSamples(t *testing.T) {
	want := map[int]market.Event{
		3: &market.Trade{Meta: market.Meta{EventTime: at(t, "2021-02-22T15:51:44.208Z")}, Action: market.TradeNew, Symbol: "AAPL", ID: "96921", Exchange: "D",
			Tape: "C", PriceUSD: dec("126.55"), SizeShares: dec("1"), Conditions: []string{"@", "I"}},
		4: &market.Quote{Meta: market.Meta{EventTime: at(t, "2021-02-22T15:51:45.335689322Z")}, Symbol: "AMD", BidExchange: "U", AskExchange: "Q",
			BidPriceUSD: dec("87.66"), AskPriceUSD: dec("87.68"), BidSizeShares: dec("1"), AskSizeShares: dec("4"), Conditions: []string{"R"}, Tape: "C"},
		5: &market.Bar{Meta: market.Meta{EventTime: at(t, "2021-02-22T19:15:00Z")}, Symbol: "SPY", Interval: market.Interval1m, OpenUSD: dec("388.985"),
			HighUSD: dec("389.13"), LowUSD: dec("388.975"), CloseUSD: dec("389.12"), Volume: dec("49378"), TradeCount: 461, VWAPUSD: dec("389.062")},
		6: &market.Halt{Meta: market.Meta{EventTime: at(t, "2021-02-22T19:15:00Z")}, Kind: market.HaltStatus, Symbol: "AAPL", StatusCode: "H",
			StatusText: "Trading Halt", ReasonCode: "T12", ReasonText: "Trading Halted; For information requested by NASDAQ", Tape: "C"},
		7: &market.Halt{Meta: market.Meta{EventTime: at(t, "2024-07-05T13:34:45.565Z")}, Kind: market.HaltLULD, Symbol: "IREN", LimitUpUSD: dec("4.21"),
			LimitDownUSD: dec("3.22"), Indicator: "B", Tape: "C"},
		8: &market.Imbalance{Meta: market.Meta{EventTime: at(t, "2024-12-13T19:58:09.242138635Z")}, Symbol: "INAQU", PriceUSD: dec("9.12"), Tape: "C"},
		9: &market.Trade{Meta: market.Meta{EventTime: at(t, "2021-03-02T16:37:01.8Z")}, Action: market.TradeCancel, Symbol: "GOOGL", ID: "465", Exchange: "D",
			Tape: "C", PriceUSD: dec("1800.99"), SizeShares: dec("100"), CancelCode: "C"},
		10: &market.Trade{Meta: market.Meta{EventTime: at(t, "2021-03-02T16:37:01.8Z")}, Action: market.TradeCorrection, Symbol: "EEM", ID: "52983525034326",
			Exchange: "M", Tape: "B", PriceUSD: dec("39.1809"), SizeShares: dec("440000"), Conditions: []string{" ", "7", "Z", "V"},
			OriginalID: "52983525033527", OriginalPriceUSD: dec("39.1582"), OriginalSizeShares: dec("440000")},
	}
	for i, sample := range samples {
		for _, binary := range []bool{false, true} {
			data := []byte(sample)
			if binary {
				data = toPack(t, sample)
			}
			got := decodeAll(t, data, binary)
			if len(got) != 1 || got[0].err != nil {
				t.Fatalf("sample %d, binary %v: %d messages, %v", i, binary, len(got), got[0].err)
			}
			m := got[0]
			switch i {
			case 0:
				if m.control == nil || m.control.msg != "connected" {
					t.Errorf("%+v", m)
				}
			case 1:
				if m.control == nil || m.control.code != 406 {
					t.Errorf("%+v", m)
				}
			case 2:
				if m.control == nil || strings.Join(m.control.subscribed["corrections"], " ") != "CORZ WGMI" || len(m.control.subscribed) != 10 {
					t.Errorf("%+v", m.control)
				}
			default:
				if !sameEvent(t, m.event, want[i]) {
					t.Errorf("sample %d, binary %v:\n got %+v\nwant %+v", i, binary, m.event, want[i])
				}
				m.event.GetMeta().Source, m.event.GetMeta().RecvTime = "alpaca", time.Now()
				if err := m.event.Validate(); err != nil {
					t.Errorf("sample %d: %v", i, err)
				}
			}
		}
	}
}

// sameEvent compares by JSON text, in which equal decimals are equal.
func sameEvent(t testing.TB, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x, y)
}

func TestNumbersStayExact(t *testing.T) {
	for text, want := range map[string]string{
		"126.55": "126.55", "0.0001": "0.0001", "1e2": "100", "39.1582": "39.1582", "1234567.12345678": "1234567.12345678", "-5": "-5", "0": "0",
	} {
		d, err := value{kind: kNumber, raw: []byte(text)}.decimal()
		if err != nil || d.Cmp(dec(want)) != 0 {
			t.Errorf("JSON %s is %s, %v, want %s", text, d, err, want)
		}
	}
	for f, want := range map[float64]string{126.55: "126.55", 0.1: "0.1", 38.805: "38.805", 1e-4: "0.0001", 7470300.25: "7470300.25", 0: "0"} {
		d, err := value{kind: kFloat, pack: true, num: math.Float64bits(f)}.decimal()
		if err != nil || d.Cmp(dec(want)) != 0 {
			t.Errorf("float %v is %s, %v, want %s", f, d, err, want)
		}
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, 1e-300} {
		if d, err := (value{kind: kFloat, pack: true, num: math.Float64bits(f)}).decimal(); err == nil {
			t.Errorf("float %v is taken as %s", f, d)
		}
	}
	for _, text := range []string{"1e999999999", "1e-999999999", strings.Repeat("9", 60), "36.800000000000000000001"} {
		if d, err := (value{kind: kNumber, raw: []byte(text)}).decimal(); err == nil {
			t.Errorf("number %s is taken as %s", text, d)
		}
	}
}

func TestFractionalSizesAndUnknownFields(t *testing.T) {
	m := decodeAll(t, []byte(` [ {"q":[{"x":[]}], "s":0.5, "T":"t","i":18446744073709551615,"S":"BRK.B","p":500,"t":"2026-11-20T15:00:00Z","c":null,"x":"V","z":"A","r":1.5e3} ] `), false)
	tr, ok := m[0].event.(*market.Trade)
	if !ok || tr.SizeShares.String() != "0.5" || tr.ID != "18446744073709551615" || tr.Symbol != "BRK.B" || tr.Conditions != nil {
		t.Errorf("%+v %v", m[0].event, m[0].err)
	}
	if m := decodeAll(t, []byte(`[{"T":"s","S":"IREN","sc":"\u0048","sm":"H\u00e4lt \"x\"","t":"2026-11-20T15:00:00Z"}]`), false); m[0].err != nil ||
		m[0].event.(*market.Halt).StatusText != `Hält "x"` || m[0].event.(*market.Halt).StatusCode != "H" {
		t.Errorf("escapes: %+v %v", m[0].event, m[0].err)
	}
}

func TestPages(t *testing.T) {
	const trades = `{"trades":{"A":[{"t":"2022-10-21T20:19:03.752176Z","x":"D","p":129.88,"s":5,"c":[" ","T","I"],"i":71697353758036,"z":"A","u":"canceled"}],"B":[]},"next_page_token":"QUFQTA==","currency":"USD"}`
	var got []record
	next, err := newDecoder(func(s string) bool { return s == "A" || s == "B" }).page([]byte(trades), "trades", "", func(r record) error {
		got = append(got, r)
		return nil
	})
	if err != nil || next != "QUFQTA==" || len(got) != 1 || got[0].fate != printCancelled || got[0].event.(*market.Trade).Symbol != "A" {
		t.Errorf("%q %v %+v", next, err, got)
	}
	for name, body := range map[string]string{
		"empty":                `{"trades":{},"next_page_token":null}`,
		"no records":           `{"trades":null,"next_page_token":null}`,
		"null for a symbol":    `{"trades":{"A":null}}`,
		"empty although token": `{"trades":{},"next_page_token":"x"}`,
	} {
		if _, err := newDecoder(nil).page([]byte(body), "trades", "", func(record) error { return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		body   string
		reason market.Reason
	}{
		"cut":           {trades[:len(trades)/2], feed.ReasonMalformed},
		"two documents": {trades + trades, feed.ReasonMalformed},
		"no object":     {`[]`, feed.ReasonType},
		"other kind":    {`{"bars":{}}`, feed.ReasonProtocol},
		"a list":        {`{"trades":[]}`, feed.ReasonType},
		"token":         {`{"trades":{},"next_page_token":7}`, feed.ReasonType},
		"strange":       {`{"trades":{"EVIL":[]}}`, feed.ReasonProtocol},
		"html":          {`<html>`, feed.ReasonMalformed},
		"nothing":       {``, feed.ReasonMalformed},
	} {
		_, err := newDecoder(func(s string) bool { return s == "A" || s == "B" }).page([]byte(c.body), "trades", "", func(record) error { return nil })
		if err == nil || feed.ReasonOf(err, "") != c.reason {
			t.Errorf("%s: error %v, want reason %s", name, err, c.reason)
		}
	}
}

// FuzzFrameJSON: no frame panics, everything that encoding/json takes as an array of objects is walked to its end, and what it does not take
// is refused.
func FuzzFrameJSON(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
		f.Add([]byte(s[:len(s)/2]))
	}
	f.Add([]byte(`[{"T":"t"},5,null,[[]],"x"]`))
	f.Add([]byte(`[{"T":"t","p":1e999999999,"s":-0.0,"i":1e3,"S":"\ud800"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		err := newDecoder(nil).frame(data, false, func(m message) error {
			n++
			if (m.err == nil) == (m.event == nil && m.control == nil) {
				t.Fatalf("message %+v is neither good nor bad", m)
			}
			if m.event != nil {
				_ = m.event.Validate()
				_ = m.event.Identity()
			}
			return nil
		})
		var list []json.RawMessage
		if json.Unmarshal(data, &list) == nil {
			// Only what our limits refuse may fail: depth, and escapes, which are checked when they are read.
			if err == nil && n != len(list) {
				t.Fatalf("%d messages of %d", n, len(list))
			}
			if err != nil && !strings.Contains(err.Error(), "deeper") && data[0] == '[' {
				t.Fatalf("a good frame is refused: %v", err)
			}
		}
		_, _ = newDecoder(nil).page(data, "trades", "", func(record) error { return nil })
	})
}

func FuzzFrameMsgPack(f *testing.F) {
	for _, s := range samples {
		data := toPack(f, s)
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte("\xdd\xff\xff\xff\xff"))
	f.Add([]byte("\x91\x82\xa1T\xa1t\xa1p\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		// Not compared with the msgpack library: it allocates what a length says, which a hostile frame sets to gigabytes.
		err := newDecoder(nil).frame(data, true, func(m message) error {
			n++
			if (m.err == nil) == (m.event == nil && m.control == nil) {
				t.Fatalf("message %+v is neither good nor bad", m)
			}
			if m.event != nil {
				_ = m.event.Validate()
				_ = m.event.Identity()
			}
			return nil
		})
		if n > len(data) || err == nil && len(data) == 0 {
			t.Fatalf("%d messages in %d bytes, error %v", n, len(data), err)
		}
	})
}

func benchmarkFrame(b *testing.B, binary bool) {
	var list []json.RawMessage
	for i := range 100 {
		var one []json.RawMessage
		if err := json.Unmarshal([]byte(samples[3+i%2]), &one); err != nil {
			b.Fatal(err)
		}
		list = append(list, one...)
	}
	data, err := json.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	if binary {
		data = toPack(b, string(data))
	}
	d := newDecoder(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	n := 0
	for b.Loop() {
		if err := d.frame(data, binary, func(m message) error {
			n++
			return m.err
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkDecodeJSON(b *testing.B)    { benchmarkFrame(b, false) }
func BenchmarkDecodeMsgPack(b *testing.B) { benchmarkFrame(b, true) }
