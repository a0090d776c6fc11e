package finnhub

import (
	"encoding/json"
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

func dial(t *testing.T, url, key string) *websocket.Conn {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/?token="+key, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	return ws
}

func subscribe(t *testing.T, ws *websocket.Conn, symbol string) {
	t.Helper()
	if err := ws.WriteJSON(map[string]string{"type": "subscribe", "symbol": symbol}); err != nil {
		t.Fatal(err)
	}
}

type message struct {
	Type, Msg string
	Data      []map[string]json.RawMessage
}

func next(t *testing.T, ws *websocket.Conn) (m message) {
	t.Helper()
	if err := ws.ReadJSON(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Nothing is acknowledged; prints and pings come; the conditions are null or absent at times.
func TestStream(t *testing.T) {
	_, url := listen(t, Config{Key: "right", PingEvery: 100 * time.Millisecond, Tape: tape.Config{Rate: 1000, Steady: true}})
	ws := dial(t, url, "right")
	subscribe(t, ws, "IREN")
	pings, null, absent, listed := 0, 0, 0, 0
	for pings == 0 || null == 0 || absent == 0 || listed == 0 {
		switch m := next(t, ws); m.Type {
		case "ping":
			pings++
		case "trade":
			for _, x := range m.Data {
				if string(x["s"]) != `"IREN"` || len(x["p"]) == 0 || len(x["t"]) != 13 || len(x["v"]) == 0 {
					t.Fatalf("trade %s", x)
				}
				switch c, ok := x["c"]; {
				case !ok:
					absent++
				case string(c) == "null":
					null++
				default:
					listed++
				}
			}
		default:
			t.Fatalf("message %+v", m)
		}
	}
}

func TestABadKeyIsToldAndCutOff(t *testing.T) {
	_, url := listen(t, Config{Key: "right"})
	ws := dial(t, url, "wrong")
	if m := next(t, ws); m.Type != "error" || m.Msg != "Invalid API key" {
		t.Errorf("message %+v", m)
	}
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Error("the connection goes on")
	}
}

func TestTooManySymbols(t *testing.T) {
	_, url := listen(t, Config{SymbolLimit: 1})
	ws := dial(t, url, "any")
	subscribe(t, ws, "NOSUCH")
	subscribe(t, ws, "OTHER")
	if m := next(t, ws); m.Type != "error" || m.Msg != "Subscribing to too many symbols" {
		t.Errorf("message %+v", m)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestREST(t *testing.T) {
	_, url := listen(t, Config{Candles: true, RequestsPerMinute: 3})
	if _, body := get(t, url+"/api/v1/quote?symbol=NOSUCH&token=x"); !strings.HasPrefix(body, `{"c":0,`) {
		t.Errorf("quote of an unknown symbol: %s", body)
	}
	var q struct{ C, H, L, O, PC float64 }
	if _, body := get(t, url+"/api/v1/quote?symbol=IREN&token=x"); json.Unmarshal([]byte(body), &q) != nil || q.C <= 0 || q.H < q.L {
		t.Errorf("quote %s", body)
	}
	var c struct {
		S    string
		O, T []float64
	}
	now := time.Now().Unix()
	if _, body := get(t, fmt.Sprintf("%s/api/v1/stock/candle?symbol=IREN&resolution=1&from=%d&to=%d&token=x", url, now-900, now)); json.Unmarshal([]byte(body), &c) != nil || c.S != "ok" || len(c.T) < 10 || len(c.O) != len(c.T) {
		t.Errorf("candles %s", body)
	}
	if code, _ := get(t, url+"/api/v1/quote?symbol=IREN&token=x"); code != http.StatusTooManyRequests {
		t.Errorf("HTTP %d over the limit", code)
	}
	_, url = listen(t, Config{})
	if code, _ := get(t, url+"/api/v1/stock/candle?symbol=IREN&resolution=1&from=1&to=2&token=x"); code != http.StatusForbidden {
		t.Errorf("HTTP %d for candles on the free plan", code)
	}
}
