package alpaca

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

func listen(t *testing.T, cfg Config) (*Server, string) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.World = testWorld(t)
		if cfg.Symbols == nil {
			cfg.Symbols = testSymbols
		}
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		s.Close()
		srv.Close()
	})
	return s, srv.URL
}

type socket struct {
	*testing.T
	ws *websocket.Conn
}

func dial(t *testing.T, url string, h http.Header) *socket {
	t.Helper()
	d := websocket.Dialer{EnableCompression: true}
	ws, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(url, "http")+"/v2/iex", h)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if !strings.Contains(resp.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		t.Error("deflate was not taken up")
	}
	t.Cleanup(func() { _ = ws.Close() })
	return &socket{t, ws}
}

func (s *socket) say(text string) {
	s.Helper()
	if err := s.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		s.Fatal(err)
	}
}

// hear reads the next frame that is not data.
func (s *socket) hear() string {
	s.Helper()
	for {
		_ = s.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, data, err := s.ws.ReadMessage()
		if err != nil {
			s.Fatalf("read: %v", err)
		}
		if bytes.Contains(data[:min(len(data), 100)], []byte(`"msg"`)) || bytes.Contains(data, []byte(`"subscription"`)) {
			return string(data)
		}
	}
}

func (s *socket) expect(want string) {
	s.Helper()
	if got := s.hear(); got != want {
		s.Errorf("the server says %s, want %s", got, want)
	}
}

const connected = `[{"T":"success","msg":"connected"}]`
const authenticated = `[{"T":"success","msg":"authenticated"}]`

func failure(code int, msg string) string {
	return fmt.Sprintf(`[{"T":"error","code":%d,"msg":%q}]`, code, msg)
}

func TestHandshakeAndSubscriptions(t *testing.T) {
	_, url := listen(t, Config{Key: "k", Secret: "s", SymbolLimit: 3})
	c := dial(t, url, nil)
	c.expect(connected)
	c.say(`{"action":"subscribe","trades":["IREN"]}`)
	c.expect(failure(401, "not authenticated"))
	c.say(`{"action":`)
	c.expect(failure(400, "invalid syntax"))
	c.say(`{"action":"auth","key":"k","secret":"s"}`)
	c.expect(authenticated)
	c.say(`{"action":"auth","key":"k","secret":"s"}`)
	c.expect(failure(403, "already authenticated"))
	c.say(`{"action":"subscribe","trades":["WGMI","CORZ"],"bars":["*"]}`)
	c.expect(`[{"T":"subscription","bars":["*"],"cancelErrors":["CORZ","WGMI"],"corrections":["CORZ","WGMI"],"dailyBars":[],"imbalances":[],"lulds":[],"quotes":[],"statuses":[],"trades":["CORZ","WGMI"],"updatedBars":[]}]`)
	c.say(`{"action":"subscribe","quotes":["IREN","BTBT"]}`)
	c.expect(failure(405, "symbol limit exceeded"))
	// The answer lists the whole state, and the refused change left it as it was.
	c.say(`{"action":"unsubscribe","trades":["WGMI"]}`)
	c.expect(`[{"T":"subscription","bars":["*"],"cancelErrors":["CORZ"],"corrections":["CORZ"],"dailyBars":[],"imbalances":[],"lulds":[],"quotes":[],"statuses":[],"trades":["CORZ"],"updatedBars":[]}]`)
}

func TestHeadersAuthenticate(t *testing.T) {
	_, url := listen(t, Config{Key: "k", Secret: "s"})
	c := dial(t, url, http.Header{"Apca-Api-Key-Id": {"k"}, "Apca-Api-Secret-Key": {"s"}})
	c.expect(connected)
	c.expect(authenticated)
}

func TestTurnsAway(t *testing.T) {
	_, url := listen(t, Config{Key: "k", Secret: "s", AuthTimeout: 100 * time.Millisecond})
	c := dial(t, url, nil)
	c.expect(connected)
	c.say(`{"action":"auth","key":"k","secret":"wrong"}`)
	c.expect(failure(402, "auth failed"))
	if _, _, err := c.ws.ReadMessage(); err == nil {
		t.Error("the connection stays open after a failed login")
	}
	c = dial(t, url, nil)
	c.expect(connected)
	c.expect(failure(404, "auth timeout"))

	one := dial(t, url, nil)
	one.expect(connected)
	one.say(`{"action":"auth","key":"k","secret":"s"}`)
	one.expect(authenticated)
	two := dial(t, url, nil)
	two.expect(connected)
	two.say(`{"action":"auth","key":"k","secret":"s"}`)
	two.expect(failure(406, "connection limit exceeded"))
}

