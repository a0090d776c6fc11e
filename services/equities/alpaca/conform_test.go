package alpaca

import (
	"context"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest/conform"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
	simctl "github.com/hashpivot/hashpivot/pkg/sim/control"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	w, err := world.New(world.Config{Seed: 42})
	if err != nil {
		t.Fatal(err)
	}
	config := func(at conform.Endpoint) testConfig {
		v := &venue{at.Sim.(*alpaca.Server), at.HTTP}
		cfg := v.config()
		cfg.Alpaca.StreamURL = at.WS + "/v2/iex"
		// Statuses and bands have no history: with them a hole is filled partly only, which other tests hold.
		cfg.Alpaca.Halts, cfg.Alpaca.Imbalances = false, false
		return cfg
	}
	order := func(code string) simctl.Order { return simctl.Order{Fault: "error:" + code, Body: "no " + code} }
	conform.Websocket(t, conform.WebsocketAdapter{Adapter: conform.Adapter{
		Source:   "sim-alpaca",
		Parallel: true,
		Start: func(t testing.TB) conform.Upstream {
			s, err := alpaca.New(alpaca.Config{
				World: w, Rate: 200, Steady: true, FaultEvery: 20, LateBy: time.Second, FateBy: 500 * time.Millisecond, Key: "key", Secret: "secret",
				Symbols: []string{"WGMI", "CORZ", "BTBT", "IREN"},
			})
			if err != nil {
				t.Fatal(err)
			}
			return conform.Upstream{Handler: s.Handler(), Target: s.Target(), Close: s.Close, Sim: s}
		},
		Run: func(ctx context.Context, at conform.Endpoint, deps feed.Deps) error {
			cfg := config(at)
			if at.BadKey {
				cfg.Alpaca.Key = "wrong"
			}
			e, err := cfg.engine(deps)
			if err != nil {
				return err
			}
			return e.Run(ctx)
		},
		BadKey: "equities.alpaca.key",
		Errors: map[string]conform.Error{
			"400": {Order: order("400"), Want: conform.Refused, Says: "400"}, "401": {Order: order("401"), Want: conform.Retried, Says: "401"},
			"402": {Order: order("402"), Want: conform.Refused, Says: "equities.alpaca.key"},
			// The order closes the connection after the error; that one is ignored is held by TestErrorsOfTheStream.
			"403": {Order: order("403"), Want: conform.Retried}, "404": {Order: order("404"), Want: conform.Retried, Says: "404"},
			"405": {Order: order("405"), Want: conform.Retried, Says: "405"}, "406": {Order: order("406"), Want: conform.Retried, Says: "another connection"},
			"407": {Order: order("407"), Want: conform.Retried, Says: "407"}, "408": {Order: order("408"), Want: conform.Refused, Says: "408"},
			"409": {Order: order("409"), Want: conform.Refused, Says: "plan"}, "410": {Order: order("410"), Want: conform.Refused, Says: "410"},
			"411": {Order: order("411"), Want: conform.Refused, Says: "plan"}, "500": {Order: order("500"), Want: conform.Retried, Says: "500"},
		},
		Fills: true, Pages: true,
		Check: func(t *testing.T, at conform.Endpoint, mem *feedtest.Memory, from, to time.Time) {
			t.Helper()
			checkTape(t, &venue{at.Sim.(*alpaca.Server), at.HTTP}, mem, from, to)
		},
		Settle: 2 * time.Second,
	}})
}
