package kraken

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T) (*Server, string) {
	t.Helper()
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{World: w, Seed: 1, TickEvery: 5 * time.Millisecond, HeartbeatEvery: 10 * time.Millisecond})
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

func dial(t *testing.T, url string, send ...string) (read func() string) {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/v2", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	for _, m := range send {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	return func() string {
		_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, data, err := ws.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
}

func until(t *testing.T, read func() string, want string) string {
	t.Helper()
	for range 500 {
		if m := read(); strings.Contains(m, want) {
			return m
		}
	}
	t.Fatalf("no message with %s", want)
	return ""
}

func TestSpeaksVersion2(t *testing.T) {
	s, url := serve(t)
	read := dial(t, url, `{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD","BTC/XYZ"]},"req_id":7}`, `{"method":"ping","req_id":42}`)
	if m := read(); !strings.Contains(m, `"channel":"status"`) || !strings.Contains(m, `"system":"online"`) {
		t.Errorf("the first message is %s", m)
	}
	// Numbers are JSON numbers; one answer for each symbol.
	if m := until(t, read, `"success":true`); !strings.Contains(m, `"req_id":7`) {
		t.Error(m)
	}
	var tick struct {
		Data []struct {
			Last      json.RawMessage `json:"last"`
			Timestamp string          `json:"timestamp"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(until(t, read, `"type":"snapshot"`)), &tick); err != nil || tick.Data[0].Last[0] == '"' || tick.Data[0].Timestamp == "" {
		t.Errorf("%+v, %v", tick, err)
	}
	if m := until(t, read, `"success":false`); !strings.Contains(m, "Currency pair not supported BTC/XYZ") {
		t.Error(m)
	}
	until(t, read, `"method":"pong"`)
	until(t, read, `"channel":"heartbeat"`)
	s.WithoutTime(true)
	until(t, read, `"type":"update"`)
	for range 100 {
		if m := read(); strings.Contains(m, `"type":"update"`) && !strings.Contains(m, "timestamp") {
			return
		}
	}
	t.Error("the timestamp stays")
}

func TestTradeIDsHaveNoHolesUntilOneIsOrdered(t *testing.T) {
	s, url := serve(t)
	read := dial(t, url, `{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD"]}}`)
	next := func() int64 {
		var m struct {
			Data []struct {
				ID int64 `json:"trade_id"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(until(t, read, `"trade_id"`)), &m); err != nil {
			t.Fatal(err)
		}
		return m.Data[0].ID
	}
	last := next()
	for range 20 {
		id := next()
		if id != last+1 {
			t.Fatalf("trade %d after %d", id, last)
		}
		last = id
	}
	s.SkipSequence()
	for range 500 {
		id := next()
		if id != last+1 {
			return
		}
		last = id
	}
	t.Error("no hole after one was ordered")
}

func TestCandlesTellErrorsInTheBodyOf200(t *testing.T) {
	_, url := serve(t)
	for query, want := range map[string]string{
		"pair=XBTUSD&interval=1440": `"XXBTZUSD":[[`, "pair=XYZ": "EQuery:Unknown asset pair", "pair=XBTUSD&interval=7": "EGeneral:Invalid arguments",
	} {
		resp, err := http.Get(url + "/0/public/OHLC?" + query)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: HTTP %d %.200s", query, resp.StatusCode, body)
		}
	}
}