func TestMsgPackPutsTypeFirst(t *testing.T) {
	_, url := listen(t, Config{Rate: 500, Steady: true})
	c := dial(t, url, http.Header{"Content-Type": {"application/msgpack"}})
	pack := func(m map[string]any) {
		data, err := msgpack.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.ws.WriteMessage(websocket.BinaryMessage, data); err != nil {
			t.Fatal(err)
		}
	}
	kinds := map[string]int{}
	pack(map[string]any{"action": "auth", "key": "k", "secret": "s"})
	pack(map[string]any{"action": "subscribe", "trades": testSymbols, "quotes": testSymbols})
	for kinds["t"] < 20 || kinds["q"] < 20 {
		_ = c.ws.SetReadDeadline(time.Now().Add(10 * time.Second))
		typ, data, err := c.ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		if typ != websocket.BinaryMessage {
			t.Fatalf("a text frame %s", data)
		}
		dec := msgpack.NewDecoder(bytes.NewReader(data))
		n, err := dec.DecodeArrayLen()
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			fields, err := dec.DecodeMapLen()
			if err != nil {
				t.Fatal(err)
			}
			key, err := dec.DecodeString()
			if err != nil || key != "T" {
				t.Fatalf("the first key is %q, %v", key, err)
			}
			kind, err := dec.DecodeString()
			if err != nil {
				t.Fatal(err)
			}
			kinds[kind]++
			for range fields - 1 {
				key, err := dec.DecodeString()
				if err != nil {
					t.Fatal(err)
				}
				v, err := dec.DecodeInterface()
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := v.(time.Time); key == "t" && !ok {
					t.Fatalf("t is a %T, want the timestamp extension", v)
				}
			}
		}
	}
	if kinds["success"] != 2 || kinds["subscription"] != 1 {
		t.Errorf("messages %v", kinds)
	}
}

// A client that does not read is told so and cut off, and the tape does not wait for it.
func TestSlowClientIsCutOff(t *testing.T) {
	s, url := listen(t, Config{Rate: 2000, Steady: true})
	c := dial(t, url, nil)
	c.say(`{"action":"auth","key":"k","secret":"s"}`)
	c.say(`{"action":"subscribe","trades":["IREN"]}`)
	c.expect(connected)
	c.expect(authenticated)
	c.hear()
	noise := make([]byte, 64<<10) // deflate must not make it small
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for range 2 * queued {
		s.Inject(noise, true)
	}
	for range 10 * queued {
		_ = c.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			t.Fatalf("cut off without error 407: %v", err)
		}
		if len(data) < 1000 && strings.Contains(string(data), `"code":407`) {
			return
		}
	}
	t.Error("a client that does not read is never cut off")
}

func get(t *testing.T, url string, out any) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("APCA-API-KEY-ID", "k")
	req.Header.Set("APCA-API-SECRET-KEY", "s")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		t.Fatalf("%s: %s: %v", url, body, err)
	}
	return resp
}

func TestPagesGoThroughSymbolsInOrder(t *testing.T) {
	_, url := listen(t, Config{})
	type page struct {
		Bars map[string][]struct {
			T time.Time
		}
		Next *string `json:"next_page_token"`
	}
	base := url + "/v2/stocks/bars?timeframe=1Day&symbols=IREN,CORZ&limit=7&start=" + time.Now().AddDate(0, 0, -10).Format(time.DateOnly)
	var order []string
	var times []time.Time
	empty, pages := 0, 0
	for token := ""; ; {
		var p page
		get(t, base+"&page_token="+token, &p)
		pages++
		n := 0
		for _, symbol := range []string{"CORZ", "IREN"} {
			for _, b := range p.Bars[symbol] {
				order, times = append(order, symbol), append(times, b.T)
				n++
			}
		}
		if n == 0 {
			empty++
		}
		if p.Next == nil {
			break
		}
		token = *p.Next
	}
	if len(order) < 18 || pages < 3 || empty > 1 {
		t.Fatalf("%d bars on %d pages, %d of them empty", len(order), pages, empty)
	}
	for i := 1; i < len(order); i++ {
		if order[i] < order[i-1] || order[i] == order[i-1] && !times[i].After(times[i-1]) {
			t.Errorf("%s %s comes after %s %s", order[i], times[i], order[i-1], times[i-1])
		}
	}
}

