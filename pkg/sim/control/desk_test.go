package control_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

// target remembers its orders.
type target struct {
	orders  []control.Order
	cleared []string
}

func (*target) Faults() []control.Fault {
	return []control.Fault{{Name: control.Mute, Does: "nothing is sent"}}
}
func (*target) Seen() control.Seen {
	return control.Seen{Connects: []time.Time{time.Unix(0, 0).UTC()}, Open: 1}
}

func (x *target) Order(o control.Order) error {
	if o.Fault != control.Mute {
		return control.Unknown("fault", o.Fault, []string{control.Mute})
	}
	x.orders = append(x.orders, o)
	return nil
}

func (x *target) Clear(fault string) error {
	x.cleared = append(x.cleared, fault)
	return nil
}

func TestDesk(t *testing.T) {
	var d control.Desk
	x := &target{}
	d.Register("alpaca", x, "ws://127.0.0.1:1/v2/iex")
	srv := httptest.NewServer(d.Handler())
	defer srv.Close()
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/simulators", "", 200, `[{"name":"alpaca","urls":["ws://127.0.0.1:1/v2/iex"],"faults":[{"name":"mute","does":"nothing is sent"}]}]`},
		{"POST", "/simulators/alpaca/faults", `{"fault":"mute","for":"30s"}`, 202, `{"fault":"mute","for":"30s"}`},
		{"POST", "/simulators/alpaca/faults", `{"fault":"explode"}`, 400, `fault \"explode\" is unknown; known are mute`},
		{"POST", "/simulators/alpaca/faults", `{"fault":"mute","for":30}`, 400, `write \"30s\"`},
		{"POST", "/simulators/alpaca/faults", `{"fault":"mute","seconds":30}`, 400, "unknown field"},
		{"POST", "/simulators/alpaca/faults", `mute`, 400, "read the order"},
		{"POST", "/simulators/alpaca/faults", `{"fault":"mute"} {}`, 400, "one JSON object"},
		{"POST", "/simulators/nasdaq/faults", `{"fault":"mute"}`, 404, "known are alpaca"},
		{"DELETE", "/simulators/alpaca/faults?fault=mute", "", 204, ""},
		{"DELETE", "/simulators/alpaca/faults", "", 204, ""},
		{"GET", "/simulators/alpaca/seen", "", 200, `"open":1`},
		{"PUT", "/simulators", "", 404, "there are GET /simulators"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, srv.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.Contains(string(body), c.want) || len(body) > 0 && !json.Valid(body) {
			t.Errorf("%s %s %s: %s %s; want %d %s", c.method, c.path, c.body, resp.Status, body, c.status, c.want)
		}
	}
	if len(x.orders) != 1 || time.Duration(x.orders[0].For) != 30*time.Second || len(x.cleared) != 2 || x.cleared[0] != "mute" {
		t.Errorf("orders %+v, cleared %q", x.orders, x.cleared)
	}
}
