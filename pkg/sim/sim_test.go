package sim

import (
	"context"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStartsAllSimulatorsOnLoopback(t *testing.T) {
	s, err := Start(t.Context(), Config{Rate: 50})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	u := s.URLs()
	for _, url := range []string{u.AlpacaStream, u.MempoolWS, u.CoinbaseWS} {
		if !strings.HasPrefix(url, "ws://127.0.0.1:") {
			t.Errorf("stream at %q", url)
			continue
		}
		ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
		if err != nil {
			t.Errorf("dial %s: %v", url, err)
			continue
		}
		_ = resp.Body.Close()
		_ = ws.Close()
	}
	resp, err := http.Get(u.MempoolREST + "/v1/difficulty-adjustment")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("mempool REST answers %s", resp.Status)
	}
	resp, err = http.Post(u.Vast+"/api/v0/bundles/", "application/json", strings.NewReader(`{"type":"ondemand"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("vast answers %s", resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestServesTheRealRecordings(t *testing.T) {
	const dir = "../../../shared/data"
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("real recordings are not here: %v", err)
	}
	symbols, err := RecordedSymbols(dir)
	if err != nil || len(symbols) != 12 {
		t.Fatalf("symbols %v, %v", symbols, err)
	}
	s, err := Start(t.Context(), Config{Mode: Recorded, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, Config{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	s.wg.Wait()
	s.Close()
}

func TestRefusesAnOccupiedPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	port := ln.Addr().(*net.TCPAddr).Port
	_, err = Start(t.Context(), Config{Ports: map[string]int{"mempool": port}})
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("error %v", err)
	}
}

func TestRefusesBadConfiguration(t *testing.T) {
	for _, cfg := range []Config{{Mode: "live"}, {Mode: Recorded}, {Mode: Recorded, Dir: t.TempDir()}} {
		if s, err := Start(t.Context(), cfg); err == nil {
			s.Close()
			t.Errorf("%+v is taken", cfg)
		}
	}
}
