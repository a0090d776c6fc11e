package mempool

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

func get(t *testing.T, url string, to any) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if to != nil {
		if err := json.Unmarshal(data, to); err != nil {
			t.Fatalf("%s: %v in %.200s", url, err, data)
		}
	}
	return resp.StatusCode
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/api/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

func read(t *testing.T, ws *websocket.Conn) map[string]json.RawMessage {
	t.Helper()
	_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	var m map[string]json.RawMessage
	if err := ws.ReadJSON(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBlocksAreOneChainAndTheSameAfterARestart(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	cfg := Config{Seed: 3, Now: func() time.Time { return at }}
	_, url := serve(t, cfg)
	var page, below []block
	get(t, url+"/api/v1/blocks", &page)
	if len(page) != 15 {
		t.Fatalf("%d blocks in a page, want 15", len(page))
	}
	get(t, url+"/api/v1/blocks/"+jsonInt(page[14].Height-1), &below)
	all := append(page, below...)
	for i, b := range all[:len(all)-1] {
		next := all[i+1]
		if b.Previous != next.ID || b.Height != next.Height+1 || b.Timestamp < next.Timestamp {
			t.Errorf("%d does not follow %d", b.Height, next.Height)
		}
		if b.Extras.Reward-b.Extras.TotalFees != 312500000 || b.Timestamp > at.Unix() {
			t.Errorf("block %+v", b)
		}
	}
	_, again := serve(t, cfg)
	var page2 []block
	get(t, again+"/api/v1/blocks", &page2)
	if page2[0].ID != page[0].ID {
		t.Error("another chain after a restart")
	}
	var tip int64
	if get(t, url+"/api/blocks/tip/height", &tip); tip != page[0].Height {
		t.Errorf("tip %d, newest block %d", tip, page[0].Height)
	}
	var stats map[string]any
	if get(t, url+"/api/v1/mining/reward-stats/144", &stats); stats["totalReward"] == nil || strings.Trim(stats["totalFee"].(string), "0123456789") != "" {
		t.Errorf("reward stats %v: amounts must be strings of digits", stats)
	}
	if code := get(t, url+"/api/v1/blocks/minus", nil); code != http.StatusBadRequest {
		t.Errorf("a height that is none: HTTP %d", code)
	}
}

func jsonInt(n int64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestWebsocketSpeaksByKeys(t *testing.T) {
	s, url := serve(t, Config{Seed: 1, BlockEvery: 100 * time.Millisecond, StatsEvery: 20 * time.Millisecond, Origin: time.Now().Add(-time.Minute)})
	ws := dial(t, url)
	send := func(m string) {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	send(`{"action":"init"}`)
	m := read(t, ws)
	for _, k := range []string{"blocks", "fees", "da", "conversions", "mempoolInfo", "backendInfo"} {
		if m[k] == nil {
			t.Errorf("the snapshot lacks %s", k)
		}
	}
	var eight []block
	if err := json.Unmarshal(m["blocks"], &eight); err != nil || len(eight) != 8 || eight[0].Height > eight[7].Height {
		t.Errorf("%d blocks, %v: want 8, oldest first", len(eight), err)
	}
	send(`{"action":"ping"}`)
	if m = read(t, ws); m["pong"] == nil {
		t.Errorf("no pong: %v", m)
	}
	send(`{"refresh-blocks":true}`)
	if m = read(t, ws); m["blocks"] == nil {
		t.Errorf("no blocks: %v", m)
	}
	send(`{"action":"want","data":["blocks","stats"]}`)
	stats, single := false, false
	for !stats || !single {
		m = read(t, ws)
		single = single || m["block"] != nil && m["da"] != nil
		stats = stats || m["block"] == nil && m["fees"] != nil && m["vBytesPerSecond"] != nil
	}
	s.Reorg(2)
	for m = read(t, ws); m["blocks"] == nil; m = read(t, ws) {
		continue
	}
	s.DropAll()
	_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			break
		}
	}
}

// The simulator's messages have no field that the captured ones lack, and the same types.
func TestMessagesLookLikeCaptures(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(recordings, "captures", "mempool_tx02_ws_block.json"))
	if os.IsNotExist(err) {
		t.Skip("no captures here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var real map[string]any
	if err := json.Unmarshal(data, &real); err != nil {
		t.Fatal(err)
	}
	push, err := os.ReadFile(filepath.Join(recordings, "captures", "mempool_mainnet_mempoolInfo.json"))
	if err != nil {
		t.Fatal(err)
	}
	var full map[string]any
	if err := json.Unmarshal(push, &full); err != nil {
		t.Fatal(err)
	}
	s, _ := serve(t, Config{Seed: 1})
	now := time.Now()
	tip, _ := s.src.tip(now)
	ours := func(v any) any {
		var out any
		if err := json.Unmarshal(encode(v), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	compare(t, "block", ours(s.src.blocks(tip, 1)[0]), real["block"])
	a, _ := s.src.adjustment(now)
	compare(t, "da", ours(a), full["da"])
	compare(t, "fees", ours(s.src.fees(now)), full["fees"])
}

func compare(t *testing.T, at string, ours, real any) {
	t.Helper()
	switch o := ours.(type) {
	case map[string]any:
		r, ok := real.(map[string]any)
		if !ok {
			t.Errorf("%s: the real one is a %T", at, real)
			return
		}
		for k, v := range o {
			if rv, ok := r[k]; !ok {
				// Fields that came or went between versions of the server.
				if k != "matchRate" && k != "firstSeen" && k != "expectedBlocks" && k != "minerNames" {
					t.Errorf("%s.%s is not in the real message", at, k)
				}
			} else {
				compare(t, at+"."+k, v, rv)
			}
		}
	case float64, string, bool:
		if real != nil && ours != nil && kind(ours) != kind(real) {
			t.Errorf("%s: %T, the real one is %T", at, ours, real)
		}
	}
}

func kind(v any) string {
	switch v.(type) {
	case float64:
		return "number"
	case string:
		return "string"
	case bool:
		return "bool"
	}
	return "other"
}

func TestRefusesAConfigurationWithoutASource(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("neither world nor recordings, and no error")
	}
	if _, err := New(Config{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "btc_coinmetrics_daily.csv") {
		t.Errorf("an empty directory of recordings: %v", err)
	}
}

func TestRecordingEndsWithItsCloseFrame(t *testing.T) {
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skip("no recordings here")
	}
	_, url := serve(t, Config{Dir: recordings})
	ws := dial(t, url)
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"action":"init"}`)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		_ = ws.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, _, err := ws.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) && strings.Contains(err.Error(), "end of recording") {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 494 { // 20 of the 514 snapshots have neither price nor height nor all fee tiers: nothing that the wire could say
		t.Errorf("%d messages of 514 snapshots, want 494", n)
	}
}

// Derived figures against what is known for certain: the halvings' heights and the published difficulties.
func TestRecordedHeightsAreThoseOfTheChain(t *testing.T) {
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skip("no recordings here")
	}
	r, err := load(recordings)
	if err != nil {
		t.Fatal(err)
	}
	byHeight := map[int64]retarget{}
	for _, x := range r.list {
		byHeight[x.height] = x
	}
	for height, day := range map[int64]string{
		610848: "2020-01-01", 630000 / 2016 * 2016: "2020-05-05", 838656: "2024-04-10", 840672: "2024-04-24", 963648: "2026-08-23",
	} {
		if got := time.Unix(byHeight[height].time, 0).UTC().Format(time.DateOnly); got != day {
			t.Errorf("the retarget at %d was on %s, want %s", height, got, day)
		}
	}
	if d := byHeight[838656].difficulty; d != 86388558925171.02 {
		t.Errorf("difficulty at 838656: %v", d)
	}
}