func TestRefusesOverREST(t *testing.T) {
	_, url := listen(t, Config{Key: "k", Secret: "s", RequestsPerMinute: 4, RecentBarred: true})
	var answer struct {
		Code    int
		Message string
	}
	recent := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		query           string
		status, code    int
		remaining, what string
	}{
		{"trades", 400, 40010001, "3", "no symbols"},
		{"bars?symbols=IREN&timeframe=5Min", 400, 40010001, "2", "a timeframe that is not there"},
		{"trades?symbols=IREN&end=" + recent, 403, 42210000, "1", "the last 15 minutes"},
		{"trades?symbols=IREN&page_token=x", 400, 40010001, "0", "a token of ours that is none"},
		{"trades?symbols=IREN", 429, 42910000, "0", "too many requests"},
	} {
		resp := get(t, url+"/v2/stocks/"+c.query, &answer)
		if resp.StatusCode != c.status || answer.Code != c.code || resp.Header.Get("X-RateLimit-Remaining") != c.remaining {
			t.Errorf("%s: %s, %+v, %s remain", c.what, resp.Status, answer, resp.Header.Get("X-RateLimit-Remaining"))
		}
	}
}

// The shapes must be those of the venue: compare the keys with captured messages.
func TestShapesAreThoseOfTheVenue(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "..", "shared", "data", "captures")
	text, err := os.ReadFile(filepath.Join(dir, "alpaca_rest_captured.jsonl"))
	if err != nil {
		t.Skipf("captures are not here: %v", err)
	}
	want := map[string]map[string]bool{}
	for _, line := range bytes.Split(text, []byte("\n")) {
		var capture struct {
			Body struct {
				Trades, Quotes, Bars map[string]json.RawMessage
				Next                 json.RawMessage `json:"next_page_token"`
			}
		}
		if json.Unmarshal(line, &capture) != nil {
			continue
		}
		for name, lists := range map[string]map[string]json.RawMessage{"trades": capture.Body.Trades, "quotes": capture.Body.Quotes, "bars": capture.Body.Bars} {
			for symbol, raw := range lists {
				var list []map[string]any
				if strings.Contains(symbol, "/") || json.Unmarshal(raw, &list) != nil { // crypto, or latest
					continue
				}
				for _, rec := range list {
					if want[name] == nil {
						want[name] = map[string]bool{}
					}
					for key := range rec {
						want[name][key] = true
					}
				}
			}
		}
	}
	s := still(t, Config{Rate: 400, FaultEvery: 5})
	now := firstBucket + 2*tape.PerMinute
	got := map[string]map[string]bool{"trades": {}, "quotes": {}, "bars": {}}
	note := func(name string, text []byte) {
		var rec map[string]any
		if err := json.Unmarshal(text, &rec); err != nil {
			t.Fatal(err)
		}
		for key := range rec {
			got[name][key] = true
		}
	}
	sec := s.gen.Securities[0]
	for b := firstBucket; b < now; b++ {
		_, prints := s.gen.Prints(sec, b, now, nil, nil)
		for i := range prints {
			note("trades", appendTold(nil, &prints[i]))
		}
		for _, q := range s.gen.Made(sec, b, nil) {
			if q.Kind == 'q' {
				note("quotes", appendToldQuote(nil, &q))
			}
		}
	}
	x, _ := s.gen.MinuteBar(sec, firstBucket, now)
	note("bars", barRow(&x).json)
	for name := range want {
		if fmt.Sprint(want[name]) != fmt.Sprint(got[name]) {
			t.Errorf("%s have the fields %v, the venue's %v", name, got[name], want[name])
		}
	}
}

func TestBrokenRecordingsAreNamed(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"header": {"daily_close/A.csv", "Day,Close\n", "header"},
		"price":  {"daily_close/A.csv", "Date,Close\n2026-01-02,abc\n", "A.csv line 2"},
		"zero":   {"daily_close/A.csv", "Date,Close\n2026-01-02,0.0000001\n", "not above 0"},
		"date":   {"daily_ohlcv/A.csv", "Date,Open,High,Low,Close,Adj Close,Volume\n2026/01/02,1,1,1,1,1,1\n", "A.csv line 2"},
		"volume": {"daily_ohlcv/A.csv", "Date,Open,High,Low,Close,Adj Close,Volume\n2026-01-02,1,1,1,1,1,many\n", "volume"},
		"clock":  {"minute_1/A.csv", "Ticker,Open,High,Low,Close,Volume,Bid,Ask,Timestamp\nA,1,1,1,1,1,0,0,2026-01-02\n", "A.csv line 2"},
		"cells":  {"daily_close/A.csv", "Date,Close\n2026-01-02\n", "A.csv line 2"},
		"none":   {"other/A.csv", "", "laid out"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "equities", c.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
