package massive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T, cfg Config) (*Server, string) {
	t.Helper()
	w, err := world.New(world.Config{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	cfg.World = w
	cfg.Tape.Symbols = []string{"WGMI", "CORZ", "BTBT", "IREN"}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		s.Close()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s, srv.URL
}

// told is an event of the stream.
type told struct {
	Ev, Status, Message string
	raw                 map[string]json.RawMessage
}

func (e *told) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &e.raw); err != nil {
		return err
	}
	for key, to := range map[string]*string{"ev": &e.Ev, "status": &e.Status, "message": &e.Message} {
		if v, ok := e.raw[key]; ok {
			if err := json.Unmarshal(v, to); err != nil {
				return err
			}
		}
	}
	return nil
}

type socket struct {
	t  *testing.T
	ws *websocket.Conn
}

func dial(t *testing.T, url string) *socket {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/stocks", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	return &socket{t, ws}
}

func (s *socket) send(action, params string) {
	s.t.Helper()
	if err := s.ws.WriteJSON(map[string]string{"action": action, "params": params}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *socket) frame() []told {
	s.t.Helper()
	var out []told
	if err := s.ws.ReadJSON(&out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *socket) status(want string) {
	s.t.Helper()
	f := s.frame()
	if len(f) != 1 || f[0].Ev != "status" || f[0].Status != want {
		s.t.Fatalf("got %+v, want the status %s", f, want)
	}
}

func (s *socket) login() {
	s.t.Helper()
	s.status("connected")
	s.send("auth", "key")
	s.status("auth_success")
}

// ends reads to the end of the connection and returns its close code; 0: cut without a close frame.
func (s *socket) ends() int {
	s.t.Helper()
	for {
		if _, _, err := s.ws.ReadMessage(); err != nil {
			if ce, ok := errors.AsType[*websocket.CloseError](err); ok && ce.Code != websocket.CloseAbnormalClosure {
				return ce.Code
			}
			return 0
		}
	}
}

func get(t *testing.T, url string) (int, map[string]json.RawMessage) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer key")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return resp.StatusCode, out
}

func TestSubscriptionsAreAnsweredByPair(t *testing.T) {
	_, url := listen(t, Config{})
	s := dial(t, url)
	s.login()
	s.send("subscribe", "T.IREN,ZZ.IREN,Q.IREN,T.NOSUCH")
	f := s.frame()
	if len(f) != 3 || f[0].Message != "subscribed to: T.IREN" || f[1].Message != "subscribed to: Q.IREN" || f[2].Message != "subscribed to: T.NOSUCH" {
		t.Errorf("answer %+v: an unknown topic gets none, an unknown ticker does", f)
	}
}

func TestRefusals(t *testing.T) {
	_, url := listen(t, Config{Key: "right", MaxConnections: 1, AuthTimeout: 200 * time.Millisecond})
	s := dial(t, url)
	s.status("connected")
	s.send("auth", "wrong")
	s.status("auth_failed")
	if code := s.ends(); code != 0 {
		t.Errorf("a wrong key closes with %d, want no close frame", code)
	}
	s = dial(t, url)
	s.status("connected")
	s.status("auth_timeout")
	s.ends()

	first, second := dial(t, url), dial(t, url)
	for _, x := range []*socket{first, second} {
		x.status("connected")
		x.send("auth", "right")
		x.status("auth_success")
	}
	second.send("subscribe", "T.IREN")
	second.status("success")
	second.status("max_connections")
	if code := second.ends(); code != 1008 {
		t.Errorf("one connection too many closes with %d, want 1008", code)
	}
}

func TestThePlanIsHeld(t *testing.T) {
	_, url := listen(t, Config{NotInPlan: []string{"Q"}})
	code, body := get(t, url+"/v3/quotes/IREN")
	if code != http.StatusForbidden || string(body["status"]) != `"NOT_AUTHORIZED"` {
		t.Errorf("HTTP %d %s", code, body)
	}
	_, url = listen(t, Config{NoWebsocket: true})
	s := dial(t, url)
	s.status("connected")
	s.send("auth", "key")
	s.status("auth_failed")
}

func TestRateLimit(t *testing.T) {
	for _, as200 := range []bool{false, true} {
		_, url := listen(t, Config{RequestsPerMinute: 1, LimitWith200: as200})
		if code, _ := get(t, url+"/v3/trades/IREN"); code != http.StatusOK {
			t.Errorf("HTTP %d", code)
		}
		code, body := get(t, url+"/v3/trades/IREN")
		if string(body["status"]) != `"ERROR"` || as200 != (code == http.StatusOK) {
			t.Errorf("HTTP %d %s", code, body)
		}
	}
}

// What the stream told, history tells: the same ids and sequence numbers, page by page.
func TestHistoryAgreesWithTheStream(t *testing.T) {
	_, url := listen(t, Config{Tape: tape.Config{Rate: 400, Steady: true, FaultEvery: 10, LateBy: 100 * time.Millisecond, FateBy: 50 * time.Millisecond}})
	s := dial(t, url)
	s.login()
	s.send("subscribe", "T.IREN,Q.IREN,A.IREN")
	s.frame()
	trades, quotes, seconds := map[string]bool{}, map[string]bool{}, 0
	var last uint64
	for len(trades) < 30 || len(quotes) < 30 || seconds < 2 {
		for _, e := range s.frame() {
			switch e.Ev {
			case "T":
				var q uint64
				if err := json.Unmarshal(e.raw["q"], &q); err != nil || q <= last {
					t.Fatalf("sequence %d after %d (%v)", q, last, err)
				}
				last = q
				trades[string(e.raw["i"])+string(e.raw["q"])+string(e.raw["p"])] = true
			case "Q":
				quotes[string(e.raw["q"])+string(e.raw["bp"])] = true
				if err := json.Unmarshal(e.raw["q"], &last); err != nil {
					t.Fatal(err)
				}
			case "A":
				seconds++
			}
		}
	}
	history := func(path string) (out []map[string]json.RawMessage) {
		next := url + path
		for next != "" {
			if strings.Contains(next, "apiKey") {
				t.Error("next_url carries the key")
			}
			_, body := get(t, next)
			var rows []map[string]json.RawMessage
			if err := json.Unmarshal(body["results"], &rows); err != nil {
				t.Fatal(err)
			}
			out = append(out, rows...)
			next = ""
			if u, ok := body["next_url"]; ok {
				if err := json.Unmarshal(u, &next); err != nil {
					t.Fatal(err)
				}
			}
		}
		return out
	}
	hour := time.Now().Add(-time.Minute).UnixNano()
	fates := map[string]int{}
	known := map[string]bool{}
	for _, r := range history(fmt.Sprintf("/v3/trades/IREN?order=asc&limit=70&timestamp.gte=%d", hour)) {
		fates[string(r["correction"])]++
		known[string(r["id"])+string(r["sequence_number"])+string(r["price"])] = true
	}
	for x := range trades {
		if !known[x] {
			t.Errorf("history does not tell of %s", x)
		}
	}
	if fates["1"] == 0 || fates["8"] == 0 || fates["12"] == 0 || fates["1"] != fates["12"] {
		t.Errorf("corrections %v", fates)
	}
	known = map[string]bool{}
	for _, r := range history(fmt.Sprintf("/v3/quotes/IREN?order=asc&limit=100&timestamp.gte=%d", hour)) {
		known[string(r["sequence_number"])+string(r["bid_price"])] = true
	}
	for x := range quotes {
		if !known[x] {
			t.Errorf("history does not tell of the quote %s", x)
		}
	}
	for _, span := range []string{"second", "minute", "day"} {
		now := time.Now()
		_, body := get(t, fmt.Sprintf("%s/v2/aggs/ticker/IREN/range/1/%s/%d/%d?limit=10", url, span, now.Add(-48*time.Hour).UnixMilli(), now.UnixMilli()))
		if string(body["status"]) != `"OK"` || len(body["results"]) < 10 {
			t.Errorf("%s bars: %s", span, body)
		}
	}
}

func TestConditionsAreTranslated(t *testing.T) {
	for _, c := range []struct {
		tape  string
		codes []string
		want  string
	}{{"C", []string{"@"}, "[]"}, {"C", []string{"@", "F", "I"}, "[14 37]"}, {"C", []string{"B"}, "[4]"}, {"A", []string{" ", "B", "6"}, "[2 19]"}} {
		if got := fmt.Sprint(conditions(c.tape, c.codes)); got != c.want {
			t.Errorf("tape %s, codes %q: %s, want %s", c.tape, c.codes, got, c.want)
		}
	}
}
