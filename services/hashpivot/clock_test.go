package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// TestClockAnHourOff: who stamps data by the clock does not start, and says what to do; who does not says so and goes on; and readiness tells it. The other clock is
// that of a NATS whose answers are an hour off: what a stream says of itself carries the server's time.
func TestClockAnHourOff(t *testing.T) {
	t.Parallel()
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats-server is not ready")
	}
	url := ns.ClientURL()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	var off atomic.Int64
	ask := func(by time.Duration) { off.Store(int64(by)) }
	if _, err := nc.Subscribe("$JS.API.STREAM.INFO.KV_hashpivot", func(m *nats.Msg) {
		answer, _ := json.Marshal(map[string]any{"config": map[string]any{"name": "KV_hashpivot", "max_msgs_per_subject": 8}, "state": map[string]any{}, "ts": time.Now().UTC().Add(time.Duration(off.Load()))})
		_ = m.Respond(answer)
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	env := []string{"HASHPIVOT_NATS__URL=" + url, "HASHPIVOT_ADMIN__ADDR=127.0.0.1:0", "HASHPIVOT_EQUITIES__ALPACA__KEY=x", "HASHPIVOT_EQUITIES__ALPACA__SECRET=x"}
	service := func(name string, more ...string) (int, string) {
		var out bytes.Buffer
		code := execute(t.Context(), append([]string{name}, more...), env, &out, &out)
		return code, out.String()
	}
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		ask(by)
		for _, name := range []string{"equities", "hashprice", "gpurates", "signals"} {
			code, out := service(name)
			if code != 2 || !strings.Contains(out, "this machine's is ") || !strings.Contains(out, "one of the two is wrong") || !strings.Contains(out, "NTP") {
				t.Errorf("%s with NATS's clock off by %s: code %d, %s", name, by, code, out)
			}
			if way := map[bool]string{true: "behind that of NATS", false: "ahead of that of NATS"}[by > 0]; !strings.Contains(out, way) {
				t.Errorf("%s with NATS's clock off by %s says %s", name, by, out)
			}
		}
	}
	// Within the bound, or where it is not looked at, it goes on to the streams, which are not there.
	ask(30 * time.Second)
	if code, out := service("hashprice"); code == 2 || strings.Contains(out, "clocks differ") {
		t.Errorf("half a minute: code %d, %s", code, out)
	}
	ask(time.Hour)
	if code, out := service("hashprice", "--set", "max_clock_skew=0"); code == 2 || strings.Contains(out, "clocks differ") {
		t.Errorf("not looked at: code %d, %s", code, out)
	}
	var log bytes.Buffer
	b := &backends{log: slog.New(slog.NewTextHandler(&log, nil)), maxSkew: time.Minute}
	cfg := bus.DefaultConfig()
	cfg.URL = url
	if b.bus, err = bus.Connect(cfg, nil, b.log); err != nil {
		t.Fatal(err)
	}
	defer b.close()
	b.tellClock(t.Context())
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "one of the two is wrong") {
		t.Errorf("who only lands or reads says %s", log.String())
	}
	health := &run.Health{}
	b.watch(health)
	clock := func() run.Result {
		t.Helper()
		for _, c := range health.Ready(t.Context()).Checks {
			if c.Name == "clock" {
				return c
			}
		}
		t.Fatal("readiness does not look at the clock")
		return run.Result{}
	}
	if c := clock(); c.Status != run.StatusFailed || !strings.Contains(c.Why, "one of the two is wrong") {
		t.Errorf("readiness says %+v", c)
	}
	ask(0)
	if c := clock(); c.Status == run.StatusFailed {
		t.Errorf("readiness says %+v", c)
	}
	if code, out := service("hashprice", "--set", "max_clock_skew=1ms"); code != 2 || !strings.Contains(out, "max_clock_skew") {
		t.Errorf("a bound below what can be told: code %d, %s", code, out)
	}
}
