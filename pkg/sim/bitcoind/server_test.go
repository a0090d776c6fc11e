package bitcoind

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, cc chain.Config, cfg Config) (*Server, string) {
	t.Helper()
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	cc.World = w
	if cfg.Chain, err = chain.New(cc); err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		srv.Close()
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s, srv.URL
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *rpcError       `json:"error"`
}

func call(t *testing.T, url, user, body string) (int, answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, "pw")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var a answer
	if resp.StatusCode != http.StatusUnauthorized {
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, a
}

func TestAnswersAsCoreDoes(t *testing.T) {
	s, url := serve(t, chain.Config{Height: 840_000, Origin: time.Now().Add(-time.Hour)}, Config{User: "u", Password: "pw"})
	s.cfg.Chain.Set(840_000, chain.Facts{FeesSat: 3762561499, Time: time.Unix(1713571767, 0)})
	s.cfg.Chain.Set(838_656, chain.Facts{Difficulty: 86388558925171.02})
	if status, _ := call(t, url, "", `{"method":"getblockcount","params":[],"id":"1"}`); status != http.StatusUnauthorized {
		t.Errorf("without a password: HTTP %d", status)
	}
	status, a := call(t, url, "u", `{"jsonrpc":"1.0","id":"1","method":"getblockstats","params":[840000,["height","time","subsidy","totalfee","blockhash"]]}`)
	var st map[string]any
	if err := json.Unmarshal(a.Result, &st); err != nil || status != 200 || st["totalfee"] != 3762561499.0 || st["subsidy"] != 312500000.0 || st["time"] != 1713571767.0 || len(st) != 5 {
		t.Errorf("HTTP %d %s", status, a.Result)
	}
	status, a = call(t, url, "u", `{"id":"1","method":"getblockheader","params":["`+st["blockhash"].(string)+`"]}`)
	if status != 200 || !strings.Contains(string(a.Result), `"difficulty":86388558925171.02`) {
		t.Errorf("HTTP %d %s", status, a.Result)
	}
	for body, want := range map[string]int{
		`{"method":"getblockhash","params":[99999999]}`:                             -8,
		`{"method":"getblockstats","params":[99999999]}`:                            -8,
		`{"method":"getblockstats","params":[840000,["nonsense"]]}`:                 -8,
		`{"method":"getblockheader","params":["` + strings.Repeat("ab", 32) + `"]}`: -5,
		`{"method":"nonsense"}`:                                                     -32601,
		`nonsense`:                                                                  -32700,
	} {
		if status, a := call(t, url, "u", body); a.Error == nil || a.Error.Code != want || status < 400 {
			t.Errorf("%s: HTTP %d %+v, want %d", body, status, a.Error, want)
		}
	}
	s.WarmUp(true)
	if status, a := call(t, url, "u", `{"method":"getblockcount"}`); status != 500 || a.Error == nil || a.Error.Code != -28 {
		t.Errorf("warming up: HTTP %d %+v", status, a.Error)
	}
}

func TestABlockThatLostHasNoConfirmations(t *testing.T) {
	s, url := serve(t, chain.Config{Origin: time.Now().Add(-time.Hour)}, Config{})
	tip := s.tip()
	lost := s.block(tip).Hash
	s.cfg.Chain.Reorg(time.Now(), 1)
	_, a := call(t, url, "", `{"method":"getblockheader","params":["`+lost+`"]}`)
	if !strings.Contains(string(a.Result), `"confirmations":-1`) {
		t.Errorf("%s", a.Result)
	}
}

func TestPushesNewBlocksByZMQ(t *testing.T) {
	s, _ := serve(t, chain.Config{Every: 50 * time.Millisecond, Origin: time.Now()}, Config{ZMQ: "tcp://127.0.0.1:0"})
	sub := zmq4.NewSub(t.Context())
	defer func() { _ = sub.Close() }()
	if err := sub.Dial(s.ZMQ()); err != nil {
		t.Fatal(err)
	}
	if err := sub.SetOption(zmq4.OptionSubscribe, "hashblock"); err != nil {
		t.Fatal(err)
	}
	last := -1
	for range 3 {
		m, err := sub.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Frames) != 3 || string(m.Frames[0]) != "hashblock" || len(m.Frames[1]) != 32 || len(m.Frames[2]) != 4 {
			t.Fatalf("%q", m.Frames)
		}
		known := false
		s.with(func() { _, known = s.known[hex.EncodeToString(m.Frames[1])] })
		if !known {
			t.Errorf("an unknown block")
		}
		if n := int(m.Frames[2][0]); last >= 0 && n != last+1 {
			t.Errorf("number %d after %d", n, last)
		} else {
			last = n
		}
	}
}
