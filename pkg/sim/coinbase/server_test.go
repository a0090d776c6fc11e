package coinbase

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const recordings = "../../../../shared/data"

func serve(t *testing.T, cfg Config) (*Server, string) {
	t.Helper()
	if cfg.Dir == "" {
		w, err := world.New(world.Config{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		cfg.World = w
	}
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

type message struct {
	Type    string            `json:"type"`
	Channel string            `json:"channel"`
	Seq     uint64            `json:"sequence_num"`
	Events  []json.RawMessage `json:"events"`
}

func session1(t *testing.T, url string, send ...string) (read func() message) {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/", nil)
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
	return func() message {
		_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
		var m message
		if err := ws.ReadJSON(&m); err != nil {
			t.Fatal(err)
		}
		return m
	}
}

func TestSequenceCountsOverAllChannels(t *testing.T) {
	s, url := serve(t, Config{Seed: 1, TickEvery: 3 * time.Millisecond, HeartbeatEvery: 5 * time.Millisecond})
	read := session1(t, url, `{"type":"subscribe","product_ids":["BTC-USD"],"channel":"ticker"}`, `{"type":"subscribe","channel":"heartbeats"}`)
	seen := map[string]int{}
	for i := range uint64(100) {
		m := read()
		if m.Seq != i {
			t.Fatalf("message %d has the number %d", i, m.Seq)
		}
		seen[m.Channel]++
		if m.Channel == "heartbeats" && !strings.Contains(string(m.Events[0]), "+00:00") {
			t.Errorf("heartbeat %s", m.Events[0])
		}
		if m.Channel == "ticker" && !strings.Contains(string(m.Events[0]), `"price":"`) {
			t.Errorf("a price that is no string: %s", m.Events[0])
		}
	}
	if seen["ticker"] < 5 || seen["heartbeats"] < 5 || seen["subscriptions"] != 2 {
		t.Errorf("messages %v", seen)
	}
	s.SkipSequence()
	last := uint64(99)
	for range 1000 {
		m := read()
		if m.Seq != last+1 {
			return // the gap
		}
		last = m.Seq
	}
	t.Error("no gap after a skipped number")
}

func TestComplainsOfABadSubscription(t *testing.T) {
	_, url := serve(t, Config{Seed: 1})
	read := session1(t, url, `{"type":"subscribe","product_ids":["XYZ"],"channel":"ticker"}`, `nonsense`)
	for range 2 {
		if m := read(); m.Type != "error" {
			t.Errorf("%+v", m)
		}
	}
}

func candlesOf(t *testing.T, url, query string) (rows [][6]float64, status int) {
	t.Helper()
	resp, err := http.Get(url + "/products/BTC-USD/candles?" + query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(data, &rows); err != nil {
			t.Fatalf("%v in %.200s", err, data)
		}
	}
	return rows, resp.StatusCode
}

func TestCandles(t *testing.T) {
	_, url := serve(t, Config{Seed: 1})
	rows, _ := candlesOf(t, url, "granularity=86400")
	if len(rows) < 55 || len(rows) > 62 {
		t.Errorf("%d days", len(rows))
	}
	for i, r := range rows {
		if i > 0 && r[0] != rows[i-1][0]-86400 {
			t.Error("not newest first, day by day")
		}
		if low, high, open, cl := r[1], r[2], r[3], r[4]; low > open || low > cl || high < open || high < cl || low <= 0 || r[5] <= 0 {
			t.Errorf("candle %v", r)
		}
	}
	for query, want := range map[string]int{
		"granularity=86401": 400, "": 400, "granularity=86400&start=2020-01-01T00:00:00Z&end=2020-12-01T00:00:00Z": 400,
		"granularity=86400&start=x&end=y": 400,
	} {
		if _, got := candlesOf(t, url, query); got != want {
			t.Errorf("%s: HTTP %d, want %d", query, got, want)
		}
	}
}

func TestRecordedCandlesArePaged(t *testing.T) {
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skip("no recordings here")
	}
	_, url := serve(t, Config{Dir: recordings})
	rows, _ := candlesOf(t, url, "granularity=86400&start=2016-07-01T00:00:00Z&end=2017-04-26T00:00:00Z")
	if len(rows) != 300 || rows[299][3] != 672.52 {
		t.Errorf("%d rows, the oldest opens at %v; want 300 and 672.52, the cent next to the recorded 672.515", len(rows), rows[len(rows)-1])
	}
}
